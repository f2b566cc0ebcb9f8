"""Gradients with respect to data, as values: what penalties of a discriminator's slope are made of."""

from __future__ import annotations

from ..relations import Relations, everything
from ..types import TensorType
from .base import Code, Example, Glyph, Interval, Need, Op, Refusal, pointwise
from .shared import require_float


class Leaf(Op):
    """x itself, from which no gradient flows further back, and with respect to which `input_gradient` can be taken."""

    name = "leaf"
    glyph = Glyph.ARITHMETIC
    hidden = True
    examples = (Example({}, ("B T",), ("B T",)),)

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        require_float(inputs[0], self.name)
        return inputs

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0])

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return Code("{0}.detach().requires_grad_()")


class InputGradient(Op):
    """The gradient of the sum of scores with respect to what they were computed from, itself differentiable: for
    scores that each depend on one example, every example's own gradient."""

    name = "input_gradient"
    glyph = Glyph.ARITHMETIC
    operands = ("scores", "x")
    hidden = True
    examples = (Example({}, ("B 1", "B T"), ("B T",)),)

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        scores, x = inputs
        require_float(scores, self.name)
        require_float(x, self.name)
        if not x.rank:
            raise Refusal("a gradient is taken at examples, but this is one number", operand=1)
        return (x,)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        table: Relations = {}
        for operand, tensor in enumerate(inputs):
            for axis in range(outputs[0].rank):
                table |= {(0, axis, operand, seen): everything(loose=True) for seen in range(tensor.rank)}
        return table

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return Code("torch.autograd.grad({0}.sum(), {1}, create_graph=True)[0]")
