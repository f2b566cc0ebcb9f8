"""The health of a run, epoch by epoch: what is looked at, when, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from archlang.compiler.analysis.faded import switched_off
from archlang.compiler.diagnostics import Diagnostic
from archlang.compiler.graph import Program
from archlang.compiler.source import Span
from torch import Tensor, nn

from ..data.fading import examples
from ..games import GameSteps
from ..observing import unrolled
from ..report import HealthReport, LatentReport
from ..seeding import fixed_noise
from .alarms import Alarm, Alarms, begins, collapsed, dying, over_time, stuck, through_depth
from .gradients import Gradients, by_module, whole
from .latents import Latent, Latents, divergence_terms, reconstruction
from .pairs import Pairs
from .units import Dead, Units, hidden

if TYPE_CHECKING:
    from ..data.fading import FadedFeed
    from ..phases import Learner, Phase
    from ..steps import Steps

EXAMPLES = 256
"""Dead units are looked for among so many examples, or the batch that holds more."""

_MOST = 4096  # dimensions of a latent that the report lists one by one


class Watched:
    """What is seen while a part of the data is measured. loops: the module again, its recurrences unrolled, where they
    hold units."""

    def __init__(self, module: nn.Module, latents: Latents | None, loops: nn.Module | None = None) -> None:
        self.units = Units(module if loops is None else loops)
        self.latents, self.loops = latents, loops
        self.seen = 0

    def batch(self, batch: Sequence[Tensor]) -> AbstractContextManager[Any]:
        """The context in which a batch is to be run."""
        look = self.seen < EXAMPLES
        self.seen += len(examples(batch))
        if self.latents is not None:
            self.latents.add(batch)
        if look and self.loops is not None:
            with fixed_noise(batch[0].device), self.units:
                self.loops.objective(*batch)  # type: ignore[operator]
            return nullcontext()
        return self.units if look else nullcontext()


class Health:
    """Follows one network. The alarms are the run's, which may have several networks one after the other. feed: makes
    a feed of the training part in an order without meaning."""

    def __init__(self, program: Program, learner: Learner, alarms: Alarms, feed: Callable[[], FadedFeed]) -> None:
        self.program, self.learner, self.alarms = program, learner, alarms
        game = program.game
        self.pairs = Pairs(program, game, learner.module, feed) if game is not None else None
        self.gradients = Gradients(learner.named)
        self.latents = Latents.of(program, learner.module)
        self.loops = unrolled(program, learner.module) if game is None and hidden(learner.module) else None
        self.terms = divergence_terms(program) if self.latents is not None else []
        self.switched_off = switched_off(program)
        self.norms: dict[str, float] = {}  # of the newest gradient, by parameter
        self.dead: dict[str, Dead] = {}
        self.found: list[Latent] = []
        self.start: tuple[float, int] | None = None  # the loss at first, over how many batches
        self.active: list[list[int]] = []

    def watch(self, phase: Phase, left: int) -> None:
        """To be called before each step. left: how many are still to come in this epoch. Keeps the gradients of the
        last update, and of the last of either side of a game."""
        turns = self.program.game.critic_steps if self.program.game is not None else 1
        phase.watch = self.gradients.keep if left < turns * phase.plan.accumulate else None

    def stepped(self, steps: Steps, found: dict[str, Tensor]) -> None:
        """To be called after each step, with what is followed of it. Does not wait for the device."""
        if self.pairs is not None and found and isinstance(steps, GameSteps):
            self.pairs.add(steps.scores, found)

    def watched(self) -> Watched:
        """To watch the next measurement."""
        return Watched(self.learner.module, self.latents, self.loops)

    def epoch_ended(
        self,
        row: dict[str, float],
        history: Sequence[dict[str, float]],
        trace: dict[str, list[float]],
        watched: Watched | None,
        place: Callable[[str], Span | None],
    ) -> list[Diagnostic]:
        """Adds an epoch's health to its row, and returns notes of the alarms that start with it. history: the rows
        before. trace: losses of each batch. place: where a setting of training is written."""
        self.norms = self.gradients.read() or self.norms
        row |= {"gradient": whole(self.norms.values())} if self.norms else {}
        row |= {f"gradient {module}": norm for module, norm in by_module(self.norms).items()}
        if watched is not None:
            self._units(row, watched.units.read())
            self._latents(row)
        if self.pairs is not None:
            row |= self.pairs.epoch()
            self._units(row, self.pairs.dead)
        found = self._alarms(row, history, trace.get("loss", []), place)
        return self.alarms.start(int(row["epoch"]), found)

    def _units(self, row: dict[str, float], found: dict[str, Dead]) -> None:
        self.dead = found
        units = sum(dead.units for dead in self.dead.values())
        if units:
            row["dead"] = sum(dead.share * dead.units for dead in self.dead.values()) / units
        row |= {f"dead {layer}": dead.share for layer, dead in self.dead.items()}

    def _latents(self, row: dict[str, float]) -> None:
        self.found = self.latents.read() if self.latents is not None else []
        if not self.found:
            return
        self.active.append([latent.active for latent in self.found])
        row["kl"] = sum(latent.total for latent in self.found)
        row["active"] = sum(latent.active for latent in self.found)
        weights = getattr(self.learner.module, "loss_weights", {})
        terms = {key.removeprefix("validation "): value for key, value in row.items() if key.startswith("validation ")}
        rest = reconstruction(terms, weights, self.terms)
        row |= {"reconstruction": rest} if rest is not None else {}

    def _alarms(
        self,
        row: dict[str, float],
        history: Sequence[dict[str, float]],
        losses: list[float],
        place: Callable[[str], Span | None],
    ) -> list[Alarm]:
        span = place("optimizer") or place("network")
        found = through_depth(self._reached(), self._place)
        same = [old for old in history if old.get("phase") == row.get("phase")]
        found += over_time([old["gradient"] for old in (*same, row) if "gradient" in old], span)
        found += dying(self.dead) + collapsed(self.active, self.found)
        if self.pairs is not None:
            found += self.pairs.alarms()
        elif losses:
            if self.start is None:
                self.start = begins(losses)
            found += stuck(*self.start, [old["loss"] for old in (*history, row)], losses, span)
        return found

    def _reached(self) -> dict[str, float]:
        """The gradient by layer, without those that a factor which has risen to 1 has switched off."""
        return {k: v for k, v in self.gradients.even(self.norms).items() if v or k not in self.switched_off}

    def _place(self, layer: str) -> Span | None:
        module = self.program.graph.module_at(layer)
        return module.span if module is not None else None

    # -- what is kept

    def report(self) -> HealthReport:
        """As it was after the last epoch."""
        return HealthReport(
            gradients=self.gradients.even(self.norms),
            dead={layer: dead.share for layer, dead in self.dead.items()},
            latents=[
                LatentReport(
                    dimensions=len(latent.kl),
                    active=latent.active,
                    kl=latent.total,
                    kl_by_dimension=list(latent.kl[:_MOST]),
                    variances=list(latent.variances[:_MOST]),
                )
                for latent in self.found
            ],
            pairs=self.pairs.last() if self.pairs is not None else {},
        )

    def state(self) -> dict[str, Any]:
        """What a run that is taken up again must know."""
        self.norms = self.gradients.read() or self.norms
        pairs = self.pairs.state() if self.pairs is not None else {}
        own = {"norms": self.norms, "start": self.start, "active": self.active, "pairs": pairs}
        dead = {layer: (dead.share, dead.units) for layer, dead in self.dead.items()}
        latents = [(latent.kl, latent.variances) for latent in self.found]
        return {**own, "alarms": self.alarms.state(), "dead": dead, "latents": latents}

    def restore(self, state: dict[str, Any]) -> None:
        self.norms, self.active = dict(state["norms"]), list(state["active"])
        self.start = tuple(state["start"]) if state["start"] is not None else None
        self.alarms.restore(state["alarms"])
        self.dead = {layer: Dead(share, units, None) for layer, (share, units) in state["dead"].items()}
        self.found = [Latent(tuple(kl), tuple(variances), None) for kl, variances in state["latents"]]
        if self.pairs is not None:
            self.pairs.restore(state["pairs"], next(self.learner.module.parameters()).device)
