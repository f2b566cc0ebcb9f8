"""Bounds on values: intervals, sent through the ops (interval analysis; R. E. Moore, "Interval Analysis", 1966).

An input and a weight may hold any number. What an op makes of bounds it says itself (`Op.bounds`). A block is worked
through once for each combination of bounds that it is called with, up to a few; then for operands that may be anything.

The states of a cell have bounds that hold at every step: those of their starts, widened until what a step makes of them
lies inside (P. and R. Cousot, "Abstract interpretation", 1977). A mean of two values, weighed by a gate and by what it
leaves (`(1 - z) * n + z * h`), lies between the two, and a share, `a / (a + b)`, in [0, 1] (`quotients`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isnan

from ..graph import Graph, Kind, Node, Ref
from ..ops.base import ANY, Interval
from ..types import TensorType
from .quotients import Range, is_positive, ranged, share, stays_finite

_MOST_CONTEXTS = 8  # of one block: the bounds of deep stacks soon settle, or never do
_ROUNDS = 3  # steps of a cell after which bounds that still grow are taken to grow for ever
_TRUTH, _ZERO = Interval(0, 1), ranged(Interval(0, 0))

Bounds = dict[Ref, Range]


class Ranges:
    """Bounds on the values of graphs."""

    def __init__(self) -> None:
        self._done: dict[tuple[int, tuple[Range, ...]], tuple[Graph, Bounds]] = {}
        self._contexts: dict[int, int] = {}
        self._entered: dict[tuple[int, tuple[Range, ...]], tuple[Graph, list[Range]]] = {}
        self._finite: dict[int, tuple[bool, ...]] = {}

    def of(self, graph: Graph, inputs: Sequence[Range] | None = None) -> Bounds:
        """Bounds on every element of every value of a graph, given those of its inputs. When left out, these are any
        numbers; of a block, whatever else it was called with before."""
        finite = self._finite.get(id(graph), (graph.kind in ("network", "entry"),) * len(graph.inputs))
        free = tuple(ranged(_any(graph[n].types[0]), known) for n, known in zip(graph.inputs, finite, strict=True))
        given = free
        if inputs is not None:
            given = tuple(r.both(ranged(f.interval)) for r, f in zip(inputs, free, strict=True))
            before = self._finite.get(id(graph), (True,) * len(given))
            self._finite[id(graph)] = tuple(r.finite and known for r, known in zip(given, before, strict=True))
        if (id(graph), given) not in self._done:
            self._contexts[id(graph)] = self._contexts.get(id(graph), 0) + 1
            loosened = tuple(Range(f.interval, r.finite) for r, f in zip(given, free, strict=True))
            if self._contexts[id(graph)] > _MOST_CONTEXTS and given != loosened:
                return self.of(graph, loosened)
            self._done[id(graph), given] = graph, self._work_through(graph, given)
        return self._done[id(graph), given][1]

    def entering(self, node: Node, operands: Sequence[Range]) -> list[Range]:
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

    def _settled(self, graph: Graph, given: list[Range], count: int) -> list[Range]:
        """Bounds of a cell's inputs, states included, that every step keeps."""
        if not self._among_few(graph):
            return [*given[:count], *[Range()] * len(graph.states)]
        inputs = list(given)
        for turn in range(_ROUNDS + 2 * len(graph.states) + 1):
            found = self._work_through(graph, tuple(inputs))
            after = [found[Ref(o)] for o in graph.outputs[len(graph.outputs) - len(graph.states) :]]
            wider = [*inputs[:count], *(before.either(now) for before, now in zip(inputs[count:], after, strict=True))]
            if wider == inputs:
                break
            inputs = wider if turn < _ROUNDS else [_widened(a, b) for a, b in zip(inputs, wider, strict=True)]
        return inputs

    def _among_few(self, graph: Graph) -> bool:
        return self._contexts.get(id(graph), 0) <= _MOST_CONTEXTS

    def _work_through(self, graph: Graph, inputs: tuple[Range, ...]) -> Bounds:
        found: Bounds = dict(zip(map(Ref, graph.inputs), inputs, strict=True))
        for number in graph.order():
            node = graph[number]
            operands = [found[ref] for ref in graph.operands(number)]
            if node.graph is not None:
                results = self._called(node, operands)
            elif node.kind is Kind.OP and node.op is not None:
                results = _computed(graph, number, found)
            elif node.kind is Kind.WEIGHT:
                spec = graph.weight_at(node.weight or "")
                results = [Range(finite=spec is not None and spec.tree is None)]
            else:
                results = operands
            for i, t in enumerate(node.types):
                bounds = results[i] if i < len(results) else Range()
                found.setdefault(Ref(number, i), bounds.both(ranged(_any(t))))
        return found

    def _called(self, node: Node, operands: Sequence[Range]) -> list[Range]:
        graph = node.graph
        assert graph is not None
        entering = self.entering(node, operands)
        inner = self.of(graph, entering)
        results = [inner[Ref(output)] for output in graph.outputs]
        if node.scan is None:
            return results
        first = len(results) - len(graph.states)
        stacked = [bounds.either(_ZERO) for bounds in results[:first]] if node.scan.masked else results[:first]
        return [*stacked, *entering[len(node.scan.axes) :]]


def _computed(graph: Graph, number: int, found: Bounds) -> list[Range]:
    """Bounds on the results of an op."""
    op = graph[number].op
    assert op is not None
    operands = [found[ref] for ref in graph.operands(number)]
    bounds = [_number(b) for b in op.bounds(tuple(r.interval for r in operands[: len(graph.operand_types(number))]))]
    if op.name == "add":
        bounds[0] = _meet(bounds[0], _mean(graph, number, found))
    elif op.name == "div":
        bounds[0] = _meet(bounds[0], share(graph, number, found))
    facts = stays_finite(op, operands), is_positive(op, operands)
    return [ranged(interval, *facts) for interval in bounds]


def _mean(graph: Graph, number: int, found: Mapping[Ref, Range]) -> Interval:
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
            if gate is not None and found[gate].interval.lo >= 0 and found[gate].interval.hi <= 1:
                return found[factors[0][1 - i]].either(found[factors[1][1 - j]]).interval
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


def _widened(before: Range, after: Range) -> Range:
    """A bound that still moves has no end."""
    (low, high), (lo, hi) = before.interval, after.interval
    return Range(Interval(-inf if lo < low else low, inf if hi > high else high), after.finite, after.positive)


def _number(bounds: Interval) -> Interval:
    """A bound that is no number says nothing."""
    return Interval(-inf if isnan(bounds.lo) else bounds.lo, inf if isnan(bounds.hi) else bounds.hi)


def _meet(one: Interval, other: Interval) -> Interval:
    return Interval(max(one.lo, other.lo), min(one.hi, other.hi))
