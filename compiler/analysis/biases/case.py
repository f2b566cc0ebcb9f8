"""A claim on the bench: what a prover may ask, and how it answers."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...claims import Claim
from ...graph import Claimed, Graph, Kind, Program, Ref
from ...relations import Relation
from ..receptive import Receptive, is_batch
from ..views import View
from .findings import Caveat, Culprit, Finding, Verdict


@dataclass
class Case:
    """One claim about one graph."""

    program: Program
    graph: Graph
    claimed: Claimed
    receptive: Receptive

    @property
    def claim(self) -> Any:
        return self.claimed.claim

    @property
    def ref(self) -> Ref:
        """The value that it is claimed of."""
        assert self.claimed.ref is not None, "a claim about a program has no value"
        return self.claimed.ref

    @cached_property
    def view(self) -> View:
        """What the value sees of the graph's inputs."""
        return self.receptive.views(self.graph)[self.ref]

    @cached_property
    def seen(self) -> list[tuple[tuple[int, int], list[tuple[int | None, Relation]]]]:
        """The claimed axes on which the value depends, with what it sees of each: (the value's axis, or None when every
        element sees it, relation)."""
        found: dict[tuple[int, int], list[tuple[int | None, Relation]]] = {pair: [] for pair in self.axes}
        for (axis, *source), relation in self.view.relations.items():
            if (pair := (source[0], source[1])) in found:
                found[pair].append((axis, relation))
        return [(pair, seen) for pair, seen in found.items() if seen]

    @property
    def needed(self) -> Set[int]:
        """The steps that lead to the value, itself included."""
        return self.receptive.kept(_Needed).of(self.graph, self.ref.node)

    @cached_property
    def axes(self) -> tuple[tuple[int, int], ...]:
        """The axes that it is claimed over, as (position of the input, its axis). Without names: all that are places,
        or all but the batch when none is."""
        sources = [i for i, n in enumerate(self.graph.inputs) if self.graph[n].kind is Kind.INPUT]
        types = {i: self.graph[self.graph.inputs[i]].types[0] for i in sources}
        if self.claimed.axes:
            wanted = self.claimed.axes
            return tuple((i, a) for i in sources for a, name in enumerate(types[i].names) if name in wanted)
        pairs = [(i, a) for i in sources for a in range(types[i].rank) if not is_batch(self.graph, i, a)]
        places = [pair for pair in self.receptive.places(self.graph) if pair in pairs]
        return tuple(places or pairs)

    @cached_property
    def axis_names(self) -> tuple[str, ...]:
        named = (self.axis_name(*pair) for pair in self.axes)
        return self.claimed.axes or tuple(dict.fromkeys(named))

    def axis_name(self, source: int, axis: int) -> str:
        """What an input's axis is called: `T`, or `axis 1` where it has no name."""
        return self.graph[self.graph.inputs[source]].types[0].names[axis] or f"axis {axis}"

    def input_name(self, source: int) -> str:
        return self.graph[self.graph.inputs[source]].name

    def finding(
        self,
        verdict: Verdict,
        message: str,
        *,
        caveats: tuple[Caveat, ...] = (),
        culprit: Culprit | None = None,
        help: str | None = None,
        figures: dict[str, Any] | None = None,
    ) -> Finding:
        if verdict is Verdict.UNKNOWN and self.claimed.assumed:
            verdict = Verdict.ASSUMED
        about_axes = self.claim.about == "axes"
        return Finding(
            self.graph.name,
            self.claim,
            verdict,
            message,
            self.claimed.value,
            self.claimed.ref,
            self.axes if about_axes else (),
            self.axis_names if about_axes else (),
            caveats,
            culprit,
            help,
            figures or {},
            self.claimed.span,
        )

    def proved(self, message: str, *caveats: Caveat, **figures: Any) -> Finding:
        return self.finding(Verdict.PROVED, message, caveats=caveats, figures=figures)


class _Needed:
    """Which steps lead to a value; asked for again by every claim about it."""

    def __init__(self) -> None:
        self._done: dict[tuple[int, int], tuple[Graph, Set[int]]] = {}

    def of(self, graph: Graph, number: int) -> Set[int]:
        key = id(graph), number
        if key not in self._done:
            self._done[key] = graph, graph.needed([number])
        return self._done[key][1]


Prover = Callable[[Case], Finding]
PROVERS: dict[type[Claim], Prover] = {}
"""What proves each kind of claim."""


def prover(kind: type[Claim]) -> Callable[[Prover], Prover]:
    """Registers the prover of a kind of claim."""

    def register(function: Prover) -> Prover:
        PROVERS[kind] = function
        return function

    return register
