"""What evaluation never runs: losses with what only they need, and layers that act in training alone."""

from __future__ import annotations

from ..graph import Graph, Kind, Program
from ..ops.dropout import Dropout, DropoutChannels, StochasticDepth
from .rewrite import each_graph, silence


def outputs_only(program: Program) -> Program:
    """Without losses and targets, and what only they need."""
    return each_graph(program, _outputs_only)


def quiet(program: Program) -> Program:
    """With dropout of every kind passing on what it gets."""
    return each_graph(program, _quiet)


def _outputs_only(graph: Graph) -> None:
    if not graph.losses:
        return
    kept = graph.needed([*graph.outputs, *(n for n in graph.inputs if graph[n].kind is Kind.INPUT)])
    graph.nx.remove_nodes_from(set(graph.nx.nodes) - kept)
    graph.inputs = [n for n in graph.inputs if n in kept]
    graph.losses = []
    graph.values = {name: ref for name, ref in graph.values.items() if ref.node in kept}
    graph.claims = [claimed for claimed in graph.claims if claimed.ref is None or claimed.ref.node in kept]
    graph.gates = [gate for gate in graph.gates if gate.ref.node in kept]


def _quiet(graph: Graph) -> None:
    for number in list(graph.nx.nodes):
        if isinstance(graph[number].op, Dropout | DropoutChannels | StochasticDepth):
            silence(graph, number)
