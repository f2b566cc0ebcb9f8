"""Figures of games: as papers have them, and with all that an objective adds."""

from __future__ import annotations

import pytest
from archlang.compiler.draw import THEMES, render
from archlang.compiler.draw.insets import automatic, of_depth
from archlang.compiler.draw.style import Extra
from archlang.compiler.frontend import compile_program
from archlang.compiler.ops.base import Glyph
from archlang.compiler.source import Source

BLOCKS = """
block Gen(n: int) { input x: [B, L]  output x -> fc: linear(n) -> tanh }
block Dis { input x: [B, L]  output x -> linear(4) -> relu -> linear(1) }
"""
GAN = f"""{BLOCKS}
adversarial Gan {{
  input real: [B, 8]
  sample z ~ normal(0, 1): [B, 16]
  generator G = Gen(8)
  discriminator D = Dis
  fake = z -> G
  pair G vs D on (real, fake) by wasserstein(gradient_penalty=10, critic_steps=5)
}}
"""
CYCLE = f"""{BLOCKS}
adversarial Cycle {{
  input a: [B, 8]
  input b: [B, 8]
  generator A2B = Gen(8)
  generator B2A = Gen(8)
  discriminator DA = Dis
  discriminator DB = Dis
  fake_b = a -> A2B
  fake_a = b -> B2A
  pair A2B vs DB on (b, fake_b) by least_squares(r1=2)
  pair B2A vs DA on (a, fake_a) by least_squares(pool=50)
  loss cycle weight 10 over A2B, B2A = (fake_b -> B2A, a) -> l1
}}
"""
CONDITIONAL = """
block Cond(n: int) {
  input x: [B, L]
  input label: int[B]
  output (x, label -> embedding(10, 4)) -> concat(axis=1) -> fc: linear(n)
}
adversarial Game {
  input real: [B, 4]
  target label: int[B]
  sample z ~ normal(0, 1): [B, 3]
  generator G = Cond(4)
  discriminator D = Cond(1)
  discriminator C = linear(1)
  fake = (z, label) -> G
  pair G vs D on (real, fake) with (label=label) by wasserstein(clip=0.01)
  pair G vs C on (real, fake) by hinge
  output doubled = fake * 2
}
"""


def figure(text, depth=None):
    program = compile_program(Source(text))
    if depth is None:
        return automatic(program, program.graph, False, 600)
    return of_depth(program, program.graph, depth, False, 600)


def texts(drawn, role, group="root"):
    return [item.text for item in drawn.items.values() if item.group == group and item.role is role]


def sources(drawn, target):
    """What enters an item, by what it says."""
    (item,) = (i for i in drawn.items.values() if i.text == target and i.group == "root")
    return {drawn.items[link.source].text for link in drawn.links if link.target == item.id}


def test_a_gan_is_drawn_as_in_papers():
    drawn = figure(GAN)
    assert texts(drawn, Extra.GENERATOR) == ["G Gen(8)", "G · wasserstein"]
    assert texts(drawn, Extra.DISCRIMINATOR) == ["D Dis", "D · wasserstein, λ = 10, 5 steps to 1"]
    assert sources(drawn, "D Dis") == {"real", "G Gen(8)"}
    assert sources(drawn, "G Gen(8)") == {"z ~ normal(0, 1)"}
    assert sources(drawn, "G · wasserstein") == sources(drawn, "D · wasserstein, λ = 10, 5 steps to 1") == {"D Dis"}
    assert len([item for item in drawn.items.values() if item.group == "root"]) == 6  # nothing of the penalty
    assert not any(item.aside for item in drawn.items.values())
    assert drawn.direction == "TB"
    assert figure(GAN, 0).direction == "LR"
    assert [group.title for group in drawn.groups.values() if group.kind == "inset"] == ["Gen(8)", "Dis"]


def test_losses_stand_in_one_row_and_what_enters_in_another():
    drawn = figure(CYCLE)
    rows = [{drawn.items[name].text for name in row.items} for row in drawn.rows]
    assert {"a", "b"} in rows
    losses = {
        "DB · least-squares, R₁ γ = 2", "A2B · least-squares", "DA · least-squares, pool of 50",
        "B2A · least-squares", "A2B, B2A · cycle l1 × 10",
    }  # fmt: skip
    assert losses in rows


def test_each_discriminator_stands_once_and_a_generator_where_it_is_used():
    drawn = figure(CYCLE)
    assert texts(drawn, Extra.DISCRIMINATOR)[:2] == ["DB Dis", "DA Dis"]
    assert texts(drawn, Extra.GENERATOR).count("B2A Gen(8)") == 2
    assert sources(drawn, "DB Dis") == {"b", "A2B Gen(8)"}
    assert sources(drawn, "A2B, B2A · cycle l1 × 10") == {"a", "B2A Gen(8)"}


def test_what_comes_with_a_pair_and_further_outputs_are_drawn():
    drawn = figure(CONDITIONAL)
    assert sources(drawn, "D Cond(1)") == {"real", "G Cond(4)", "label int"}
    assert sources(drawn, "C linear 1") == {"real", "G Cond(4)"}
    assert "D · wasserstein, c = 0.01" in texts(drawn, Extra.DISCRIMINATOR)
    assert texts(drawn, Extra.OUTPUT) == ["doubled"]


def test_a_depth_shows_all_that_an_objective_adds():
    closed, opened = figure(GAN, 0), figure(GAN, 1)
    assert not [group for group in closed.groups.values() if group.kind == "inset"]
    assert "input gradient" in texts(opened, Glyph.ARITHMETIC)
    assert opened.direction == "TB"
    assert not texts(closed, Glyph.ARITHMETIC)


@pytest.mark.parametrize("text", [GAN, CYCLE, CONDITIONAL], ids=["gan", "cycle", "conditional"])
def test_every_format_and_theme(text):
    program = compile_program(Source(text))
    assert 'rankdir="LR"' in render(program, "dot", depth=0)
    assert "flowchart LR" in render(program, "mermaid", depth=0)
    for theme in THEMES:
        drawn = render(program, "dot", theme=theme)
        assert THEMES[theme].fills[Extra.GENERATOR] in drawn
        assert THEMES[theme].fills[Extra.DISCRIMINATOR] in drawn
        assert drawn == render(compile_program(Source(text)), "dot", theme=theme)
    assert "<svg" in render(program, "svg")


def test_the_entry_of_a_game_is_a_figure_of_its_own():
    program = compile_program(Source(GAN))
    drawn = automatic(program, program.entries["generate"], False, 600)
    assert drawn.direction == "TB"
    assert not texts(drawn, Extra.DISCRIMINATOR)
