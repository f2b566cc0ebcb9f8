"""What each player of a game costs, and what it plays for."""

from __future__ import annotations

from dataclasses import dataclass

from ..game import Game, Pair
from ..graph import Graph, Program
from .cost import Amount, Counter


@dataclass(frozen=True)
class Share:
    """A player's part of a game. parameters: trained elements that it owns. flops: of one pass through it, symbolic as
    in `Cost`; None where the polynomial is too long. losses: what it minimises with its side, by name, with weights.
    pairs: those that it plays in."""

    name: str
    role: str
    parameters: int
    flops: Amount | None
    losses: dict[str, float]
    pairs: tuple[Pair, ...]


def share(program: Program, player: str) -> Share:
    """The part of one player. Raises KeyError when there is none of this name."""
    game, graph, counter = program.game, program.graph, Counter()
    if game is None:
        raise KeyError(player)
    found, module = game.players[player], graph.modules.get(player)
    losses = {graph[n].name: graph[n].loss_weight for n in game.losses(graph, found.role) if player in graph[n].over}
    return Share(
        player,
        found.role,
        0 if module is None else counter.module(module).parameters,
        _one_pass(graph, player, counter),
        losses,
        tuple(pair for pair in game.pairs if player in (pair.generator, pair.discriminator)),
    )


def _one_pass(graph: Graph, player: str, counter: Counter) -> Amount | None:
    return counter.node(graph, first_use(graph, player), "flops") if player in graph.modules else 0


def own_losses(graph: Graph, game: Game) -> list[int]:
    """The losses that no pair made."""
    made = {name for pair in game.pairs for name in pair.losses}
    return [n for n in graph.losses if graph[n].name not in made]


def own_outputs(graph: Graph, game: Game) -> list[int]:
    """The outputs that are more than what a pair judges."""
    made = {pair.made for pair in game.pairs}
    return [n for n in graph.outputs if graph.operands(n)[0] not in made]


def first_use(graph: Graph, player: str) -> int:
    """The first step that sends something through a player. Raises StopIteration when there is none."""
    return next(n for n in graph.order() if graph[n].module == player)


def on_stage(graph: Graph, game: Game) -> set[int]:
    """The steps of a game but for those that its pairs add: what is made and judged, what comes with it, losses and
    outputs of its own."""
    shown = [*own_losses(graph, game), *own_outputs(graph, game)]
    for pair in game.pairs:
        shown += [pair.real.node, pair.made.node]
        shown += [ref.node for ref in graph.operands(first_use(graph, pair.discriminator))[1:]]
    return graph.needed(shown)
