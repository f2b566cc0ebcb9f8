"""Signs that a run goes wrong, with the thresholds from which they are said. Each is a note and never ends a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median, pstdev
from typing import Any

from archlang.compiler.diagnostics import Diagnostic, Severity, place_of
from archlang.compiler.source import Span

from ..report import AlarmReport
from .latents import Latent
from .units import Dead

FAINT = 1e-6
"""Gradients vanish or explode where the root mean square in one layer is below so much of that in another."""
BURST = 1e3
"""A gradient bursts where its norm is more than so many times the median of the epochs before, at least `BEFORE`."""
BEFORE = 3
DEAD = 0.5
"""A layer is dying where more than this share of its units are zero for every example."""
STILL, LEAST = 5, 0.01
"""A loss is stuck where in its first `STILL` epochs it is never further from where it began than this share of it."""
COLLAPSED, PATIENCE = 0.9, 5
"""A posterior has collapsed where more than this share of its dimensions are inactive, so many epochs in a row."""

Place = Callable[[str], Span | None]


@dataclass(frozen=True)
class Alarm:
    """One sign. code: its page. help: what to do."""

    code: str
    message: str
    help: str
    span: Span | None = None


@dataclass
class Alarms:
    """What was said in a run: each kind of alarm once, when it starts."""

    said: list[AlarmReport] = field(default_factory=list)

    def start(self, epoch: int, found: Sequence[Alarm]) -> list[Diagnostic]:
        """Notes of those that are new in this epoch, which is counted from 1."""
        notes = []
        for alarm in found:
            if all(known.code != alarm.code for known in self.said):
                where = place_of(alarm.span)
                self.said.append(AlarmReport(code=alarm.code, epoch=epoch, message=alarm.message, place=where))
                notes.append(Diagnostic(alarm.code, alarm.message, alarm.span, (), alarm.help, Severity.NOTE))
        return notes

    def state(self) -> list[dict[str, Any]]:
        """For a run that takes it up again."""
        return [alarm.model_dump() for alarm in self.said]

    def restore(self, state: list[dict[str, Any]]) -> None:
        self.said = [AlarmReport(**alarm) for alarm in state]


def through_depth(even: Mapping[str, float], place: Place) -> list[Alarm]:
    """even: root mean squares of the gradient by layer, from the inputs on. place: where a layer stands."""
    if not even:
        return []
    endless = [layer for layer, size in even.items() if not math.isfinite(size)]
    if endless:
        help = "try `clip 1.0`, a smaller `lr`, or `precision bf16` in place of fp16"
        return [Alarm("A1070", f"the gradient in `{endless[0]}` is not finite", help, place(endless[0]))]
    most = max(even, key=lambda layer: even[layer])
    order = list(even)
    faint = [layer for layer in order if even[layer] <= FAINT * even[most]]
    if not faint:
        return []
    first = faint[0]
    ratio = even[first] / even[most] if even[most] else 0.0
    told = (
        f"the gradient in `{first}` is {ratio:.1e} of that in `{most}`" if ratio else f"no gradient reaches `{first}`"
    )
    more = f", and {len(faint) - 1} other layers are below {FAINT:g} of it" if len(faint) > 1 else ""
    if ratio and order.index(first) > order.index(most):
        help = "norms (`layernorm`, `batchnorm`), smaller initial weights, or `clip 1.0` keep it bounded"
        return [Alarm("A1070", f"gradients explode towards the inputs: {told}{more}", help, place(most))]
    help = (
        "shortcuts (residual blocks), norms, `relu` or `gelu` instead of `sigmoid` or `tanh`, or other initial weights"
    )
    return [Alarm("A1071", f"gradients vanish: {told}{more}", help, place(first))]


def over_time(norms: Sequence[float], span: Span | None) -> list[Alarm]:
    """norms: of the whole gradient, an epoch each, of one phase; the last is the newest."""
    before, now = norms[:-1], norms[-1] if norms else 0.0
    if len(before) < BEFORE or not median(before) or now <= BURST * median(before):
        return []
    message = f"the gradient explodes: its norm is {now:.3g}, and {median(before):.3g} in the epochs before"
    return [Alarm("A1070", message, "try `clip 1.0`, a smaller `lr`, or a warm-up", span)]


def dying(dead: Mapping[str, Dead]) -> list[Alarm]:
    """dead: by layer."""
    found = [(layer, units) for layer, units in dead.items() if units.share > DEAD]
    if not found:
        return []
    layer, worst = max(found, key=lambda entry: entry[1].share)
    others = f", as in {len(found) - 1} other layers" if len(found) > 1 else ""
    count = round(worst.share * worst.units)
    message = f"{count} of the {worst.units} units after `{layer}` are zero for every example{others}"
    help = "they learn no more: try a smaller `lr`, a norm before the activation, or `leaky_relu`, `gelu` or `silu`"
    return [Alarm("A1072", message, help, worst.span)]


def stuck(start: float, of: int, losses: Sequence[float], last: Sequence[float], span: Span | None) -> list[Alarm]:
    """start: the mean loss of the first `of` batches. losses: of each epoch so far. last: of each batch of the last."""
    if len(losses) != STILL or abs(start) < 1e-12:
        return []
    noise = 3 * pstdev(last) / of**0.5 if len(last) > 1 else 0.0
    if any(abs(loss - start) > max(LEAST * abs(start), noise) for loss in losses):
        return []
    message = f"the loss does not move: it began at {start:.4g}, and is {losses[-1]:.4g} after {STILL} epochs"
    help = "try a larger (or much smaller) `lr`, and look at whether the targets belong to the inputs"
    return [Alarm("A1073", message, help, span)]


def collapsed(active: Sequence[Sequence[int]], latents: Sequence[Latent]) -> list[Alarm]:
    """active: how many dimensions of each latent were active, an epoch each; the last is the newest."""
    recent = active[-PATIENCE:]
    for i, latent in enumerate(latents):
        size = len(latent.kl)
        few = (1 - COLLAPSED) * size
        if len(recent) == PATIENCE and all(counts[i] < few for counts in recent):
            message = f"the posterior has collapsed: {latent.active} of {size} dimensions of the latent are active"
            help = "give its KL a smaller `weight`, or let that grow over the epochs; or make the decoder weaker"
            return [Alarm("A1074", message, help, latent.span)]
    return []


def begins(trace: Sequence[float]) -> tuple[float, int]:
    """The mean loss of the first tenth of an epoch's batches, and how many those are."""
    count = max(1, len(trace) // 10)
    return mean(trace[:count]), count
