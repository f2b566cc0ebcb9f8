"""How a run shows itself: a live bar in a terminal, plain lines elsewhere, and TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from .report import Report, format_metric, summary, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter


class Display:
    """Shows epochs on a console, or nothing at all when `on` is false."""

    def __init__(self, console: Console | None, on: bool, epochs: int, steps: int) -> None:
        from rich.console import Console

        self.console = console or Console()
        self.on, self.epochs, self.steps = on, epochs, steps
        self.bar: Progress | None = None

    def __enter__(self) -> Display:
        if self.on and self.console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task("starting", total=self.steps, note="")
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def total(self, epochs: int, steps: int) -> None:
        """Another phase: how many epochs the whole run has now, and how many steps each."""
        self.epochs, self.steps = epochs, steps
        if self.bar is not None:
            self.bar.update(self.task, total=steps)

    def step(self, epoch: int, step: int, followed: dict[str, float]) -> None:
        """A moment within an epoch; called a few times a second at most. followed: means so far, by name."""
        if self.bar is not None:
            text = f"epoch {epoch + 1}/{self.epochs}"
            note = "  ".join(f"{name} {value:.4g}" for name, value in followed.items())
            self.bar.update(self.task, description=text, completed=step, note=note)

    def epoch(self, row: dict[str, float], best: bool) -> None:
        """An epoch has ended."""
        if not self.on:
            return
        width = len(str(self.epochs))
        losses = [f"{k} {v:.4f}" for k, v in row.items() if k.endswith("loss") and not k.startswith("validation")]
        parts = [f"epoch {int(row['epoch']):>{width}}/{self.epochs}", *losses]
        held = {k.removeprefix("validation "): v for k, v in row.items() if k.startswith("validation ")}
        if held:
            parts.append("validation " + " ".join(f"{name} {format_metric(name, v)}" for name, v in held.items()))
        self.console.print("  ".join(parts) + ("  (best)" if best else ""), highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        if self.on:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def report(self, report: Report) -> None:
        """The final table."""
        if self.on:
            self.console.print(table(report))
            self.console.print(summary(report), highlight=False, soft_wrap=True)


class Board:
    """TensorBoard's event files, opened when the first number comes. A full disk ends the log, not the training."""

    def __init__(self, folder: Path, on: bool) -> None:
        self.folder, self.on = folder, on
        self.writer: SummaryWriter | None = None

    def add(self, row: dict[str, float]) -> None:
        """One epoch's numbers."""
        with self._opened() as writer:
            for name, value in row.items():
                if writer is not None and name not in ("epoch", "phase"):
                    writer.add_scalar(name.replace(" ", "/"), value, int(row["epoch"]))

    def picture(self, name: str, pixels: Tensor, update: int) -> None:
        """A picture, uint8 [C, H, W], made after so many updates."""
        with self._opened() as writer:
            if writer is not None:
                writer.add_image(name, pixels, update)

    @contextmanager
    def _opened(self) -> Iterator[SummaryWriter | None]:
        """The writer, where there is one; none from the first failure on."""
        try:
            if self.on and self.writer is None:
                from torch.utils.tensorboard import SummaryWriter

                self.writer = SummaryWriter(str(self.folder))
            yield self.writer if self.on else None
        except OSError:
            self.on = False

    def close(self) -> None:
        if self.writer is not None:
            try:
                self.writer.close()
            except OSError:
                self.on = False
