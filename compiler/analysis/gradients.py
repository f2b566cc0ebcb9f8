"""How far gradients flow: which inputs and weights a value's gradient reaches, on its way back through a graph.

A block is worked through once for each set of its outputs that gradients come from, and each call composes what was
found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..flatten import full_path
from ..graph import Graph, Kind, Node, Ref
from ..source import Span

STOPS = frozenset({"stop_gradient", "leaf", "floor", "round", "sign", "floordiv", "argmax", "one_hot"})
"""Ops that pass no gradient on."""


class Reached(NamedTuple):
    """What a gradient reaches: positions among the graph's inputs, and keys of weights as the graph's instance has them
    (those of modules that it is passed start with the parameter's name). stops: where it ends at something that passes
    none on."""

    inputs: frozenset[int] = frozenset()
    weights: frozenset[str] = frozenset()
    stops: frozenset[Span] = frozenset()


class Gradients:
    """What gradients reach. everything: what values depend on at all, whether a gradient flows there or not."""

    def __init__(self, *, everything: bool = False) -> None:
        self.everything = everything
        self._done: dict[tuple[int, frozenset[Ref]], tuple[Graph, Reached]] = {}

    def of(self, graph: Graph, values: frozenset[Ref]) -> Reached:
        """What the gradients of these values of a graph reach."""
        key = id(graph), values
        if key not in self._done:
            self._done[key] = graph, self._backwards(graph, values)
        return self._done[key][1]

    def _backwards(self, graph: Graph, values: frozenset[Ref]) -> Reached:
        live = {ref for ref in values if self._flows(graph, ref)}
        inputs: set[int] = set()
        weights: set[str] = set()
        stops: set[Span] = set()
        for number in reversed(graph.order()):
            node, operands = graph[number], graph.operands(number)
            results = [i for i in range(len(node.types)) if Ref(number, i) in live]
            if not results:
                continue
            entering: Sequence[Ref] = operands
            if node.kind in (Kind.INPUT, Kind.TARGET):
                inputs.add(graph.inputs.index(number))
            elif node.kind is Kind.WEIGHT:
                weights.add(node.weight or "")
            elif node.graph is not None:
                positions, found = self._called(node, node.graph, results)
                weights |= found.weights
                stops |= found.stops
                entering = [operands[i] for i in positions]
            elif node.op is not None:
                if not self.everything and node.op.name in STOPS:
                    stops |= {node.span} if node.span is not None else set()
                    continue
                specs = node.op.weights(graph.operand_types(number)) if node.module is not None else ()
                weights |= {f"{node.module}.{spec.name}" for spec in specs if spec.name not in node.replaced}
            live |= {ref for ref in entering if self._flows(graph, ref)}
        return Reached(frozenset(inputs), frozenset(weights), frozenset(stops))

    def _flows(self, graph: Graph, ref: Ref) -> bool:
        return self.everything or graph.type(ref).dtype == "float"

    def _called(self, node: Node, callee: Graph, results: Sequence[int]) -> tuple[list[int], Reached]:
        """The operands of a CALL or SCAN node that gradients of its results reach, and what else they do."""
        leaving, states = set(results), len(callee.states)
        while True:
            found = self.of(callee, frozenset(callee.operands(callee.outputs[i])[0] for i in leaving))
            first_in, first_out = len(callee.inputs) - states, len(callee.outputs) - states
            before = {first_out + i for i in range(states) if first_in + i in found.inputs}
            if node.scan is None or before <= leaving:
                break
            leaving |= before  # the gradient of a state is one of what the step before leaves
        prefix, passed = f"{node.module}." if node.module else "", dict(node.bindings)
        weights = frozenset(full_path(key, prefix, passed) for key in found.weights)
        entries = node.scan.entries if node.scan is not None else range(len(callee.inputs))
        return [position for position, at in enumerate(entries) if at in found.inputs], found._replace(weights=weights)
