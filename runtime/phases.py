"""One phase of a run: what learns in it, by which optimizer, on which batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archlang.compiler.emit.games import LOSSES
from archlang.compiler.game import Game
from archlang.compiler.learning import Freeze
from archlang.compiler.training_plan import TrainPlan
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from .data.augment import Augmenter
from .data.feed import Feed
from .measure import Trainee
from .optim import Rate, make_optimizer, parameter_groups
from .report import PhaseReport

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass
class Learner:
    """A module that learns, as all phases have it.

    named: its parameters by key, those that the module itself keeps from learning left out. trainee: what computes the
    objective. compiled: the same, faster. wrapped: whether Fabric's wrappers are needed; they cost time every step, and
    one process at full or bf16 precision needs none of them. teams: what learns in turns, by role: keys."""

    module: nn.Module
    named: dict[str, nn.Parameter]
    trainee: nn.Module
    compiled: Any
    fabric: Fabric
    wrapped: bool
    teams: dict[str, list[str]]

    @property
    def size(self) -> int:
        """How many numbers can learn."""
        return sum(p.numel() for p in self.named.values())


class Phase:
    """One phase: made when it begins, so that its optimizer starts afresh."""

    def __init__(
        self, plan: TrainPlan, learner: Learner, feed: Callable[..., Feed], augmenter: Callable[..., Augmenter]
    ) -> None:
        self.plan, self.learner = plan, learner
        freeze = plan.freeze or Freeze()
        for key, parameter in learner.named.items():
            parameter.requires_grad_(not freeze.covers(key))
            parameter.grad = None
        self.resting = _resting(learner.module, freeze) if plan.frozen_stats == "keep" else []
        self.learning = [p for p in learner.named.values() if p.requires_grad]
        scaled = plan.precision == "fp16"
        self.groups: list[dict[str, Any]] = []
        self.teams: dict[str, list[nn.Parameter]] = {}  # what learns in turns, by role
        self._spans: dict[str, slice] = {}  # of the groups, those of each team
        for role, keys in learner.teams.items():
            chosen = [(key, learner.named[key]) for key in keys if learner.named[key].requires_grad]
            before = len(self.groups)
            self.groups += parameter_groups(plan.optimizer, chosen, plan.lr)
            self.teams[role] = [p for _, p in chosen]
            self._spans[role] = slice(before, len(self.groups))
        self.rates = [(float(g["lr"]), sum(p.numel() for p in g["params"])) for g in self.groups]
        self.raw_optimizer = make_optimizer(plan.optimizer, self.groups, fused=not scaled)
        self.trainee, self.optimizer = learner.compiled, self.raw_optimizer
        if learner.wrapped:
            self.trainee, self.optimizer = learner.fabric.setup(learner.compiled, self.raw_optimizer)
        self.watch: Callable[[list[nn.Parameter]], None] | None = None  # is shown what has a gradient, before an update
        vary = augmenter(plan.augment) if plan.augment else None
        balanced = plan.sampler == "balanced"
        whole = vary is not None
        self.feed = feed(
            "train", plan.batch, shuffle=plan.shuffle, even=True, balanced=balanced, whole=whole, vary=vary
        )
        per_epoch = math.ceil(self.feed.steps / plan.accumulate)
        self.rate = Rate(plan.schedule, plan.optimizer.lr, per_epoch, plan.epochs)

    def train(self) -> None:
        """Puts the module into training mode: all but the batch norms that rest."""
        self.trainee.train()
        for module in self.resting:
            module.eval()

    def set_rate(self, update: int) -> None:
        """Every group's learning rate for a step: its own, as the schedule scales all of them."""
        lr = self.rate.at(update)
        for (own, _), group in zip(self.rates, self.raw_optimizer.param_groups, strict=True):
            group["lr"] = lr if own == self.rate.base else own * (lr / self.rate.base)

    def apart(self, closes: bool) -> AbstractContextManager[None]:
        """For a batch's forward and backward pass: processes average gradients at the last batch of a group only."""
        several = self.learner.wrapped and self.learner.fabric.world_size > 1
        return self.learner.fabric.no_backward_sync(self.trainee) if several and not closes else nullcontext()

    def backward(self, loss: Tensor) -> None:
        if self.learner.wrapped:
            self.learner.fabric.backward(loss)
        else:
            loss.backward()

    def clip(self, learning: list[nn.Parameter]) -> None:
        """Bounds the norm of these parameters' gradient, where the plan says so; it is watched as it was before."""
        if self.watch is not None:
            self.watch(learning)
        bound = self.plan.clip
        if bound is None:
            return
        if self.learner.wrapped:
            fabric = self.learner.fabric
            fabric.clip_gradients(self.trainee, self.optimizer, max_norm=bound, error_if_nonfinite=False)
        else:
            nn.utils.clip_grad_norm_(learning, bound)

    def step(self, role: str = "") -> None:
        """An update of what a team learns, by its gradients, which are gone then. (The optimizer's own `zero_grad`
        takes as long as a small layer.)"""
        whole = self.raw_optimizer.param_groups
        self.raw_optimizer.param_groups = whole[self._spans[role]]
        try:
            self.optimizer.step()
        finally:
            self.raw_optimizer.param_groups = whole
        for parameter in self.teams[role]:
            parameter.grad = None

    def told(self) -> str | None:
        """What there is to say when it begins."""
        learning = sum(p.numel() for p in self.learning)
        if not self.plan.name and learning == self.learner.size:
            return None
        name = f"phase {self.plan.name}: " if self.plan.name else ""
        what = (
            "everything learns"
            if learning == self.learner.size
            else f"{learning:,} of {self.learner.size:,} parameters learn"
        )
        return f"{name}{what}"

    def report(self, epochs: int) -> PhaseReport:
        """What learned in it, and how long."""
        rates: dict[float, int] = {}
        for rate, size in self.rates:
            rates[rate] = rates.get(rate, 0) + size
        learning = sum(rates.values())
        frozen = self.learner.size - learning
        return PhaseReport(
            name=self.plan.name, epochs=epochs, learning=learning, frozen=frozen, rates=list(rates.items())
        )


def make_learner(
    module: nn.Module,
    fabric: Fabric,
    plan: TrainPlan,
    *,
    compile: bool,
    objective: Callable | None,
    game: Game | None = None,
) -> Learner:
    """A module on its device, ready for phases. game: that it plays."""
    named = {key: p for key, p in module.named_parameters() if p.requires_grad}
    teams = {"": list(named)}
    if game is not None:
        teams = {role: [key for key in named if key.partition(".")[0] in game.team(role)] for role in LOSSES}
    trainee: nn.Module = Trainee(module, objective)
    compiled: Any = trainee
    if compile:
        import torch

        compiled = torch.compile(trainee)
    several = fabric.world_size > 1 and game is None  # the sides of a game average their own gradients
    return Learner(module, named, trainee, compiled, fabric, plan.precision == "fp16" or several, teams)


def _resting(module: nn.Module, freeze: Freeze) -> list[nn.Module]:
    """Norms with running statistics that are frozen: they use what they have, and learn nothing of new data."""
    return [
        inner
        for name, inner in module.named_modules()
        if isinstance(inner, _NormBase) and inner.track_running_stats and freeze.covers(f"{name}.running_mean")
    ]
