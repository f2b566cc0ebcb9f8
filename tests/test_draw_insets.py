"""What closed boxes hold is drawn once beside the figure."""

from __future__ import annotations

import draw_graphs as graphs
from archlang.compiler.draw import render
from archlang.compiler.draw.figure import Figure
from archlang.compiler.draw.insets import automatic
from archlang.compiler.graph import EdgeKind
from emit_harness import compiled

DENSE = """
block DenseLayer(growth: int) {
  input x: [B, C, H, W]
  output x -> norm: batchnorm -> relu -> conv: conv(growth, kernel=3, pad=1, bias=false)
}
network Dense(layers: list[int] = [6, 12, 24]) {
  input image: [B, 3, H~32, W~32]
  x = image -> stem: conv(16, kernel=3, pad=1)
  for i, n in enumerate(layers) {
    x = x -> `dense{i}`: { for j in 0..n { skip by concat { `layer{j}`: DenseLayer(12) } } -> avgpool(2) }
  }
  output x -> global_avgpool -> flatten -> fc: linear(10)
}
"""


def insets(figure: Figure) -> dict[str, list[str]]:
    """The title of every inset with what stands in it."""
    groups = [g for g in figure.groups.values() if g.kind == "inset"]
    return {g.title: [i.text for i in figure.items.values() if i.group == g.id] for g in groups}


def test_a_level_and_the_block_in_it() -> None:
    program = compiled(DENSE)
    figure = automatic(program, program.graph, False, 10_000)
    found = insets(figure)
    assert list(found) == ["dense0", "DenseLayer(12)"]
    assert found["DenseLayer(12)"] == ["x", "norm batchnorm · relu · conv conv 12, 3×3", "output"]
    layers = [text for text in found["dense0"] if text.startswith("layer")]
    assert layers == [f"layer{j} DenseLayer(12)" for j in range(6)]
    assert found["dense0"].count("‖") == 6
    assert {found["dense0"][0], found["dense0"][-1]} == {"input", "output"}
    ways_around = [link for link in figure.links if link.kind is EdgeKind.SKIP and link.target.startswith("ni")]
    assert len(ways_around) == 6


def test_every_block_once() -> None:
    program = graphs.resnet()
    found = insets(automatic(program, program.graph, False, 10_000))
    assert [title.partition("(")[0] for title in found] == ["Bottleneck"]


def test_a_figure_of_a_given_depth_has_none() -> None:
    program = compiled(DENSE)
    assert "cluster_part" not in render(program, "dot", depth=0)
    assert "cluster_i1" not in render(program, "dot", depth=1)
    assert "cluster_i1" in render(program, "dot")


def test_what_is_all_open_needs_none() -> None:
    program = compiled("network Small { input x: [B, 4] output x -> a: linear(4) -> relu -> b: linear(2) }")
    assert insets(automatic(program, program.graph, False, 10_000)) == {}


def test_links_stay_inside() -> None:
    for program in (compiled(DENSE), graphs.resnet(), graphs.transformer(6)):
        figure = automatic(program, program.graph, False, 10_000)

        def place(item: str, figure: Figure = figure) -> str:
            group = figure.groups[figure.items[item].group]
            while group.parent not in (None, "root"):
                group = figure.groups[group.parent]
            return group.id if group.kind == "inset" else ""

        assert all(place(link.source) == place(link.target) for link in figure.links)


MIXED = """
block Mixed(out: int, kernel: int, stride: int, wide: bool, rate: float) {
  input x: [B, C, H, W]
  y = x -> block: { conv(out, kernel=kernel, stride=stride, pad=kernel // 2) -> batchnorm -> relu -> dropout(rate) }
  output if stride == 1 and C == out then x + y else y
}
block Row(a: int, b: int, c: int, d: int, e: int) {
  input x: [B, C, H, W]
  output x -> conv(a, kernel=1) -> conv(b, kernel=1) -> conv(c, kernel=1) -> conv(d, kernel=1) -> conv(e, kernel=1)
}
network Net {
  input image: [B, 3, H~32, W~32]
  x = image -> Mixed(8, 3, 2, true, 0.1) -> Mixed(8, 3, 1, false, 0.2) -> Mixed(8, 5, 1, false, 0.3)
  output x -> Row(1, 2, 3, 4, 5) -> Row(6, 7, 8, 9, 8)
}
"""


def test_arguments_are_named_the_same_way_in_every_call() -> None:
    """All but the first; a block of nothing but whole numbers is a row of a table."""
    program = compiled(MIXED)
    text = render(program, "dot", depth=0)
    for title in ("Mixed(8, kernel=3, stride=2, wide)", "Mixed(8, kernel=3)", "Mixed(8, kernel=5)"):
        assert f">{title}<" in text
    assert ">Row(1, 2, 3, 4, 5)<" in text


def test_a_sum_with_what_was_made_of_it_is_a_skip() -> None:
    program = compiled(MIXED)
    figure = automatic(program, program.graph, False, 10_000)
    skips = [figure.items[link.target].text.strip() for link in figure.links if link.kind is EdgeKind.SKIP]
    assert skips
    assert set(skips) == {"+"}


def test_a_level_says_of_which_block_it_is() -> None:
    block = """
    block Deep(out: int) {
      input x: [B, C]
      output x -> inner: { linear(out) -> relu -> linear(out) -> tanh -> linear(out) } -> outer: linear(C)
    }
    """
    calls = " -> ".join(f"Deep({out})" for out in range(2, 20))
    program = compiled(block + f"network Net {{ input x: [B, 4] output x -> {calls} }}")
    found = insets(automatic(program, program.graph, False, 10_000))
    assert list(found) == ["Deep(2)", "inner in Deep(2)"]


def test_insets_stand_below_each_other() -> None:
    """As many as the figure is high, the first of each column beside its top; the figure itself comes first."""
    lines = render(compiled(DENSE), "dot").splitlines()
    unseen = [line.split()[0] for line in lines if "[style=invis]" in line]
    assert len(unseen) == 2
    assert next(line for line in lines if "cluster_" in line).strip().startswith("subgraph cluster_part0")
