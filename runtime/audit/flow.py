"""Tests of claims about what flows to a value: bottleneck, residual path, gates."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from archlang.compiler.analysis.biases.findings import Finding
from archlang.compiler.analysis.gates import Gates, Product
from archlang.compiler.analysis.labels import label
from archlang.compiler.analysis.paths import PROJECTION, identity_ways
from archlang.compiler.graph import Kind, Ref

from .bench import Bench, Pair
from .cells import gates_of_cells
from .results import Measured, Outcome, Untestable

_WIDEST = 512  # elements of a bottleneck whose Jacobian is worked out
_SLACK = 8  # gradients taken beyond the elements claimed: one more would show a wider cut
_LARGE = 64  # elements of open axes: ranks and ranges of a value of few elements would say little
_RANK = 1e-9  # singular values below this part of the largest are rounding


def bottleneck(bench: Bench, finding: Finding, seed: int) -> Measured:
    """The Jacobian of the value by the inputs of one example has no higher rank than the claim allows: n and a few more
    gradients of random weightings of the value span no more than n directions."""
    n: int = finding.claim.n  # type: ignore[attr-defined]
    if n > _WIDEST:
        raise Untestable(f"the rank of a Jacobian is measured up to {_WIDEST} elements, and {n:,} are claimed")
    stage = bench.stage(_single(bench), seed, _LARGE)
    inputs = stage.inputs(seed)
    data = _data(bench, inputs)
    leaves = [x.requires_grad_() for x in data if x.is_floating_point()]
    if len(leaves) < len(data):
        raise Untestable("an input holds indices, which have no gradient")
    (value,) = stage.values(inputs)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(n + _SLACK):
        weights = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        gradients = torch.autograd.grad((value * weights).sum(), leaves, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in gradients]))
    singular = torch.linalg.svdvals(torch.stack(rows))
    rank = int((singular > _RANK * singular[0]).sum()) if float(singular[0]) > 0 else 0
    text = f"rank {rank}{' or more' if rank == n + _SLACK else ''}, {n} claimed"
    if not rank:
        raise Untestable("no gradient reaches the inputs")
    return Measured(Outcome.AGREES if rank <= n else Outcome.CONTRADICTED, note=text, figures={"rank": rank})


def _data(bench: Bench, inputs: Mapping[int, torch.Tensor]) -> list[torch.Tensor]:
    """What holds something of an example."""
    data = set(bench.graph.data_inputs)
    return [x for i, x in inputs.items() if bench.graph.inputs[i] in data]


def _single(bench: Bench) -> dict[Pair, int]:
    """One example: the axis called B, where it is open."""
    found = {}
    for i in bench.sources:
        for a, (name, size) in enumerate(zip(bench.type(i).names, bench.type(i).shape, strict=True)):
            if name == "B" and not isinstance(size, int):
                found[i, a] = 1
    return found


def residual(bench: Bench, finding: Finding, seed: int) -> Measured:
    """With every weight off the path at zero, the gradient still reaches an input."""
    way = identity_ways().to(bench.flat, _goal(bench))
    if way is None:
        raise Untestable("the value does not depend on an input")
    crossed = [step.path for step in way.steps() if step.what == PROJECTION]
    allowed: int = finding.claim.projections  # type: ignore[attr-defined]
    stage = bench.stage({}, seed, _LARGE)
    with torch.no_grad():
        for key, tensor in stage.module.named_parameters():
            if not any(key.startswith(f"{path}.") for path in crossed[:allowed]):
                tensor.zero_()
    inputs = stage.inputs(seed)
    leaves = [x.requires_grad_() for x in _data(bench, inputs) if x.is_floating_point()]
    if not leaves:
        raise Untestable("an input holds indices, which have no gradient")
    (value,) = stage.values(inputs)
    reached = 0.0
    if value.requires_grad:
        gradients = torch.autograd.grad(value.sum(), leaves, materialize_grads=True)
        reached = max(float(g.abs().max()) for g in gradients)
    if reached > 0:
        return Measured(Outcome.AGREES, note=f"gradient {reached:.3g} with all other weights at zero")
    return Measured(Outcome.CONTRADICTED, note="no gradient reaches the input once all other weights are zero")


def _goal(bench: Bench) -> Ref:
    (ref,) = bench.flat.operands(bench.flat.outputs[0])
    return ref


def gating(bench: Bench, finding: Finding, seed: int) -> Measured:
    """The values of a factor that the proof calls a gate lie in [0, 1], and are not all the same."""
    flat = bench.flat
    product = Gates().on_the_way(flat, _goal(bench))
    if product is None:
        raise Untestable("no product is found on the way")
    at = [
        n for n in flat if flat[n].kind is Kind.OP and label(flat, n) == product.path and flat[n].span == product.span
    ]
    at = [n for n in at if flat[n].op is not None and flat[n].op.name in ("mul", "einsum")]  # type: ignore[union-attr]
    if not at:
        return _at_one_step(bench, product, seed)
    refs = [ref for n in at for ref in flat.operands(n) if flat.type(ref).rank]
    if not refs:
        raise Untestable("the factors are constants")
    inner = Bench(bench.program, flat, tuple(refs), bench.state)
    stage = inner.stage({}, seed, _LARGE)
    factors = stage.run(stage.inputs(seed))
    return _in_bounds([(float(f.min()), float(f.max())) for f in factors])


def _at_one_step(bench: Bench, product: Product, seed: int) -> Measured:
    """A gate of a cell, at one of its steps."""
    ranges = list(gates_of_cells(bench, product, seed))
    if not ranges:
        raise Untestable("the gate is part of a layer, whose inside the test does not see")
    return _in_bounds(ranges)


def _in_bounds(ranges: list[tuple[float, float]]) -> Measured:
    gates = [(lo, hi) for lo, hi in ranges if 0 <= lo < hi <= 1]
    if gates:
        return Measured(Outcome.AGREES, note=f"gate in [{gates[0][0]:.3g}, {gates[0][1]:.3g}]")
    shown = ", ".join(f"[{lo:.3g}, {hi:.3g}]" for lo, hi in ranges)
    return Measured(Outcome.CONTRADICTED, note=f"no factor lies in [0, 1]: {shown}")
