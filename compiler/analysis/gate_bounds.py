"""Values that a spec calls gates are proved to lie in their bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isinf

from ..diagnostics import Diagnostic, Label
from ..graph import Gated, Graph, Program, Ref
from ..ops.base import Glyph, Interval
from .labels import label
from .ranges import Ranges
from .reached import Reached

_MOVES = frozenset({Glyph.SHAPE, Glyph.DROPOUT})
_SLACK = 1e-9  # bounds are worked out in floats


def check_gates(program: Program) -> list[Diagnostic]:
    """A0540 for every gate of the program, its entries and their blocks that may leave its bounds, whatever enters."""
    said: dict[tuple[object, str], Diagnostic] = {}
    for diagnostic in _found((program.graph, *program.entries.values())):
        said.setdefault((diagnostic.span, diagnostic.message), diagnostic)
    return list(said.values())


def _found(tops: Sequence[Graph]) -> Iterator[Diagnostic]:
    gated = {id(graph): graph for top in tops for graph in top.graphs() if graph.gates}
    if not gated:
        return
    ranges = Ranges()
    for top in tops:
        ranges.of(top)  # where blocks are called with what is not finite
    reached = Reached(ranges)
    for graph in gated.values():
        known = ranges.of(graph)
        reach = reached.of(graph, known)
        for gate in graph.gates:
            bounds = known[gate.ref].interval
            if bounds.lo < gate.lo - _SLACK or bounds.hi > gate.hi + _SLACK:
                yield _outside(graph, gate, bounds, reach[gate.ref].known)


def _outside(graph: Graph, gate: Gated, bounds: Interval, certain: bool) -> Diagnostic:
    wanted = interval(Interval(gate.lo, gate.hi))
    where, path = _maker(graph, gate.ref)
    span = graph[where.node].span
    free = isinf(bounds.lo) and isinf(bounds.hi)
    lies = "may be any number" if free else f"lies in {interval(bounds)}"
    if not free and not certain:
        lies = f"is only known to lie in {interval(bounds)}"
    gives = f"`{path}` may give any number" if free else f"`{path}` gives {interval(bounds)}"
    lies_in = {(0.0, 1.0): "sigmoid", (-1.0, 1.0): "tanh"}
    help = f"send it through `{lies_in.get((gate.lo, gate.hi), f'clamp({gate.lo:g}, {gate.hi:g})')}`"
    if not isinf(bounds.lo) and not isinf(bounds.hi):
        help += f", or say where it lies: `gate {gate.name} in {interval(bounds)} = …`"
    return Diagnostic(
        "A0540",
        f"`{gate.name}` is a gate in {wanted}, but {lies}",
        gate.span,
        (Label(span, gives),) if span is not None else (),
        help=help,
    )


def _maker(graph: Graph, ref: Ref) -> tuple[Ref, str]:
    """The step that gives a value its bounds, past what only moves elements, and what it is called."""
    here = ref
    while (op := graph[here.node].op) is not None and op.glyph in _MOVES and graph.operands(here.node):
        here = graph.operands(here.node)[0]
    node = graph[here.node]
    name = node.op.name if node.op is not None else label(graph, here.node)
    return here, name


def interval(bounds: Interval) -> str:
    """[0, 1], with ∞ for no end"""
    lo, hi = (f"{end:g}".replace("inf", "∞") for end in bounds)
    return f"[{lo}, {hi}]"
