"""Applies a change to every graph of a program, callees before callers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..graph import Graph, Instance, Layer, Node, Program
from ..ops import require
from ..ops.base import Op


def each_graph(program: Program, change: Callable[[Graph], None]) -> Program:
    """The program with `change` made to a copy of each of its graphs; a graph that is used twice is copied once."""
    made: dict[int, Graph] = {}
    for root in (program.graph, *program.entries.values()):
        for graph in root.graphs():
            if id(graph) not in made:
                made[id(graph)] = copied = _copy(graph, made)
                change(copied)
    entries = {name: made[id(graph)] for name, graph in program.entries.items()}
    return replace(program, graph=made[id(program.graph)], entries=entries)


def _copy(graph: Graph, made: dict[int, Graph]) -> Graph:
    """A copy whose nodes and edges can be changed; its calls lead to copies made before."""
    new = replace(
        graph,
        nx=graph.nx.copy(),
        inputs=list(graph.inputs),
        outputs=list(graph.outputs),
        losses=list(graph.losses),
        modules={path: _module(module, made) for path, module in graph.modules.items()},
        weights=dict(graph.weights),
        values=dict(graph.values),
        checks=list(graph.checks),
        claims=list(graph.claims),
        gates=list(graph.gates),
    )
    for number in graph.nx.nodes:
        node = graph[number]
        put(new, number, replace(node, graph=made[id(node.graph)]) if node.graph is not None else node)
    return new


def _module(module: Layer | Instance, made: dict[int, Graph]) -> Layer | Instance:
    return Instance(made[id(module.graph)], module.span) if isinstance(module, Instance) else module


def put(graph: Graph, number: int, node: Node) -> None:
    """Puts another node in the place of one, with its edges as they are."""
    graph.nx.nodes[number]["node"] = node


def replace_op(graph: Graph, number: int, op: Op) -> None:
    """Lets a node run another op, of whose weights none or the same are made; its label stays taken."""
    node = graph[number]
    put(graph, number, replace(node, op=op))
    if node.module is not None:
        layer = graph.modules[node.module]
        assert isinstance(layer, Layer)
        graph.modules[node.module] = replace(layer, op=op, made=op.weights(layer.inputs))


def silence(graph: Graph, number: int) -> None:
    """Takes a node of one operand out, with its layer. In a sequence, whose numbers are keys of checkpoints, something
    that does nothing keeps its place."""
    module = graph[number].module
    if graph[number].level:
        replace_op(graph, number, require("identity")())
        return
    (ref,) = graph.operands(number)
    for _, user, position in graph.users(number):
        kind = graph.nx.edges[number, user, position]["kind"]
        graph.nx.add_edge(ref.node, user, position, result=ref.result, kind=kind)
    graph.nx.remove_node(number)
    graph.values = {name: ref if value.node == number else value for name, value in graph.values.items()}
    graph.claims = [c._replace(ref=ref) if c.ref and c.ref.node == number else c for c in graph.claims]
    graph.gates = [g._replace(ref=ref) if g.ref.node == number else g for g in graph.gates]
    if module is not None:
        del graph.modules[module]
