"""Losses that compare scores of classes with a target, and the same program with its classes weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .graph import Graph, Kind, Program
from .ops.losses import CrossEntropy


def class_losses(program: Program) -> dict[int, CrossEntropy]:
    """Nodes that take the cross-entropy with a target as it is fed, by number."""
    graph = program.graph
    found = {}
    for number in graph.order():
        op = graph[number].op
        if isinstance(op, CrossEntropy) and graph[graph.operands(number)[1].node].kind is Kind.TARGET:
            found[number] = op
    return found


def takes_shares(program: Program) -> bool:
    """May a target be a share for every class, [B, K], in place of one class? Only where it meets nothing but plain
    cross-entropies."""
    losses = class_losses(program)
    targets = set(program.target_nodes())
    graph = program.graph
    users = [(user, position) for t in targets for _, user, position in graph.users(t)]
    plain = all(op.ignore is None for op in losses.values())
    flat = all(graph[t].types[0].rank == 1 for t in targets)
    return len(targets) == 1 and plain and flat and all(user in losses and position == 1 for user, position in users)


def weighed(program: Program, weights: Sequence[float]) -> Program:
    """The program with a factor for each class in its cross-entropies. The module tree is the same."""
    graph = program.graph
    copied: Graph = replace(graph, nx=graph.nx.copy())
    for number, op in class_losses(program).items():
        copied.nx.nodes[number]["node"] = replace(graph[number], op=op.replace(weight=tuple(weights)))
    return replace(program, graph=copied)
