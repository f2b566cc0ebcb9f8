"""What closed boxes hold is drawn once beside the figure."""

from __future__ import annotations

import draw_graphs as graphs
from archlang.compiler.draw import render, words
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


def unseen(text: str) -> list[tuple[str, str]]:
    """The edges of a figure that keep its parts in order."""
    lines = [line.split() for line in render(compiled(text), "dot").splitlines() if "-> " in line and "=invis]" in line]
    return [(line[0], line[2]) for line in lines]


def test_insets_stand_in_columns() -> None:
    """As many as the highest part is high: what is left below the figure itself is used too."""
    (before, main), (other, first), (last, second) = sorted(unseen(DENSE), key=lambda edge: edge[0] != "columns")
    assert (before, other, main) == ("columns", "columns", "n0")
    assert first.startswith("i1_in")
    assert last == "n92"  # the last item of the figure itself
    assert second.startswith("ni2_")
    lines = render(compiled(DENSE), "dot").splitlines()
    assert next(line for line in lines if "cluster_" in line).strip().startswith("subgraph cluster_part0")


GAME = f"""
block Low {{ input x: [B, L]  output x -> linear(4) -> relu -> linear(1) }}
block High {{ input x: [B, L]  output x -> {" -> ".join(f"linear({width})" for width in range(14, 2, -1))} }}
adversarial Game {{
  input real: [B, 3]
  sample z ~ normal(0, 1): [B, 3]
  generator G = High
  discriminator D = Low
  fake = z -> G
  pair G vs D on (real, fake) by hinge
}}
"""


def test_a_small_inset_stands_below_a_small_figure() -> None:
    edges = unseen(GAME)
    assert [target.partition("_")[0] for source, target in edges if source == "columns"] == ["n1", "ni1"]
    ((above, below),) = [edge for edge in edges if edge[0] != "columns"]
    assert above.startswith("o")
    assert below.startswith("ni2_")


PYRAMID = """
block Up(out: int) {
  input x: [B, C, H, W]
  input w: [B, L]
  style = w -> style: linear(out) -> rearrange("b c -> b c 1 1")
  output (x -> upsample(2) -> conv: conv(out, kernel=3, pad=1)) + style
}
block Pyramid(levels: int) {
  input x: [B, C, H, W]
  input w: [B, L]
  input cut: int[B]
  after = cut -> rearrange("b -> b 1")
  for i in 0..levels {
    style = (after > 2 * i, w, w) -> where
    x = (x, style) -> `level{8 * 2 ** i}`: Up(32 - i)
  }
  output x
}
network Net {
  input x: [B, 64, 4, 4]
  input w: [B, 8]
  input cut: int[B]
  output (x, w, cut) -> Pyramid(12) -> global_avgpool
}
"""


def test_a_pyramid_that_is_too_high_shows_a_level_once() -> None:
    program = compiled(PYRAMID)
    figure = automatic(program, program.graph, False, 10_000)
    title, *_ = found = insets(figure)
    assert title == "Pyramid(12)"
    level = next(item for item in figure.items.values() if item.text == "level8 … level16384 Up(32 … 21)")
    frame = figure.groups[level.group]
    assert frame.times == 12
    inside = [item.text for item in figure.items.values() if item.group == frame.id]
    assert "> 0 … 22" in inside
    assert [link.label for link in figure.links if link.source == level.id] == ["21×16384×16384"]
    assert "Up(32)" in found


def test_what_is_made_of_what_many_read_stands_near_what_it_is_for() -> None:
    layers = "\n".join(f"  x = (x -> linear(8)) + ((w > {i}, v, w) -> where)" for i in range(5))
    text = f"network Net {{\n  input x: [B, 8]\n  input v: [B, 8]\n  input w: [B, 8]\n{layers}\n  output x\n}}"
    program = compiled(text)
    names = {i.id: i.text for i in automatic(program, program.graph, False, 10_000).items.values()}
    lines = [line.split() for line in render(program, "dot").splitlines() if " -> " in line and "weight=" in line]
    pulls = {(names[line[0]], line[2]): 'weight="500"' in " ".join(line) for line in lines}
    last = max((target for _, target in pulls if names[target] == "where"), key=lambda name: int(name[1:]))
    assert [pulls["w", last], pulls["v", last], pulls["> 4", last]] == [False, False, True]
    assert any(strong for (source, _), strong in pulls.items() if source == "where")


def test_what_stands_for_several_says_the_first_and_the_last() -> None:
    assert words.spread("Layer(512, 3)", "Layer(32, 3)") == "Layer(512 … 32, 3)"
    assert words.spread("> 2", "> 14") == "> 2 … 14"
    assert words.spread("layer8", "layer512") == "layer8 … layer512"
    assert words.spread("relu", "relu") == "relu"
    assert words.spread("f(2)", "f(2, 3)") == "f(2) … f(2, 3)"
