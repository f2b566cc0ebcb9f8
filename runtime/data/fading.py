"""Inputs without axes: factors that training lets rise from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from archlang.compiler.graph import Program
from torch import Tensor

from .feed import Feed

Fades = tuple[tuple[str, float], ...]
"""Inputs, and over how many epochs each rises."""
Batch = tuple[Tensor, ...]


class FadedFeed(Feed):
    """A feed whose batches have the inputs without axes among the others: 1, or as far as they have risen."""

    def __init__(
        self,
        program: Program,
        first: int,
        fades: Fades,
        *feed: Any,
        vary: Callable[[Batch], Batch] | None = None,
        **how: Any,
    ) -> None:
        """first: the epoch in which they begin to rise. vary: what becomes of a batch before they are there."""
        super().__init__(*feed, **how)
        lengths = dict(fades)
        self.first, self.vary = first, vary
        later = [slot.input for slot in self.data.carry]  # states of the batch before come in after these
        factors = _factors(program)
        self.scalars = [(i - sum(slot < i for slot in later), lengths.get(name)) for i, name in factors]

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for step, batch in enumerate(super().epoch(number, start), start):
            whole = list(batch if self.vary is None else self.vary(batch))
            for place, length in self.scalars:
                gone = number - self.first + step / max(1, self.steps)
                risen = 1.0 if length is None else min(1.0, gone / length)
                whole.insert(place, torch.tensor(risen, device=self.device))
            yield tuple(whole)


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
