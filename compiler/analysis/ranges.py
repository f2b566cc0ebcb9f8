"""Bounds on values: intervals, sent through the ops (interval analysis; R. E. Moore, "Interval Analysis", 1966).

An input and a weight may hold anything. What an op makes of bounds it says itself (`Op.bounds`). A block is worked
through once for each combination of bounds that it is called with, up to a few; then for operands that may be anything.

The states of a cell have bounds that hold at every step: those of their starts, widened until what a step makes of them
lies inside (P. and R. Cousot, "Abstract interpretation", 1977). A mean of two values, weighed by a gate and by what it
leaves (`(1 - z) * n + z * h`), lies between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isnan

from ..graph import Graph, Kind, Node, Ref
from ..ops.base import ANY, Interval
from ..types import TensorType

_MOST_CONTEXTS = 8  # of one block: the bounds of deep stacks soon settle, or never do
_ROUNDS = 3  # steps of a cell after which bounds that still grow are taken to grow for ever
_TRUTH, _ZERO = Interval(0, 1), Interval(0, 0)

Bounds = dict[Ref, Interval]


class Ranges:
    """Bounds on the values of graphs."""

    def __init__(self) -> None:
        self._done: dict[tuple[int, tuple[Interval, ...]], tuple[Graph, Bounds]] = {}
        self._contexts: dict[int, int] = {}
        self._entered: dict[tuple[int, tuple[Interval, ...]], tuple[Graph, list[Interval]]] = {}

    def of(self, graph: Graph, inputs: Sequence[Interval] | None = None) -> Bounds:
        """Bounds on every element of every value of a graph, given those of its inputs (anything, when left out)."""
        free = tuple(_any(graph[n].types[0]) for n in graph.inputs)
        given = free if inputs is None else tuple(map(_both, inputs, free))
        if (id(graph), given) not in self._done:
            self._contexts[id(graph)] = self._contexts.get(id(graph), 0) + 1
            if self._contexts[id(graph)] > _MOST_CONTEXTS and given != free:
                return self.of(graph)
            self._done[id(graph), given] = graph, self._work_through(graph, given)
        return self._done[id(graph), given][1]

    def entering(self, node: Node, operands: Sequence[Interval]) -> list[Interval]:
        """Bounds on the inputs of the graph that a node runs, at every step, given those of its operands."""
        assert node.graph is not None
        if node.scan is None:
            return list(operands)
        graph, count = node.graph, len(node.scan.axes)
        given = [*operands[:count], *[_ZERO] * len(node.scan.starts)]
        for at, bounds in zip(node.scan.entries, operands, strict=True):
            if at is not None:
                given[at] = bounds
        key = id(graph), tuple(given)
        if key not in self._entered:
            self._entered[key] = graph, self._settled(graph, given, count)
        return self._entered[key][1]

    def _settled(self, graph: Graph, given: list[Interval], count: int) -> list[Interval]:
        """Bounds of a cell's inputs, states included, that every step keeps."""
        if not self._among_few(graph):
            return [*given[:count], *[ANY] * len(graph.states)]
        inputs = list(given)
        for turn in range(_ROUNDS + 2 * len(graph.states) + 1):
            found = self._work_through(graph, tuple(inputs))
            after = [found[Ref(o)] for o in graph.outputs[len(graph.outputs) - len(graph.states) :]]
            wider = [*inputs[:count], *map(_hull, inputs[count:], after)]
            if wider == inputs:
                break
            inputs = wider if turn < _ROUNDS else [_widened(a, b) for a, b in zip(inputs, wider, strict=True)]
        return inputs

    def _among_few(self, graph: Graph) -> bool:
        return self._contexts.get(id(graph), 0) <= _MOST_CONTEXTS

    def _work_through(self, graph: Graph, inputs: tuple[Interval, ...]) -> Bounds:
        found: Bounds = {Ref(number): given for number, given in zip(graph.inputs, inputs, strict=True)}
        for number in graph.order():
            node = graph[number]
            operands = [found[ref] for ref in graph.operands(number)]
            if node.graph is not None:
                results = self._called(node, operands)
            elif node.kind is Kind.OP and node.op is not None:
                results = list(node.op.bounds(tuple(operands[: len(graph.operand_types(number))])))
                if node.op.name == "add":
                    results[0] = _both(results[0], _mean(graph, number, found))
            else:
                results = operands
            for i, t in enumerate(node.types):
                bounds = results[i] if i < len(results) else ANY
                found.setdefault(Ref(number, i), _both(bounds, _any(t)))
        return found

    def _called(self, node: Node, operands: Sequence[Interval]) -> list[Interval]:
        graph = node.graph
        assert graph is not None
        entering = self.entering(node, operands)
        inner = self.of(graph, entering)
        results = [inner[Ref(output)] for output in graph.outputs]
        if node.scan is None:
            return results
        first = len(results) - len(graph.states)
        stacked = [_hull(bounds, _ZERO) for bounds in results[:first]] if node.scan.masked else results[:first]
        return [*stacked, *entering[len(node.scan.axes) :]]


def _mean(graph: Graph, number: int, found: Mapping[Ref, Interval]) -> Interval:
    """Bounds on a sum of two values weighed by one in [0, 1] and by what that leaves; anything for other sums."""
    factors = []
    for ref in graph.operands(number):
        op = graph[ref.node].op
        factors.append(graph.operands(ref.node) if op is not None and op.name == "mul" else [])
    if len(factors) != 2 or any(len(pair) != 2 for pair in factors):
        return ANY
    for i, weight in enumerate(factors[0]):
        for j, other in enumerate(factors[1]):
            gate = weight if _leaves(graph, other, weight) else other if _leaves(graph, weight, other) else None
            if gate is not None and found[gate].lo >= 0 and found[gate].hi <= 1:
                return _hull(found[factors[0][1 - i]], found[factors[1][1 - j]])
    return ANY


def _leaves(graph: Graph, ref: Ref, other: Ref) -> bool:
    """Is a value what another leaves of one, `1 - other`?"""
    op = graph[ref.node].op
    if op is None or op.name != "sub":
        return False
    one, taken = graph.operands(ref.node)
    whole = graph[one.node].op
    return taken == other and whole is not None and whole.name == "scalar" and whole.as_dict().get("value") == 1


def _any(t: TensorType) -> Interval:
    return _TRUTH if t.dtype == "bool" else ANY


def _hull(one: Interval, other: Interval) -> Interval:
    return Interval(min(one.lo, other.lo), max(one.hi, other.hi))


def _widened(before: Interval, after: Interval) -> Interval:
    """A bound that still moves has no end."""
    return Interval(-inf if after.lo < before.lo else before.lo, inf if after.hi > before.hi else before.hi)


def _both(one: Interval, other: Interval) -> Interval:
    """The bounds that hold when both do; a bound that is no number says nothing."""
    lo, hi = (-inf if isnan(one.lo) else one.lo), (inf if isnan(one.hi) else one.hi)
    return Interval(max(lo, other.lo), min(hi, other.hi))
