"""Equations of known cells at any size, as text, for tests and benchmarks of kernels."""

from __future__ import annotations


def _gates(names: str, inside: int, width: int) -> list[str]:
    shapes = [f"weight w{g}: {inside} {inside + width}\nweight b{g}: {inside}" for g in names]
    return [*shapes]


def _products(names: str, vector: str = "h") -> list[str]:
    return [f"a{g} = linear({vector}, x; w{g}, b{g})" for g in names]


def _text(width: int, states: dict[str, int], *lines: str) -> str:
    declared = [f"input x: {width}", *(f"state {name}: {size}" for name, size in states.items())]
    return "\n".join([*declared, *lines, "output h1"])


def lstm(inside: int, width: int) -> str:
    """Four gates."""
    lines = ["i = sigmoid(ai)", "f = sigmoid(af)", "g = tanh(ag)", "o = sigmoid(ao)", "c1 = f * c + i * g"]
    end = ["h1 = o * tanh(c1)", "next h = h1", "next c = c1"]
    return _text(width, {"h": inside, "c": inside}, *_gates("ifgo", inside, width), *_products("ifgo"), *lines, *end)


def peephole(inside: int, width: int) -> str:
    """An LSTM whose gates see the cell: i and f the one before, o the new one."""
    weights = [*_gates("ifgo", inside, width), *(f"weight p{g}: {inside}" for g in "ifo")]
    lines = ["i = sigmoid(ai + pi * c)", "f = sigmoid(af + pf * c)", "g = tanh(ag)", "c1 = f * c + i * g"]
    end = ["o = sigmoid(ao + po * c1)", "h1 = o * tanh(c1)", "next h = h1", "next c = c1"]
    return _text(width, {"h": inside, "c": inside}, *weights, *_products("ifgo"), *lines, *end)


def coupled(inside: int, width: int) -> str:
    """An LSTM that forgets what it does not take in."""
    lines = ["f = sigmoid(af)", "g = tanh(ag)", "o = sigmoid(ao)", "c1 = f * c + (1.0 - f) * g"]
    end = ["h1 = o * tanh(c1)", "next h = h1", "next c = c1"]
    return _text(width, {"h": inside, "c": inside}, *_gates("fgo", inside, width), *_products("fgo"), *lines, *end)


def gru(inside: int, width: int) -> str:
    """As torch.nn.GRU: the reset gate after the product."""
    weights = [*_gates("rz", inside, width), f"weight wx: {inside} {width}", f"weight wh: {inside} {inside}"]
    weights += [f"weight bx: {inside}", f"weight bh: {inside}"]
    lines = ["xn = linear(x; wx, bx)", "hn = linear(h; wh, bh)", "r = sigmoid(ar)", "z = sigmoid(az)"]
    end = ["n = tanh(xn + r * hn)", "h1 = (1.0 - z) * n + z * h", "next h = h1"]
    return _text(width, {"h": inside}, *weights, *_products("rz"), *lines, *end)


def gru_before(inside: int, width: int) -> str:
    """As in the paper: the reset gate before the product."""
    lines = ["r = sigmoid(ar)", "z = sigmoid(az)", "v = r * h", "an = linear(v, x; wn, bn)", "n = tanh(an)"]
    end = ["h1 = (1.0 - z) * n + z * h", "next h = h1"]
    return _text(width, {"h": inside}, *_gates("rzn", inside, width), *_products("rz"), *lines, *end)


def minimal(inside: int, width: int) -> str:
    """One gate for both."""
    lines = ["f = sigmoid(af)", "v = f * h", "an = linear(v, x; wn, bn)", "h1 = (1.0 - f) * h + f * tanh(an)"]
    return _text(width, {"h": inside}, *_gates("fn", inside, width), *_products("f"), *lines, "next h = h1")


def elman(inside: int, width: int) -> str:
    """One product."""
    return _text(width, {"h": inside}, *_gates("h", inside, width), *_products("h"), "h1 = tanh(ah)", "next h = h1")


def novel(inside: int, width: int) -> str:
    """Two layers in one cell, of two states of two widths, two inputs and a constant; a gate of width 1."""
    second = inside // 2 + 1
    return f"""input x: {width}
input d: {inside}
constant q: {second}
state h: {inside}
state k: {second}
weight w: {2 * inside} {inside + width + second}
weight b: {2 * inside}
weight u: {second} {inside + second}
weight s: 1 {inside}
weight p: {second}
a = linear(h, x, q; w, b)[0:{inside}]
e = linear(h, x, q; w, b)[{inside}:{2 * inside}]
m = linear(d; s)
g = sigmoid(a + m)
h1 = g * h + (1.0 - g) * tanh(e + d)
r = linear(h1, k; u)
t = sigmoid(p * k)
k1 = t * k + (1.0 - t) * relu(r + q)
y = softplus(r) * m
next h = h1
next k = k1
output h1
output y
output k1"""


KNOWN = {
    "lstm": lstm,
    "peephole": peephole,
    "coupled": coupled,
    "gru": gru,
    "gru before": gru_before,
    "minimal": minimal,
    "elman": elman,
}
CELLS = {**KNOWN, "novel": novel}
