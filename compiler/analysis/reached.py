"""Which values reach the bounds that intervals give them: only these can refute a claim.

Interval analysis forgets that two values rest on the same one: log(1 + e^x) − max(0, x) lies in (0, log 2], and the
difference of their intervals is [−∞, ∞]. So every value is followed back to what is free: inputs, noise, and layers
whose weights can make any number of what enters. It reaches its bounds when all that it is made of does so at once:
where the parts share nothing, or all that they share drives them the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..graph import Graph, Kind, Layer, Ref
from ..ops.base import ANY, Glyph, Interval, Op
from .ranges import Bounds, Ranges
from .through_time import states_of

_RISING = frozenset({
    "sigmoid", "tanh", "relu", "relu6", "leaky_relu", "elu", "selu", "softplus", "hardsigmoid", "hardtanh", "identity",
    "exp", "erf", "clamp", "stop_gradient", "split",
})  # fmt: skip  # continuous, never falling, and with bounds that are exact
_DIPPING = frozenset({"silu", "swish", "gelu", "mish", "hardswish"})  # with bounds that are exact for any number
_FREE = frozenset({Glyph.CONV, Glyph.LINEAR, Glyph.EMBED, Glyph.NORM})
_MOVES = frozenset({Glyph.SHAPE, Glyph.DROPOUT, Glyph.POOL})
_EVERYTHING = -1  # as a set of bits


@dataclass(frozen=True, slots=True)
class Reach:
    """How a value comes about. Sets are bits, one for each thing that is free.

    known: does it reach its bounds, or come as close as one likes? It then reaches the upper one where all of `up` are
    at their tops and all of `down` at their bottoms, the lower one the other way round, and both, in ways of their own,
    by `mixed`. rests: all that it depends on."""

    known: bool = False
    up: int = 0
    down: int = 0
    mixed: int = 0
    rests: int = _EVERYTHING

    @property
    def driven(self) -> int:
        """What drives it to its bounds."""
        return self.up | self.down | self.mixed

    def turned(self) -> Reach:
        """Of its negative."""
        return replace(self, up=self.down, down=self.up)

    def bent(self) -> Reach:
        """Of what reaches its bounds where it likes."""
        return replace(self, up=0, down=0, mixed=self.driven)

    def agrees(self, other: Reach) -> bool:
        """Can both be at their upper bounds at once, and both at their lower ones?"""
        against = self.up & (other.down | other.mixed) | self.down & (other.up | other.mixed)
        crossed = self.driven & other.rests & ~other.driven and other.driven & self.rests & ~self.driven
        return not (against | self.mixed & other.driven) and not crossed

    def beside(self, other: Reach, known: bool) -> Reach:
        """Of what is made of both."""
        up, down = self.up | other.up, self.down | other.down
        mixed = self.mixed | other.mixed | up & down
        return Reach(known, up & ~mixed, down & ~mixed, mixed, self.rests | other.rests)


_CONSTANT, _FIXED = Reach(True, rests=0), Reach(False, rests=0)
Reaches = dict[Ref, Reach]


class Reached:
    """Which values of graphs reach their bounds. A block is worked through once for each combination of bounds, and of
    inputs that reach theirs."""

    def __init__(self, ranges: Ranges) -> None:
        self.ranges = ranges
        self._done: dict[tuple[int, int, tuple[int, ...]], tuple[Graph, Bounds, Reaches]] = {}
        self._bits: dict[tuple[object, ...], int] = {}

    def of(self, graph: Graph, bounds: Bounds, groups: Sequence[int] | None = None) -> Reaches:
        """For every value of a graph with these bounds. groups: what `groups` says of its inputs; left out, they are
        any numbers, and free of one another."""
        if groups is None:
            states = {at for at, _ in states_of(graph)}
            groups = [0 if i in states else i + 1 for i in range(len(graph.inputs))]
        key = id(graph), id(bounds), tuple(groups)
        if key not in self._done:
            self._done[key] = graph, bounds, self._work_through(graph, bounds, groups)
        return self._done[key][2]

    def groups(self, graph: Graph, number: int, bounds: Bounds, inner: Bounds, known: Reaches) -> tuple[int, ...]:
        """Of each input of the graph that a node runs: 0 where it may not reach its bounds, else the number of its
        group; negative in a group of several, which share what they are made of."""
        node, refs = graph[number], graph.operands(number)
        assert node.graph is not None
        states = {at for at, _ in states_of(node.graph)}
        found: list[int] = []
        for i, entry in enumerate(node.graph.inputs):
            reached = i not in states and known[refs[i]].known
            # a block that is called in too many ways has the bounds of any numbers
            same = reached and inner[Ref(entry)].interval == bounds[refs[i]].interval
            found.append(i + 1 if same else 0)
        for i in range(len(found)):
            for j in range(i):
                if found[i] and found[j] and known[refs[i]].rests & known[refs[j]].rests:
                    found[i], found[j] = -abs(found[j]), -abs(found[j])
        return tuple(found)

    def _bit(self, *what: object) -> int:
        return 1 << self._bits.setdefault(what, len(self._bits))

    def _work_through(self, graph: Graph, bounds: Bounds, groups: Sequence[int]) -> Reaches:
        found: Reaches = {}
        states = {graph.inputs[at] for at, _ in states_of(graph)}
        uses = Counter(graph[number].module for number in graph)
        for number in graph.order():
            node = graph[number]
            results: list[Reach] = []
            if number in states:  # at the first step, what it starts with
                results = [Reach(rests=self._bit("state", number))]
            elif node.kind in (Kind.INPUT, Kind.TARGET):
                results = [self._entered(groups[graph.inputs.index(number)])]
            elif node.graph is not None:
                results = self._called(graph, number, bounds, found, alone=uses[node.module] == 1)
            elif node.kind is Kind.WEIGHT:
                spec = graph.weight_at(node.weight or "")
                trained = spec is not None and spec.role == "param"
                results = [self._free("weight", node.weight)] if trained else []
            elif node.op is not None:
                results = [self._computed(graph, number, bounds, found, alone=uses[node.module] == 1)]
            else:
                results = [found[ref] for ref in graph.operands(number)]
            for i in range(len(node.types)):
                ref, result = Ref(number, i), results[min(i, len(results) - 1)] if results else Reach()
                found[ref] = _CONSTANT if bounds[ref].interval.lo == bounds[ref].interval.hi else result
        return found

    def _free(self, *what: object, rests: int = 0, alone: bool = True) -> Reach:
        """Of what can be any number of its bounds. alone: nothing else is made of the same."""
        bit = self._bit(*what)
        return Reach(True, up=bit if alone else 0, mixed=0 if alone else bit, rests=bit | rests)

    def _entered(self, group: int) -> Reach:
        return self._free("input", abs(group), alone=group > 0) if group else Reach()

    def _called(self, graph: Graph, number: int, bounds: Bounds, found: Reaches, *, alone: bool) -> list[Reach]:
        """Of the results of a block, whose weights count as one. What a scan gives is not known to reach anything, nor
        what weights of others make."""
        node, refs = graph[number], graph.operands(number)
        if node.graph is None or node.scan is not None or node.bindings:
            return []
        inner = self.ranges.of(node.graph, [bounds[ref] for ref in refs])
        groups = self.groups(graph, number, bounds, inner, found)
        within = self.of(node.graph, inner, groups)
        own = self._free("block", node.module or number, alone=alone)
        entered = [(self._entered(group), found[ref]) for group, ref in zip(groups, refs, strict=True) if group]
        return [_outside(within[Ref(output)], entered, own) for output in node.graph.outputs]

    def _computed(self, graph: Graph, number: int, bounds: Bounds, found: Reaches, *, alone: bool) -> Reach:
        """Of what an op makes."""
        node, refs = graph[number], graph.operands(number)
        op, operands = node.op, [found[ref] for ref in refs]
        assert op is not None
        rests = 0
        for operand in operands:
            rests |= operand.rests
        if op.glyph is Glyph.SAMPLE:
            exact = getattr(op, "distribution", "") in ("normal", "uniform")
            return self._free("noise", number) if exact else Reach(rests=self._bit("noise", number))
        if op.glyph in _FREE and op.weights(graph.operand_types(number)):
            return self._layer(graph, number, operands, rests, alone=alone)
        intervals = [bounds[ref].interval for ref in refs]
        result = bounds[Ref(number)].interval
        if not operands or result != op.bounds(tuple(intervals))[0]:
            return Reach(rests=rests)
        return replace(_made(op, operands, intervals, result), rests=rests)

    def _layer(self, graph: Graph, number: int, operands: list[Reach], rests: int, *, alone: bool) -> Reach:
        """Of a layer with weights, which can make any number of what is not always zero."""
        node = graph[number]
        module = graph.module_at(node.module or "")
        made = {spec.name for spec in module.made} if isinstance(module, Layer) else set()
        free = "bias" in made or (made and operands[0].known and operands[0] != _CONSTANT)
        bit = self._bit("layer", node.module)
        rests |= bit
        if node.replaced or not free:
            return Reach(rests=rests)
        return Reach(True, up=bit if alone else 0, mixed=0 if alone else bit, rests=rests)


def _made(op: Op, operands: list[Reach], intervals: list[Interval], result: Interval) -> Reach:
    """Of what an op without weights makes, whose bounds are those that it says itself."""
    first, unknown = operands[0], Reach()
    if op.name in _RISING or (op.glyph in _MOVES and result in (intervals[0], _with_zero(intervals[0]))):
        return first
    if op.name in _DIPPING and intervals[0] == ANY:
        return first.bent()
    if op.name == "neg":
        return first.turned()
    if op.glyph is Glyph.MERGE:
        return _joined(operands)
    if len(operands) != 2:
        return unknown
    second = operands[1]
    match op.name:
        case "add":
            return _sum(operands, intervals)
        case "sub":
            return _sum([first, second.turned()], intervals)
        case "mul" if _CONSTANT in (first, second):
            factor, other = (intervals[1].lo, first) if second == _CONSTANT else (intervals[0].lo, second)
            return other if factor > 0 else other.turned()
        case "mul" if first.known and second.known and first.bent().agrees(second.bent()):
            return first.bent().beside(second.bent(), known=True)
        case "div" if second == _CONSTANT and intervals[1].lo:
            return first if intervals[1].lo > 0 else first.turned()
    return unknown


def _sum(operands: list[Reach], intervals: list[Interval]) -> Reach:
    """Of a sum: where both parts reach their ends at once, or one is any number whatever the other is."""
    first, second = operands
    if first.known and second.known and first.agrees(second):
        return first.beside(second, known=True)
    for one, other, interval in ((first, second, intervals[0]), (second, first, intervals[1])):
        if one.known and interval == ANY and not one.driven & other.rests:
            return one
    return Reach()


def _joined(operands: list[Reach]) -> Reach:
    """Of parts beside each other: each end is that of one of them."""
    if not all(operand.known for operand in operands):
        return Reach()
    found = operands[0]
    for operand in operands[1:]:
        agree = found.agrees(operand)
        found = found.beside(operand, known=True)
        found = found if agree else found.bent()
    return found


def _with_zero(interval: Interval) -> Interval:
    return Interval(min(interval.lo, 0.0), max(interval.hi, 0.0))


def _outside(inner: Reach, entered: list[tuple[Reach, Reach]], own: Reach) -> Reach:
    """What a result of a block is made of, in terms of what enters: (an input, the operand that it is)."""
    found, left = Reach(inner.known, rests=0), _EVERYTHING
    for here, operand in entered:
        left &= ~here.rests
        driven = operand if inner.up & here.rests else operand.turned() if inner.down & here.rests else operand.bent()
        if inner.driven & here.rests:
            found = found.beside(driven, inner.known)
        if inner.rests & here.rests:
            found = replace(found, rests=found.rests | operand.rests)
    if inner.driven & left:
        down, mixed = inner.down & left, inner.mixed & left or (inner.up & left and inner.down & left)
        found = found.beside(own.bent() if mixed else own.turned() if down else own, inner.known)
    if inner.rests == _EVERYTHING:
        return replace(found, rests=_EVERYTHING)
    return replace(found, rests=found.rests | own.rests) if inner.rests & left else found
