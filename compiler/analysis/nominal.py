"""Nominal sizes that no input can have: with them some layer would have no places left."""

from __future__ import annotations

from collections.abc import Mapping

from ..diagnostics import Diagnostic, Label
from ..graph import Graph, Kind, Node, Program
from ..sizes import Dim, evaluate, substitute, symbols
from .cost import nominal_sizes

Sizes = Mapping[str, int]
Left = tuple[Dim, Node, Node]  # a size below 1, in the symbols of the graph; the node; the call it is reached by


def check_nominal(program: Program) -> list[Diagnostic]:
    """A0335 for the first layer that an input of the nominal sizes can't pass."""
    graph = program.graph
    found = _nothing_left(graph, nominal_sizes(graph), set()) if graph.nominal else None
    if found is None:
        return []
    size, node, call = found
    names = [name for name in graph.nominal if name in symbols(size)]
    inputs = [graph[n] for n in graph.inputs if any(s in symbols(d) for d in graph[n].types[0].shape for s in names)]
    if not inputs:
        return []
    axes = " and ".join(f"{name}~{graph.nominal[name]}" for name in names)
    here = node.op.name if node.op is not None else node.name
    many = " are too small" if len(names) > 1 else " is too small"
    label = (
        [Label(node.span, f"this would make {size} = {evaluate(size, nominal_sizes(graph))} places")]
        if node.span
        else []
    )
    if call is not node and call.span is not None:
        label.append(Label(call.span, "which is used here"))
    return [
        Diagnostic(
            "A0335",
            f"{axes}{many} for the network: `{here}` has no places left",
            inputs[0].span,
            tuple(label),
            help="give a size that the network is meant for: costs and figures are those of the nominal size",
        )
    ]


def _nothing_left(graph: Graph, sizes: Sizes, done: set[object]) -> Left | None:
    """The first size below 1 of a graph, in its own symbols. done: blocks that were looked into at such sizes."""
    known: dict[Dim, bool] = {}
    for number in graph.order():
        node = graph[number]
        if node.graph is not None and (found := _within(node, sizes, done)) is not None:
            return found
        for t in node.types if node.kind is not Kind.INPUT else ():
            for size in t.shape:
                if isinstance(size, Dim) and size not in known:
                    known[size] = symbols(size) <= sizes.keys() and evaluate(size, sizes) < 1
                    if known[size]:
                        return size, node, node
    return None


def _within(node: Node, sizes: Sizes, done: set[object]) -> Left | None:
    """The same inside the block that a node calls, in the symbols out here."""
    assert node.graph is not None
    here = {name: evaluate(size, sizes) for name, size in node.sizes if symbols(size) <= sizes.keys()}
    key = id(node.graph), tuple(sorted(here.items()))
    if key in done:
        return None
    done.add(key)
    found = _nothing_left(node.graph, here, done)
    if found is None:
        return None
    size = substitute(found[0], dict(node.sizes))
    return (size, found[1], node) if isinstance(size, Dim) else None
