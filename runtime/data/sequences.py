"""Sequences, kept once and as they lie; the tensors of a batch are made when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


class Sequences(ABC):
    """A data set of sequences. `lengths`: how long each row is, where rows differ and like ones should meet."""

    lengths: np.ndarray | None = None

    @abstractmethod
    def batch(self, rows: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        """The named tensors of some rows, each with the batch as first axis."""

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """Moves everything to a device."""

    @abstractmethod
    def bounds(self, name: str) -> tuple[int, int] | None:
        """The least and the greatest whole number of a tensor, padding left out; None where it holds no such."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """How much memory it takes."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it lies."""


@dataclass(frozen=True)
class Window:
    """A piece of a stream [N] or [N, C]: `length` positions from `offset` behind the row's start, in a shape."""

    stream: Tensor
    offset: int
    length: int
    shape: tuple[int, ...]
    bounds: tuple[int, int] | None = None


class Windows(Sequences):
    """Windows over streams. A row's number is where its window begins."""

    def __init__(self, parts: Mapping[str, Window]) -> None:
        self.parts = dict(parts)

    def batch(self, rows: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        return tuple(self._cut(self.parts[name], rows) for name in names)

    def _cut(self, part: Window, rows: Tensor) -> Tensor:
        places = torch.arange(part.offset, part.offset + part.length, device=rows.device)
        found = part.stream[rows[:, None] + places]
        found = found if found.is_floating_point() else found.long()
        return found.reshape(len(rows), *part.shape)

    def to(self, device: torch.device) -> None:
        self.parts = {name: replace(part, stream=part.stream.to(device)) for name, part in self.parts.items()}

    def bounds(self, name: str) -> tuple[int, int] | None:
        return self.parts[name].bounds

    @property
    def bytes(self) -> int:
        return sum(part.stream.nbytes for part in self.parts.values())

    @property
    def device(self) -> torch.device:
        return next(iter(self.parts.values())).stream.device


@dataclass(frozen=True)
class Ragged:
    """Sequences of whole numbers laid end to end: row i is `flat[starts[i] : starts[i + 1]]`.

    pad: what fills the rest of a batch. width: the length that all are padded to; by default the batch's longest.
    bounds: the least and the greatest number that may be in it."""

    flat: Tensor
    starts: Tensor
    pad: int
    width: int | None
    bounds: tuple[int, int]

    def lengths(self, rows: Tensor) -> Tensor:
        return self.starts[rows + 1] - self.starts[rows]

    def mask(self, rows: Tensor) -> Tensor:
        lengths = self.lengths(rows)
        longest = int(lengths.max()) if len(rows) else 0  # one of several processes may get no rows of a last batch
        width = longest if self.width is None else self.width
        return torch.arange(width, device=rows.device) < lengths[:, None]

    def padded(self, rows: Tensor) -> Tensor:
        mask = self.mask(rows)
        places = self.starts[rows][:, None] + torch.arange(mask.shape[1], device=rows.device)
        return self.flat[places.clamp(max=len(self.flat) - 1)].long().masked_fill(~mask, self.pad)


class Padded(Sequences):
    """Sequences of their own lengths. `masks` and `sizes` name tensors that say where padding begins, and of what."""

    def __init__(self, parts: Mapping[str, Ragged], masks: Mapping[str, str], sizes: Mapping[str, str]) -> None:
        self.parts, self.masks, self.sizes = dict(parts), dict(masks), dict(sizes)

    def batch(self, rows: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        return tuple(self._one(name, rows) for name in names)

    def _one(self, name: str, rows: Tensor) -> Tensor:
        if name in self.masks:
            return self.parts[self.masks[name]].mask(rows)
        if name in self.sizes:
            return self.parts[self.sizes[name]].lengths(rows).long()
        return self.parts[name].padded(rows)

    def to(self, device: torch.device) -> None:
        self.parts = {
            name: replace(part, flat=part.flat.to(device), starts=part.starts.to(device))
            for name, part in self.parts.items()
        }

    def bounds(self, name: str) -> tuple[int, int] | None:
        return self.parts[name].bounds if name in self.parts else None

    @property
    def bytes(self) -> int:
        return sum(part.flat.nbytes + part.starts.nbytes for part in self.parts.values())

    @property
    def device(self) -> torch.device:
        return next(iter(self.parts.values())).flat.device
