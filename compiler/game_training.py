"""Settings of a `train` block that a game has no use for. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .diagnostics import Diagnostic, Label, Severity
from .game import Game
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


def check_turns(game: Game, stage: TrainPlan, steps: int) -> Iterator[Diagnostic]:
    """A warning (A1085) for a phase in which the generators never step. steps: of the discriminators, in all of it."""
    if steps >= game.critic_steps:
        return
    phase = f"phase `{stage.name}`" if stage.name else "the run"
    places = [(stage.place(key), key) for key in ("epochs", "batch", "accumulate")]
    yield Diagnostic(
        "A1085",
        f"the generators step after every {game.critic_steps:,} steps of the discriminators, and {phase} has {steps:,} "
        "steps: they learn nothing",
        game.pairs[0].span,
        tuple(Label(span, f"`{key}` is set here") for span, key in places if span is not None),
        help="make `critic_steps` smaller (5 is usual), or train for more epochs or in smaller batches",
        severity=Severity.WARNING,
    )
