"""The parts of the syntax tree that stand within statements: names, expressions, stages, shapes, parameters."""

from __future__ import annotations

from dataclasses import field

from ..source import Span
from .record import Record


class Node(Record):
    """Anything with a place in the text."""

    span: Span = field(compare=False, repr=False, kw_only=True)


class Expr(Node):
    """Something with a value: static or a tensor."""


class Stage(Node):
    """Something an arrow leads into."""


class Ident(Node):
    """A name where it is written: `x`, `h'` (text without the prime, `primed` true)."""

    text: str
    primed: bool = False


class Template(Node):
    """A name that may have holes: `` `layer{i + 1}.{j}` `` or a plain `conv1`. Parts are text and expressions in turn.

    `quoted` only says how it was written: a quoted name without holes may hold dots, a leading digit or a keyword.
    """

    parts: tuple[str | Expr, ...]
    quoted: bool = field(default=False, compare=False)

    @property
    def plain(self) -> str | None:
        """The text, when there are no holes."""
        if all(isinstance(p, str) for p in self.parts):
            return "".join(p for p in self.parts if isinstance(p, str))
        return None


# ---------------------------------------------------------------- expressions


class Number(Expr):
    """`61_706`, `2e-4`, `25.6M`. `text` is as written; `value` is an int wherever that is exact."""

    value: int | float
    text: str = field(compare=False)


class String(Expr):
    value: str


class Bool(Expr):
    value: bool


class NoneLit(Expr):
    """`none`."""


class Name(Expr):
    """A use of a name; `primed` for the next value of a state; a quoted name has its backticks taken off."""

    text: str
    primed: bool = False


class ListExpr(Expr):
    items: tuple[Expr, ...]


class Comprehension(Expr):
    """`[value for targets in iterable if condition]`."""

    value: Expr
    targets: tuple[Ident, ...]
    iterable: Expr
    condition: Expr | None


class TupleExpr(Expr):
    """`(a, b)`: several tensors, or a list of static values."""

    items: tuple[Expr, ...]


class Unary(Expr):
    """`-x`, `+x`, `not x`."""

    op: str
    operand: Expr


class Binary(Expr):
    """`+ - * / // % **`, `< <= > >= == !=`, `and or`."""

    op: str
    left: Expr
    right: Expr


class IfExpr(Expr):
    """`if condition then yes else no`."""

    condition: Expr
    yes: Expr
    no: Expr


class Range(Expr):
    """`low..high`, half-open; either end may be left out only inside an index."""

    low: Expr | None
    high: Expr | None


class Argument(Node):
    """`value` or `name=value` in a call, a stage, an index, a bias or a bundle. Positional when `name` is None."""

    name: str | None
    value: Expr


class Call(Expr):
    """`f(a, b=c)`: a static function, or a layer, block or cell with its settings."""

    function: Expr
    arguments: tuple[Argument, ...]


class Attribute(Expr):
    """`y.C`, `last.h`, `transformer.wte.weight`."""

    value: Expr
    name: str


class Index(Expr):
    """`kept[-1]`, `x[T=0]`, `x[T=a..b]`, `depths[0..i]`."""

    value: Expr
    arguments: tuple[Argument, ...]


class Pipe(Expr):
    """`value -> stage -> stage`. `value` is None for a stage chain used as a value, which only a grammar may decide."""

    value: Expr
    stages: tuple[Stage, ...]


# ---------------------------------------------------------------- stages


class Apply(Stage):
    """`conv(64, kernel=3)`, `Bottleneck`, `E`, `nets[i]`: a layer, a block, a shared module.

    `called` tells `E()` from `E`, which mean the same."""

    function: Expr
    arguments: tuple[Argument, ...] = ()
    called: bool = field(default=False, compare=False)


class Labelled(Stage):
    """`name: stage`."""

    label: Template
    stage: Stage


class Sequence(Stage):
    """`{ a -> b -> c }`."""

    stages: tuple[Stage, ...]


class RepeatStage(Stage):
    """`repeat n { … }`."""

    count: Expr
    stages: tuple[Stage, ...]


class ForStage(Stage):
    """`for a, b in iterable { … }` inside a sequence."""

    targets: tuple[Ident, ...]
    iterable: Expr
    stages: tuple[Stage, ...]


class IfStage(Stage):
    """`if condition { … } else { … }` inside a sequence; `else if` nests in `no`."""

    condition: Expr
    yes: tuple[Stage, ...]
    no: tuple[Stage, ...]


class Skip(Stage):
    """`skip from other by add { … }`; `by` is add, concat or mul."""

    stages: tuple[Stage, ...]
    other: Expr | None = None
    by: str = "add"


class Scan(Stage):
    """`scan cell over AXIS`, `reverse …`, `bidirectional …`. `direction` is forward, reverse or bidirectional."""

    cell: Stage
    axis: Ident
    direction: str = "forward"


class Supplied(Stage):
    """`stage from (h=…)` and `stage with (memory=…)`: further data by name."""

    stage: Stage
    start: tuple[Argument, ...] = ()
    extra: tuple[Argument, ...] = ()


# ---------------------------------------------------------------- shapes and parameters


class AxisDecl(Node):
    """One axis of a declared shape: `B` · `3` · `H=32` · `H~224` · `dim // 2`.

    name and size: `H=32` both, `B` name only, `3` or `2 * w - 1` size only; `nominal` for `H~224`."""

    name: str | None = None
    size: Expr | None = None
    nominal: Expr | None = None


class Shape(Node):
    """`[B, 3, H=32, W=32]`, `int[B, T]`, `bool[B, T]`. `dtype` is float, int or bool."""

    axes: tuple[AxisDecl, ...]
    dtype: str = "float"


class TypeRef(Node):
    """`int`, `list[int]`, `block`."""

    name: str
    argument: TypeRef | None = None


class Param(Node):
    """`width: int = 64` in a declaration's head."""

    name: str
    type: TypeRef
    default: Expr | None = None
