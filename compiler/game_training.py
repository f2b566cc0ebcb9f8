"""Settings of a `train` block that a game has no use for. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .diagnostics import Diagnostic
from .training_plan import Plateau, TrainPlan

DEFAULTS = {"validation": 0.0, "test": 0.0, "metric": ()}
"""A game learns from all its examples unless its block says otherwise."""


def check_game(stage: TrainPlan, unknown: Collection[str] = ()) -> Iterator[Diagnostic]:
    """What a game can't do of what a phase asks for. unknown: keys of settings that could not be read."""
    better = "a game has no task at which it gets better, and keeps its newest weights"
    averages = "leave it out; averages of the generators are kept with `ema 0.999`"
    asked = {
        "early_stop": (stage.early_stop is not None, f"`early_stop` waits for a loss to fall: {better}", averages),
        "schedule": (
            isinstance(stage.schedule, Plateau),
            f"`plateau` waits for a loss to fall: {better}",
            "`linear` and `cosine` go by the epoch",
        ),
        "metric": (bool(stage.metric), f"`metric` measures predictions: {better}", averages),
        "class_weights": (
            stage.class_weights != "none",
            "`class_weights` weighs predictions of classes, and a game makes examples",
            "`sampler balanced` draws every class equally often",
        ),
        "precision": (
            stage.precision == "fp16",
            "`fp16` scales losses so that small gradients survive, and each side of a game would need a scale",
            "write `precision bf16`, which needs no scale",
        ),
    }
    for key, (is_asked, message, help) in asked.items():
        if is_asked and key not in unknown:
            yield Diagnostic("A1080", message, stage.place(key) or stage.place("network"), help=help)
