"""Activations: what is applied between layers, element by element or (softmax, glu) along one axis."""

from __future__ import annotations

import math
from typing import ClassVar

from ..declared import Field
from ..relations import Relation, Relations, everything, window
from ..sizes import Dim
from ..types import TensorType
from .base import Code, Example, Glyph, Init, Interval, Need, Refusal, Unless, WeightSpec, axis_index, call, pointwise
from .elementwise import LastAxis, _Elementwise, axis_name, dim, monotone, multiply, require_order

_ONE = (Example({}, ("B C=4 H=3 W=3",), ("B C=4 H=3 W=3",)), Example({}, ("B T",), ("B T",)))


class _Activation(_Elementwise):
    """An elementwise function with an nn.Module of its own, `layer`."""

    glyph = Glyph.ACTIVATION
    accepts = "float"
    examples: ClassVar[tuple[Example, ...]] = _ONE
    spares: ClassVar[bool] = False  # PyTorch's function and module take `inplace`

    def overwrite(self, operand: int, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code | None:
        return _inplace(self.call(inputs, outputs)) if self.spares else None

    def overwriting_module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        code = self.module(inputs)
        return _inplace(code) if self.spares and code is not None else None


def _inplace(code: Code) -> Code:
    head = code.template.removesuffix(")")
    return Code(f"{head}{'' if head.endswith('(') else ', '}inplace=True)", code.values)


def _dips(x: Interval, depth: float) -> Interval:
    """Bounds of x·g(x) with g rising from 0 to 1: below zero it dips by at most `depth`, above it stays under x."""
    return Interval(-depth if x.lo < 0 else 0, max(x.hi, 0))


class Sigmoid(_Activation):
    """The logistic function, σ(x) = 1 / (1 + e^-x), in [0, 1]."""

    name, text = "sigmoid", "torch.sigmoid({0})"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(_sigmoid, ranges[0], 0, 1),)

    def overwrite(self, operand: int, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return Code("{0}.sigmoid_()")

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return Code("nn.Sigmoid()")


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class Tanh(_Activation):
    """The hyperbolic tangent, (e^x - e^-x) / (e^x + e^-x), in [-1, 1]."""

    name, text = "tanh", "torch.tanh({0})"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(math.tanh, ranges[0], -1, 1),)

    def overwrite(self, operand: int, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return Code("{0}.tanh_()")

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return Code("nn.Tanh()")


class Relu(_Activation):
    """The rectifier, max(0, x) (Nair and Hinton, 2010)."""

    name, text, accepts = "relu", "F.relu({0})", "numbers"
    spares = True
    told_by_result = True

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(max(0, ranges[0].lo), max(0, ranges[0].hi)),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return Code("nn.ReLU()")


class Relu6(_Activation):
    """The rectifier cut off at six, min(max(0, x), 6) (Krizhevsky, 2010; MobileNet)."""

    name, text = "relu6", "F.relu6({0})"
    spares = True
    told_by_result = True

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(lambda x: min(max(0, x), 6), ranges[0], 0, 6),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return Code("nn.ReLU6()")


class LeakyRelu(_Activation):
    """The leaky rectifier: x above zero, slope·x below (Maas et al., 2013)."""

    name = "leaky_relu"
    spares = True
    told_by_result = True
    examples = (*_ONE, Example({"slope": 0.2}, ("B T",), ("B T",)))

    slope: float = Field(0.01, ge=0, le=1, description="slope below zero")

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(lambda x: x if x > 0 else self.slope * x if self.slope else 0, ranges[0]),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return call("nn.LeakyReLU", *([] if self.slope == 0.01 else [self.slope]))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.leaky_relu", "{0}", *([] if self.slope == 0.01 else [self.slope]))


class Prelu(_Activation):
    """The leaky rectifier whose slope below zero is learnt, starting at 0.25 (He et al., 2015)."""

    name, text = "prelu", "F.prelu({0}, {weight})"
    examples = (*_ONE, Example({"channels": True}, ("B C=4 H=3 W=3",), ("B C=4 H=3 W=3",)))

    channels: bool = Field(False, description="a slope for each channel (axis 1) instead of one for all")

    def weights(self, inputs: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        return (WeightSpec("weight", (self._count(inputs[0]),), init=Init("constant", (0.25,))),)

    def _count(self, x: TensorType) -> int:
        if not self.channels:
            return 1
        if x.rank < 2:
            raise Refusal(f"`prelu(channels=true)` needs a channel axis, but this is {x}", operand=0, code="A0333")
        return Need.known(x.shape[1], "the number of channels of `prelu`", operand=0)

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        self._count(inputs[0])
        return super().infer(inputs, need)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0], changed={1: window(1, 0, 0, uniform=False)} if self.channels else None)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        count = self._count(inputs[0])
        return call("nn.PReLU", *([] if count == 1 else [count]))


class Elu(_Activation):
    """The exponential linear unit: x above zero, alpha·(e^x - 1) below (Clevert et al., 2016)."""

    name = "elu"
    spares = True
    examples = (*_ONE, Example({"alpha": 0.5}, ("B T",), ("B T",)))

    alpha: float = Field(1.0, ge=0, le=1e6, description="how far it goes below zero")

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(lambda x: x if x > 0 else self.alpha * math.expm1(x), ranges[0], -self.alpha),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return call("nn.ELU", *([] if self.alpha == 1 else [self.alpha]))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.elu", "{0}", *([] if self.alpha == 1 else [self.alpha]))


class Selu(_Activation):
    """The scaled exponential linear unit, which keeps mean 0 and variance 1 (Klambauer et al., 2017)."""

    name, text = "selu", "F.selu({0})"
    spares = True

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        scale, alpha = 1.0507009873554805, 1.6732632423543772
        curve = monotone(lambda x: scale * (x if x > 0 else alpha * math.expm1(x)), ranges[0], -scale * alpha)
        return (curve,)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return Code("nn.SELU()")


_SILU_DEPTH = 0.2784645428  # -min x·σ(x), rounded up


class Silu(_Activation):
    """The sigmoid linear unit, x·σ(x): swish with beta 1 (Elfwing et al., 2018)."""

    name, text = "silu", "F.silu({0})"
    spares = True

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (_dips(ranges[0], _SILU_DEPTH),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return Code("nn.SiLU()")


class Swish(_Activation):
    """x·σ(beta·x) (Ramachandran et al., 2017); with beta 1 it is `silu`."""

    name = "swish"
    examples = (*_ONE, Example({"beta": 1.5}, ("B T",), ("B T",)))

    beta: float = Field(1.0, gt=0, le=1e6, description="how sharply it bends; large values approach relu")

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (_dips(ranges[0], _SILU_DEPTH / self.beta),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        return Code("nn.SiLU()") if self.beta == 1 else None

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        if self.beta == 1:
            return Code("F.silu({0})")
        return Code("{0} * torch.sigmoid({beta} * {0})", {"beta": self.beta})


class Gelu(_Activation):
    """The Gaussian error linear unit, x·Φ(x) (Hendrycks and Gimpel, 2016), or its tanh form as GPT-2 has it."""

    name = "gelu"
    examples = (*_ONE, Example({"tanh": True}, ("B T",), ("B T",)))

    tanh: bool = Field(False, description="the approximation by tanh")

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (_dips(ranges[0], 0.17004076),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return call("nn.GELU", approximate=self._form())

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.gelu", "{0}", approximate=self._form())

    def overwrite(self, operand: int, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("torch.ops.aten.gelu_", "{0}", approximate=self._form())

    def _form(self) -> Unless:
        return Unless("tanh" if self.tanh else "none", "none")


class Softplus(_Activation):
    """log(1 + e^x), a smooth rectifier (Dugas et al., 2001)."""

    name, text = "softplus", "F.softplus({0})"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(lambda x: x if x > 40 else math.log1p(math.exp(x)), ranges[0], 0),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return Code("nn.Softplus()")


class Mish(_Activation):
    """x·tanh(log(1 + e^x)) (Misra, 2019)."""

    name, text = "mish", "F.mish({0})"
    spares = True

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (_dips(ranges[0], 0.3088399),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return Code("nn.Mish()")


class Hardsigmoid(_Activation):
    """relu6(x + 3) / 6, a sigmoid of straight lines (Courbariaux et al., 2015)."""

    name, text = "hardsigmoid", "F.hardsigmoid({0})"
    spares = True

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(lambda x: min(max(0, x + 3), 6) / 6, ranges[0], 0, 1),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return Code("nn.Hardsigmoid()")


class Hardswish(_Activation):
    """x·hardsigmoid(x) (Howard et al., 2019, MobileNetV3)."""

    name, text = "hardswish", "F.hardswish({0})"
    spares = True

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (_dips(ranges[0], 0.375),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return Code("nn.Hardswish()")


class Hardtanh(_Activation):
    """The identity between lo and hi, and their values beyond."""

    name = "hardtanh"
    spares = True
    told_by_result = True
    examples = (*_ONE, Example({"lo": 0.0, "hi": 2.0}, ("B T",), ("B T",)))

    lo: float = Field(-1.0, allow_inf_nan=False, description="least value")
    hi: float = Field(1.0, allow_inf_nan=False, description="greatest value")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        require_order(self.lo, self.hi, "hardtanh")
        return super().infer(inputs, need)

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (monotone(lambda x: min(max(self.lo, x), self.hi), ranges[0], self.lo, self.hi),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return call("nn.Hardtanh", *self._limits())

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.hardtanh", "{0}", *self._limits())

    def _limits(self) -> tuple[float, ...]:
        return () if (self.lo, self.hi) == (-1, 1) else (self.lo, self.hi)


class Identity(_Activation):
    """x itself: the place of a layer that does nothing."""

    name, text = "identity", "{0}"
    examples = (*_ONE, Example({}, ("int B",), ("int B",)), Example({}, ("bool B",), ("bool B",)))

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        return inputs

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return Code("nn.Identity()")


class _AlongAxis(_Activation):
    """An activation that looks along one axis."""

    def _axis(self, x: TensorType) -> int:
        return axis_index(x, self.axis)  # type: ignore[attr-defined]

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        self._axis(inputs[0])
        return super().infer(inputs, need)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0], changed={self._axis(inputs[0]): everything(uniform=True, symmetric=True)})


class Softmax(_AlongAxis):
    """e^x / Σ e^x along an axis: positive numbers that sum to one (Bridle, 1990)."""

    name = "softmax"
    neutral, leaves = -math.inf, 0.0
    examples = (
        Example({}, ("B T",), ("B T",)),
        Example({"axis": "C"}, ("B C=4 H=3 W=3",), ("B C=4 H=3 W=3",)),
    )

    axis: LastAxis = -1

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(0, 1),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return call("nn.Softmax", dim=dim(inputs[0], self._axis(inputs[0])))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.softmax", "{0}", dim=dim(inputs[0], self._axis(inputs[0])))


class LogSoftmax(_AlongAxis):
    """The logarithm of softmax, x - log Σ e^x along an axis, computed without overflow."""

    name = "log_softmax"
    neutral, leaves = -math.inf, -math.inf
    examples = (Example({}, ("B T",), ("B T",)), Example({"axis": 1}, ("B C=4 H=3",), ("B C=4 H=3",)))

    axis: LastAxis = -1

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(hi=0),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return call("nn.LogSoftmax", dim=dim(inputs[0], self._axis(inputs[0])))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.log_softmax", "{0}", dim=dim(inputs[0], self._axis(inputs[0])))


class Glu(_AlongAxis):
    """The gated linear unit: one half of an axis times the sigmoid of the other half (Dauphin et al., 2017)."""

    name = "glu"
    examples = (Example({}, ("B T 6",), ("B T 3",)), Example({"axis": "C"}, ("B C=8 H=3",), ("B C=4 H=3",)))

    axis: LastAxis = -1

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        super().infer(inputs, need)
        (x,) = inputs
        axis = self._axis(x)
        size = x.shape[axis]
        need.divides(
            2,
            size,
            f"`glu` halves {axis_name(x, axis)} of {x}, but its size {size} is odd",
            help="give the layer before it an even number of features",
            operand=0,
            setting="axis",
            code="A0327",
        )
        return (x.resize(axis, size // 2),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        axis = self._axis(inputs[0])
        half: int | Dim = outputs[0].shape[axis]
        seen: Relation = (
            window(1, 0, half, loose=True, covers=True)
            if isinstance(half, int)
            else everything(loose=True, covers=True)
        )
        return pointwise(inputs[0], changed={axis: seen})

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (multiply(ranges[0], Interval(0, 1)),)

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        return call("nn.GLU", dim=Unless(dim(inputs[0], self._axis(inputs[0])), -1))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.glu", "{0}", dim=Unless(dim(inputs[0], self._axis(inputs[0])), -1))
