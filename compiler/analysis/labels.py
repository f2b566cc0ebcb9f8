"""What to call a step of a graph in a message."""

from __future__ import annotations

from ..graph import Graph


def label(graph: Graph, number: int) -> str:
    """The path of the module that a node runs, the name that its author gave it, or what it is: `layer1.0.conv1`,
    `code`, `relu`."""
    node = graph[number]
    kind = node.op.name if node.op is not None else node.graph.name if node.graph is not None else node.kind.value
    return node.module or node.name or kind


def beneath(path: str, inner: str) -> str:
    """The path of something in a block, from where the block stands."""
    return f"{path}.{inner}" if path else inner
