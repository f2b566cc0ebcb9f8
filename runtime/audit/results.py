"""What the audit of a claim ends in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from archlang.compiler.analysis.biases.findings import Finding, Verdict
from archlang.compiler.diagnostics import Diagnostic
from torch import Tensor

TOLERANCE = 1e-9
"""How far two values may lie apart, as a part of the largest magnitude in them: what rounding in float64 leaves."""


class Outcome(StrEnum):
    """`UNTESTED` is no success: the note says why nothing could be measured."""

    AGREES = "agrees"
    CONTRADICTED = "contradicted"
    UNTESTED = "untested"


class Untestable(Exception):
    """A claim can't be measured: its text says why."""


class Costly(Untestable):
    """A test would take more than the budget."""


@dataclass(frozen=True)
class Measured:
    """One measurement: the worst error, relative to the largest magnitude, and the index of the value where it is; what
    else there is to say. tight: of footprints, is the one measured as wide as the one proved?"""

    outcome: Outcome
    error: float | None = None
    place: tuple[int, ...] | None = None
    note: str = ""
    tight: bool | None = None
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A claim, what was proved of it, and what the numbers say. Fields as in `Measured`."""

    finding: Finding
    outcome: Outcome
    seeds: tuple[int, ...]
    error: float | None = None
    place: tuple[int, ...] | None = None
    note: str = ""
    tight: bool | None = None
    tolerance: float = TOLERANCE
    figures: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """A plain mapping for programs."""
        finding = self.finding
        return {
            "graph": finding.graph,
            "claim": str(finding),
            "verdict": str(finding.verdict),
            "outcome": str(self.outcome),
            "error": self.error,
            "place": None if self.place is None else list(self.place),
            "tolerance": self.tolerance,
            "seeds": list(self.seeds),
            "tight": self.tight,
            "note": self.note,
            "figures": self.figures,
        }

    def diagnostic(self) -> Diagnostic | None:
        """A1311 a proof that the numbers contradict, A1312 an assumption that they do."""
        if self.outcome is not Outcome.CONTRADICTED:
            return None
        seen = self.note or f"the values differ by {self.error:.1e} at {list(self.place or ())}"
        finding = self.finding
        if finding.verdict is Verdict.ASSUMED:
            text = f"{finding} is assumed, and the numbers contradict it: {seen}"
            return Diagnostic(
                "A1312", text, finding.span, help="take the claim back, or change the layers that break it"
            )
        text = f"the compiler proved {finding}, and the numbers contradict it: {seen}; this is a bug in archlang"
        help = f"please report it with the spec, and the seeds {', '.join(map(str, self.seeds))}"
        return Diagnostic("A1311", text, finding.span, help=help)


def compare(left: Tensor, right: Tensor, scale: float | None = None) -> Measured:
    """Are two values equal up to rounding? scale: the magnitude that the error is a part of; else theirs."""
    if left.numel() == 0:
        raise Untestable("no place of the value lies far enough from the borders")
    scale = float(max(left.abs().max(), right.abs().max())) if scale is None else scale
    if not scale < float("inf"):
        raise Untestable("the values are not finite")
    apart = (left - right).abs()
    worst = int(apart.argmax())
    place = []
    for size in reversed(apart.shape):
        place.append(worst % size)
        worst //= size
    error = float(apart.max()) / scale if scale else 0.0
    outcome = Outcome.AGREES if error <= TOLERANCE else Outcome.CONTRADICTED
    return Measured(outcome, error, tuple(reversed(place)))


def worst(found: list[Measured]) -> Measured:
    """Several measurements as one: contradicted if any is, untested if any is, else with the largest error."""
    if not found:
        raise Untestable("there is nothing to measure")
    order = (Outcome.CONTRADICTED, Outcome.UNTESTED, Outcome.AGREES)
    first = min(found, key=lambda m: (order.index(m.outcome), -(m.error or 0.0)))
    tight = [m.tight for m in found if m.tight is not None]
    figures = {key: value for m in found for key, value in m.figures.items()}
    notes = [m.note for m in found if m.note and m.outcome is first.outcome]
    note = "; ".join(dict.fromkeys(notes))
    return replace(first, tight=all(tight) if tight else None, figures=figures, note=note)
