"""States that one batch leaves to the next: truncated back-propagation through time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from archlang.compiler.carrying import Slot
from torch import Tensor

from .data.fading import examples

_DTYPES = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}


def zeros(slot: Slot, rows: int, device: torch.device) -> Tensor:
    """A state at the start of so many streams."""
    return torch.zeros((rows, *slot.shape), dtype=_DTYPES[slot.dtype], device=device)


class Carried:
    """The states between batches of streams that run side by side. At the start of the streams they are zeros."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = sorted(slots, key=lambda slot: slot.input)
        self.states: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Back to the start of the streams."""
        self.states = {}

    def into(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The batch with the states among its inputs. A batch that falls short goes on from the first streams."""
        if not self.slots:
            return batch
        rows, device = len(examples(batch)), batch[0].device
        whole = list(batch)
        for slot in self.slots:
            state = self.states.get(slot.name)
            if state is None:
                state = zeros(slot, rows, device)
            whole.insert(slot.input, state[:rows])
        return tuple(whole)

    def keep(self, outputs: Sequence[Tensor]) -> None:
        """Takes the states out of a batch's outputs; no gradient flows back through them."""
        for slot in self.slots:
            self.states[slot.name] = outputs[slot.output].detach().to(_DTYPES[slot.dtype])

    def restore(self, states: dict[str, Tensor], device: torch.device) -> None:
        """What a run that was interrupted had kept."""
        self.states = {name: state.to(device) for name, state in states.items()}
