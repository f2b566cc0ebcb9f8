"""What a run works with: a program and its module, data and feeds, what is carried from step to step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from archlang.compiler.augmentations import Augmentation
from archlang.compiler.graph import Program
from archlang.compiler.task import find_task
from archlang.compiler.training_plan import TrainPlan
from torch import Tensor, nn

from .carry import Carried
from .checkpoint import keep
from .data import Data, Split, load
from .data.augment import Augmenter
from .data.fading import FadedFeed, Now, risen
from .data.feed import Feed
from .ema import Ema
from .games import GameSteps, Pools, both_sides, measure_game
from .health import Alarms, Health
from .making.samples import Samples
from .measure import Trainee, counted, measure
from .module import build
from .phases import Phase, make_learner
from .steps import Batch, NetworkSteps, Steps
from .weighing import weighed_objective

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from .health import Watched

_WORTH_A_PROCESS = 256  # pictures: with fewer, to start one takes longer than to read them


class Workplace:
    """Base of a run. A phase that changes the network puts another program, module and data here."""

    phase: Phase

    def __init__(
        self, plan: TrainPlan, fabric: Fabric, compile: bool, override: Path | None, told: dict[str, str]
    ) -> None:
        """override: a file or folder in place of the plan's data. told: what is stored with weights."""
        self.plan, self.fabric, self.compile, self.override, self.told = plan, fabric, compile, override, told
        self.first = self.updates = 0  # the epoch in which this phase began, and the updates in it
        self.alarms = Alarms()
        self.samples: Samples | None = None

    def _configure(self, program: Program, module: nn.Module, data: Data, parts: Split) -> None:
        """What a phase and those after it work with."""
        self.program, self.data, self.parts = program, data, parts
        self.inputs = len(program.input_nodes())
        self.task = find_task(program)
        self.module = module.to(self.fabric.device)
        self.metadata = {**self.told, "preprocessing": data.preprocessing.model_dump_json()}
        self.carried = Carried(data.carry)
        self.pools = Pools(program.game, program.graph) if program.game is not None else None
        objective = weighed_objective(program, self.module, self.plan, data, parts)
        self.learner = make_learner(
            self.module, self.fabric, self.plan, compile=self.compile, objective=objective, game=program.game
        )
        self.plain = Trainee(self.module) if objective is not None else self.learner.trainee
        self.ema = Ema(self.module, self.plan.ema, program) if self.plan.ema is not None else None
        if self.samples is not None:
            feed = partial(self._feed, "train", 8 * self.fabric.world_size)
            self.samples.follow(program, self.module, data.preprocessing, lambda: next(feed().epoch(0)))
        self.checks = self._checks(self._now)
        mixed = partial(self._feed, "train", self._held, now=self._now, shuffle=True)
        self.health = Health(program, self.learner, self.alarms, mixed)

    @property
    def _held(self) -> int:
        """Examples that are measured at a time."""
        return max(self.plan.batch, 256) if self.data.tensors else self.plan.batch

    def _checks(self, now: Now | None = None) -> dict[str, Feed]:
        """The parts of the data, to be measured on: by a network as it is used, or as it is now."""
        parts = [name for name in ("train", "validation", "test") if len(self.parts.part(name))]
        return {name: self._feed(name, self._held, now=now) for name in parts}

    def _now(self, at: float = 0.0) -> dict[str, float]:
        """How far inputs without axes have risen by the updates of this phase. at: of no matter, as what is measured is
        always a feed's epoch 0."""
        return risen(self.phase.plan.fade, 0, self.updates / self.phase.rate.per_epoch)

    @property
    def _fades(self) -> bool:
        """Does something still rise?"""
        return any(value < 1 for value in self._now().values())

    def _grow(self, program: Program) -> None:
        """Goes on with the network in another configuration: weights that both have carry over by their keys."""
        with self._averaged():
            averaged = {key: value.clone() for key, value in self.module.state_dict().items()}
        before = self.module.state_dict()
        if self.compile:
            torch.compiler.reset()  # what was compiled for the smaller one counts against a limit
        module = build(program)
        data, parts, _ = load(program, self.plan, self.override)
        self._configure(program, module, data, parts)
        keep(self.module, before)
        if self.ema is not None:
            self.ema.keep(averaged)

    def _steps(self) -> Steps:
        if self.program.game is None:
            return NetworkSteps(self.phase, self.carried)
        assert self.pools is not None
        return GameSteps(self.phase, self.program.game, self.pools)

    def _augmenter(self, how: Sequence[Augmentation]) -> Augmenter:
        prep = self.data.preprocessing
        size = prep.size if self.data.pictures is not None else None
        return Augmenter(
            how,
            prep,
            size=size,
            classes=self.task.classes or 0,
            target=len(self.program.data_nodes()) + self.task.target,
            images=self.data.domains,
        )

    def _feed(self, part: str, batch: int, **how: Any) -> FadedFeed:
        workers, pictures = self.plan.workers, self.data.pictures
        if workers is None and pictures is not None:
            workers = min(4, os.cpu_count() or 1, len(pictures) // _WORTH_A_PROCESS)
        return FadedFeed(
            self.program,
            self.data,
            self.parts.part(part),
            batch,
            self.fabric.device,
            seed=self.plan.seed,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
            workers=workers or 0,
            span=self.plan.place("data"),
            **how,
        )

    def _averaged(self) -> AbstractContextManager[None]:
        """The module with the averages that are kept in place of its weights."""
        return self.ema.used() if self.ema is not None else nullcontext()

    def _measure(self, part: str, names: tuple[str, ...], watched: Watched | None = None) -> dict[str, float]:
        if self.program.game is not None:
            return measure_game(self.module, self.checks[part], self.fabric)
        stop = self.phase.plan.early_stop
        extra = (stop.metric,) if stop is not None and stop.metric not in (None, "loss") else ()
        names = tuple(dict.fromkeys((*names, *extra)))
        feed = self.checks[part]
        return measure(self.plain, feed, self.task, names, inputs=self.inputs, fabric=self.fabric, watched=watched)

    def _tried(self, batch: Batch) -> tuple[Sequence[Tensor], Iterable[Tensor]]:
        """What a batch gives when it is measured: outputs, and losses that count."""
        if self.program.game is not None:
            return (), both_sides(self.module, batch).values()
        with torch.no_grad():
            outputs, _, total = self.plain(*batch)
        return outputs, (total,) if counted(batch, self.inputs, self.task) else ()

    def _kept(self, midway: bool) -> dict[str, Tensor]:
        """What one step leaves to the next beside weights and the optimizer's state. midway: within an epoch."""
        kept = self.carried.states if midway else {}
        if self.pools is not None:
            kept = kept | {f"pool.{name}": value for name, value in self.pools.kept.items()}
        if self.ema is not None:
            kept = kept | {f"ema.{name}": value for name, value in self.ema.kept.items()}
        return kept

    def _take_up(self, states: dict[str, Tensor]) -> None:
        """Goes on from what `_kept` gave."""
        kept: dict[str, dict[str, Tensor]] = {"pool": {}, "ema": {}, "": {}}
        for key, value in states.items():
            owner, dot, name = key.partition(".")
            kept[owner if dot else ""][name if dot else key] = value
        self.carried.restore(kept[""], self.fabric.device)
        if self.pools is not None:
            self.pools.restore(kept["pool"], self.fabric.device)
        if self.ema is not None:
            self.ema.restore(kept["ema"])
