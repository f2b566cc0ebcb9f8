"""Gates of a body: where the values that are called so become factors of others."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..diagnostics import Diagnostic, Label
from ..graph import EdgeKind, Gated, Graph, Kind, Node, Ref
from ..ops.base import Glyph

Edge = tuple[int, int, int]  # producer, consumer, position among the consumer's operands

_PRODUCTS = frozenset({"mul", "einsum", "div", "where", "glu"})


def mark_gates(graph: Graph) -> list[Diagnostic]:
    """Marks the edges along which gates enter products (they may have changed their shape, or become `1 - g`, on the
    way). Returns a diagnostic for each gate that enters none."""
    ways, found = _Ways(), []
    for gate in graph.gates:
        reached = ways.follow(graph, gate.ref)
        for producer, consumer, position in reached.products:
            edge = graph.nx._pred[consumer][producer][position]
            if edge["kind"] is EdgeKind.DATA:
                edge["kind"] = EdgeKind.GATE
        if not reached.products:
            found.append(_no_product(graph, gate, reached))
    return found


def _no_product(graph: Graph, gate: Gated, reached: _Reached) -> Diagnostic:
    leaving = [graph[graph.outputs[i]].span for i in sorted(reached.outputs)]
    what = "is a gate, and multiplies nothing" if reached.used else "is a gate, and nothing uses it"
    return Diagnostic(
        "A0541",
        f"`{gate.name}` {what}",
        gate.span,
        tuple(Label(span, "it only leaves here") for span in leaving[:3] if span is not None and span != gate.span),
        help=f"let it decide how much of a value passes, as in `{gate.name} * x`; what does not is no gate: "
        f"`{gate.name} = …`",
    )


@dataclass
class _Reached:
    """Where a value gets to: edges into products, and positions of outputs. used: does anything consume it?"""

    products: list[Edge] = field(default_factory=list)
    outputs: set[int] = field(default_factory=set)
    used: bool = False


class _Ways:
    """Follows values to products; each input of a block once."""

    def __init__(self) -> None:
        self._done: dict[tuple[int, int], tuple[Graph, _Reached]] = {}

    def follow(self, graph: Graph, start: Ref) -> _Reached:
        found = _Reached()
        waiting, seen = [start], {start}
        while waiting:
            here = waiting.pop()
            for result, user, position in graph.users(here.node):
                if result == here.result:
                    found.used = True
                    after = self._enter(graph, here, user, position, found)
                    waiting += [ref for ref in after if ref not in seen]
                    seen.update(after)
        return found

    def _enter(self, graph: Graph, ref: Ref, user: int, position: int, found: _Reached) -> list[Ref]:
        """What a consumer makes of a value, unless it multiplies by it or leaves nothing of it."""
        node = graph[user]
        if node.kind is Kind.OUTPUT:
            return _leave(graph, user, found)
        if node.graph is not None:
            return self._call(node, ref, user, position, found)
        if node.op is None:
            return []
        if _multiplies(graph, user, position):
            found.products.append((ref.node, user, position))
            return []
        weighed = node.op.glyph in (Glyph.NORM, Glyph.LOSS) or node.op.weights(graph.operand_types(user))
        return [] if weighed else [Ref(user, i) for i in range(len(node.types))]

    def _call(self, node: Node, ref: Ref, user: int, position: int, found: _Reached) -> list[Ref]:
        """A block that multiplies by what enters counts as a product."""
        assert node.graph is not None
        at = node.scan.entries[position] if node.scan is not None else position
        if at is None:  # a mask holds states, and lets outputs through
            found.products.append((ref.node, user, position))
            return []
        key = id(node.graph), at
        if key not in self._done:
            self._done[key] = node.graph, _Reached()  # until it is known: a cell can't contain itself
            self._done[key] = node.graph, self.follow(node.graph, Ref(node.graph.inputs[at]))
        inner = self._done[key][1]
        if inner.products:
            found.products.append((ref.node, user, position))
        return [Ref(user, i) for i in sorted(inner.outputs)]


def _leave(graph: Graph, output: int, found: _Reached) -> list[Ref]:
    """The next value of a state is the state at the next step."""
    at = graph.outputs.index(output)
    found.outputs.add(at)
    state = at - (len(graph.outputs) - len(graph.states))
    return [Ref(graph.inputs[len(graph.inputs) - len(graph.states) + state])] if state >= 0 else []


def _multiplies(graph: Graph, number: int, position: int) -> bool:
    op, operands = graph[number].op, graph.operands(number)
    if op is None or op.name not in _PRODUCTS:
        return False
    if op.name == "where":
        return position == 0  # the others are chosen between
    if op.name == "glu":
        return True
    others = [ref for i, ref in enumerate(operands) if i != position]
    return position == 0 if op.name == "div" else any(not _number(graph, ref) for ref in others)


def _number(graph: Graph, ref: Ref) -> bool:
    op = graph[ref.node].op
    return op is not None and not op.operands
