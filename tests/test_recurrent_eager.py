"""Loops of tensor operations against plain ones, which autograd follows, and against PyTorch's layers."""

import pytest
import torch
from archlang.compiler.recurrent.equations import Equations, read
from archlang.compiler.recurrent.merge import Unsupported
from archlang.runtime.recurrence import eager
from archlang.runtime.recurrence.plain import plain
from recurrent_cells import TEXTS
from test_recurrent_derive import equations as drawn

STEPS, EXAMPLES = 4, 3


def tensors(eq: Equations, dtype=torch.float64, steps=STEPS, seed=0):
    """Inputs, weights, states and constants."""
    made = torch.Generator().manual_seed(seed)

    def draw(*shape):
        scale = shape[-1] ** -0.5 if len(shape) == 2 else 1
        return (torch.randn(shape, generator=made, dtype=torch.float64) * scale).to(dtype).requires_grad_()

    inputs = [draw(EXAMPLES, steps, width) for width in eq.inputs.values()]
    weights = [draw(*shape) for shape in eq.weights.values()]
    states = [draw(EXAMPLES, width) for width in eq.states.values()]
    return inputs, weights, states, [draw(EXAMPLES, width) for width in eq.constants.values()]


def masked() -> torch.Tensor:
    return torch.arange(STEPS)[None] < torch.tensor([4, 1, 3])[:, None]


def compare(text: str, mask=None, reverse=False, close=1e-10):
    eq = read(text)
    given = tensors(eq)
    found, want = eager.run(text, *given, mask, reverse), plain(eq, *given, mask, reverse)
    made = torch.Generator().manual_seed(7)
    ends = [torch.randn(y.shape, generator=made, dtype=y.dtype) for y in want]
    sources = [t for group in given for t in group]
    for mine, wanted in zip(found, want, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=close, atol=close)
    grads = [torch.autograd.grad(ys, sources, ends, allow_unused=True, materialize_grads=True) for ys in (found, want)]
    for mine, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=close, atol=close)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("name", TEXTS)
def test_agrees_with_the_plain_loop(name, mask, reverse):
    compare(TEXTS[name], masked() if mask else None, reverse)


@pytest.mark.parametrize("seed", range(40))
def test_agrees_on_random_systems(seed):
    text = str(drawn(seed, multiplied=False))
    try:
        eager.prepared(text, bool(seed % 2))
    except Unsupported as reason:
        assert "is a number" in str(reason)  # what was drawn came to nothing
    else:
        compare(text, masked() if seed % 2 else None, seed % 3 == 0, 1e-8)


def test_some_things_are_left_to_the_plain_loop():
    for body, reason in {"y = linear(p; w)": "a weight that is multiplied by", "y = p + 1.0": "same for all"}.items():
        with pytest.raises(Unsupported, match=reason):
            eager.prepared(f"input x: 2\nweight p: 2\nweight w: 2 2\n{body}\noutput y", False)
