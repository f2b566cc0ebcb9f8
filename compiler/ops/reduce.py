"""One number from many: over all axes, over one, or over several."""

from __future__ import annotations

from math import inf
from typing import Annotated, ClassVar

from ..declared import Field
from ..relations import POINTWISE, Relations, everything
from ..types import Axis, TensorType
from .base import AxisMark, Code, Example, Glyph, Interval, Need, Op, Refusal, Unless, axis_index, call
from .elementwise import dim, refuse_bool

Axes = Annotated[
    int | str | Annotated[tuple[int | str, ...], Field(min_length=1)] | None,
    AxisMark(),
    Field(description="the axis, or a list of axes; none: all of them"),
]
Keep = Annotated[bool, Field(description="keep each axis, with size 1")]
_EXAMPLES = (
    Example({}, ("B T",), ("",)),
    Example({"axis": -1}, ("B T 4",), ("B T",)),
    Example({"axis": ("H", "W")}, ("B C=4 H=3 W=2",), ("B C=4",)),
    Example({"axis": 1, "keep": True}, ("B T D=3",), ("B T=1 D=3",)),
    Example({"keep": True}, ("T D=3",), ("T=1 D=1",)),
)


class _Reduce(Op):
    """A reduction that does not depend on the order of what it reduces."""

    glyph = Glyph.REDUCE
    examples: ClassVar[tuple[Example, ...]] = _EXAMPLES

    axis: Axes = None
    keep: Keep = False

    def _gone(self, x: TensorType) -> tuple[int, ...]:
        if self.axis is None:
            return tuple(range(x.rank))
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        found = [axis_index(x, axis) for axis in axes]
        if len(set(found)) < len(found):
            raise Refusal(f"an axis of {x} is listed twice", operand=0, setting="axis", code="A0302")
        return tuple(found)

    def kind(self, x: TensorType) -> str:
        """The kind of number of the result; refuses what cannot be reduced."""
        refuse_bool((x,), self.name)
        if x.dtype != "float":
            raise Refusal(
                f"`{self.name}` takes floating-point numbers, but this is {x}",
                help='turn it into floats first: `x -> cast("float")`',
                operand=0,
                code="A0322",
            )
        return "float"

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        dtype, gone = self.kind(x), self._gone(x)
        axes = [Axis(a.name, 1) if i in gone else a for i, a in enumerate(x.axes) if self.keep or i not in gone]
        return (TensorType(tuple(axes), dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        gone = self._gone(x)
        table: Relations = {}
        place = 0
        for axis in range(x.rank):
            if axis in gone:
                table[0, None, 0, axis] = everything(uniform=True, symmetric=True)
                place += self.keep
            else:
                table[0, place, 0, axis] = POINTWISE
                place += 1
        return table

    def _dims(self, x: TensorType) -> int | tuple[int, ...] | None:
        """The axes as PyTorch's `dim`; None for all of them."""
        gone = self._gone(x)
        if len(gone) == 1 and x.rank > 1:
            return dim(x, gone[0])
        return None if len(gone) == x.rank else gone

    def _call(self, inputs: tuple[TensorType, ...], function: str, **others: Unless) -> Code:
        (x,) = inputs
        dims = self._dims(x)
        if dims is None and self.keep:
            dims = tuple(range(x.rank))
        where = {"dim": dims} if dims is not None else {}
        function, _, first = function.partition("|")
        return call(function, *([first] if first else []), **others, **where, keepdim=Unless(self.keep, False))


class Mean(_Reduce):
    """The mean."""

    name = "mean"
    neutral = 0.0

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return self._call(inputs, "{0}.mean")


class Sum(_Reduce):
    """The sum; of truth values, how many are true."""

    name = "sum"
    neutral = 0.0
    examples = (*_EXAMPLES, Example({"axis": "T"}, ("bool B T",), ("int B",)))

    def kind(self, x: TensorType) -> str:
        return "float" if x.dtype == "float" else "int"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        lo, hi = ranges[0]
        return (Interval(lo if lo >= 0 else -inf, hi if hi <= 0 else inf),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return self._call(inputs, "{0}.sum")


class _Extreme(_Reduce):
    """One of the values themselves."""

    def kind(self, x: TensorType) -> str:
        refuse_bool((x,), self.name)
        return x.dtype

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges


class Max(_Extreme):
    """The largest value."""

    name = "max"
    neutral = -inf

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return self._call(inputs, "{0}.amax")


class Min(_Extreme):
    """The smallest value."""

    name = "min"
    neutral = inf

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return self._call(inputs, "{0}.amin")


class Var(_Reduce):
    """The variance, Σ (x - mean)² / (n - correction)."""

    name = "var"
    examples = (*_EXAMPLES, Example({"axis": -1, "correction": 0}, ("B T 4",), ("B T",)))

    correction: Annotated[int, Field(ge=0, le=1)] = Field(
        1, description="1 for a sample's variance, 0 for all there is"
    )

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(0),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return self._call(inputs, "{0}.var", correction=Unless(self.correction, 1))


class Std(_Reduce):
    """The standard deviation, the square root of the variance."""

    name = "std"

    correction: Annotated[int, Field(ge=0, le=1)] = Field(
        1, description="1 for a sample's deviation, 0 for all there is"
    )

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(0),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return self._call(inputs, "{0}.std", correction=Unless(self.correction, 1))


class Logsumexp(_Reduce):
    """log Σ e^x, computed without overflow: a smooth maximum."""

    name = "logsumexp"
    neutral = -inf

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(ranges[0].lo),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        (x,) = inputs
        dims = self._dims(x)
        return call("{0}.logsumexp", tuple(range(x.rank)) if dims is None else dims, keepdim=Unless(self.keep, False))


class Norm(_Reduce):
    """The length, (Σ |x|^p)^(1/p)."""

    name = "norm"
    neutral = 0.0
    examples = (*_EXAMPLES, Example({"axis": -1, "p": 1.0}, ("B T 4",), ("B T",)))

    p: Annotated[float, Field(gt=0, le=100)] = Field(2.0, description="which norm: 2 is Euclid's")

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(0),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return self._call(inputs, "torch.linalg.vector_norm|{0}", ord=Unless(self.p, 2.0))
