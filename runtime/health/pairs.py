"""The pairs of a game while they play: what of a run `GameHealth` is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from archlang.compiler.game import Game
from archlang.compiler.graph import Program
from torch import Tensor, nn

from ..audit.results import Untestable
from ..games import DISCRIMINATOR, GENERATOR
from ..observing import observing, with_targets
from ..seeding import fixed_noise
from .alarms import Alarm
from .games import MOST, GameHealth
from .units import Dead, Units, hidden

if TYPE_CHECKING:
    from ..data.fading import FadedFeed


class Pairs:
    """Every pair of a game. feed: gives examples to compare with what is made, in an order without meaning; asked
    once.

    dead: of the last epoch the players' dead units, by layer, among these examples and what was made and judged."""

    def __init__(self, program: Program, game: Game, module: nn.Module, feed: Callable[[], FadedFeed]) -> None:
        self._make = feed
        self.feed: FadedFeed | None = None
        self.each = {pair.discriminator: GameHealth(pair.objective.logits, pair.span) for pair in game.pairs}
        self._batches: list[Sequence[Tensor]] = []
        self.dead: dict[str, Dead] = {}
        refs = [ref for pair in game.pairs for ref in (pair.real, pair.made, *pair.scores)]
        try:
            self.inner: nn.Module | None = observing(
                program, with_targets(program), refs, module, standalone=hidden(module)
            )
        except Untestable:  # too large to be seen into
            self.inner = None

    def add(self, scores: Sequence[Tensor], losses: Mapping[str, Tensor]) -> None:
        """Takes a step. scores: of each pair of real and of made examples."""
        for i, health in enumerate(self.each.values()):
            health.add(scores[2 * i], scores[2 * i + 1], losses.get(GENERATOR), losses[DISCRIMINATOR])

    def epoch(self) -> dict[str, float]:
        """The numbers of all pairs; where there are several, each behind the name of its discriminator."""
        values = self._examples()
        row: dict[str, float] = {}
        for i, (name, health) in enumerate(self.each.items()):
            found = health.epoch(*values[4 * i : 4 * i + 2])
            row |= {f"{name} {key}" if len(self.each) > 1 else key: value for key, value in found.items()}
        return {key: value for key, value in row.items() if math.isfinite(value)}

    def _examples(self) -> list[Tensor]:
        """Of each pair, examples of the data, made ones, and what the discriminator says of both."""
        if self.inner is None:
            return [torch.empty(0, 1)] * (4 * len(self.each))
        if self.feed is None:
            self.feed, seen = self._make(), 0
            for batch in self.feed.epoch(0):
                self._batches.append(batch)
                seen += next(len(t) for t in batch if t.dim())
                if seen >= MOST:
                    break
        units = Units(self.inner)
        with torch.no_grad(), fixed_noise(self._batches[0][0].device), units:
            found = [self.inner(*self.feed.again(batch)) for batch in self._batches]
        self.dead = units.read()
        return [torch.cat(parts) for parts in zip(*found, strict=True)]

    def alarms(self) -> list[Alarm]:
        return [alarm for health in self.each.values() for alarm in health.alarms()]

    def last(self) -> dict[str, dict[str, float]]:
        """The numbers of the last epoch, by discriminator."""
        found = {name: health.history[-1] for name, health in self.each.items() if health.history}
        return {name: {k: v for k, v in row.items() if math.isfinite(v)} for name, row in found.items()}

    def state(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {name: health.state() for name, health in self.each.items()}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        for name, health in self.each.items():
            health.restore(state[name], device)
