"""A scan as its cell, unrolled: what goes round and round through the states."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from ..graph import Graph, Kind, Node, Ref
from ..sizes import Dim
from ..types import Axis, TensorType

T = TypeVar("T")


def states_of(graph: Graph) -> list[tuple[int, Ref]]:
    """Of each state of a cell: its position among the inputs, and its next value's node."""
    first, count = len(graph.inputs) - len(graph.states), len(graph.states)
    return [(first + k, Ref(graph.outputs[len(graph.outputs) - count + k])) for k in range(count)]


def rounds(node: Node, operands: Sequence[T], nothing: T, after: Callable[[list[T]], Sequence[T]]) -> list[T]:
    """What the inputs of a cell have at any step, states included, and what a mask has, last.

    `after` says what the next values of the states have, given this of the inputs; what a state has is what its start
    has, and that, together with what it had. It is asked until nothing changes: it must only add."""
    assert node.graph is not None and node.scan is not None
    count = len(node.scan.axes)
    inputs, mask = [*operands[:count], *[nothing] * len(node.graph.states)], nothing
    for at, operand in zip(node.scan.entries, operands, strict=True):
        if at is None:
            mask = operand
        else:
            inputs[at] = operand
    while True:
        following = [*inputs[:count], *after([*inputs, mask])]
        if following == inputs:
            return [*inputs, mask]
        inputs = following


def reached_goals(graph: Graph, goals: Collection[Ref]) -> set[Ref]:
    """The values of a cell that lead to some of its outputs at a later step too: those, and next values of states."""
    found = set(goals)
    while True:
        needed = graph.needed([goal.node for goal in found])
        more = {after for at, after in states_of(graph) if graph.inputs[at] in needed} - found
        if not more:
            return found
        found |= more


def runs_along(graph: Graph, number: int) -> list[tuple[int, int]]:
    """Of a SCAN node: (operand, the axis of it that it runs along)."""
    node = graph[number]
    if node.kind is not Kind.SCAN or node.scan is None:
        return []
    along = [(i, axis) for i, axis in enumerate(node.scan.axes) if axis is not None]
    if node.scan.masked:
        types = graph.operand_types(number)
        along.append((len(types) - 1, types[-1].rank - 1))
    return along


def at_one_step(node: Node, types: Sequence[TensorType]) -> list[TensorType]:
    """What enters the cell of a SCAN node at one step, when the node gets operands of these types. An axis of a state
    that has the name and size of one that enters is taken to have its size still."""
    cell, scan = node.graph, node.scan
    assert cell is not None and scan is not None
    own = [cell[n].types[0] for n in cell.inputs]
    found = [t.substitute(dict(node.sizes)) for t in own]
    renewed: dict[tuple[str | None, int | Dim], int | Dim] = {}
    for i, axis in enumerate(scan.axes):
        before = found[i]
        found[i] = types[i] if axis is None else types[i].drop(axis)
        for mine, old, new in zip(own[i].names, before.shape, found[i].shape, strict=True):
            renewed[mine, old] = new
    for at in range(len(scan.axes), len(own)):
        for axis, (name, size) in enumerate(zip(own[at].names, found[at].shape, strict=True)):
            if name is not None:
                found[at] = found[at].resize(axis, renewed.get((name, size), size))
    for operand, entry in enumerate(scan.entries):
        if entry is not None and entry >= len(scan.axes):
            found[entry] = types[operand]
    return found


def stacked(t: TensorType, at: int, axis: Axis) -> TensorType:
    """The type of a cell's output after a scan: with its axis."""
    at = min(at, t.rank)
    axes = tuple(Axis(None, a.size) if a.name == axis.name else a for a in t.axes)
    return TensorType((*axes[:at], axis, *axes[at:]), t.dtype)
