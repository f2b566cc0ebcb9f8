"""Figures: what is drawn, and what is folded. `dot` is really run."""

from __future__ import annotations

import re
from pathlib import Path

import draw_graphs as graphs
import pytest
from archlang.compiler.diagnostics import ArchError
from archlang.compiler.draw import THEMES, render
from archlang.compiler.draw.insets import READABLE, automatic
from archlang.compiler.draw.outline import outline
from archlang.compiler.draw.repeats import Repeat, find_repeats
from archlang.compiler.frontend import compile_program
from archlang.compiler.graph import EdgeKind, Kind, Node, Program, Ref
from archlang.compiler.source import Source
from cli_harness import needs_dot
from draw_harness import PROGRAMS, by_class, chain, figure, svg_of, texts, written

# What a figure shows


def test_lenet_in_full() -> None:
    assert texts(graphs.lenet()) == [
        "image",
        "digit int",
        "c1 conv 6, 5×5 · tanh",
        "s2 avgpool 2×2",
        "c3 conv 16, 5×5 · tanh",
        "s4 avgpool 2×2",
        "flatten",
        "f5 linear 120 · tanh",
        "f6 linear 84 · tanh",
        "out linear 10",
        "logits",
        "nll cross entropy",
    ]
    labels = [link.label for link in figure(graphs.lenet()).links if link.label]
    assert labels == ["1×32×32", "6×28×28", "6×14×14", "16×10×10", "16×5×5", "400", "120", "84", "10"]


def test_golden_dot() -> None:
    b = graphs.Builder("Tiny", "network")
    x = b.input("x", "B 4")
    y = b.op("relu", b.op("linear", x, label="fc", out=4))
    b.output(b.skip(y, x), "y")
    expected = Path(__file__).with_name("draw_golden.gv").read_text(encoding="utf-8")
    assert render(b.program(), "dot") == expected


@needs_dot
@pytest.mark.parametrize("name", PROGRAMS)
def test_svg_holds_everything(name: str) -> None:
    program = PROGRAMS[name]()
    drawn = automatic(program, program.graph, False, 10_000)
    svg = svg_of(program)
    nodes = by_class(svg, "node")
    assert {node.get("id") for node in nodes} == set(drawn.items)
    framed = [c for c in by_class(svg, "cluster") if c.find("{http://www.w3.org/2000/svg}path") is not None]
    assert len(framed) == len(drawn.groups) - 1
    assert len(by_class(svg, "edge")) == len(drawn.links)
    for node in nodes:
        item = drawn.items[node.get("id") or ""]
        for stripe in item.stripes:
            assert stripe.name in written(node) and stripe.text in written(node)
        if item.times > 1:
            assert f"×{item.times}" in written(node)
    for cluster, group in zip(framed, list(drawn.groups.values())[1:], strict=True):
        assert group.title.partition(":")[0].partition("(")[0] in written(cluster)
    assert program.name in written(svg)


def test_title_counts_parameters_and_shows_the_input() -> None:
    drawn = figure(graphs.resnet())
    assert (drawn.title, drawn.subtitle) == ("ResNet50", "25.6M parameters · image 3×224×224")


def test_parameters_on_request() -> None:
    notes = re.compile(r"<BR/>")
    assert not notes.search(render(graphs.lenet(), "mermaid"))
    counted = render(graphs.lenet(), "mermaid", parameters=True)
    for count in ("156", "2,416", "48,120", "10,164", "850"):
        assert f"<br>{count}" in counted


def test_shapes_are_written_only_where_they_change() -> None:
    b = graphs.Builder("Same", "network")
    x = b.input("x", "B C=8 H=4 W=4")
    for _ in range(3):
        x = b.op("maxpool", x, kernel=3, stride=1, pad=1)
    b.output(x)
    assert [link.label for link in figure(b.program()).links] == ["8×4×4", "", "", ""]


def test_symbolic_sizes_are_written_as_in_papers() -> None:
    b = graphs.Builder("Halves", "network")
    b.output(b.op("maxpool", b.input("x", "B C=8 H W"), kernel=2))
    assert "8×H/2×W/2" in [link.label for link in figure(b.program()).links]


def test_numbers_stand_in_the_arithmetic() -> None:
    b = graphs.Builder("Numbers", "network")
    x = b.input("x", "B 4")
    x = b.op("mul", b.op("scalar", value=0.5), x)
    x = b.op("sub", b.op("scalar", value=1), x)
    x = b.op("div", x, b.op("scalar", value=8))
    b.output(b.op("mul", x, x))
    assert texts(b.program())[1:-1] == ["× 0.5", "1 − x", "÷ 8", "⊙"]


def test_a_number_may_enter_a_block() -> None:
    inner = graphs.Builder("Twice")
    x, factor = inner.input("x", "B 4"), inner.input("factor", "")
    inner.output(inner.op("mul", inner.op("mul", x, factor), factor))
    b = graphs.Builder("Outer", "network")
    b.output(b.call(inner.graph, b.input("x", "B 4"), b.op("scalar", value=0.5)))
    assert texts(b.program())[1:-1] == ["⊙", "⊙"]


def test_pre_norm_layers_share_a_box() -> None:
    b = graphs.Builder("PreNorm", "network")
    x = b.input("x", "B T 16")
    for out in (64, 16):
        x = b.op("gelu", b.op("linear", b.op("layernorm", x), out=out))
    b.output(x)
    assert texts(b.program())[1:-1] == ["layernorm · linear 64 · gelu", "layernorm · linear 16 · gelu"]


def test_what_only_losses_reach_is_set_apart() -> None:
    items = figure(graphs.inception()).items.values()
    aside = {item.text for item in items if item.aside}
    assert {"aux linear 10", "helper cross entropy × 0.3", "nll cross entropy"} <= aside
    assert not any("fc" in text or "inception" in text for text in aside)


def test_shared_modules_say_so() -> None:
    b = graphs.Builder("Twins", "network")
    first, second = b.input("a", "B 4"), b.input("b", "B 4")
    y = b.op("linear", first, label="E", out=4)
    node = b.graph[y.node]
    z = Ref(b.graph.add(Node(Kind.OP, node.types, "E", node.op, module="E"), [second]))
    b.output(b.op("add", y, z))
    notes = [
        stripe.note for item in figure(b.program()).items.values() for stripe in item.stripes if stripe.name == "E"
    ]
    assert notes == ["shared weights"] * 2


def test_skips_enter_the_merge_and_state_edges_are_dashed() -> None:
    b = graphs.Builder("Edges", "network")
    x = b.input("x", "B 4")
    y = b.op("linear", x, out=4)
    b.output(b.op("add", y, x, kinds=(EdgeKind.STATE, EdgeKind.SKIP)))
    text = render(b.program(), "dot")
    (skip,) = [line for line in text.splitlines() if line.startswith("  n0 -> n2")]
    (state,) = [line for line in text.splitlines() if line.startswith("  n1 -> n2")]
    assert THEMES["light"].lines[EdgeKind.SKIP].colour in skip
    assert 'style="dashed"' in state


# Folding and repetition


def test_resnet_folds_by_depth() -> None:
    closed = texts(graphs.resnet(), 0)
    assert [t for t in closed if "Bottleneck" in t] == [
        f"layer{i + 1} Bottleneck ×{n}" for i, n in enumerate([3, 4, 6, 3])
    ]
    one = figure(graphs.resnet(), 1)
    blocks = [(i.text, i.times) for i in one.items.values() if "Bottleneck" in i.text]
    assert blocks[:3] == [("Bottleneck(64)", 1), ("Bottleneck(64)", 2), ("Bottleneck(128, stride=2)", 1)]
    assert [times for _, times in blocks] == [1, 2, 1, 3, 1, 5, 1, 2]
    assert [g.title for g in one.groups.values() if g.kind == "level"] == ["layer1", "layer2", "layer3", "layer4"]
    two = figure(graphs.resnet(), 2)
    frames = [(g.title, g.times) for g in two.groups.values() if g.kind == "block"]
    assert frames == blocks
    assert len(closed) < len(one.items) < len(two.items)


def test_nothing_is_lost_by_folding() -> None:
    """The weights behind a figure's boxes, each as often as its box is repeated, are those of the program."""
    program = graphs.resnet()
    total = sum(spec.elements for _, spec in program.graph.state() if spec.role == "param")
    for depth in range(4):
        drawn = outline(program, program.graph, depth, False, 10_000)
        counted = 0
        for item in drawn.items.values():
            times, at = item.times, item.group
            while at != "root":
                times *= drawn.groups[at].times
                at = drawn.groups[at].parent or "root"
            counted += times * int(dict(item.details).get("parameters", "0").replace(",", ""))
        assert counted == total


@pytest.mark.parametrize("name", PROGRAMS)
def test_automatic_depth_stays_readable(name: str) -> None:
    program = PROGRAMS[name]()
    drawn = automatic(program, program.graph, False, 10_000)
    insets = {g.id for g in drawn.groups.values() if g.kind == "inset"}
    assert 5 < len([i for i in drawn.items.values() if i.text.strip() and i.group not in insets]) <= READABLE


def test_one_layer_sequences_need_no_frame() -> None:
    drawn = figure(graphs.resnet())
    assert "downsample" not in [g.title for g in drawn.groups.values()]
    assert "downsample conv 256, 1×1 · batchnorm" in [i.text for i in drawn.items.values()]


def test_blocks_in_a_row_are_drawn_once() -> None:
    drawn = figure(graphs.transformer(6))
    assert [(g.title, g.times) for g in drawn.groups.values() if g.title.startswith("Block")] == [("Block(8)", 6)]
    assert len([i for i in drawn.items.values() if i.text.startswith("ln1")]) == 1


def test_a_block_whose_result_is_kept_is_not_merged() -> None:
    inner = graphs.Builder("Step")
    inner.output(inner.op("linear", inner.input("x", "B 4"), out=4))
    for kept in (False, True):
        b = graphs.Builder("Kept", "network")
        x = b.input("x", "B 4")
        first = x = b.call(inner.graph, x)
        for _ in range(3):
            x = b.call(inner.graph, x)
        b.output(b.op("add", x, first) if kept else x)
        assert find_repeats(b.graph) == [Repeat(2, 1, 3) if kept else Repeat(1, 1, 4)]


def test_rows_of_plain_layers_are_drawn_once_when_long() -> None:
    assert texts(chain(3, out=8)) == ["x", "linear 8", "linear 8", "linear 8", "output"]
    (item,) = [i for i in figure(chain(40, out=8)).items.values() if i.text == "linear 8"]
    assert item.times == 40

    b = graphs.Builder("Inline", "network")
    x = b.input("x", "B 8")
    for _ in range(6):
        x = b.skip(b.op("linear", b.op("relu", b.op("linear", b.op("layernorm", x), out=16)), out=8), x)
    b.output(x)
    drawn = figure(b.program())
    assert [(g.kind, g.times) for g in drawn.groups.values()][1:] == [("repeat", 6)]
    assert "×6" in render(b.program(), "dot")


def test_different_settings_are_not_merged() -> None:
    b = graphs.Builder("Different", "network")
    x = b.input("x", "B 8")
    for i in range(8):
        x = b.op("dropout", b.op("linear", x, out=8), p=0.1 * (i + 1))
    b.output(x)
    assert find_repeats(b.graph) == []


# Entries


def two_entries() -> Program:
    b = graphs.Builder("Coder", "network")
    x = b.input("x", "B 784")
    z = b.op("linear", x, label="encode", out=8)
    b.output(b.op("linear", z, label="decode", out=784))
    other = graphs.Builder("generate", "entry")
    y = other.op("linear", other.input("z", "B 8"), label="decode", out=784)
    other.output(y, "image")
    return b.program(generate=other.graph)


def test_entries_are_drawn_by_name() -> None:
    program = two_entries()
    assert "encode" in render(program, "mermaid") and "encode" not in render(program, "mermaid", entry="generate")
    assert "decode" in render(program, "mermaid", entry="generate")
    with pytest.raises(ArchError) as failure:
        render(program, "mermaid", entry="generat")
    assert failure.value.diagnostics[0].code == "A1235"
    assert failure.value.diagnostics[0].help == "did you mean `generate`?"


def test_from_text() -> None:
    """What the elaborator makes of a text, drawn: labels as the author wrote them, unlabelled layers without one."""
    text = """
    block Unit(width: int) {
      input x: [B, C, H, W]
      output x -> skip { conv1: conv(width, kernel=3, pad=1) -> norm: batchnorm -> relu }
    }
    network Net(depth: int = 3) {
      input image: [B, 3, H~32, W~32]
      x = image -> conv(8, kernel=1) -> body: { repeat depth { Unit(8) } }
      output x -> global_avgpool -> flatten -> linear(10)
    }
    """
    program = compile_program(Source(text))
    assert texts(program) == [
        "image",
        "conv 8, 1×1",
        "conv1 conv 8, 3×3 · norm batchnorm · relu",
        "+",
        "global avgpool",
        "flatten",
        "linear 10",
        "output",
    ]
    drawn = figure(program)
    assert [(g.title, g.kind, g.times) for g in drawn.groups.values()][1:] == [
        ("body", "level", 1),
        ("Unit(8)", "block", 3),
    ]
    assert [link.kind for link in drawn.links].count(EdgeKind.SKIP) == 1
    assert drawn.subtitle.endswith("image 3×32×32")


def test_the_layer_of_a_proved_bottleneck_says_so() -> None:
    text = """network Coder {
  input x: [B, D=64]
  code = x -> wide: linear(32) -> relu -> narrow: linear(8)
  output y = code -> linear(64)
  bias bottleneck(8) on y
}
"""
    program = compile_program(Source(text))
    items = outline(program, program.graph, 1, False, 500).items.values()
    notes = {item.stripes[0].name: item.stripes[0].note for item in items}
    assert notes["narrow"] == "bottleneck, 8 elements"
    assert notes["wide"] == ""
