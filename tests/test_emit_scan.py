"""Recurrent networks as source: what the loops compute, beside PyTorch's own layers and loops written by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from archlang.compiler.emit.python import emit_python
from archlang.runtime.module import build
from emit_harness import compiled, lint
from scan_harness import IMAGE, LEADING, NESTED, agree, both, exact, std
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

GATES = {
    nn.LSTM: ("write", "forget", "candidate", "expose"),
    nn.GRU: ("reset", "update", "candidate"),
    nn.RNN: ("update",),
}


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


# ---------------------------------------------------------------- cells that PyTorch has no layer for


def gradients(outputs: tuple[Tensor, ...], module: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    given = [x, *module.parameters()]
    total = sum((t * torch.arange(1.0, t.numel() + 1).view(t.shape).sin()).sum() for t in outputs)
    return torch.autograd.grad(total, given, allow_unused=True, materialize_grads=True)


def check(text: str, expected: Callable, *inputs: Tensor) -> None:
    """The network computes, and derives, what a loop by hand does. `expected` gets the module and its inputs."""
    for module in both(text):
        given = [t.double().requires_grad_() if t.is_floating_point() else t for t in inputs]
        found, wanted = module(*given), expected(module, *given)
        found, wanted = (t if isinstance(t, tuple) else (t,) for t in (found, wanted))
        agree(found, wanted)
        agree(gradients(found, module, given[0]), gradients(wanted, module, given[0]))


def test_several_inputs_outputs_and_states_of_other_ranks():
    text = """
    cell Attend(heads: int, width: int) {
      input x: [B, D]
      input extra: [B, E]
      input memory: [B, S, D]
      state h: [B, heads, width]
      state seen: [B, D]
      q = x -> query: linear(heads * width) -> rearrange("b (h d) -> b h d", h=heads)
      k = memory -> key: linear(heads * width) -> rearrange("b s (h d) -> b h s d", h=heads)
      weights = (q + h, k) -> einsum("b h d, b h s d -> b h s") -> softmax
      h' = (weights, k) -> einsum("b h s, b h s d -> b h d") -> tanh
      seen' = seen + x * (extra -> gate: linear(D) -> sigmoid)
      output weights
      output seen'
    }
    network Net {
      input x: [B, T, 4]
      input extra: [B, 3, T]
      input memory: [B, S, 4]
      w, s, last = (x, extra) -> attend: scan Attend(2, 5) over T with (memory=memory)
      output w
      output s
      output last.h
    }
    """

    def expected(net, x, extra, memory):
        cell = net.attend
        h, seen, ws, ss = x.new_zeros(3, 2, 5), x.new_zeros(3, 4), [], []
        key = cell.key(memory).view(3, 6, 2, 5).transpose(1, 2)
        for t in range(7):
            q = cell.query(x[:, t]).view(3, 2, 5)
            w = torch.softmax(torch.einsum("bhd,bhsd->bhs", q + h, key), -1)
            h = torch.tanh(torch.einsum("bhs,bhsd->bhd", w, key))
            seen = seen + x[:, t] * torch.sigmoid(cell.gate(extra[:, :, t]))
            ws.append(w)
            ss.append(seen)
        return torch.stack(ws, 1), torch.stack(ss, 1), h

    check(text, expected, torch.randn(3, 7, 4), torch.randn(3, 3, 7), torch.randn(3, 6, 4))


def outer(cell: nn.Module, x: Tensor, deep: bool, rate: float, reverse: bool) -> tuple[Tensor, Tensor]:
    h = g = x.new_zeros(len(x), 4)
    ys = {}
    order = range(x.shape[1])
    for t in reversed(order) if reverse else order:
        y = cell.shared(cell.mix(h, x[:, t]))
        y = cell.shared(y) if deep else y
        g = torch.tanh(cell.inner.linear1(torch.cat([g, y], 1)))
        h = rate * h + g
        ys[t] = y
    return torch.stack([ys[t] for t in order], 1), h


def test_blocks_conditions_shared_modules_and_a_cell_within_a_cell():
    def expected(net, x):
        y, h = outer(net.a, x, True, 0.5, False)
        z, _ = outer(net.b, y, False, 0.25, True)
        return z, h

    check(NESTED, expected, torch.randn(3, 6, 3))


def test_a_scan_over_the_rows_of_an_image():
    def expected(net, image, h, real):
        ys = [None] * 5
        for i in reversed(range(5)):
            y = torch.tanh(net.rows.conv1(torch.cat([h, image[:, :, i]], 1)))
            m = real[:, i, None, None]
            h = torch.where(m, y, h)
            ys[i] = torch.where(m, y, 0)
        return torch.stack(ys, 2), h

    real = torch.tensor([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]], dtype=torch.bool)
    check(IMAGE, expected, torch.randn(2, 2, 5, 6), torch.randn(2, 3, 6), real)


@pytest.mark.parametrize(
    ("axes", "mask"),
    [
        ("B, N, T, 3", "B, T"),
        ("B, T, N, 3", "B, N, T"),
        ("T, B, N, 3", "T"),
        ("B, N, 3, T", "B, T"),
        ("T, B, N, 3", "B, T"),
    ],
)
def test_leading_axes_and_masks_of_any_rank(axes, mask):
    text = LEADING.replace("AXES", f"[{axes}]").replace("MASK", mask)
    sizes = {"B": 2, "N": 3, "T": 5, "3": 3}
    at = axes.split(", ").index("T")
    real = torch.rand([sizes[a] for a in mask.split(", ")], generator=torch.Generator().manual_seed(1)) > 0.4
    whole = real[(None,) * (3 - real.dim())] if mask == "T" else real.view(2, -1, 5)

    def expected(net, x, c, real):
        h, ys = torch.zeros_like(c), []
        for t, x_t in enumerate(x.unbind(at)):
            g = torch.sigmoid(net.cell_.mix(torch.cat([h, x_t], -1)))
            new = g * c + (1 - g) * net.cell_.new(x_t)
            m = whole[..., t, None]
            c, h = torch.where(m, new, c), torch.where(m, torch.tanh(new), h)
            ys.append(torch.where(m, torch.tanh(new), 0))
        return torch.stack(ys, min(at, 3)), h, c

    check(text, expected, torch.randn([sizes[a] for a in axes.split(", ")]), torch.randn(2, 3, 4), real)


@pytest.mark.parametrize(
    ("axes", "mask"), [("B, N, T, 3", "B, T"), ("B, T, N, 3", "B, N, T"), ("B, N, 3, T", "B, T"), ("T, B, N, 3", "T")]
)
def test_padding_that_is_no_number_reaches_nothing(axes, mask):
    """In loops as where equations run: outputs and gradients are those of padding with zeros."""
    program = compiled(LEADING.replace("AXES", f"[{axes}]").replace("MASK", mask))
    names: dict = {}
    exec(emit_python(program, standalone=True), names)
    module = build(program)
    loops = names["Net"]()
    loops.load_state_dict(module.state_dict())
    sizes = {"B": 2, "N": 3, "T": 5, "3": 3}
    generator = torch.Generator().manual_seed(1)
    real = torch.rand([sizes[a] for a in mask.split(", ")], generator=generator) > 0.4
    x, c = (torch.randn(shape, generator=generator) for shape in ([sizes[a] for a in axes.split(", ")], (2, 3, 4)))
    whole = (
        real.view([sizes[a] if a in mask.split(", ") else 1 for a in axes.split(", ")])
        if "N, T" not in mask
        else (real.movedim(-1, 1)[..., None])
    )
    found = []
    for net, padding in ((module, 0.0), (module, float("nan")), (loops, float("nan"))):
        given = torch.where(whole, x, padding).requires_grad_()
        outputs = net(given, c, real)
        net.zero_grad()
        sum(y.square().sum() for y in outputs).backward()
        found.append([*outputs, given.grad, *(p.grad.clone() for p in net.parameters())])
    for tensors in found[1:]:
        torch.testing.assert_close(tensors, found[0])


def test_a_bidirectional_stack_is_that_of_pytorch():
    text = (
        std("LSTM")
        + """
    network Net {
      input x: [B, T, 3]
      output x -> layers: repeat 2 { bidirectional LSTM(5) over T }
    }
    """
    )
    theirs = nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True).double()
    x = torch.randn(4, 7, 3, dtype=torch.float64)
    for module in both(text):
        cells = [m for m in module.modules() if hasattr(m, "forget")]
        for cell, suffix in zip(cells, ("l0", "l0_reverse", "l1", "l1_reverse"), strict=True):
            copy_weights(cell, theirs, 5, suffix)
        agree((module(x),), (theirs(x)[0],))


def test_steps_outside_a_scan_share_the_cell():
    text = (
        std("GRU")
        + """
    network Net {
      input x: [B, T, 3]
      input h0: [B, 5]
      module cell_ = GRU(5)
      y, last = x -> scan cell_ over T from (h=h0)
      a, s = x[T=0] -> cell_ from (h=last.h)
      b, _ = x[T=1] -> cell_
      output y
      output a
      output b
    }
    """
    )
    theirs = nn.GRU(3, 5, batch_first=True).double()
    x, h = torch.randn(4, 7, 3, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    for module in both(text):
        copy_weights(module.cell_, theirs, 5)
        y, last = theirs(x, h[None])
        agree(module(x, h), (y, theirs(x[:, :1], last)[0][:, 0], theirs(x[:, 1:2])[0][:, 0]))
    assert [t.dtype for t in build(compiled(text)).bfloat16()(x.bfloat16(), h.bfloat16())] == [torch.bfloat16] * 3


def test_what_needs_no_weights_and_what_keeps_numbers():
    text = """
    cell Count { input t: int[B]  state n: int[B]  state seen: bool[B]
      n' = n + 1
      seen' = seen or t == 3
      output n' * t
    }
    cell Table(width: int) { input t: int[B]  state h: [B, width]
      h' = h + (t -> embedding(9, width))
      output h'
    }
    cell Sum(width: int) { input x: [B, width]  state h: [B, width]  h' = h + x }
    network Net {
      input tokens: int[B, T]
      input x: [B, T, 4]
      n, last = tokens -> scan Count over T
      h, _ = tokens -> table: scan Table(4) over T
      end = x -> scan Sum(4) over T
      output n
      output last.seen
      output h
      output end.h
    }
    """
    tokens, x = torch.randint(0, 9, (2, 5)), torch.randn(2, 5, 4)
    for module in both(text):
        n, seen, h, end = module(tokens, x.double())
        assert torch.equal(n, torch.arange(1, 6) * tokens)
        assert torch.equal(seen, (tokens == 3).any(1))
        agree((h, end), (module.table.embedding1(tokens).cumsum(1), x.double().sum(1)))
    assert build(compiled(text)).bfloat16()(tokens, x.bfloat16())[2].dtype == torch.bfloat16


def test_blocks_that_scan_share_a_class_where_their_equations_agree():
    text = (
        std("GRU")
        + """
    block Encoder(hidden: int) {
      input x: [B, T, D]
      y, _ = x -> rnn: scan GRU(hidden) over T
      output y + (x -> linear(hidden))
    }
    network Net { input x: [B, T, 3]  output x -> Encoder(4) -> Encoder(5) -> Encoder(5) -> Encoder(5) }
    """
    )
    quick, loops = both(text)
    assert loops.source.count("class Encoder") == 1
    assert not lint(quick.source, loops.source)
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    agree((quick(x),), (loops(x),))
