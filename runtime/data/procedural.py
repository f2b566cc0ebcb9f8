"""Data that are drawn: problems that show what a network can remember."""

from __future__ import annotations

import numpy as np
import torch

from .base import Column, Data


def adding_problem(length: int, count: int, seed: int) -> Data:
    """Hochreiter and Schmidhuber (1997): float [length, 2] (numbers, marks), and half plus a quarter of the marked sum.

    Both ends are marked by -1. The first mark is one of the first ten places, the second one of the places before the
    middle that are left; where the very first place is marked, its number counts as 0."""
    draw = np.random.RandomState(seed)
    numbers = draw.uniform(-1, 1, (count, length)).astype(np.float32)
    marks = np.zeros((count, length), dtype=np.float32)
    marks[:, 0] = marks[:, -1] = -1
    rows = np.arange(count)
    first = draw.randint(0, min(10, length // 2), count)
    second = draw.randint(0, length // 2 - 1, count)
    second += second >= first
    numbers[rows[first == 0], 0] = 0
    numbers[rows[second == 0], 0] = 0
    marks[rows, first] = marks[rows, second] = 1
    answer = (0.5 + (numbers[rows, first] + numbers[rows, second]) / 4).astype(np.float32)
    x = torch.from_numpy(np.stack([numbers, marks], axis=2))
    return Data(
        origin=f"adding_problem(length={length})",
        inputs=(Column("values", (length, 2), "float"),),
        targets=(Column("answer", (), "float"),),
        size=count,
        tensors=(x, torch.from_numpy(answer)),
    )
