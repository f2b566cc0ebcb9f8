"""How a game stands: who wins, whether the generator makes different things, whether the players go in circles."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .alarms import Alarm

MOST = 512
"""Distances are measured among so many examples at most."""
NEAREST = 5
"""The k of density and coverage (the authors')."""
SETTLED, LONG = 200, 1000
"""Nothing is said of a game before so many steps; that it makes too little of different kinds, not before the latter
where that never was otherwise: generators begin so."""
RECENT, SMOOTH = 1000, 5
"""Oscillation is looked for in the last `RECENT` steps, in means over `SMOOTH` of them."""
OSCILLATES = 0.4
"""The players go in circles where `oscillation` is above this."""
SAME, PATIENCE = 0.5, 3
"""Modes have collapsed where for so many epochs diversity is below this, or coverage below so much of its best."""
TOGETHER = 16
"""So many steps' scores are reduced at once."""
SURE = 0.01
"""A discriminator has won where both its mean probabilities are so near to the truth."""


class GameHealth:
    """Follows one pair, a generator and a discriminator. Steps stay on the device; an epoch's end waits for it.

    logits: do scores stand for probabilities, σ(s), that an example is real?"""

    def __init__(self, logits: bool, span: Any = None) -> None:
        self.logits, self.span = logits, span
        self._fresh: list[tuple[Tensor, Tensor]] = []  # scores that nothing was computed of yet
        self._rows: list[Tensor] = []  # [steps, 3]: the mean of real and of made ones, and the value
        self.steps = 0
        self._differences: deque[tuple[Tensor, Tensor] | float] = deque(maxlen=RECENT)
        self._generator: Tensor | None = None
        self.history: list[dict[str, float]] = []

    def add(self, real_scores: Tensor, made_scores: Tensor, generator: Tensor | None, discriminator: Tensor) -> None:
        """Takes a step: scores of any shape, without gradients, and the losses of both sides. generator: None where
        only the discriminator learned."""
        if (self._fresh and self._fresh[0][0].shape != real_scores.shape) or len(self._fresh) == TOGETHER:
            self._fold()
        self._fresh.append((real_scores, made_scores))
        self.steps += 1
        if generator is not None:
            self._generator = generator
        if self._generator is not None:
            self._differences.append((discriminator, self._generator))

    def _fold(self) -> None:
        """The rows of steps that wait for it: few operations for many steps."""
        if not self._fresh:
            return
        # PyTorch sums up a lone row in another order where there are threads, so it gets company.
        steps = self._fresh if len(self._fresh) > 1 else self._fresh * 2
        real, made = (torch.stack(scores).float().reshape(len(steps), -1) for scores in zip(*steps, strict=True))
        if self.logits:
            value = F.logsigmoid(real).mean(1) + F.logsigmoid(-made).mean(1)
            means = [real.sigmoid().mean(1), made.sigmoid().mean(1), value]
        else:
            means = [real.mean(1), made.mean(1), real.mean(1) - made.mean(1)]
        self._rows.append(torch.stack(means, 1)[: len(self._fresh)])
        self._fresh = []

    def epoch(self, real: Tensor, made: Tensor) -> dict[str, float]:
        """The numbers of the epoch that ends: `D(x)` and `D(G(z))`, mean probabilities or scores; `value`, of the game;
        `oscillation`; and of examples [N, …] of the data and of the generator, `diversity`, `density`, `coverage`."""
        found: dict[str, float] = {}
        self._fold()
        if self._rows:
            names = ("D(x)", "D(G(z))", "value")
            found |= dict(zip(names, torch.cat(self._rows).mean(0).tolist(), strict=True))
        self._rows = []
        found["oscillation"] = oscillation(self._read())
        real, made = subset(real), subset(made)
        found["diversity"] = diversity(real, made)
        found["density"], found["coverage"] = density_and_coverage(real, made)
        self.history.append(found)
        return found

    def _read(self) -> list[float]:
        fresh = [d for d in self._differences if not isinstance(d, float)]
        read: Iterator[float] = iter(())
        if fresh:
            discriminator, generator = (torch.stack(losses).float() for losses in zip(*fresh, strict=True))
            read = iter((discriminator - generator).tolist())
        values = [d if isinstance(d, float) else next(read) for d in self._differences]
        self._differences = deque(values, maxlen=RECENT)
        return values

    def alarms(self) -> list[Alarm]:
        """What is to be said after the last epoch."""
        if self.steps < SETTLED or not self.history:
            return []
        return [*self._collapse(), *self._circles(), *self._won()]

    def _collapse(self) -> list[Alarm]:
        recent = self.history[-PATIENCE:]
        help = "try another objective (`wasserstein` with a gradient penalty), `r1`, a smaller `lr`, or larger batches"
        once = any(row["diversity"] >= SAME for row in self.history)
        low = len(recent) == PATIENCE and all(row["diversity"] < SAME for row in recent)
        if low and (once or self.steps >= LONG):
            told = f"examples that are made differ {recent[-1]['diversity']:.2f} times as much as those of the data"
            return [Alarm("A1075", f"modes collapse: {told}", help, self.span)]
        best = max(row["coverage"] for row in self.history)
        if len(recent) == PATIENCE and best >= SAME and all(row["coverage"] < SAME * best for row in recent):
            told = f"what is made covers {recent[-1]['coverage']:.0%} of the data, and covered {best:.0%}"
            return [Alarm("A1075", f"modes collapse: {told}", help, self.span)]
        return []

    def _circles(self) -> list[Alarm]:
        share = self.history[-1]["oscillation"]
        if share <= OSCILLATES:
            return []
        message = f"the players go in circles: their losses repeat themselves, with an autocorrelation of {share:.2f}"
        return [Alarm("A1076", message, "try smaller learning rates, `ema`, or `r1` on the discriminator", self.span)]

    def _won(self) -> list[Alarm]:
        last = self.history[-1]
        if not self.logits or not (last.get("D(x)", 0.0) > 1 - SURE and last.get("D(G(z))", 1.0) < SURE):
            return []
        message = f"the discriminator has won: it gives data {last['D(x)']:.3f} and what is made {last['D(G(z))']:.3f}"
        help = "give it a smaller `lr`, weaken it (dropout, `r1`), or play `non_saturating` or `wasserstein`"
        return [Alarm("A1077", message, help, self.span)]

    # -- for a run that is taken up again

    def state(self) -> dict[str, Any]:
        """What JSON can hold."""
        generator = None if self._generator is None else float(self._generator)
        self._fold()
        rows = torch.cat(self._rows).tolist() if self._rows else []
        own = {"steps": self.steps, "rows": rows, "generator": generator}
        return {**own, "differences": self._read(), "history": self.history}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.steps, self.history = state["steps"], list(state["history"])
        self._differences = deque(state["differences"], maxlen=RECENT)
        self._fresh = []
        self._rows = [torch.tensor(state["rows"], device=device)] if state["rows"] else []
        generator = state["generator"]
        self._generator = None if generator is None else torch.tensor(generator, device=device)


def subset(examples: Tensor, most: int = MOST) -> Tensor:
    """At most so many of the examples [N, …] as rows [n, features], the same ones each time."""
    rows = examples.detach().float().flatten(1)
    if len(rows) <= most:
        return rows
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:most]
    return rows[chosen.to(rows.device)]


def diversity(real: Tensor, made: Tensor) -> float:
    """The mean distance between two rows of `made` [n, d] over that between two rows of `real`; NaN where those are all
    the same, or one of them has less than two rows."""
    if min(len(real), len(made)) < 2:
        return float("nan")
    among = torch.pdist(real).mean()
    return float(torch.pdist(made).mean() / among) if float(among) else float("nan")


def density_and_coverage(real: Tensor, made: Tensor, nearest: int = NEAREST) -> tuple[float, float]:
    """Density and coverage of rows [n, d] that were made (Naeem et al., 2020, "Reliable fidelity and diversity metrics
    for generative models"), over balls around each row of the data that reach to its k-th nearest neighbour there.

    Density: in how many balls a made row lies, over k: 1 on average where both come from one distribution, 0 far from
    the data. Coverage: the share of balls with a made row in them. NaN for data of k rows or less."""
    if len(real) <= nearest or not len(made):
        return float("nan"), float("nan")
    among = torch.cdist(real, real, compute_mode="donot_use_mm_for_euclid_dist")
    reach = among.kthvalue(nearest + 1, dim=1).values  # the nearest is the row itself
    inside = torch.cdist(real, made, compute_mode="donot_use_mm_for_euclid_dist") <= reach[:, None]
    density, coverage = torch.stack([inside.float().sum(0).mean() / nearest, inside.any(1).float().mean()]).tolist()
    return density, coverage


def oscillation(differences: Sequence[float]) -> float:
    """How much the difference of two losses, a number a step, repeats itself: between 0 and 1.

    Of means over `SMOOTH` steps, less a straight line, the autocorrelation r is followed to its first minimum below
    zero and on to the greatest value after it, within a quarter of the steps (so that at least four periods are seen).
    The smaller of both sizes counts: noise, however slow, has no deep minimum with a high maximum after it."""
    if len(differences) < SETTLED:
        return 0.0
    values = np.asarray(differences, dtype=np.float64)
    values = values[len(values) % SMOOTH :].reshape(-1, SMOOTH).mean(1)
    places = np.arange(len(values))
    values = values - np.polyval(np.polyfit(places, values, 1), places)
    power = float(values @ values)
    if power <= 1e-12 * len(values):
        return 0.0
    lags = len(values) // 4
    r = np.array([values[lag:] @ values[: len(values) - lag] / power for lag in range(lags + 1)])
    below = np.flatnonzero(r < 0)
    if not len(below):
        return 0.0
    rising = np.flatnonzero((np.diff(r) > 0) & (np.arange(lags) >= below[0]))
    if not len(rising):
        return 0.0
    trough = int(rising[0])
    return float(max(0.0, min(-r[trough], r[trough:].max())))
