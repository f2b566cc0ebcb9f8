"""The steps of an epoch once more, carefully: to stop at the batch that spoilt a run, before its update."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..games import GameSteps
from ..measure import Trainee
from ..observing import unrolled
from ..recurrence import using
from ..seeding import fixed_noise, random_state, restore_random_state
from ..together import most
from .blame import Fault, Tracer
from .units import recurrences

if TYPE_CHECKING:
    from ..carry import Carried
    from ..data.feed import Feed
    from ..phases import Phase
    from ..steps import Batch, Steps


class Spoilt(Exception):
    """A batch whose values or gradients are not finite. fault: what made them, as far as was seen."""

    def __init__(self, fault: Fault | None = None) -> None:
        super().__init__()
        self.fault = fault


class CarefulSteps:
    """Other steps, looked at one by one. A batch that spoils something is run again under a tracer, with the weights
    and the random numbers that it met, and ends in `Spoilt`."""

    def __init__(self, steps: Steps, phase: Phase, carried: Carried) -> None:
        self.steps, self.phase, self.carried = steps, phase, carried
        learning = [(key, p) for key, p in phase.learner.named.items() if p.requires_grad]
        self.sound = [(key, p) for key, p in learning if bool(torch.isfinite(p).all())]
        phase.raw_optimizer.register_step_post_hook(self._updated)
        self.scaled = phase.plan.precision == "fp16"  # its gradients overflow now and then, and are then passed over

    def begin(self) -> None:
        self.steps.begin()

    def learn(self, batch: Batch, group: int, closes: bool, update: int) -> dict[str, Tensor]:
        values, generators = random_state()
        states, held = dict(self.carried.states), self._held()
        found, fault = self._tried(batch, group, closes, update)
        spoilt = most(self.phase.learner.fabric, found is None)
        if found is not None and not spoilt:
            return found
        if fault is not None:  # the weights are changed, in all processes alike: there is nothing to run again
            raise Spoilt(fault)
        restore_random_state(values, generators)
        self.carried.states = states
        if isinstance(self.steps, GameSteps):
            self.steps.held = held
        raise Spoilt(self._trace(batch, group, closes, update))

    def _held(self) -> list[Batch]:
        """What a game has of the group that this batch belongs to."""
        return list(self.steps.held) if isinstance(self.steps, GameSteps) else []

    def _updated(self, *_: object) -> None:
        """Ends in Spoilt after an update that left a parameter infinite or NaN."""
        keys = tuple(key for key, p in self.sound if not bool(torch.isfinite(p).all()))
        if keys:
            raise Spoilt(Fault.of_update(keys))

    def _tried(
        self, batch: Batch, group: int, closes: bool, update: int
    ) -> tuple[dict[str, Tensor] | None, Fault | None]:
        """A step, None where it was not sound; and the fault where that is known. What is not finite in one process
        makes the others' mean gradient so: they go through the same."""
        try:
            found = self._watched(batch, group, closes, update)
            if not closes and not self.scaled:
                _refuse(self.phase.learning)
        except Spoilt as spoilt:
            return None, spoilt.fault
        return (found if all(bool(torch.isfinite(value).all()) for value in found.values()) else None), None

    def _watched(self, batch: Batch, group: int, closes: bool, update: int) -> dict[str, Tensor]:
        """A step. Ends in Spoilt before an update with gradients that are not finite."""
        self.phase.watch = None if self.scaled else _refuse
        try:
            return self.steps.learn(batch, group, closes, update)
        finally:
            self.phase.watch = None

    def _trace(self, batch: Batch, group: int, closes: bool, update: int) -> Fault | None:
        for parameter in self.phase.learning:
            parameter.grad = None  # what former batches of the group left
        module = self._seen_into()
        tracer = Tracer(module)
        found: dict[str, Tensor] = {}
        try:
            with using("plain"), torch.compiler.set_stance("force_eager"), tracer:
                found = self._watched(batch, group, closes, update)
        except Spoilt as spoilt:
            if spoilt.fault is not None:
                return spoilt.fault
        return tracer.fault(*found.values())

    def _seen_into(self) -> nn.Module:
        """What the steps run from now on: the module, or where its recurrences would hide a layer, the module with
        loops in their place. Objectives that others made for the module, wrapped or of a game, stay as they are."""
        module, trainee = self.phase.learner.module, self.phase.learner.trainee
        own = isinstance(trainee, Trainee) and trainee.objective == getattr(module, "objective", None)
        if self.phase.learner.wrapped or isinstance(self.steps, GameSteps) or not own or not recurrences(module):
            return module
        loops = unrolled(module.program, module)  # type: ignore[arg-type]
        self.phase.trainee = Trainee(loops)
        self.phase.train()
        return loops


def _refuse(learning: list[nn.Parameter]) -> None:
    """Ends in Spoilt where a gradient is not finite."""
    gradients = [p.grad for p in learning if p.grad is not None]
    if gradients and not bool(torch.stack([torch.isfinite(g).all() for g in gradients]).all()):
        raise Spoilt


Measured = Callable[["Batch"], tuple[Sequence[Tensor], Iterable[Tensor]]]


def measured_fault(
    module: nn.Module, run: Measured, feed: Feed, carried: Carried, context: AbstractContextManager[Any]
) -> Fault | None:
    """What made a loss of a part of the data infinite or NaN; None where nothing does. run: gives the module's outputs
    for a batch and the losses, as they were measured. context: of mixed precision."""
    training = module.training
    module.eval()
    try:
        with context, fixed_noise(feed.device):
            for batch in feed.epoch(0):
                whole, drawn = carried.into(batch), random_state()
                outputs, losses = run(whole)
                carried.keep(outputs)
                if all(bool(torch.isfinite(loss).all()) for loss in losses):
                    continue
                restore_random_state(*drawn)
                tracer = Tracer(module)
                with using("plain"), tracer:
                    _, losses = run(whole)
                return tracer.fault(*losses)
    finally:
        module.train(training)
    return None
