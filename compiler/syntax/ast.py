"""The syntax tree: frozen nodes, each with the span it was read from.

Spans never take part in comparison, so `parse(print(tree)) == tree` is a statement about meaning.
Nodes below an arrow are stages (`Stage`); everything else that has a value is an expression (`Expr`).
"""

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


class Stmt(Node):
    """A line of a body."""


class Item(Node):
    """A declaration at the top of a file."""


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


# ---------------------------------------------------------------- statements


class InputStmt(Stmt):
    """`input x: [B, C]`; `target y: int[B]` with `role` target."""

    name: Ident
    shape: Shape
    role: str = "input"


class ParamStmt(Stmt):
    """``param `encoder.pos`: [1, 197, D] = normal(0, 0.02)``."""

    name: Template
    shape: Shape
    init: Expr | None = None


class ConstStmt(Stmt):
    """`const past: bool[q=T, k=S] = k <= q`; `buffer` when it is saved."""

    name: Ident
    shape: Shape
    value: Expr
    buffer: bool = False


class SampleStmt(Stmt):
    """`sample eps ~ normal(0, 1): [B, latent]`."""

    name: Ident
    distribution: Expr
    shape: Shape


class BindStmt(Stmt):
    """`a, b = expr`, `scores: [B, Q=T] = expr`, `h' = expr` (one primed target)."""

    targets: tuple[Ident, ...]
    value: Expr
    shape: Shape | None = None


class ModuleStmt(Stmt):
    """``module E = Encoder(64)``, ``module `nets.{i}` = MLP([256, dim])``."""

    name: Template
    value: Expr


class GateStmt(Stmt):
    """`gate f = expr`, `gate f in [-1, 1] = expr`."""

    name: Ident
    value: Expr
    bounds: ListExpr | None = None


class StateStmt(Stmt):
    """`state h: [B, hidden]`."""

    name: Ident
    shape: Shape


class ForStmt(Stmt):
    targets: tuple[Ident, ...]
    iterable: Expr
    body: tuple[Stmt, ...]


class IfStmt(Stmt):
    """`if cond { … } else { … }`; `else if` nests in `no`."""

    condition: Expr
    yes: tuple[Stmt, ...]
    no: tuple[Stmt, ...]


class OutputStmt(Stmt):
    """`output y`, `output y = expr`, `output expr`. A bare `output y` is name None and value Name('y')."""

    name: Ident | None
    value: Expr


class LossStmt(Stmt):
    """`loss kl weight 0.5 over G, D = expr`."""

    name: Ident
    value: Expr
    weight: Expr | None = None
    over: tuple[Ident, ...] = ()


class EntryStmt(Stmt):
    """`entry generate { … }`."""

    name: Ident
    body: tuple[Stmt, ...]


class BiasStmt(Stmt):
    """`bias claim(…) on value over AXES assumed`. `called` as in Apply."""

    claim: Ident
    arguments: tuple[Argument, ...] = ()
    value: Expr | None = None
    axes: tuple[Ident, ...] = ()
    assumed: bool = False
    called: bool = field(default=False, compare=False)


class ExpectStmt(Stmt):
    """`expect params == 61_706`, `expect flops ~= 4.1G within 1%`.

    `relation` is one of == != < <= > >= ~=. `tolerance` is the expression after `within`; `percent` says it had `%`."""

    left: Expr
    relation: str
    right: Expr
    tolerance: Expr | None = None
    percent: bool = False


class InitStmt(Stmt):
    """`init conv.weight = kaiming_normal(mode="fan_out")`: how a kind of layer starts a weight."""

    layer: Ident
    weight: Ident
    value: Expr


class PretrainedStmt(Stmt):
    """`pretrained imagenet = url("https://…", sha256="…")`: where weights are published."""

    name: Ident
    value: Expr


class KeyRule(Node):
    """`"h.{i}.attn.w" = "transformer.h.{i}.attn.w" transposed`: a line of a `names` table, the published key first."""

    theirs: String
    ours: String
    options: tuple[Expr, ...] = ()


class NamesStmt(Stmt):
    """`names "transformers" { … }`."""

    scheme: String
    rules: tuple[KeyRule, ...]


class PlayerStmt(Stmt):
    """`generator G = Generator(latent)`; `role` is generator or discriminator."""

    role: str
    name: Ident
    value: Expr


class PairStmt(Stmt):
    """`pair G vs D on (real, fake) with (alpha=alpha) by hinge(…)`."""

    first: Ident
    second: Ident
    on: tuple[Expr, ...]
    extra: tuple[Argument, ...]
    objective: Expr


# ---------------------------------------------------------------- training


class Setting(Stmt):
    """`key value` in a train block or a phase: `epochs 20`, `optimizer adam(lr=1e-3)`, `freeze all except fc`,
    `init "w.safetensors" except fc`, `set resolution=8, width=2`, `fade alpha=2`.

    `values` are what stands before `except`; `assignments` the `name=value` ones (values is then empty)."""

    key: Ident
    values: tuple[Expr, ...] = ()
    assignments: tuple[Argument, ...] = ()
    excepted: tuple[Expr, ...] = ()


class Phase(Stmt):
    """`phase head { … }`."""

    name: Ident
    body: tuple[Setting, ...]


# ---------------------------------------------------------------- items


class Import(Item):
    """`import "std/attention" use MultiHeadAttention, CrossAttention`."""

    path: String
    names: tuple[Ident, ...]


class Definition(Item):
    """`block`, `cell`, `network` or `adversarial` (`kind`) with parameters and a body. `doc`: the string before it."""

    kind: str
    name: Ident
    params: tuple[Param, ...]
    body: tuple[Stmt, ...]
    doc: str | None = None


class Configuration(Item):
    """`network ResNet50 = ResNet(Bottleneck, layers=[3, 4, 6, 3]) { expect … }`. `kind` is network or adversarial."""

    kind: str
    name: Ident
    value: Call
    body: tuple[Stmt, ...] = ()
    doc: str | None = None


class Func(Item):
    """`func f(a: float, b: int = 8) = expr`."""

    name: Ident
    params: tuple[Param, ...]
    value: Expr


class Train(Item):
    """`train Name on data(…) { … }`."""

    target: Expr
    data: Expr
    body: tuple[Setting | Phase, ...]


class File(Node):
    """A whole text. `doc` is the string at its top."""

    items: tuple[Item, ...]
    doc: str | None = None
    comments: tuple[Comment, ...] = field(default=(), compare=False)


class Comment(Node):
    """`# …` as written, without the line break. `own_line`: nothing stands before it on its line."""

    text: str
    own_line: bool
