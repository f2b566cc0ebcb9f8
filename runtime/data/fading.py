"""Inputs without axes: factors that training lets rise from 0 to 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from archlang.compiler.graph import Program
from torch import Tensor

from .feed import Feed

Fades = tuple[tuple[str, float], ...]
"""Inputs, and over how many epochs each rises."""


class FadedFeed(Feed):
    """A feed whose batches have the inputs without axes among the others: 1, or as far as they have risen."""

    def __init__(self, program: Program, first: int, fades: Fades, *feed: Any, **how: Any) -> None:
        """first: the epoch in which they begin to rise."""
        super().__init__(*feed, **how)
        inputs = [program.graph[n] for n in program.input_nodes()]
        lengths = dict(fades)
        self.first = first
        self.scalars = [(i, lengths.get(node.name)) for i, node in enumerate(inputs) if not node.types[0].rank]

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, ...]]:
        if not self.scalars:
            yield from super().epoch(number, start)
            return
        for step, batch in enumerate(super().epoch(number, start), start):
            whole = list(batch)
            for place, length in self.scalars:
                gone = number - self.first + step / max(1, self.steps)
                risen = 1.0 if length is None else min(1.0, gone / length)
                whole.insert(place, torch.tensor(risen, device=self.device))
            yield tuple(whole)
