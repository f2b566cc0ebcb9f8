"""Blocks that differ only in numbers are elaborated once: what comes of it is what elaborating each would give."""

from __future__ import annotations

import pytest
from archlang.compiler.elaborate.families import Families
from archlang.compiler.elaborate.session import Session
from archlang.compiler.emit.python import emit_python
from archlang.compiler.frontend import check_source
from archlang.compiler.graph_text import graph_text
from archlang.compiler.source import Source

NETWORK = "network N {{\n  input x: [B, C=8, H=16, W=16]\n  y = x -> {uses}\n  output y\n}}\n"
HEAD = "  input x: [B, C, H, W]\n"
PASSED_ON = {
    "to a layer": "block A(p: float) {\n" + HEAD + "  output x -> stochastic_depth(p)\n}\n",
    "to a labelled layer, by name": "block A(p: float) {\n" + HEAD + "  output x -> bn: batchnorm(eps=p)\n}\n",
    "to layers in turns": "block A(p: float) {\n"
    + HEAD
    + "  output x -> s: { repeat 4 { conv(C, kernel=1) -> dropout(p) } }\n}\n",
    "to a block": "block I(q: float) {\n" + HEAD + "  output x -> conv(C, kernel=1) -> dropout(q)\n}\n"
    "block A(p: float) {\n" + HEAD + "  output x -> I(p) -> s: { repeat 3 { I(q=p) } } -> I(0.5)\n}\n",
}
DECIDES = {
    "a branch": "block A(p: float) {\n"
    + HEAD
    + "  output if p > 0.25 then x -> conv(C, kernel=1) else x -> dropout(p)\n}\n",
    "a size": "block A(p: float) {\n" + HEAD + "  output x -> dropout(p) -> conv(int(10 * p), kernel=1)\n}\n",
    "a name": "block A(p: float) {\n" + HEAD + "  output x -> dropout(p) -> `c{int(10 * p)}`: conv(C, kernel=1)\n}\n",
    "a number computed from it": "block A(p: float) {\n" + HEAD + "  output x -> dropout(p) -> dropout(p / 2)\n}\n",
    "a tensor": "block A(p: float) {\n" + HEAD + "  output (x -> dropout(p)) * p\n}\n",
    "a default": "block I(q: float, r: float = q / 2) {\n" + HEAD + "  output x -> dropout(q) -> dropout(r)\n}\n"
    "block A(p: float) {\n" + HEAD + "  output x -> I(p)\n}\n",
    "a start": "block A(p: float) {\n"
    + HEAD
    + "  param w: [C, 1, 1] = normal(0, p)\n  output w * x -> dropout(p)\n}\n",
    "a start of all": "block A(p: float) {\n" + HEAD + "  init conv.weight = normal(0, p)\n"
    "  output x -> conv(C, kernel=1) -> dropout(p)\n}\n",
    "a recipe": "block A(p: float) {\n" + HEAD + "  norm = batchnorm(eps=p)\n  output x -> norm -> dropout(p)\n}\n",
    "a name that hides it": "block A(p: float) {\n" + HEAD + "  ys = [x -> dropout(p) for p in [0.1, 0.7]]\n"
    "  output ys[0] + ys[1] -> dropout(p)\n}\n",
    "what a layer refuses": "block A(p: float) {\n" + HEAD + "  output x -> hardtanh(p, 0.15)\n}\n",
}
USES = "A(0.1) -> A(0.3) -> A(0.1) -> A(1e-5)"  # the last is what PyTorch assumes where a norm says nothing


def elaborated(text: str, monkeypatch: pytest.MonkeyPatch, *, apart: bool) -> tuple[list[str], list[str], int]:
    """Graphs with their source, diagnostics, and how many blocks were elaborated; with `apart`, each by itself."""
    count = []
    with monkeypatch.context() as patch:
        if apart:
            patch.setattr(Families, "member", lambda *_: None)
        inner = Session._elaborate
        patch.setattr(Session, "_elaborate", lambda self, *given: (count.append(1), inner(self, *given))[1])
        checked = check_source(Source(text, "a.arch"))
    said = [f"{d.code} {d.message} {d.span and (d.span.start, d.span.end)}" for d in checked.diagnostics]
    return [graph_text(p) + emit_python(p) for p in checked.programs.values()], said, len(count)


@pytest.mark.parametrize("block", PASSED_ON.values(), ids=PASSED_ON)
def test_blocks_that_only_pass_a_number_on_are_elaborated_once(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = block + NETWORK.format(uses=USES)
    graphs, said, once = elaborated(text, monkeypatch, apart=False)
    expected, expected_said, each = elaborated(text, monkeypatch, apart=True)
    assert graphs == expected and graphs
    assert said == expected_said == []
    assert once == block.count("block ") < each


@pytest.mark.parametrize("block", DECIDES.values(), ids=DECIDES)
def test_blocks_in_which_a_number_decides_something_are_elaborated_apart(
    block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = block + NETWORK.format(uses=USES)
    assert elaborated(text, monkeypatch, apart=False)[:2] == elaborated(text, monkeypatch, apart=True)[:2]


def test_a_number_that_is_not_allowed_is_refused_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    for block in PASSED_ON.values():
        text = block + NETWORK.format(uses="A(0.1) -> A(1.5) -> A(0.2) -> A(-0.5)")
        graphs, said, _ = elaborated(text, monkeypatch, apart=False)
        assert (graphs, said) == elaborated(text, monkeypatch, apart=True)[:2]
        assert not graphs and all(line.startswith("A0415") for line in said)


def test_numbers_that_do_decide_make_families_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    block = (
        "block A(p: float, q: float) {\n"
        + HEAD
        + "  output if p > 0.25 then x -> conv(C, kernel=1) else x -> dropout(q)\n}\n"
    )
    text = block + NETWORK.format(uses=" -> ".join(f"A({p}, {q})" for p in (0.1, 0.3) for q in (0.1, 0.2, 0.3)))
    graphs, said, once = elaborated(text, monkeypatch, apart=False)
    assert (graphs, said) == elaborated(text, monkeypatch, apart=True)[:2]
    assert graphs and once == 2  # one for each p
