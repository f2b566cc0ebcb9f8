"""A game against the data that it is trained on."""

from __future__ import annotations

from collections.abc import Iterator

from ..data_sources import value_range
from ..diagnostics import Diagnostic, Label, Severity
from ..game import Pair
from ..graph import Kind, Program
from ..ops.base import Interval
from ..training_plan import TrainPlan
from .ranges import Ranges

_SLACK = 0.1  # of the data's width: so much beyond it is no other range


def misfits(plan: TrainPlan, program: Program) -> Iterator[Diagnostic]:
    """A warning (A0560) for every generator whose values are known to lie in another range than the data's: its
    discriminator tells the two apart by that, and what it can't reach it never learns to make."""
    game, graph = program.game, program.graph
    data = value_range(plan, program)
    if game is None or data is None:
        return
    first = graph[program.input_nodes()[0]].types[0]
    found = Ranges().of(graph)
    for pair in game.pairs:
        real, made = graph[pair.real.node], found[pair.made].interval
        alike = real.kind is Kind.INPUT and real.types[0].rank == first.rank
        if alike and not fits(made, data):
            yield _warning(plan, program, pair, made, data)


def fits(made: Interval, data: Interval) -> bool:
    """Can all data be made, and, where what is made has bounds on both sides, little else?"""
    slack = _SLACK * (data.hi - data.lo)
    reached = made.lo <= data.lo + slack and made.hi >= data.hi - slack
    beyond = made.lo < data.lo - slack or made.hi > data.hi + slack
    bounded = made.lo != float("-inf") and made.hi != float("inf")
    return reached and not (bounded and beyond)


def _warning(plan: TrainPlan, program: Program, pair: Pair, made: Interval, data: Interval) -> Diagnostic:
    assert program.game is not None
    player = program.game.players[pair.generator]
    said, given = _interval(made), _interval(data)
    labels = tuple(Label(span, f"makes values in {said}") for span in [player.span] if span is not None)
    fixes = [f"end `{player.name}` with `{_ENDS[data]}`"] if data in _ENDS else []
    fixes += [f"scale the data with `normalize {_SCALED[made]}`"] if made in _SCALED else []
    return Diagnostic(
        "A0560",
        f"`{player.name}` makes values in {said}, and `{plan.data.kind}` gives values in {given}",
        plan.place("data"),
        labels,
        help=", or ".join(fixes) or "bring both to one range",
        severity=Severity.WARNING,
    )


_ENDS = {Interval(0, 1): "sigmoid", Interval(-1, 1): "tanh"}
"""What ends in these bounds."""

_SCALED = {Interval(0, 1): "none", Interval(-1, 1): "symmetric"}
"""What brings pictures into them."""


def _interval(bounds: Interval) -> str:
    lo, hi = (f"{end:g}".replace("inf", "∞") for end in bounds)
    return f"{'(' if lo == '-∞' else '['}{lo}, {hi}{')' if hi == '∞' else ']'}"
