"""Bounds on values: intervals, sent through the ops (interval analysis; R. E. Moore, "Interval Analysis", 1966).

An input and a weight may hold anything. What an op makes of bounds it says itself (`Op.bounds`). A block is worked
through once for each combination of bounds that it is called with, up to a few; then for operands that may be anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan

from ..graph import Graph, Kind, Ref
from ..ops.base import ANY, Interval
from ..types import TensorType

_MOST_CONTEXTS = 8  # of one block: the bounds of deep stacks soon settle, or never do
_TRUTH = Interval(0, 1)


class Ranges:
    """Bounds on the values of graphs."""

    def __init__(self) -> None:
        self._done: dict[tuple[int, tuple[Interval, ...]], tuple[Graph, dict[Ref, Interval]]] = {}
        self._contexts: dict[int, int] = {}

    def of(self, graph: Graph, inputs: Sequence[Interval] | None = None) -> dict[Ref, Interval]:
        """Bounds on every element of every value of a graph, given those of its inputs (anything, when left out)."""
        free = tuple(_any(graph[n].types[0]) for n in graph.inputs)
        given = free if inputs is None else tuple(map(_both, inputs, free))
        if (id(graph), given) not in self._done:
            self._contexts[id(graph)] = self._contexts.get(id(graph), 0) + 1
            if self._contexts[id(graph)] > _MOST_CONTEXTS and given != free:
                return self.of(graph)
            self._done[id(graph), given] = graph, self._work_through(graph, given)
        return self._done[id(graph), given][1]

    def _work_through(self, graph: Graph, inputs: tuple[Interval, ...]) -> dict[Ref, Interval]:
        found: dict[Ref, Interval] = {Ref(number): given for number, given in zip(graph.inputs, inputs, strict=True)}
        for number in graph.order():
            node = graph[number]
            operands = [found[ref] for ref in graph.operands(number)]
            if node.kind is Kind.CALL and node.graph is not None:
                inner = self.of(node.graph, operands)
                results = [inner[Ref(output)] for output in node.graph.outputs]
            elif node.kind is Kind.OP and node.op is not None:
                results = list(node.op.bounds(tuple(operands[: len(graph.operand_types(number))])))
            else:
                results = operands
            for i, t in enumerate(node.types):
                bounds = results[i] if i < len(results) else ANY
                found.setdefault(Ref(number, i), _both(bounds, _any(t)))
        return found


def _any(t: TensorType) -> Interval:
    return _TRUTH if t.dtype == "bool" else ANY


def _both(one: Interval, other: Interval) -> Interval:
    """The bounds that hold when both do; a bound that is no number says nothing."""
    lo, hi = (-inf if isnan(one.lo) else one.lo), (inf if isnan(one.hi) else one.hi)
    return Interval(max(lo, other.lo), min(hi, other.hi))
