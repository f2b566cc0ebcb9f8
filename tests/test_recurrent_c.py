"""Recurrences as C: what they compute, for each cell, size, mask and direction, and their gradients."""

import platform

import pytest
import torch
from archlang.compiler.recurrent.equations import Equations, read
from archlang.runtime.recurrence.compiled import run
from archlang.runtime.recurrence.plain import plain
from recurrent_cells import TEXTS
from recurrent_equations import CELLS, gru, lstm
from torch import Tensor, nn

SMALL, ODD, ONE = (8, 5), (33, 7), (1, 1)  # elements of a state and of an input


class Call:
    """The tensors that a recurrence is called with."""

    def __init__(self, eq: Equations, batch: int, steps: int, dtype=torch.float64, *, states=True, mask=False):
        drawn = torch.Generator().manual_seed(batch * 100 + steps)

        def make(*shape: int) -> Tensor:
            scale = 1 / shape[1] ** 0.5 if len(shape) == 2 and shape[0] != batch else 1.0
            return (torch.randn(shape, generator=drawn, dtype=torch.float64) * scale).to(dtype).requires_grad_()

        self.eq = eq
        self.inputs = [make(batch, steps, n) for n in eq.inputs.values()]
        self.weights = [make(*shape) for shape in eq.weights.values()]
        self.constants = [make(batch, n) for n in eq.constants.values()]
        self.states = [make(batch, n) if states else None for n in eq.states.values()]
        self.mask = torch.rand(batch, steps, generator=drawn) < 0.6 if mask else None

    @property
    def sources(self) -> list[Tensor]:
        return [*self.inputs, *self.weights, *self.constants, *(s for s in self.states if s is not None)]

    def mine(self, reverse: bool = False, **more) -> tuple[Tensor, ...]:
        return run(self.eq, self.inputs, self.weights, self.states, self.constants, self.mask, reverse, **more)

    def wanted(self, reverse: bool = False) -> tuple[Tensor, ...]:
        return plain(self.eq, self.inputs, self.weights, self.states, self.constants, self.mask, reverse)


def gradients(ends: tuple[Tensor, ...], sources: list[Tensor]) -> tuple[Tensor, ...]:
    drawn = torch.Generator().manual_seed(1)
    given = [torch.randn(y.shape, generator=drawn, dtype=torch.float64).to(y.dtype) for y in ends]
    pairs = [(y, d) for y, d in zip(ends, given, strict=True) if y.requires_grad]
    return torch.autograd.grad(
        [y for y, _ in pairs], sources, [d for _, d in pairs], allow_unused=True, materialize_grads=True
    )


def agree(call: Call, close: float, reverse: bool = False, **more) -> None:
    mine, wanted = call.mine(reverse, **more), call.wanted(reverse)
    for a, b in zip((*mine, *gradients(mine, call.sources)), (*wanted, *gradients(wanted, call.sources)), strict=True):
        torch.testing.assert_close(a, b, rtol=close, atol=close * max(1.0, b.abs().max().item() if b.numel() else 1))
    with torch.no_grad():
        for a, b in zip(call.mine(reverse, **more), mine, strict=True):
            torch.testing.assert_close(a, b, rtol=close, atol=close)


@pytest.mark.parametrize("batch", [1, 3, 17])
@pytest.mark.parametrize("name", CELLS)
def test_agrees_with_the_plain_loop(name, batch):
    agree(Call(read(CELLS[name](*SMALL)), batch, 4, states=batch != 1), 1e-10)


@pytest.mark.parametrize("name", ["lstm", "novel"])
def test_one_element(name):
    agree(Call(read(CELLS[name](*ONE)), 2, 3), 1e-10)


@pytest.mark.parametrize("name", CELLS)
def test_in_single_precision(name):
    agree(Call(read(CELLS[name](*ODD)), 9, 4, torch.float32, mask=name != "elman"), 1e-5, reverse=name == "gru")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("name", [*CELLS, *TEXTS])
def test_masks_and_directions(name, mask, reverse):
    eq = read(TEXTS[name] if name in TEXTS else CELLS[name](*SMALL))
    agree(Call(eq, 3, 5, mask=mask, states=not mask), 1e-10, reverse)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["novel", "gru before"])
def test_gradients_by_differences(name):
    call = Call(read(CELLS[name](3, 2)), 2, 2, mask=name == "novel")

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        rest = iter(tensors)
        inputs, weights, constants, states = (
            [next(rest) for _ in names] for names in (call.inputs, call.weights, call.constants, call.states)
        )
        return run(call.eq, inputs, weights, states, constants, call.mask)

    assert torch.autograd.gradcheck(function, call.sources, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, call.sources, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kind", "text"), [(nn.LSTM, lstm), (nn.GRU, gru)])
def test_agrees_with_the_layers_of_pytorch(kind, text, dtype):
    torch.manual_seed(0)
    layer, x = kind(20, 72, batch_first=True).to(dtype), torch.randn(18, 6, 20, dtype=dtype, requires_grad=True)
    lengths = torch.randint(1, 7, (18,))
    lengths[0] = 6
    weights = own_weights(layer)
    mask = torch.arange(6) < lengths[:, None]
    y, *last = run(text(72, 20), [x], weights, [None] * (2 if kind is nn.LSTM else 1), mask=mask)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
    theirs, final = layer(packed)
    theirs = nn.utils.rnn.pad_packed_sequence(theirs, True)[0]
    close = 1e-5 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(y, theirs, rtol=close, atol=close)
    for a, b in zip(last, final if kind is nn.LSTM else [final], strict=True):
        torch.testing.assert_close(a, b[0], rtol=close, atol=close)
    sources = [x, *layer.parameters()]
    given = torch.randn_like(y)
    for a, b in zip(torch.autograd.grad(y, sources, given), torch.autograd.grad(theirs, sources, given), strict=True):
        torch.testing.assert_close(a, b, rtol=close, atol=close * b.abs().max().item())


def own_weights(layer: nn.Module) -> list[Tensor]:
    """The weights of a layer of PyTorch as `lstm` and `gru` have them."""
    count = layer.hidden_size
    x, h, bx, bh = layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0
    rows = [slice(i * count, (i + 1) * count) for i in range(x.shape[0] // count)]
    joined = rows if len(rows) == 4 else rows[:2]
    found = [w for r in joined for w in (torch.cat([h[r], x[r]], 1), bx[r] + bh[r])]
    return found if len(rows) == 4 else [*found, x[rows[2]], h[rows[2]], bx[rows[2]], bh[rows[2]]]


@pytest.mark.parametrize("extra", [("-DPORTABLE",), ("-mno-avx512f",)])
def test_other_vectors(extra):
    """As machines without AVX have them, and those that have AVX alone."""
    agree(Call(read(lstm(*ODD)), 9, 4, torch.float32), 1e-5, extra=extra)


def test_more_rows_than_a_tile_and_threads():
    call = Call(read(CELLS["novel"](*SMALL)), 135, 3, mask=True)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            mine = call.mine()
            found.append((*mine, *gradients(mine, call.sources)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    agree(call, 1e-10)


@pytest.mark.parametrize(("batch", "steps"), [(3, 70), (70, 5)])
def test_many_pieces(batch, steps, monkeypatch):
    """More steps than products of inputs, and adjoints, are made of at once; two tiles, the second a small one."""
    from archlang.runtime.recurrence import gradients as back

    monkeypatch.setattr(back, "PIECE", 3 * 5 * 8 * 8)
    call = Call(read(CELLS["novel"](*SMALL)), batch, steps, mask=True)
    agree(call, 1e-10)
    agree(call, 1e-10, reverse=True)


def test_strides():
    """Inputs and gradients whose elements lie anywhere."""
    eq = read(lstm(*SMALL))
    call = Call(eq, 3, 4)
    wide = torch.randn(5, 4, 3, dtype=torch.float64)
    call.inputs = [wide.permute(2, 1, 0).requires_grad_()]
    call.weights = [w.detach().t().contiguous().t().requires_grad_() if w.dim() == 2 else w for w in call.weights]
    agree(call, 1e-10)
    mine, wanted = call.mine()[0], call.wanted()[0]
    for scale in (lambda y: y.sum(), lambda y: y.mT.contiguous().square().sum(), lambda y: y[:, -1].sum()):
        for a, b in zip(
            *(torch.autograd.grad(scale(y), call.sources[:3], retain_graph=True) for y in (mine, wanted)), strict=True
        ):
            torch.testing.assert_close(a, b)


def test_only_what_is_needed():
    call = Call(read(CELLS["novel"](*SMALL)), 3, 4)
    for tensor in [*call.inputs, *call.weights[1:], *call.constants]:
        tensor.requires_grad_(False)
    mine, wanted = call.mine(), call.wanted()
    sources = [t for t in call.sources if t.requires_grad]
    for a, b in zip(gradients(mine, sources), gradients(wanted, sources), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("batch", "steps"), [(0, 3), (3, 0)])
def test_nothing(batch, steps):
    eq = read(CELLS["novel"](*SMALL))
    call = Call(eq, batch, steps)
    mine = call.mine()
    assert [tuple(y.shape) for y in mine[:3]] == [(batch, steps, 8), (batch, steps, 5), (batch, steps, 5)]
    for state, last in zip(call.states, mine[3:], strict=True):
        torch.testing.assert_close(last, state)
    for gradient, source in zip(gradients(mine, call.sources), call.sources, strict=True):
        assert gradient.shape == source.shape


def test_what_was_changed_since_is_noticed():
    call = Call(read(lstm(*SMALL)), 3, 4)
    y = call.mine()[0]
    with torch.no_grad():
        call.weights[0].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_twice():
    call = Call(read(lstm(*SMALL)), 3, 4)
    y = call.mine()[0].square().sum()
    first = torch.autograd.grad(y, call.sources, retain_graph=True)
    for a, b in zip(first, torch.autograd.grad(y, call.sources), strict=True):
        assert torch.equal(a, b)


def test_not_a_number_and_infinity():
    """Functions pass on what is no number, and saturate where they must."""
    text = "input x: 8\nstate h: 8\ns = sigmoid(x)\nt = tanh(x)\ne = exp(x)\nr = relu(x)\nm = max(x, 1.0)\nl = log(x)\n"
    text += "q = sqrt(x)\np = softplus(x)\nb = abs(x)\nh1 = s + h\nnext h = h1\n"
    names = "strempqlb"
    text += "\n".join(f"output {name}" for name in names)
    nan, inf = float("nan"), float("inf")
    x = torch.tensor([[[nan, inf, -inf, 0.0, 90.0, -90.0, 1e-30, -20.0]]])
    found = run(text, [x], [], [None])
    wanted = plain(read(text), [x], [], [None])
    for name, a, b in zip(names, found, wanted, strict=False):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-30, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64", "aarch64"), reason="only these can be told to")
def test_numbers_too_small_to_be_normal_become_zero():
    """While it runs only: a gradient that vanishes would take many times as long."""
    text = "input x: 8\nstate h: 8\nh1 = x * h\nnext h = h1\noutput h1"
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            (y, last) = run(text, [torch.full((40, 4, 8), 1e-15)], [], [torch.ones(40, 8)])
            torch.testing.assert_close(y[0, :, 0], torch.tensor([1e-15, 1e-30, 0, 0]), rtol=1e-5, atol=0)
            assert not last.any()
            assert float(torch.tensor(1e-30) * 1e-10) > 0
    finally:
        torch.set_num_threads(before)


def test_functions_are_right_to_the_last_places():
    text = "input x: 1000\nstate h: 1000\n"
    text += "s = sigmoid(x)\nt = tanh(x)\ne = exp(x)\nnext h = s\noutput s\noutput t\noutput e"
    x = torch.cat([torch.linspace(-25, 25, 150_000), torch.logspace(-30, 1, 25_000), -torch.logspace(-30, 1, 25_000)])
    found = run(text, [x.view(1, -1, 1000)], [], [None])
    for y, function in zip(found, (torch.sigmoid, torch.tanh, torch.exp), strict=False):
        wanted = function(x.double())
        assert ((y.flatten().double() - wanted) / wanted).abs().max() < 4e-7
        if function is torch.tanh:
            assert y.abs().max() <= 1
