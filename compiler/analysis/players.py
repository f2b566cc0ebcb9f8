"""What each player of a game costs, and what it plays for."""

from __future__ import annotations

from dataclasses import dataclass

from ..game import Pair
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
    first = next((n for n in graph.order() if graph[n].module == player), None)
    return 0 if first is None else counter.node(graph, first, "flops")
