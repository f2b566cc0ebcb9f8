"""Recurrent networks as source: what the loops compute, beside PyTorch's own layers and loops written by hand."""

from __future__ import annotations

import pytest
import torch
from archlang.compiler.emit.python import emit_python
from archlang.runtime.module import build
from emit_harness import compiled, lint
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

GATES = {
    nn.LSTM: ("write", "forget", "candidate", "expose"),
    nn.GRU: ("reset", "update", "candidate"),
    nn.RNN: ("update",),
}


def std(*cells: str) -> str:
    return f'import "std/recurrent" use {", ".join(cells)}\n'


def exact(text: str, name: str | None = None) -> nn.Module:
    """The module of a text, in double precision."""
    torch.manual_seed(0)
    return build(compiled(text, name)).double()


def copy_weights(cell: nn.Module, layer: nn.RNNBase, hidden: int, suffix: str = "l0") -> None:
    """Gives a layer of PyTorch the weights of a cell of the library."""
    rows, biases = [], []
    for gate in GATES[type(layer)]:
        linear = getattr(cell, gate)
        weight = linear.weight
        if weight.shape[1] == layer.weight_ih_l0.shape[1] and hasattr(cell, "recall"):
            weight = torch.cat([cell.recall.weight, weight], 1)
        rows.append(weight)
        biases.append(linear.bias)
    whole = torch.cat(rows)
    second = torch.zeros(len(whole), dtype=whole.dtype)
    if hasattr(cell, "recall"):
        second[-hidden:] = cell.recall.bias.detach()
    with torch.no_grad():
        getattr(layer, f"weight_hh_{suffix}").copy_(whole[:, :hidden])
        getattr(layer, f"weight_ih_{suffix}").copy_(whole[:, hidden:])
        getattr(layer, f"bias_ih_{suffix}").copy_(torch.cat(biases))
        getattr(layer, f"bias_hh_{suffix}").copy_(second)


def agree(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    assert len(ours) == len(theirs)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("cell", "layer"), [("LSTM", nn.LSTM), ("GRU", nn.GRU), ("RNN", nn.RNN)])
def test_cells_of_the_library_are_those_of_pytorch(cell, layer):
    module = exact(
        std(cell)
        + f"""
        network Net {{
          input x: [B, T, 3]
          y, last = x -> rnn: scan {cell}(5) over T
          output y
          output last.h
          {"output last.c" if cell == "LSTM" else ""}
        }}
        """
    )
    theirs = layer(3, 5, batch_first=True).double()
    copy_weights(module.rnn, theirs, 5)
    x = torch.randn(4, 7, 3, dtype=torch.float64, requires_grad=True)
    outputs, final = theirs(x)
    expected = (outputs, *(s[0] for s in (final if isinstance(final, tuple) else (final,))))
    found = module(x)
    agree(found, expected)
    agree(
        torch.autograd.grad(sum(t.sin().sum() for t in found), x),
        torch.autograd.grad(sum(t.sin().sum() for t in expected), x),
    )


MASKED = """
network Net {
  input x: [B, T, 3]
  input real: bool[B, T]
  y, last = x -> rnn: scan LSTM(5) over T with (mask=real)
  output y
  output last.h
  output last.c
}
"""


def test_a_mask_does_what_packing_does():
    module = exact(std("LSTM") + MASKED)
    theirs = nn.LSTM(3, 5, batch_first=True).double()
    copy_weights(module.rnn, theirs, 5)
    x = torch.randn(4, 7, 3, dtype=torch.float64)
    lengths = torch.tensor([7, 3, 5, 1])
    packed, (h, c) = theirs(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    padded, _ = pad_packed_sequence(packed, batch_first=True)
    x[torch.arange(7) >= lengths[:, None]] = 1e300  # what is masked is not looked at
    agree(module(x, torch.arange(7) < lengths[:, None]), (padded, h[0], c[0]))


def test_an_empty_sequence_is_refused_where_the_scan_stands():
    module = exact(std("LSTM") + MASKED)
    with pytest.raises(RuntimeError, match=r"nothing to scan: `T` is 0 long \(net.arch:6\)"):
        module(torch.zeros(2, 0, 3).double(), torch.zeros(2, 0, dtype=torch.bool))


def test_loops_read_as_a_person_writes_them():
    texts = [std("LSTM") + MASKED, std("LSTM") + MASKED.replace("scan", "reverse")]
    assert not lint(*(emit_python(compiled(text)) for text in texts))
