"""Cells that are scanned, drawn once: loops lead from next values back to the states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..analysis.scans import axis_name, entering, mask_of
from ..graph import EdgeKind, Graph, Kind, Ref, Scan
from ..sizes import substitute
from . import words
from .figure import Group, Item, Link, Row, Shape, Stripe
from .items import callee_title
from .scope import End, Loop, Scope
from .style import Extra

if TYPE_CHECKING:
    from .outline import Builder


_NOW = "t"


def scan_of(graph: Graph, number: int) -> tuple[Scan, Graph]:
    """How a SCAN node runs, and its cell."""
    node = graph[number]
    assert node.scan is not None and node.graph is not None
    return node.scan, node.graph


def loop_of(graph: Graph, number: int) -> Loop:
    """How a SCAN node's cell is drawn once: the states come from the step before, or after where it runs backwards."""
    scan, _ = scan_of(graph, number)
    return Loop("t+1" if scan.reverse else "t−1", tuple(axis is not None for axis in scan.axes))


def start_names(graph: Graph, number: int) -> dict[int, tuple[str, str]]:
    """What to write beside the edges along which states enter a node: name and subscript, by operand."""
    node = graph[number]
    if node.graph is None or not node.graph.states:
        return {}
    first = len(node.graph.inputs) - len(node.graph.states)
    if node.scan is None:
        return {first + i: (state, "") for i, state in enumerate(node.graph.states)}
    sub = f"{axis_name(graph, number)}+1" if node.scan.reverse else "0"
    given = entering(graph, number)[first:]
    return {at: (state, sub) for at, state in zip(given, node.graph.states, strict=True) if at is not None}


def result_end(scope: Scope, number: int, result: int, item: str) -> End:
    """Where a result of a node comes from: final states say their names."""
    graph, node = scope.graph, scope.graph[number]
    type_ = node.types[result].substitute(scope.sizes)
    states = node.graph.states if node.graph is not None else ()
    at = result - (len(node.types) - len(states))
    if at < 0:
        return End(item, type_)
    last = "" if node.scan is None else "1" if node.scan.reverse else axis_name(graph, number)
    return End(item, type_, name=states[at], sub=last)


def self_loop(builder: Builder, scope: Scope, number: int, item: str, home: str) -> None:
    """The states of a closed box: they leave it and enter it again, a step later."""
    _, cell = scan_of(scope.graph, number)
    name = words.clean(", ".join(cell.states), 40)
    type_ = scope.graph[number].types[-1]
    delay = f"d{scope.prefix}{number}"
    builder.add(Item(delay, Shape.PILL, [Stripe(Extra.STATE, loop_of(scope.graph, number).before)], home))
    builder.figure.links += [
        Link(item, delay, EdgeKind.STATE, type_, name, loose=True),
        Link(delay, item, EdgeKind.STATE, type_, loose=True),
    ]
    builder.figure.rows.append(Row([item, delay]))


def terminal(builder: Builder, scope: Scope, number: int) -> bool:
    """Draws an input or output of a cell that is scanned; False where it looks like that of any block."""
    graph, node, loop = scope.graph, scope.graph[number], scope.loop
    if loop is None or node.kind not in (Kind.INPUT, Kind.OUTPUT):
        return False
    ends = graph.inputs if node.kind is Kind.INPUT else graph.outputs
    at, first = ends.index(number), len(ends) - len(graph.states)
    if node.kind is Kind.OUTPUT:
        return _leave(builder, scope, number, graph.states[at - first] if at >= first else None)
    if at < first and not loop.scanned[at]:
        return False
    state = at >= first
    stripe = Stripe(Extra.STATE if state else Extra.INPUT, "", words.clean(node.name, 40))
    item = _pill(builder, f"n{scope.prefix}{number}", stripe, loop.before if state else _NOW, scope.home)
    end = scope.given[number] if scope.given is not None else None
    if end is not None and end.item:
        builder.figure.links.append(Link(end.item, item.id, end.kind, end.type, end.name, end.sub))
    scope.ends[Ref(number)] = End(item.id, node.types[0].substitute(scope.sizes))
    if state:
        scope.memories[node.name] = item.id
    return True


def _pill(builder: Builder, name: str, stripe: Stripe, sub: str, home: str) -> Item:
    stripe = Stripe(stripe.role, stripe.text, stripe.name, stripe.note, sub)
    return builder.add(Item(name, Shape.PILL, [stripe], home))


def _leave(builder: Builder, scope: Scope, number: int, state: str | None) -> bool:
    """A next value leads back to its state; an output of a cell that stands by itself leaves at a step."""
    (ref,) = scope.graph.operands(number)
    node, end = scope.graph[number], scope.ends[ref]
    if state is not None:
        scope.ends[Ref(number)] = end
        if end.item:
            name, memory = words.clean(state, 40), scope.memories[state]
            builder.figure.links.append(Link(end.item, memory, EdgeKind.STATE, end.type, name, _NOW, loose=True))
        return True
    if scope.given is None:
        stripe = Stripe(Extra.OUTPUT, "", words.clean(node.name or "output", 40))
        item = _pill(builder, f"n{scope.prefix}{number}", stripe, _NOW, scope.home)
        builder.figure.links.append(Link(end.item, item.id, end.kind, end.type))
        return True
    return False


def opened(
    builder: Builder, scope: Scope, number: int, operands: Sequence[End], *, home: str, depth: int, times: int
) -> None:
    """A frame with the cell in it, once."""
    graph, node = scope.graph, scope.graph[number]
    _, cell = scan_of(graph, number)
    name = f"b{scope.prefix}{number}"
    builder.figure.groups[name] = Group(name, callee_title(graph, number, builder.silent), "block", home, times)
    sizes = {symbol: substitute(size, scope.sizes) for symbol, size in node.sizes}
    prefix = f"{scope.prefix}{number}_"
    given = cell_operands(graph, number, operands)
    ends = builder.draw(cell, prefix, sizes, depth=depth, home=name, given=given, loop=loop_of(graph, number))
    for result, end in enumerate(ends):
        scope.ends[Ref(number, result)] = result_end(scope, number, result, end.item)
    mask = mask_of(graph, number)
    if mask is not None:
        first = len(cell.inputs) - len(cell.states)
        for state in cell.inputs[first:]:
            gate = Link(operands[mask].item, f"n{prefix}{state}", EdgeKind.GATE, operands[mask].type)
            builder.figure.links.append(gate)


def cell_operands(graph: Graph, number: int, operands: Sequence[End]) -> list[End]:
    """What each input of a SCAN node's cell gets; nothing, where a state starts at zero."""
    kinds, (_, cell) = graph.operand_kinds(number), scan_of(graph, number)
    found = []
    for at, inside in zip(entering(graph, number), cell.inputs, strict=True):
        if at is None:
            found.append(End("", cell[inside].types[0]))
        else:
            found.append(operands[at]._replace(kind=stronger(kinds[at], operands[at].kind)))
    return found


def stronger(kind: EdgeKind, other: EdgeKind) -> EdgeKind:
    """The kind of an edge that goes on where another ended."""
    return other if kind is EdgeKind.DATA else kind


def joined_before(builder: Builder, scope: Scope, number: int) -> bool:
    """Whether a cell already put the same values together: `(h, x)` for four gates is drawn once."""
    graph, node = scope.graph, scope.graph[number]
    if graph.kind != "cell" or node.op is None or node.op.name != "concat":
        return False
    first = scope.joined.setdefault((repr(node.op), *graph.operands(number)), number)
    if first != number:
        end = scope.ends[Ref(number)] = scope.ends[Ref(first)]
        if end.item not in builder.figure.forks:
            builder.figure.forks.append(end.item)
    return first != number
