"""Claims against the data that a network is trained on."""

from __future__ import annotations

from collections.abc import Iterator

from ...data_sources import SOURCES, Nature
from ...diagnostics import Diagnostic, Label, Severity
from ...graph import Program
from ...training_plan import TrainPlan
from .findings import Finding

_MEANING = {
    Nature.TABLE: (False, "the columns of a table, which stand in no order"),
    Nature.IMAGES: (True, "the rows and columns of pictures, where neighbours belong together"),
}
"""Of which data the order of positions is known to mean something or nothing, and of what."""


def contradictions(plan: TrainPlan, program: Program) -> Iterator[Diagnostic]:
    """A warning (A1306) for every claim of the network that supposes of an axis what its training data is not."""
    source = SOURCES[plan.data.kind]
    if source.nature not in _MEANING:
        return
    ordered, positions = _MEANING[source.nature]
    for finding in program.findings:
        supposed = finding.claim.order
        if supposed is None or supposed == ordered or finding.graph != program.graph.name:
            continue
        if source.nature is Nature.IMAGES and not _over_pixels(finding, program):
            continue
        span = finding.span
        labels = (Label(span, f"`{finding.claim.name}` supposes {_SUPPOSED[supposed]}"),) if span is not None else ()
        yield Diagnostic(
            "A1306",
            f"`{finding}` and the data contradict each other: `{source.kind}` gives {positions}",
            plan.place("data"),
            labels,
            help="a bias that the data does not have costs accuracy: drop it from the network, or train on other data",
            severity=Severity.WARNING,
        )


_SUPPOSED = {True: "that neighbours belong together", False: "that the order means nothing"}


def _over_pixels(finding: Finding, program: Program) -> bool:
    """Is it claimed over axes of an image, [B, C, H, W], that are its rows or columns?"""
    graph = program.graph
    return any(axis >= 2 and graph[graph.inputs[source]].types[0].rank == 4 for source, axis in finding.axes)
