"""Decoding: against enumeration of every sequence, and the statistics of what is drawn."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from archlang.runtime.decode import Reader, Sampling, Stateful, Whole, beam_search, draw, sample
from torch import Tensor

VOCABULARY, END = 4, 0


def table(seed: int, depth: int = 4) -> dict[tuple[int, ...], Tensor]:
    """Logits of the next token after every sequence of up to `depth` tokens."""
    g = torch.Generator().manual_seed(seed)
    prefixes = [p for n in range(depth + 1) for p in itertools.product(range(VOCABULARY), repeat=n)]
    return {prefix: torch.randn(VOCABULARY, generator=g, dtype=torch.float64) * 2 for prefix in prefixes}


def reader_of(logits: dict[tuple[int, ...], Tensor]) -> Reader:
    def run(tokens: Tensor) -> Tensor:
        return torch.stack([logits[tuple(row[1:])] for row in tokens.tolist()])[:, None]

    return Whole(run)


def carried_of(logits: dict[tuple[int, ...], Tensor]) -> Reader:
    """The same, as a network with a state: the tokens so far as a number."""

    def run(tokens: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        after = states[0]
        for column in tokens.T:
            after = after * 10 + column + 1
        known = [tuple(int(c) - 1 for c in str(int(value)))[1:] for value in after]
        return torch.stack([logits[prefix] for prefix in known])[:, None], (after,)

    return Stateful(run, (torch.zeros(1, dtype=torch.int64),))


def everything(logits: dict[tuple[int, ...], Tensor], length: int, penalty: float) -> list[tuple[float, tuple]]:
    """Every finished or longest sequence with its score, best first."""
    found = []

    def visit(prefix: tuple[int, ...], total: float) -> None:
        if len(prefix) == length:
            found.append((total / (length + 1) ** penalty, prefix))
            return
        for token, log in enumerate(logits[prefix].log_softmax(-1).tolist()):
            if token == END:
                found.append(((total + log) / (len(prefix) + 1) ** penalty, prefix))
            else:
                visit((*prefix, token), total + log)

    visit((), 0.0)
    return sorted(found, reverse=True)


@pytest.mark.parametrize("make", [reader_of, carried_of])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_wide_beams_find_the_best_sequences(make, penalty: float, seed: int) -> None:
    logits = table(seed)
    found = beam_search(make(logits), torch.ones(1, 1, dtype=torch.int64), 4, 300, stop=END, penalty=penalty)
    best = everything(logits, 4, penalty)
    assert [f.tokens for f in found[:20]] == [tokens for _, tokens in best[:20]]
    assert [f.score for f in found[:20]] == pytest.approx([score for score, _ in best[:20]])


def test_a_search_that_stops_early_loses_nothing() -> None:
    for seed in range(30):
        logits = table(seed)
        short = beam_search(reader_of(logits), torch.ones(1, 1, dtype=torch.int64), 4, 2, stop=END)
        assert short == sorted(short, key=lambda f: -f.score)
        greedy = sample(reader_of(logits), torch.ones(1, 1, dtype=torch.int64), 4, Sampling(0), stop=END)[0]
        one = beam_search(reader_of(logits), torch.ones(1, 1, dtype=torch.int64), 4, 1, stop=END, penalty=0)
        best = everything(logits, 4, 0)[0][0]
        assert one[0].score <= best + 1e-12
        assert one[0].tokens == tuple(greedy) or one[0].score >= _sum(logits, greedy)


def _sum(logits: dict[tuple[int, ...], Tensor], tokens: list[int]) -> float:
    whole = [*tokens, END] if len(tokens) < 4 else tokens
    return sum(float(logits[tuple(whole[:i])].log_softmax(-1)[t]) for i, t in enumerate(whole))


def test_rows_end_by_themselves() -> None:
    steps = {0: [2, 3], 1: [2, END], 2: [1]}  # by step: what each open row draws

    class Fixed:
        at, rows = -1, 2

        def read(self, tokens: Tensor) -> Tensor:
            assert len(tokens) == self.rows
            self.at += 1
            return torch.nn.functional.one_hot(torch.tensor(steps[self.at]), VOCABULARY).double()

        def keep(self, rows: Tensor) -> None:
            self.rows = len(rows)

    made = sample(Fixed(), torch.ones(2, 1, dtype=torch.int64), 3, Sampling(0), stop=END)
    assert made == [[2, 2, 1], [3]]


def test_what_is_drawn_has_the_shares_of_the_softmax() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    g = torch.Generator().manual_seed(0)
    drawn = torch.cat([draw(logits.expand(2000, -1), Sampling(0.5), g) for _ in range(5)])
    shares = drawn.bincount(minlength=4) / len(drawn)
    torch.testing.assert_close(shares, (logits[0] / 0.5).softmax(-1), atol=0.015, rtol=0)


@pytest.mark.parametrize(
    ("how", "allowed"),
    [
        (Sampling(top_k=2), {2, 1}),
        (Sampling(top_k=9), {0, 1, 2, 3}),
        (Sampling(top_p=0.6), {2}),
        (Sampling(top_p=0.7), {2, 1}),
        (Sampling(top_p=1e-9), {2}),
        (Sampling(0), {2}),
    ],
)
def test_only_the_likeliest_are_drawn(how: Sampling, allowed: set[int]) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    assert math.isclose(float(logits.softmax(-1)[0, 2]), 0.644, abs_tol=1e-3)
    g = torch.Generator().manual_seed(0)
    assert set(draw(logits.expand(500, -1), how, g).tolist()) <= allowed
