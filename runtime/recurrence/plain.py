"""Equations as plain PyTorch: what every faster way must agree with, and what derivatives of any order go through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from archlang.compiler.recurrent.equations import Equations, Expr, Name, Number, Product
from torch import Tensor


def above(a: Tensor | float, b: Tensor | float) -> Tensor:
    """1 where a > b, a half where they are equal. One of the two may be a number."""
    difference = torch.as_tensor(a - b)
    return torch.heaviside(difference, difference.new_tensor(0.5))


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


def plain(
    equations: Equations,
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    states: Sequence[Tensor | None] = (),
    constants: Sequence[Tensor] = (),
    mask: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """Outputs [B, T, n] in order and last states [B, n]: a loop over steps that autograd follows.

    inputs: [B, T, n]. states: [B, n], zeros where None. constants: [B, n]. mask: bool [B, T]; where it is false states
    stay as they are and outputs are zero. reverse: from the last step to the first."""
    fixed = {**dict(zip(equations.weights, weights, strict=True))}
    fixed |= dict(zip(equations.constants, constants, strict=True))
    at = dict(zip(equations.states, starts(equations, inputs, states), strict=True))
    if mask is not None:  # not a number times zero is not zero: what is masked must not matter even then
        inputs = [x.masked_fill(~mask.unsqueeze(-1), 0) for x in inputs]
    rows = list(zip(*(x.unbind(1) for x in inputs), strict=True))
    masks = [None] * len(rows) if mask is None else mask.unsqueeze(-1).unbind(1)
    order = range(len(rows))[::-1] if reverse else range(len(rows))
    left: list[list[Tensor]] = [[] for _ in equations.outputs]
    for t in order:
        table = step(equations, {**dict(zip(equations.inputs, rows[t], strict=True)), **fixed, **at})
        after = {state: table[name] for state, name in equations.next.items()}
        if (m := masks[t]) is not None:
            after = {state: torch.where(m, value, at[state]) for state, value in after.items()}
        at = {state: value.expand_as(at[state]) for state, value in after.items()}
        for found, name in zip(left, equations.outputs, strict=True):
            value = table[name].expand(inputs[0].shape[0], -1)
            found.append(value if m is None else torch.where(m, value, 0))
    if not rows:
        widths = equations.widths
        return (*(inputs[0].new_zeros(len(inputs[0]), 0, widths[n]) for n in equations.outputs), *at.values())
    return (*(torch.stack(found[::-1] if reverse else found, 1) for found in left), *at.values())


def starts(equations: Equations, inputs: Sequence[Tensor], states: Sequence[Tensor | None]) -> list[Tensor]:
    """The states at first: zeros where none are given."""
    given = states or [None] * len(equations.states)
    return [
        inputs[0].new_zeros(len(inputs[0]), width) if state is None else state
        for state, width in zip(given, equations.states.values(), strict=True)
    ]


def differentiable(
    equations: Equations,
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    states: Sequence[Tensor | None],
    constants: Sequence[Tensor],
    mask: Tensor | None,
    reverse: bool,
    grads: Sequence[Tensor | None],
    wanted: Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    """Gradients that can be derived again, for backward passes that can't: of `wanted`, given those of what `plain`
    returns (None: zero)."""
    outputs = plain(equations, inputs, weights, states, constants, mask, reverse)
    pairs = [(y, d) for y, d in zip(outputs, grads, strict=True) if y.requires_grad and d is not None]
    ends, given = zip(*pairs, strict=True) if pairs else ((), ())
    return torch.autograd.grad(ends, wanted, given, create_graph=True, allow_unused=True)
