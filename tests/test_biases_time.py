"""What scans see: claims about every cell of the library, proved and audited; relations held against changed inputs."""

from __future__ import annotations

import pytest
import torch
from archlang.compiler.analysis.biases.findings import Verdict
from archlang.compiler.analysis.ranges import Ranges
from archlang.compiler.analysis.receptive import Receptive
from archlang.compiler.frontend import compile_program
from archlang.compiler.graph import EdgeKind, Graph, Kind, Program, Ref
from archlang.compiler.relations import Sees
from archlang.compiler.source import Source
from archlang.runtime.audit import Outcome, audit
from archlang.runtime.module import build
from torch import Tensor

GATED = ["LSTM", "GRU", "ResetBeforeGRU", "PeepholeLSTM", "CoupledLSTM", "MinimalGatedUnit", "RecurrentHighway"]
CELLS = ["RNN", *GATED]
USE = f'import "std/recurrent" use {", ".join(CELLS)}\n'


def program(body: str) -> Program:
    return compile_program(Source(USE + f"network N {{\n{body}\n}}\n", "time.arch"))


@pytest.mark.parametrize("cell", CELLS)
def test_cells_of_the_library_keep_what_they_promise(cell: str) -> None:
    gating = "bias gating on y  bias gating on h" if cell in GATED else ""
    made = program(
        f"""input x: [B, T~10, D=3]
        y, last = x -> ahead: scan {cell}(5) over T
        z, ends = x -> both: bidirectional {cell}(5) over T
        h = last.h
        f = ends.backward.h
        output y  output z  output h  output f
        bias sequential on y over T
        bias sequential on z over T
        bias causality on y over T
        bias weight_sharing on z over T
        bias global_context on z over T
        bias global_context on h over T
        bias bottleneck(5) on f
        {gating}"""
    )
    assert {finding.verdict for finding in made.findings} == {Verdict.PROVED}
    assert {result.outcome for result in audit(made, seeds=(0,))} == {Outcome.AGREES}


SEEN = {
    "a scan": "y = x -> scan LSTM(4) over T",
    "reverse": "y = x -> reverse GRU(4) over T",
    "both ways": "y = x -> bidirectional RNN(4) over T",
    "a mask": "y = x -> scan GRU(4) over T with (mask=m)",
    "a mask in reverse": "y = x -> reverse RNN(4) over T with (mask=m)",
    "a start": "y = x -> scan RNN(4) over T from (h=x[T=1] -> linear(4))",
    "a window before": 'c = x -> rearrange("b t d -> b d t") -> conv(3, kernel=3, pad=1)  '
    'y = c -> rearrange("b d t -> b t d") -> scan RNN(4) over T',
    "two after one another": "y = x -> scan RNN(4) over T -> reverse RNN(4) over T",
    "the end": "a, last = x -> scan LSTM(4) over T  y = last.c",
    "the end of a mask": "a, last = x -> scan LSTM(4) over T with (mask=m)  y = last.h",
    "pieces": "a = x -> scan RNN(4) over T  y = a[T=2..7]",
}


@pytest.mark.parametrize("name", SEEN)
def test_no_position_sees_more_than_is_said(name: str) -> None:
    """Each position of each input is changed by itself; what changes lies within the relations."""
    made = program(f"input x: [B=2, T=8, D=3]  input m: bool[B=2, T=8]  {SEEN[name]}  output y")
    graph = made.graph
    view = Receptive().views(graph)[graph.values["y"]]
    module = build(made).double().eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 3, generator=generator, dtype=torch.float64)
    m = torch.tensor([[True] * 7 + [False], [True] * 5 + [False] * 3])
    before = module(x, m)
    for source, axis in ((0, 0), (0, 1), (1, 0), (1, 1)):
        found = {key[0]: relation for key, relation in view.relations.items() if key[1:] == (source, axis)}
        for p in range((2, 8)[axis]):
            changed = _changed(before, module(*_with(x, m, source, axis, p)))
            for place in changed.nonzero().tolist():
                assert any(a is None or _contains(r, place[a], p) for a, r in found.items()), (source, axis, p, place)


def _with(x: Tensor, m: Tensor, source: int, axis: int, p: int) -> tuple[Tensor, Tensor]:
    x, m = x.clone(), m.clone()
    if source == 0:
        x.select(axis, p).add_(1.5)
    else:
        m.select(axis, p).logical_not_()
    return x, m


def _changed(before: Tensor, after: Tensor) -> Tensor:
    return (before - after).abs() > 1e-12


def _contains(relation, place: int, position: int) -> bool:
    low, high = relation.stride * place + relation.lo, relation.stride * place + relation.hi
    return {
        Sees.WINDOW: low <= position <= high,
        Sees.PREFIX: position <= high,
        Sees.SUFFIX: low <= position,
        Sees.ALL: True,
    }[relation.sees]


def test_a_cell_that_only_remembers_sees_what_came_before() -> None:
    made = compile_program(
        Source(
            """cell Lag { input x: [B, D]  state a: [B, D]  state b: [B, D]  a' = x  b' = a  output b }
            network N { input x: [B, T, D=3]  y = x -> scan Lag over T  output y }""",
            "lag.arch",
        )
    )
    view = Receptive().views(made.graph)[made.graph.values["y"]]
    seen = view.relations[1, 0, 1]
    assert (seen.sees, seen.hi) == (Sees.PREFIX, -1)  # two before, and never more than is said


@pytest.mark.parametrize(
    ("cell", "bounds"), [("GRU", (-1, 1)), ("MinimalGatedUnit", (-1, 1)), ("RecurrentHighway", (-1, 1))]
)
def test_states_weighed_by_gates_stay_within_bounds(cell: str, bounds: tuple[float, float]) -> None:
    made = program(f"input x: [B, T, D=3]  y, last = x -> scan {cell}(4) over T  h = last.h  output y  output h")
    found = Ranges().of(made.graph)
    assert found[made.graph.values["h"]].interval == bounds
    y = build(made)(torch.randn(4, 50, 3) * 100)[0]
    assert bounds[0] <= float(y.min().detach()) and float(y.max().detach()) <= bounds[1]


def test_sums_have_no_bounds() -> None:
    made = program("input x: [B, T, D=3]  y, last = x -> scan LSTM(4) over T  c = last.c  output y  output c")
    found = Ranges().of(made.graph)
    lo, hi = found[made.graph.values["c"]].interval
    assert (lo, hi) == (float("-inf"), float("inf"))
    assert found[made.graph.values["y"]].interval == (-1, 1)


def test_products_of_gates_are_marked() -> None:
    made = program("input x: [B, T, D=3]  y = x -> scan GRU(4) over T  output y")
    (cell,) = [graph for graph in made.graph.graphs() if graph.kind == "cell"]
    marked = {_product(cell, n) for n in cell for kind in cell.operand_kinds(n) if kind is EdgeKind.GATE}
    assert marked == {"mul"}
    assert sum(kind is EdgeKind.GATE for n in cell for kind in cell.operand_kinds(n)) == 3


def _product(graph: Graph, number: int) -> str:
    node = graph[number]
    return node.op.name if node.op is not None else str(node.kind)


def test_a_cell_is_worked_through_once_for_every_scan_of_it() -> None:
    made = program("input x: [B, T, D=4]  y = x -> layers: { repeat 40 { scan GRU(4) over T } }  output y")
    scans = [n for n in made.graph if made.graph[n].kind is Kind.SCAN]
    assert len(scans) == 40
    assert len({id(made.graph[n].graph) for n in scans}) == 1
    view = Receptive().views(made.graph)[Ref(made.graph.outputs[0])]
    assert view.relations[1, 0, 1].sees is Sees.PREFIX
