"""Recurrent specs equal torch.nn with copied weights: outputs and gradients, in every number of layers and direction,
padded or not."""

from __future__ import annotations

import functools
import itertools

import archlang
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

FEATURES, HIDDEN = 5, 7
GATES = {
    "LSTM": ("write", "forget", "candidate", "expose"),
    "GRU": ("reset", "update", "candidate"),
    "RNN": ("update",),
}
THEIRS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}

SPEC = """
import "std/recurrent" use RNN, LSTM, GRU
network Net(unit: cell, layers: int = 1, both: bool = false, hidden: int = 7) {
  input x: [B, T, 5]
  input mask: bool[B, T]
  y = x
  for l in 0..layers {
    if both { y = y -> `layer{l}`: bidirectional unit(hidden) over T with (mask=mask) }
    else { y = y -> `layer{l}`: scan unit(hidden) over T with (mask=mask) }
  }
  output y
}
network Net_RNN = Net(RNN)
network Net_LSTM = Net(LSTM)
network Net_GRU = Net(GRU)
"""


def copied(kind: str, theirs: nn.RNNBase, prefixes: dict[str, str]) -> dict[str, Tensor]:
    """Weights of torch.nn under our keys. prefixes: ours by the end of theirs (`l0`, `l0_reverse`)."""
    found = {}
    for end, prefix in prefixes.items():
        ih, hh, bi, bh = (getattr(theirs, f"{what}_{end}") for what in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        count = len(GATES[kind])
        for gate, *parts in zip(GATES[kind], *(t.chunk(count) for t in (hh, ih, bi, bh)), strict=True):
            h, x, b, c = parts
            if (kind, gate) == ("GRU", "candidate"):
                found |= {f"{prefix}.candidate.weight": x, f"{prefix}.candidate.bias": b}
                found |= {f"{prefix}.recall.weight": h, f"{prefix}.recall.bias": c}
            else:
                found |= {f"{prefix}.{gate}.weight": torch.cat([h, x], 1), f"{prefix}.{gate}.bias": b + c}
    return found


def prefixes(layers: int, both: bool) -> dict[str, str]:
    if not both:
        return {f"l{i}": f"layer{i}" for i in range(layers)}
    ends = {"": "ahead", "_reverse": "back"}
    return {f"l{i}{end}": f"layer{i}.{name}" for i in range(layers) for end, name in ends.items()}


@functools.cache
def network(kind: str, layers: int, both: bool) -> archlang.Compiled:
    return archlang.compile(SPEC, f"Net_{kind}", parameters={"layers": layers, "both": both})


@pytest.mark.parametrize(("layers", "both"), list(itertools.product((1, 2, 3), (False, True))))
@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torch(kind: str, layers: int, both: bool, padded: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(layers)
    theirs = THEIRS[kind](FEATURES, HIDDEN, layers, batch_first=True, bidirectional=both).to(dtype)
    ours = network(kind, layers, both).module().to(dtype)
    assert network(kind, layers, both).count() == sum(
        v.numel() for v in copied(kind, theirs, prefixes(layers, both)).values()
    )
    ours.load_state_dict(copied(kind, theirs, prefixes(layers, both)))
    x = torch.randn(4, 9, FEATURES, dtype=dtype, requires_grad=True)
    lengths = torch.tensor([9, 3, 1, 6]) if padded else torch.full((4,), 9)
    mask = torch.arange(9) < lengths[:, None]
    y = ours(x, mask)
    if padded:
        packed, _ = theirs(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        expected, _ = pad_packed_sequence(packed, batch_first=True, total_length=9)
    else:
        expected, _ = theirs(x)
    near = {"rtol": 1e-5, "atol": 5e-6} if dtype is torch.float32 else {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(y, expected, **near)
    weight = torch.randn_like(expected)
    (y * weight).sum().backward()
    (mine,) = (x.grad,)
    x.grad = None
    (expected * weight).sum().backward()
    torch.testing.assert_close(mine, x.grad, **near)
    for key, gradient in copied_gradients(kind, theirs, prefixes(layers, both)).items():
        torch.testing.assert_close(ours.get_parameter(key).grad, gradient, **near)


def copied_gradients(kind: str, theirs: nn.RNNBase, places: dict[str, str]) -> dict[str, Tensor]:
    """Gradients of torch.nn's weights under our keys. Its two biases of a gate are one of ours, with the gradient of
    either."""
    gradients = THEIRS[kind](
        theirs.input_size, theirs.hidden_size, theirs.num_layers, batch_first=True, bidirectional=theirs.bidirectional
    ).to(theirs.weight_ih_l0.dtype)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            part = gradients.get_parameter(name)
            part.copy_(weight.grad)
            if name.startswith("bias_hh"):
                count = len(GATES[kind])
                merged = count - 1 if kind == "GRU" else count
                part[: merged * HIDDEN] = 0
        return copied(kind, gradients, places)
