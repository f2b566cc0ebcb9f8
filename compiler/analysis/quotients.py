"""What intervals can't tell: whether a value is finite, and positive without a least bound. Shares rest on both.

A share `a / (a + b)` of values that are not negative lies in [0, 1], unless its divisor is zero. The bounds of a
sigmoid, [0, 1], don't exclude that; that e^x > 0 does, as long as x is not -∞, which masks are made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isinf

from ..graph import Graph, Ref
from ..ops.base import ANY, Glyph, Interval, Op

_SHARE = Interval(0, 1)
_EXPONENTIAL = frozenset({"sigmoid", "softplus", "exp", "softmax"})  # positive wherever x > -∞
_POLES = frozenset({Glyph.ARITHMETIC, Glyph.LOSS, Glyph.CONSTANT})  # among these are logarithms and quotients
_WHOLE = frozenset({"abs", "add", "cast", "clamp", "exp", "mul", "neg", "sqrt", "square", "stop_gradient", "sub"})
_SIGNED = frozenset({"pad", "upsample"})  # what changes the shape and brings in other numbers
_KEEPING = frozenset({"index", "split", "max", "mean", "min", "sum", "mul", "sqrt", "square", "stop_gradient"})


@dataclass(frozen=True, slots=True)
class Range:
    """What every element of a value has in common. finite: neither ∞ nor -∞; positive: above zero."""

    interval: Interval = ANY
    finite: bool = False
    positive: bool = False

    def both(self, other: Range) -> Range:
        """What holds when both do."""
        lo, hi = max(self.interval.lo, other.interval.lo), min(self.interval.hi, other.interval.hi)
        return Range(Interval(lo, hi), self.finite or other.finite, self.positive or other.positive)

    def either(self, other: Range) -> Range:
        """What holds when one or the other does."""
        lo, hi = min(self.interval.lo, other.interval.lo), max(self.interval.hi, other.interval.hi)
        return Range(Interval(lo, hi), self.finite and other.finite, self.positive and other.positive)


def ranged(interval: Interval, finite: bool = False, positive: bool = False) -> Range:
    """A range with what its bounds tell."""
    bounded = not isinf(interval.lo) and not isinf(interval.hi)
    return Range(interval, finite or bounded, positive or interval.lo > 0)


def stays_finite(op: Op, operands: Sequence[Range]) -> bool:
    """Does an op make finite numbers of these, as far as its kind tells?"""
    if op.name == "log":
        made = operands[0].positive
    elif op.name == "div":
        made = operands[1].interval.lo > 0 or operands[1].interval.hi < 0
    else:
        made = op.glyph not in _POLES or op.name in _WHOLE
    return made and bool(operands) and all(operand.finite for operand in operands)


def is_positive(op: Op, operands: Sequence[Range]) -> bool:
    """Does an op make positive numbers of these, as far as its kind tells?"""
    if op.name in _EXPONENTIAL:
        return operands[0].finite
    if op.name == "add":
        return any(o.positive for o in operands) and all(o.interval.lo >= 0 for o in operands)
    if op.name == "where":
        return all(operand.positive for operand in operands[1:])
    arranges = op.glyph in (Glyph.SHAPE, Glyph.MERGE) and op.name not in _SIGNED
    return (arranges or op.name in _KEEPING) and all(operand.positive for operand in operands)


def share(graph: Graph, number: int, found: Mapping[Ref, Range]) -> Interval:
    """Bounds on the quotient of a value and a sum that it is part of: [0, 1] where no part is negative and the sum is
    positive. Anything for other quotients."""
    part, whole = graph.operands(number)
    known = found[part]
    if known.interval.lo < 0 or not known.finite or not found[whole].positive:
        return ANY
    terms = _terms(graph, whole, part)
    others = [term for term in terms if not _holds(graph, term, part)]
    inside = len(others) < len(terms)
    return _SHARE if inside and all(found[term].interval.lo >= 0 for term in others) else ANY


def _terms(graph: Graph, whole: Ref, part: Ref) -> list[Ref]:
    """What a sum adds up, each value once. The part is not taken apart."""
    waiting, seen, terms = [whole], {whole}, []
    while waiting:
        here = waiting.pop()
        op = graph[here.node].op
        if here == part or op is None or op.name != "add":
            terms.append(here)
            continue
        waiting += [other for other in graph.operands(here.node) if other not in seen]
        seen.update(graph.operands(here.node))
    return terms


def _holds(graph: Graph, term: Ref, part: Ref) -> bool:
    """Is a term the part itself, or its sum along axes that stay?"""
    op = graph[term.node].op
    kept = op is not None and op.name == "sum" and bool(op.as_dict().get("keep"))
    return term == part or (kept and graph.operands(term.node) == [part])
