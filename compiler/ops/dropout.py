"""Layers that drop at random in training and do nothing in evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from ..declared import Field
from ..relations import Relations
from ..types import TensorType
from .base import Code, Example, Glyph, Interval, Need, Op, Refusal, call, pointwise
from .shared import require_float, require_rank

Chance = Annotated[float, Field(ge=0, le=1)]


class _Dropout(Op):
    """Zeros with probability p, the rest scaled by 1 / (1 − p)."""

    if TYPE_CHECKING:
        p: Chance

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        require_float(inputs[0], self.name)
        return inputs

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0])

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        (x,) = ranges
        if self.p == 0:
            return (x,)
        grow = 1 / (1 - self.p) if self.p < 1 else 1.0
        return (Interval(min(0.0, x.lo * grow), max(0.0, x.hi * grow)),)


class Dropout(_Dropout):
    """Sets every element to zero with probability p in training, and scales the others by 1 / (1 − p); nothing in
    evaluation (Srivastava et al., 2014)."""

    name = "dropout"
    glyph = Glyph.DROPOUT
    random = True
    stateful = True
    examples = (
        Example({}, ("B T D",), ("B T D",)),
        Example({"p": 0.1}, ("B 20",), ("B 20",)),
        Example({"p": 1.0}, ("B 3",), ("B 3",)),
        Example({"p": 0.0}, ("B 3",), ("B 3",)),
    )

    p: Chance = Field(0.5, description="probability of dropping an element")

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        return call("nn.Dropout", self.p)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.dropout", "{0}", self.p, "{training}")


class DropoutChannels(_Dropout):
    """Dropout of whole channels of [B, C, *spatial]: neighbouring positions agree too much to be dropped one by one
    (Tompson et al., 2015)."""

    name = "dropout_channels"
    glyph = Glyph.DROPOUT
    random = True
    stateful = True
    examples = (
        Example({}, ("B C L",), ("B C L",)),
        Example({"p": 0.2}, ("B C=9 H W",), ("B C=9 H W",)),
        Example({"p": 0.3}, ("B C=9 2 2 2",), ("B C=9 2 2 2",)),
    )

    p: Chance = Field(0.5, description="probability of dropping a channel")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        require_rank(inputs[0], self.name, 3, 5, "[B, C, L], [B, C, H, W] or [B, C, D, H, W]")
        return inputs

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        return call(f"nn.Dropout{inputs[0].rank - 2}d", self.p)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call(f"F.dropout{inputs[0].rank - 2}d", "{0}", self.p, "{training}")


class StochasticDepth(_Dropout):
    """Drops the whole tensor of an example with probability p in training, and scales the others by 1 / (1 − p). At the
    end of a residual branch it leaves the shortcut alone: networks of random depth (Huang et al., 2016)."""

    name = "stochastic_depth"
    glyph = Glyph.DROPOUT
    random = True
    stateful = True
    examples = (
        Example({"p": 0.2}, ("B C H W",), ("B C H W",)),
        Example({"p": 0.5}, ("B=16 T D",), ("B=16 T D",)),
        Example({"p": 0.5}, ("B",), ("B",)),
    )

    p: Chance = Field(description="probability of dropping an example")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        require_float(inputs[0], self.name)
        if inputs[0].rank == 0:
            raise Refusal("`stochastic_depth` drops examples, but a scalar has no batch axis", operand=0, code="A0310")
        return inputs

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        # Dropout of a tensor of ones, one an example, draws the mask and scales it.
        ones = "{0}.new_ones({0}.shape[0]" + ", 1" * (inputs[0].rank - 1) + ")"
        return Code("{0} * F.dropout(" + ones + ", {p}, {training})", {"p": self.p})
