"""What analyses ask about a scan: how many steps it takes, and what each input of its cell gets."""

from __future__ import annotations

from ..graph import Graph
from ..sizes import Dim


def steps(graph: Graph, number: int) -> int | Dim:
    """How many steps a SCAN node takes, in the graph's symbols."""
    at, axis = _taken_apart(graph, number)
    return graph.type(graph.operands(number)[at]).shape[axis]


def axis_name(graph: Graph, number: int) -> str:
    """What the axis that a SCAN node runs along is called."""
    at, axis = _taken_apart(graph, number)
    return graph.type(graph.operands(number)[at]).names[axis] or str(axis)


def entering(graph: Graph, number: int) -> list[int | None]:
    """For each input of a SCAN node's cell, the position of the operand that it gets (a state: its start); None for
    states that start at zero."""
    scan = graph[number].scan
    assert scan is not None
    found: list[int | None] = list(range(len(scan.axes)))
    given = len(found)
    for begun in scan.starts:
        found.append(given if begun else None)
        given += begun
    return found


def mask_of(graph: Graph, number: int) -> int | None:
    """The position of a SCAN node's mask among its operands."""
    scan = graph[number].scan
    assert scan is not None
    return len(scan.axes) + sum(scan.starts) if scan.masked else None


def _taken_apart(graph: Graph, number: int) -> tuple[int, int]:
    """The first operand that the scan takes apart, and along which of its axes."""
    scan = graph[number].scan
    assert scan is not None
    return next((at, axis) for at, axis in enumerate(scan.axes) if axis is not None)
