"""What elementwise ops share: kinds of numbers, broadcasting by name and size, arithmetic of bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from math import inf
from typing import Annotated, Any, ClassVar

from ..declared import Field
from ..relations import Relations
from ..sizes import Dim
from ..types import Axis, TensorType
from .base import ANY, AxisRef, Code, Interval, Need, Op, Refusal, pointwise

LastAxis = Annotated[AxisRef, Field(description="the axis, by name or position")]
_RANK = {"bool": 0, "int": 1, "float": 2}


def promote(types: Sequence[TensorType]) -> str:
    """The kind of number that a result has when these meet, as PyTorch decides it: bool < int < float."""
    return max((t.dtype for t in types), key=_RANK.__getitem__)


def refuse_bool(inputs: Sequence[TensorType], what: str) -> None:
    """Refuses truth values where numbers are needed (A0322)."""
    for i, x in enumerate(inputs):
        if x.dtype == "bool":
            raise Refusal(
                f"`{what}` takes numbers, but this is {x}, which holds truth values",
                help='turn it into numbers first, `m -> cast("float")`, or choose between two tensors with `where`',
                operand=i,
                code="A0322",
            )


def require_bool(inputs: Sequence[TensorType], what: str, operand: int = 0) -> None:
    """Refuses numbers where truth values are needed (A0322)."""
    for i, x in enumerate(inputs):
        if x.dtype != "bool":
            raise Refusal(
                f"`{what}` takes truth values, but this is {x}",
                help="compare it with something, as in `x > 0`",
                operand=operand + i,
                code="A0322",
            )


def axis_name(x: TensorType, axis: int) -> str:
    """An axis as messages call it."""
    name = x.names[axis]
    return f"axis `{name}`" if name else f"axis {axis}"


def check_names(inputs: Sequence[TensorType], what: str) -> None:
    """Refuses one name at two right-aligned places (A0321): [B, H, W] + [B, W, H] is a slip even where the sizes agree.

    Two vectors set against each other on purpose, [T, 1] and [1, T], pass: each faces an axis of size 1."""
    for (i, x), (j, y) in combinations(enumerate(inputs), 2):
        for p, name in enumerate(x.names):
            if name is None or name not in y.names:
                continue
            here, there = p - x.rank, y.names.index(name) - y.rank
            if here != there and not (_faces_one(y, here) and _faces_one(x, there)):
                raise Refusal(
                    f"axis `{name}` stands at different places of {x} and {y}, counted from the right",
                    help="move one with `rearrange`, or rename it, as in `y: [B, S=T] = x`, if another axis is meant"
                    if x.rank == y.rank
                    else "add axes of size 1 with `rearrange`, or keep them where they went: `mean(axis=…, keep=true)`",
                    operand=j,
                    others=(i,),
                    code="A0321",
                )


def _faces_one(x: TensorType, back: int) -> bool:
    return -back <= x.rank and x.axes[back].size == 1


def broadcast(inputs: Sequence[TensorType], need: Need, what: str) -> tuple[Axis, ...]:
    """Axes of the result when tensors meet elementwise: aligned from the right, sizes equal or 1, names checked."""
    check_names(inputs, what)
    rank = max(x.rank for x in inputs)
    sizes = [_meet(inputs, back, need, what) for back in range(-rank, 0)]
    names: list[str | None] = [None] * rank
    for stretched in (False, True):  # the name of an axis that is there says more than that of one stretched
        for x in inputs:
            for p, axis in enumerate(x.axes, rank - x.rank):
                if (axis.size != sizes[p]) is stretched and names[p] is None and axis.name not in names:
                    names[p] = axis.name
    return tuple(Axis(name, size) for name, size in zip(names, sizes, strict=True))


def _meet(inputs: Sequence[TensorType], back: int, need: Need, what: str) -> int | Dim:
    """The size of one axis, counted from the right."""
    there = [(i, x.axes[back].size) for i, x in enumerate(inputs) if x.rank >= -back]
    real = [(i, size) for i, size in there if size != 1]
    if not real:
        return 1
    first, size = real[0]
    for i, other in real[1:]:
        x, y = inputs[first], inputs[i]
        need.equal(
            size,
            other,
            f"`{what}` cannot join {x} and {y}: {axis_name(x, x.rank + back)} has size {size}, "
            f"but {axis_name(y, y.rank + back)} has {other}",
            help="axes meet from the right, and their sizes must be equal or 1; "
            '`rearrange` adds axes of size 1 where they are missing, as in `rearrange("b c -> b c 1 1")`',
            operand=i,
            others=(first,),
            code="A0320",
        )
    return next((s for _, s in real if isinstance(s, int)), size)


def dim(x: TensorType, axis: int) -> int:
    """An axis as PyTorch code writes it: the last one as -1."""
    return -1 if axis == x.rank - 1 else axis


def require_order(lo: float, hi: float, layer: str) -> None:
    if lo >= hi:
        raise Refusal(
            f"`{layer}` needs `lo` below `hi`, but {lo} is not below {hi}",
            help="give the least value first",
            setting="hi",
            code="A0334",
        )


def monotone(function: Callable[[float], float], x: Interval, lo: float = -inf, hi: float = inf) -> Interval:
    """Bounds of a function that never falls, within the bounds [lo, hi] that it has anyway."""
    return Interval(max(lo, _safe(function, x.lo, lo)), min(hi, _safe(function, x.hi, hi)))


def _safe(function: Callable[[float], float], at: float, otherwise: float) -> float:
    try:
        value = function(at)
    except (OverflowError, ValueError, ZeroDivisionError):
        return otherwise
    return otherwise if math.isnan(value) else value


def _infinite(x: Interval) -> bool:
    """Is it the same infinity everywhere? An infinite end of other bounds only says that there is none."""
    return x.lo == x.hi and abs(x.lo) == math.inf


def add_bounds(x: Interval, y: Interval) -> Interval:
    for one, other in ((x, y), (y, x)):
        if _infinite(one):  # no number changes it
            return ANY if other == negate(one) else one
    return Interval(x.lo + y.lo, x.hi + y.hi)


def negate(x: Interval) -> Interval:
    return Interval(-x.hi, -x.lo)


def multiply(x: Interval, y: Interval) -> Interval:
    if (_infinite(x) and y == (0, 0)) or (_infinite(y) and x == (0, 0)):
        return ANY
    corners = [0.0 if 0 in (a, b) else a * b for a in x for b in y]
    return Interval(min(corners), max(corners))


def divide(x: Interval, y: Interval) -> Interval:
    """Bounds of a quotient; none when the divisor may be zero."""
    if y.lo <= 0 <= y.hi or (_infinite(x) and _infinite(y)):
        return ANY
    return multiply(x, Interval(*sorted((_inverse(y.lo), _inverse(y.hi)))))


def _inverse(value: float) -> float:
    try:
        return 1 / value
    except OverflowError:  # an int past the range of floats
        return 0.0


def raise_to(x: Interval, exponent: Interval) -> Interval:
    """Bounds of a power: of a fixed exponent, or of a base in [0, 1] with an exponent that is not negative."""
    n = exponent.lo
    if n != exponent.hi:
        return Interval(0, 1) if x.lo >= 0 and x.hi <= 1 and n >= 0 else Interval(0) if x.lo > 0 else ANY
    if n <= 0:
        return Interval(1, 1) if n == 0 else Interval(0) if x.lo > 0 or n % 2 == 0 else ANY
    ends = Interval(_power(x.lo, n), _power(x.hi, n)) if x.lo >= 0 or n == int(n) else ANY
    if x.lo < 0 and n % 2 == 0:
        return Interval(0 if x.hi >= 0 else min(ends), max(ends))
    return ends


def _power(base: float, n: float) -> float:
    try:
        return float(base) ** n
    except OverflowError:
        return inf if base > 0 or n % 2 == 0 else -inf


def union(*ranges: Interval) -> Interval:
    """The least bounds that hold all of these."""
    return Interval(min(r.lo for r in ranges), max(r.hi for r in ranges))


class _Elementwise(Op):
    """One tensor in, one of the same shape out, every element by itself.

    `text` is the template of the call. `accepts` says which kinds of numbers enter: "float"; "numbers", where ints stay
    ints; "rising", where ints become floats as in PyTorch."""

    text: ClassVar[str]
    accepts: ClassVar[str] = "rising"

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        refuse_bool(inputs, self.name)
        if self.accepts == "float" and x.dtype != "float":
            raise Refusal(
                f"`{self.name}` takes floating-point numbers, but this is {x}",
                help='turn it into floats first: `x -> cast("float")`',
                operand=0,
                code="A0322",
            )
        return (x if self.accepts == "numbers" else x.cast("float"),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0])

    def settings(self) -> dict[str, Any]:
        """Literals of the template."""
        return {}

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return Code(self.text, self.settings())
