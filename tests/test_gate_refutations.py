"""A refuted gate is one that leaves [0, 1]: of random factors, each verdict is compared with numbers."""

from __future__ import annotations

import pytest
import torch
from archlang.compiler.frontend import check_source
from archlang.compiler.source import Source
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

POINTS = 1000
NETWORK = """block Apart {{ input a: [B, 1]  input b: [B, 1]  output a - b }}
block Soft {{ input a: [B, 1]  output a -> softplus }}
block Layered {{ input a: [B, 1]  output (a -> linear(1)) - (a -> relu) }}
network N {{
  input x: [B, 1]
  input z: [B, 1]
  param p: [1] = 1
  module biased = linear(1)
  module plain = linear(1, bias=false)
  module layered = Layered
  f = {factor}
  output y = f * x
  output used = (x -> biased) + (x -> plain) + p + (x -> layered)
  bias gating on y
}}
"""
FUNCTIONS = {
    "relu": F.relu,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": F.silu,
    "clamp(-0.5, 2)": lambda a: a.clamp(-0.5, 2),
    "Soft": F.softplus,
    "biased": lambda a: a * NUMBERS["slope"] + NUMBERS["offset"],
    "plain": lambda a: a * NUMBERS["plain"],
    "layered": lambda a: a * NUMBERS["inner"] + NUMBERS["within"] - F.relu(a),
    "identity": lambda a: a,
}
PAIRS = {
    "({} + {})": torch.add,
    "({} - {})": torch.sub,
    "({} * {})": torch.mul,
    "(({}, {}) -> Apart)": torch.sub,
}


def spread(seed: int) -> torch.Tensor:
    """Numbers of both signs and of all sizes, zero among them."""
    draw = torch.Generator().manual_seed(seed)
    sizes = 10 ** torch.empty(POINTS, dtype=torch.float64).uniform_(-3, 3, generator=draw)
    signs = torch.randint(-1, 2, (POINTS,), generator=draw)
    return sizes * signs


NUMBERS = {n: spread(i) for i, n in enumerate(("x", "z", "p", "slope", "offset", "plain", "inner", "within"))}


@st.composite
def factors(draw, depth=3):
    """A factor as its text, and what it is at every point."""
    kind = draw(st.sampled_from(["leaf", "function", "function", "pair", "pair", "scaled"])) if depth else "leaf"
    if kind == "leaf":
        name = draw(st.sampled_from(["x", "x", "z", "p"]))
        return ("(x * 0 + p)" if name == "p" else name), NUMBERS[name]
    text, values = draw(factors(depth - 1))
    if kind == "function":
        name = draw(st.sampled_from(sorted(FUNCTIONS)))
        return f"({text} -> {name})", FUNCTIONS[name](values)
    if kind == "scaled":
        by, more = draw(st.sampled_from([0.5, -0.25, 2.0])), draw(st.sampled_from([0.0, 0.5, -1.0]))
        return f"({by} * {text} + {more})", by * values + more
    other, others = draw(factors(depth - 1))
    form = draw(st.sampled_from(sorted(PAIRS)))
    return form.format(text, other), PAIRS[form](values, others)


def verdict(factor: str) -> str:
    """holds, refuted (A1301) or unknown (A1302)"""
    codes = {d.code for d in check_source(Source(NETWORK.format(factor=factor), "case.arch")).diagnostics}
    assert codes <= {"A1301", "A1302"}, codes
    return {"A1301": "refuted", "A1302": "unknown"}.get(next(iter(codes), ""), "holds")


@settings(max_examples=80, derandomize=True, deadline=None, phases=[Phase.generate])
@given(factors())
def test_what_is_refuted_leaves_its_bounds(factor) -> None:
    text, values = factor
    assume("x" in text.replace("(x * 0 + p)", "") and values.min() < values.max())
    stays = values.min() > -1e-9 and values.max() < 1 + 1e-9
    assert not stays or verdict(text) != "refuted"


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        ("(x -> softplus) - (x -> relu)", "unknown"),
        ("((x -> softplus), (x -> relu)) -> Apart", "unknown"),
        ("(x -> Soft) - (x -> relu)", "unknown"),
        ("x - x", "unknown"),
        ("(x -> plain) - (x -> plain)", "unknown"),
        ("x * (1 - x) * 4", "unknown"),
        ("x -> clamp(0, 1.2) -> silu", "unknown"),
        ("(x -> softplus) + (x -> relu)", "refuted"),
        ("(x -> softplus) - (z -> relu)", "refuted"),
        ("((x -> softplus), (z -> relu)) -> Apart", "refuted"),
        ("(x -> biased) - x", "refuted"),
        ("(x -> biased) - (x -> plain)", "refuted"),
        ("((x -> softplus) - (x -> relu)) + (x -> biased)", "refuted"),
        ("x -> layered", "refuted"),
        ("1.5 * (x -> sigmoid)", "refuted"),
        ("(x -> sigmoid) - (z -> sigmoid)", "refuted"),
        ("0.5 * (x -> tanh) + 0.5", "holds"),
        ("((x -> softplus) - (x -> relu)) -> clamp(0, 1)", "holds"),
    ],
)
def test_what_is_shared_decides(factor: str, expected: str) -> None:
    assert verdict(factor) == expected
