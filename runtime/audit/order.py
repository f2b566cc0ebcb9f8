"""Tests of claims about the order of positions: causality, permutations."""

from __future__ import annotations

from fractions import Fraction

import torch
from archlang.compiler.analysis.biases.findings import Finding
from archlang.compiler.analysis.receptive import Receptive
from torch import Tensor

from .bench import Bench, Pair, Stage
from .results import Measured, Untestable, compare, worst
from .windows import Window, windows_of

_ENOUGH = 12  # positions of an axis whose size is open


def causality(bench: Bench, finding: Finding, seed: int) -> Measured:
    """Two inputs that agree up to t have values that agree up to t; for several t along each axis."""
    found = []
    for window in windows_of(bench, finding):
        pairs = bench.pairs(window.axis, window.pair)
        size = max(bench.size(window.pair), _ENOUGH) if window.open(bench) else bench.size(window.pair)
        stage = bench.stage(dict.fromkeys(pairs, size), seed)
        for t in sorted({0, size // 4, size // 2, size - 2}):
            if 0 <= t < size - 1:
                measured = _agree(stage, pairs, window, t, seed)
                found += [measured] if measured is not None else []
    if not found:
        raise Untestable("the value does not change with what comes later")
    return worst(found)


def _agree(stage: Stage, pairs: list[Pair], window: Window, t: int, seed: int) -> Measured | None:
    """None where nothing of the value changes with what comes later."""
    if window.along is None:
        raise Untestable("the value has no places along the axis")
    inputs, others = stage.inputs(seed), stage.inputs(seed + 1000)
    changed = dict(inputs)
    for i, a in pairs:
        x, size = changed[i], stage.shapes[i][a]
        changed[i] = torch.cat([x.narrow(a, 0, t + 1), others[i].narrow(a, t + 1, size - t - 1)], a)
    (left,), (right,) = stage.run(inputs), stage.run(changed)
    last = min(int(Fraction(t) / window.stride), left.shape[window.along] - 1)
    if torch.equal(left, right):
        return None
    scale = float(left.abs().max())
    return compare(left.narrow(window.along, 0, last + 1), right.narrow(window.along, 0, last + 1), scale)


def permutation(bench: Bench, finding: Finding, seed: int) -> Measured:
    """Positions of the claimed axes change places, alike in all inputs that have them: those of the value do so too, or
    the value stays."""
    stage = bench.stage(_lengths(bench, finding), seed)
    generator = torch.Generator().manual_seed(seed + 7)
    inputs = stage.inputs(seed)
    orders: dict[object, Tensor] = {}
    moved = dict(inputs)
    for i, a in finding.axes:
        name = bench.type(i).names[a] or (i, a)
        if name not in orders:
            orders[name] = _shuffled(stage.shapes[i][a], generator)
        moved[i] = moved[i].index_select(a, orders[name])
    (left,), (right,) = stage.run(inputs), stage.run(moved)
    if finding.claim.name == "permutation_equivariance":
        for i, a in finding.axes:
            for along in _alongs(bench, (i, a)):
                order = orders[bench.type(i).names[a] or (i, a)]
                if left.shape[along] != len(order):
                    raise Untestable("the value has another number of places than the input")
                left = left.index_select(along, order)
        if left.numel() and float(left.max()) == float(left.min()):
            raise Untestable("the value is the same at all places")
    return compare(left, right)


def _lengths(bench: Bench, finding: Finding) -> dict[Pair, int]:
    sizes = {}
    for pair in finding.axes:
        size = bench.size(pair)
        fixed = isinstance(bench.type(pair[0]).shape[pair[1]], int)
        for same in bench.pairs(bench.type(pair[0]).names[pair[1]], pair):
            sizes[same] = size if fixed else min(size, _ENOUGH)
    return sizes


def _shuffled(size: int, generator: torch.Generator) -> Tensor:
    """A random order that is not the old one, where there is another."""
    order = torch.randperm(size, generator=generator)
    return order.roll(1) if size > 1 and torch.equal(order, torch.arange(size)) else order


def _alongs(bench: Bench, pair: Pair) -> list[int]:
    """The axes of the value that go with an axis of an input."""
    view = Receptive().views(bench.graph)[bench.refs[0]]
    return [key[0] for key in view.relations if key[1:] == pair and key[0] is not None]
