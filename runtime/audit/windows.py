"""What a proof says a place sees, as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, lcm

from archlang.compiler.analysis.biases.findings import Finding
from archlang.compiler.graph import Graph
from archlang.compiler.relations import POINTWISE, Relation, Sees, compose, union

from .bench import Bench, Pair
from .results import Untestable


@dataclass(frozen=True)
class Window:
    """One entry of `figures["windows"]`; lo and hi are None where it is no window."""

    pair: Pair
    axis: str | None
    along: int | None
    sees: str
    stride: Fraction
    period: int
    lo: Fraction | None
    hi: Fraction | None

    @property
    def width(self) -> int | None:
        return None if self.lo is None or self.hi is None else int(self.hi - self.lo) + 1

    @property
    def step(self) -> int:
        """How far the value moves when the input moves by the period."""
        return int(self.period / self.stride)

    def open(self, bench: Bench) -> bool:
        """May the test choose the axis' size freely?"""
        return not isinstance(bench.type(self.pair[0]).shape[self.pair[1]], int)

    def length(self, bench: Bench, needed: int) -> int:
        """A size of the axis of at least `needed`: the one that it has, where that is enough."""
        known = bench.size(self.pair)
        if not self.open(bench) and known >= needed:
            return known
        unit = lcm(self.period, self.stride.numerator)
        return max(ceil(needed / unit), 2) * unit


def windows_of(bench: Bench, finding: Finding) -> Iterator[Window]:
    """The windows of a finding. Raises Untestable."""
    found = finding.figures.get("windows")
    if not found:
        raise Untestable("the proof gives no figures to compare with")
    names = {bench.graph[n].name: i for i, n in enumerate(bench.graph.inputs)}
    for entry in found:
        source = names[entry["input"]]
        pair = next(p for p in finding.axes if p[0] == source and _called(bench, p) == entry["axis"])
        lo, hi = (Fraction(entry[key]) if key in entry else None for key in ("lo", "hi"))
        axis = bench.type(source).names[pair[1]]
        stride = Fraction(entry.get("stride", 1))
        yield Window(pair, axis, entry["along"], entry["sees"], stride, int(entry["period"]), lo, hi)


def _called(bench: Bench, pair: Pair) -> str:
    return bench.type(pair[0]).names[pair[1]] or f"axis {pair[1]}"


def reach(flat: Graph, source: int, axis: int) -> int:
    """How far windows alone carry along an axis of an input, whatever sees all of it left out: the widest of the flat
    graph's values. Beyond that a place knows of another only through sums over all of them."""
    seen: dict[tuple[object, int], Relation] = {}
    widest = 1
    for number in flat.order():
        node, refs = flat[number], flat.operands(number)
        if flat.inputs and number == flat.inputs[source]:
            seen[(number, 0), axis] = POINTWISE
        if node.op is None:
            for key, relation in list(seen.items()):
                if refs and key[0] == tuple(refs[0]):
                    seen[(number, 0), key[1]] = relation
            continue
        for (result, to, operand, at), relation in node.op.relations(flat.operand_types(number), node.types).items():
            inner = seen.get((tuple(refs[operand]), at))
            if to is None or inner is None or relation.sees is not Sees.WINDOW:
                continue
            new = compose(relation, inner)
            key = (number, result), to
            new = union(seen[key], new) if key in seen else new
            if new.sees is Sees.WINDOW:
                seen[key] = new
                widest = max(widest, int(max(-new.lo, new.hi, new.lo, -new.hi)) + 1, new.width or 1)
    return widest
