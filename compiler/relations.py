"""Which positions of an input axis can a position of an output axis see, and does every position follow one rule?

The abstraction of the inductive-bias analysis. Ops declare relations; the analysis composes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from math import lcm

Exact = int | Fraction  # whole numbers are ints: arithmetic with fractions takes ten times as long


class Sees(StrEnum):
    """The shapes a relation can take."""

    WINDOW = "window"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Relation:
    """What an output position `o` sees of an input axis: positions `stride·o + [lo, hi]` (window), everything up to
    `stride·o + hi` or from `stride·o + lo` (prefix, suffix), or everything (all).

    uniform: every output position applies the same function, up to the stride.
    symmetric: the result is unchanged when the positions seen, other than its own, are permuted.
    steady: of `all`: the result is unchanged when what it sees moves along the axis by `period`, borders aside.
    ordered: something that changes with the distance between positions takes part, so that they can't change places.
    period: the smallest move of the input that a uniform relation follows; the output moves by `period / stride`.
    padded: at the border the window reads padding instead of data.
    loose: more than is seen: the true relation may be smaller, so what fails here need not be false.
    covers: of what is loose: whatever a single place sees, all of them together see the whole axis.
    """

    sees: Sees = Sees.WINDOW
    stride: Exact = 1
    lo: Exact = 0
    hi: Exact = 0
    uniform: bool = True
    symmetric: bool = False
    steady: bool = False
    period: int = 1
    padded: bool = False
    loose: bool = False
    ordered: bool = False
    covers: bool = False

    def __hash__(self) -> int:
        return hash((self.stride, self.lo, self.hi, self.period, self.uniform))  # the rest rarely decides

    @property
    def width(self) -> int | None:
        """Number of input positions in the window; None when it is no window."""
        return int(self.hi - self.lo) + 1 if self.sees is Sees.WINDOW else None

    @property
    def follows_shifts(self) -> bool:
        """When the input moves by a multiple of `period`, does the output move with it (stay, where no axis of the
        output is related), borders aside?"""
        return self.uniform and (self.sees is not Sees.ALL or self.symmetric or self.steady)

    @property
    def whole(self) -> bool:
        """Do the places together see all that the layers before them saw? What windows leave out is told elsewhere."""
        return self.covers or not self.loose

    @property
    def follows_permutations(self) -> bool:
        """When positions of the input change places, do those of the output (stays, where no axis is related)?"""
        if self.ordered:
            return False
        if self.sees is Sees.WINDOW:
            return self.uniform and self.stride == 1 and self.lo == self.hi == 0
        return self.uniform and self.symmetric

    def __str__(self) -> str:
        flags = [f for f in ("uniform", "symmetric", "steady", "padded", "loose", "ordered") if getattr(self, f)]
        body = str(self.sees)
        if self.sees is Sees.WINDOW:
            body = f"window({self.stride}, {self.lo}, {self.hi})"
        elif self.sees is not Sees.ALL and (self.stride, self._edge) != (1, 0):
            body = f"{self.sees}({self.stride}, {self._edge})"
        return " ".join([body, *flags])

    @property
    def _edge(self) -> Exact:
        return self.hi if self.sees is Sees.PREFIX else self.lo


POINTWISE = Relation()


@lru_cache(maxsize=4096)  # layers declare the same few again and again
def window(stride: int | Fraction, lo: int | Fraction, hi: int | Fraction, **flags: bool) -> Relation:
    """positions `stride·o + [lo, hi]`; `stride` may be a fraction (upsampling)."""
    return Relation(Sees.WINDOW, _exact(stride), _exact(lo), _exact(hi), period=max(1, stride.numerator), **flags)


def _exact(number: Exact) -> Exact:
    return number.numerator if number.denominator == 1 else number


@lru_cache(maxsize=64)
def everything(
    *, uniform: bool = False, symmetric: bool = False, steady: bool = False, loose: bool = False, covers: bool = False
) -> Relation:
    """All positions of the axis: attention, a linear layer over it, a global pooling."""
    return Relation(Sees.ALL, uniform=uniform, symmetric=symmetric, steady=steady, loose=loose, covers=covers)


def prefix(*, uniform: bool = True) -> Relation:
    return Relation(Sees.PREFIX, uniform=uniform)


def suffix(*, uniform: bool = True) -> Relation:
    return Relation(Sees.SUFFIX, uniform=uniform)


def compose(outer: Relation, inner: Relation) -> Relation:
    """What the result of `outer` after `inner` sees of `inner`'s input."""
    if outer is POINTWISE:
        return inner
    if inner is POINTWISE:
        return outer
    return _composed(outer, inner)


@lru_cache(maxsize=4096)  # height and width, and blocks one like another, ask the same again
def _composed(outer: Relation, inner: Relation) -> Relation:
    uniform = outer.uniform and inner.uniform
    padded = outer.padded or inner.padded
    stride = _exact(outer.stride * inner.stride)
    period = lcm(inner.period, (outer.period * inner.stride).numerator) or 1
    # A layer that sees all of an axis sees what every position of that axis saw: the whole, if they saw it together.
    loose = outer.loose or (inner.loose and not (outer.sees is Sees.ALL and inner.covers))
    covers = loose and outer.whole and inner.whole
    ordered = outer.ordered or inner.ordered
    sides = {outer.sees, inner.sees} - {Sees.WINDOW}
    if not sides or (sides in ({Sees.PREFIX}, {Sees.SUFFIX}) and inner.stride > 0):
        ends = sorted((inner.stride * outer.lo, inner.stride * outer.hi))
        lo, hi = _exact(ends[0] + inner.lo), _exact(ends[1] + inner.hi)
        kind = sides.pop() if sides else Sees.WINDOW
        return Relation(kind, stride, lo, hi, uniform, False, False, period, padded, loose, ordered, covers)
    symmetric = outer.follows_permutations and inner.follows_permutations
    steady = outer.follows_shifts and inner.follows_shifts
    return Relation(Sees.ALL, stride, 0, 0, uniform, symmetric, steady, period, padded, loose, ordered, covers)


def union(left: Relation, right: Relation) -> Relation:
    """What a value sees that depends on the axis along two paths."""
    return left if left is right else _united(left, right)


@lru_cache(maxsize=4096)
def _united(left: Relation, right: Relation) -> Relation:
    if left == right:
        return left
    uniform = left.uniform and right.uniform and left.stride == right.stride
    padded = left.padded or right.padded
    ordered = left.ordered or right.ordered
    period = lcm(left.period, right.period)
    kinds = {left.sees, right.sees}
    one_sided = kinds - {Sees.WINDOW}
    if left.stride == right.stride and (not one_sided or one_sided in ({Sees.PREFIX}, {Sees.SUFFIX})):
        lo, hi = min(left.lo, right.lo), max(left.hi, right.hi)
        kind = one_sided.pop() if one_sided else Sees.WINDOW
        loose = left.loose or right.loose
        covers = loose and (left.whole or right.whole)
        return Relation(kind, left.stride, lo, hi, uniform, False, False, period, padded, loose, ordered, covers)
    sure = any(r.sees is Sees.ALL and not r.loose for r in (left, right)) or kinds == {Sees.PREFIX, Sees.SUFFIX}
    covers = not sure and (left.whole or right.whole)
    symmetric = uniform and left.follows_permutations and right.follows_permutations
    steady = uniform and left.follows_shifts and right.follows_shifts
    return Relation(Sees.ALL, left.stride, 0, 0, uniform, symmetric, steady, period, padded, not sure, ordered, covers)


# (output, its axis or None when reduced away, operand, its axis) → relation. Pairs left out are unrelated.
Relations = dict[tuple[int, "int | None", int, int], Relation]
