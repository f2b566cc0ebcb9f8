"""Sizes of axes: integers, or polynomials over symbols and floor divisions, in one canonical form.

Symbols stand for integers of at least 1. Two sizes are equal exactly when their canonical forms are, up to what
floor division hides; `compare` therefore answers proved, refuted or open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from math import gcd, inf

Size = "int | Dim"
Monomial = tuple[tuple["Atom", int], ...]  # atoms with their powers, sorted

_MOST_TERMS = 200  # a size with more terms is no size that anybody wrote


class Verdict(StrEnum):
    """The three answers to a question about shapes."""

    PROVED = "proved"
    REFUTED = "refuted"
    OPEN = "open"


class SizeLimit(ValueError):
    """A size expression grew past the limit."""


@dataclass(frozen=True)
class Symbol:
    """A size that the caller chooses: `B`, `T`."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Floor:
    """`above // below`, rounded down, where nothing simpler says the same."""

    above: Dim
    below: int | Dim

    @cached_property
    def _text(self) -> str:  # sizes are put in order by it
        return f"{_wrap(self.above)} // {_wrap(self.below)}"

    def __str__(self) -> str:
        return self._text

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.above, self.below))


Atom = Symbol | Floor


def _wrap(size: int | Dim) -> str:
    text = str(size)
    return text if isinstance(size, int) or text.isidentifier() else f"({text})"


@dataclass(frozen=True, eq=False)
class Dim:
    """A size that is not a plain integer. Make one with `symbol`, arithmetic does the rest."""

    terms: tuple[tuple[Monomial, int], ...]  # sorted, no zero coefficients

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Dim) and self.terms == other.terms)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    @cached_property
    def _text(self) -> str:
        if len(self.terms) == 1 and self.terms[0][1] == 1 and len(self.terms[0][0]) == 1:
            atom, power = self.terms[0][0][0]
            if power == 1:
                return str(atom)
        parts: list[str] = []
        for monomial, coefficient in sorted(self.terms, key=lambda t: (not t[0], t[1] < 0)):
            body = _monomial_text(monomial)
            size = abs(coefficient)
            text = body if body and size == 1 else (f"{size} * {body}" if body else str(size))
            sign = "-" if coefficient < 0 else "+"
            parts.append((text if sign == "+" else f"-{text}") if not parts else f"{sign} {text}")
        return " ".join(parts)

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__

    def __add__(self, other: int | Dim) -> int | Dim:
        if other == 0:
            return self
        return _build(_merge(self.terms, _terms(other), 1))

    __radd__ = __add__

    def __neg__(self) -> int | Dim:
        return _build({m: -c for m, c in self.terms})

    def __sub__(self, other: int | Dim) -> int | Dim:
        if other == 0:
            return self
        return _build(_merge(self.terms, _terms(other), -1))

    def __rsub__(self, other: int) -> int | Dim:
        return -self + other

    def __mul__(self, other: int | Dim) -> int | Dim:
        if other == 1:
            return self
        product: dict[Monomial, int] = {}
        right = _terms(other)
        if len(self.terms) * len(right) > _MOST_TERMS * 4:
            raise SizeLimit("a size expression is too large")
        for m1, c1 in self.terms:
            for m2, c2 in right:
                m = _times(m1, m2)
                product[m] = product.get(m, 0) + c1 * c2
        return _build(product)

    __rmul__ = __mul__

    def __pow__(self, exponent: int) -> int | Dim:
        if not isinstance(exponent, int) or exponent < 0:
            return NotImplemented
        if exponent > 16:
            raise SizeLimit("a size is raised to too high a power")
        result: int | Dim = 1
        for _ in range(exponent):
            result = self * result
        return result

    def __floordiv__(self, other: int | Dim) -> int | Dim:
        return floordiv(self, other)

    def __rfloordiv__(self, other: int) -> int | Dim:
        return floordiv(other, self)

    def __mod__(self, other: int | Dim) -> int | Dim:
        return self - floordiv(self, other) * other

    def __rmod__(self, other: int) -> int | Dim:
        return other - floordiv(other, self) * self

    @cached_property
    def alone(self) -> str | None:
        """The symbol's name, when the size is nothing but a symbol."""
        if len(self.terms) == 1:
            monomial, coefficient = self.terms[0]
            if coefficient == 1 and len(monomial) == 1 and monomial[0][1] == 1 and isinstance(monomial[0][0], Symbol):
                return monomial[0][0].name
        return None

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """As the function `bounds`."""
        return _bounds(self.terms)

    @cached_property
    def symbols(self) -> frozenset[str]:
        """Names of the symbols it depends on."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom, _power in monomial:
                if isinstance(atom, Symbol):
                    found.add(atom.name)
                else:
                    found |= symbols(atom.above) | symbols(atom.below)
        return frozenset(found)


def _monomial_text(monomial: Monomial) -> str:
    parts = []
    for atom, power in monomial:
        base = str(atom) if isinstance(atom, Symbol) else f"({atom})"
        parts.append(base if power == 1 else f"{base} ** {power}")
    return " * ".join(parts)


def _terms(size: int | Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(size, Dim):
        return size.terms
    return (((), size),) if size else ()


def _merge(left: tuple, right: tuple, sign: int) -> dict[Monomial, int]:
    total = dict(left)
    for monomial, coefficient in right:
        total[monomial] = total.get(monomial, 0) + sign * coefficient
    return total


def _times(left: Monomial, right: Monomial) -> Monomial:
    if not left or not right:
        return left or right
    powers = dict(left)
    for atom, power in right:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: str(item[0])))


def _build(terms: Mapping[Monomial, int]) -> int | Dim:
    kept = [(m, c) for m, c in terms.items() if c]
    if len(kept) > 1:
        kept.sort(key=lambda t: [(str(a), p) for a, p in t[0]])
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    if len(kept) > _MOST_TERMS:
        raise SizeLimit("a size expression is too large")
    return Dim(tuple(kept))


@lru_cache(maxsize=1024)
def symbol(name: str) -> Dim:
    """The size called `name`."""
    return Dim((((((Symbol(name), 1),)), 1),))


def symbols(size: int | Dim) -> frozenset[str]:
    return size.symbols if isinstance(size, Dim) else frozenset()


def floordiv(above: int | Dim, below: int | Dim) -> int | Dim:
    """`above // below`, simplified where that is exact. Raises ZeroDivisionError."""
    if isinstance(below, int):
        return _floordiv_by(above, below)
    exact = 0 if above == 0 else _divide_monomials(above, below)
    if exact is not None:
        return exact
    return Dim((((((Floor(above if isinstance(above, Dim) else _constant(above), below), 1),)), 1),))


def _constant(value: int) -> Dim:
    return Dim((((), value),))  # only ever the numerator of a Floor


def _floordiv_by(above: int | Dim, below: int) -> int | Dim:
    if below == 0:
        raise ZeroDivisionError("division by zero")
    if isinstance(above, int):
        return above // below
    if below < 0:
        return _floordiv_by(-above, -below)
    if below == 1:
        return above
    whole: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for monomial, coefficient in above.terms:
        quotient, remainder = divmod(coefficient, below)
        whole[monomial], rest[monomial] = quotient, remainder
    left = _build(rest)
    if isinstance(left, int):
        return _build(whole) + left // below
    nested = _nested(left)
    if nested is not None:  # (a // m + r) // n = (a + m·r) // (m·n)
        inner, more = nested
        assert isinstance(inner.below, int)
        return _build(whole) + _floordiv_by(inner.above + more * inner.below, inner.below * below)
    shared = below
    for monomial, coefficient in left.terms:
        shared = gcd(shared, coefficient if monomial else 0)
    if shared > 1:  # (g·x + c) // (g·n) = (x + c // g) // n
        return _build(whole) + _floordiv_by(_build({m: c // shared for m, c in left.terms}), below // shared)
    assert isinstance(left, Dim)
    return _build(whole) + Dim((((((Floor(left, below), 1),)), 1),))


def _nested(size: Dim) -> tuple[Floor, int | Dim] | None:
    for monomial, coefficient in size.terms:
        if coefficient == 1 and len(monomial) == 1 and monomial[0][1] == 1:
            atom = monomial[0][0]
            if isinstance(atom, Floor) and isinstance(atom.below, int):
                return atom, _build({m: c for m, c in size.terms if m != monomial})
    return None


def _divide_monomials(above: int | Dim, below: Dim) -> int | Dim | None:
    if above == below:
        return 1
    if len(below.terms) != 1 or not isinstance(above, Dim):
        return None
    divisor, factor = below.terms[0]
    result: dict[Monomial, int] = {}
    for monomial, coefficient in above.terms:
        powers = dict(monomial)
        for atom, power in divisor:
            if powers.get(atom, 0) < power:
                return None
            powers[atom] -= power
        if coefficient % factor:
            return None
        result[tuple((a, p) for a, p in powers.items() if p)] = coefficient // factor
    return _build(result)


def bounds(size: int | Dim) -> tuple[float, float]:
    """The least and greatest value it can take when every symbol is at least 1: integers, or infinite."""
    return (size, size) if isinstance(size, int) else size.bounds


def _bounds(terms: tuple[tuple[Monomial, int], ...]) -> tuple[float, float]:
    low: float = 0
    high: float = 0
    for monomial, coefficient in terms:
        lo: float = 1
        hi: float = 1
        for atom, power in monomial:
            a, b = _atom_bounds(atom)
            if a < 0:
                return -inf, inf
            lo, hi = _product(lo, a**power), _product(hi, b if b == inf else b**power)
        if coefficient < 0:
            lo, hi = hi, lo
        low, high = _sum(low, _product(coefficient, lo)), _sum(high, _product(coefficient, hi))
    return low, high


def _product(left: float, right: float) -> float:
    """left · right, exact for integers however long; 0 · inf is 0, for the infinite bound is never reached."""
    if left == 0 or right == 0:
        return 0
    if abs(left) == inf or abs(right) == inf:
        return inf if (left > 0) == (right > 0) else -inf
    return left * right


def _sum(left: float, right: float) -> float:
    if abs(left) == inf:
        return left
    return right if abs(right) == inf else left + right


def _atom_bounds(atom: Atom) -> tuple[float, float]:
    if isinstance(atom, Symbol):
        return 1, inf
    low, high = bounds(atom.above)
    below_low, below_high = bounds(atom.below)
    if below_low <= 0 or low < 0:
        return -inf, inf
    return (0 if below_high == inf else low // below_high), (inf if high == inf else high // below_low)


def compare(left: int | Dim, right: int | Dim) -> Verdict:
    """Are the two equal for every value of the symbols (proved), for none (refuted), or for some (open)?"""
    if left == right:
        return Verdict.PROVED
    difference = left - right
    if difference == 0:
        return Verdict.PROVED
    low, high = bounds(difference)
    return Verdict.REFUTED if low > 0 or high < 0 else Verdict.OPEN


def divides(below: int | Dim, above: int | Dim) -> Verdict:
    """Does `below` divide `above` without remainder?"""
    return compare(above % below, 0)


def at_least(size: int | Dim, least: int) -> Verdict:
    """Is the size at least `least`?"""
    low, high = bounds(size)
    return Verdict.PROVED if low >= least else Verdict.REFUTED if high < least else Verdict.OPEN


def substitute(size: int | Dim, values: Mapping[str, int | Dim]) -> int | Dim:
    """The size with symbols replaced. Symbols not in `values` stay."""
    if isinstance(size, int):
        return size
    given = {name: values[name] for name in size.symbols if name in values}
    if all(isinstance(value, int) for value in given.values()) and len(given) == len(size.symbols):
        return evaluate(size, given)
    if all(isinstance(value, Dim) and value.alone == name for name, value in given.items()):
        return size
    return rebuild(size, lambda atom: given.get(atom.name) if isinstance(atom, Symbol) else None)


def evaluate(size: int | Dim, values: Mapping[str, int | Dim]) -> int:
    """The size, every symbol of which `values` gives as a number."""
    if isinstance(size, int):
        return size
    total = 0
    for monomial, product in size.terms:
        for atom, power in monomial:
            if isinstance(atom, Symbol):
                factor = values[atom.name]
                assert isinstance(factor, int)
            else:
                factor = evaluate(atom.above, values) // evaluate(atom.below, values)
            product *= factor**power
        total += product
    return total


def rebuild(size: int | Dim, value: Callable[[Atom], int | Dim | None]) -> int | Dim:
    """The size with every atom for which there is a `value`; what a remaining `//` holds is rebuilt in turn."""
    if isinstance(size, int):
        return size
    total: int | Dim = 0
    for monomial, coefficient in size.terms:
        product: int | Dim = coefficient
        for atom, power in monomial:
            factor = value(atom)
            if factor is None:
                if isinstance(atom, Symbol):
                    factor = symbol(atom.name)
                else:
                    factor = floordiv(rebuild(atom.above, value), rebuild(atom.below, value))
            product = product * factor**power
        total = total + product
    return total
