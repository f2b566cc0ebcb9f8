"""Inductive biases, proved: every claim of a program with its verdict.

Definitions, rules of composition and why they are sound: docs/biases.md.
"""

from __future__ import annotations

from ...diagnostics import Diagnostic, Label, Severity
from ...graph import Graph, Program
from ..receptive import Receptive
from .case import PROVERS, Case
from .findings import Caveat, Culprit, Finding, Verdict

__all__ = ["Caveat", "Culprit", "Finding", "Verdict", "claiming", "diagnostics", "prove"]


def prove(program: Program, receptive: Receptive | None = None) -> list[Finding]:
    """A finding for each claim of the network, its entries and all blocks that they use. `receptive` may know some of
    the blocks already."""
    graphs = claiming(program)
    if not graphs:
        return []
    from . import context, flow, latents, order, sharing, space, time  # noqa: F401  (they register their provers)

    receptive = receptive or Receptive()
    return [
        PROVERS[type(claimed.claim)](Case(program, graph, claimed, receptive))
        for graph in graphs
        for claimed in graph.claims
    ]


def claiming(program: Program) -> list[Graph]:
    """The graphs that claim something; one of those that differ in plain numbers."""
    found: dict[int, Graph] = {}
    for start in (program.graph, *program.entries.values()):
        found |= {id(graph.structure): graph for graph in start.graphs() if graph.claims}
    return list(found.values())


def diagnostics(findings: list[Finding]) -> list[Diagnostic]:
    """What a file is told of its claims: A1301 one is refuted, A1302 one can't be decided, A1305 (a note) one is
    assumed. What several configurations or uses of a block find alike is said once."""
    said: dict[tuple[object, str], Diagnostic] = {}
    for finding in findings:
        diagnostic = _diagnostic(finding)
        if diagnostic is not None:
            said.setdefault((finding.span, diagnostic.message), diagnostic)
    return list(said.values())


def _diagnostic(finding: Finding) -> Diagnostic | None:
    if finding.verdict is Verdict.PROVED:
        return None
    code, what, severity = {
        Verdict.REFUTED: ("A1301", "does not hold", Severity.ERROR),
        Verdict.UNKNOWN: ("A1302", "can't be decided", Severity.ERROR),
        Verdict.ASSUMED: ("A1305", "is assumed, not proved", Severity.NOTE),
    }[finding.verdict]
    culprit = finding.culprit
    labels = [Label(culprit.span, culprit.what)] if culprit is not None and culprit.span is not None else []
    if culprit is not None and culprit.call is not None:
        labels.append(Label(culprit.call, f"which leads to `{culprit.path}`"))
    help = finding.help if finding.verdict is not Verdict.ASSUMED else None
    return Diagnostic(
        code, f"{finding} {what}: {finding.message}", finding.span, tuple(labels), help=help, severity=severity
    )
