"""Metrics that torchmetrics lacks, or has in another form."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric


class Perplexity(Metric):
    """e to the mean cross-entropy of scores [N, K] with classes [N]: among how many equally likely ones a network
    chooses. Targets that are `ignore` don't count."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, ignore: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.ignore = ignore
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, wanted: Tensor) -> None:
        kept = torch.ones_like(wanted, dtype=torch.bool) if self.ignore is None else wanted != self.ignore
        self.total += F.cross_entropy(scores[kept], wanted[kept], reduction="sum").to(self.total.dtype)
        self.count += kept.sum()

    def compute(self) -> Tensor:
        return torch.exp(self.total / self.count)


class Skill(Metric):
    """One minus the mean absolute error as a share of that of a simpler forecast: 1 is perfect, 0 no better than it."""

    full_state_update = False
    ours: Tensor
    simple: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("ours", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("simple", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, answer: Tensor, wanted: Tensor, simple: Tensor) -> None:
        self.ours += (answer - wanted).abs().sum().to(self.ours.dtype)
        self.simple += (simple - wanted).abs().sum().to(self.simple.dtype)

    def compute(self) -> Tensor:
        return 1 - self.ours / self.simple


class SignalToNoise(Metric):
    """Peak signal-to-noise ratio in decibels: 10 · log10(range² / mean squared error). range: that of the values, or
    None for that of those which were wanted."""

    full_state_update = False
    squared: Tensor
    count: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, range: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.range = range
        self.add_state("squared", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("least", torch.tensor(torch.inf, dtype=torch.float64), dist_reduce_fx="min")
        self.add_state("most", torch.tensor(-torch.inf, dtype=torch.float64), dist_reduce_fx="max")

    def update(self, answer: Tensor, wanted: Tensor) -> None:
        self.squared += (answer - wanted).square().sum().to(self.squared.dtype)
        self.count += wanted.numel()
        self.least = torch.minimum(self.least, wanted.min().to(self.least.dtype))
        self.most = torch.maximum(self.most, wanted.max().to(self.most.dtype))

    def compute(self) -> Tensor:
        span = self.most - self.least if self.range is None else self.range
        return 10 * torch.log10(span**2 * self.count / self.squared)
