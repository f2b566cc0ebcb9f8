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
    assert "dense0_around" not in render(program, "dot", depth=0)
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
