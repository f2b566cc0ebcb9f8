"""Inputs without axes: factors that training lets rise from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from archlang.compiler.graph import Program
from torch import Tensor

from .feed import Feed

Fades = tuple[tuple[str, float], ...]
"""Inputs, and over how many epochs each rises."""
Batch = tuple[Tensor, ...]
Now = Callable[[float], Mapping[str, float]]
"""How far inputs have risen at a point of a run, such as 1.5, the middle of its second epoch; others are 1."""


def risen(fades: Fades, first: float, at: float) -> dict[str, float]:
    """How far inputs have risen at a point of a run, in epochs, when they began to at `first`."""
    return {name: min(1.0, (at - first) / length) for name, length in fades}


class FadedFeed(Feed):
    """A feed whose batches have the inputs without axes among the others: 1, or as far as they have risen."""

    def __init__(
        self,
        program: Program,
        *feed: Any,
        now: Now | None = None,
        vary: Callable[[Batch], Batch] | None = None,
        **how: Any,
    ) -> None:
        """vary: what becomes of a batch before they are there."""
        super().__init__(*feed, **how)
        self.now, self.vary = now, vary
        later = [slot.input for slot in self.data.carry]  # states of the batch before come in after these
        self.scalars = [(i - sum(slot < i for slot in later), name) for i, name in _factors(program)]

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for step, batch in enumerate(super().epoch(number, start), start):
            whole = list(batch if self.vary is None else self.vary(batch))
            for place, value in self._values(number + step / max(1, self.steps)):
                whole.insert(place, value)
            yield tuple(whole)

    def again(self, batch: Sequence[Tensor]) -> Batch:
        """A batch of before with the inputs without axes as they would be in epoch 0 now."""
        whole = list(batch)
        for place, value in self._values(0.0):
            whole[place] = value
        return tuple(whole)

    def _values(self, at: float) -> list[tuple[int, Tensor]]:
        """The inputs without axes: where they stand, and what they are."""
        found = self.now(at) if self.now is not None else {}
        return [(place, torch.tensor(found.get(name, 1.0), device=self.device)) for place, name in self.scalars]


def examples(batch: Sequence[Tensor]) -> Tensor:
    """A tensor of a batch that has a row for each of its examples."""
    return next(t for t in batch if t.dim())


def completed(program: Program, inputs: Iterable[Tensor]) -> list[Tensor]:
    """What examples fill, and among it a 1 for each input without axes: a network as it is when training is over."""
    whole = list(inputs)
    for place, _ in _factors(program):
        whole.insert(place, torch.ones((), device=whole[0].device))
    return whole


def _factors(program: Program) -> list[tuple[int, str]]:
    """The inputs without axes: which of the inputs they are, and their names."""
    inputs = [program.graph[n] for n in program.input_nodes()]
    return [(i, node.name) for i, node in enumerate(inputs) if not node.types[0].rank]
