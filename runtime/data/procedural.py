"""Data that are drawn: problems that show what a network can remember."""

from __future__ import annotations

import numpy as np
import torch

from .base import Column, Data


def adding_problem(length: int, count: int, seed: int) -> Data:
    """The adding problem: float [length, 2] (numbers in [0, 1], marks), and the sum of the two that are marked, one
    in each half. Hochreiter and Schmidhuber (1997), as Arjovsky, Shah and Bengio (2016) have it."""
    draw = np.random.RandomState(seed)
    numbers = draw.uniform(0, 1, (count, length)).astype(np.float32)
    marks = np.zeros((count, length), dtype=np.float32)
    rows = np.arange(count)
    first = draw.randint(0, length // 2, count)
    second = draw.randint(length // 2, length, count)
    marks[rows, first] = marks[rows, second] = 1
    answer = numbers[rows, first] + numbers[rows, second]
    x = torch.from_numpy(np.stack([numbers, marks], axis=2))
    return Data(
        origin=f"adding_problem(length={length})",
        inputs=(Column("values", (length, 2), "float"),),
        targets=(Column("answer", (), "float"),),
        size=count,
        tensors=(x, torch.from_numpy(answer)),
    )
