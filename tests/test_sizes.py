"""Symbolic sizes against Python's own integers."""

from __future__ import annotations

import operator

import pytest
from archlang.compiler.size_text import parse_size
from archlang.compiler.sizes import (
    Dim,
    SizeLimit,
    Verdict,
    at_least,
    bounds,
    compare,
    divides,
    floordiv,
    substitute,
    symbol,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv, "%": operator.mod}
NAMES = ("B", "T", "H")

leaves = st.one_of(st.integers(-9, 40), st.sampled_from(NAMES))
trees = st.recursive(leaves, lambda t: st.tuples(st.sampled_from(list(OPERATORS)), t, t), max_leaves=7)
values = st.fixed_dictionaries({name: st.integers(1, 60) for name in NAMES})


def build(tree):
    """The canonical size of a random expression."""
    if isinstance(tree, int):
        return tree
    if isinstance(tree, str):
        return symbol(tree)
    sign, left, right = tree
    return OPERATORS[sign](build(left), build(right))


def plain(tree, numbers):
    """The same expression in Python's integers."""
    if isinstance(tree, int):
        return tree
    if isinstance(tree, str):
        return numbers[tree]
    sign, left, right = tree
    return OPERATORS[sign](plain(left, numbers), plain(right, numbers))


def sized(tree):
    try:
        return build(tree)
    except (ZeroDivisionError, SizeLimit):
        assume(False)


def number(tree, numbers):
    try:
        return plain(tree, numbers)
    except ZeroDivisionError:
        assume(False)


@settings(max_examples=150, deadline=None)
@given(trees, values)
def test_canonical_form_means_what_was_written(tree, numbers):
    expected = number(tree, numbers)
    assert substitute(sized(tree), numbers) == expected


@settings(max_examples=100, deadline=None)
@given(trees, values, trees)
def test_substituting_a_size_and_then_numbers_is_the_same(tree, numbers, inner):
    middle = number(inner, numbers)
    assume(middle >= 1)
    expected = number(tree, {**numbers, "T": middle})
    size = sized(tree)
    try:
        renamed = substitute(size, {"T": sized(inner)})
    except (ZeroDivisionError, SizeLimit):
        assume(False)
    assert substitute(renamed, numbers) == expected


@settings(max_examples=150, deadline=None)
@given(trees)
def test_text_reads_back_to_the_same_size(tree):
    size = sized(tree)
    assert parse_size(str(size)) == size


@settings(max_examples=150, deadline=None)
@given(trees, trees, values)
def test_verdicts_hold_for_every_value(left, right, numbers):
    a, b = number(left, numbers), number(right, numbers)
    one, other = sized(left), sized(right)
    verdict = compare(one, other)
    assert verdict is Verdict.OPEN or (a == b) == (verdict is Verdict.PROVED)
    verdict = at_least(one, 5)
    assert verdict is Verdict.OPEN or (a >= 5) == (verdict is Verdict.PROVED)
    if b != 0:
        verdict = divides(other, one)
        assert verdict is Verdict.OPEN or (a % b == 0) == (verdict is Verdict.PROVED)
    low, high = bounds(one)
    assert low <= a <= high


B, T, H = symbol("B"), symbol("T"), symbol("H")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((H + 2 * 3 - 7) // 2 + 1, "(H + 1) // 2"),
        ((2 * T + 1) // 4, "T // 2"),
        ((T // 2) // 3, "T // 6"),
        ((T // 2 + 1) // 2, "(T + 2) // 4"),
        (4 * (T // 4) + T % 4, "T"),
        ((B * T) // T, "B"),
        (-T, "-T"),
        (2 * T * T - 3, "2 * T ** 2 - 3"),
        (floordiv(0, T), "0"),
        (floordiv(7, T), "(7) // T"),
    ],
)
def test_the_usual_sizes_have_one_form(size, text):
    assert str(size) == text


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        (T + 1, T + 1, Verdict.PROVED),
        (T + 1, T, Verdict.REFUTED),
        (T, 0, Verdict.REFUTED),
        (T, 3, Verdict.OPEN),
        (B, T, Verdict.OPEN),
        (2 * (T // 2), T, Verdict.OPEN),
    ],
)
def test_equality_has_three_answers(left, right, verdict):
    assert compare(left, right) is verdict


def test_bounds_are_exact_for_long_integers():
    assert at_least(2**60 * T - (2**60 + 1), 0) is Verdict.OPEN
    assert at_least(2**60 * T - 2**60, 0) is Verdict.PROVED
    assert bounds(T * 10**400 + 1)[0] == 10**400 + 1
    assert bounds(T * floordiv(1, T + 1)) == (0, 0)


@pytest.mark.parametrize(
    "text", ["", "T +", "T T", "1.5", "T ** -1", "T ** T", "f(T)", "(T", "T)", "T // 0", "'a'", "T / 2"]
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 500 + "T" + ")" * 500,
        "((2 ** 4000) ** 4000)",
        "9" * 9000,
        "*".join(["9" * 1000] * 9),
        "(T + B) ** 16 ** 2",
    ],
)
def test_a_hostile_size_is_refused_quickly(text):
    with pytest.raises(ValueError):
        parse_size(text)


def test_names_that_python_reserves_are_sizes_too():
    assert parse_size("lambda + 1") == symbol("lambda") + 1
    assert isinstance(parse_size("is"), Dim)
