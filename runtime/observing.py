"""Values inside a network, from the network that is trained: another module of the same program with other outputs."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.compiler.graph import Graph, Program, Ref
from torch import nn

from .audit.bench import compiled, sliced


def observing(program: Program, graph: Graph, refs: Sequence[Ref], module: nn.Module) -> nn.Module:
    """A module whose outputs are these values, and whose weights and buffers are those of `module`: the same tensors,
    so that it always computes what `module` would. It is in evaluation mode, and does only what the values need.

    graph: the program's graph, or that graph flattened: what the refs are of. Inputs are the program's, targets left
    out. With one ref the module returns a tensor, with several a tuple. A `module` that is moved to another device
    takes new tensors: observe it afterwards. Raises Untestable where a value depends on a target."""
    made = compiled(program, sliced(graph, refs))
    shared = module.state_dict(keep_vars=True)
    made.load_state_dict({key: shared[key] for key in made.state_dict()}, assign=True)
    return made.eval()
