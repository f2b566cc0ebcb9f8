"""Examples: what every source of data turns into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from archlang.compiler.diagnostics import Diagnostic
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from archlang.compiler.carrying import Slot

    from .images import Domains, Pictures
    from .season import Season
    from .sequences import Sequences


@dataclass(frozen=True)
class Column:
    """One tensor of every example: its name, its shape (the batch left out), and float, int or bool. A size that
    differs from batch to batch has a letter, the same for all tensors that share it."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str

    def __str__(self) -> str:
        prefix = "" if self.dtype == "float" else self.dtype
        return f"{prefix}[{', '.join(('B', *map(str, self.shape)))}]"


class Preprocessing(BaseModel):
    """What was done to inputs before the network saw them, so that it can be done again to new ones.

    mean, std: for each feature of rows, for each channel of images, for each column of a series; empty when values are
    left as they are. answer_mean, answer_std: the same of what a network predicts of a series.
    """

    model_config = ConfigDict(frozen=True)

    mean: tuple[float, ...] = Field((), description="Subtracted.")
    std: tuple[float, ...] = Field((), description="Divided by.")
    scale: float = Field(1.0, description="Multiplied before that (1/255 for images).")
    classes: tuple[str, ...] = Field((), description="Names of the classes, in order.")
    features: tuple[str, ...] = Field((), description="Names of a table's columns, in order.")
    separator: str = Field(",", description="What stands between a table's columns.")
    array: str = Field("x", description="Name of the array of inputs in an npz archive.")
    size: int | None = Field(None, description="Height and width of images, in pixels.")
    resize: int | None = Field(None, description="What the shorter side is brought to before the middle is cut out.")
    grey: bool = Field(False, description="Images have one channel.")
    axis: int = Field(1, description="The axis of inputs that holds features or channels.")
    answer_mean: tuple[float, ...] = Field((), description="Subtracted from targets.")
    answer_std: tuple[float, ...] = Field((), description="Targets are divided by it.")
    vocabularies: dict[str, Vocabulary] = Field(default_factory=dict, description="Of sequences of tokens, by name.")

    def apply(self, x: Tensor) -> Tensor:
        """Inputs [B, …] as the network takes them."""
        if not x.is_floating_point() and self.scale == 1.0:
            return x
        x = x.to(torch.float32)
        if not self.mean:
            return x * self.scale if self.scale != 1.0 else x
        shape = (-1,) if self.axis == -1 else (1, -1) + (1,) * (x.ndim - 2)
        std = torch.tensor(self.std, device=x.device)
        factor = (self.scale / std).view(shape)
        shift = (torch.tensor(self.mean, device=x.device) / std).view(shape)
        return x * factor - shift

    def in_units(self, y: Tensor) -> Tensor:
        """Predictions or targets [B, …] in the units of the data; columns, where there are many, are the last axis."""
        if not self.answer_mean:
            return y
        return y * y.new_tensor(self.answer_std) + y.new_tensor(self.answer_mean)

    def undo(self, x: Tensor) -> Tensor:
        """Inputs [B, …] as they were before: images in [0, 1], anything else in the units of the data."""
        if not self.mean:
            return x
        return x * self._along(self.std, x) + self._along(self.mean, x)

    def as_pictures(self, x: Tensor) -> Tensor:
        """What a network made, [B, C, H, W] in the form of its inputs, as pictures to look at, in [0, 1]."""
        return self.undo(x).clamp(0.0, 1.0)

    def redo(self, x: Tensor) -> Tensor:
        """What `undo` undid."""
        if not self.mean:
            return x
        return (x - self._along(self.mean, x)) / self._along(self.std, x)

    def _along(self, values: tuple[float, ...], x: Tensor) -> Tensor:
        """For each feature or channel, as wide as inputs are."""
        return torch.tensor(values, device=x.device).view(-1 if self.axis == -1 else (1, -1, *(1,) * (x.ndim - 2)))


@dataclass
class Data:
    """A data set. Either `tensors` holds every example (inputs, then targets), or `pictures` reads them one by one, or
    `sequences` cuts them out of something longer.

    origin: what messages call it. arity: how many tensors of a batch the network takes. labels: one class a row, for
    stratified splits. classes: their names, where they have some. extras: what inputs get that are called so. parts:
    the split, where the data decide it. order: names of what the network takes of `sequences`. carry: states that a
    batch leaves to the next one. season: how the last season is repeated. border: where there are two domains, whose
    examples are not paired, the number of the second one's first row. notes: what was noticed while reading.
    """

    origin: str
    inputs: tuple[Column, ...]
    targets: tuple[Column, ...]
    size: int
    tensors: tuple[Tensor, ...] = ()
    pictures: Pictures | Domains | None = None
    labels: np.ndarray | None = None
    arity: int = 2
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    sequences: Sequences | None = None
    extras: tuple[Column, ...] = ()
    parts: Split | None = None
    order: tuple[str, ...] = ()
    carry: tuple[Slot, ...] = ()
    season: Season | None = None
    border: int = 0
    notes: list[Diagnostic] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.preprocessing.classes

    @property
    def domains(self) -> int:
        """How many inputs come from sets of their own: 2 for examples that are not paired, and else 1."""
        return 2 if self.border else 1

    def sides(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Rows by domain, numbered within it."""
        if not self.border:
            return (rows,)
        return rows[rows < self.border], rows[rows >= self.border] - self.border

    @property
    def interval(self) -> tuple[float, float] | None:
        """What the numbers of the first input lie between, as the network sees them; None where that is not known."""
        if self.pictures is not None:
            x = self.preprocessing.redo(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
        elif self.tensors and self.inputs[0].dtype == "float":
            x = self.tensors[0]
        else:
            return None
        return float(x.min()), float(x.max())


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, each sorted."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def part(self, name: str) -> np.ndarray:
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def split(size: int, labels: np.ndarray | None, validation: float, test: float, seed: int) -> Split:
    """Every class in the same proportion, to within one example; the same for the same seed on every machine.

    Rows are shuffled within their class and laid end to end; every 1/share-th then goes to the test part, and likewise
    to the validation part of what is left."""
    order = np.random.RandomState(seed).permutation(size)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    held = _every(size, test)
    rest = order[~held]
    chosen = _every(len(rest), validation / (1 - test))
    return Split(np.sort(rest[~chosen]), np.sort(rest[chosen]), np.sort(order[held]))


def side_by_side(first: Split, second: Split, border: int) -> Split:
    """The split of two domains, the rows of the second one numbered from `border` on."""
    pairs = zip(*((part.train, part.validation, part.test) for part in (first, second)), strict=True)
    return Split(*(np.concatenate([a, b + border]) for a, b in pairs))


def _every(size: int, share: float) -> np.ndarray:
    """A mask of round(size · share) positions, evenly spread."""
    marks = np.floor(np.arange(size + 1) * share + 0.5)
    return marks[1:] > marks[:-1]


def moments(x: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of every feature or channel (axis 1) of [B, C, …]; a constant one gets deviation 1."""
    axes = [a for a in range(x.ndim) if a != 1]
    x = x.to(torch.float64)
    std = x.std(dim=axes, correction=0)
    std = torch.where(std > 1e-12, std, torch.ones_like(std))
    return tuple(x.mean(dim=axes).tolist()), tuple(std.tolist())


def columns(names: Sequence[str], tensors: Sequence[Tensor]) -> tuple[Column, ...]:
    """Columns that describe tensors of examples."""
    kinds = {torch.bool: "bool"}
    return tuple(
        Column(name, tuple(t.shape[1:]), "float" if t.is_floating_point() else kinds.get(t.dtype, "int"))
        for name, t in zip(names, tensors, strict=True)
    )
