"""Texts with loops, the modules that come of them, and when two results agree."""

from __future__ import annotations

import torch
from archlang.runtime.module import build
from emit_harness import compiled
from torch import Tensor, nn


def std(*cells: str) -> str:
    return f'import "std/recurrent" use {", ".join(cells)}\n'


def exact(text: str, name: str | None = None) -> nn.Module:
    """The module of a text, in double precision."""
    torch.manual_seed(0)
    return build(compiled(text, name)).double()


def agree(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    assert len(ours) == len(theirs)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)


def both(text: str) -> list[nn.Module]:
    """A network as it runs, and with loops; a checkpoint of one loads into the other."""
    program = compiled(text)
    torch.manual_seed(0)
    quick, loops = build(program).double(), build(program, standalone=True).double()
    assert "archlang" not in loops.source.split("\n", 1)[1]
    assert list(quick.state_dict()) == list(loops.state_dict())
    loops.load_state_dict(quick.state_dict())
    return [quick, loops]


NESTED = """
block Mix(width: int) { input h: [B, E]  input x: [B, D]  output (h, x) -> linear(width) -> relu }
cell Inner(width: int) {
  input x: [B, D]
  state g: [B, width]
  g' = (g, x) -> linear(width) -> tanh
  output g'
}
cell Outer(width: int, deep: bool = true, rate: float = 0.5) {
  input x: [B, D]
  state h: [B, width]
  state g: [B, width]
  module shared = linear(width)
  y = (h, x) -> mix: Mix(width) -> shared -> if deep { shared }
  z, after = y -> inner: Inner(width) from (g=g)
  h' = rate * h + z
  g' = after.g
  output y
}
network Net {
  input x: [B, T, 3]
  y, last = x -> a: scan Outer(4) over T
  z, _ = y -> b: reverse Outer(4, deep=false, rate=0.25) over T
  output z
  output last.h
}
"""


IMAGE = """
cell Rows(width: int) {
  input x: [B, C, W]
  state h: [B, width, W]
  y = (h, x) -> concat(axis=C) -> conv(width, kernel=3, pad=1) -> tanh
  h' = y
  output y
}
network Net {
  input image: [B, 2, H, W]
  input h0: [B, 3, W]
  input real: bool[B, H]
  y, last = image -> rows: reverse Rows(3) over H from (h=h0) with (mask=real)
  output y
  output last.h
}
"""


LEADING = """
cell C(hidden: int) {
  input x: [B, N, D]
  state h: [B, N, hidden]
  state c: [B, N, hidden]
  gate g = (h, x) -> mix: linear(hidden) -> sigmoid
  c' = g * c + (1 - g) * (x -> new: linear(hidden))
  h' = c' -> tanh
  output h'
}
network Net {
  input x: AXES
  input c0: [B, N, 4]
  input real: bool[MASK]
  y, last = x -> cell_: scan C(4) over T from (c=c0) with (mask=real)
  output y
  output last.h
  output last.c
}
"""
