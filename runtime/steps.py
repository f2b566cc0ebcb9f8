"""What happens with a batch while a network learns: forward, backward, and an update where a group of batches ends."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor

from .carry import Carried
from .phases import Phase

Batch = tuple[Tensor, ...]


class Steps(Protocol):
    """Learns from batches."""

    def begin(self) -> None:
        """An epoch begins."""

    def learn(self, batch: Batch, group: int, closes: bool, update: int) -> dict[str, Tensor]:
        """Takes a batch. `group`: how many batches make one update; `closes`: this is the last of them, and the
        parameters change; `update`: how often they have. Returns what is followed, by name, without gradients."""
        ...


class NetworkSteps:
    """The steps of a network: one objective for all that learns."""

    def __init__(self, phase: Phase, carried: Carried) -> None:
        self.phase, self.carried = phase, carried
        mixed = phase.plan.precision != "fp32" and not phase.learner.wrapped
        self.context = phase.learner.fabric.autocast if mixed else nullcontext

    def begin(self) -> None:
        self.carried.begin()

    def learn(self, batch: Batch, group: int, closes: bool, update: int) -> dict[str, Tensor]:
        phase = self.phase
        batch = self.carried.into(batch)
        with phase.apart(closes):
            with self.context():
                outputs, _, loss = phase.trainee(*batch)
            phase.backward(loss / group if group > 1 else loss)
        self.carried.keep(outputs)
        if closes:
            phase.clip(phase.learning)
            phase.step()
        return {"loss": loss.detach()}


def drain(pending: list[dict[str, Tensor]]) -> list[dict[str, float]]:
    """What several steps gave, as numbers: the one place where a step waits for the device."""
    tensors = [value.float() for row in pending for value in row.values()]
    values = iter(torch.stack(tensors).tolist() if tensors else ())
    found = [{name: next(values) for name in row} for row in pending]
    pending.clear()
    return found
