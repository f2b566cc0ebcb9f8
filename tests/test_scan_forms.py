"""Scans in every form of a graph: as text, as JSON, flat, and after rewrites."""

from __future__ import annotations

import pytest
import torch
from archlang.compiler.emit.json import from_json, to_json
from archlang.compiler.graph import Instance, Kind
from archlang.compiler.graph_text import parse_graph, print_graph, same
from archlang.compiler.passes import LEVELS, MEASURED, PASSES, PORTABLE, optimise
from archlang.compiler.verify import BrokenGraph, verify
from archlang.runtime.inference import for_inference
from archlang.runtime.module import build
from emit_harness import compiled

# A cell whose states stand among its inputs, with norms, dropout, activations and a block; run forwards, backwards,
# masked, started, by a step, over another axis, and as a module that is passed on.
RICH = """
block Inner(width: int) {
  input x: [B, D]
  output x -> linear(width) -> batchnorm -> relu -> dropout(0.5)
}
cell Rich(width: int) {
  input x: [B, D]
  state h: [B, width]
  state seen: int[B]
  input k: [B, E]
  gate g in [0, 2] = 2 * ((h, x) -> linear(width) -> dropout(0.1) -> sigmoid)
  y = (h, x) -> mix: linear(width) -> batchnorm -> relu -> inner: Inner(width)
  h' = g * h + y * (k -> linear(width)) -> tanh
  seen' = seen + 1
  output y
  output h'
}
block Around(cell_: module) {
  input x: [B, T, D]
  y, z = (x, x) -> scan cell_ over T
  output z
}
network Net {
  input x: [B, T, 4]
  input real: bool[B, T]
  module shared = Rich(4)
  y, z, last = (x, x) -> a: scan Rich(6) over T with (mask=real)
  u, v, end = (z, y) -> b: reverse Rich(4) over T from (h=y[T=0] -> linear(4))
  w, _ = (v[T=1], v[T=2]) -> Rich(4)
  output y
  output w
  output last.h
  output end.seen
}
"""


@pytest.fixture(scope="module")
def program():
    return compiled(RICH)


def test_text_and_json_read_back_to_the_same_graph(program):
    verify(program, spans=True)
    for graph in (program.graph, program.graph.flatten()):
        text = print_graph(graph)
        again = parse_graph(text)
        verify(again)
        assert same(again, graph)
        assert print_graph(again) == text
    again = from_json(to_json(program)).graph
    assert same(again, program.graph)
    cells = [(g.states, [gate._replace(span=None) for gate in g.gates]) for g in program.graph.graphs()]
    assert [(g.states, g.gates) for g in again.graphs()] == cells


def test_a_difference_in_a_scan_is_a_difference(program):
    text = print_graph(program.graph)
    for old, new in (
        ("states h, seen", "states seen, h"),
        ("[0.0, 2.0]", "[0.0, 1.0]"),
        (', "masked": true', ""),
        (', "reverse": true', ""),
    ):
        assert old in text
        assert not same(parse_graph(text.replace(old, new, 1)), program.graph)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"axes": [1, 1]', '"axes": [7, 1]', "do not have"),
        ('"axes": [1, 1]', '"axes": [1]', "runs a cell of 2 inputs and 2 states"),
        ('"starts": [true, false]', '"starts": [true, true]', "operands for"),
        ("states h, seen", "states h, x", "states"),
        (', "masked": true', "", "operands for"),
        ("gate g = %", "gate g = %99", "does not exist"),
    ],
)
def test_scans_that_cannot_be_are_told(program, old, new, problem):
    text = print_graph(program.graph)
    assert old in text
    with pytest.raises(BrokenGraph, match=problem):
        verify(parse_graph(text.replace(old, new)))


def test_a_scan_is_one_step_of_the_flat_graph(program):
    flat = program.graph.flatten()
    verify(flat)
    scans = [flat[n] for n in flat.order() if flat[n].kind is Kind.SCAN]
    assert [(n.module, n.scan.reverse) for n in scans] == [("a", False), ("b", True)]
    assert isinstance(flat.modules["a"], Instance)
    assert "rich1.mix" in flat.modules  # one step is inlined
    assert [key for key, _ in flat.state()] == [key for key, _ in program.graph.state()]


def test_a_flat_cell_keeps_its_states_last(program):
    (cell, *_) = [g for g in program.graph.graphs() if g.kind == "cell"]
    flat = cell.flatten()
    verify(flat)
    assert [flat[n].name for n in flat.inputs] == ["x", "k", "h", "seen"]
    assert flat.states == cell.states


def test_modules_that_are_passed_on_are_resolved():
    text = (
        RICH[: RICH.index("network")]
        + """
    network Net {
      input x: [B, T, 4]
      module shared = Rich(4)
      a = x -> Around(shared)
      b = a -> deep: { Around(shared) }
      output b
    }
    """
    )
    program = compiled(text)
    flat = program.graph.flatten()
    verify(flat)
    assert [flat[n].module for n in flat.order() if flat[n].kind is Kind.SCAN] == ["shared", "shared"]
    module = build(program).eval()
    x = torch.randn(3, 5, 4)
    torch.testing.assert_close(for_inference(program, module)(x), module(x))


@pytest.mark.parametrize("passes", [(p,) for p in PASSES.values()] + [LEVELS[1], MEASURED, PORTABLE])
def test_rewrites_keep_what_a_recurrent_network_computes(program, passes):
    torch.manual_seed(0)
    module = build(program).double()
    x, real = torch.randn(3, 5, 4, dtype=torch.float64), torch.arange(5) < torch.tensor([5, 2, 3])[:, None]
    for _ in range(3):
        module(x + torch.randn_like(x), real)  # so that norms have statistics
    module.eval()
    kept = {key: value.clone() for key, value in module.state_dict().items()}
    quick = build(optimise(program, passes, checked=True)).double()
    quick.load_state_dict(module.state_dict())
    for left, right in zip(quick.eval()(x, real), module(x, real), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)
    assert all(torch.equal(kept[key], value) for key, value in module.state_dict().items())
