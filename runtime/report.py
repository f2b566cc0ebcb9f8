"""What came of a training run: the report, its table and its curves."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from .files import write_atomically

if TYPE_CHECKING:
    from rich.table import Table


class PhaseReport(BaseModel):
    """One phase of a run: how long it was, and what learned in it how fast."""

    name: str = Field(description="Its name; empty when the block has no phases.")
    epochs: int = Field(description="Epochs trained.")
    learning: int = Field(description="Numbers that learned.")
    frozen: int = Field(description="Trainable numbers that stayed as they were.")
    rates: list[tuple[float, int]] = Field(description="Each learning rate, and how many numbers had it.")


class AlarmReport(BaseModel):
    """A sign that the run went wrong, when it started."""

    code: str = Field(description="Its code: `archc explain` says what it means.")
    epoch: int = Field(description="The epoch, counted from 1, after which it was said.")
    message: str = Field(description="What was seen.")
    place: dict[str, Any] | None = Field(description="Where in the spec: file, line, column; null where nowhere.")


class LatentReport(BaseModel):
    """A latent of a variational model over the validation part."""

    dimensions: int = Field(description="How many dimensions it has.")
    active: int = Field(description="How many are active: their posterior mean varies by more than 0.01 over examples.")
    kl: float = Field(description="KL from the standard normal distribution, mean over examples, in nats.")
    kl_by_dimension: list[float] = Field(description="The same for each dimension, the first 4096 of them.")
    variances: list[float] = Field(description="Variance over examples of each dimension's posterior mean.")


class HealthReport(BaseModel):
    """How the network was after its last epoch."""

    gradients: dict[str, float] = Field(description="Root mean square of the gradient in each layer, last update.")
    dead: dict[str, float] = Field(description="Share of units that are zero for every example seen, by layer.")
    latents: list[LatentReport] = Field(default_factory=list, description="Latents, in the order of the network.")
    pairs: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="Of a game, what the last epoch said of each pair, by its discriminator."
    )


class Report(BaseModel):
    """The outcome of `fit`. Written as JSON beside the weights."""

    model_config = ConfigDict(protected_namespaces=())

    network: str = Field(description="Name of the network.")
    data: str = Field(description="Where the examples came from.")
    examples: dict[str, int] = Field(description="How many examples each part has.")
    metrics: dict[str, dict[str, float]] = Field(description="For each part, the loss and the metrics, best weights.")
    epochs: int = Field(description="Epochs trained.")
    best_epoch: int = Field(description="The epoch, counted from 1, whose weights were kept.")
    stopped_early: bool = Field(description="Whether `early_stop` ended the run.")
    seconds: float = Field(description="Wall-clock time of this call.")
    parameters: int = Field(description="Trainable numbers.")
    seed: int = Field(description="The seed.")
    device: str = Field(description="Where it ran.")
    history: list[dict[str, float]] = Field(description="One row an epoch: epoch, lr, train loss, validation metrics.")
    phases: list[PhaseReport] = Field(default_factory=list, description="The phases, in order.")
    files: list[str] = Field(description="What was written.")
    warnings: list[str] = Field(default_factory=list, description="What looked odd before training began.")
    health: HealthReport | None = Field(None, description="Gradients, dead units and latents after the last epoch.")
    alarms: list[AlarmReport] = Field(default_factory=list, description="Signs that it went wrong, each once.")


def table(report: Report) -> Table:
    """The report's metrics as a rich table: a row a part."""
    from rich import box
    from rich.table import Table

    names = list(next(iter(report.metrics.values()), {}))
    shown = Table(
        title=f"{report.network} on {report.data}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAVY
    )
    shown.add_column("part")
    shown.add_column("examples", justify="right")
    for name in names:
        shown.add_column(name, justify="right")
    for part, values in report.metrics.items():
        cells = [format_metric(name, values[name]) for name in names]
        shown.add_row(part, f"{report.examples[part]:,}", *cells, style="bold" if part == "test" else None)
    return shown


def summary(report: Report) -> str:
    """One line: how long, how large, where."""
    ended = ", stopped early" if report.stopped_early else ""
    best = "" if _is_game(report) else f", the best was {report.best_epoch}"
    return (
        f"{report.epochs} epochs{ended}{best}; {report.seconds:.1f} s on {report.device}, "
        f"seed {report.seed}, {report.parameters:,} parameters"
    )


def _is_game(report: Report) -> bool:
    """Two sides learned, and no epoch is the best."""
    return any(_OTHER in row for row in report.history)


def format_metric(name: str, value: float) -> str:
    """Shares of examples as percent, everything else to four digits."""
    return f"{value:.2%}" if name in ("accuracy", "top5") else f"{value:.4g}"


_OTHER = "discriminator loss"
_INK, _MUTED, _TRAIN, _VALIDATION = "#1f2430", "#6b7280", "#2563eb", "#d9480f"


def draw_curves(report: Report, path: Path) -> None:
    """Loss, metric and learning rate over the epochs, as a PNG. Raises A1104."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

    history = report.history
    if not history:
        return
    epochs = [int(row["epoch"]) for row in history]
    metrics = [key for key in history[-1] if key.startswith("validation ") and key != "validation loss"]
    game = _is_game(report)
    panels = ["loss", *([_OTHER] if game else metrics[:1]), "lr"]
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        lines: list[tuple[str, str, str]] = {
            **{
                key: [(key, "train", _TRAIN), (f"validation {key}", "validation", _VALIDATION)]
                for key in ("loss", _OTHER)
            },
            "lr": [("lr", "", _MUTED)],
        }.get(panel, [(panel, "validation", _VALIDATION)])
        for key, label, colour in lines:
            points = [(e, row[key]) for e, row in zip(epochs, history, strict=True) if key in row]
            if points:
                _line(axes, points, label, colour)
        titles = {"lr": "learning rate", "loss": "generators' loss" if game else "loss", _OTHER: "discriminators' loss"}
        title = titles.get(panel, panel.removeprefix("validation "))
        axes.set_title(title, loc="left", fontsize=11, color=_INK, fontweight="bold")
        axes.set_xlabel("epoch", color=_MUTED, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if title in ("accuracy", "top5"):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        if panel == "lr":
            axes.set_ylim(0, max(row["lr"] for row in history) * 1.1)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if panel == "loss" and not game and _spread(history) > 30:
            axes.set_yscale("log")
        if any(label for key, label, _ in lines if any(key in row for row in history)):
            axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
        for before, after in pairwise(history):
            if before.get("phase") != after.get("phase"):
                axes.axvline(before["epoch"] + 0.5, color="#e8eaf0", linewidth=6, zorder=0)
        if not game:
            axes.axvline(report.best_epoch, color="#c4c9d4", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        _plain_axes(axes)
    best = "" if game else f", best epoch {report.best_epoch}"
    figure.suptitle(f"{report.network} on {report.data}{best}", fontsize=12, color=_INK, x=0.01, ha="left")
    write_atomically(path, lambda p: figure.savefig(p, format="png", dpi=150))


def _line(axes: Any, points: list[tuple[int, float]], label: str, colour: str) -> None:
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=colour, linewidth=1.8, label=label, marker="o", markersize=3 if len(x) < 40 else 0)


def _plain_axes(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c4c9d4")
    axes.tick_params(colors=_MUTED, labelsize=9)
    axes.grid(axis="y", color="#e8eaf0", linewidth=0.8)
    axes.set_axisbelow(True)


def _spread(history: list[dict[str, float]]) -> float:
    values = [row["loss"] for row in history if row.get("loss", 0.0) > 0]
    return max(values) / min(values) if values else 1.0
