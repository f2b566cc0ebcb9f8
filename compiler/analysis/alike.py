"""Which graphs are alike: those that an analysis of what flows where can't tell apart.

A network makes a block anew for every number of channels that enters it. What its steps are called, what they see of
one another and whether they have weights is the same each time, so that one of them is worked through for all.
"""

from __future__ import annotations

from collections.abc import Hashable

from ..graph import Graph, Kind, Layer, Node, Ref
from ..ops.base import Op
from ..types import TensorType

Visit = tuple[int, Node, list[Ref]]  # a node and what it consumes


class Alike:
    """Knows the first of the graphs that are alike. Graphs that differ in plain numbers are, whatever these do."""

    def __init__(self) -> None:
        self._first: dict[Hashable, Graph] = {}
        self._known: dict[int, tuple[Graph, Graph]] = {}  # by structure: a graph that has it, which keeps it alive
        self._walks: dict[int, tuple[Graph, list[Visit]]] = {}

    def first(self, graph: Graph) -> Graph:
        """The first graph that is like this one. The two have the same nodes and modules, by number and path, but for
        sizes, initial values and the settings that follow from them; the blocks that they call are alike."""
        known = self._known.get(id(graph.structure))
        if known is None:
            block = graph.kind == "block"  # of others there are few, and no two alike
            known = graph, self._first.setdefault(self._key(graph), graph) if block else graph
            self._known[id(graph.structure)] = known
        return known[1]

    def walk(self, graph: Graph) -> list[Visit]:
        """The nodes of a graph in order: each analysis asks for them again."""
        known = self._walks.get(id(graph))
        if known is None:
            visits = [(number, graph[number], graph.operands(number)) for number in graph.order()]
            known = self._walks[id(graph)] = graph, visits
        return known[1]

    def _key(self, graph: Graph) -> Hashable:
        steps: list[Hashable] = []
        for _, node, operands in self.walk(graph):
            step = self._step(graph, node, operands)
            if step is None:
                return id(graph.structure)
            steps.append(step)
        return graph.name, tuple(graph.inputs), tuple(graph.outputs), tuple(graph.modules), tuple(steps)

    def _step(self, graph: Graph, node: Node, operands: list[Ref]) -> Hashable | None:
        """What is the same of a node in all graphs that are alike; None where more may matter."""
        means: Hashable | None = ()
        if node.kind is Kind.OP:
            means = _layer(graph, node, operands)
        elif node.kind is Kind.CALL and node.graph is not None:
            means = id(self.first(node.graph))
        elif node.kind in (Kind.INPUT, Kind.TARGET):
            means = node.types[0].names
        elif node.kind is Kind.WEIGHT:
            means = _tensor(graph, node)
        elif node.kind not in (Kind.OUTPUT, Kind.LOSS):
            means = None
        if means is None:
            return None
        span = node.span
        place = None if span is None else (id(span.source), span.start, span.end)
        results = tuple((len(t.axes), t.dtype) for t in node.types)
        return node.kind, node.name, node.module, place, tuple(operands), results, means


def _tensor(graph: Graph, node: Node) -> Hashable | None:
    """What matters of a bare tensor; None for one whose elements are known."""
    spec = graph.weight_at(node.weight or "")
    known = spec is not None and spec.tree is not None
    return None if known else (node.weight, tuple(size == 1 for size in node.types[0].shape))


def _layer(graph: Graph, node: Node, operands: list[Ref]) -> Hashable | None:
    """What matters of a layer but for its place: what it looks at, and which weights it has. None for constants."""
    op, plain = node.op, len(operands) - len(node.replaced)
    types = tuple(graph.type(ref) for ref in operands[:plain])
    if op is None or not types:
        return None
    sees = tuple(op.relations(types, node.types).items())
    return type(op), sees, _together(op, types, node.types), _weights(graph, node, op, types), node.replaced


def _together(op: Op, types: tuple[TensorType, ...], results: tuple[TensorType, ...]) -> Hashable:
    """The axes over which it sums products, and of one that regroups those of which parts may go elsewhere."""
    contracted = op.contracted(types) if len(types) > 1 else ()
    if not op.regroups:
        return contracted
    return contracted, tuple(tuple(size == 1 for size in t.shape) for t in (*types, *results))


def _weights(graph: Graph, node: Node, op: Op, types: tuple[TensorType, ...]) -> Hashable:
    if type(op).weights is Op.weights:
        return ()
    layer = graph.modules.get(node.module or "")
    specs = layer.made if isinstance(layer, Layer) and not node.replaced else op.weights(types)
    return tuple((spec.name, spec.role, len(spec.shape)) for spec in specs)
