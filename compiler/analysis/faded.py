"""What an input without axes switches off once it has risen to 1, as `old * (1 - alpha) + new * alpha` does `old`."""

from __future__ import annotations

from ..graph import Graph, Kind, Program, Ref
from ..ops.base import Interval
from .quotients import ranged
from .ranges import Ranges

_ONE = ranged(Interval(1, 1))


def switched_off(program: Program) -> frozenset[str]:
    """Paths of the layers and weights on which no output and no loss depends while every input without axes is 1: each
    way from them leads through a product with what is then 0 everywhere. Empty where there are no such inputs."""
    factors = {n for n in program.input_nodes() if not program.graph[n].types[0].rank}
    if not factors:
        return frozenset()
    graph = program.graph.flatten()
    names = {program.graph[n].name for n in factors}
    ranges = Ranges()
    free = ranges.of(graph)
    given = [_ONE if graph[n].name in names else free[Ref(n)] for n in graph.inputs]
    bounds = ranges.of(graph, given)
    zero = {ref for ref, known in bounds.items() if known.interval == (0, 0)}
    seen = _seen(graph, [*graph.outputs, *graph.losses], zero)
    return frozenset(_owned(graph, set(graph)) - _owned(graph, seen))


def _seen(graph: Graph, ends: list[int], zero: set[Ref]) -> set[int]:
    """The nodes on which these depend, where a product with zero depends on nothing else."""
    seen, waiting = set(ends), list(ends)
    while waiting:
        number = waiting.pop()
        node, operands = graph[number], graph.operands(number)
        if node.op is not None and node.op.name == "mul" and any(ref in zero for ref in operands):
            operands = [ref for ref in operands if ref in zero]
        fresh = {ref.node for ref in operands} - seen
        seen |= fresh
        waiting.extend(fresh)
    return seen


def _owned(graph: Graph, nodes: set[int]) -> set[str]:
    """Paths of the layers that these nodes apply, and of the weights that they are."""
    found: set[str] = set()
    for number in nodes:
        node = graph[number]
        found |= {path for path in (node.module, node.weight if node.kind is Kind.WEIGHT else None) if path is not None}
    return found
