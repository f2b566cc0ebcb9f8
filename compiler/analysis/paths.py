"""Ways through a graph: what a value's gradient passes on its way back to the inputs.

Every step of a path costs something, and the cheapest path is found by dynamic programming along the graph. A block is
worked through once, from each of its inputs to each of its outputs, and each call composes what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..graph import Graph, Kind, Node, Ref
from ..ops.base import Glyph, Op
from ..source import Span
from .alike import Alike
from .cost import is_weight_layer
from .gradients import STOPS
from .labels import beneath, label
from .through_time import rounds, states_of

Cost = tuple[int, ...]


class Price(NamedTuple):
    """What it costs to pass a node: `what` it is, for steps that a message should name."""

    cost: Cost
    what: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a path that is worth naming: labels of the blocks it stands in and its own, what it is, its place;
    `call`: where it stands in a block, the call that leads there."""

    path: str
    what: str
    span: Span | None
    call: Span | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """A path from an input, step after step: what it costs, all before its last step, and that step."""

    cost: Cost
    before: Way | None = None
    last: Step | Through | None = None

    def steps(self) -> list[Step]:
        """The steps worth naming, from the input on."""
        return list(reversed(list(self._backwards("", None))))

    def _backwards(self, prefix: str, call: Span | None) -> Iterator[Step]:
        way: Way | None = self
        while way is not None:
            if isinstance(way.last, Step):
                yield Step(beneath(prefix, way.last.path), way.last.what, way.last.span, call)
            elif way.last is not None:
                yield from way.last.way._backwards(beneath(prefix, way.last.path), call or way.last.span)
            way = way.before


class Through(NamedTuple):
    """A step that is the way through a block: the block's path, where it is called."""

    path: str
    way: Way
    span: Span | None


# What a result of a node costs a path that enters through an operand; None where none can.
Pricing = Callable[["Passage"], Price | None]
# From the position of an input in `graph.inputs` to the cheapest way from there.
Table = dict[int, Way]


@dataclass(frozen=True, slots=True)
class Passage:
    """A path that enters a node through one of its operands. depends: for each operand, does a path lead to it?"""

    graph: Graph
    number: int
    operand: int
    depends: tuple[bool, ...]


class Ways:
    """The cheapest ways from the inputs to the values of graphs, by some pricing."""

    def __init__(self, pricing: Pricing, free: Cost, alike: Alike | None) -> None:
        self._pricing, self._free = pricing, free
        self._alike = alike or Alike()
        self._done: dict[int, tuple[Graph, dict[Ref, Table]]] = {}

    def to(self, graph: Graph, ref: Ref) -> Way | None:
        """The cheapest way from any input that holds data to a value."""
        table, data = self.tables(graph)[ref], set(graph.data_inputs)
        ways = [way for at, way in sorted(table.items()) if graph.inputs[at] in data]
        return min(ways, key=lambda way: way.cost, default=None)

    def tables(self, graph: Graph) -> dict[Ref, Table]:
        """For every value of a graph, the cheapest way from each of the inputs that have one."""
        graph = self._alike.first(graph)
        if id(graph) not in self._done:
            self._done[id(graph)] = graph, self._work_through(graph)
        return self._done[id(graph)][1]

    def _work_through(self, graph: Graph) -> dict[Ref, Table]:
        found: dict[Ref, Table] = {}
        for number, node, refs in self._alike.walk(graph):
            operands = [found[ref] for ref in refs]
            if node.kind in (Kind.INPUT, Kind.TARGET):
                found[Ref(number)] = {graph.inputs.index(number): Way(self._free)}
            elif node.graph is not None:
                inner, place = self.tables(node.graph), (label(graph, number), node.span)
                fed = operands if node.scan is None else _fed(node, inner, operands, place)
                for i, output in enumerate(node.graph.outputs):
                    found[Ref(number, i)] = _through(inner[Ref(output)], fed, *place)
            else:
                table: Table = {}
                if node.kind is Kind.OP:
                    known = tuple(map(bool, operands))
                    for position, before in enumerate(operands):
                        if before:
                            self._pass(table, before, Passage(graph, number, position, known))
                elif operands:
                    table = operands[0]
                for i in range(max(1, len(node.types))):
                    found[Ref(number, i)] = table
        return found

    def _pass(self, table: Table, before: Table, passage: Passage) -> None:
        """Enters what a node makes of the ways to one of its operands."""
        price = self._pricing(passage)
        if price is None:
            return
        graph, number = passage.graph, passage.number
        step = Step(label(graph, number), price.what, graph[number].span) if price.what else None
        for source, way in before.items():
            cost = _sum(way.cost, price.cost)
            if source not in table or cost < table[source].cost:
                table[source] = way if step is None and cost == way.cost else Way(cost, way, step)


def _through(inner: Table, operands: list[Table], path: str, span: Span | None) -> Table:
    """The ways through a block, after the ways to its operands."""
    table: Table = {}
    for at, through in inner.items():
        for source, way in operands[at].items():
            cost = _sum(way.cost, through.cost)
            if source not in table or cost < table[source].cost:
                table[source] = way if through.last is None else Way(cost, way, Through(path, through, span))
    return table


def _fed(node: Node, inner: dict[Ref, Table], operands: list[Table], place: tuple[str, Span | None]) -> list[Table]:
    """The ways to the inputs of a cell, to its states through as many steps as are cheapest."""
    assert node.graph is not None
    states = states_of(node.graph)

    def after(inputs: list[Table]) -> list[Table]:
        return [_cheapest(inputs[at], _through(inner[following], inputs, *place)) for at, following in states]

    return rounds(node, operands, {}, after)


def _cheapest(known: Table, other: Table) -> Table:
    better = {at: way for at, way in other.items() if at not in known or way.cost < known[at].cost}
    return {**known, **better} if better else known


def _sum(left: Cost, right: Cost) -> Cost:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _of_gradients(passage: Passage) -> Price | None:
    """A layer with a weight matrix costs one; what has no gradient can't be passed."""
    graph, number = passage.graph, passage.number
    node = graph[number]
    assert node.op is not None
    if node.op.name in STOPS or all(t.dtype != "float" for t in node.types):
        return None
    if _may_weigh(node.op) and is_weight_layer(node.op, node.op.weights(graph.operand_types(number))):
        return Price((1,), "layer with weights")
    return Price((0,))


def _may_weigh(op: Op) -> bool:
    return type(op).weights is not Op.weights


def gradient_ways(alike: Alike | None = None) -> Ways:
    """Shortest gradient paths: ways on which the fewest layers with a weight matrix lie."""
    return Ways(_of_gradients, (0,), alike)


MULTIPLIES = "multiplies by what depends on the input"
PROJECTION, ACTIVATION, POOLING, FACTOR = "layer with weights", "activation", "pooling", "constant factor"

_FREE, _PARTLY, _WEIGHT, _ENDS = (0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)
_KEEPS = frozenset({"add", "sub", "neg", "identity", "cast", "concat", "stack", "split", "unstack", "index"})
_MOVES = frozenset({Glyph.SHAPE, Glyph.DROPOUT})
_PRODUCTS = frozenset({"mul", "div", "einsum"})
_POOLS = frozenset({"mean", "sum", "max", "min", "upsample", "einsum"})
_LETS_THROUGH = frozenset({"clamp", "abs", "where"})
_WEIGHS = frozenset({"softmax", "log_softmax", "glu"})  # activations that multiply by what depends on the input


def _of_identity(passage: Passage) -> Price:
    """(steps that end the identity, layers with weights, steps that let the gradient through in part)."""
    graph, number, operand = passage.graph, passage.number, passage.operand
    op, count = graph[number].op, len(passage.depends)
    assert op is not None
    if graph[number].types[0].dtype != "float":
        return Price(_ENDS, "has no gradient")
    if op.glyph is Glyph.NORM or (_may_weigh(op) and op.weights(graph.operand_types(number))):
        if operand >= len(graph.operand_types(number)):
            return Price(_ENDS, "takes its weights from the input")
        return Price(_FREE) if _folds(graph, number) else Price(_WEIGHT, PROJECTION)
    if op.name in _KEEPS or (op.glyph in _MOVES and op.name not in _POOLS):
        return Price(_FREE)
    if op.name in _PRODUCTS and count > 1:
        return _of_product(passage)
    if op.glyph is Glyph.POOL or op.name in _POOLS:
        return Price(_PARTLY, POOLING)
    if op.name in _LETS_THROUGH or (op.glyph is Glyph.ACTIVATION and op.name not in _WEIGHS):
        return Price(_PARTLY, ACTIVATION) if operand or count == 1 else Price(_ENDS, "only chooses by it")
    return Price(_ENDS, "is no identity")


def _of_product(passage: Passage) -> Price:
    """A product with what depends on the input ends the identity; one with weights is a layer with weights."""
    graph, number, operand = passage.graph, passage.number, passage.operand
    if any(depends for i, depends in enumerate(passage.depends) if i != operand):
        return Price(_ENDS, MULTIPLIES)
    op = graph[number].op
    if op is not None and op.name == "div" and operand == 1:
        return Price(_ENDS, "divides by it")
    others = [ref.node for i, ref in enumerate(graph.operands(number)) if i != operand]
    if any(graph[n].kind in (Kind.WEIGHT, Kind.CALL, Kind.SCAN) for n in graph.needed(others)):
        return Price(_WEIGHT, PROJECTION)
    return Price(_PARTLY, FACTOR)


def _folds(graph: Graph, number: int) -> bool:
    """Is this a batch norm right behind a convolution or linear layer? In evaluation the two are one affine map."""
    op, (before, *_) = graph[number].op, graph.operands(number)
    producer = graph[before.node].op
    behind = producer is not None and producer.name in ("conv", "conv_transpose", "linear")
    return op is not None and op.name == "batchnorm" and behind


def identity_ways(alike: Alike | None = None) -> Ways:
    """Ways that are closest to the identity: first without what ends it (products with what depends on the input, other
    functions), then past the fewest layers with weights, then past the fewest activations, poolings and factors."""
    return Ways(_of_identity, (0, 0, 0), alike)
