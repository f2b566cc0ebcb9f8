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


def _lstm(width: int, inside: int) -> str:
    rows = {gate: f"[{i * inside}:{(i + 1) * inside}]" for i, gate in enumerate("ifgo")}
    products = "\n".join(
        f"x{g} = linear(x; w, b){rows[g]}\nh{g} = linear(h; u, v){rows[g]}\n"
        f"{g} = {'tanh' if g == 'g' else 'sigmoid'}(x{g} + h{g})"
        for g in "ifgo"
    )
    return f"""input x: {width}
state h: {inside}
state c: {inside}
weight w: {4 * inside} {width}
weight u: {4 * inside} {inside}
weight b: {4 * inside}
weight v: {4 * inside}
{products}
c1 = f * c + i * g
h1 = o * tanh(c1)
next h = h1
next c = c1
output h1"""


def _gru(width: int, inside: int) -> str:
    rows = {gate: f"[{i * inside}:{(i + 1) * inside}]" for i, gate in enumerate("rzn")}
    products = "\n".join(f"x{g} = linear(x; w, b){rows[g]}\nh{g} = linear(h; u, v){rows[g]}" for g in "rzn")
    return f"""input x: {width}
state h: {inside}
weight w: {3 * inside} {width}
weight u: {3 * inside} {inside}
weight b: {3 * inside}
weight v: {3 * inside}
{products}
r = sigmoid(xr + hr)
z = sigmoid(xz + hz)
n = tanh(xn + r * hn)
h1 = (1.0 - z) * n + z * h
next h = h1
output h1"""


def lstm_text(width: int = 3, inside: int = 4) -> str:
    """torch.nn.LSTM's equations; weights as its weight_ih, weight_hh, bias_ih, bias_hh."""
    return _lstm(width, inside)


def gru_text(width: int = 3, inside: int = 4) -> str:
    """torch.nn.GRU's equations; weights as its weight_ih, weight_hh, bias_ih, bias_hh."""
    return _gru(width, inside)


TEXTS = {
    "lstm": lstm_text(),
    "gru": gru_text(),
    "elman": """input x: 3
state h: 4
weight w: 4 7
weight b: 4
h1 = tanh(linear1)
next h = h1
output h1""".replace("h1 = tanh", "linear1 = linear(h, x; w, b)\nh1 = tanh"),
    "reset before the product": """input x: 3
state h: 4
weight w: 8 7
weight u: 4 7
weight b: 8
r0 = linear(h, x; w, b)[0:4]
z0 = linear(h, x; w, b)[4:8]
r = sigmoid(r0)
z = sigmoid(z0)
v = r * h
n0 = linear(v, x; u)
n = tanh(n0)
h1 = h + z * (n - h)
next h = h1
output n
output z0
output h1""",
    "numbers in sums": """input x: 3
state h: 4
weight w: 8 7
weight b: 4
a = linear(h, x; w)[0:4]
n = linear(h, x; w)[4:8]
z = sigmoid(a + 1.0 + b + 0.5)
h1 = z * h + (1.0 - z) * tanh(n + (0.25 - z))
next h = h1
output h1
output z""",
    "no products": """input x: 4
input y: 4
state h: 4
weight p: 4
f = sigmoid(x + p)
h1 = f * h + (1.0 - f) * y
next h = h1
output h1""",
    "two layers": """input x: 3
input d: 3
constant q: 5
state h: 4
state k: 2
weight w: 4 16
weight u: 2 6
weight s: 4 2
a = linear(h, x, q, k, k; w)
b = linear(k; s)
h1 = tanh(a + b)
e = linear(h1, k; u)
k1 = relu(e) + q0
q0 = 0.5 * k
next h = h1
next k = k1
output x
output h1
output k1""".replace("k1 = relu(e) + q0\nq0 = 0.5 * k", "q0 = 0.5 * k\nk1 = relu(e) + q0"),
    "peepholes and constants": """input x: 4
constant q: 4
state c: 4
state h: 4
weight w: 8 8
weight p: 4
weight r: 4
f0 = linear(h, x; w)[0:4]
g0 = linear(h, x; w)[4:8]
f = sigmoid(f0 + p * c)
c1 = f * c + (1.0 - f) * tanh(g0) * q
h1 = tanh(c1 + r) * softplus(q) / (2.0 + abs(c1)) + exp(min(max(c1, (-0.5)), x)) - 1.0 / (3.0 + h * h)
next c = c1
next h = h1
output h1""",
    "a gate is an operand": """input x: 3
state h: 4
weight w: 4 3
weight u: 5 4
weight v: 4 9
a = linear(x; w)
b = linear(a; u)
d = linear(b, h; v)
h1 = relu(d)
next h = h1
output a""",
    "states that change places": """input x: 4
state a: 4
state b: 4
next a = b
next b = x
output a""",
}
