"""The audit: every claim of a program tested with numbers on the compiled module, in float64 and evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from time import monotonic

from archlang.compiler.analysis.biases import claiming
from archlang.compiler.analysis.biases.findings import Finding, Verdict
from archlang.compiler.graph import Graph, Instance, Program
from torch import Tensor, nn

from . import cells, flow, games, latents, order, space
from .bench import Bench
from .results import TOLERANCE, Measured, Outcome, Result, Untestable, worst

__all__ = ["TOLERANCE", "Outcome", "Result", "audit", "audited", "check_claim"]

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
    "sequential": cells.sequential,
    "permutation_equivariance": order.permutation,
    "permutation_invariance": order.permutation,
    "bottleneck": flow.bottleneck,
    "residual": flow.residual,
    "gating": flow.gating,
    "smooth_latent": latents.smooth_latent,
    "adversarial": games.adversarial,
}
"""What tests each kind of claim."""


def audit(
    program: Program, weights: nn.Module | None = None, seeds: Sequence[int] = SEEDS, budget: float | None = None
) -> Iterator[Result]:
    """A result for each claim of `audited`. weights: a module of the program, for its weights in place of random ones;
    random inputs come from the seeds. budget: seconds after which no further test is begun; what is left is untested.
    """
    end = inf if budget is None else monotonic() + budget
    for graph, finding in audited(program):
        if monotonic() < end:
            yield check_claim(program, graph, finding, _state_of(program, graph, weights), seeds, end)
        else:
            yield Result(finding, Outcome.UNTESTED, tuple(seeds), note=f"the {budget:g} seconds are used up")


def audited(program: Program) -> list[tuple[Graph, Finding]]:
    """The claims that are proved or assumed, with their graphs: what several uses of a block find alike once, in the
    first."""
    graphs = [graph for graph in claiming(program) for _ in graph.claims]
    found: dict[object, tuple[Graph, Finding]] = {}
    for graph, finding in zip(graphs, program.findings, strict=True):
        key = finding.span, str(finding), finding.verdict, finding.message, finding.caveats
        if finding.verdict in (Verdict.PROVED, Verdict.ASSUMED):
            found.setdefault(key, (graph, finding))
    return list(found.values())


def check_claim(
    program: Program,
    graph: Graph,
    finding: Finding,
    state: Mapping[str, Tensor] | None = None,
    seeds: Sequence[int] = SEEDS,
    end: float = inf,
) -> Result:
    """One finding about a graph of a program, tested. state: weights of an instance of the graph. end: the time, on the
    monotonic clock, after which no further seed is begun; the first always is."""
    measured: list[Measured] = []
    try:
        run = TESTS.get(finding.claim.name)
        if run is None:
            raise Untestable("there is no test for it")
        bench = Bench(program, graph, () if finding.ref is None else (finding.ref,), state)
        for seed in seeds:
            if not measured or monotonic() < end:
                measured.append(run(bench, finding, seed))
        found = worst(measured)
    except Untestable as failure:
        measured = []
        found = Measured(Outcome.UNTESTED, note=str(failure))
    tights = [m.tight for m in measured if m.tight is not None]
    tight = any(tights) if tights else None  # an edge that one draw hides shows in another
    used = tuple(seeds)[: len(measured) or None]
    return Result(finding, found.outcome, used, found.error, found.place, found.note, tight, figures=found.figures)


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
