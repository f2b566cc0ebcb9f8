"""The table by block: rows, folding, shared weights, numbers that add up."""

from __future__ import annotations

import json

import pytest
from archlang.compiler.analysis import table
from archlang.compiler.analysis.cost import at_nominal, cost
from archlang.compiler.analysis.table import TableLimit, summary
from archlang.compiler.frontend import compile_program
from archlang.compiler.source import Source

NET = """
block Unit(width: int) { input x: [B, C, H, W]
  output x -> skip { conv(width, kernel=3, pad=1) -> batchnorm -> relu } }
block Stage(width: int) { input x: [B, C, H, W]
  output x -> Unit(width) -> Unit(width) }
block Twice(E: module) { input x: [B, D]  output x -> E -> relu -> E }
network Net(classes: int = 10) {
  input image: [B, 3, H~32, W=32]
  target label: int[B]
  x = image -> stem: conv(8, kernel=3, stride=2, pad=1) -> body: Stage(8) -> tail: Stage(8)
  module E = linear(8)
  h = x -> global_avgpool -> rearrange("b c h w -> b (c h w)") -> Twice(E) -> relu
  output logits = h -> linear(classes)
  loss nll = (logits, label) -> cross_entropy
}
"""


@pytest.fixture(scope="module")
def program():
    return compile_program(Source(NET))


def by_path(program, depth=None):
    return {row.path: row for row in summary(program, depth) if row.path}


def test_rows_tell_shape_settings_and_what_they_see(program):
    rows = by_path(program)
    stem = rows["stem"]
    assert (stem.what, stem.shape) == ("conv(8, kernel=3, stride=2, pad=1)", "[B, C=8, H=16, W=16]")
    assert (stem.parameters, stem.flops) == (8 * 27 + 8, 2 * 16 * 16 * 8 * 27)
    assert (stem.memory, stem.receptive_field, stem.kind) == (4 * 8 * 16 * 16, 3, "conv")
    assert rows["body"].what == "Stage(width=8)"
    assert rows["body"].receptive_field == 3 + 2 * 2 * 2
    assert rows["tail.unit2.conv1"].receptive_field == 3 + 4 * 2 * 2
    assert rows["linear1"].receptive_field == "all"


def test_depth_folds_blocks_and_keeps_their_sums(program):
    body, opened, everything = (summary(program, depth) for depth in (0, 1, None))
    assert {row.level for row in body} == {0}
    assert {row.level for row in opened} == {0, 1}
    assert {row.level for row in everything} == {0, 1, 2}
    assert [row.children for row in body if row.path == "body"] == [0]
    assert [row.children for row in opened if row.path == "body"] == [2]
    assert [r for r in everything if r.level == 0 and not r.what.startswith(("Stage", "Twice"))] == [
        r for r in body if not r.what.startswith(("Stage", "Twice"))
    ]
    found = cost(program)
    for rows in (body, opened, everything):
        top = [row for row in rows if row.level == 0]
        assert sum(row.flops for row in top) == at_nominal(found.flops, program.graph)
    inside = [row.parameters for row in everything if row.path.startswith("body.unit1.")]
    assert sum(inside) == by_path(program, 1)["body.unit1"].parameters == 8 * 8 * 9 + 8 + 16


def test_a_shared_module_is_counted_once(program):
    uses = [row for row in summary(program) if row.path == "E"]
    assert [row.parameters for row in uses] == [8 * 8 + 8, 0]
    own = [r for r in summary(program) if r.children == 0]
    assert sum(row.parameters for row in own) == cost(program).parameters


def test_sizes_that_nobody_fixed_stay_symbols():
    text = "network N { input x: [B, T, 4]  output y = x -> linear(3) }"
    (_, row) = summary(compile_program(Source(text)))
    assert (row.flops, row.shape, row.receptive_field) == ("24 * T", "[B, T, 3]", 1)


def test_rows_are_json(program):
    rows = [row.as_json() for row in summary(program, 1)]
    assert json.loads(json.dumps(rows)) == rows
    assert {"path", "parameters", "receptive_field"} <= rows[0].keys()


def test_a_table_has_a_limit(program, monkeypatch):
    monkeypatch.setattr(table, "MOST_ROWS", 5)
    with pytest.raises(TableLimit):
        summary(program)


def test_computed_rates_are_shown_short() -> None:
    text = "block Half(drop: float) { input x: [B, T]  output x -> dropout(drop) }"
    text += "\nnetwork N { input x: [B, T~4]  output x -> Half(0.3 * 0.25) -> dropout(0.1) -> dropout(1e-06) }"
    graph = compile_program(Source(text)).graph
    shown = [table.describe(graph, number) for number in graph.order()]
    assert [t for t in shown if "(" in t] == ["Half(drop=0.075)", "dropout(p=0.1)", "dropout(p=1e-06)"]
