"""Recurrences that are layers of PyTorch: its own kernels (cuDNN's on a GPU), given weights in its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from archlang.compiler.recurrent.equations import Equations, read
from archlang.compiler.recurrent.recognise import Layer, Share, recognise
from torch import Tensor

from .plain import starts


@lru_cache(256)
def layer(text: str) -> Layer | None:
    """The layer of equations in their text form, if they have one."""
    return recognise(read(text))


def run(
    of: Layer,
    equations: Equations,
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    states: Sequence[Tensor | None],
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """As `plain`, without a mask, by the layer. Its kernels have no derivatives of derivatives."""
    entering = dict(zip(equations.inputs, inputs, strict=True))
    found = [entering[name] for name in of.inputs]
    x = found[0] if len(found) == 1 else torch.cat(found, -1)
    x = x.flip(1) if reverse else x
    begun = dict(zip(equations.states, starts(equations, inputs, states), strict=True))
    y, last = _call(of, x, flat(of, equations, weights), {name: s.unsqueeze(0) for name, s in begun.items()})
    y = y.flip(1) if reverse else y
    return (*(y for _ in equations.outputs), *(last[name].squeeze(0) for name in equations.states))


def _call(of: Layer, x: Tensor, given: list[Tensor], first: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    training = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *given, *first.values()))
    settings = (True, 1, 0.0, training, False, True)  # biases, layers, dropout, training, both directions, batch first
    h = first[of.hidden].contiguous()
    if of.cell is not None:
        y, h, c = torch._VF.lstm(x, (h, first[of.cell].contiguous()), given, *settings)
        return y, {of.hidden: h, of.cell: c}
    function = {"gru": torch._VF.gru, "tanh": torch._VF.rnn_tanh, "relu": torch._VF.rnn_relu}[of.kind]
    y, h = function(x, h, given, *settings)
    return y, {of.hidden: h}


def flat(of: Layer, equations: Equations, weights: Sequence[Tensor]) -> list[Tensor]:
    """weight_ih, weight_hh, bias_ih and bias_hh, one after the other in memory, as cuDNN wants them."""
    table = dict(zip(equations.weights, weights, strict=True))
    height = equations.states[of.hidden]
    widths = {name: equations.inputs[name] for name in of.inputs}
    sides = ((of.of_inputs, widths), (of.of_hidden, {of.hidden: height}))
    parts = [_matrix(share, table, columns, height) for shares, columns in sides for share in shares]
    parts += [_bias(share, table, height) for shares, _ in sides for share in shares]
    whole = torch.cat([part.flatten() for part in parts])
    count = len(of.of_inputs) * height
    shapes = [(count, sum(widths.values())), (count, height), (count,), (count,)]
    pieces = whole.split([count * shape[1] if len(shape) == 2 else count for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def _matrix(share: Share, table: Mapping[str, Tensor], columns: Mapping[str, int], height: int) -> Tensor:
    """[rows of one gate, columns of what it reads]."""
    like = next(iter(table.values()))
    blocks = []
    for name, width in columns.items():
        found = [table[p.weight][slice(*p.rows), slice(*p.columns)] for p in share.parts if p.operand == name]
        block = sum(found[1:], found[0]) if found else like.new_zeros(height, width)
        blocks.append(block if share.sign > 0 else -block)
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)


def _bias(share: Share, table: Mapping[str, Tensor], height: int) -> Tensor:
    found = [table[name][slice(*rows)] for name, rows in share.biases]
    total = sum(found[1:], found[0]) if found else next(iter(table.values())).new_zeros(height)
    total = total + share.shift if share.shift else total
    return total if share.sign > 0 else -total
