"""Optimizers and learning-rate schedules from a plan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from archlang.compiler.learning import rate_of
from archlang.compiler.training_plan import (
    SGD,
    AdamW,
    Constant,
    Cosine,
    Linear,
    OneCycle,
    Optimizer,
    Plateau,
    RMSprop,
    Schedule,
    Step,
)
from torch import nn


def parameter_groups(
    settings: Optimizer, named: Iterable[tuple[str, nn.Parameter]], rates: Iterable[tuple[str, float]] = ()
) -> list[dict[str, Any]]:
    """Parameters grouped by learning rate and weight decay, in the order of their first members. rates: learning rates
    of modules, where they differ from the optimizer's."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    rates = tuple(rates)
    for key, parameter in named:
        decay = settings.weight_decay if settings.decay_norms or parameter.ndim > 1 else 0.0
        groups.setdefault((rate_of(key, rates, settings.lr), decay), []).append(parameter)
    return [{"params": ps, "lr": lr, "weight_decay": decay} for (lr, decay), ps in groups.items()]


def make_optimizer(
    settings: Optimizer, groups: Sequence[dict[str, Any]], *, fused: bool = True
) -> torch.optim.Optimizer:
    """PyTorch's own, in its fused form where there is one (a loss scaler forbids it)."""
    chosen = list(groups)
    options: dict[str, Any] = settings.as_dict()
    del options["kind"], options["decay_norms"]
    if isinstance(settings, RMSprop):
        return torch.optim.RMSprop(chosen, **options)
    if fused and all(p.is_floating_point() for group in chosen for p in group["params"]):
        options["fused"] = True
    if isinstance(settings, SGD):
        return torch.optim.SGD(chosen, **options)
    return (torch.optim.AdamW if isinstance(settings, AdamW) else torch.optim.Adam)(chosen, **options)


class Rate:
    """The learning rate as a function of the step: nothing to save but what a plateau has cost.

    per_epoch: optimizer steps in an epoch. epochs: of the whole run."""

    def __init__(self, schedule: Schedule, base: float, per_epoch: int, epochs: int) -> None:
        self.schedule, self.base, self.per_epoch = schedule, base, max(1, per_epoch)
        self.total = self.per_epoch * epochs
        self.warmup = 0 if isinstance(schedule, OneCycle) else round(schedule.warmup * self.per_epoch)
        self.scale = 1.0
        self.best = math.inf
        self.waited = 0
        self.varies = self.warmup > 0 or not isinstance(schedule, (Constant, Plateau))

    def at(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if step < self.warmup:
            return self.base * self.scale * (step + 1) / self.warmup
        return self.base * self.scale * self._factor(step)

    def _factor(self, step: int) -> float:
        schedule = self.schedule
        if isinstance(schedule, (Cosine, Linear)):
            share = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
            fall = (1 + math.cos(math.pi * share)) / 2 if isinstance(schedule, Cosine) else 1 - share
            return schedule.floor + (1 - schedule.floor) * fall
        if isinstance(schedule, Step):
            return schedule.factor ** (step // self.per_epoch // schedule.every)
        if isinstance(schedule, OneCycle):
            peak = schedule.rise * self.total - 1
            if step <= peak:
                return _bend(schedule.start, 1.0, step / max(peak, 1e-9))
            return _bend(1.0, schedule.floor, min(1.0, (step - peak) / max(self.total - 1 - peak, 1e-9)))
        return 1.0

    def epoch_ended(self, validation_loss: float) -> None:
        """Tells a plateau how it went."""
        if not isinstance(self.schedule, Plateau):
            return
        if validation_loss < self.best * (1 - 1e-4) or not math.isfinite(self.best):
            self.best, self.waited = validation_loss, 0
            return
        self.waited += 1
        if self.waited > self.schedule.patience:
            self.scale *= self.schedule.factor
            self.waited = 0

    def state(self) -> dict[str, float | None]:
        """What `restore` takes, fit for JSON."""
        return {"scale": self.scale, "best": self.best if math.isfinite(self.best) else None, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        self.scale, self.waited = float(state["scale"]), int(state["waited"])
        self.best = math.inf if state["best"] is None else float(state["best"])


def _bend(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
