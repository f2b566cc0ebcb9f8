"""Equations of cells compute what the cells compute."""

import pytest
import torch
from archlang.compiler.recurrent.equations import Product, read
from archlang.runtime.recurrence.plain import step
from recurrent_cells import GRU, LSTM, cell, extracted, module, refused, weights_of

X, H, C = "x: [B, 3]", "h: [B, 4]", "c: [B, 4]"
CELLS = {
    "lstm": (LSTM, 2),
    "gru": (GRU, 1),
    "elman": (cell("output (x, h) -> linear(4) -> tanh", X, H), 1),
    "two linears, split after their sum": (
        cell(
            """i, f, g = (x -> linear(12)) + (h -> linear(12, bias=false)) -> split(3)
            h1 = (i -> sigmoid) * h + (f -> relu) * (g -> softplus)
            output h1""",
            X,
            H,
        ),
        1,
    ),
    "parts of unequal sizes": (
        cell(
            """a, b, c = (x, h) -> linear(9) -> split([4, 1, 4])
            output a * (b -> sigmoid) + c -> tanh""",
            X,
            H,
        ),
        1,
    ),
    "cuts of cuts": (
        cell(
            """a, b = (x, h) -> linear(16) -> split(2)
            a0, a1 = a -> tanh -> split(2)
            output a0 * h + (b -> glu) * a1""",
            X,
            H,
        ),
        1,
    ),
    "indices": (
        cell("y: [B, N] = (x, h) -> linear(8)\noutput (y[N=0..4] -> sigmoid) * (y[N=4..8] -> tanh) + h", X, H),
        1,
    ),
    "peepholes": (
        cell(
            """param p: [4] = normal(0, 1)
            param q: [] = normal(0, 1)
            f = (x -> linear(4)) + p * h -> sigmoid
            output f * h + q * (1 - f)""",
            X,
            H,
        ),
        1,
    ),
    "a bias that is cut": (
        cell(
            """param b: [8] = normal(0, 1)
            a, c = ((h, x) -> linear(8, bias=false)) + b -> split(2)
            output a * (c -> tanh)""",
            X,
            H,
        ),
        1,
    ),
    "inputs that are cut": (
        cell("a, b = g -> split(2)\nu = h -> linear(4, bias=false)\noutput (a + u -> tanh) * b", "g: [B, 8]", H),
        1,
    ),
    "joined and cut again": (
        cell(
            "a, b = (x, h) -> concat -> split([3, 4])\noutput (b, a) -> linear(4) -> tanh",
            X,
            H,
        ),
        1,
    ),
    "stored the other way": (cell('output (x, h) -> linear(4, layout="io") -> tanh', X, H), 1),
    "a matrix by einsum": (
        cell(
            """param w: [4, 4] = normal(0, 1)
            param u: [3, 4] = normal(0, 1)
            output ((h, w) -> einsum("b i, o i -> b o")) + ((x, u) -> einsum("b i, i o -> b o")) -> tanh""",
            X,
            H,
        ),
        1,
    ),
    "activations": (
        cell(
            """a = (x, h) -> linear(4)
            b = (a -> silu) + (a -> elu(0.7)) * (a -> selu) - (a -> gelu(tanh=true)) / (1.5 + (a -> square))
            c = (a -> leaky_relu(0.2)) * (b -> hardsigmoid) + (b -> hardtanh) - (b -> mish) + (a -> prelu)
            d = (c -> clamp(-0.5, 0.9)) + (a -> relu6) * (a -> swish(beta=1.5)) - (-a -> abs) + (a -> hardswish)
            output (d ** 2 + 1) ** 0.5 - 3 * (a -> exp -> reciprocal) + (a * a + 1 -> rsqrt -> log)""",
            X,
            H,
        ),
        1,
    ),
    "one feature that all share": (cell("s = (x, h) -> linear(1) -> sigmoid\noutput s * h + (1 - s)", X, H), 1),
    "several leading axes": (cell("output (x, h) -> linear(4) -> tanh", "x: [B, 5, 3]", "h: [B, 5, 4]"), 1),
    "a product used twice": (
        cell(
            "module u = linear(4)\na = h -> u\nb = h -> u\noutput (a -> tanh) + (b -> sigmoid) + (x -> linear(4))", X, H
        ),
        1,
    ),
}


def blocks() -> str:
    return """block Gate {
  input x: [B, N]
  input h: [B, M]
  output (x, h) -> fc: linear(M) -> sigmoid
}
network Cell {
  input x: [B, 3]
  input h: [B, 4]
  z = (x, h) -> update: Gate
  r = (x, h) -> reset: Gate
  n = (x, r * h) -> linear(4) -> tanh
  output z * h + (1 - z) * n
}"""


CELLS["blocks"] = (blocks(), 1)


def entering(text: str, batch: int = 2):
    import archlang

    graph = archlang.compile(text).program.graph
    drawn = torch.Generator().manual_seed(1)
    shapes = [[n if isinstance(n, int) else batch for n in graph[i].types[0].shape] for i in graph.inputs]
    return [torch.randn(shape, generator=drawn, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("name", CELLS)
def test_equations_compute_what_the_cell_computes(name):
    text, count = CELLS[name]
    found, of = extracted(text, count), module(text)
    eq = found.equations
    assert str(read(str(eq))) == str(eq)
    inputs = entering(text)
    whole = of(*inputs)
    want = [*whole.values()] if isinstance(whole, dict) else [*whole] if isinstance(whole, tuple) else [whole]
    table = {n: eval(s.code("t"), {"t": inputs[s.position]}) for n, s in zip(eq.inputs, found.inputs, strict=True)}
    table |= dict(zip(eq.states, inputs[len(inputs) - count :], strict=True)) | weights_of(found, of)
    values = step(eq, table)
    mine = [values[n] for n in (*eq.outputs, *eq.next.values())]
    for got, wanted in zip(mine, want, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    sources = [*inputs, *of.parameters()]
    for got, wanted in zip(
        *(torch.autograd.grad(sum(v.square().sum() for v in vs), sources) for vs in (mine, want)), strict=True
    ):
        close = 1e-7 if name == "activations" else 1e-10  # PyTorch rounds the slope of hardsigmoid to single precision
        torch.testing.assert_close(got, wanted, rtol=close, atol=close)


REFUSED = {
    "a norm": ("output (x, h) -> linear(4) -> layernorm", "`layernorm` is neither a product nor"),
    "random": ("output (x, h) -> linear(4) -> dropout(0.5)", "`dropout` draws random numbers"),
    "no gradient": ("output (x, h -> stop_gradient) -> linear(4)", "`stop_gradient` is neither"),
    "softmax": ("output (x, h) -> linear(4) -> softmax", "`softmax` is neither"),
    "a joined value that leaves": (
        "output (x, h) -> concat -> tanh -> linear(4)",
        "more than the operand of a product",
    ),
    "a state that is cut": ("a, b = h -> split(2)\noutput (b, a, x) -> linear(4)", "the state `h` is cut"),
    "no real numbers": ("output (h > 0) and (h < 1)", "gives no real numbers"),
    "a constant": ("param p: [4] = normal(0, 1)\noutput p", "has other axes"),
    "a computed weight": (
        "param p: [4, 4] = normal(0, 1)\noutput h -> linear(4) with (weight=p * 2)",
        "has several axes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_equations(name):
    body, reason = REFUSED[name]
    found = refused(cell(body, X, H), 1)
    assert isinstance(found, str) and reason in found


def test_products_used_twice_are_computed_once():
    text, count = CELLS["a product used twice"]
    assert sum(isinstance(one, Product) for one in extracted(text, count).equations.steps) == 2


def test_constants():
    found = extracted(cell("output (x, k, h) -> linear(4) -> tanh", X, "k: [B, 2]", H), 1, (1,))
    assert found.equations.inputs == {"x": 3} and found.equations.constants == {"k": 2}
    assert [s.position for s in (*found.inputs, *found.constants)] == [0, 1]


def test_equations_of_an_lstm():
    assert str(extracted(LSTM, 2).equations).splitlines()[3:6] == [
        "weight w0: 16 7",
        "weight b1: 16",
        "linear1_0 = linear(x, h; w0, b1)[0:4]",
    ]


def test_simplified():
    found = extracted(cell("z = (x, h) -> linear(4) -> sigmoid\ny = 1 - z\noutput (1 - y) * h", X, H), 1)
    assert str(found.equations).splitlines()[-3:] == ["z = sigmoid(linear1)", "v_2 = z * h", "next h = v_2"]
