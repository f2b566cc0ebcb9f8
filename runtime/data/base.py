"""Examples: what every source of data turns into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

if TYPE_CHECKING:
    from .images import Pictures


@dataclass(frozen=True)
class Column:
    """One tensor of every example: its name, its shape (the batch left out), and float, int or bool."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        prefix = "" if self.dtype == "float" else self.dtype
        return f"{prefix}[{', '.join(('B', *map(str, self.shape)))}]"


class Preprocessing(BaseModel):
    """What was done to inputs before the network saw them, so that it can be done again to new ones.

    mean, std: for each feature of rows, for each channel of images; empty when values are left as they are.
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

    def apply(self, x: Tensor) -> Tensor:
        """Inputs [B, …] as the network takes them; the second axis is that of features or channels."""
        if not x.is_floating_point() and self.scale == 1.0:
            return x
        x = x.to(torch.float32)
        if not self.mean:
            return x * self.scale if self.scale != 1.0 else x
        shape = (1, -1) + (1,) * (x.ndim - 2)
        std = torch.tensor(self.std, device=x.device)
        factor = (self.scale / std).view(shape)
        shift = (torch.tensor(self.mean, device=x.device) / std).view(shape)
        return x * factor - shift

    def undo(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] as they were before, in [0, 1]."""
        if not self.mean:
            return x
        return x * _channels(self.std, x) + _channels(self.mean, x)

    def redo(self, x: Tensor) -> Tensor:
        """What `undo` undid."""
        if not self.mean:
            return x
        return (x - _channels(self.mean, x)) / _channels(self.std, x)


def _channels(values: tuple[float, ...], x: Tensor) -> Tensor:
    return torch.tensor(values, device=x.device).view(1, -1, 1, 1)


@dataclass
class Data:
    """A data set. Either `tensors` holds every example (inputs, then targets), or `pictures` reads them one by one.

    origin: what messages call it. arity: how many tensors of a batch the network takes. labels: one class a row, for
    stratified splits. classes: their names, where they have some.
    """

    origin: str
    inputs: tuple[Column, ...]
    targets: tuple[Column, ...]
    size: int
    tensors: tuple[Tensor, ...] = ()
    pictures: Pictures | None = None
    labels: np.ndarray | None = None
    arity: int = 2
    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.preprocessing.classes


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
