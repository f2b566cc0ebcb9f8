"""Data that are drawn: problems that show what a network can remember, and what a generator covers."""

from __future__ import annotations

import math

import numpy as np
import torch
from archlang.compiler.data_sources import Gaussians

from .base import Column, Data, Preprocessing


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


def gaussian_means(source: Gaussians) -> np.ndarray:
    """The centres of the Gaussians, float64 [modes, 2]: anticlockwise on the ring from (radius, 0), or row by row."""
    if source.layout == "grid":
        side = math.isqrt(source.modes)
        steps = np.linspace(-source.radius, source.radius, side) if side > 1 else np.zeros(1)
        return np.stack(np.meshgrid(steps, steps), axis=2).reshape(-1, 2)
    angle = 2 * np.pi * np.arange(source.modes) / source.modes
    return source.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def gaussians(source: Gaussians, shape: tuple[int, ...], seed: int) -> Data:
    """Points of a mixture of Gaussians, float `shape` of two elements, and int classes: which Gaussian each is from."""
    draw = np.random.RandomState(seed)
    modes = draw.randint(0, source.modes, source.examples)
    points = gaussian_means(source)[modes] + source.deviation * draw.standard_normal((source.examples, 2))
    x = torch.from_numpy(points.astype(np.float32)).reshape(-1, *shape)
    labels = modes.astype(np.int64)
    return Data(
        origin=f"gaussians(modes={source.modes})",
        inputs=(Column("point", shape, "float"),),
        targets=(Column("mode", (), "int"),),
        size=source.examples,
        tensors=(x, torch.from_numpy(labels)),
        labels=labels,
        preprocessing=Preprocessing(classes=tuple(str(mode) for mode in range(source.modes))),
    )
