"""Latent variables of variational models: how much each dimension says about an example.

A latent is what a `kl_standard_normal` compares with the standard normal distribution: means and log-variances that the
network finds for an example x, its posterior q(z | x)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import torch
from archlang.compiler.graph import Graph, Program
from archlang.compiler.source import Span
from torch import Tensor, nn

from ..audit.results import Untestable
from ..data.fading import examples
from ..observing import observing
from ..seeding import fixed_noise

ACTIVE = 0.01
"""A dimension is active where the variance over examples of its posterior mean is above this (Burda et al., 2016)."""


@dataclass(frozen=True)
class Latent:
    """One latent over a part of the data. kl: for each dimension, the mean over examples of KL(q(z | x) ‖ N(0, 1)), in
    nats. variances: for each, the variance over examples of the posterior mean. span: its KL in the spec."""

    kl: tuple[float, ...]
    variances: tuple[float, ...]
    span: Span | None

    @property
    def active(self) -> int:
        """How many dimensions are active."""
        return sum(variance > ACTIVE for variance in self.variances)

    @property
    def total(self) -> float:
        """KL of all dimensions together, in nats."""
        return sum(self.kl)


@dataclass
class _Sums:
    """Over examples, for each dimension: of KL, of the mean, of its square."""

    kl: Tensor
    mean: Tensor
    square: Tensor

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(self.kl + other.kl, self.mean + other.mean, self.square + other.square)


class Latents:
    """Follows the latents of a module over batches, on the device until they are read."""

    def __init__(self, module: nn.Module, inputs: int, spans: Sequence[Span | None]) -> None:
        self.module, self.inputs, self.spans = module, inputs, spans
        self._sums: list[_Sums] = []
        self._seen = 0

    @staticmethod
    def of(program: Program, module: nn.Module) -> Latents | None:
        """None where the program has no latents, or none that its inputs decide."""
        flat, nodes = _divergences(program)
        if not nodes:
            return None
        refs = [ref for number in nodes for ref in flat.operands(number)]
        try:
            inner = observing(program, flat, refs, module)
        except Untestable:
            return None
        return Latents(inner, len(program.input_nodes()), [flat[number].span for number in nodes])

    def add(self, batch: Sequence[Tensor]) -> None:
        """Takes a batch of examples: inputs, then targets."""
        with torch.no_grad(), fixed_noise(batch[0].device):
            found = self.module(*batch[: self.inputs])
        pairs = [(found[i].double().flatten(1), found[i + 1].double().flatten(1)) for i in range(0, len(found), 2)]
        sums = [_sums(mean, logvar) for mean, logvar in pairs]
        if self._sums:
            sums = [old.plus(new) for old, new in zip(self._sums, sums, strict=True)]
        self._sums = sums
        self._seen += len(examples(batch))

    def read(self) -> list[Latent]:
        """What was found since the last time; nothing where no example came."""
        seen, sums = self._seen, self._sums
        self._sums, self._seen = [], 0
        found = []
        for each, span in zip(sums, self.spans, strict=False):
            mean = each.mean / seen
            variance = (each.square / seen - mean.square()).clamp(min=0)
            found.append(Latent(tuple((each.kl / seen).tolist()), tuple(variance.tolist()), span))
        return found


def _sums(mean: Tensor, logvar: Tensor) -> _Sums:
    kl = 0.5 * (mean.square() + torch.expm1(logvar) - logvar)
    return _Sums(kl.sum(0), mean.sum(0), mean.square().sum(0))


def _divergences(program: Program) -> tuple[Graph, list[int]]:
    """The graph flattened, and its nodes that compare a latent with the standard normal distribution."""
    if not any(_compares(graph, n) for graph in program.graph.graphs() for n in graph):
        return program.graph, []  # most programs: nothing to flatten
    flat = program.graph.flatten()
    return flat, [n for n in flat.order() if _compares(flat, n)]


def _compares(graph: Graph, number: int) -> bool:
    op = graph[number].op
    return op is not None and op.name == "kl_standard_normal"


def divergence_terms(program: Program) -> list[str]:
    """Names of the losses that latents are part of."""
    flat, nodes = _divergences(program)
    return [flat[n].name for n in flat.losses if nx.ancestors(flat.nx, n) & set(nodes)]


def reconstruction(terms: Mapping[str, float], weights: Mapping[str, float], latent: Sequence[str]) -> float | None:
    """The weighted sum of the losses that latents are no part of; None where there is none. terms: by name."""
    others = [weights.get(name, 1.0) * value for name, value in terms.items() if name not in latent and name in weights]
    return sum(others) if others else None
