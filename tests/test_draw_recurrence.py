"""Figures of recurrence: cells with their loops, scans step by step. `dot` is really run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import archlang
import pytest
from archlang.compiler.diagnostics import ArchError
from archlang.compiler.draw import THEMES, render
from archlang.compiler.draw.figure import Figure, Item, Link, Shape, subscript
from archlang.compiler.draw.insets import READABLE, automatic, of_depth
from archlang.compiler.draw.repeats import find_repeats
from archlang.compiler.draw.style import Extra
from archlang.compiler.graph import EdgeKind, Program
from cli_harness import needs_dot
from emit_harness import compiled

USE = 'import "std/recurrent" use LSTM, GRU, RNN\n'
LSTM = f"""{USE}network Classifier(vocab: int = 100, classes: int = 2) {{
  input tokens: int[B, T]
  y, last = tokens -> embedding(vocab, 16) -> rnn: scan LSTM(32) over T
  output logits = last.h -> linear(classes)
}}"""
TAGGER = f"""{USE}network Tagger {{
  input tokens: int[B, T]
  y = tokens -> embedding(100, 16) -> bidirectional GRU(8) over T -> dropout(0.2) -> bidirectional GRU(8) over T
  output tags = y -> linear(5)
}}"""
TRANSLATE = f"""{USE}network Translate {{
  input source: int[B, S]
  input given: int[B, T]
  known, last = source -> embedding(50, 16) -> encoder: scan LSTM(32) over S with (mask=source != 0)
  y = given -> embedding(50, 16) -> decoder: scan LSTM(32) over T from (h=last.h, c=last.c)
  output logits = y -> linear(50)
}}"""
NESTED = f"""{USE}block Pre(hidden: int) {{ input x: [B, D]  output x -> layernorm -> linear(hidden) -> relu }}
cell Deep(hidden: int) {{
  input x: [B, D]
  state h: [B, hidden]
  h' = (x -> pre: Pre(hidden)) + (h -> linear(hidden)) -> tanh
  output h' -> linear(hidden)
}}
network Steps {{
  input x: [B, T, 64]
  y, last = x -> scan Deep(32) over T
  z, end = last.h -> one: LSTM(32)
  output y
  output z
}}"""
ALL = {"lstm": LSTM, "tagger": TAGGER, "translate": TRANSLATE, "nested": NESTED}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    return {name: compiled(text) for name, text in ALL.items()}


def opened(program: Program, depth: int = 9, unroll: int | None = None) -> Figure:
    return of_depth(program, program.graph, depth, False, 10_000, unroll)


def named(figure: Figure, text: str) -> Item:
    (found,) = [item for item in figure.items.values() if item.text == text]
    return found


def links(figure: Figure, kind: EdgeKind) -> list[tuple[str, str, str]]:
    return [
        (figure.items[link.source].text, figure.items[link.target].text, link.label + subscript(link.sub))
        for link in figure.links
        if link.kind is kind
    ]


def loose(figure: Figure) -> list[Link]:
    return [link for link in figure.links if link.loose]


# A cell, drawn once


def test_a_cell_is_drawn_once_with_its_loops(programs: dict[str, Program]) -> None:
    figure = opened(programs["lstm"])
    assert [group.title for group in figure.groups.values()][1:] == ["rnn: LSTM(32) over T"]
    assert links(figure, EdgeKind.STATE) == [("⊙", "hₜ₋₁", "hₜ"), ("+", "cₜ₋₁", "cₜ")]
    assert all(link.loose for link in figure.links if link.kind is EdgeKind.STATE)
    assert named(figure, "xₜ").role is Extra.INPUT
    assert named(figure, "hₜ₋₁").role is named(figure, "cₜ₋₁").role is Extra.STATE


def test_what_enters_several_gates_is_put_together_once(programs: dict[str, Program]) -> None:
    figure = opened(programs["lstm"])
    (join,) = [item for item in figure.items.values() if item.text == "‖"]
    assert sorted(figure.items[link.target].text for link in figure.outgoing()[join.id]) == [
        "candidate linear 32 · g tanh",
        "expose linear 32 · o sigmoid",
        "forget linear 32 · f sigmoid",
        "write linear 32 · i sigmoid",
    ]
    (row,) = [row for row in figure.rows if not row.ordered]
    assert len(row.items) == 4


def test_gates_reach_their_products_along_edges_of_their_own(programs: dict[str, Program]) -> None:
    figure = opened(programs["lstm"])
    assert sorted((source, target) for source, target, _ in links(figure, EdgeKind.GATE)) == [
        ("expose linear 32 · o sigmoid", "⊙"),
        ("forget linear 32 · f sigmoid", "⊙"),
        ("write linear 32 · i sigmoid", "⊙"),
    ]


def test_a_closed_cell_has_a_loop_with_a_delay(programs: dict[str, Program]) -> None:
    figure = opened(programs["lstm"], 0)
    assert links(figure, EdgeKind.STATE) == [
        ("rnn LSTM(32) over T", "t−1", "h, c"),
        ("t−1", "rnn LSTM(32) over T", ""),
    ]
    assert len(loose(figure)) == 2


def test_final_states_leave_with_their_names(programs: dict[str, Program]) -> None:
    for depth in (0, 1):
        figure = opened(programs["lstm"], depth)
        (into,) = figure.incoming()[named(figure, "linear 2").id]
        assert (into.label, into.sub) == ("h", "T")


def test_both_directions_stand_in_one_frame(programs: dict[str, Program]) -> None:
    figure = opened(programs["tagger"], 1)
    assert [group.title for group in figure.groups.values() if group.kind == "level"] == [
        "bidirectional1",
        "bidirectional2",
    ]
    inside = [item.text for item in figure.items.values() if item.group != "root"]
    assert inside[:4] == ["ahead GRU(8) over T", "t−1", "back GRU(8) over T, reversed", "t+1"]
    assert "hₜ₊₁" in [item.text for item in opened(programs["tagger"], 2).items.values()]


def test_masks_and_starts_are_drawn(programs: dict[str, Program]) -> None:
    closed, inside = (opened(programs["translate"], depth) for depth in (0, 1))
    assert links(closed, EdgeKind.GATE) == [("≠ 0", "encoder LSTM(32) over S", "")]
    starts = [found for found in links(closed, EdgeKind.STATE) if "encoder" in found[0] and "decoder" in found[1]]
    assert [label for _, _, label in starts] == ["h_S", "c_S"]
    masked = [target for source, target, _ in links(inside, EdgeKind.GATE) if source == "≠ 0"]
    assert masked == ["hₜ₋₁", "cₜ₋₁"]
    passed = [label for _, _, label in links(inside, EdgeKind.STATE) if label.endswith("_S")]
    assert passed == ["h_S", "c_S"]


def test_blocks_in_a_cell_open_with_the_depth(programs: dict[str, Program]) -> None:
    titles = [group.title for group in opened(programs["nested"], 1).groups.values()]
    assert "Deep(32) over T" in titles and "pre: Pre(32)" not in titles
    assert "pre: Pre(32)" in [group.title for group in opened(programs["nested"], 2).groups.values()]


def test_a_single_step_has_no_loop(programs: dict[str, Program]) -> None:
    figure = opened(programs["nested"], 0)
    assert [found for found in links(figure, EdgeKind.STATE) if "one" in found[1]] == [
        ("0", "one LSTM(32)", "h"),
        ("0", "one LSTM(32)", "c"),
    ]


def test_a_cell_of_a_closed_box_stands_beside_the_figure(programs: dict[str, Program]) -> None:
    program = programs["translate"]
    figure = automatic(program, program.graph, False, 10_000)
    (inset,) = [group for group in figure.groups.values() if group.kind == "inset"]
    inside = [item.text for item in figure.items.values() if item.group == inset.id]
    assert inset.title == "LSTM(32)"
    assert {"xₜ", "hₜ₋₁", "cₜ₋₁", "hₜ"} <= set(inside)


def test_stacked_scans_are_drawn_once_and_directions_are_not_the_same() -> None:
    stack = f"{USE}network Net {{ input x: [B, T, 8]  output y = x -> {{ repeat 3 {{ scan RNN(8) over T }} }} }}"
    figure = opened(compiled(stack), 0)
    assert [(item.text, item.times) for item in figure.items.values() if "RNN" in item.text] == [("RNN(8) over T", 3)]
    both = f"{USE}network Net {{ input x: [B, T, 8]  output y = x -> scan RNN(8) over T -> reverse RNN(8) over T }}"
    assert find_repeats(compiled(both).graph) == []


# Step by step


def columns(figure: Figure, row: int = 1) -> list[str]:
    return [figure.items[name].text for name in [r for r in figure.rows if r.bare][row].items]


def test_the_first_steps_and_the_last_stand_side_by_side(programs: dict[str, Program]) -> None:
    figure = opened(programs["lstm"], 0, unroll=3)
    assert columns(figure, 0) == ["x₁", "x₂", "x₃", "⋯", "x_T"]
    assert columns(figure, 1) == [*["rnn LSTM(32)"] * 3, "⋯", "rnn LSTM(32)"]
    order = figure.rows[1].items
    states = [(link.source, link.target) for link in figure.links if link.kind is EdgeKind.STATE]
    assert states == list(pairwise(order))
    (last,) = figure.incoming()[named(figure, "linear 2").id]
    assert (last.source, last.label, last.sub) == (order[-1], "h", "T")


@pytest.mark.parametrize(
    ("length", "steps", "found"),
    [
        ("T=5", 3, ["x₁", "x₂", "x₃", "⋯", "x₅"]),
        ("T=4", 3, ["x₁", "x₂", "x₃", "x₄"]),
        ("T=3", 3, ["x₁", "x₂", "x₃"]),
        ("T=2", 3, ["x₁", "x₂"]),
        ("T~9", 1, ["x₁", "⋯", "x_T"]),
    ],
)
def test_short_axes_have_nothing_to_leave_out(length: str, steps: int, found: list[str]) -> None:
    text = f"{USE}network Net {{ input x: [B, {length}, 8]  output y = x -> scan RNN(8) over T }}"
    assert columns(opened(compiled(text), 0, unroll=steps), 0) == found


def test_states_run_backwards_where_the_scan_does(programs: dict[str, Program]) -> None:
    figure = opened(programs["tagger"], 1, unroll=2)
    rows = [row.items for row in figure.rows if row.bare]
    states = {(link.source, link.target) for link in figure.links if link.kind is EdgeKind.STATE}
    ahead, back = rows[1], rows[3]
    assert set(pairwise(ahead)) <= states
    assert {(right, left) for left, right in pairwise(back)} <= states


def test_a_stack_passes_each_step_on() -> None:
    text = f"{USE}network Net {{ input x: [B, T, 8] output y = x -> scan RNN(8) over T -> scan LSTM(8) over T }}"
    figure = opened(compiled(text), 0, unroll=2)
    below, above = (row.items for row in figure.rows[1:])
    assert {(a, b) for a, b in zip(below, above, strict=True) if figure.items[a].text != "⋯"} <= {
        (link.source, link.target) for link in figure.links
    }
    assert len([item for item in figure.items.values() if item.shape is Shape.POINT]) == 1


def test_the_cell_stands_beside_its_steps(programs: dict[str, Program]) -> None:
    program = programs["lstm"]
    for figure in (automatic(program, program.graph, False, 10_000, 3), opened(program, 1, unroll=3)):
        assert [group.title for group in figure.groups.values() if group.kind == "inset"] == ["LSTM(32)"]
    assert not [g for g in opened(program, 0, unroll=3).groups.values() if g.kind == "inset"]


def test_masks_and_starts_reach_the_steps(programs: dict[str, Program]) -> None:
    figure = opened(programs["translate"], 0, unroll=2)
    assert len(links(figure, EdgeKind.GATE)) == 3
    encoder, decoder = (row.items for row in figure.rows[1::2])
    assert (encoder[-1], decoder[0]) in {(link.source, link.target) for link in figure.links}


def test_bad_steps_are_refused(programs: dict[str, Program]) -> None:
    def code(program: Program, **options: object) -> str:
        with pytest.raises(ArchError) as failure:
            render(program, "dot", **options)  # type: ignore[arg-type]
        (diagnostic,) = failure.value.diagnostics
        assert diagnostic.help
        return diagnostic.code

    for bad in (0, -3, 1.5, True, "3"):
        assert code(programs["lstm"], unroll=bad) == "A1231"
    assert code(compiled("network N { input x: [B, 4] output x -> linear(2) }"), unroll=3) == "A1239"
    assert code(programs["lstm"], unroll=500) == "A1232"
    block = "block In { input x: [B, T, D] output x -> scan RNN(8) over T }"
    closed = compiled(f"{USE}{block} network N {{ input x: [B, T, 4] output x -> In }}")
    assert code(closed, unroll=2, depth=0) == "A1239"
    assert "RNN" in render(closed, "dot", unroll=2, depth=1)


# What is written


@needs_dot
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("options", [{}, {"depth": 0}, {"depth": 3}, {"unroll": 3}, {"unroll": 3, "depth": 1}])
def test_dot_draws_every_item_and_edge(name: str, options: dict[str, int], programs: dict[str, Program]) -> None:
    program = programs[name]
    depth, unroll = options.get("depth"), options.get("unroll")
    figure = (
        automatic(program, program.graph, False, 10_000, unroll) if depth is None else opened(program, depth, unroll)
    )
    svg = ElementTree.fromstring(render(program, "svg", **options))
    drawn = {kind: [g for g in svg.iter(f"{SVG}g") if g.get("class") == kind] for kind in ("node", "edge")}
    assert {g.get("id") for g in drawn["node"]} == set(figure.items)
    assert len(drawn["edge"]) == len(figure.links)
    texts = {g.get("id"): g.find(f".//{SVG}text") for g in drawn["node"]}
    places = {name: float(text.get("x", "0")) for name, text in texts.items() if text is not None}
    for row in figure.rows:
        across = [places[name] for name in row.items]
        assert not row.ordered or across == sorted(across)


@needs_dot
@pytest.mark.parametrize("name", ALL)
def test_the_automatic_figure_stays_readable(name: str, programs: dict[str, Program]) -> None:
    program = programs[name]
    figure = automatic(program, program.graph, False, 10_000)
    insets = {group.id for group in figure.groups.values() if group.kind == "inset"}
    assert 5 < len([i for i in figure.items.values() if i.text.strip() and i.group not in insets]) <= READABLE


def test_golden_dot(programs: dict[str, Program]) -> None:
    expected = Path(__file__).with_name("draw_golden_lstm.gv").read_text(encoding="utf-8")
    assert render(programs["lstm"], "dot", depth=1) == expected


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("unroll", [None, 2])
def test_mermaid(name: str, unroll: int | None, programs: dict[str, Program]) -> None:
    text = render(programs[name], "mermaid", unroll=unroll)
    assert isinstance(text, str)
    names = set(re.findall(r"^ +([a-z]\w*)[\[(]", text, re.M))
    pairs = re.findall(r"^ +([a-z]\w*) (?:-->|==>|--o|-\.->)(?:\|\"[^\"]*\"\|)? ([a-z]\w*)$", text, re.M)
    assert pairs and {end for pair in pairs for end in pair} <= names
    assert "-.->" in text and "xₜ" in text


@needs_dot
def test_the_page_tells_of_scans_and_has_dark_colours(programs: dict[str, Program]) -> None:
    made = render(programs["lstm"], "html", depth=0)
    assert isinstance(made, str)
    details = json.loads(re.search(r'id="details">(.*?)</script>', made, re.DOTALL)[1])  # type: ignore[index]
    (found,) = [entry for entry in details.values() if entry["title"] == "rnn LSTM(32) over T"]
    assert ["parameters", "6,272"] in found["rows"]
    drawn = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', made[made.index("<svg") :]))
    assert THEMES["light"].fills[Extra.STATE] in drawn
    assert all(f'[fill="{colour}"]' in made for colour in drawn)


HOSTILE = ('a"b', "<script>alert(1)</script>", r"back\slash \N", "]]>--><!--", "🙂 ‖")


@needs_dot
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("unroll", [None, 2])
def test_hostile_names_are_data(text: str, unroll: int | None) -> None:
    from dataclasses import replace

    program = compiled(LSTM)
    graph = program.graph
    (scan,) = [n for n in graph if graph[n].scan is not None]
    cell = graph[scan].graph
    assert cell is not None
    cell.name, cell.states = text, (text, "c")
    for number in (cell.inputs[1],):
        cell.nx.nodes[number]["node"] = replace(cell[number], name=text)
    svg = ElementTree.fromstring(render(program, "svg", unroll=unroll))
    assert not list(svg.iter(f"{SVG}script"))
    render(program, "mermaid", unroll=unroll)


@pytest.mark.parametrize(
    ("sub", "found"), [("t", "ₜ"), ("t−1", "ₜ₋₁"), ("12", "₁₂"), ("T", "_T"), ("T+1", "_T+1"), ("", "")]
)
def test_subscripts(sub: str, found: str) -> None:
    assert subscript(sub) == found


# Asked for


def test_from_the_command_line(archc, tmp_path: Path) -> None:
    spec = tmp_path / "net.arch"
    spec.write_text(LSTM)

    def run(*options: str):
        return archc("render", str(spec), "--format", "dot", "-o", "-", *options)

    assert run("--unroll", "3").stdout == archlang.render(spec, format="dot", unroll=3)
    assert run().stdout == archlang.render(spec, format="dot")
    refused = run("--unroll", "0")
    assert (refused.returncode, "A1231" in refused.stderr) == (2, True)


@needs_dot
@pytest.mark.slow
def test_the_same_under_any_hash_seed(tmp_path: Path) -> None:
    program = (
        "import hashlib, sys\nfrom pathlib import Path\nimport archlang\n"
        "made = [archlang.render(Path(sys.argv[1]), format='svg', unroll=u) for u in (None, 3)]\n"
        "print(hashlib.sha256(''.join(made).encode()).hexdigest())"
    )
    spec = tmp_path / "net.arch"
    spec.write_text(TRANSLATE)
    hashes = set()
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PATH": os.environ["PATH"]}
        run = [sys.executable, "-c", program, str(spec)]
        hashes.add(subprocess.run(run, capture_output=True, text=True, check=True, env=environment).stdout)
    assert len(hashes) == 1
