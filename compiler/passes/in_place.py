"""Results written over an operand that nothing else reads: no memory has to be found for them, which on a CPU can take
longer than the arithmetic."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Graph, Kind, Program, Ref
from ..ops import require
from ..ops.base import Glyph, Op
from .rewrite import each_graph, put

# Ops whose result never shares memory with an operand. Not einsum, cast or stop_gradient: those may pass a view on.
_MAKERS = frozenset(
    (
        *("conv", "conv_transpose", "linear", "batchnorm", "layernorm", "groupnorm", "instancenorm"),
        *("maxpool", "avgpool", "adaptive_avgpool", "adaptive_maxpool", "global_avgpool", "global_maxpool"),
        *("concat", "stack", "add", "sub", "mul", "div"),
    )
)
_VIEWS = ("identity", "rearrange", "flatten", "reshape", "transpose", "unsqueeze", "squeeze")


def in_place(program: Program) -> Program:
    """With elementwise ops overwriting what they alone read. Only without gradients."""
    owned: dict[int, bool] = {}
    views = tuple(require(name) for name in _VIEWS)
    return each_graph(program, lambda graph: _overwrite(graph, owned, views))


def _overwrite(graph: Graph, owned: dict[int, bool], views: tuple[type[Op], ...]) -> None:
    def fresh(ref: Ref) -> bool:
        """Does this hold memory of its own, with one reader?"""
        node = graph[ref.node]
        if len(graph.users(ref.node)) != 1:
            return False
        if node.kind is Kind.CALL:
            return owned[id(node.graph)]
        if isinstance(node.op, views):
            return fresh(graph.operands(ref.node)[0])
        return node.op is not None and (node.op.name in _MAKERS or node.op.glyph is Glyph.ACTIVATION)

    for number in graph.order():
        node = graph[number]
        if node.op is None or node.kind is not Kind.OP or node.replaced:
            continue
        inputs = tuple(graph.type(ref) for ref in graph.operands(number))
        for position, ref in enumerate(graph.operands(number)):
            if node.op.overwrite(position, inputs, node.types) is not None and fresh(ref):
                put(graph, number, replace(node, overwrites=position))
                break
    results = [graph.operands(n)[0] for n in graph.outputs]
    owned[id(graph)] = len(results) == 1 and fresh(results[0])
