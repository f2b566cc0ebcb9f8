"""Recurrences as generated modules call them: each way computes the same, and the one that fits is taken."""

import pickle

import pytest
import torch
from archlang.compiler.recurrent.equations import read
from archlang.runtime import recurrence
from archlang.runtime.recurrence import Recurrence, using
from archlang.runtime.recurrence.build import NoCompiler
from recurrent_cells import TEXTS, gru_text, lstm_text
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

LAYERS = {"lstm": (nn.LSTM, lstm_text(3, 4)), "gru": (nn.GRU, gru_text(3, 4))}
WAYS = ("compiled", "eager", "plain")
LENGTHS = torch.tensor([6, 2, 4])


def weights_of(layer: nn.Module) -> list[torch.Tensor]:
    return [layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0]


def both(kind: str, way: str, *, start: bool, mask: bool, dtype: torch.dtype):
    """Outputs and gradients of a recurrence, and those of PyTorch's layer."""
    torch.manual_seed(0)
    made, text = LAYERS[kind]
    layer = made(3, 4, batch_first=True).to(dtype)
    x = torch.randn(3, 6, 3, dtype=dtype, requires_grad=True)
    count = len(read(text).states)
    first = [torch.randn(3, 4, dtype=dtype, requires_grad=True) for _ in range(count)] if start else [None] * count
    keep = torch.arange(6)[None] < LENGTHS[:, None] if mask else None
    with using(way):
        mine = Recurrence(text)((x,), weights_of(layer), first, mask=keep)
    begun = None if not start else tuple(s[None] for s in first) if count == 2 else first[0][None]
    given = nn.utils.rnn.pack_padded_sequence(x, LENGTHS, True, enforce_sorted=False) if mask else x
    y, last = layer(given, begun)
    y = nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0] if mask else y
    want = [y, *(s[0] for s in (last if count == 2 else (last,)))]
    sources = [x, *weights_of(layer), *(s for s in first if s is not None)]
    ends = [torch.randn_like(v) for v in want]
    return mine, want, *(torch.autograd.grad(vs, sources, ends) for vs in (mine, want))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("start", "mask"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", LAYERS)
def test_agrees_with_the_layers_of_pytorch(kind, way, start, mask, dtype):
    close = 1e-5 if dtype == torch.float32 else 1e-10
    try:
        mine, want, grads, wanted = both(kind, way, start=start, mask=mask, dtype=dtype)
    except NoCompiler:
        pytest.skip("no C compiler")
    for a, b in zip((*mine, *grads), (*want, *wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=close, atol=close)


UNFIT = {
    "wide": (torch.zeros(2, 6, 5), None, None, "input `x` should have the shape [2, 6, 3], found [2, 6, 5]"),
    "precise": (torch.zeros(2, 6, 3).double(), None, None, "should be torch.float64"),
    "start": (torch.zeros(2, 6, 3), torch.zeros(3, 4), None, "should have the shape [2, 4], found [3, 4]"),
    "mask": (torch.zeros(2, 6, 3), None, torch.ones(2, 5, dtype=torch.bool), "mask should have the shape [2, 6]"),
}


@pytest.mark.parametrize(("x", "start", "mask", "said"), UNFIT.values(), ids=UNFIT)
def test_kernels_are_given_what_they_were_made_for(x, start, mask, said):
    layer, text = nn.GRU(3, 4, batch_first=True), gru_text(3, 4)
    with pytest.raises(RuntimeError) as refusal:
        Recurrence(text)((x,), weights_of(layer), [start], mask=mask)
    assert said in str(refusal.value)


@pytest.mark.parametrize("kind", LAYERS)
def test_backwards_is_the_other_direction_of_a_bidirectional_layer(kind):
    torch.manual_seed(0)
    made, text = LAYERS[kind]
    layer = made(3, 4, batch_first=True, bidirectional=True).double()
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    weights = [getattr(layer, f"{name}_l0_reverse") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    y, *_ = Recurrence(text)((x,), weights, reverse=True)
    torch.testing.assert_close(y, layer(x)[0][..., 4:], rtol=1e-10, atol=1e-10)


def example(text: str, dtype=torch.float64, steps: int = 3):
    eq = read(text)
    drawn = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=drawn, dtype=torch.float64).div(2).to(dtype).requires_grad_()

    inputs = [draw(2, steps, width) for width in eq.inputs.values()]
    states, constants = ([draw(2, n) for n in table.values()] for table in (eq.states, eq.constants))
    return inputs, [draw(*shape) for shape in eq.weights.values()], states, constants


@pytest.mark.parametrize("name", ["lstm", "reset before the product", "peepholes and constants"])
def test_gradients_and_those_of_gradients(name):
    groups = example(TEXTS[name], steps=2)
    sizes = [len(group) for group in groups]
    made = Recurrence(TEXTS[name])

    def run(*tensors):
        rest = iter(tensors)
        return made(*([next(rest) for _ in range(size)] for size in sizes))

    tensors = [t for group in groups for t in group]
    with using("eager"):
        assert torch.autograd.gradcheck(run, tensors, fast_mode=True)
        assert torch.autograd.gradgradcheck(run, tensors, fast_mode=True)


def test_what_is_masked_does_not_matter():
    inputs, weights, states, _ = example(TEXTS["gru"])
    mask = torch.tensor([[True, False, True], [False, True, False]])
    spoilt = inputs[0].detach().masked_fill(~mask[..., None], torch.nan).requires_grad_()
    for way in WAYS:
        with using(way):
            y, h = Recurrence(TEXTS["gru"])((spoilt,), weights, states, mask=mask)
        grads = torch.autograd.grad(y.sum() + h.sum(), [spoilt, *weights])
        assert all(g.isfinite().all() for g in grads) and not y[~mask].any()


def test_no_steps_and_no_examples():
    for name, shape in (("lstm", (2, 0, 3)), ("gru", (0, 4, 3))):
        text = TEXTS[name]
        _, weights, _, _ = example(text)
        y, *last = Recurrence(text)((torch.zeros(shape, dtype=torch.float64),), weights)
        assert y.shape == (*shape[:2], 4) and all(s.shape == (shape[0], 4) and not s.any() for s in last)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
def test_transforms_and_tracers_see_plain_operations():
    inputs, weights, _, _ = example(TEXTS["gru"])
    made = Recurrence(TEXTS["gru"])

    def run(x):
        return made((x,), weights)[0]

    whole = run(inputs[0])
    one_by_one = torch.vmap(lambda x: run(x[None])[0])(inputs[0])
    torch.testing.assert_close(one_by_one, whole)
    tangent = torch.ones_like(inputs[0])
    forward = torch.func.jvp(run, (inputs[0].detach(),), (tangent,))[1]
    rows = torch.func.jacrev(run)(inputs[0].detach())
    torch.testing.assert_close(forward, (rows * tangent).sum((-1, -2, -3)))

    class Net(nn.Module):
        def forward(self, x):
            return run(x)

    weights = [w.detach() for w in weights]
    exported = torch.export.export(Net(), (inputs[0].detach(),)).module()
    torch.testing.assert_close(exported(inputs[0].detach()), whole)
    assert made((inputs[0].to("meta"),), [w.to("meta") for w in weights])[0].shape == whole.shape


def test_who_counts_operations_sees_them():
    inputs, weights, _, _ = example(TEXTS["lstm"])
    with FlopCounterMode(display=False) as counted:
        Recurrence(TEXTS["lstm"])(inputs, weights)
    assert counted.get_total_flops() == 2 * 2 * 3 * (3 + 4) * 16


def test_compilers_of_graphs_see_plain_operations():
    inputs, weights, _, _ = example(TEXTS["lstm"])
    made = Recurrence(TEXTS["lstm"])
    whole = torch.compile(lambda x: made((x,), weights)[0], backend="eager", fullgraph=True)
    torch.testing.assert_close(whole(inputs[0]), made(inputs, weights)[0])


def test_memory_is_free_after_the_backward_pass():
    inputs, weights, _, _ = example(TEXTS["gru"])
    with using("eager"):
        y, _ = Recurrence(TEXTS["gru"])(inputs, weights)
    loss = y.sum()
    held = sum(isinstance(t, torch.Tensor) for t in y.grad_fn.saved_tensors)
    loss.backward()
    assert held > 20
    with pytest.raises(RuntimeError, match="already been freed"):
        y.grad_fn.saved_tensors  # noqa: B018


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    inputs, weights, _, _ = example(TEXTS["lstm"])
    want = Recurrence(TEXTS["lstm"])(inputs, weights)[0]
    y = Recurrence(TEXTS["lstm"])([x.to(dtype) for x in inputs], [w.to(dtype) for w in weights])[0]
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), want, rtol=0.05, atol=0.05)


def test_autocast():
    inputs, weights, _, _ = example(TEXTS["lstm"], torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = Recurrence(TEXTS["lstm"])(inputs, weights)[0]
    assert y.dtype == torch.bfloat16
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(y.float().sum(), weights))


def test_choosing(monkeypatch):
    inputs, weights, _, _ = example(TEXTS["gru"])
    made = Recurrence(TEXTS["gru"])
    assert repr(made) == "Recurrence(x -> h1; h)" and pickle.loads(pickle.dumps(made)).text == made.text  # noqa: S301
    with pytest.raises(ValueError, match="not `fast`"), using("fast"):
        pass
    ran: list[str] = []
    for way, run in dict(recurrence._WAYS).items():
        monkeypatch.setitem(recurrence._WAYS, way, lambda *args, run=run, way=way: ran.append(way) or run(*args))
    monkeypatch.setenv(recurrence.VARIABLE, "plain")
    made(inputs, weights)
    with using("eager"):
        made(inputs, weights)
    assert ran == ["plain", "eager"]


def test_without_a_compiler_it_says_so_once(monkeypatch):
    def refuse(*args):
        raise NoCompiler("there is no C compiler")

    from archlang.runtime.recurrence import compiled

    monkeypatch.setattr(compiled, "run", refuse)
    recurrence._say.cache_clear()
    inputs, weights, _, _ = example(TEXTS["gru"])
    with pytest.warns(UserWarning, match="loops of tensor operations, which takes longer") as said:
        made = [Recurrence(TEXTS["gru"])(inputs, weights)[0] for _ in range(2)]
    assert len(said) == 1 and torch.equal(*made)
    with using("compiled"), pytest.raises(NoCompiler):
        Recurrence(TEXTS["gru"])(inputs, weights)


def test_what_was_changed_since_is_noticed():
    inputs, weights, _, _ = example(TEXTS["gru"])
    with using("eager"):
        y, _ = Recurrence(TEXTS["gru"])(inputs, weights)
    with torch.no_grad():
        weights[1].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("way", WAYS)
def test_what_nothing_reads_has_no_gradient(way: str) -> None:
    head = "input x: 4\nstate h: 3\nweight w: 3 4\nweight u: 3 3\n"
    text = head + "v = linear(x; w)\na = linear(h; u)\nh1 = tanh(a)\nnext h = h1\noutput h1"
    x, w, u = (torch.ones(*shape, requires_grad=True) for shape in ((2, 5, 4), (3, 4), (3, 3)))
    with using(way):
        y, _ = Recurrence(text)([x], [w, u], [torch.ones(2, 3)])
        found = torch.autograd.grad(y.sum(), [x, w, u], allow_unused=True)
    assert all(g is None or not g.any() for g in found[:2])
    assert found[2].all()
