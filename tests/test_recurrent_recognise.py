"""Cells that are layers of PyTorch are recognised in every spelling, and nothing else is."""

import pytest
import torch
from archlang.compiler.recurrent.equations import read
from archlang.compiler.recurrent.recognise import recognise
from archlang.runtime.recurrence import Recurrence, using
from recurrent_cells import GRU, LSTM, TEXTS, cell, extracted

X, H, C = "x: [B, 3]", "h: [B, 4]", "c: [B, 4]"
NEXT = "c1 = (f -> sigmoid) * c + (i -> sigmoid) * (g -> tanh)\nh1 = (o -> sigmoid) * (c1 -> tanh)\n"
LEAVE = "output y = h1\noutput h1\noutput c1"
SPLIT = "i, f, g, o = (x, h) -> linear(16) -> split(4)\n"
BOTH = "xr, xz, xn = x -> linear(12) -> split(3)\nhr, hz, hn = h -> linear(12) -> split(3)\n"


def lstm(body: str) -> str:
    return cell(body, X, H, C)


def gru(body: str) -> str:
    return cell(BOTH + body + "\noutput y = h1\noutput h1", X, H)


GATES = "r = xr + hr -> sigmoid\nz = xz + hz -> sigmoid\nn = xn + r * hn -> tanh\n"
KNOWN = {
    "lstm": (LSTM, 2, "lstm"),
    "gates in another order": (lstm(f"o, g, i, f = (h, x) -> linear(16) -> split(4)\n{NEXT}{LEAVE}"), 2, "lstm"),
    "a linear for each gate, some without a bias": (
        lstm(
            """f = (x, h) -> linear(4, bias=false)
            i = (x -> linear(4)) + (h -> linear(4))
            g = (h -> linear(4, bias=false)) + (x -> linear(4, bias=false))
            o = (h, x) -> linear(4)
            """
            + NEXT
            + LEAVE
        ),
        2,
        "lstm",
    ),
    "split after the sum": (
        lstm(f"i, f, g, o = (x -> linear(16)) + (h -> linear(16)) -> split(4)\n{NEXT}{LEAVE}"),
        2,
        "lstm",
    ),
    "a bias of its own": (
        lstm(
            "param b: [16] = normal(0, 1)\n"
            f"i, f, g, o = ((x -> linear(16, bias=false)) + b) + (h -> linear(16)) -> split(4)\n{NEXT}{LEAVE}"
        ),
        2,
        "lstm",
    ),
    "a gate that forgets": (
        lstm(
            """k, i, g, o = (x, h) -> linear(16) -> split(4)
            c1 = c - (k -> sigmoid) * c + (g -> tanh) * (i -> sigmoid)
            h1 = (c1 -> tanh) * (o -> sigmoid)
            """
            + LEAVE
        ),
        2,
        "lstm",
    ),
    "a bias that is a number": (
        lstm(SPLIT + NEXT.replace("(f -> sigmoid)", "((f + 1) -> sigmoid)") + LEAVE),
        2,
        "lstm",
    ),
    "gru": (GRU, 1, "gru"),
    "h + (1 - z) * (n - h)": (gru(GATES + "h1 = h + (1 - z) * (n - h)"), 1, "gru"),
    "the gate takes the new": (gru(GATES + "h1 = z * n + (1 - z) * h"), 1, "gru"),
    "h + z * (n - h)": (gru(GATES + "h1 = h + z * (n - h)"), 1, "gru"),
    "n + z * (h - n)": (gru(GATES + "h1 = n + z * (h - n)"), 1, "gru"),
    "gates of joined vectors": (
        cell(
            """r, z = (h, x) -> linear(8) -> split(2)
            n = (x -> linear(4)) + (r -> sigmoid) * (h -> linear(4)) -> tanh
            output (z -> sigmoid) * h + (1 - (z -> sigmoid)) * n""",
            X,
            H,
        ),
        1,
        "gru",
    ),
    "elman": (cell("output (x, h) -> linear(4) -> tanh", X, H), 1, "tanh"),
    "elman, two linears": (cell("output (x -> linear(4)) + (h -> linear(4, bias=false)) -> tanh", X, H), 1, "tanh"),
    "elman, relu": (cell("output (x, h) -> linear(4) -> relu", X, H), 1, "relu"),
    "two inputs": (cell("output (x, h, w) -> linear(4) -> tanh", X, "w: [B, 2]", H), 1, "tanh"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_cells_run_as_layers(name):
    text, count, kind = KNOWN[name]
    eq = extracted(text, count).equations
    found = recognise(eq)
    assert found is not None and found.kind == kind
    drawn = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=drawn, dtype=torch.float64).requires_grad_()

    inputs = [draw(2, 5, width) for width in eq.inputs.values()]
    weights = [draw(*shape) for shape in eq.weights.values()]
    states = [draw(2, width) for width in eq.states.values()]
    results = []
    for way in ("layer", "plain"):
        with using(way):
            results.append(Recurrence(str(eq))(inputs, weights, states, reverse=count == 2))
    ends = [torch.randn_like(y) for y in results[0]]
    sources = [*inputs, *weights, *states]
    grads = [torch.autograd.grad(ys, sources, ends) for ys in results]
    for mine, want in zip((*results[0], *grads[0]), (*results[1], *grads[1]), strict=True):
        torch.testing.assert_close(mine, want, rtol=1e-9, atol=1e-9)


OTHERS = {
    "sigmoid for tanh": lstm(SPLIT + NEXT.replace("(g -> tanh)", "(g -> sigmoid)") + LEAVE),
    "tanh for sigmoid": lstm(SPLIT + NEXT.replace("(o -> sigmoid)", "(o -> tanh)") + LEAVE),
    "the cell leaves without tanh": lstm(SPLIT + NEXT.replace("(c1 -> tanh)", "c1") + LEAVE),
    "the old cell": lstm(SPLIT + NEXT.replace("(c1 -> tanh)", "(c -> tanh)") + LEAVE),
    "a gate used twice": lstm(SPLIT + NEXT.replace("(o -> sigmoid)", "(i -> sigmoid)") + LEAVE),
    "coupled gates": lstm(SPLIT + NEXT.replace("(i -> sigmoid)", "(1 - (f -> sigmoid))") + LEAVE),
    "a peephole": lstm("param p: [4] = 1\n" + SPLIT + NEXT.replace("(f ->", "(f + p * c ->") + LEAVE),
    "a clipped cell": lstm(SPLIT + NEXT + "c2 = c1 -> clamp(-100, 100)\n" + LEAVE.replace("c1", "c2")),
    "another output": lstm(SPLIT + NEXT + LEAVE.replace("y = h1", "y = c1")),
    "half a step": lstm(SPLIT + NEXT.replace("h1 =", "h1 = 0.5 *") + LEAVE),
    "a residual": lstm(SPLIT + NEXT.replace("c1 =", "c1 = 0.001 * c +") + LEAVE),
    "gates that see the cell": lstm(SPLIT.replace("(x, h)", "(x, h, c)") + NEXT + LEAVE),
    "reset before the product": cell(
        """r, z = (h, x) -> linear(8) -> split(2)
        n = (x, (r -> sigmoid) * h) -> linear(4) -> tanh
        output (z -> sigmoid) * h + (1 - (z -> sigmoid)) * n""",
        X,
        H,
    ),
    "no reset": gru(GATES.replace("r * hn", "hn") + "h1 = (1 - z) * n + r * z * h"),
    "reset of the input": gru(GATES.replace("xn + r * hn", "hn + r * xn") + "h1 = (1 - z) * n + z * h"),
    "reset of both": gru(GATES.replace("xn + r * hn", "r * (xn + hn)") + "h1 = (1 - z) * n + z * h"),
    "a candidate of relu": gru(GATES.replace("tanh", "relu") + "h1 = (1 - z) * n + z * h"),
    "not between old and new": gru(GATES + "h1 = (1 - z) * n + h"),
    "elman with sigmoid": cell("output (x, h) -> linear(4) -> sigmoid", X, H),
    "elman with a residual": cell("output h + ((x, h) -> linear(4) -> tanh)", X, H),
    "elman that reads no state": cell("output (x -> linear(4) -> tanh) + 0 * h", X, H),
    "relu of tanh": cell("output (x, h) -> linear(4) -> tanh -> relu", X, H),
    "leaky": cell("output (x, h) -> linear(4) -> leaky_relu(0.1)", X, H),
    "the input beside the gates": cell("output ((x, h) -> linear(4) -> tanh) * w", X, "w: [B, 4]", H),
}


@pytest.mark.parametrize("name", OTHERS)
def test_near_misses_are_none(name):
    text = OTHERS[name]
    assert recognise(extracted(text, 2 if "input c:" in text else 1).equations) is None


@pytest.mark.parametrize("name", TEXTS)
def test_equations_of_the_other_tests(name):
    found = recognise(read(TEXTS[name]))
    assert (found.kind if found else None) == {"lstm": "lstm", "gru": "gru", "elman": "tanh"}.get(name)
