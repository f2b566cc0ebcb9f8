"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from archlang.compiler.diagnostics import ArchError, error, plain
from archlang.compiler.files import remove_leftovers
from archlang.compiler.game_training import check_game
from archlang.compiler.graph import Program
from archlang.compiler.task import TaskKind
from archlang.compiler.training import stage_programs
from archlang.compiler.training_plan import TrainPlan
from torch import Tensor, nn

from .carry import Carried
from .checkpoint import load_weights, save_weights
from .data import Data, Split, load
from .data.fading import risen
from .devices import make_fabric
from .files import check_writable, write_text
from .games import DISCRIMINATOR, SIDES
from .games.turns import turns
from .health import CarefulSteps, Diverged, Fault, Spoilt, alone, explained, measured_fault
from .making.samples import Samples
from .metrics import better
from .module import build
from .phases import Phase
from .progress import Board, Display
from .report import PhaseReport, Report, draw_curves
from .resume import Own, Resumed, load_resume, save_resume
from .seeding import seed_all
from .signals import Interrupted, Signals
from .sources import BEST, start_from
from .steps import drain
from .together import chosen, most
from .workplace import Workplace

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from rich.console import Console

    from .health import Watched

LAST, RESUME = "last.safetensors", "resume.safetensors"
_TICK = 0.5  # seconds between two looks at the loss: each one waits for the device
_ASK = 20  # steps between two rounds in which processes agree whether to stop
_STATE = (  # how far a run is, for one that takes it up again
    *("number", "first", "epoch", "step", "updates", "trace", "history"),
    *("best", "best_loss", "best_epoch", "waited", "stop_best", "stopped"),
)


def fit(
    program: Program,
    module: nn.Module | Callable[[], nn.Module],
    plan: TrainPlan,
    *,
    out: Path,
    device: str = "auto",
    precision: str | None = None,
    compile: bool = False,
    resume: bool = False,
    seed: int | None = None,
    epochs: int | None = None,
    data: Path | None = None,
    progress: bool = True,
    processes: int = 1,
    init: str | Path | None = None,
    init_except: Sequence[str] = (),
    metadata: dict[str, str] | None = None,
    console: Console | None = None,
) -> Report:
    """Trains, keeps the best weights, and measures them on every part of the data.

    module: a generated module, or a function that makes one: it is called after seeding, so that the seed decides the
    initial weights too. out: the folder for `best`, `last` and `resume.safetensors`, `report.json`, `curves.png` and
    TensorBoard's `logs/`. precision, seed, epochs: override the plan's (epochs: each phase's). data: a file or folder
    in place of the plan's. processes: how many to train with (under torchrun: torchrun's). init: weights to start from
    (`find_weights`), and init_except: modules that keep fresh ones, in place of the plan's. metadata: text to store
    with the weights. Afterwards the module holds the best weights. Raises ArchError, and Interrupted on Ctrl-C.
    """
    changes = {"precision": precision, "seed": seed, "epochs": epochs}
    plan = _changed(plan, {key: value for key, value in changes.items() if value is not None})
    stages = plan.stages if program.game is not None else ()
    refused = [problem for stage in stages for problem in check_game(stage)]
    if refused:
        raise ArchError(*refused)
    fabric = make_fabric(device, plan.precision, processes, span=plan.place("precision") if precision is None else None)
    seed_all(plan.seed)
    programs = stage_programs(program, plan.stages)
    first = programs[0]
    examples, parts, notes = load(first, plan, data)
    notes += turns(programs, plan, examples, parts, fabric.world_size)
    if first is not program:
        module = build(first)
    built = module if isinstance(module, nn.Module) else module()
    if not resume:
        with fabric.rank_zero_first():  # one process fetches what the others then find
            start_from(first, built, plan, init, init_except, progress=progress and fabric.is_global_zero)
    run = _Run(
        programs,
        built,
        plan,
        fabric=fabric,
        data=examples,
        parts=parts,
        out=Path(out),
        compile=compile,
        metadata=metadata or {},
        override=data,
    )
    with Display(console, progress and fabric.is_global_zero, run.epochs, run.phase.feed.steps) as display:
        for note in notes:
            display.say(plain(note))
        with Signals() as signals:
            return run.go(display, signals, resume, [plain(n) for n in notes])


def _changed(plan: TrainPlan, changes: dict[str, Any]) -> TrainPlan:
    """The plan with other values, in its phases too."""
    phases = tuple(phase.replace(**changes) for phase in plan.phases)
    return plan.replace(**changes, phases=phases)


class _Run(Workplace):
    """One run: how far it is, and the loop."""

    def __init__(
        self,
        programs: list[Program],
        module: nn.Module,
        plan: TrainPlan,
        *,
        fabric: Fabric,
        data: Data,
        parts: Split,
        out: Path,
        compile: bool,
        metadata: dict[str, str],
        override: Path | None,
    ) -> None:
        told = {"program": programs[0].name, "seed": str(plan.seed), **metadata}
        super().__init__(plan, fabric, compile, override, told)
        self.out = out
        self.programs = programs
        if plan.samples is not None and fabric.is_global_zero:
            self.samples = Samples(plan.samples, out / "samples", self._averaged, self._now)
        self._configure(self.programs[0], module, data, parts)
        self.watched = plan.metric[0] if plan.metric and self.task.kind is not TaskKind.NONE else "loss"
        self.epoch = self.step = self.best_epoch = 0
        self.best: float | None = None
        self.best_loss: float | None = None
        self.trace: dict[str, list[float]] = {}  # what was followed in this epoch, step by step
        self.history: list[dict[str, float]] = []
        self.over: list[PhaseReport] = []  # of the phases before this one
        self.own: Own | None = None  # what this process would go on with from the last save, unless it is the first
        self.lost: tuple[float, str] | None = None  # the batch of this epoch that lost numbers, and what is said
        self._enter(0)

    @property
    def epochs(self) -> int:
        """Epochs of the whole run, as far as one can know."""
        past = sum(phase.epochs for phase in self.over)
        return past + sum(stage.epochs for stage in self.plan.stages[len(self.over) :])

    def _enter(self, number: int) -> None:
        """Begins a phase: its first epoch is the next one."""
        self.number, self.first = number, self.epoch
        self.updates = self.waited = 0
        self.stop_best: float | None = None
        self.stopped = False
        if self.programs[number] is not self.program:
            self._grow(self.programs[number])
            self.best = self.best_loss = None  # what was best fits another configuration
        stage = self.plan.stages[number]
        self.phase = Phase(
            stage, self.learner, partial(self._feed, now=partial(risen, stage.fade, self.first)), self._augmenter
        )
        self.steps = self._steps()

    # -- the run

    def go(self, display: Display, signals: Signals, resume: bool, notes: list[str]) -> Report:
        began = time.perf_counter()
        zero = self.fabric.is_global_zero
        if zero:
            check_writable(self.out)
            for folder in (self.out, self.out / "samples"):
                remove_leftovers(folder)
        if resume:
            self._restore(load_resume(self.out / RESUME, self.plan))
        if self.fabric.global_rank:  # every process draws noise of its own
            seed_all(hash((self.plan.seed, self.fabric.global_rank, self.updates)) % 2**32)
        if not (resume and zero):
            self._save_state()  # a run that fails at once is run again from here, to see why
        board = Board(self.out / "logs", zero)
        if self.samples is not None:
            self.samples.board = board
        try:
            self._all(display, signals, board)
        except Diverged as failure:
            raise self._explained(failure, display, signals) from None
        except ValueError as failure:
            raise alone(failure, self.phase.plan.place("batch") or self.plan.place("network")) or failure from None
        except torch.cuda.OutOfMemoryError:
            raise error(
                "A1041",
                f"the GPU ran out of memory at a batch of {self.phase.plan.batch}",
                self.phase.plan.place("batch") or self.plan.place("network"),
                help="make `batch` smaller and `accumulate` larger by as much, or write `precision bf16`",
            ) from None
        finally:
            board.close()
            for parameter in self.learner.named.values():
                parameter.requires_grad_(True)
        self.fabric.barrier()
        if zero or self.fabric.world_size > 1:
            load_weights(self.module, self.out / BEST)
        report = self._report(time.perf_counter() - began, notes)
        if zero:
            draw_curves(report, self.out / "curves.png")
            write_text(self.out / "report.json", report.model_dump_json(indent=2) + "\n")
        display.report(report)
        return report

    def _all(self, display: Display, signals: Signals, board: Board) -> None:
        """The rest of the run, from the phase and epoch that it is at."""
        while True:
            said = self.phase.told()
            if said is not None:
                display.say(said)
            while self.epoch - self.first < self.phase.plan.epochs and not self.stopped:
                self._epoch(display, signals)
                self._epoch_ended(display, board)
            if self.number + 1 == len(self.plan.stages):
                if self.samples is not None:
                    self.samples.write()
                return
            self._go_on()
            display.total(self.epochs, self.phase.feed.steps)

    def _go_on(self) -> None:
        """To the next phase."""
        self.over.append(self._phase_report())
        self._enter(self.number + 1)

    def _epoch(self, display: Display, signals: Signals) -> None:
        """The rest of an epoch, from `self.step` on."""
        phase, feed, steps = self.phase, self.phase.feed, self.phase.feed.steps
        accumulate = phase.plan.accumulate
        last = steps - steps % accumulate  # where the group of batches begins that comes up short
        pending: list[dict[str, Tensor]] = []
        due = time.perf_counter() + _TICK
        phase.train()
        phase.set_rate(self.updates)
        if self.step == 0:
            self.steps.begin()
        for step, batch in enumerate(feed.epoch(self.epoch, self.step), self.step):
            closes = (step + 1) % accumulate == 0 or step + 1 == steps
            self.health.watch(phase, steps - step - 1)
            found = self.steps.learn(batch, accumulate if step < last else steps - last, closes, self.updates)
            pending.append(found)
            self.health.stepped(self.steps, found)
            if not closes:
                continue
            self.updates += 1
            if self.ema is not None and "loss" in found:
                self.ema.update()
            if self.samples is not None:
                self.samples.updated()
            if phase.rate.varies:
                phase.set_rate(self.updates)
            if signals.number or self.fabric.world_size > 1:
                number = self._told_to_stop(signals, pending, step)
                if number:
                    self._drain(pending, step + 1)
                    self.step = step + 1
                    self._save()
                    raise Interrupted(number, self.out, self.epoch, step + 1)
            now = time.perf_counter()
            if now > due:
                self._drain(pending, step + 1)
                display.step(self.epoch, step + 1, self._followed())
                due = time.perf_counter() + _TICK
        self._drain(pending, steps)

    def _told_to_stop(self, signals: Signals, pending: list[dict[str, Tensor]], step: int) -> int:
        """The signal's number; processes ask one another now and then, so that all stop at the same step. Then the
        first loss that is not a number in any of them ends the run in all."""
        if self.fabric.world_size == 1:
            return signals.number
        if (step + 1) % _ASK and step + 1 != self.phase.feed.steps:
            return 0
        self._drain(pending, step + 1)
        first = chosen(self.fabric, self.lost, self.lost[0] if self.lost is not None else 0.0)
        if first is not None:
            raise self._diverged(*first)
        return int(most(self.fabric, signals.number))

    def _drain(self, pending: list[dict[str, Tensor]], done: int) -> None:
        """Reads what was followed since the last time; ends the run at the first that is not a number, if this is its
        only process. done: how many batches of the epoch are over."""
        before = done - len(pending)
        for batch, row in enumerate(drain(pending), before + 1):
            for place, (name, value) in enumerate(row.items()):
                self.trace.setdefault(name, []).append(value)
                if not math.isfinite(value) and self.lost is None:
                    self.lost = batch + place / len(row), f"the {self._said(name)} became {value}"
        if self.lost is not None and self.fabric.world_size == 1:
            raise self._diverged(*self.lost)

    def _diverged(self, order: float, what: str) -> Diverged:
        return Diverged(what, f"in epoch {self.epoch + 1}, batch {int(order)}")

    def _said(self, loss: str) -> str:
        """What a message calls a loss."""
        return loss if self.program.game is None else SIDES[loss]

    def _followed(self) -> dict[str, float]:
        """Means over the epoch so far."""
        return {name: sum(values) / len(values) for name, values in self.trace.items() if values}

    # -- runs that diverge

    def _explained(self, failure: Diverged, display: Display, signals: Signals) -> ArchError:
        """The error, with the layer that made the first value that was not finite."""
        kept = f'the last good weights are in "{self.out / LAST}"; ' if self.history else ""
        span = self.phase.plan.place("optimizer") or self.plan.place("network")
        try:
            fault = self._measured_again() if failure.measured else self._run_again(display, signals)
        except (ArchError, Diverged, torch.cuda.OutOfMemoryError):
            fault = None
        return explained(failure, chosen(self.fabric, fault), span, kept)

    def _measured_again(self) -> Fault | None:
        """Measures the validation part again, and stops at the batch that can't be."""
        carried = Carried(self.data.carry)
        with self._averaged():
            return measured_fault(self.module, self._tried, self.checks["validation"], carried, self.fabric.autocast())

    def _run_again(self, display: Display, signals: Signals) -> Fault | None:
        """Runs the epoch again from where it was last saved, and stops at the step that spoilt it."""
        display.say("the run diverged; its last epoch is run again, to see where that began")
        resumed = load_resume(self.out / RESUME, self.plan)
        self.lost = None
        self._restore(resumed if self.own is None else resumed.owned(self.own))
        if self.epoch - self.first >= self.phase.plan.epochs or self.stopped:
            self._go_on()
        self.steps = CarefulSteps(self.steps, self.phase, self.carried)
        try:
            self._epoch(display, signals)
        except Spoilt as found:
            return found.fault
        return None

    # -- between epochs

    def _epoch_ended(self, display: Display, board: Board) -> None:
        where = f"after epoch {self.epoch + 1}"
        if not all(bool(torch.isfinite(p).all()) for p in self.phase.learning):
            raise Diverged("a weight became infinite or not a number", where)
        row: dict[str, float] = {"epoch": self.epoch + 1}
        if self.plan.phases:
            row["phase"] = self.number + 1
        row["lr"] = self.phase.raw_optimizer.param_groups[0]["lr"]
        row |= self._followed()
        with self._averaged():
            watched = self._validate(row, where) if "validation" in self.checks else None
            alarms = self.health.epoch_ended(row, self.history, self.trace, watched, self.phase.plan.place)
        best = self._is_best(row)
        self._maybe_stop(row)
        self.history.append(row)
        self.epoch, self.step, self.trace = self.epoch + 1, 0, {}
        if best and self.fabric.is_global_zero:
            with self._averaged():
                save_weights(self.module, self.out / BEST, self.metadata)
        self._save()
        board.add(row)
        display.epoch(row, best and self.best is not None)
        for alarm in alarms:
            display.say(plain(alarm))

    def _validate(self, row: dict[str, float], where: str) -> Watched | None:
        """Adds what is measured on the validation part to an epoch's row. Returns what was seen of a network."""
        watched = self.health.watched() if self.program.game is None else None
        found = self._measure("validation", self.plan.metric, watched)
        for name in ("loss", DISCRIMINATOR):
            if not math.isfinite(found.get(name, 0.0)):
                what = f"the validation {self._said(name)} became {found[name]}"
                raise Diverged(what, where, measured=True)
        row |= {f"validation {name}": value for name, value in found.items()}
        if not self._fades:
            self.phase.rate.epoch_ended(found["loss"])
        return watched

    def _is_best(self, row: dict[str, float]) -> bool:
        """By the first metric, and at a draw by the loss; of a game, without a validation part, and while something
        still fades in, the last epoch is the best."""
        value, loss = row.get(f"validation {self.watched}"), row.get("validation loss")
        if self.program.game is not None or self._fades:
            value = None  # a loss says as much about the other side, or is of a network that is not what will be used
        drawn = value == self.best and better("loss", loss, self.best_loss)
        if value is None or drawn or better(self.watched, value, self.best):
            self.best, self.best_loss, self.best_epoch = value, loss, self.epoch + 1
            return True
        return False

    def _maybe_stop(self, row: dict[str, float]) -> None:
        stop = self.phase.plan.early_stop
        if stop is None or self._fades:
            return
        name = stop.metric or self.watched
        value = row[f"validation {name}"]
        if better(name, value, self.stop_best, stop.least):
            self.stop_best, self.waited = value, 0
        else:
            self.waited += 1
        self.stopped = self.waited >= stop.patience

    def _save(self) -> None:
        """The state comes last: a run that is killed before goes through the epoch again, and writes the rest anew."""
        if self.fabric.is_global_zero:
            save_weights(self.module, self.out / LAST, self.metadata)
        self._save_state()

    def _save_state(self) -> None:
        kept = self._kept(bool(self.step))
        if not self.fabric.is_global_zero:  # averages are the same in all processes
            self.own = Own.of({key: value.clone() for key, value in kept.items() if not key.startswith("ema.")})
            return
        save_resume(
            self.out / RESUME,
            self.module,
            self.phase.raw_optimizer,
            self.plan,
            self._progress(),
            kept,
        )

    def _progress(self) -> dict[str, Any]:
        over = [phase.model_dump() for phase in self.over]
        states = {"rate": self.phase.rate.state(), "health": self.health.state(), "over": over}
        if self.samples is not None:
            states["samples"] = self.samples.state()
        return {**{name: getattr(self, name) for name in _STATE}, **states}

    def _restore(self, resumed: Resumed) -> None:
        progress = resumed.progress
        self.epoch = progress["first"]
        self._enter(progress["number"])
        resumed.put(self.module, self.out / RESUME)
        self.phase.rate.restore(progress["rate"])
        self.health.restore(progress["health"])
        if self.samples is not None:
            self.samples.restore(progress["samples"])
        self.over = [PhaseReport(**phase) for phase in progress["over"]]
        for name in _STATE:
            setattr(self, name, progress[name])
        self._take_up(resumed.states)
        resumed.finish(self.phase.raw_optimizer)

    def _phase_report(self) -> PhaseReport:
        """Of this phase, as long as it is by now."""
        return self.phase.report(self.epoch - self.first)

    def _report(self, seconds: float, notes: list[str]) -> Report:
        names = [BEST, LAST, RESUME, "report.json", "curves.png"]
        phases = [*self.over, self._phase_report()]
        self.checks = self._checks()
        return Report(
            network=self.plan.network,
            data=self.data.origin,
            examples={name: len(self.parts.part(name)) for name in self.checks},
            metrics={name: self._measure(name, self.plan.metric) for name in self.checks},
            epochs=len(self.history),
            best_epoch=self.best_epoch,
            stopped_early=any(p.epochs < s.epochs for p, s in zip(phases, self.plan.stages, strict=True)),
            seconds=round(seconds, 3),
            parameters=self.learner.size,
            seed=self.plan.seed,
            device=str(self.fabric.device),
            history=self.history,
            phases=phases,
            files=[str(self.out / name) for name in names],
            warnings=notes,
            health=self.health.report(),
            alarms=self.alarms.said,
        )
