"""What a proof ends in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ...claims import Claim
from ...diagnostics import place_of
from ...graph import Ref
from ...source import Span


class Verdict(StrEnum):
    """PROVED may come with caveats. ASSUMED is what is UNKNOWN and the author vouches for."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class Caveat:
    """A condition under which a proof holds. `name` is one of a few (`CAVEATS`), `text` says where it comes from."""

    name: str
    text: str
    span: Span | None = None


CAVEATS = {
    "zero padding": "padding at the border is no data: the claim holds for places whose window lies inside",
    "stride": "only moves by a multiple of the stride are followed",
    "batch statistics": "in training, a norm takes statistics over the batch and all positions, in a cell of a step",
    "global statistics": "a global reduction joins in: exact where what enters the axis equals what leaves it",
    "activation on the path": "the path passes through an activation, which lets the gradient through in part",
    "pooling on the path": "the path passes through a pooling or resampling, which mixes neighbours",
    "constant factor on the path": "the path is scaled by a constant",
}
"""Every caveat, and what it means."""


@dataclass(frozen=True)
class Culprit:
    """The first step that breaks a claim: labels of the blocks it stands in and its own, its place, what it does. call:
    where it stands in a block, the call that leads there from the graph that makes the claim."""

    path: str
    what: str
    span: Span | None
    call: Span | None = None


@dataclass(frozen=True)
class Finding:
    """A claim with its verdict.

    graph: the block or network whose body makes the claim, about its own inputs. value, ref: what it is claimed of,
    None for claims about a whole program. axes: the axes of the inputs, as (position of the input in `graph.inputs`,
    its axis). message: one sentence, why. help: what would have to change. figures: numbers that the proof gives, for
    programs and for the audit: of claims over axes `windows`, a list with `input`, `axis`, `along` (the axis of the
    value that sees it), `sees`, `period`, `stride` and, for windows, `lo`, `hi`, `width`, fractions as text; `period`
    of moves, `stages` of a hierarchy, `layers` before a global context; `elements` and `cut` of a bottleneck;
    `projections` of a path.
    """

    graph: str
    claim: Claim
    verdict: Verdict
    message: str
    value: str | None = None
    ref: Ref | None = None
    axes: tuple[tuple[int, int], ...] = ()
    axis_names: tuple[str, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    culprit: Culprit | None = None
    help: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    span: Span | None = None

    def __str__(self) -> str:
        on = f" on {self.value}" if self.value else ""
        over = f" over {', '.join(self.axis_names)}" if self.axis_names else ""
        return f"{self.claim}{on}{over}"

    def as_json(self) -> dict[str, Any]:
        """A plain mapping for programs."""
        return {
            "graph": self.graph,
            "claim": self.claim.name,
            "settings": self.claim.as_dict(),
            "value": self.value,
            "axes": list(self.axis_names),
            "verdict": str(self.verdict),
            "message": self.message,
            "caveats": [{"name": c.name, "text": c.text} for c in self.caveats],
            "culprit": None if self.culprit is None else {"path": self.culprit.path, "what": self.culprit.what},
            "help": self.help,
            "figures": self.figures,
            "place": place_of(self.span),
        }


def distinct(findings: Iterable[Finding]) -> list[Finding]:
    """What several uses of a block find alike, once."""
    found: dict[tuple[object, ...], Finding] = {}
    for finding in findings:
        found.setdefault((finding.span, str(finding), finding.verdict, finding.message, finding.caveats), finding)
    return list(found.values())
