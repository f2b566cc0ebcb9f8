"""Making sequences from a network that says how likely each next token is: greedy, sampled, beam search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


class Reader(Protocol):
    """Reads tokens, and says what may come next. Each row of a batch is a sequence of its own."""

    def read(self, tokens: Tensor) -> Tensor:
        """Goes on by these tokens, int [N, k]; the logits of the token after them, [N, vocabulary]."""

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows of what was read, int [M], some of them several times or not at all."""


@dataclass
class Whole:
    """Reads all of the sequence again for each token: for networks that carry no state.

    run: int [N, T] → logits [N, T, vocabulary].
    """

    run: Callable[[Tensor], Tensor]
    seen: Tensor | None = None

    def read(self, tokens: Tensor) -> Tensor:
        self.seen = tokens if self.seen is None else torch.cat([self.seen, tokens], 1)
        return self.run(self.seen)[:, -1]

    def keep(self, rows: Tensor) -> None:
        assert self.seen is not None
        self.seen = self.seen[rows]


@dataclass
class Stateful:
    """Reads just the new tokens, and carries a network's states on.

    run: int [N, k] and the states → logits [N, k, vocabulary] and the next states, each [N, …].
    """

    run: Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]
    states: tuple[Tensor, ...]

    def read(self, tokens: Tensor) -> Tensor:
        logits, self.states = self.run(tokens, self.states)
        return logits[:, -1]

    def keep(self, rows: Tensor) -> None:
        self.states = tuple(state[rows] for state in self.states)


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. temperature: logits are divided by it; 0 takes the likeliest. top_k: among so many of the
    likeliest. top_p: among the likeliest that together have this share (nucleus sampling; Holtzman et al., 2020)."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None


def draw(logits: Tensor, how: Sampling, generator: torch.Generator | None = None) -> Tensor:
    """A token for each row of logits [N, vocabulary]: int [N]."""
    if how.temperature == 0:
        return logits.argmax(-1)
    logits = logits.double() / how.temperature
    if how.top_k is not None and how.top_k < logits.shape[-1]:
        least = logits.topk(how.top_k, -1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    shares = logits.softmax(-1)
    if how.top_p is not None:
        ordered, order = shares.sort(-1, descending=True)
        before = ordered.cumsum(-1) - ordered  # what comes first is always kept
        shares = torch.zeros_like(shares).scatter(-1, order, ordered.masked_fill(before >= how.top_p, 0))
    return torch.multinomial(shares, 1, generator=generator)[:, 0]


def sample(
    reader: Reader,
    prompt: Tensor,
    length: int,
    how: Sampling,
    *,
    stop: int | None = None,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Up to `length` tokens after each row of a prompt, int [N, k] with k ≥ 1. A sequence ends before `stop`."""
    made: list[list[int]] = [[] for _ in range(len(prompt))]
    open_rows = list(range(len(prompt)))
    tokens = prompt
    for _ in range(length):
        chosen = draw(reader.read(tokens), how, generator)
        going = [i for i, token in enumerate(chosen.tolist()) if token != stop]
        for i in going:
            made[open_rows[i]].append(int(chosen[i]))
        if not going:
            break
        if len(going) < len(open_rows):
            rows = torch.tensor(going, device=chosen.device)
            reader.keep(rows)
            chosen = chosen[rows]
            open_rows = [open_rows[i] for i in going]
        tokens = chosen[:, None]
    return made


@dataclass(frozen=True)
class Found:
    """A sequence and its logarithmic probability, divided by (its length + 1) to the power of the penalty."""

    tokens: tuple[int, ...]
    score: float


@dataclass
class _Beams:
    """The unfinished sequences of a search, likeliest first, with their logarithmic probabilities."""

    tokens: list[tuple[int, ...]]
    sums: Tensor
    done: list[Found] = field(default_factory=list)


def beam_search(
    reader: Reader, prompt: Tensor, length: int, width: int, *, stop: int | None = None, penalty: float = 1.0
) -> list[Found]:
    """The best `width` continuations of a prompt, int [1, k], best first, of up to `length` tokens. Penalty 0 compares
    probabilities as they are, which favours short sequences. The search ends when no open sequence can become better
    than the worst of `width` finished ones (for a penalty of at least 0)."""
    sums = torch.zeros(1, dtype=torch.float64, device=prompt.device)
    beams = _Beams([()], sums)
    tokens = prompt
    for at in range(length):
        logs = reader.read(tokens).double().log_softmax(-1)
        rows, chosen = _extend(beams, logs, width, stop, penalty)
        if not beams.tokens or _settled(beams, width, length, penalty):
            break
        if at + 1 < length:
            reader.keep(rows)
            tokens = chosen[:, None]
    found = beams.done + [
        Found(tokens, _score(float(total), len(tokens), penalty))
        for tokens, total in zip(beams.tokens, beams.sums.tolist(), strict=True)
    ]
    return sorted(found, key=lambda f: -f.score)[:width]


def _extend(beams: _Beams, logs: Tensor, width: int, stop: int | None, penalty: float) -> tuple[Tensor, Tensor]:
    """Makes each open sequence longer by its likeliest tokens; which rows go on, and by which tokens."""
    totals = (beams.sums[:, None] + logs).flatten()
    best = totals.topk(min(2 * width, len(totals)))  # of each open sequence one may end
    rows: list[int] = []
    chosen: list[int] = []
    longer: list[tuple[int, ...]] = []
    sums: list[float] = []
    for total, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        row, token = divmod(place, logs.shape[-1])
        before = beams.tokens[row]
        if token == stop:
            beams.done.append(Found(before, _score(total, len(before), penalty)))
        elif len(rows) < width:
            rows.append(row)
            chosen.append(token)
            longer.append((*before, token))
            sums.append(total)
    beams.done = sorted(beams.done, key=lambda f: -f.score)[:width]
    beams.tokens, beams.sums = longer, torch.tensor(sums, dtype=torch.float64, device=logs.device)
    return torch.tensor(rows, device=logs.device), torch.tensor(chosen, device=logs.device)


def _score(total: float, length: int, penalty: float) -> float:
    return total / (length + 1) ** penalty


def _settled(beams: _Beams, width: int, length: int, penalty: float) -> bool:
    """Is no open sequence able to become better than the worst of as many finished ones?"""
    if len(beams.done) < width:
        return False
    return _score(float(beams.sums[0]), length, penalty) <= beams.done[-1].score
