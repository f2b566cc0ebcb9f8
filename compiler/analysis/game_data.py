"""What makes examples, against the data that it is trained on."""

from __future__ import annotations

from collections.abc import Iterator

from ..data_base import Nature
from ..data_sources import normalization, value_range
from ..diagnostics import Diagnostic, Label, Severity
from ..graph import Kind, Program, Ref
from ..ops.base import Interval
from ..source import Span
from ..task import find_task
from ..training_plan import TrainPlan
from .ranges import Ranges

_SLACK = 0.1  # of the data's width: so much beyond it is no other range


def misfits(plan: TrainPlan, program: Program) -> Iterator[Diagnostic]:
    """A warning (A0560) for every generator, and every output that restores an input, whose values are known to lie in
    another range than the data's: what it can't reach it never learns to make, and a discriminator tells the two apart
    by that alone."""
    makers = list(_makers(program))
    data = value_range(plan, program)
    first = program.graph[program.data_nodes()[0]].types[0] if makers else None
    if first is None or first.dtype != "float" or (data is None and normalization(plan) != "standard"):
        return
    found = Ranges().of(program.graph)
    for name, span, ref in makers:
        made = found[ref].interval
        if not (spreads(made) if data is None else fits(made, data)):
            yield _warning(plan, name, span, made, data)


def _makers(program: Program) -> Iterator[tuple[str, Span | None, Ref]]:
    """What makes something like the first input: its name, its place, and the value."""
    game, graph = program.game, program.graph
    if game is not None:
        first = graph[program.input_nodes()[0]].types[0]
        for pair in game.pairs:
            real, player = graph[pair.real.node], game.players[pair.generator]
            if real.kind is Kind.INPUT and real.types[0].rank == first.rank:
                yield player.name, player.span, pair.made
        return
    task = find_task(program)
    if task.reconstructs and not task.logits and task.target == 0:
        node = graph[graph.outputs[task.output]]
        yield node.name, node.span, graph.operands(graph.outputs[task.output])[0]


def spreads(made: Interval) -> bool:
    """Can it be data of mean 0 and deviation 1? Those lie on both sides of 0, at least 2 apart (Popoviciu, 1935)."""
    return made.lo < 0 < made.hi and made.hi - made.lo > 2


def fits(made: Interval, data: Interval) -> bool:
    """Can all data be made, and, where what is made has bounds on both sides, little else?"""
    slack = _SLACK * (data.hi - data.lo)
    reached = made.lo <= data.lo + slack and made.hi >= data.hi - slack
    beyond = made.lo < data.lo - slack or made.hi > data.hi + slack
    bounded = made.lo != float("-inf") and made.hi != float("inf")
    return reached and not (bounded and beyond)


def _warning(plan: TrainPlan, name: str, span: Span | None, made: Interval, data: Interval | None) -> Diagnostic:
    labels = tuple(Label(place, f"makes values in {made.text}") for place in [span] if place is not None)
    pictures = plan.data.nature is Nature.IMAGES
    fixes = [f"end `{name}` with `{_ENDS[data]}`"] if data in _ENDS else []
    fixes += [f"scale the data with `normalize {_SCALED[made]}`"] if made in _SCALED and pictures else []
    given = "values of mean 0 and deviation 1, which spread farther" if data is None else f"values in {data.text}"
    return Diagnostic(
        "A0560",
        f"`{name}` makes values in {made.text}, and `{plan.data.kind}` gives {given}",
        plan.place("normalize") or plan.place("data"),
        labels,
        help=", or ".join(fixes) or f"bring both to one range: let `{name}` end in a layer without bounds",
        severity=Severity.WARNING,
    )


_ENDS: dict[Interval | None, str] = {Interval(0, 1): "sigmoid", Interval(-1, 1): "tanh"}
"""What ends in these bounds."""

_SCALED = {Interval(0, 1): "none", Interval(-1, 1): "symmetric"}
"""What brings pictures into them."""
