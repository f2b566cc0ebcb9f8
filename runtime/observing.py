"""Values inside a network, from the network that is trained: more modules of its program, which share the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archlang.compiler.graph import Graph, Kind, Program, Ref
from torch import nn

from .audit.bench import compiled, sliced
from .module import build


def observing(
    program: Program, graph: Graph, refs: Sequence[Ref], module: nn.Module, *, standalone: bool = False
) -> nn.Module:
    """A module whose outputs are these values, and whose weights and buffers are those of `module`: the same tensors,
    so that it always computes what `module` would. It is in evaluation mode, and does only what the values need.

    graph: the program's graph, or that graph flattened: what the refs are of. Inputs are the program's, targets left
    out. With one ref the module returns a tensor, with several a tuple. standalone: as `build` has it. A `module` that
    is moved to another device takes new tensors: observe it afterwards. Raises Untestable where a value depends on a
    target."""
    return _sharing(compiled(program, sliced(graph, refs), standalone=standalone), module)


def with_targets(program: Program) -> Graph:
    """The program's graph, to be observed with its targets as inputs after the others: what a batch has."""
    graph, targets = program.graph, program.target_nodes()
    nodes = graph.nx.copy()
    for n in targets:
        nodes.nodes[n]["node"] = replace(graph[n], kind=Kind.INPUT)
    return replace(graph, nx=nodes, inputs=[*program.input_nodes(), *targets])


def unrolled(program: Program, module: nn.Module) -> nn.Module:
    """The whole module again, its recurrences as loops over their cells, which can be seen into. It shares weights and
    is evaluated as `observing` has it."""
    return _sharing(build(program, started=False, standalone=True), module)


def _sharing(made: nn.Module, module: nn.Module) -> nn.Module:
    shared = module.state_dict(keep_vars=True)
    for key, parameter in made.named_parameters(remove_duplicate=False):
        parameter.requires_grad_(shared[key].requires_grad)  # or assigning would unfreeze what is shared
    made.load_state_dict({key: shared[key] for key in made.state_dict()}, assign=True)
    return made.eval()
