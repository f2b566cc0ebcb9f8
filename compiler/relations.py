"""Which positions of an input axis can a position of an output axis see, and does every position follow one rule?

The abstraction of the inductive-bias analysis. Ops declare relations; the analysis composes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction


class Sees(StrEnum):
    """The shapes a relation can take."""

    WINDOW = "window"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Relation:
    """An output position `o` sees, of an input axis: positions `stride·o + [lo, hi]` (window), everything up to or from
    its own place (prefix, suffix), or everything (all).

    uniform: every output position applies the same function, up to the stride.
    symmetric: the result is unchanged when the positions seen, other than its own, are permuted.
    padded: at the border the window reads padding instead of data.
    """

    sees: Sees = Sees.WINDOW
    stride: Fraction = Fraction(1)
    lo: Fraction = Fraction(0)
    hi: Fraction = Fraction(0)
    uniform: bool = True
    symmetric: bool = False
    padded: bool = False

    @property
    def width(self) -> int | None:
        """Number of input positions in the window; None when it is no window."""
        return int(self.hi - self.lo) + 1 if self.sees is Sees.WINDOW else None

    def __str__(self) -> str:
        flags = [
            f for f, on in (("uniform", self.uniform), ("symmetric", self.symmetric), ("padded", self.padded)) if on
        ]
        body = f"window({self.stride}, {self.lo}, {self.hi})" if self.sees is Sees.WINDOW else str(self.sees)
        return " ".join([body, *flags])


POINTWISE = Relation()


def window(stride: int | Fraction, lo: int | Fraction, hi: int | Fraction, **flags: bool) -> Relation:
    """positions `stride·o + [lo, hi]`; `stride` may be a fraction (upsampling)."""
    return Relation(Sees.WINDOW, Fraction(stride), Fraction(lo), Fraction(hi), **flags)


def everything(*, uniform: bool = False, symmetric: bool = False) -> Relation:
    """All positions of the axis: attention, a linear layer over it, a global pooling."""
    return Relation(Sees.ALL, uniform=uniform, symmetric=symmetric)


def prefix(*, uniform: bool = True) -> Relation:
    return Relation(Sees.PREFIX, uniform=uniform)


def suffix(*, uniform: bool = True) -> Relation:
    return Relation(Sees.SUFFIX, uniform=uniform)


def compose(outer: Relation, inner: Relation) -> Relation:
    """What the result of `outer` after `inner` sees of `inner`'s input."""
    if outer == POINTWISE:
        return inner
    if inner == POINTWISE:
        return outer
    uniform = outer.uniform and inner.uniform
    padded = outer.padded or inner.padded
    if outer.sees is Sees.WINDOW and inner.sees is Sees.WINDOW:
        ends = sorted((inner.stride * outer.lo, inner.stride * outer.hi))
        stride, lo, hi = outer.stride * inner.stride, ends[0] + inner.lo, ends[1] + inner.hi
        return Relation(Sees.WINDOW, stride, lo, hi, uniform, padded=padded)
    one_sided = {outer.sees, inner.sees} - {Sees.WINDOW}
    if one_sided == {Sees.PREFIX} and _stays(outer, inner, up=False):
        return Relation(Sees.PREFIX, uniform=uniform, padded=padded)
    if one_sided == {Sees.SUFFIX} and _stays(outer, inner, up=True):
        return Relation(Sees.SUFFIX, uniform=uniform, padded=padded)
    return Relation(Sees.ALL, uniform=uniform, symmetric=uniform and _orderless(outer, inner), padded=padded)


def _orderless(*relations: Relation) -> bool:
    """Do all commute with permutations of the axis?"""
    return all(
        r.symmetric or (r.sees is Sees.WINDOW and r.stride == 1 and r.lo == r.hi == 0 and r.uniform) for r in relations
    )


def _stays(outer: Relation, inner: Relation, *, up: bool) -> bool:
    """Do the windows of the two keep to one side of their own position, at stride 1?"""
    for relation in (outer, inner):
        if relation.sees is Sees.WINDOW:
            beyond = relation.lo < 0 if up else relation.hi > 0
            if beyond or relation.stride != 1:
                return False
    return True


def union(left: Relation, right: Relation) -> Relation:
    """What a value sees that depends on the axis along two paths."""
    if left == right:
        return left
    uniform = left.uniform and right.uniform
    padded = left.padded or right.padded
    kinds = {left.sees, right.sees}
    if kinds == {Sees.WINDOW}:
        if left.stride == right.stride:
            lo, hi = min(left.lo, right.lo), max(left.hi, right.hi)
            return Relation(Sees.WINDOW, left.stride, lo, hi, uniform, padded=padded)
        return Relation(Sees.ALL, padded=padded, uniform=False)
    for side, up in ((Sees.PREFIX, False), (Sees.SUFFIX, True)):
        if side in kinds and kinds <= {side, Sees.WINDOW} and _stays(left, right, up=up):
            return Relation(side, uniform=uniform, padded=padded)
    return Relation(Sees.ALL, uniform=uniform, symmetric=uniform and _orderless(left, right), padded=padded)


# (output, its axis or None when reduced away, operand, its axis) → relation. Pairs left out are unrelated.
Relations = dict[tuple[int, "int | None", int, int], Relation]
