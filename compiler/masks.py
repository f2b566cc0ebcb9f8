"""What is known of the elements of a value whatever the inputs are: zero above the diagonal, −∞ outside a window.

A fact is about a pair of axes (a, b): where the position of b less that of a lies outside a band, every element holds
one number. Truth values count as 0 and 1. Facts come from expressions over indices (`const past: bool[q=T, k=T] = k <=
q`), pass through layers that work place by place, and end where a sum or a softmax takes no notice of what they cover.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations, product
from math import inf
from typing import Any, NamedTuple

from .relations import Relation, Sees, window


class Band(NamedTuple):
    """A range of differences between two positions, ends included; whole numbers, or infinite."""

    lo: float = -inf
    hi: float = inf

    @property
    def whole(self) -> bool:
        return self == (-inf, inf)

    def meet(self, other: Band) -> Band:
        return Band(max(self.lo, other.lo), min(self.hi, other.hi))

    def hull(self, other: Band) -> Band:
        return Band(min(self.lo, other.lo), max(self.hi, other.hi))

    def moved(self, by: float) -> Band:
        return Band(self.lo + by, self.hi + by)

    def turned(self) -> Band:
        """The same, the two axes exchanged."""
        return Band(-self.hi, -self.lo)

    def relation(self) -> Relation:
        """What position q sees that sees q + d for every d in the band; the band is not whole."""
        if self.lo == -inf:
            return Relation(Sees.PREFIX, 1, int(self.hi), int(self.hi))
        if self.hi == inf:
            return Relation(Sees.SUFFIX, 1, int(self.lo), int(self.lo))
        return window(1, int(self.lo), int(self.hi), padded=self != (0, 0))  # what reaches past a border is left out


class Fact(NamedTuple):
    """Where b − a is not in the band, the elements hold `value`; a < b are axes."""

    a: int
    b: int
    value: float
    band: Band

    def between(self, a: int, b: int) -> Band:
        """The band of b − a, whichever comes first."""
        return self.band if a < b else self.band.turned()


def fact(a: int, b: int, value: float, band: Band) -> Fact:
    """A fact about two axes in any order; `band` is that of b − a."""
    return Fact(a, b, value, band) if a < b else Fact(b, a, value, band.turned())


@dataclass(frozen=True)
class Known:
    """All that is known of one value. constant: every element holds it. diagonal: pairs of axes along which it changes
    only with the difference of the two positions, as far as the inputs have no part in it."""

    constant: float | None = None
    facts: frozenset[Fact] = frozenset()
    diagonal: frozenset[tuple[int, int]] = frozenset()

    def __bool__(self) -> bool:
        return self.constant is not None or bool(self.facts or self.diagonal)


NOTHING = Known()


@dataclass
class Facts:
    """Facts being gathered: the band of each pair of axes and number, where two are known what both leave."""

    found: dict[tuple[int, int, float], Band] = field(default_factory=dict)

    def add(self, new: Fact) -> None:
        key = (new.a, new.b, new.value)
        self.found[key] = self.found.get(key, Band()).meet(new.band)

    def frozen(self) -> frozenset[Fact]:
        """All that say something; a band that is empty is left out, for nothing can be made of it."""
        return frozenset(Fact(*key, band) for key, band in self.found.items() if band.lo <= band.hi and not band.whole)


# -- expressions over indices: trees of plain tuples, see `elaborate/indices.py`

Ranges = tuple[Band, ...]  # a set of differences; they may overlap
_EVERYWHERE: Ranges = (Band(),)
_MOST_RANGES, _MOST_VALUES, _MOST_NODES, _DEEPEST, _LARGEST = 16, 8, 1000, 50, 2**31
_LOGIC = ("and", "or", "not")
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
# Of numbers that stay exact: whole ones, and the infinite.
_EXACT: dict[str, Callable[..., float | None]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "neg": lambda x: -x,
    "min": min,
    "max": max,
    "abs": abs,
    "not": lambda x: float(not x),
    "<": lambda x, y: float(x < y),
    "<=": lambda x, y: float(x <= y),
    ">": lambda x, y: float(x > y),
    ">=": lambda x, y: float(x >= y),
    "==": lambda x, y: float(x == y),
    "!=": lambda x, y: float(x != y),
    "exp": {-inf: 0.0, 0: 1.0}.get,
    "log": {0: -inf, 1: 0.0}.get,
}
Values = dict[float | None, Ranges]
"""Where an expression may hold each number; None stands for all numbers that are not told apart."""


def known_of(tree: tuple, rank: int, dtype: str) -> Known:
    """What is known of a tensor that is computed from its own indices; nothing where the expression is a large one."""
    if _too_large(tree):
        return NOTHING
    facts, diagonal = Facts(), set()
    for a, b in combinations(range(rank), 2):
        values = _cast(_values(tree, a, b), dtype)
        for value in values:
            if value is not None:
                elsewhere = [r for v, ranges in values.items() if v != value for r in ranges]
                facts.add(Fact(a, b, value, _hull(elsewhere)))
        if _diagonal(tree, a, b):
            diagonal.add((a, b))
    return Known(None, facts.frozen(), frozenset(diagonal))


def _too_large(tree: tuple) -> bool:
    level, count = [tree], 0
    for _ in range(_DEEPEST):
        level = [part for one in level for part in one[1:] if isinstance(part, tuple)]
        count += len(level)
        if not level or count > _MOST_NODES:
            break
    return bool(level)


def _hull(ranges: Iterable[Band]) -> Band:
    hull = Band(inf, -inf)
    for one in ranges:
        hull = hull.hull(one)
    return hull


def _cast(values: Values, dtype: str) -> Values:
    """As numbers of a kind."""
    found: Values = {}
    for value, ranges in values.items():
        here = value
        if value is not None and dtype == "bool":
            here = float(value != 0)
        elif value is not None and dtype == "int" and abs(value) == inf:
            here = None
        found[here] = found.get(here, ()) + ranges
    return found


def _values(tree: tuple, a: int, b: int) -> Values:
    """Where, by the difference of positions b − a, a tree may hold which number."""
    kind, *parts = tree
    if kind == "number":
        return {exact(parts[0]): _EVERYWHERE}
    if kind in _TURNED:
        solved = _solved(kind, parts[0], parts[1], a, b)
        if solved is not None:
            return {1.0: solved, 0.0: _without(solved)}
    if kind in _LOGIC and not all(map(_truth, parts)):
        return {None: _EVERYWHERE}  # of numbers it is done bit by bit
    if kind not in _EXACT and kind not in ("and", "or", "if"):
        return {None: _EVERYWHERE}
    found: Values = {}
    for choice in product(*(_values(part, a, b).items() for part in parts)):
        there = _EVERYWHERE
        for _, ranges in choice:
            there = _common(there, ranges)
        if there:
            value = _result(kind, [value for value, _ in choice])
            found[value] = found.get(value, ()) + there
    if len(found) > _MOST_VALUES or any(len(ranges) > _MOST_RANGES for ranges in found.values()):
        return {None: _EVERYWHERE}
    return found


def _truth(tree: tuple) -> bool:
    return tree[0] in _TURNED or tree[0] in _LOGIC or (tree[0] == "number" and isinstance(tree[1], bool))


def exact(value: Any) -> float | None:
    """A number that every kind of float holds exactly; None for others."""
    exact = value in (inf, -inf) or (abs(value) < _LARGEST and value == int(value))
    return float(value) if exact else None


def _result(kind: str, values: list[float | None]) -> float | None:
    if kind in ("and", "or"):
        decides = float(kind == "or")
        truths = [None if v is None else float(v != 0) for v in values]
        return decides if decides in truths else None if None in truths else 1 - decides
    if kind == "if":
        condition, yes, no = values
        return None if condition is None else yes if condition else no
    if None in values:
        return None
    result = _EXACT[kind](*values)
    return None if result is None or math.isnan(result) else exact(result)


def _common(left: Ranges, right: Ranges) -> Ranges:
    both = (x.meet(y) for x in left for y in right)
    return tuple(r for r in both if r.lo <= r.hi and r.lo < inf and r.hi > -inf)


def _without(ranges: Ranges) -> Ranges:
    """All other whole numbers."""
    left: Ranges = _EVERYWHERE
    for one in ranges:
        left = _common(left, (Band(-inf, one.lo - 1), Band(one.hi + 1, inf)))
    return left


def _solved(kind: str, left: tuple, right: tuple, a: int, b: int) -> Ranges | None:
    """The differences b − a for which a comparison of whole numbers holds; None where it depends on something else."""
    if left[0] != "abs" and right[0] == "abs":
        kind, left, right = _TURNED[kind], right, left
    if left[0] == "abs" and kind not in ("==", "!="):  # |x| ≤ y: x ≤ y and −x ≤ y
        one, other = (_solved(kind, x, right, a, b) for x in (left[1], ("neg", left[1])))
        if one is None or other is None:
            return None
        return _common(one, other) if kind in ("<", "<=") else one + other
    difference = linear(("-", left, right))
    if difference is None:
        return None
    slopes, at = difference
    slope = slopes.pop(b, 0)
    if slopes.pop(a, 0) != -slope or any(slopes.values()):
        return None
    if slope == 0:
        return _EVERYWHERE if _EXACT[kind](at, 0) else ()
    if kind in ("==", "!="):
        equal = (Band(-at // slope, -at // slope),) if at % slope == 0 else ()
        return equal if kind == "==" else _without(equal)
    if kind in (">", ">="):
        slope, at = -slope, -at
    if kind in ("<", ">"):
        at += 1  # of whole numbers
    return (Band(-inf, -at // slope),) if slope > 0 else (Band(-(-at // -slope), inf),)


def linear(tree: tuple) -> tuple[dict[int, int], int] | None:
    """A tree as whole multiples of its indices and a whole number; None where it is no such sum."""
    kind, *parts = tree
    if kind == "index":
        return {parts[0]: 1}, 0
    if kind == "number":
        whole = isinstance(parts[0], int) and not isinstance(parts[0], bool) and abs(parts[0]) < _LARGEST
        return ({}, parts[0]) if whole else None
    if kind not in ("+", "-", "*", "neg"):
        return None
    sides = [linear(part) for part in parts]
    if any(side is None for side in sides):
        return None
    (left, at), *rest = [side for side in sides if side is not None]
    if kind == "neg":
        return {axis: -slope for axis, slope in left.items()}, -at
    (right, more) = rest[0]
    if kind == "*":
        if any(left.values()) and any(right.values()):
            return None
        return {x: s * more for x, s in left.items()} | {x: s * at for x, s in right.items() if s}, at * more
    sign = 1 if kind == "+" else -1
    slopes = {x: left.get(x, 0) + sign * right.get(x, 0) for x in {*left, *right}}
    return slopes, at + sign * more


def _diagonal(tree: tuple, a: int, b: int) -> bool:
    """Does a tree change with the position of two axes only as their difference does?"""
    kind, *parts = tree
    found = linear(("-", *parts)) if kind in _TURNED else linear(tree)
    if found is not None:
        slopes, _ = found
        return slopes.get(a, 0) + slopes.get(b, 0) == 0
    return all(_diagonal(part, a, b) for part in parts if isinstance(part, tuple))
