"""Where a tensor's elements stand in memory: images with the channels of a position side by side."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Program
from ..ops.conv import Conv


def channels_last(program: Program) -> Program:
    """With channels last, where most is computed by two-dimensional convolutions: CPU libraries then filter without
    reordering, and norms over channels read what lies together."""
    images = any(program.graph[n].types[0].rank == 4 for n in program.graph.inputs)
    filters = any(
        isinstance(graph[n].op, Conv) and graph[n].types[0].rank == 4
        for graph in program.graph.graphs()
        for n in graph.nx.nodes
    )
    return replace(program, channels_last=images and filters)
