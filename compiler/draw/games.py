"""The figure of a game, as papers draw it: each discriminator once, what it tells apart, and who minimises what. The
layers that make up an objective are left to figures of a depth."""

from __future__ import annotations

from dataclasses import replace

from ..analysis.players import first_use, on_stage
from ..game import Game, Objective, Pair, Wasserstein
from ..graph import EdgeKind, Graph, Kind, Node, Program, Ref
from ..ops.base import Glyph
from . import words
from .figure import Figure, Item, Link, Row, Shape, Stripe
from .outline import Builder, drawn
from .stacks import tidy
from .style import Extra

_A_PLAYER = 4  # insets that each may have
_SIDES = {"generator": Extra.GENERATOR, "discriminator": Extra.DISCRIMINATOR}


class Sketch:
    """A game's graph without what its pairs add, each discriminator standing once behind all that it judges."""

    def __init__(self, program: Program) -> None:
        assert program.game is not None
        self.whole, self.game = program.graph, program.game
        self.graph = replace(Graph(self.whole.name, "network"), modules=self.whole.modules, weights=self.whole.weights)
        self.graph.nominal = dict(self.whole.nominal)
        self.placed: dict[int, int] = {}
        self.judges: dict[str, int] = {}
        judges = [pair.discriminator for pair in self.game.pairs]
        firsts = {name: first_use(self.whole, name) for name in dict.fromkeys(judges)}
        needed = on_stage(self.whole, self.game)
        for number in self.whole.order():
            if number in needed:
                kinds = self.whole.operand_kinds(number)
                operands = self.moved(self.whole.operands(number))
                self.placed[number] = self.graph.add(self.whole[number], operands, kinds)
        for name, first in firsts.items():
            judged = [ref for pair in self.pairs(name) for ref in (pair.real, pair.made)]
            operands = self.moved([*dict.fromkeys(judged), *self.whole.operands(first)[1:]])
            self.judges[name] = self.graph.add(replace(self.whole[first], name=""), operands)

    def pairs(self, discriminator: str) -> list[Pair]:
        return [pair for pair in self.game.pairs if pair.discriminator == discriminator]

    def moved(self, refs: list[Ref]) -> list[Ref]:
        return [Ref(self.placed[ref.node], ref.result) for ref in refs]


def of_game(program: Program, parameters: bool, most: int, *, insets: bool) -> Figure:
    """The figure of a game, its players closed; `insets`: with what they hold beside it. Raises TooLarge."""
    from .insets import INSETS, add_insets

    sketch = Sketch(program)
    builder = drawn(program, sketch.graph, 0, parameters, most, repeats={id(sketch.graph): []})
    if insets:
        add_insets(builder, max(INSETS, _A_PLAYER * len(sketch.game.players)))
    figure = tidy(builder.figure)
    figure.direction = "TB" if any(group.kind == "inset" for group in figure.groups.values()) else "LR"
    for item in figure.items.values():
        item.aside = False
    for number in sketch.graph:
        _paint(figure, sketch, number)
    for name, judge in sketch.judges.items():
        for number, pair in enumerate(sketch.pairs(name)):
            _played(builder, sketch, judge, f"o{judge}_{number}", pair)
    _stand(figure)
    return figure


def _stand(figure: Figure) -> None:
    """What enters stands on the left, what is minimised on the right."""
    main = [item for item in figure.items.values() if item.group == "root"]
    left = [item.id for item in main if item.role in (Extra.INPUT, Extra.TARGET, Glyph.SAMPLE)]
    going = {link.source for link in figure.links}
    losses = [item for item in main if any(stripe.role is Glyph.LOSS for stripe in item.stripes)]
    right = [item.id for item in losses if item.id not in going]
    figure.rows += [Row(ids, ordered=False) for ids in (left, right) if ids]


def _paint(figure: Figure, sketch: Sketch, number: int) -> None:
    """Gives a player, or a loss that names players, the colour of its side."""
    node, game = sketch.graph[number], sketch.game
    item = figure.items.get(f"n{number}")
    player = game.players.get(node.module or "")
    if player is not None and item is not None:
        item.stripes[0] = replace(item.stripes[0], role=_SIDES[player.role])
    if node.kind is Kind.LOSS and node.over:
        for found in figure.items.values():
            if found.role is Glyph.LOSS and found.stripes[0].name == words.clean(node.name, 40):
                found.stripes.insert(0, _whose(game, node))


def _whose(game: Game, node: Node) -> Stripe:
    return Stripe(_SIDES[game.players[node.over[0]].role], "", words.clean(", ".join(node.over), 40))


def _played(builder: Builder, sketch: Sketch, judge: int, name: str, pair: Pair) -> None:
    """What the two players of a pair minimise."""
    type_ = sketch.graph[judge].types[0]
    sides: tuple[tuple[str, str, list[str]], ...] = (
        ("discriminator", pair.discriminator, _terms(pair.objective)),
        ("generator", pair.generator, []),
    )
    for role, player, terms in sides:
        text = ", ".join([pair.objective.name.replace("_", "-"), *terms])
        stripes = [Stripe(_SIDES[role], "", words.clean(player, 40)), Stripe(Glyph.LOSS, text)]
        item = builder.add(Item(f"{name}_{role[0]}", Shape.BOX, stripes, "root"))
        builder.figure.links.append(Link(f"n{judge}", item.id, EdgeKind.DATA, type_))


def _terms(objective: Objective) -> list[str]:
    """What is said of the discriminator's side, in the papers' letters."""
    said = []
    if isinstance(objective, Wasserstein):
        said += [f"λ = {objective.gradient_penalty:g}"] if objective.gradient_penalty else []
        said += [f"c = {objective.clip:g}"] if objective.clip is not None else []
    said += [f"R₁ γ = {objective.r1:g}"] if objective.r1 else []
    said += [f"pool of {objective.pool}"] if objective.pool else []
    said += [f"{objective.critic_steps} steps to 1"] if objective.critic_steps > 1 else []
    return said
