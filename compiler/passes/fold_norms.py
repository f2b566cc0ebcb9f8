"""Batch normalisation in evaluation is an affine map of each channel. After a convolution or a linear layer it is part
of that layer's weights: with s = γ / √(σ² + ε), norm(W x + b) = (s W) x + (s (b − μ) + β)."""

from __future__ import annotations

from ..graph import Fold, Graph, Kind, Layer, Program
from ..ops.conv import Conv
from ..ops.linear import Linear
from ..ops.norm import BatchNorm
from .rewrite import each_graph, replace_op, silence


def fold_norms(program: Program) -> Program:
    """With every norm that directly follows a layer of its own folded into it."""
    if program.entries:
        return program  # an entry may run the layer without the norm
    borrowed = _borrowed(program)
    return each_graph(program, lambda graph: _fold(graph, borrowed))


def _borrowed(program: Program) -> frozenset[str]:
    """Last parts of the paths of layers whose weights, or which themselves, are used from elsewhere."""
    found: set[str] = set()
    for graph in program.graph.graphs():
        for number in graph.nx.nodes:
            node = graph[number]
            if node.weight is not None:
                found.add(node.weight.rpartition(".")[0].rpartition(".")[2])
            found.update(path.rpartition(".")[2] for _, path in node.bindings)
    return frozenset(found)


def _fold(graph: Graph, borrowed: frozenset[str]) -> None:
    runs: dict[str, int] = {}
    for number in graph.nx.nodes:
        path = graph[number].module
        if path is not None:
            runs[path] = runs.get(path, 0) + 1
    folds = []
    for number in graph.order():
        norm = graph[number]
        if not isinstance(norm.op, BatchNorm) or not norm.op.track or norm.replaced or norm.module is None:
            continue
        (ref,) = graph.operands(number)
        layer = graph[ref.node]
        alone = len(graph.users(ref.node)) == 1 and layer.module is not None and norm.module is not None
        if layer.kind is not Kind.OP or not alone or not _foldable(layer.op) or layer.replaced:
            continue
        assert layer.module is not None
        if runs[layer.module] > 1 or runs[norm.module] > 1:
            continue
        if isinstance(layer.op, Linear) and layer.types[0].rank != 2:
            continue  # the norm counts axis 1 as channels
        if {layer.module.rpartition(".")[2], norm.module.rpartition(".")[2]} & borrowed:
            continue
        made = graph.modules[layer.module]
        assert isinstance(made, Layer) and layer.op is not None
        folds.append(Fold(layer.module, norm.module, norm.op.eps))
        replace_op(graph, ref.node, layer.op.replace(bias=True))
        silence(graph, number)
    graph.folds = (*graph.folds, *folds)


def _foldable(op: object) -> bool:
    """Are the rows of its weight the channels of its result, and is the weight what its checkpoint says?"""
    return isinstance(op, Conv | Linear) and not op.spectral_norm and getattr(op, "layout", "oi") == "oi"
