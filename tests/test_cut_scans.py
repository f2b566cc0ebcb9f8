"""Minimum cuts through scans: those of the steps written out, and bounds on them where there are many."""

from __future__ import annotations

import pytest
from archlang.compiler.analysis import cut
from archlang.compiler.analysis.cut import Cutter
from archlang.compiler.frontend import compile_program
from archlang.compiler.graph import Graph
from archlang.compiler.source import Source

CELLS = {
    "narrow before the state": ("state h: [B, 8]", "s = x -> linear(1)", "h' = (h, s) -> linear(8)", "output h'"),
    "narrow behind the state": ("state h: [B, 8]", "h' = (h, x) -> linear(8)", "output h' -> linear(2)"),
    "narrow between": ("state h: [B, 8]", "h' = (h, x) -> linear(2) -> linear(8)", "output h'"),
    "a narrow state": ("state h: [B, 1]", "h' = (h, x) -> linear(1)", "output (h, x) -> linear(8)"),
    "a chain of states": (
        "state h: [B, 3]",
        "state c: [B, 9]",
        "h' = x -> linear(3)",
        "c' = h -> linear(9)",
        "output c",
    ),
    "states that change places": (
        "state h: [B, 5]",
        "state c: [B, 5]",
        "h' = c",
        "c' = h + (x -> linear(5))",
        "output h",
    ),
    "a state that stays": ("state h: [B, 4]", "h' = 1 * h", "output (h, x) -> linear(7)"),
}
STEPS = 4


def network(cell: str, body: str, given: str = "") -> Graph:
    lines = "\n  ".join(CELLS[cell])
    text = f"cell Cell {{\n  input x: [B, D]\n  {lines}\n}}\nnetwork N {{\n  {body}\n}}\n"
    return compile_program(Source(text)).graph


def cuts(graph: Graph, cutter: Cutter) -> dict[str, int | None]:
    return {graph[o].name: cutter.cut(graph, graph.operands(o)[0]).elements for o in graph.outputs}


def written_out(cell: str, start: bool) -> Graph:
    states = [line.split()[1][:-1] for line in CELLS[cell] if line.startswith("state")]
    lines = [f"input x: [B, T={STEPS}, D=6]", "input z: [B, 2]", "module cell = Cell"]
    for t in range(STEPS):
        starts = ", ".join(f"{s}={f's{t - 1}.{s}' if t else f'z -> linear({width(cell, s)})'}" for s in states)
        begun = f" from ({starts})" if t or start else ""
        lines.append(f"y{t}, s{t} = x[T={t}] -> cell{begun}")
    outputs = ", ".join(f"y{t}" for t in range(STEPS))
    lines += [f"output y = ({outputs}) -> stack(axis=1)", *(f"output {s} = s{STEPS - 1}.{s}" for s in states)]
    return network(cell, "\n  ".join([*lines, "output z -> linear(2)"] if not start else lines))


def width(cell: str, state: str) -> str:
    return next(line[-2] for line in CELLS[cell] if line.startswith(f"state {state}:"))


def scanned(cell: str, start: bool) -> Graph:
    states = [line.split()[1][:-1] for line in CELLS[cell] if line.startswith("state")]
    starts = ", ".join(f"{s}=z -> linear({width(cell, s)})" for s in states)
    lines = [f"input x: [B, T={STEPS}, D=6]", "input z: [B, 2]"]
    lines += [f"y, s = x -> scan Cell over T{f' from ({starts})' if start else ''}", "output y"]
    lines += [f"output {s} = s.{s}" for s in states]
    return network(cell, "\n  ".join([*lines, "output z -> linear(2)"] if not start else lines))


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_scan_is_cut_as_its_steps_are(cell: str, start: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = scanned(cell, start)
    exact = cuts(graph, Cutter())
    assert exact == cuts(written_out(cell, start), Cutter())
    assert exact == cuts(graph, Cutter(least=True))
    monkeypatch.setattr(cut, "_MOST_UNROLLED", 0)
    most, least = cuts(graph, Cutter()), cuts(graph, Cutter(least=True))
    assert all(least[name] <= exact[name] <= most[name] for name in exact), (least, exact, most)


def elements(text: str) -> cut.Cut:
    graph = compile_program(Source(text)).graph
    return Cutter().cut(graph, graph.operands(graph.outputs[0])[0])


NARROW = """cell Narrow {{
  input x: [B, D]
  input z: [B, D]
  state h: [B, 16]
  s = (x, z) -> squeeze: linear(2)
  h' = (h, s) -> linear(16)
  output h'
}}
network N {{
  input x: [B, T{size}, D=8]
  input z: [B, T, D=8]
  y, last = (x, z) -> rnn: scan Narrow over T
  output {value}
}}
"""


@pytest.mark.parametrize(
    ("size", "value", "wanted"),
    [
        ("=5", "y", (10, "`rnn.s` (10)")),
        ("~1000", "y", (2000, "`rnn.s` (2,000)")),
        ("", "y", (None, "`rnn.s` (2 * T)")),
        ("=5", "last.h", (10, "`rnn.s` (10)")),
        ("=1000", "last.h", (16, "`rnn.h'` (16)")),
        ("", "last.h", (16, "`rnn.h'` (16)")),
    ],
)
def test_what_is_narrow_before_a_state_is_cut_at_every_step(size: str, value: str, wanted: tuple) -> None:
    found = elements(NARROW.format(size=size, value=value))
    assert (found.elements, ", ".join(map(str, found.members))) == wanted
