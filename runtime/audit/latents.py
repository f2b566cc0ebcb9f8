"""The test of claims about latents: what is drawn, and that the divergence in the loss is that of what is drawn."""

from __future__ import annotations

import math

import torch
from archlang.compiler.analysis.biases.findings import Finding
from archlang.compiler.analysis.latents import Divergence, Latent, Search
from archlang.compiler.flatten import FlattenLimit
from archlang.compiler.graph import Graph, Ref
from archlang.compiler.ops.losses import KLNormal, KLStandardNormal
from torch import Tensor

from .bench import Bench, Pair
from .results import Measured, Outcome, Untestable, worst

_DRAWS = 2048  # for one input
_ERRORS = 6.0  # standard errors that chance never makes, with the seeds that are used


def smooth_latent(bench: Bench, finding: Finding, seed: int) -> Measured:
    """Draws for one input differ and follow N(mean, variance), the divergence in the loss is what they estimate, and
    its gradient and theirs reach the mean and the log-variance. All latents of the network are tested."""
    try:
        flat = bench.program.graph.flatten()
    except FlattenLimit as limit:
        raise Untestable(str(limit)) from None
    state = bench.state if bench.graph is bench.program.graph else None
    search = Search(flat)
    pairs = [
        (latent, divergence)
        for draw in search.draws(None, search.root)
        for latent in search.latents(draw, None)
        for divergence in search.divergences()
        if search.fits(latent, divergence)
    ]
    if not pairs:
        raise Untestable("no latent with a divergence is found in the network")
    return worst([_tested(Bench(bench.program, flat, _refs(flat, *pair), state), *pair, seed) for pair in pairs])


def _refs(flat: Graph, latent: Latent, divergence: Divergence) -> tuple[Ref, ...]:
    """The latent, the divergence, and what that is of: means and log-variances."""
    return latent.value.ref, divergence.value.ref, *flat.operands(divergence.value.ref.node)


def _tested(bench: Bench, latent: Latent, divergence: Divergence, seed: int) -> Measured:
    op = bench.graph[divergence.value.ref.node].op
    assert isinstance(op, (KLStandardNormal, KLNormal))
    stage = bench.stage(_batch(bench), seed)
    inputs = {i: x[:1].expand_as(x).clone() if x.ndim else x for i, x in stage.inputs(seed).items()}
    z, divided, *moments = stage.values(inputs)
    if z.shape != moments[0].shape or len(z) != _DRAWS:
        raise Untestable("the latent has no batch axis, or another shape than its mean")
    if not all(_reached(found, moment) for found in (divided, z) for moment in moments[:2]):
        return Measured(Outcome.CONTRADICTED, note="a gradient does not reach the mean and the log-variance")
    z, divided, moments = z.detach(), divided.detach(), [m.detach() for m in moments]
    if torch.equal(z[0], z[1]):
        return Measured(Outcome.CONTRADICTED, note="two draws for one input are equal")
    noise = (z - moments[0]) * torch.exp(-0.5 * moments[1])
    slack = _ERRORS / math.sqrt(noise.numel())
    if not (abs(float(noise.mean())) < slack and abs(float(noise.square().mean()) - 1) < math.sqrt(2) * slack):
        return Measured(Outcome.CONTRADICTED, note="the draws do not follow the mean and the variance")
    return _estimated(op.reduction, divided, _ratio(z, moments))


def _reached(found: Tensor, moment: Tensor) -> bool:
    """Does the gradient of a value reach what it is made of?"""
    if not (found.requires_grad and moment.requires_grad):
        return False
    (gradient,) = torch.autograd.grad(found.sum(), moment, retain_graph=True, allow_unused=True)
    return gradient is not None and bool(gradient.abs().max() > 0)


def _batch(bench: Bench) -> dict[Pair, int]:
    """As many examples as there are draws."""
    found = {
        (i, a): _DRAWS
        for i in bench.sources
        for a, (name, size) in enumerate(zip(bench.type(i).names, bench.type(i).shape, strict=True))
        if name == "B" and not isinstance(size, int)
    }
    if len({i for i, _ in found}) < len(bench.sources):
        raise Untestable("an input has no batch axis of open size")
    return found


def _ratio(z: Tensor, moments: list[Tensor]) -> Tensor:
    """log q(z) − log p(z), of each element of each draw."""
    mean, variance = moments[:2]
    prior, width = moments[2:] if moments[2:] else (torch.zeros_like(mean), torch.zeros_like(mean))
    ours = -0.5 * (variance + (z - mean).square() * torch.exp(-variance))
    return ours + 0.5 * (width + (z - prior).square() * torch.exp(-width))


def _estimated(reduction: str, divided: Tensor, ratio: Tensor) -> Measured:
    """Is a divergence the mean of the ratio, up to chance?"""
    each = ratio.flatten(1)
    if reduction == "none":
        divided = divided.flatten(1)[0].sum()
    elif reduction == "mean":
        divided = divided * each.shape[1]
    elif reduction == "sum":
        divided = divided / len(each)
    totals = each.sum(1)
    mean, error = float(totals.mean()), float(totals.std()) / math.sqrt(len(totals))
    text = f"divergence {float(divided):.4g}, {mean:.4g} ± {error:.2g} by {len(totals):,} draws"
    agrees = abs(float(divided) - mean) <= _ERRORS * error
    return Measured(Outcome.AGREES if agrees else Outcome.CONTRADICTED, note=text)
