"""Recurrences on the bench: cells for other sizes, steps taken one by one, gates of a cell at one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from archlang.compiler.analysis.biases.findings import Finding
from archlang.compiler.analysis.gates import Product
from archlang.compiler.analysis.ranges import Ranges
from archlang.compiler.analysis.through_time import at_one_step, stacked
from archlang.compiler.graph import Graph, Kind, Node, Ref
from archlang.compiler.types import TensorType
from torch import Tensor

from .bench import Bench, Pair, Stage
from .results import Measured, Outcome, Untestable, compare, worst

Retyped = Callable[[Graph, dict[int, TensorType]], Graph]
"""A graph for inputs of other types, by their position."""

_STEPS = 12  # positions of an axis whose size is open


def rescanned(node: Node, types: Sequence[TensorType], before: Sequence[TensorType], retyped: Retyped) -> Node:
    """A SCAN node for operands of other sizes, its cell included. Raises Untestable."""
    cell, scan = node.graph, node.scan
    assert cell is not None and scan is not None
    old, new = at_one_step(node, before), at_one_step(node, types)
    given: dict[int, TensorType] = {}
    for at, number in enumerate(cell.inputs):
        own = cell[number].types[0]
        for axis, (was, now) in enumerate(zip(old[at].shape, new[at].shape, strict=True)):
            own = own if was == now else own.resize(axis, now)
        given[at] = own
    changed = retyped(cell.flatten(), given) if old != new else cell
    results = [changed[output].types[0].substitute(dict(node.sizes)) for output in changed.outputs]
    first = len(results) - len(cell.states)
    if [t.shape for t in results[first:]] != [t.shape for t in new[len(scan.axes) :]]:
        raise Untestable(f"a state of `{cell.name}` is made for one size of the axis")
    where = next(i for i, taken in enumerate(scan.axes) if taken is not None)
    along = types[where].axes[scan.axis]
    return replace(
        node, graph=changed, types=(*(stacked(t, scan.axis, along) for t in results[:first]), *results[first:])
    )


def sequential(bench: Bench, finding: Finding, seed: int) -> Measured:
    """The results of every scan that the proof names are those of its cell, one step after another: each step gets what
    enters there and the states that the one before left."""
    named = finding.figures.get("scans", [])
    flat = bench.flat
    scans = [n for n in flat.order() if flat[n].kind is Kind.SCAN and (flat[n].module in named or not named)]
    if not any(graph[n].kind is Kind.SCAN for graph in flat.graphs() for n in graph):
        return Measured(Outcome.CONTRADICTED, note="nothing that leads to it runs step by step")
    if not scans:
        raise Untestable("its scans run within others, whose steps are taken as they are")
    sizes: dict[Pair, int] = {}
    for pair in finding.axes:
        for same in bench.pairs(bench.type(pair[0]).names[pair[1]], pair):
            sizes[same] = min(bench.size(pair), _STEPS)
    return worst([_step_by_step(bench, number, sizes, seed) for number in scans])


def _step_by_step(bench: Bench, number: int, sizes: dict[Pair, int], seed: int) -> Measured:
    flat = bench.flat
    node, operands = flat[number], flat.operands(number)
    refs = (*operands, *(Ref(number, i) for i in range(len(node.types))))
    whole = Bench(bench.program, flat, refs, bench.state)
    stage = whole.stage(_open(whole, sizes), seed)
    values = stage.run(stage.inputs(seed))
    given, found = values[: len(operands)], values[len(operands) :]
    by_hand = _taken(node, given, found, _cell_of(whole, stage, node, seed))
    errors = [
        compare(ours, theirs, max(1e-12, float(theirs.abs().max())))
        for ours, theirs in zip(by_hand, found, strict=True)
        if theirs.is_floating_point()
    ]
    return worst(errors)


def _open(bench: Bench, sizes: dict[Pair, int]) -> dict[Pair, int]:
    """Those sizes that may be chosen."""
    return {(i, a): n for (i, a), n in sizes.items() if not isinstance(bench.type(i).shape[a], int)}


def _cell_of(bench: Bench, stage: Stage, node: Node, seed: int) -> Stage:
    """A cell as a module of its own: from what enters and the states to its outputs and the next states."""
    assert node.graph is not None
    state = _below(stage.module.state_dict(), f"{node.module}.")
    refs = tuple(node.graph.operands(output)[0] for output in node.graph.outputs)
    return Bench(bench.program, node.graph, refs, state).stage({}, seed)


def _taken(node: Node, operands: list[Tensor], results: list[Tensor], cell: Stage) -> list[Tensor]:
    """What a scan gives, one step at a time."""
    scan, graph = node.scan, node.graph
    assert scan is not None and graph is not None
    count, first = len(scan.axes), len(results) - len(graph.states)
    entries = dict(zip([at for at in scan.entries if at is not None], operands, strict=False))
    states = [entries.get(count + k, torch.zeros_like(last)) for k, last in enumerate(results[first:])]
    real = operands[-1] if scan.masked else None
    length = next(x.shape[a] for x, a in zip(operands, scan.axes, strict=False) if a is not None)
    at = [min(scan.axis, y.dim() - 1) for y in results[:first]]
    kept: list[list[Tensor]] = [[] for _ in at]
    for t in reversed(range(length)) if scan.reverse else range(length):
        entering = [x if a is None else x.select(a, t) for x, a in zip(operands, scan.axes, strict=False)]
        made = cell.run(dict(enumerate([*entering, *states])))
        here = None if real is None else real.select(-1, t)
        for outputs, y in zip(kept, made[:first], strict=True):
            outputs.append(y if here is None else torch.where(_wide(here, y), y, torch.zeros_like(y)))
        following = made[first:]
        states = [
            new if here is None else torch.where(_wide(here, new), new, old)
            for new, old in zip(following, states, strict=True)
        ]
    ordered = [list(reversed(ys)) if scan.reverse else ys for ys in kept]
    return [*(torch.stack(ys, axis) for ys, axis in zip(ordered, at, strict=True)), *states]


def _wide(mask: Tensor, x: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim()))


def gates_of_cells(bench: Bench, product: Product, seed: int) -> Iterator[tuple[float, float]]:
    """The least and greatest numbers of the factors of a product in a cell, at one step, from states within the bounds
    that are proved of them."""
    flat = bench.flat
    known = Ranges().of(flat)
    for number in flat.order():
        node = flat[number]
        if node.graph is None:
            continue
        cell = node.graph.flatten()
        names = ("mul", "einsum")
        at = [n for n in cell if cell[n].span == product.span and (op := cell[n].op) is not None and op.name in names]
        refs = tuple(ref for n in at for ref in cell.operands(n) if cell.type(ref).rank)
        if not refs:
            continue
        bounds = Ranges().entering(node, [known[ref] for ref in flat.operands(number)])
        state = None if bench.state is None else _below(bench.state, f"{node.module}.")
        stage = Bench(bench.program, cell, refs, state).stage({}, seed)
        inputs = {
            i: x if not x.is_floating_point() else x.clamp(*bounds[i].interval) for i, x in stage.inputs(seed).items()
        }
        for factor in stage.run(inputs):
            yield float(factor.min()), float(factor.max())
        return


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
