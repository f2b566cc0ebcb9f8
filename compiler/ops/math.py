"""Functions of numbers, element by element or along one axis."""

from __future__ import annotations

import math
from math import inf
from typing import Annotated, ClassVar, Literal

from ..declared import Field
from ..relations import Relations, everything
from ..types import TensorType
from .base import ANY, Code, Example, Glyph, Interval, Need, Op, Refusal, Unless, aligned, axis_index, call, pointwise
from .elementwise import (
    LastAxis,
    _Elementwise,
    broadcast,
    dim,
    monotone,
    multiply,
    promote,
    raise_to,
    refuse_bool,
    require_order,
)

_ANY = (Example({}, ("B T",), ("B T",)), Example({}, ("int B",), ("B",)))
_POSITIVE = (Example({}, ("B T",), ("B T",), ("positive",)),)
_KEPT = (Example({}, ("B T",), ("B T",)), Example({}, ("int B",), ("int B",)))
# A whole number of PyTorch's, or any finite one.
Bound = Annotated[int, Field(ge=-(2**63), lt=2**63)] | Annotated[float, Field(allow_inf_nan=False)]


class _Function(_Elementwise):
    """A function of one number."""

    glyph = Glyph.ARITHMETIC
    examples: ClassVar[tuple[Example, ...]] = _ANY


class Exp(_Function):
    """e^x."""

    name, text = "exp", "torch.exp({0})"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(math.exp, ranges[0], 0),)


class Log(_Function):
    """The natural logarithm."""

    name, text, examples = "log", "torch.log({0})", _POSITIVE

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(lambda x: math.log(x) if x > 0 else -inf, ranges[0]) if ranges[0].hi >= 0 else ANY,)


class Sqrt(_Function):
    """The square root."""

    name, text, examples = "sqrt", "torch.sqrt({0})", _POSITIVE

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(math.sqrt, ranges[0], 0) if ranges[0].lo >= 0 else Interval(0),)


class Rsqrt(_Function):
    """One over the square root."""

    name, text, examples = "rsqrt", "torch.rsqrt({0})", _POSITIVE

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(0, 1 / math.sqrt(ranges[0].lo) if ranges[0].lo > 0 else inf),)


class Abs(_Function):
    """The absolute value."""

    name, text, accepts, examples = "abs", "torch.abs({0})", "numbers", _KEPT

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        lo, hi = ranges[0]
        return (Interval(0 if lo <= 0 <= hi else min(abs(lo), abs(hi)), max(abs(lo), abs(hi))),)


class Sin(_Function):
    """The sine, of radians."""

    name, text = "sin", "torch.sin({0})"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(-1, 1),)


class Cos(_Function):
    """The cosine, of radians."""

    name, text = "cos", "torch.cos({0})"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(-1, 1),)


class Square(_Function):
    """x²."""

    name, text, accepts, examples = "square", "torch.square({0})", "numbers", _KEPT

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (raise_to(ranges[0], Interval(2, 2)),)


class Reciprocal(_Function):
    """1 / x."""

    name, text, examples = "reciprocal", "torch.reciprocal({0})", _POSITIVE

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(1 / ranges[0].hi, 1 / ranges[0].lo) if ranges[0].lo > 0 else ANY,)


class Sign(_Function):
    """-1, 0 or 1."""

    name, text, accepts, examples = "sign", "torch.sign({0})", "numbers", _KEPT

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(lambda x: (x > 0) - (x < 0), ranges[0], -1, 1),)


class Floor(_Function):
    """The greatest whole number that is not above x."""

    name, text, accepts, examples = "floor", "torch.floor({0})", "numbers", _KEPT

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(math.floor, ranges[0]),)


class Round(_Function):
    """The nearest whole number; halves go to the even one."""

    name, text, accepts, examples = "round", "torch.round({0})", "numbers", _KEPT

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(round, ranges[0]),)


class Erf(_Function):
    """The error function, 2/√π ∫ e^-t² dt from 0 to x."""

    name, text = "erf", "torch.erf({0})"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(math.erf, ranges[0], -1, 1),)


class Clamp(_Function):
    """x held between lo and hi; either may be left out."""

    name, accepts = "clamp", "numbers"
    examples = (
        Example({"lo": -0.5, "hi": 0.5}, ("B T",), ("B T",)),
        Example({"lo": 0.0}, ("B T",), ("B T",)),
        Example({"hi": 1}, ("int B",), ("int B",)),
    )

    lo: Bound | None = Field(None, description="least value")
    hi: Bound | None = Field(None, description="greatest value")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        if self.lo is None and self.hi is None:
            raise Refusal("`clamp` needs a bound", help="write `clamp(0, 1)`, or `clamp(lo=0)`", code="A0334")
        if self.lo is not None and self.hi is not None:
            require_order(self.lo, self.hi, "clamp")
        if inputs[0].dtype == "int":
            for end, value in (("lo", self.lo), ("hi", self.hi)):
                if value is not None and value != int(value):
                    raise Refusal(
                        f"`clamp` holds whole numbers between whole numbers, but `{end}` is {value}",
                        help='turn them into floats first: `x -> cast("float")`',
                        operand=0,
                        setting=end,
                        code="A0322",
                    )
        return super().infer(inputs, need)

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        lo, hi = -inf if self.lo is None else self.lo, inf if self.hi is None else self.hi
        return (monotone(lambda x: min(max(lo, x), hi), ranges[0], lo, hi),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        whole = inputs[0].dtype == "int"
        lo, hi = (int(end) if whole and end is not None else end for end in (self.lo, self.hi))
        if lo is None:
            return call("torch.clamp", "{0}", max=hi)
        return call("torch.clamp", "{0}", lo, *([] if hi is None else [hi]))


class StopGradient(_Function):
    """x itself, through which no gradient flows back."""

    name, text, examples = "stop_gradient", "{0}.detach()", _KEPT

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        return inputs

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges


class Cast(_Function):
    """The same values as another kind of number: truth values become 0 and 1, floats lose what is behind the point."""

    name = "cast"
    examples = (
        Example({"to": "float"}, ("int B T",), ("B T",)),
        Example({"to": "float"}, ("bool B T",), ("B T",)),
        Example({"to": "int"}, ("B T",), ("int B T",)),
        Example({"to": "bool"}, ("int B",), ("bool B",)),
    )

    to: Literal["float", "int", "bool"] = Field(description="the kind of number to make")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        return (inputs[0].cast(self.to),)

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        if self.to == "bool":
            zero, away = ranges[0] == (0, 0), ranges[0].lo > 0 or ranges[0].hi < 0
            return (Interval(0, 0) if zero else Interval(1, 1) if away else Interval(0, 1),)
        return (monotone(math.trunc, ranges[0]) if self.to == "int" else ranges[0],)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        if inputs[0].dtype == self.to:
            return Code("{0}")
        return Code({"float": "{0}.to(torch.get_default_dtype())", "int": "{0}.long()", "bool": "{0}.bool()"}[self.to])


class Normalize(_Function):
    """x divided by its length along an axis: the result has p-norm 1 (a vector of zeros stays zero)."""

    name, accepts = "normalize", "float"
    examples = (
        Example({}, ("B T",), ("B T",)),
        Example({"axis": "C", "p": 1.0}, ("B C=4 H=3",), ("B C=4 H=3",)),
    )

    axis: LastAxis = -1
    p: Annotated[float, Field(gt=0, le=100, description="which norm: 2 is Euclid's")] = 2.0

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        axis_index(inputs[0], self.axis)
        return super().infer(inputs, need)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0], changed={axis_index(inputs[0], self.axis): everything(uniform=True)})

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(0 if ranges[0].lo >= 0 else -1, 0 if ranges[0].hi <= 0 else 1),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        axis = axis_index(inputs[0], self.axis)
        return call("F.normalize", "{0}", p=Unless(self.p, 2.0), dim=Unless(dim(inputs[0], axis), 1))


class PixelNorm(_Function):
    """x divided by its root mean square over the channels (axis 1), √(mean x² + 1e-8) (Karras et al., 2018)."""

    name, accepts = "pixel_norm", "float"
    glyph = Glyph.NORM
    examples = (Example({}, ("B C=4 H=3 W=3",), ("B C=4 H=3 W=3",)), Example({}, ("B 5",), ("B 5",)))

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        if inputs[0].rank < 2:
            raise Refusal(
                f"`pixel_norm` needs a channel axis, but this is {inputs[0]}",
                help="its channels are the second axis, as in [B, C] or [B, C, H, W]",
                operand=0,
                code="A0333",
            )
        return super().infer(inputs, need)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0], changed={1: everything(uniform=True)})

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (multiply(ranges[0], Interval(0, 1e4)),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        (x,) = inputs
        if x.rank == 2:
            return Code("F.rms_norm({0}, ({channels},), eps=1e-8)", {"channels": x.shape[1]})
        text = "F.rms_norm({0}.movedim(1, -1), ({channels},), eps=1e-8).movedim(-1, 1)"
        return Code(text, {"channels": x.shape[1]})


class CosineSimilarity(Op):
    """The cosine of the angle between two tensors' vectors along an axis, a·b / (|a| |b|); the axis goes away."""

    name = "cosine_similarity"
    glyph = Glyph.REDUCE
    operands = ("a", "b")
    examples = (
        Example({}, ("B T", "B T"), ("B",)),
        Example({}, ("B 1 M=3", "B N M=3"), ("B N",)),
        Example({"axis": "C"}, ("B C=4 H=3", "B C=4 H=3"), ("B H=3",)),
    )

    axis: LastAxis = -1

    def _joined(self, inputs: tuple[TensorType, ...], need: Need) -> TensorType:
        refuse_bool(inputs, self.name)
        for i, x in enumerate(inputs):
            if x.dtype != "float":
                raise Refusal(
                    f"`cosine_similarity` takes floating-point numbers, but this is {x}",
                    help='turn it into floats first: `x -> cast("float")`',
                    operand=i,
                    code="A0322",
                )
        return TensorType(broadcast(inputs, need, self.name), promote(inputs))

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        joined = self._joined(inputs, need)
        return (joined.drop(axis_index(joined, self.axis)),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        joined = self._joined(inputs, Need())
        gone = axis_index(joined, self.axis)
        table: Relations = {}
        for (_, out, operand, axis), relation in aligned(inputs, joined).items():
            if axis + joined.rank - inputs[operand].rank == gone:
                table[0, None, operand, axis] = everything(uniform=True)
            else:
                table[0, out if out is None or out < gone else out - 1, operand, axis] = relation
        return table

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(-1, 1),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        joined = self._joined(inputs, Need())
        return call("F.cosine_similarity", "{0}", "{1}", dim=Unless(dim(joined, axis_index(joined, self.axis)), 1))
