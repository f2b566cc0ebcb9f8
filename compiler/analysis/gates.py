"""Gates: factors that depend on the input and are proved to lie in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..graph import Graph, Kind, Node, Ref
from ..ops.base import Interval
from ..source import Span
from .labels import beneath, label
from .ranges import Bounds, Ranges
from .reached import Reached, Reaches
from .through_time import reached_goals, rounds, states_of

_PRODUCTS = frozenset({"mul", "einsum"})


class Dependence:
    """On which inputs the values of graphs depend, as positions in `graph.inputs`."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Graph, dict[Ref, frozenset[int]]]] = {}

    def of(self, graph: Graph) -> dict[Ref, frozenset[int]]:
        """For every value of a graph, the inputs that it depends on."""
        if id(graph.structure) not in self._done:
            self._done[id(graph.structure)] = graph, self._work_through(graph)
        return self._done[id(graph.structure)][1]

    def _work_through(self, graph: Graph) -> dict[Ref, frozenset[int]]:
        found: dict[Ref, frozenset[int]] = {}
        for number in graph.order():
            node = graph[number]
            operands = [found[ref] for ref in graph.operands(number)]
            everything = frozenset[int]().union(*operands)
            if node.kind in (Kind.INPUT, Kind.TARGET):
                everything = frozenset({graph.inputs.index(number)})
            for i in range(max(1, len(node.types))):
                found[Ref(number, i)] = everything
            if node.graph is not None:
                inner = self.of(node.graph)
                fed = self.fed(node, operands)
                mask = fed[len(node.graph.inputs) :]
                for i, output in enumerate(node.graph.outputs):
                    found[Ref(number, i)] = frozenset[int]().union(*mask, *(fed[at] for at in inner[Ref(output)]))
        return found

    def fed(self, node: Node, operands: list[frozenset[int]]) -> list[frozenset[int]]:
        """On what the inputs of the graph that a node runs depend, at any step, given that of its operands; of a scan
        also its mask, last."""
        graph = node.graph
        assert graph is not None
        if node.scan is None:
            return operands
        inner, states = self.of(graph), states_of(graph)

        def after(inputs: list[frozenset[int]]) -> list[frozenset[int]]:
            return [
                inputs[at].union(inputs[-1], *(inputs[source] for source in inner[following]))
                for at, following in states
            ]

        return rounds(node, operands, frozenset[int](), after)


@dataclass(frozen=True)
class Product:
    """A product of two values that depend on an input. path: labels of the blocks it stands in and its own; factor,
    other: what they are called; bounds: those proved of the factor; certain: does it reach them? call: where it
    stands in a block, the call that leads there."""

    path: str
    factor: str
    other: str
    bounds: Interval
    certain: bool
    span: Span | None
    call: Span | None = None

    @property
    def gates(self) -> bool:
        """Is the factor a gate?"""
        return self.bounds.lo >= 0 and self.bounds.hi <= 1

    @property
    def merit(self) -> tuple[bool, bool, float]:
        """How far from a gate: what may be one after all comes before what is none, and narrow bounds before wide."""
        return not self.gates, self.certain, self.bounds.hi - self.bounds.lo


class Gates:
    """Looks for products on the way to a value. A block is searched once for each combination of bounds that it is
    called with, of operands that depend on an input, and of those that reach their bounds."""

    def __init__(self) -> None:
        self._ranges, self._depends = Ranges(), Dependence()
        self._reached = Reached(self._ranges)
        self._done: dict[tuple[int, frozenset[Ref], frozenset[int], int], Product | None] = {}

    def on_the_way(self, graph: Graph, ref: Ref) -> Product | None:
        """The first gate on the way to a value; where there is none, the product that is closest to one."""
        inputs = frozenset(graph.inputs.index(n) for n in graph.data_inputs)
        ranges = self._ranges.of(graph)
        return self._best(graph, frozenset({ref}), ranges, inputs, self._reached.of(graph, ranges))

    def _best(
        self, graph: Graph, goals: frozenset[Ref], ranges: Bounds, live: frozenset[int], reached: Reaches
    ) -> Product | None:
        key = id(ranges), goals, live, id(reached)
        if key not in self._done:
            best: Product | None = None
            for product in self._products(graph, goals, ranges, live, reached):
                if best is None or product.merit < best.merit:
                    best = product
                if product.gates:
                    break
            self._done[key] = best
        return self._done[key]

    def _products(
        self, graph: Graph, goals: frozenset[Ref], ranges: Bounds, live: frozenset[int], reached: Reaches
    ) -> Iterator[Product]:
        depends = self._depends.of(graph)
        needed = graph.needed([goal.node for goal in goals])
        used = goals.union(*(graph.operands(number) for number in needed))
        for number in graph.order():
            node = graph[number]
            if number not in needed:
                continue
            refs = graph.operands(number)
            known = [bool(depends[ref] & live) for ref in refs]
            if node.graph is not None:
                outputs = {Ref(output) for i, output in enumerate(node.graph.outputs) if Ref(number, i) in used}
                if node.scan is not None:
                    outputs = reached_goals(node.graph, outputs)
                inner = self._ranges.of(node.graph, self._ranges.entering(node, [ranges[ref] for ref in refs]))
                entering = self._depends.fed(node, [depends[ref] & live for ref in refs])
                fed = frozenset(i for i in range(len(node.graph.inputs)) if entering[i])
                within = self._reached.of(
                    node.graph, inner, self._reached.groups(graph, number, ranges, inner, reached)
                )
                found = self._best(node.graph, frozenset(outputs), inner, fed, within) if outputs and fed else None
                if found is not None:
                    yield replace(found, path=beneath(label(graph, number), found.path), call=node.span)
            elif node.op is not None and node.op.name == "glu" and all(known):
                names = f"sigmoid of one half of `{_name(graph, refs[0])}`", "the other half"
                yield Product(label(graph, number), *names, Interval(0, 1), True, node.span)
            elif node.op is not None and node.op.name in _PRODUCTS:
                depending = [ref for ref, is_known in zip(refs, known, strict=True) if is_known]
                yield from _factors(graph, number, depending, ranges, reached)


def _factors(graph: Graph, number: int, refs: list[Ref], ranges: Bounds, reached: Reaches) -> Iterator[Product]:
    """A product once for each of its factors."""
    for i, ref in enumerate(refs):
        others = [other for j, other in enumerate(refs) if j != i and other != ref]
        bounds = ranges[ref].interval
        if others and bounds.lo < bounds.hi:
            names = f"`{_name(graph, ref)}`", f"`{_name(graph, others[0])}`"
            yield Product(label(graph, number), *names, bounds, reached[ref].known, graph[number].span)


def _name(graph: Graph, ref: Ref) -> str:
    names = {value: name for name, value in graph.values.items()}
    return names.get(ref) or label(graph, ref.node)
