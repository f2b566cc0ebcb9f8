"""Pools of what generators made before."""

from __future__ import annotations

import torch
from archlang.compiler.game import Game
from archlang.compiler.graph import Graph
from torch import Tensor


class Pools:
    """A pool for each pair that has one: half of what its discriminator is shown was made in earlier steps, so that it
    does not forget (Shrivastava et al., 2017). Draws come from torch's generator on the CPU, part of a resumed run."""

    def __init__(self, game: Game, graph: Graph) -> None:
        made = list(dict.fromkeys(pair.made for pair in game.pairs))
        self.sizes = [max((p.objective.pool for p in game.pairs if p.made == ref), default=0) for ref in made]
        self.kept: dict[str, Tensor] = {}

    def shown(self, made: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the discriminators see in place of what was made, which has no gradients."""
        if not any(self.sizes):
            return made
        sizes = [*self.sizes, *[0] * (len(made) - len(self.sizes))]
        pairs = enumerate(zip(made, sizes, strict=True))
        return tuple(self._mixed(str(i), x, size) if size else x for i, (x, size) in pairs)

    def _mixed(self, key: str, made: Tensor, size: int) -> Tensor:
        """Each example is kept while there is room; later half of them change places with one that was kept."""
        pool = self.kept.get(key, made[:0])
        room = min(size - len(pool), len(made))
        if room:
            pool = self.kept[key] = torch.cat([pool, made[:room]])
        late = len(made) - room
        chances, places = torch.rand(late).tolist(), torch.randint(len(pool), (late,)).tolist()
        shown = made.clone()
        for i, chance, at in zip(range(room, len(made)), chances, places, strict=True):
            if chance < 0.5:
                shown[i], pool[at] = pool[at], made[i]
        return shown

    def restore(self, states: dict[str, Tensor], device: torch.device) -> None:
        """What a run that was interrupted had kept."""
        self.kept = {name: state.to(device) for name, state in states.items()}
