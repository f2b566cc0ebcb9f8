"""What `sample` draws: a distribution with its parameters, read and checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..diagnostics import error
from ..ops.noise import DISTRIBUTIONS, Distribution, Noise
from ..source import Span
from ..syntax import ast
from ..types import TensorType
from .limits import ELEMENTS
from .settings import find_kind
from .values import Tensor, Weight, describe, together

if TYPE_CHECKING:
    from .scope import ScopeEvaluator


def read_noise(s: ast.SampleStmt, scope: ScopeEvaluator, shape: Callable[[], TensorType]) -> Noise:
    """The op of a `sample` statement; `shape` works its shape out. Raises A0544, A0802, and what `shape` does."""
    type_, (found, values) = together(shape, lambda: _distribution(s.distribution, scope))
    dtype = type_.dtype
    if dtype not in found.dtypes:
        if s.shape.dtype != "float":
            wanted = " or ".join(f"`{d}`" for d in found.dtypes)
            raise error("A0544", f"`{found.name}` draws {wanted}, not `{dtype}`", s.shape.span)
        dtype = found.dtypes[0]  # nothing was said: whole numbers are drawn as such
    _bounded(type_, s.shape.span)
    return Noise(distribution=found.name, values=values, names=type_.names, sizes=type_.shape, dtype=dtype)


def _distribution(e: ast.Expr, scope: ScopeEvaluator) -> tuple[Distribution, tuple[float, ...]]:
    name, found = find_kind(e, DISTRIBUTIONS, "A0544", "`sample` knows no distribution")
    values = _values(found, e.arguments if isinstance(e, ast.Call) else (), scope, e.span)
    problem = found.problem(values)
    if problem:
        raise error("A0544", f"`{name}` {problem}", e.span)
    return found, values


def _values(
    found: Distribution, arguments: tuple[ast.Argument, ...], scope: ScopeEvaluator, span: Span
) -> tuple[float, ...]:
    taken: set[str] = set()
    names = list(found.parameters)
    usage = f"it is written `{found.name}({', '.join(names)})`" if names else f"it is written `{found.name}`"

    def one(position: int, argument: ast.Argument) -> tuple[str, float]:
        name = argument.name or (names[position] if position < len(names) else None)
        if name is None or name not in names:
            what = "takes no more" if argument.name is None else f"has no parameter `{argument.name}`"
            raise error("A0544", f"`{found.name}` {what}", argument.span, help=usage)
        if name in taken:
            raise error("A0544", f"`{name}` of `{found.name}` is given twice", argument.span, help=usage)
        taken.add(name)
        return name, _number(found, name, argument, scope)

    given = dict(together(*(partial(one, position, argument) for position, argument in enumerate(arguments))))
    values = tuple(float(given.get(name, default)) for name, default in found.parameters.items())
    missing = [name for name, value in zip(names, values, strict=True) if math.isnan(value) and name not in given]
    if missing:
        raise error("A0544", f"`{found.name}` needs its `{missing[0]}`", span, help=usage)
    return values


def _number(found: Distribution, name: str, argument: ast.Argument, scope: ScopeEvaluator) -> float:
    value = scope.eval(argument.value)
    if isinstance(value, bool) or not isinstance(value, int if found.whole else (int, float)):
        kind = "a whole number" if found.whole else "a number that is known here"
        help = "noise is drawn with fixed parameters; scale and shift it: `mean + deviation * eps`"
        message = f"`{name}` of `{found.name}` is {kind}, found {describe(value)}"
        raise error("A0544", message, argument.value.span, help=help if isinstance(value, (Tensor, Weight)) else None)
    return value


def _bounded(type_: TensorType, span: Span) -> None:
    """Raises A0802 for what no memory holds, however small the batch."""
    elements = math.prod(size for size in type_.shape if isinstance(size, int))
    if elements > ELEMENTS:
        message = f"this tensor would have {elements:,} elements, and the limit is {ELEMENTS:,}"
        raise error("A0802", message, span)
