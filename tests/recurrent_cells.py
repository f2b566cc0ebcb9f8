"""Cells for the tests of recurrences: their text, their modules, their equations."""

from __future__ import annotations

from collections.abc import Mapping

import archlang
import torch
from archlang.compiler.recurrent.extract import Extracted, Weight, extract
from torch import Tensor, nn

LSTM = """network Cell {
  input x: [B, 3]
  input h: [B, 4]
  input c: [B, 4]
  i, f, g, o = (x, h) -> linear(16) -> split(4)
  c1 = (f -> sigmoid) * c + (i -> sigmoid) * (g -> tanh)
  h1 = (o -> sigmoid) * (c1 -> tanh)
  output y = h1
  output h1
  output c1
}"""
GRU = """network Cell {
  input x: [B, 3]
  input h: [B, 4]
  xr, xz, xn = x -> linear(12) -> split(3)
  hr, hz, hn = h -> linear(12) -> split(3)
  r = xr + hr -> sigmoid
  z = xz + hz -> sigmoid
  n = xn + r * hn -> tanh
  h1 = (1 - z) * n + z * h
  output y = h1
  output h1
}"""


def cell(body: str, *inputs: str) -> str:
    """The text of a cell. inputs: declarations, states last."""
    lines = [*(f"input {one}" for one in inputs), *(line.strip() for line in body.strip().splitlines())]
    return "network Cell {\n" + "".join(f"  {line}\n" for line in lines) + "}"


def extracted(text: str, states: int, constants: tuple[int, ...] = ()) -> Extracted:
    """Equations of a cell, which it must have."""
    found = refused(text, states, constants)
    assert isinstance(found, Extracted), found
    return found


def refused(text: str, states: int, constants: tuple[int, ...] = ()) -> Extracted | str:
    return extract(archlang.compile(text).program.graph, states, constants)


def module(text: str) -> nn.Module:
    """The cell itself, in double precision, with weights that are all different from zero."""
    made = archlang.load(text).double()
    drawn = torch.Generator().manual_seed(0)
    for weight in made.parameters():
        weight.data = (
            torch.randn(weight.shape, generator=drawn, dtype=torch.float64) / max([1, *weight.shape[-1:]]) ** 0.5
        )
    return made


def weights_of(found: Extracted, of: nn.Module) -> dict[str, Tensor]:
    """The tensors that stand for the names of the equations' weights."""
    return dict(zip(found.equations.weights, (_tensor(weight, of) for weight in found.weights), strict=True))


def _tensor(weight: Weight, of: nn.Module) -> Tensor:
    tensors: Mapping[str, Tensor] = {**dict(of.named_parameters()), **dict(of.named_buffers())}
    return eval(weight.code("t"), {"t": tensors[weight.path]})
