"""What an expression can evaluate to, beside plain Python values.

Static values are int, float, bool, str, None, tuples (the language's lists), `range`, and `Dim` for sizes that are not
known. The classes here are the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..diagnostics import ArchError, Diagnostic
from ..graph import Instance, Layer, Ref
from ..ops.base import Op, WeightSpec
from ..sizes import Dim
from ..source import Span
from ..syntax import ast
from ..types import TensorType

if TYPE_CHECKING:
    from .names import FileScope


class Poison:
    """The value of what already failed: anything made from it fails silently."""

    def __repr__(self) -> str:
        return "<failed>"


POISON = Poison()


class Poisoned(Exception):
    """An expression used a poisoned value; its error has been reported where it arose."""


def together(*parts: Callable[[], Any]) -> list[Any]:
    """What independent parts of a statement give. Raises what is wrong with any of them, or Poisoned."""
    made: list[Any] = []
    found: list[Diagnostic] = []
    for part in parts:
        try:
            made.append(part())
        except ArchError as failure:
            found += failure.diagnostics
        except Poisoned:
            pass
    if found:
        raise ArchError(*found)
    if len(made) < len(parts):
        raise Poisoned
    return made


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the graph being built. `span` is the expression that made it."""

    ref: Ref
    type: TensorType
    span: Span = field(compare=False, repr=False)
    home: int = 0  # which graph under construction it belongs to


class States(dict[str, "Tensor | States"]):
    """The states of a cell after a step or a scan, by name; of both directions of a bidirectional one."""

    @property
    def first(self) -> str:
        """How its first tensor is reached: `h`, `forward.h`."""
        name, inner = next(iter(self.items()))
        return f"{name}.{inner.first}" if isinstance(inner, States) else name


@dataclass(frozen=True, slots=True)
class Ran(Tensor):
    """The only output of a cell, which brings the states along."""

    last: States = field(default_factory=States, compare=False)


class Outcomes(tuple["Tensor", ...]):
    """The outputs of a cell that has none or several, which bring the states along."""

    last: States

    def __new__(cls, outputs: Iterable[Tensor], last: States) -> Outcomes:
        made = super().__new__(cls, outputs)
        made.last = last
        return made


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A declaration of a file, together with the file whose names its body sees."""

    name: str
    item: ast.Definition | ast.Configuration | ast.Func
    file: FileScope

    @property
    def definition(self) -> ast.Definition:
        """The item, where it can only be a definition: configurations are resolved and functions are called."""
        assert isinstance(self.item, ast.Definition)
        return self.item


@dataclass(frozen=True, slots=True)
class Recipe:
    """A layer, block, cell or network with some of its settings: each use makes fresh weights."""

    target: Global | type[Op]
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()
    span: Span | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def kind(self) -> str:
        """What it makes: a layer, block, cell or network."""
        return "layer" if isinstance(self.target, type) else getattr(self.target.item, "kind", "block")


@dataclass(slots=True, eq=False)
class Module:
    """One instance that a name stands for. `path` is where its weights live in the module tree of the graph under
    construction; a module passed as a parameter has the parameter's name as its path. `made`: after its first use."""

    path: str
    recipe: Recipe
    span: Span
    foreign: bool = False
    made: Layer | Instance | None = None


@dataclass(frozen=True, slots=True)
class Weight:
    """A bare tensor (`param`, `buffer`, fixed `const`) or a module's (`wte.weight`): a node where it is used."""

    path: str
    spec: WeightSpec
    type: TensorType
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Indexed:
    """A value that depends on the index variables of a `const`: a tree of plain tuples, see `indices.py`."""

    tree: tuple


@dataclass(frozen=True, slots=True)
class AxisName:
    """A bare name that no value has, standing where an axis may be named (`axis=T`)."""

    text: str


def describe(value: Any) -> str:
    """What kind of value it is, in words for a message."""
    match value:
        case bool():
            return f"the truth value {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f'the string "{value if len(value) < 40 else value[:37] + "..."}"'
        case None:
            return "none"
        case States():
            return f"the states {', '.join(f'`{name}`' for name in value)}"
        case tuple() | list():
            kinds = "tensors" if value and all(isinstance(v, Tensor) for v in value) else "values"
            return f"a list of {len(value)} {kinds}"
        case range():
            return f"the range {value.start}..{value.stop}"
        case Dim():
            return f"the size {value}, which is not known"
        case Tensor():
            return f"a tensor {value.type}"
        case Weight():
            return f"the weight `{value.path}`, {value.type}"
        case Recipe():
            return f"the {value.kind} `{value.name}`"
        case Module():
            return f"the module `{value.path}`"
        case Global():
            return f"the function `{value.name}`"
        case Indexed():
            return "a value that depends on an index"
    return "a value"


def show(value: Any) -> str:
    """A static value as one would write it."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            text, short = str(value), f"{value:.6g}"
            return short if len(text) > len(short) + 4 else text  # 0.3 * 0.25 is 0.075, as far as a reader cares
        case None:
            return "none"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case tuple() | list():
            return "[" + ", ".join(show(v) for v in value) + "]"
        case range():
            return f"{value.start}..{value.stop}"
        case Recipe():
            inner = ", ".join([*(show(a) for a in value.args), *(f"{k}={show(v)}" for k, v in value.kwargs)])
            return f"{value.name}({inner})" if inner else value.name
        case Module():
            return value.path
    return str(value)


_PLAIN = frozenset({int, float, bool, str, type(None)})


def freeze(arguments: Iterable[tuple[Any, Any]]) -> tuple:
    """A hashable form of named static arguments, types told apart (1, 1.0 and true differ)."""
    return tuple([(name, _frozen(value)) for name, value in arguments])


def _frozen(value: Any) -> Any:
    if value.__class__ in _PLAIN:
        return (value.__class__.__name__, value)
    if isinstance(value, (tuple, list)):
        return tuple(_frozen(v) for v in value)
    if isinstance(value, Recipe):
        return (id(value.target), _frozen(value.args), tuple((k, _frozen(v)) for k, v in value.kwargs))
    if isinstance(value, Module):
        return ("module", _frozen(value.recipe))
    return (type(value).__name__, value)
