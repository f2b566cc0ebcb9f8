"""The training loop."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import torch
from archlang.compiler.diagnostics import ArchError, Diagnostic, error, plain
from archlang.compiler.graph import Program
from archlang.compiler.task import TaskKind, find_task
from archlang.compiler.training_plan import TrainPlan
from torch import Tensor, nn

from .checkpoint import load_weights, save_weights
from .data import Data, Split, load
from .data.augment import augment
from .data.feed import Feed
from .devices import make_fabric
from .files import check_writable, write_text
from .measure import Trainee, measure
from .metrics import better
from .optim import Rate, make_optimizer
from .progress import Board, Display
from .report import Report, draw_curves
from .resume import load_resume, save_resume
from .seeding import seed_all
from .sources import BEST, start_from

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from rich.console import Console

LAST, RESUME = "last.safetensors", "resume.safetensors"
_TICK = 0.5  # seconds between two looks at the loss: each one waits for the device
_ASK = 20  # steps between two rounds in which processes agree whether to stop


class Interrupted(ArchError):
    """Training was told to stop, and has saved what it had. `exit_code` is what a shell expects of such an end."""

    def __init__(self, number: int, folder: Path, epoch: int, step: int) -> None:
        self.exit_code = 128 + number
        super().__init__(
            Diagnostic(
                "A1045",
                f"interrupted in epoch {epoch + 1} after {step} batches; everything is saved",
                help=f'resume with `--resume` in "{folder}"',
            )
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
    TensorBoard's `logs/`. precision, seed, epochs: override the plan's. data: a file or folder in place of the plan's.
    processes: how many to train with (under torchrun: torchrun's). init: weights to start from (`find_weights`), and
    init_except: modules that keep fresh ones, in place of the plan's. metadata: text to store with the weights.
    Afterwards the module holds the best weights. Raises ArchError, and Interrupted on Ctrl-C.
    """
    changes = {"precision": precision, "seed": seed, "epochs": epochs}
    plan = plan.replace(**{key: value for key, value in changes.items() if value is not None})
    fabric = make_fabric(device, plan.precision, processes)
    seed_all(plan.seed)
    examples, parts, notes = load(program, plan, data)
    built = module if isinstance(module, nn.Module) else module()
    if not resume:
        with fabric.rank_zero_first():  # one process fetches what the others then find
            start_from(program, built, plan, init, init_except, progress=progress and fabric.is_global_zero)
    run = _Run(
        program,
        built,
        plan,
        fabric=fabric,
        data=examples,
        parts=parts,
        out=Path(out),
        compile=compile,
        metadata=metadata or {},
    )
    with Display(console, progress and fabric.is_global_zero, plan.epochs, run.feed.steps) as display:
        for note in notes:
            display.say(plain(note))
        with _Signals() as signals:
            return run.go(display, signals, resume, [plain(n) for n in notes])


class _Signals:
    """Turns Ctrl-C and a request to terminate into a flag; a second one takes effect at once."""

    def __init__(self) -> None:
        self.number = 0
        self.before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._caught)
        return self

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


class _Run:
    """One run: what it works with, how far it is, and the loop."""

    def __init__(
        self,
        program: Program,
        module: nn.Module,
        plan: TrainPlan,
        *,
        fabric: Fabric,
        data: Data,
        parts: Split,
        out: Path,
        compile: bool,
        metadata: dict[str, str],
    ) -> None:
        self.plan, self.fabric, self.data, self.parts, self.out = plan, fabric, data, parts, out
        self.inputs = len(program.input_nodes())
        self.task = find_task(program)
        self.module = module.to(fabric.device)
        self.metadata = {
            "program": program.name,
            "preprocessing": data.preprocessing.model_dump_json(),
            "seed": str(plan.seed),
            **metadata,
        }
        self.learning = [p for p in self.module.parameters() if p.requires_grad]
        scaled = plan.precision == "fp16"
        raw = make_optimizer(plan.optimizer, self.learning, fused=not scaled)
        self.raw_optimizer = raw
        trainee: nn.Module = Trainee(self.module)
        self.plain = trainee
        if compile:
            trainee = torch.compile(trainee)  # type: ignore[assignment]
        # Fabric's wrappers cost time every step; one process at full or bf16 precision needs none of them.
        self.wrapped = scaled or fabric.world_size > 1
        self.trainee: Any = trainee
        self.optimizer: Any = raw
        if self.wrapped:
            self.trainee, self.optimizer = fabric.setup(trainee, raw)
        self.feed = self._feed("train", plan.batch, shuffle=plan.shuffle, even=True)
        held = max(plan.batch, 256) if data.tensors else plan.batch
        self.checks = {
            name: self._feed(name, held) for name in ("train", "validation", "test") if len(parts.part(name))
        }
        per_epoch = math.ceil(self.feed.steps / plan.accumulate)
        self.rate = Rate(plan.schedule, plan.optimizer.lr, per_epoch, plan.epochs)
        self.watched = plan.metric[0] if plan.metric and self.task.kind is not TaskKind.NONE else "loss"
        self.epoch = self.step = self.updates = self.waited = self.best_epoch = 0
        self.best: float | None = None
        self.best_loss: float | None = None
        self.stop_best: float | None = None
        self.trace: list[float] = []
        self.history: list[dict[str, float]] = []
        self.stopped = False

    def _feed(self, part: str, batch: int, *, shuffle: bool = False, even: bool = False) -> Feed:
        workers = self.plan.workers
        return Feed(
            self.data,
            self.parts.part(part),
            batch,
            self.fabric.device,
            shuffle=shuffle,
            seed=self.plan.seed,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
            even=even,
            workers=min(4, os.cpu_count() or 1) if workers is None else workers,
            span=self.plan.place("data"),
        )

    # -- the run

    def go(self, display: Display, signals: _Signals, resume: bool, notes: list[str]) -> Report:
        began = time.perf_counter()
        zero = self.fabric.is_global_zero
        if zero:
            check_writable(self.out)
        if resume:
            self._restore(load_resume(self.out / RESUME, self.module, self.raw_optimizer, self.plan))
        if self.fabric.global_rank:  # every process draws noise of its own
            seed_all(hash((self.plan.seed, self.fabric.global_rank, self.updates)) % 2**32)
        board = Board(self.out / "logs", zero)
        try:
            while self.epoch < self.plan.epochs and not self.stopped:
                self._epoch(display, signals)
                self._epoch_ended(display, board)
        except torch.cuda.OutOfMemoryError:
            raise error(
                "A1041",
                f"the GPU ran out of memory at a batch of {self.plan.batch}",
                self.plan.place("batch") or self.plan.place("network"),
                help="make `batch` smaller and `accumulate` larger by as much, or write `precision bf16`",
            ) from None
        finally:
            board.close()
        self.fabric.barrier()
        if zero or self.fabric.world_size > 1:
            load_weights(self.module, self.out / BEST)
        report = self._report(time.perf_counter() - began, notes)
        if zero:
            draw_curves(report, self.out / "curves.png")
            write_text(self.out / "report.json", report.model_dump_json(indent=2) + "\n")
        display.report(report)
        return report

    def _epoch(self, display: Display, signals: _Signals) -> None:
        """The rest of an epoch, from `self.step` on."""
        plan, trainee, optimizer, feed = self.plan, self.trainee, self.optimizer, self.feed
        accumulate, steps, rate, groups = plan.accumulate, feed.steps, self.rate, self.raw_optimizer.param_groups
        last = steps - steps % accumulate  # where the group of batches begins that comes up short
        mixed = plan.precision != "fp32" and not self.wrapped
        pending: list[Tensor] = []
        due = time.perf_counter() + _TICK
        trainee.train()
        self._set_rate(groups)
        for step, batch in enumerate(feed.epoch(self.epoch, self.step), self.step):
            if plan.augment:
                batch = (augment(batch[0], plan.augment), *batch[1:])
            closes = (step + 1) % accumulate == 0 or step + 1 == steps
            if mixed:
                with self.fabric.autocast():
                    loss = trainee(*batch)[2]
            else:
                loss = trainee(*batch)[2]
            pending.append(loss.detach())
            if accumulate > 1:
                loss = loss / (accumulate if step < last else steps - last)
            self._backward(loss, closes)
            if not closes:
                continue
            if plan.clip is not None:
                self._clip(plan.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            self.updates += 1
            if rate.varies:
                self._set_rate(groups)
            if signals.number or self.fabric.world_size > 1:
                number = self._told_to_stop(signals, step)
                if number:
                    self._drain(pending)
                    self.step = step + 1
                    self._save()
                    raise Interrupted(number, self.out, self.epoch, step + 1)
            now = time.perf_counter()
            if now > due:
                self._drain(pending)
                display.step(self.epoch, step + 1, sum(self.trace) / len(self.trace))
                due = time.perf_counter() + _TICK
        self._drain(pending)

    def _set_rate(self, groups: list[dict[str, Any]]) -> None:
        lr = self.rate.at(self.updates)
        for group in groups:
            group["lr"] = lr

    def _backward(self, loss: Tensor, closes: bool) -> None:
        if not self.wrapped:
            loss.backward()
            return
        with self.fabric.no_backward_sync(self.trainee, enabled=not closes and self.fabric.world_size > 1):
            self.fabric.backward(loss)

    def _clip(self, bound: float) -> None:
        if self.wrapped:
            self.fabric.clip_gradients(self.trainee, self.optimizer, max_norm=bound, error_if_nonfinite=False)
        else:
            nn.utils.clip_grad_norm_(self.learning, bound)

    def _told_to_stop(self, signals: _Signals, step: int) -> int:
        """The signal's number; processes ask one another now and then, so that all stop at the same step."""
        if self.fabric.world_size == 1:
            return signals.number
        if (step + 1) % _ASK and step + 1 != self.feed.steps:
            return 0
        flag = torch.tensor(float(signals.number), device=self.fabric.device)
        return int(self.fabric.all_reduce(flag, reduce_op="max"))  # type: ignore[arg-type]

    def _drain(self, pending: list[Tensor]) -> None:
        """Reads the losses of the steps since the last time; ends the run at the first that is not a number."""
        if not pending:
            return
        values = torch.stack(pending).float().tolist()
        pending.clear()
        for value in values:
            self.trace.append(value)
            if not math.isfinite(value):
                raise self._diverged(f"in epoch {self.epoch + 1}, batch {len(self.trace)}", f"the loss became {value}")

    def _diverged(self, where: str, what: str) -> ArchError:
        kept = f'the last good weights are in "{self.out / LAST}"; ' if self.history else ""
        return error(
            "A1040",
            f"{what} {where}",
            self.plan.place("optimizer") or self.plan.place("network"),
            help=f"{kept}try a smaller `lr`, `clip 1.0`, or look for extreme values in the data",
        )

    # -- between epochs

    def _epoch_ended(self, display: Display, board: Board) -> None:
        where = f"after epoch {self.epoch + 1}"
        if not all(bool(torch.isfinite(p).all()) for p in self.learning):
            raise self._diverged(where, "a weight became infinite or not a number")
        row: dict[str, float] = {"epoch": self.epoch + 1, "lr": self.raw_optimizer.param_groups[0]["lr"]}
        row["loss"] = sum(self.trace) / len(self.trace)
        if "validation" in self.checks:
            found = self._measure("validation", self.plan.metric)
            if not math.isfinite(found["loss"]):
                raise self._diverged(where, f"the validation loss became {found['loss']}")
            row |= {f"validation {name}": value for name, value in found.items()}
            self.rate.epoch_ended(found["loss"])
        best = self._is_best(row)
        self._maybe_stop(row)
        self.history.append(row)
        self.epoch, self.step, self.trace = self.epoch + 1, 0, []
        if best and self.fabric.is_global_zero:
            save_weights(self.module, self.out / BEST, self.metadata)
        self._save()
        board.add(row)
        display.epoch(row, best and "validation" in self.checks)

    def _is_best(self, row: dict[str, float]) -> bool:
        """By the first metric, and at a draw by the loss; without a validation part, the last epoch is the best."""
        value, loss = row.get(f"validation {self.watched}"), row.get("validation loss")
        drawn = value == self.best and better("loss", loss, self.best_loss)
        if value is None or drawn or better(self.watched, value, self.best):
            self.best, self.best_loss, self.best_epoch = value, loss, self.epoch + 1
            return True
        return False

    def _maybe_stop(self, row: dict[str, float]) -> None:
        stop = self.plan.early_stop
        if stop is None:
            return
        name = stop.metric or self.watched
        value = row[f"validation {name}"]
        if better(name, value, self.stop_best, stop.least):
            self.stop_best, self.waited = value, 0
        else:
            self.waited += 1
        self.stopped = self.waited >= stop.patience

    def _measure(self, part: str, names: tuple[str, ...]) -> dict[str, float]:
        stop = self.plan.early_stop
        extra = (stop.metric,) if stop is not None and stop.metric not in (None, "loss") else ()
        names = tuple(dict.fromkeys((*names, *extra)))
        feed = self.checks[part]
        return measure(self.plain, feed, self.task, names, inputs=self.inputs, fabric=self.fabric)

    def _save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        save_resume(self.out / RESUME, self.module, self.raw_optimizer, self.plan, self._progress())
        save_weights(self.module, self.out / LAST, self.metadata)

    def _progress(self) -> dict[str, Any]:
        names = (
            "epoch",
            "step",
            "updates",
            "waited",
            "best_epoch",
            "best",
            "best_loss",
            "stop_best",
            "trace",
            "history",
            "stopped",
        )
        return {**{name: getattr(self, name) for name in names}, "rate": self.rate.state()}

    def _restore(self, progress: dict[str, Any]) -> None:
        self.rate.restore(progress.pop("rate"))
        for name, value in progress.items():
            setattr(self, name, value)

    def _report(self, seconds: float, notes: list[str]) -> Report:
        names = [BEST, LAST, RESUME, "report.json", "curves.png"]
        return Report(
            network=self.plan.network,
            data=self.data.origin,
            examples={name: len(self.parts.part(name)) for name in self.checks},
            metrics={name: self._measure(name, self.plan.metric) for name in self.checks},
            epochs=len(self.history),
            best_epoch=self.best_epoch,
            stopped_early=self.stopped,
            seconds=round(seconds, 3),
            parameters=sum(p.numel() for p in self.learning),
            seed=self.plan.seed,
            device=str(self.fabric.device),
            history=self.history,
            files=[str(self.out / name) for name in names],
            warnings=notes,
        )
