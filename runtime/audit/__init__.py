"""The audit: every claim of a program tested with numbers on the compiled module, in float64 and evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from archlang.compiler.analysis.biases import claiming
from archlang.compiler.analysis.biases.findings import Finding, Verdict
from archlang.compiler.graph import Graph, Instance, Program
from torch import Tensor, nn

from . import flow, order, space
from .bench import Bench
from .results import TOLERANCE, Measured, Outcome, Result, Untestable, worst

__all__ = ["TOLERANCE", "Outcome", "Result", "audit", "check_claim"]

SEEDS = (0, 1)

Test = Callable[[Bench, Finding, int], Measured]
TESTS: dict[str, Test] = {
    "locality": space.locality,
    "translation_equivariance": space.translation,
    "translation_invariance": space.translation,
    "weight_sharing": space.weight_sharing,
    "global_context": space.global_context,
    "hierarchy": space.hierarchy,
    "causality": order.causality,
    "permutation_equivariance": order.permutation,
    "permutation_invariance": order.permutation,
    "bottleneck": flow.bottleneck,
    "residual": flow.residual,
    "gating": flow.gating,
}
"""What tests each kind of claim. Those left out need what the language can't say yet, and are always refused."""


def audit(program: Program, weights: nn.Module | None = None, seeds: Sequence[int] = SEEDS) -> Iterator[Result]:
    """A result for each claim that is proved or assumed; what several uses of a block find alike is tested once, in the
    first. weights: a module of the program, for its weights in place of random ones; random inputs come from the seeds.
    """
    graphs = [graph for graph in claiming(program) for _ in graph.claims]
    seen = set()
    for graph, finding in zip(graphs, program.findings, strict=True):
        key = finding.span, str(finding), finding.verdict, finding.message, finding.caveats
        if key not in seen and finding.verdict in (Verdict.PROVED, Verdict.ASSUMED):
            seen.add(key)
            yield check_claim(program, graph, finding, _state_of(program, graph, weights), seeds)


def check_claim(
    program: Program,
    graph: Graph,
    finding: Finding,
    state: Mapping[str, Tensor] | None = None,
    seeds: Sequence[int] = SEEDS,
) -> Result:
    """One finding about a graph of a program, tested. state: weights of an instance of the graph."""
    measured: list[Measured] = []
    try:
        run = TESTS.get(finding.claim.name)
        if run is None or finding.ref is None:
            raise Untestable("there is no test for it")
        bench = Bench(program, graph, (finding.ref,), state)
        measured = [run(bench, finding, seed) for seed in seeds]
        found = worst(measured)
    except Untestable as failure:
        found = Measured(Outcome.UNTESTED, note=str(failure))
    tights = [m.tight for m in measured if m.tight is not None]
    tight = any(tights) if tights else None  # an edge that one draw hides shows in another
    return Result(
        finding, found.outcome, tuple(seeds), found.error, found.place, found.note, tight, figures=found.figures
    )


def _state_of(program: Program, graph: Graph, weights: nn.Module | None) -> Mapping[str, Tensor] | None:
    """The weights of the first instance of a graph, by the graph's own keys."""
    if weights is None:
        return None
    prefix = _place_of(program.graph, graph, "")
    if prefix is None:
        prefix = ""  # an entry, over the network's own modules
    state = weights.state_dict()
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _place_of(inside: Graph, wanted: Graph, prefix: str) -> str | None:
    if inside is wanted:
        return prefix
    for path, module in inside.modules.items():
        if isinstance(module, Instance):
            found = _place_of(module.graph, wanted, f"{prefix}{path}.")
            if found is not None:
                return found
    return None
