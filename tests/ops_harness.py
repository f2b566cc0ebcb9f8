"""Runs an op's text on real tensors: what `test_ops.py` and the tests of single ops share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from archlang.compiler.ops import get
from archlang.compiler.ops.base import Code, Example, Interval, Need, Op, Refusal
from archlang.compiler.relations import Relation, Sees
from archlang.compiler.sizes import Dim, substitute, symbols
from archlang.compiler.types import TensorType, tensor
from torch import nn

SIZES = {"B": 2, "N": 3, "T": 6, "S": 5, "C": 4, "D": 4, "H": 8, "W": 9, "K": 5}  # what symbols of examples stand for
DTYPES = {"float": torch.float64, "int": torch.int64, "bool": torch.bool}


def literal(value: Any) -> str:
    """A value of a Code, printed as Python."""
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, float) and math.isinf(value):
        return "math.inf" if value > 0 else "-math.inf"
    assert value is None or isinstance(value, bool | int | float | str | Dim), f"{value!r} is no literal"
    return str(value) if isinstance(value, Dim) else repr(value)


class _Holes(Formatter):
    """Fills a template; a weight that the layer does not have is None."""

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return args[key] if isinstance(key, int) else kwargs.get(key, "None")


def render(code: Code, operands: int, weights: Sequence[str] = ()) -> str:
    """The Python text of a fragment; operands are called x0, x1 …, weights w_<name>."""
    names = [f"x{i}" for i in range(operands)]
    short = [name.removeprefix("parametrizations.").partition(".")[0] for name in weights]
    holes = {name: f"w_{name}" for name in short} | {"all": ", ".join(names), "training": "training"}
    holes |= {name: literal(value) for name, value in code.values.items()}
    return _Holes().vformat(code.template, names, holes)


@dataclass
class Case:
    """One example of an op, made concrete: symbols replaced by numbers, tensors and weights drawn."""

    op: Op
    number: int
    inputs: tuple[TensorType, ...]  # all sizes known
    outputs: tuple[TensorType, ...]
    example: Example
    tensors: list[torch.Tensor]
    weights: dict[str, torch.Tensor]

    def run(self, tensors: Sequence[torch.Tensor] | None = None, *, training: bool = False) -> tuple[torch.Tensor, ...]:
        """Results of the functional form."""
        tensors = self.tensors if tensors is None else tensors
        text = render(self.op.call(self.inputs, self.outputs), len(self.inputs), list(self.weights))
        return self.evaluate(text, tensors, training=training)

    def evaluate(self, text: str, tensors: Sequence[torch.Tensor], *, training: bool = False, **scope: int) -> tuple:
        scope |= {f"x{i}": t.clone() for i, t in enumerate(tensors)}
        scope |= {f"w_{name}": t.clone() for name, t in self.weights.items()}
        if getattr(self.op, "spectral_norm", False):  # only its module computes the weight
            module = self.module()
            assert module is not None
            scope["w_weight"] = module.train(training).weight.detach()
        if self.op.name == "input_gradient":  # its first operand must be made from the second
            scope["x0"] = scores(scope["x1"].requires_grad_())
        torch.default_generator.manual_seed(0)  # quicker than torch.manual_seed, which looks for devices
        usual = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)  # for text that makes tensors of its own
        try:
            result = eval(text, {"torch": torch, "nn": nn, "F": F, "math": math, "training": training, **scope})
        finally:
            torch.set_default_dtype(usual)
        results = result if isinstance(result, tuple | list) else (result,)
        found = tuple(torch.as_tensor(r) for r in results)  # `scalar` is a plain number
        return found if any(t.requires_grad for t in tensors) else tuple(r.detach() for r in found)

    def module(self) -> nn.Module | None:
        """The nn.Module, with the case's weights loaded; None for an op without."""
        code = self.op.module(self.inputs)
        if code is None:
            return None
        module = eval(render(code, 0), {"torch": torch, "nn": nn, "F": F, "math": math}).double()
        module.load_state_dict({k: v for k, v in self.weights.items() if k in module.state_dict()})
        return module


def scores(x: torch.Tensor) -> torch.Tensor:
    """A score for each example, [B, 1], whose slope depends on all of it."""
    return x.flatten(1).pow(3).sum(1, keepdim=True).square()


def concrete(types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Types with every symbol replaced by the number that `SIZES` has for it."""
    found = sorted(set().union(*(symbols(size) for t in types for size in t.shape)))
    return tuple(t.substitute({name: SIZES.get(name, 4) for name in found}) for t in types)


def make_case(op: Op, example: Example, number: int = 0) -> Case:
    """The op's example of this number, with tensors and weights drawn from a fixed seed."""
    generator = torch.Generator().manual_seed(number)
    inputs = concrete(example.input_types())
    tensors = [draw(t, kind_of(example, i), example.high, generator) for i, t in enumerate(inputs)]
    weights = {}
    for spec in op.weights(inputs):
        weight = torch.randn(spec.shape, generator=generator, dtype=torch.float64)
        if spec.dtype != "float":
            weight = torch.zeros(spec.shape, dtype=DTYPES[spec.dtype])
        weights[spec.name] = weight.abs() + 0.5 if "var" in spec.name else weight
    outputs = op.infer(inputs, Need())
    return Case(op, number, inputs, outputs, example, tensors, weights)


def kind_of(example: Example, operand: int) -> str:
    return example.values[operand] if operand < len(example.values) else ""


def draw(t: TensorType, kind: str, high: int, generator: torch.Generator) -> torch.Tensor:
    """A tensor of a type, with values of the kind that an example asks for."""
    shape = tuple(int(size) for size in t.shape)
    if t.dtype == "bool":
        return torch.rand(shape, generator=generator) < 0.5
    if t.dtype == "int":
        return torch.randint(high, shape, generator=generator)
    if kind == "probability":
        return torch.rand(shape, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    return values.abs() + 0.1 if kind == "positive" else values


def range_of(tensor: torch.Tensor) -> Interval:
    return Interval(float(tensor.min()), float(tensor.max())) if tensor.numel() else Interval()


def evaluate_size(size: int | Dim, values: Mapping[str, int]) -> int:
    known = substitute(size, values)
    assert isinstance(known, int), f"{size} is not known from {values}"
    return known


def sees(relation: Relation, output: int, position: int) -> bool:
    """May output position `output` depend on input position `position`?"""
    if relation.sees is Sees.WINDOW:
        return relation.lo <= position - relation.stride * output <= relation.hi
    if relation.sees is Sees.PREFIX:
        return position <= output
    return position >= output if relation.sees is Sees.SUFFIX else True


def perturbed(case: Case, operand: int, index: tuple[int, ...]) -> list[list[torch.Tensor]]:
    """Operands with one element changed, in a few ways (upward far enough to win any maximum)."""
    x = case.tensors[operand]
    kind = kind_of(case.example, operand)
    old = x[index]
    if x.dtype is torch.bool:
        values: list = [~old]
    elif x.dtype is torch.int64:
        values = [(old + 1) % case.example.high]
    elif kind == "probability":
        values = [0.99 - old * 0.5, old * 0.5]
    else:
        values = [old + 7.3, old + 0.31, *([old * 0.5] if kind == "positive" else [old - 6.1])]
    result = []
    for value in values:
        changed = x.clone()
        changed[index] = value
        result.append([changed if i == operand else t for i, t in enumerate(case.tensors)])
    return result


def changed_positions(case: Case, operand: int, index: tuple[int, ...]) -> list[torch.Tensor]:
    """For every result, a mask of the elements that one changed element reaches."""
    base = case.run()
    masks = [torch.zeros(y.shape, dtype=torch.bool) for y in base]
    for tensors in perturbed(case, operand, index):
        for mask, before, after in zip(masks, base, case.run(tensors), strict=True):
            mask |= ~torch.isclose(before.double(), after.double(), rtol=1e-10, atol=1e-12, equal_nan=True)
    return masks


def coordinates(mask: torch.Tensor, axis: int) -> set[int]:
    """Positions along one axis at which a mask is set anywhere."""
    return {int(i) for i in torch.nonzero(mask)[:, axis].unique()}


def op(name: str, **values: Any) -> Op:
    found = get(name)
    assert found is not None
    return found(**values)


def infer(name: str, *inputs: str, need: Need | None = None, **values: Any) -> list[str]:
    return [str(t) for t in op(name, **values).infer(tuple(map(tensor, inputs)), need or Need())]


def refusal(name: str, *inputs: str, **values: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        op(name, **values).infer(tuple(map(tensor, inputs)), Need())
    return caught.value
