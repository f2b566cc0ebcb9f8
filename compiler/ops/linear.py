"""Affine maps and look-ups."""

from __future__ import annotations

from typing import Annotated, Literal

from ..declared import Field
from ..relations import POINTWISE, Relations, everything
from ..sizes import Dim
from ..types import Axis, TensorType
from .base import Code, Example, Glyph, Init, Need, Op, Refusal, Unless, WeightSpec, call, pointwise
from .shared import (
    Bias,
    BiasStart,
    Count,
    Spectral,
    Start,
    fan_in_init,
    require_float,
    require_module,
    spectral,
    spectral_weights,
)


class Linear(Op):
    """Affine map of the last axis: y = x Wᵀ + b, the same at every place of the other axes.

    Several tensors that enter together are first joined along their last axis, as W·[h, x] is meant in the literature.
    The last axis keeps its name."""

    name = "linear"
    glyph = Glyph.LINEAR
    joins = True
    examples = (
        Example({"out": 5}, ("B D=7",), ("B D=5",)),
        Example({"out": 6, "bias": False}, ("B T 4",), ("B T 6",)),
        Example({"out": 3, "layout": "io"}, ("B T D=5",), ("B T D=3",)),
        Example({"out": 3, "spectral_norm": True}, ("B T D=5",), ("B T D=3",)),
        Example({"out": 3, "layout": "io", "bias": False}, ("B 3 T D=5",), ("B 3 T D=3",)),
    )

    out: Count = Field(description="number of output features")
    bias: Bias = True
    layout: Literal["oi", "io"] = Field(
        "oi", description="how the weight is stored: [out, in] as nn.Linear does, or [in, out] as GPT-2 does"
    )
    init: Start = None
    bias_init: BiasStart = None
    spectral_norm: Spectral = False

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_float(x, "linear")
        if x.rank == 0:
            raise Refusal("`linear` needs an axis of features, but this is a scalar", operand=0, code="A0310")
        require_module(self.spectral_norm, self.layout == "io", '`layout="io"`')
        self._features(x)
        return (x.resize(x.rank - 1, self.out),)

    def _features(self, x: TensorType) -> int:
        return Need.known(x.shape[-1], "the number of features that enter `linear`", operand=0)

    def weights(self, inputs: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        features = self._features(inputs[0])
        made_here = self.layout == "io"
        start = fan_in_init(features) if made_here else Init()
        shape = (features, self.out) if made_here else (self.out, features)
        weight = WeightSpec("weight", shape, init=self.init or start)
        made = (weight, WeightSpec("bias", (self.out,), init=self.bias_init or start)) if self.bias else (weight,)
        return spectral_weights(made) if self.spectral_norm else made

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0], changed={inputs[0].rank - 1: everything()})

    def flops(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> int | Dim:
        return 2 * inputs[0].elements * self.out

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        if self.layout == "io":
            return None  # nn.Linear stores the weight the other way around
        made = call("nn.Linear", self._features(inputs[0]), self.out, bias=Unless(self.bias, True))
        return spectral(made) if self.spectral_norm else made

    def forgets_result(self, inputs: tuple[TensorType, ...]) -> bool:
        return inputs[0].rank == 2  # of more, it is a view

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        weight = "{weight}.T" if self.layout == "io" else "{weight}"
        return Code(f"F.linear({{0}}, {weight}, {{bias}})" if self.bias else f"F.linear({{0}}, {weight})")


class Embedding(Op):
    """Look-up table: every index becomes the row of a trained table; the result has one more axis, the row's."""

    name = "embedding"
    glyph = Glyph.EMBED
    operands = ("index",)
    examples = (
        Example({"count": 9, "dim": 4}, ("int: B, T",), ("B T 4",), ("index",), high=9),
        Example({"count": 5, "dim": 3, "pad": 0}, ("int: B",), ("B 3",), ("index",), high=5),
    )

    count: Count = Field(description="number of rows: indices lie in [0, count)")
    dim: Count = Field(description="features a row")
    pad: Annotated[int, Field(ge=0)] | None = Field(
        None, description="index of a row that starts at zero and never learns"
    )
    init: Start = None

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (index,) = inputs
        if index.dtype != "int":
            raise Refusal(
                f"`embedding` looks up indices, but this is {index}",
                help="declare it as indices, as in `input tokens: int[B, T]`; for numbers use `linear`",
                operand=0,
                code="A0315",
            )
        if self.pad is not None and self.pad >= self.count:
            raise Refusal(f"there is no row {self.pad} in a table of {self.count}", setting="pad", code="A0313")
        return (TensorType((*index.axes, Axis(None, self.dim))),)

    def weights(self, inputs: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        return (WeightSpec("weight", (self.count, self.dim), init=self.init or Init()),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return {(0, a, 0, a): POINTWISE for a in range(inputs[0].rank)}

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        return call("nn.Embedding", self.count, self.dim, padding_idx=Unless(self.pad, None))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.embedding", "{0}", "{weight}", padding_idx=Unless(self.pad, None))
