"""How what is known of a value's elements (`masks.py`) passes through a layer, and what it keeps out of its sight.

A layer that works place by place along two axes is asked for its bounds, with each operand held to the number that it
is known to hold: where they are a single number, that is what the result holds. It is assumed that no step makes what
is not a number, as ∞ − ∞ is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import combinations, product
from typing import NamedTuple

from ..masks import Band, Fact, Facts, Known, exact, fact
from ..ops.base import ANY, Interval, Op
from ..relations import POINTWISE, Relation, Relations, Sees, union
from ..types import TensorType

_MOST = 64  # ways to combine what is known of several operands

Place = tuple[int, int]  # an operand, its axis


class At(NamedTuple):
    """Where a result shows an operand's axis: its position o is the operand's o + shift."""

    axis: int
    shift: int


class Use:
    """One use of an op, with what is known of its operands and along which axes they are something else at every place
    whatever the inputs are."""

    def __init__(
        self,
        op: Op,
        types: tuple[TensorType, ...],
        relations: Relations,
        known: list[Known],
        varies: list[frozenset[int]],
    ) -> None:
        self.op, self.types, self.relations, self.known, self.varies = op, types, relations, known, varies

    @cached_property
    def contracted(self) -> tuple[frozenset[Place], ...]:
        return self.op.contracted(self.types) if len(self.types) > 1 else ()

    def shown(self, result: int) -> dict[Place, At]:
        """The operands' axes that a result shows place by place, each along an axis that sees no other of them."""
        mine = [(axis, place, r) for (out, axis, *place), r in self.relations.items() if out == result]
        found: dict[Place, At] = {}
        for axis, place, r in mine:
            alone = sum(p == place or (a == axis and p[0] == place[0]) for a, p, _ in mine) == 1
            if axis is not None and alone and r.sees is Sees.WINDOW and r.stride == 1 and r.lo == r.hi and not r.loose:
                found[place[0], place[1]] = At(axis, int(r.lo))
        return found

    # -- what is known of the results

    def passed(self, results: tuple[TensorType, ...]) -> list[Known]:
        """What is known of each result."""
        constants = self._constants(len(results))
        return [Known(constants[i], self._facts(i, t.rank), self._diagonal(i, t.rank)) for i, t in enumerate(results)]

    def _held(self, operand: int) -> Interval:
        """The numbers that an operand may hold anywhere."""
        value = self.known[operand].constant
        if value is None:
            return Interval(0, 1) if self.types[operand].dtype == "bool" else ANY
        slack = 0.0 if exact(value) is not None else abs(value) * 1e-6  # for it is rounded as tensors are
        return Interval(value - slack, value + slack)

    def _constants(self, results: int) -> list[float | None]:
        if self.op.random or any(known.constant is None for known in self.known):
            return [None] * results
        return [_single(bounds) for bounds in self.op.bounds(tuple(map(self._held, range(len(self.types)))))][:results]

    def _facts(self, result: int, rank: int) -> frozenset[Fact]:
        facts = Facts()
        shown = self.shown(result)
        for new in self._left(result, shown):
            facts.add(new)
        for a, b in combinations(range(rank), 2):
            for new in self._between(result, shown, a, b):
                facts.add(new)
        return facts.frozen()

    def _between(self, result: int, shown: dict[Place, At], a: int, b: int) -> Iterator[Fact]:
        """What follows from the bounds about two axes of a result."""
        options: list[list[tuple[Band | None, Interval]]] = []
        ways = 1
        for operand, known in enumerate(self.known):
            if not self._clear(result, shown, operand, a, b):
                return
            mine: list[tuple[Band | None, Interval]] = [(None, self._held(operand))]
            for one in known.facts:
                here, there = shown.get((operand, one.a)), shown.get((operand, one.b))
                if here is not None and there is not None and {here.axis, there.axis} == {a, b}:
                    band = one.band.moved(here.shift - there.shift)
                    mine.append((band if there.axis == b else band.turned(), Interval(one.value, one.value)))
            options.append(mine)
            ways *= len(mine)
        if ways == 1 or ways > _MOST:
            return
        for choice in product(*options):
            bands = [band for band, _ in choice if band is not None]
            value = _single(self.op.bounds(tuple(held for _, held in choice))[result]) if bands else None
            if value is not None:
                hull = bands[0]
                for band in bands[1:]:
                    hull = hull.hull(band)
                yield Fact(a, b, value, hull)

    def _clear(self, result: int, shown: dict[Place, At], operand: int, a: int, b: int) -> bool:
        """Does a result see an operand place by place along two of its axes, as far as these see it at all?"""
        return all(
            (i, x) in shown for out, axis, i, x in self.relations if out == result and i == operand and axis in (a, b)
        )

    def _left(self, result: int, shown: dict[Place, At]) -> Iterator[Fact]:
        """What stays at places that an op along an axis takes no notice of."""
        if self.op.leaves is None:
            return
        for (out, axis, operand, b), relation in self.relations.items():
            if out == result and axis is not None and relation.sees is Sees.ALL:
                for at, band in self._ignored(shown, {(operand, b)}):
                    yield fact(at.axis, axis, self.op.leaves, band)

    def _diagonal(self, result: int, rank: int) -> frozenset[Place]:
        shown = self.shown(result)
        return frozenset(p for p in combinations(range(rank), 2) if self._changes_along(result, shown, *p))

    def _changes_along(self, result: int, shown: dict[Place, At], a: int, b: int) -> bool:
        """Do all operands that are something else at every place along these axes of a result change there with the
        difference of the two positions alone? False where none does."""
        found = False
        for operand, known in enumerate(self.known):
            touching = [
                x
                for out, axis, i, x in self.relations
                if out == result and i == operand and axis in (a, b) and x in self.varies[operand]
            ]
            if not touching:
                continue
            x, y = min(touching), max(touching)
            if (x, y) not in known.diagonal or (operand, x) not in shown or (operand, y) not in shown:
                return False
            found = True
        return found

    # -- what is left out of sight

    def _ignored(self, shown: dict[Place, At], group: set[Place]) -> Iterator[tuple[At, Band]]:
        """Where one of these axes holds, seen along another axis of the same operand, what its op takes no notice of:
        outside a band, from a position of the result's axis on."""
        for operand, b in group:
            for one in self.known[operand].facts:
                if one.value == self.op.neutral and b in (one.a, one.b):
                    a = one.a + one.b - b
                    at = shown.get((operand, a))
                    if at is not None:
                        yield at, one.between(a, b).moved(at.shift)

    def narrowed(self, moves: Callable[[Place], bool]) -> tuple[Relations, set[Place]]:
        """The relations without what can't be seen, and the places whose part is the same at every position: they
        change with a difference of positions alone, and what they are summed with `moves` along."""
        if self.op.neutral is None:
            return self.relations, set()
        table: Relations = {}
        lifted: set[Place] = set()
        for key, relation in self.relations.items():
            result, axis, operand, b = key
            if relation.sees is Sees.ALL:
                group = {(operand, b)}.union(*(g for g in self.contracted if (operand, b) in g))
                bands: dict[int, Band] = {}
                for at, band in self._ignored(self.shown(result), group):
                    bands[at.axis] = bands.get(at.axis, Band()).meet(band)
                kept = {a: band for a, band in bands.items() if band.lo <= band.hi}
                if kept:
                    a = min(kept, key=lambda a: kept[a].hi - kept[a].lo)
                    _add(table, (result, a, operand, b), kept[a].relation())
                    lifted |= self._lifted(group, moves)
                    if axis is None:
                        continue
                    relation = POINTWISE
            _add(table, key, relation)
        return table, lifted

    def _lifted(self, group: set[Place], moves: Callable[[Place], bool]) -> set[Place]:
        lifted = {
            (operand, x)
            for operand, b in group
            for pair in self.known[operand].diagonal
            if b in pair and any(f.value == self.op.neutral and (f.a, f.b) == pair for f in self.known[operand].facts)
            for x in pair
        }
        others = group - lifted
        return lifted if others and all(map(moves, others)) else set()


def _single(bounds: Interval) -> float | None:
    return exact(bounds.lo) if bounds.lo == bounds.hi else None


def _add(table: Relations, key: tuple[int, int | None, int, int], relation: Relation) -> None:
    table[key] = union(table[key], relation) if key in table else relation
