"""Equations as plain PyTorch: what every faster way must agree with, and what derivatives of any order go through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from archlang.compiler.recurrent.equations import Equations, Expr, Name, Number, Product
from torch import Tensor


def above(a: Tensor, b: Tensor) -> Tensor:
    """1 where a > b, a half where they are equal."""
    return torch.heaviside(a - b, torch.tensor(0.5, dtype=a.dtype, device=a.device))


FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "neg": torch.neg,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "softplus": F.softplus,
    "positive": lambda a: (a > 0).to(a.dtype),
    "sign": lambda a: a.sign().detach(),
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
    "above": lambda a, b: above(a, b).detach(),
}
ANY = frozenset({"add", "sub", "mul", "div"})  # take numbers beside tensors


def evaluate(value: Expr, table: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """A pointwise expression of tensors [..., n]. `like`: whose dtype and device numbers get."""
    found = _value(value, table, like)
    return found if isinstance(found, Tensor) else torch.full((1,), found, dtype=like.dtype, device=like.device)


def _value(value: Expr, table: Mapping[str, Tensor], like: Tensor) -> Tensor | float:
    if isinstance(value, Number):
        return value.value
    if isinstance(value, Name):
        return table[value.text]
    operands = [_value(v, table, like) for v in value.operands]
    if value.function not in ANY or not any(isinstance(v, Tensor) for v in operands):
        operands = [
            v if isinstance(v, Tensor) else torch.tensor(v, dtype=like.dtype, device=like.device) for v in operands
        ]
    return FUNCTIONS[value.function](*operands)


def step(equations: Equations, table: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adds every value of one step to a table of inputs, constants, states and weights, vectors being [..., n]."""
    like = next(iter(table.values()))
    for one in equations.steps:
        table[one.name] = product(one, table) if isinstance(one, Product) else evaluate(one.value, table, like)
    return table


def product(one: Product, table: Mapping[str, Tensor]) -> Tensor:
    """weight · operands + bias."""
    rows = slice(*(one.rows or (None, None)))
    operands = [table[name] for name in one.operands]
    return F.linear(joined(operands), table[one.weight][rows], None if one.bias is None else table[one.bias][rows])


def joined(operands: Sequence[Tensor]) -> Tensor:
    """Vectors [..., n] joined; of weights and numbers, which have no examples, each example gets the same."""
    if len(operands) == 1:
        return operands[0]
    if len({v.shape[:-1] for v in operands}) > 1:
        batch = torch.broadcast_shapes(*(v.shape[:-1] for v in operands))
        operands = [v.expand(*batch, -1) for v in operands]
    return torch.cat(tuple(operands), -1)
