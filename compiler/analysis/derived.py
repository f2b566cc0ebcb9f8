"""Figures that follow from a graph's structure: where a value's places lie, the bottleneck before it, the shortest path
of its gradient, the path closest to the identity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from ..graph import Graph, Kind, Ref
from ..relations import Exact, Relation, Sees
from .cut import Cut, Cutter, members_as_json
from .paths import ACTIVATION, FACTOR, POOLING, PROJECTION, Step, Ways, gradient_ways, identity_ways
from .receptive import Reach, Receptive, relations_along
from .views import whole

Number = int | float


def centre(relation: Relation) -> Exact:
    """The middle of the window that the first place of a value sees, in positions of the input; place o has it `o`
    strides further."""
    return Fraction(relation.lo + relation.hi) / 2


def plain(exact: Exact) -> Number:
    """An exact number for programs: whole, or else a float."""
    return int(exact) if Fraction(exact).denominator == 1 else float(exact)


@dataclass(frozen=True)
class Resolution:
    """Values whose neighbouring places are `stride` positions of the input apart, and the most that one place sees."""

    stride: Exact
    sees: Reach

    def __str__(self) -> str:
        return f"stride {self.stride} sees {self.sees}"


class Derived:
    """The figures of one graph, each found when it is asked for."""

    def __init__(self, graph: Graph, receptive: Receptive | None = None) -> None:
        self.graph = graph
        self.receptive = receptive or Receptive()
        self._cuts: dict[Ref, Cut] = {}

    @cached_property
    def _cutter(self) -> Cutter:
        return Cutter()

    @cached_property
    def _gradients(self) -> Ways:
        return gradient_ways()

    @cached_property
    def _identities(self) -> Ways:
        return identity_ways()

    def bottleneck(self, ref: Ref) -> Cut:
        """The minimum cut between the inputs and a value, for one example of the nominal size."""
        if ref not in self._cuts:
            self._cuts[ref] = self._cutter.cut(self.graph, ref)
        return self._cuts[ref]

    def gradient_path(self, ref: Ref) -> list[Step] | None:
        """The layers with a weight matrix on the path to a value, from an input, that has the fewest; None where no
        gradient flows."""
        way = self._gradients.to(self.graph, ref)
        return None if way is None else way.steps()

    def identity_path(self, ref: Ref) -> list[Step] | None:
        """What lies on the path to a value that is closest to the identity: layers with weights, and steps that let the
        gradient through in part; None where no path is the identity but for these."""
        way = self._identities.to(self.graph, ref)
        return None if way is None or way.cost[0] else way.steps()

    def projections(self, ref: Ref) -> int | None:
        """Layers with weights on the identity path to a value; None where there is no such path."""
        path = self.identity_path(ref)
        return None if path is None else sum(step.what == PROJECTION for step in path)

    def centres(self, ref: Ref, axis: str | None = None) -> list[Exact]:
        """The centre of the first place of a value: each number once, over the axes along which it sees a window."""
        found = relations_along(self.graph, ref, axis, self.receptive)
        return sorted({centre(relation) for _, _, relation in found if relation.sees is Sees.WINDOW})

    def resolutions(self, ref: Ref) -> list[Resolution]:
        """The strides of the values that lead to a value in the graph's own body, along the first axis that is places,
        from fine to coarse."""
        axes = [pair for pair in self.receptive.places(self.graph) if self._is_input(pair[0])]
        if not axes:
            return []
        widest: dict[Exact, int] = {}
        views = self.receptive.views(self.graph)
        for number in self.graph.needed([ref.node]):
            for result in range(len(self.graph[number].types)):
                relation = whole(views[Ref(number, result)], *axes[0])
                if relation is not None and relation.width is not None:
                    widest[relation.stride] = max(relation.width, widest.get(relation.stride, 0))
        return [Resolution(stride, sees) for stride, sees in sorted(widest.items())]

    def _is_input(self, at: int) -> bool:
        return self.graph[self.graph.inputs[at]].kind is Kind.INPUT

    def as_json(self, ref: Ref) -> dict[str, Any]:
        """All of a value, for programs."""
        cut, gradient, identity = self.bottleneck(ref), self.gradient_path(ref), self.identity_path(ref)
        return {
            "bottleneck": {"elements": cut.elements, "cut": members_as_json(cut.members)},
            "gradient_path": None if gradient is None else {"layers": len(gradient), "steps": _paths(gradient)},
            "identity_path": None
            if identity is None
            else {
                "projections": _paths(identity, PROJECTION),
                "through": _paths(identity, ACTIVATION, POOLING, FACTOR),
            },
            "resolutions": [{"stride": plain(r.stride), "sees": r.sees} for r in self.resolutions(ref)],
        }


def _paths(steps: Iterable[Step], *kinds: str) -> list[str]:
    return [step.path for step in steps if not kinds or step.what in kinds]
