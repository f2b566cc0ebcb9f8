"""What the processes of a run agree on, so that all go the same way: one that stops while others wait for it hangs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")


def most(fabric: Fabric, number: float) -> float:
    """The greatest of the processes' numbers."""
    if fabric.world_size == 1:
        return number
    return float(fabric.all_reduce(torch.tensor(float(number), device=fabric.device), reduce_op="max"))  # type: ignore[arg-type]


def chosen(fabric: Fabric, value: T | None, order: float = 0.0) -> T | None:
    """One process's value for all of them: that of the lowest order, and of the first process among equals; None where
    none has any."""
    if fabric.world_size == 1:
        return value
    own = math.inf if value is None else order
    least = -most(fabric, -own)
    if math.isinf(least):
        return None
    owner = -most(fabric, -(fabric.global_rank if own == least else fabric.world_size))
    return fabric.broadcast(value, src=int(owner))
