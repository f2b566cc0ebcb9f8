"""What scans cost: their cells' operations and memory at each step, their weights and their depth once."""

from __future__ import annotations

import json
import re

import pytest
import torch
from archlang.compiler.analysis.cost import at_nominal, cost, peak_memory
from archlang.compiler.analysis.table import Row, summary
from archlang.compiler.graph import Program
from archlang.table import as_json, plain_table
from emit_harness import compiled
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

USE = 'import "std/recurrent" use LSTM, GRU, RNN, CoupledLSTM\n'
D, H, T = 7, 5, 11


def scanning(stage: str, size: str = f"T={T}") -> Program:
    return compiled(f"{USE}network Net {{ input x: [B, {size}, {D}] output y = x -> {stage} }}")


def per_example(program: Program, what: str = "flops") -> object:
    return at_nominal(getattr(cost(program), what), program.graph)


def counted(module: nn.Module, *inputs: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops()


# Operations


@pytest.mark.parametrize(("cell", "module", "gates"), [("RNN", nn.RNN, 1), ("GRU", nn.GRU, 3)])
def test_operations_are_those_that_torch_counts(cell: str, module: type[nn.Module], gates: int) -> None:
    found = per_example(scanning(f"scan {cell}({H}) over T"))
    assert found == counted(module(D, H, batch_first=True), torch.zeros(1, T, D))
    assert found == 2 * gates * H * (D + H) * T


def test_an_lstm_has_four_gates_at_every_step() -> None:
    """torch counts nothing for `nn.LSTM`, which is one operation of its own; it does for a cell."""
    step = counted(nn.LSTMCell(D, H), torch.zeros(1, D))
    assert per_example(scanning(f"scan LSTM({H}) over T")) == T * step == T * 4 * H * (D + H) * 2


def test_both_directions_cost_twice_as_much() -> None:
    one, both = (scanning(f"{how} LSTM({H}) over T") for how in ("scan", "bidirectional"))
    assert per_example(both) == 2 * per_example(one)  # type: ignore[operator]
    assert cost(both).parameters == 2 * cost(one).parameters


def test_a_step_costs_one_step() -> None:
    steps = f"y, s = x -> LSTM({H})  z, t = y -> LSTM({H}) from (h=s.h, c=s.c)"
    program = compiled(f"{USE}network Net {{ input x: [B, {D}]  {steps}  output z }}")
    assert per_example(program) == 4 * H * (D + H) * 2 + 4 * H * (H + H) * 2


def test_weights_count_once_however_long_the_axis_is() -> None:
    short, long = (scanning(f"scan LSTM({H}) over T", f"T={n}") for n in (1, 500))
    assert cost(short).parameters == cost(long).parameters == 4 * (H * (D + H) + H)
    assert per_example(long) == 500 * per_example(short)  # type: ignore[operator]


def test_a_length_that_nobody_fixed_stays_a_symbol_and_a_nominal_one_counts() -> None:
    step = 4 * H * (D + H) * 2
    assert str(per_example(scanning(f"scan LSTM({H}) over T", "T"))) == f"{step} * T"
    assert per_example(scanning(f"scan LSTM({H}) over T", "T~30")) == 30 * step


def test_lengths_of_two_scans_of_one_cell_are_told_apart() -> None:
    text = f"""{USE}network Net {{
      input a: [B, T=3, {D}]
      input b: [B, S=4, {D}]
      y, s = a -> one: scan LSTM({H}) over T
      z, t = b -> two: scan LSTM({H}) over S from (h=s.h, c=s.c)
      output z
    }}"""
    assert per_example(compiled(text)) == 7 * 4 * H * (D + H) * 2


# Memory


def test_training_keeps_what_every_step_makes() -> None:
    """Of an RNN: what enters the product, the product, and the state."""
    assert per_example(scanning(f"scan RNN({H}) over T"), "memory") == 4 * T * ((D + H) + H + H)


def test_inference_holds_one_step_beside_what_it_collects() -> None:
    program = scanning(f"scan RNN({H}) over T")
    inputs, results, step = T * D, T * H + H, D + H + (D + H)  # what enters a step is let go after the product
    assert peak_memory(program.graph, {"B": 1}) == 4 * (inputs + results + step)


# Depth


def test_a_cell_is_as_deep_as_one_step() -> None:
    assert cost(scanning(f"linear(6) -> scan LSTM({H}) over T -> linear(2)")).depth == 3
    assert cost(scanning(f"scan LSTM({H}) over T -> bidirectional LSTM({H}) over T")).depth == 2


MOORE = """cell Moore(hidden: int) {
  input x: [B, D]
  state h: [B, hidden]
  h' = (x -> linear(hidden) -> linear(hidden)) + h
  output h -> linear(3)
}
"""


def test_what_an_output_sees_a_step_later_counts_too() -> None:
    text = "network Net { input x: [B, T, 4] output y = x -> scan Moore(8) over T }"
    assert cost(compiled(MOORE + text)).depth == 3


def test_depth_before_a_start_counts() -> None:
    text = """network Net { input x: [B, T, 4]
      s = x[T=0] -> linear(4) -> linear(4) -> linear(8)
      output y = x -> scan Moore(8) over T from (h=s) }"""
    assert cost(compiled(MOORE + text)).depth == 4


# The table

TAGGER = f"""{USE}network Tagger {{
  input tokens: int[B, T~20]
  y, last = tokens -> embedding(100, 8) -> both: bidirectional LSTM({H}) over T
  z, end = y -> top: scan GRU({H}) over T with (mask=tokens != 0)
  logits = z -> linear(4)
  output logits
  output end.h
}}"""


@pytest.fixture(scope="module")
def tagger() -> Program:
    return compiled(TAGGER)


def rows_by_path(program: Program, depth: int | None = None) -> dict[str, Row]:
    return {row.path: row for row in summary(program, depth) if row.path}


def test_a_scan_has_a_row_that_says_over_what(tagger: Program) -> None:
    rows = rows_by_path(tagger, 0)
    ahead, back, top = rows["both.ahead"], rows["both.back"], rows["top"]
    assert (ahead.kind, ahead.steps) == ("scan", 20)
    assert re.fullmatch(rf"LSTM\(hidden={H}\b.*\) over T", ahead.what)
    assert re.fullmatch(rf"LSTM\(hidden={H}\b.*\) over T reversed", back.what)
    assert top.shape == f"[B, T=20, hidden={H}]"
    assert (top.flops, top.parameters) == (20 * 2 * 3 * H * 3 * H, 3 * H * 3 * H + 4 * H)


def test_rows_inside_a_scan_add_up(tagger: Program) -> None:
    rows = summary(tagger)
    top = next(row for row in rows if row.path == "top")
    inside = [row for row in rows if row.path.startswith("top.")]
    assert sum(row.flops for row in inside) == top.flops  # type: ignore[misc]
    assert sum(row.parameters for row in inside) == top.parameters
    update = next(row for row in inside if row.path == "top.update")
    assert (update.shape, update.level, update.receptive_field) == (f"[B, hidden={H}]", 1, None)
    assert update.flops == 20 * 2 * H * 3 * H
    whole = at_nominal(cost(tagger).flops, tagger.graph)  # type: ignore[arg-type]
    assert sum(row.flops for row in rows if row.level == 0) == whole  # type: ignore[misc]


def test_one_step_says_so() -> None:
    program = compiled(f"{USE}network Net {{ input x: [B, {D}] y, s = x -> LSTM({H}) output y }}")
    assert re.fullmatch(rf"LSTM\(hidden={H}\b.*\), one step", rows_by_path(program)["lstm1"].what)


def test_the_table_as_json(tagger: Program) -> None:
    made = json.loads(json.dumps(as_json(tagger, None)))
    (row,) = [row for row in made["rows"] if row["path"] == "top"]
    assert (row["steps"], row["kind"]) == (20, "scan")
    assert made["total"]["depth"] == 4


def test_the_table_as_text(tagger: Program) -> None:
    text = plain_table(tagger, 1)
    assert ") over T reversed" in text
    assert "  update" in text
