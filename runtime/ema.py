"""Averages of weights over a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from archlang.compiler.graph import Program
from torch import Tensor, nn

_VECTORS = ("._u", "._v")  # singular vectors: those of an average are not an average of them, and the newest are nearer


class Ema:
    """Exponential moving averages of what learns and of running statistics: of a network, or of a game's generators.
    kept: the averages, by key of the module's state_dict."""

    def __init__(self, module: nn.Module, decay: float, program: Program) -> None:
        self.decay = decay
        players = program.game.team("generator") if program.game is not None else None
        found = list(module.state_dict().items())
        if players is not None:
            found = [(key, value) for key, value in found if key.partition(".")[0] in players]
        self.live = {k: v for k, v in found if v.is_floating_point() and not k.endswith(_VECTORS)}
        self.kept: dict[str, Tensor] = {key: value.clone() for key, value in self.live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """After a step: each average goes 1 − decay of the way to what is now."""
        torch._foreach_lerp_(list(self.kept.values()), list(self.live.values()), 1.0 - self.decay)

    @contextmanager
    def used(self) -> Iterator[None]:
        """The module with the averages in place of its weights, for a while."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for key, kept in self.kept.items():
            live = self.live[key]
            before = live.clone()
            live.copy_(kept)
            kept.copy_(before)

    def keep(self, averaged: dict[str, Tensor]) -> None:
        """Goes on from averages of the network in another configuration, where both have them."""
        for key, kept in self.kept.items():
            if key in averaged and averaged[key].shape == kept.shape:
                kept.copy_(averaged[key])

    def restore(self, states: dict[str, Tensor]) -> None:
        """The averages of a run that was interrupted."""
        for key, kept in self.kept.items():
            kept.copy_(states[key])
