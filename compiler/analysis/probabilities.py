"""Losses of probabilities, against what is known of the numbers that they are given."""

from __future__ import annotations

from collections.abc import Iterator

from ..diagnostics import Diagnostic, Label, Severity
from ..graph import Program
from ..ops.losses import BCE
from .ranges import Ranges


def improbable(program: Program) -> Iterator[Diagnostic]:
    """A warning (A0562) for every `bce` whose prediction is not known to lie in [0, 1], where it alone is defined."""
    graph = program.graph
    losses = [number for number in graph if isinstance(graph[number].op, BCE)]
    found = Ranges().of(graph) if losses else None
    for number in losses:
        assert found is not None
        given = graph.operands(number)[0]
        bounds = found[given].interval
        if bounds.lo >= 0 and bounds.hi <= 1:
            continue
        labels = tuple(Label(span, f"makes values in {bounds.text}") for span in [graph[given.node].span] if span)
        yield Diagnostic(
            "A0562",
            f"`bce` takes probabilities, and its prediction may lie in {bounds.text}",
            graph[number].span,
            labels,
            help="put `sigmoid` before it; or give logits as they are to `bce_with_logits`, which loses no precision",
            severity=Severity.WARNING,
        )
