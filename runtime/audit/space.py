"""Tests of claims about places: what follows moves, footprints, hierarchies, weights shared."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

import torch
from archlang.compiler.analysis.biases.findings import Finding
from archlang.compiler.analysis.receptive import Receptive
from archlang.compiler.graph import Ref
from archlang.compiler.relations import Sees
from torch import Tensor

from .bench import WIDE, Bench, Pair, Stage
from .results import Costly, Measured, Outcome, Untestable, compare, worst
from .windows import Window, reach, windows_of

_ROUNDS = 3  # draws of inputs for a footprint: ReLU and maxima hide some positions in each
_LONGEST = 10_000
_FEW = 12  # positions of an open axis, at least, of which all are to be reached
_LENGTHS = (16, 32, 48, 64, 96)  # positions of an open axis at which weights are counted: the first that it takes


def translation(bench: Bench, finding: Finding, seed: int) -> Measured:
    """The input moves by the proved period along each axis; the value moves with it, or stays."""
    found = []
    everywhere = any(caveat.name == "global statistics" for caveat in finding.caveats)
    for window in windows_of(bench, finding):
        if window.along is not None and window.width is not None and not everywhere:
            found.append(_inside(bench, window, seed))
        else:
            found.append(_amid(bench, window, seed))
    return worst(found)


def _inside(bench: Bench, window: Window, seed: int) -> Measured:
    """Compares the places whose windows lie inside before and after the move."""
    assert window.width is not None and window.lo is not None and window.hi is not None and window.along is not None
    margin = max(window.width, int(max(-window.lo, window.hi)) * 2)
    needed = margin + 2 * window.period + 2 * int(window.stride + 1)
    size = window.length(bench, needed)
    pairs = bench.pairs(window.axis, window.pair)
    stage = bench.stage(dict.fromkeys(pairs, size), seed)
    inputs = stage.inputs(seed)
    moved = _moved(inputs, pairs, window.period)
    (before,), (after,) = stage.run(inputs), stage.run(moved)
    places = [
        o
        for o in range(before.shape[window.along] - window.step)
        if window.stride * o + window.lo >= 0 and window.stride * o + window.hi + window.period < size
    ]
    if not places:
        raise Untestable(f"no window lies inside {size} positions")
    left = before.narrow(window.along, places[0], len(places))
    right = after.narrow(window.along, places[0] + window.step, len(places))
    if left.numel() and float(left.max()) == float(left.min()):
        raise Untestable("the value is the same at all places")
    return compare(left, right)


def _amid(bench: Bench, window: Window, seed: int) -> Measured:
    """Content amid a constant background, so wide that no border knows of it: what leaves equals what enters."""
    source, axis = window.pair
    far = reach(bench.flat, bench.sources.index(source), axis)
    content = max(2 * window.period, 4)
    size = window.length(bench, content + 2 * far + 4 * window.period)
    if size > _LONGEST:
        raise Untestable(f"the test needs {size:,} positions")
    pairs = bench.pairs(window.axis, window.pair)
    stage = bench.stage(dict.fromkeys(pairs, size), seed)
    inputs = stage.inputs(seed)
    start = (size - content - window.period) // 2
    for i, a in pairs:
        x = inputs[i]
        row = x.narrow(a, 0, 1).expand_as(x).clone()  # the same at all positions of the axis
        row.narrow(a, start, content).copy_(x.narrow(a, start, content))
        inputs[i] = row
    (before,), (after,) = stage.run(inputs), stage.run(_moved(inputs, pairs, window.period))
    if window.along is None:
        return compare(before, after)
    last = before.shape[window.along] - window.step
    inside = [o for o in range(last) if far <= window.stride * o <= size - far - window.period]
    if not inside:
        raise Untestable(f"no place of {size} positions lies far enough from the borders")
    left = before.narrow(window.along, inside[0], len(inside))
    return compare(left, after.narrow(window.along, inside[0] + window.step, len(inside)))


def _moved(inputs: Mapping[int, Tensor], pairs: list[Pair], by: int) -> dict[int, Tensor]:
    moved = dict(inputs)
    for i, a in pairs:
        moved[i] = moved[i].roll(by, a)
    return moved


def locality(bench: Bench, finding: Finding, seed: int) -> Measured:
    """The footprint of a place in the middle: where its gradient reaches. It must lie in the proved window, and is
    `tight` when it is as wide."""
    return worst([footprint(bench, window, seed) for window in windows_of(bench, finding)])


def footprint(bench: Bench, window: Window, seed: int) -> Measured:
    """The footprint along one axis. The others are as short as the network allows: what a place sees along an axis does
    not depend on them. Where the numbers are not as proved, they are made longer, since a sum over one place may hide
    some, and float64 is used: a gradient is zero or not in either format, but for what underflows."""
    found = _footprint(bench, window, seed, 1, torch.float32)
    return found if found.tight else _footprint(bench, window, seed, WIDE, torch.float64)


def _footprint(bench: Bench, window: Window, seed: int, least: int, dtype: torch.dtype) -> Measured:
    if window.width is None or window.along is None or window.lo is None or window.hi is None:
        raise Untestable("a place sees no window")
    size = window.length(bench, window.width + 2 * int(window.stride) + 2)
    pairs = bench.pairs(window.axis, window.pair)
    stage = bench.stage(dict.fromkeys(pairs, size), seed, least, dtype)
    places = stage.places[0][window.along]
    at = round((Fraction(size - 1) - window.lo - window.hi) / 2 / window.stride)
    at = min(max(at, 0), places - 1)
    seen = touched(stage, window, 0, at, seed)
    reached = torch.nonzero(seen).flatten()
    first, last = window.stride * at + window.lo, window.stride * at + window.hi
    name = f"{window.axis or 'axis'}"
    figures: dict[str, Any] = {f"footprint {name}": [], f"proved {name}": [str(first), str(last)]}
    if not len(reached):
        return Measured(Outcome.UNTESTED, note="no gradient reaches the input", tight=False, figures=figures)
    lo, hi = int(reached[0]), int(reached[-1])
    figures[f"footprint {name}"] = [lo, hi]
    figures[f"positions {name}"] = len(reached)
    if lo < first or hi > last:
        text = f"place {at} sees positions {lo} to {hi} of {name}, and the proof allows {first} to {last}"
        return Measured(Outcome.CONTRADICTED, note=text, figures=figures)
    tight = lo == max(first, 0) and hi == min(last, size - 1)
    note = "" if tight else f"measured {lo} to {hi} of {name}, proved {first} to {last}"
    return Measured(Outcome.AGREES, note=note, tight=tight, figures=figures)


def touched(stage: Stage, window: Window, value: int, at: int | None, seed: int) -> Tensor:
    """Which positions of an axis a place of a value (all of it, where `at` is None) depends on: by gradients, or where
    an input has none by exchanging positions one by one. Several draws, until as many are found as were proved."""
    source, axis = window.pair
    seen = torch.zeros(stage.shapes[source][axis], dtype=torch.bool)
    for round_ in range(_ROUNDS):
        inputs = stage.inputs(seed + 100 * round_)
        if inputs[source].is_floating_point():
            seen |= _by_gradient(stage, inputs, window, value, at, seed + round_)
        else:
            seen |= _by_exchange(stage, inputs, window, value, at, seed + round_)
        if int(seen.sum()) >= (window.width or len(seen)):
            break
    return seen


def _at(found: Tensor, window: Window, at: int | None) -> Tensor:
    return found if at is None or window.along is None else found.select(window.along, at)


def _by_gradient(
    stage: Stage, inputs: dict[int, Tensor], window: Window, value: int, at: int | None, seed: int
) -> Tensor:
    source, axis = window.pair
    x = inputs[source].requires_grad_()
    found = _at(stage.values(inputs)[value], window, at)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(found.shape, generator=generator, dtype=found.dtype)
    if not found.requires_grad:
        return torch.zeros(x.shape[axis], dtype=torch.bool)
    (gradient,) = torch.autograd.grad((found * weights).sum(), x, allow_unused=True)
    if gradient is None:
        return torch.zeros(x.shape[axis], dtype=torch.bool)
    return (gradient != 0).movedim(axis, 0).flatten(1).any(1)


def _by_exchange(
    stage: Stage, inputs: dict[int, Tensor], window: Window, value: int, at: int | None, seed: int
) -> Tensor:
    source, axis = window.pair
    others = stage.inputs(seed + 5000)[source]
    before = _at(stage.run(inputs)[value], window, at)
    seen = []
    for position in range(inputs[source].shape[axis]):
        changed = inputs[source].clone()
        changed.select(axis, position).copy_(others.select(axis, position))
        after = _at(stage.run({**inputs, source: changed})[value], window, at)
        seen.append(not torch.equal(before, after))
    return torch.tensor(seen)


def global_context(bench: Bench, finding: Finding, seed: int) -> Measured:
    """A place in the middle depends on every position."""
    found = []
    for window in windows_of(bench, finding):
        known = bench.size(window.pair)
        size = window.length(bench, max(known, _FEW)) if window.open(bench) else known
        stage = bench.stage(dict.fromkeys(bench.pairs(window.axis, window.pair), size), seed)
        at = None if window.along is None else stage.places[0][window.along] // 2
        seen = touched(stage, window, 0, at, seed)
        if bool(seen.all()):
            found.append(Measured(Outcome.AGREES, note=f"all {size} positions reached"))
        else:
            missed = torch.nonzero(~seen).flatten().tolist()
            text = f"{len(missed)} of {size} positions of {window.axis} never reach it, the first is {missed[0]}"
            found.append(Measured(Outcome.CONTRADICTED, note=text))
    return worst(found)


def hierarchy(bench: Bench, finding: Finding, seed: int) -> Measured:
    """One value of each resolution on the way: its number of places falls, and its footprint grows."""
    stages = finding.figures.get("stages")
    if not stages:
        raise Untestable("the proof gives no stages to compare with")
    found = []
    for pair in finding.axes:
        called = bench.type(pair[0]).names[pair[1]] or f"axis {pair[1]}"
        inner, windows = _resolutions(bench, pair)
        proved = [
            s for s in stages if s["axis"] == called and s["input"] == bench.graph[bench.graph.inputs[pair[0]]].name
        ]
        strides = {Fraction(str(s["stride"])) for s in proved}
        chosen = [(ref, w) for ref, w in zip(inner, windows, strict=True) if w.stride in strides]
        if len(chosen) < len(strides):
            raise Untestable("the resolutions on the way are not all windows")
        found += [_stairs(bench, chosen, seed)]
    return worst(found)


def _resolutions(bench: Bench, pair: Pair) -> tuple[list[Ref], list[Window]]:
    """The value of each stride that sees the most, on the flat graph."""
    flat, source = bench.flat, bench.sources.index(pair[0])
    widest: dict[Fraction, tuple[Ref, Window]] = {}
    for ref, view in Receptive().views(flat).items():
        for (along, at, axis), relation in view.relations.items():
            if (at, axis) != (source, pair[1]) or along is None or relation.sees is not Sees.WINDOW:
                continue
            stride = Fraction(relation.stride)
            name = bench.type(pair[0]).names[pair[1]]
            lo, hi = Fraction(relation.lo), Fraction(relation.hi)
            window = Window((source, pair[1]), name, along, "window", stride, relation.period, lo, hi)
            known = widest.get(stride)
            if known is None or (window.width or 0) > (known[1].width or 0):
                widest[stride] = ref, window
    ordered = [widest[stride] for stride in sorted(widest)]
    return [ref for ref, _ in ordered], [window for _, window in ordered]


def _stairs(bench: Bench, chosen: list[tuple[Ref, Window]], seed: int) -> Measured:
    flat = bench.flat
    inner = Bench(bench.program, flat, tuple(ref for ref, _ in chosen), bench.state)
    footprints, places = [], []
    last = chosen[-1][1]
    size = last.length(inner, (last.width or 1) + 2 * int(last.stride) + 2)
    stage = inner.stage(dict.fromkeys(inner.pairs(last.axis, last.pair), size), seed, 1)
    for i, (_, window) in enumerate(chosen):
        assert window.along is not None
        places.append(stage.places[i][window.along])
        seen = touched(stage, window, i, places[-1] // 2, seed)
        footprints.append(int(seen.sum()))
    text = f"places {' > '.join(map(str, places))}, footprints {' < '.join(map(str, footprints))}"
    falls = all(a > b for a, b in pairwise(places))
    grows = all(a < b or a == size for a, b in pairwise(footprints))  # a gate may know of all places from early on
    if falls and grows:
        return Measured(Outcome.AGREES, note=text)
    return Measured(Outcome.CONTRADICTED, note=f"resolution and footprints do not change as proved: {text}")


def weight_sharing(bench: Bench, finding: Finding, seed: int) -> Measured:
    """The same weights run at several sizes of the axes: the smallest that it takes, two and three times that."""
    stage, unit = _smallest(bench, finding, seed)
    counts, sizes = {_weights(stage)}, [_lengths(bench, finding, 1, unit)[finding.axes[0]]]
    for factor in (2, 3):
        asked = _lengths(bench, finding, factor, unit)
        try:
            stage = bench.stage(asked, seed)
        except Costly:
            raise
        except Untestable as failure:
            text = f"with {asked[finding.axes[0]]} positions it does not run with the same weights: {failure}"
            return Measured(Outcome.CONTRADICTED, note=text)
        sizes.append(asked[finding.axes[0]])
        counts.add(_weights(stage))
    (count,) = counts
    return Measured(Outcome.AGREES, note=f"{count:,} parameters at {', '.join(map(str, sizes))} positions")


def _smallest(bench: Bench, finding: Finding, seed: int) -> tuple[Stage, int]:
    for unit in _LENGTHS:
        try:
            return bench.stage(_lengths(bench, finding, 1, unit), seed), unit
        except Costly:
            raise
        except Untestable as failure:
            reason = failure
    raise reason


def _lengths(bench: Bench, finding: Finding, factor: int, unit: int) -> dict[Pair, int]:
    """Sizes of the claimed axes: so many times the stated one, or the unit where it is open."""
    return {
        same: factor * (bench.size(pair) if isinstance(bench.type(pair[0]).shape[pair[1]], int) else unit)
        for pair in finding.axes
        for same in bench.pairs(bench.type(pair[0]).names[pair[1]], pair)
    }


def _weights(stage: Stage) -> int:
    return sum(p.numel() for p in stage.module.parameters())
