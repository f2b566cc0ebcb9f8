"""The algebra of relations against brute force on finite sets of positions, and on functions that slide."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil, floor, lcm

import pytest
from archlang.compiler.analysis.receptive import Receptive
from archlang.compiler.relations import (
    POINTWISE,
    Relation,
    Sees,
    compose,
    everything,
    prefix,
    suffix,
    union,
    window,
)
from emit_harness import compiled
from hypothesis import given, settings
from hypothesis import strategies as st

FAR = 40  # positions that stand for an axis without ends: -FAR to FAR

steps = st.sampled_from([1, 2, 3, Fraction(1, 2), Fraction(1, 3), Fraction(2, 3), Fraction(3, 2)])
ends = st.integers(-4, 4) | st.sampled_from([Fraction(-1, 2), Fraction(1, 2), Fraction(-2, 3)])
windows = st.builds(lambda s, a, b: window(s, min(a, b), max(a, b)), steps, ends, ends)
one_sided = st.builds(
    lambda kind, s, end: Relation(kind, s, end, end), st.sampled_from([Sees.PREFIX, Sees.SUFFIX]), steps, ends
)
whole = st.builds(lambda u, s: everything(uniform=u, symmetric=u and s, steady=u), st.booleans(), st.booleans())
relations = windows | one_sided | whole | st.just(POINTWISE)


def seen(r: Relation, o: int) -> set[int]:
    """The positions that place o sees."""
    at = r.stride * o
    low = -FAR if r.sees in (Sees.PREFIX, Sees.ALL) else max(-FAR, ceil(at + r.lo))
    high = FAR if r.sees in (Sees.SUFFIX, Sees.ALL) else min(FAR, floor(at + r.hi))
    return set(range(low, high + 1))


@settings(max_examples=150, deadline=None)
@given(relations, relations, st.integers(-6, 6))
def test_a_composition_covers_what_is_seen(outer: Relation, inner: Relation, o: int) -> None:
    through = {p for m in seen(outer, o) for p in seen(inner, m)}
    assert through <= seen(compose(outer, inner), o)


@settings(max_examples=150, deadline=None)
@given(relations, relations, st.integers(-6, 6))
def test_a_union_covers_both(left: Relation, right: Relation, o: int) -> None:
    assert seen(left, o) | seen(right, o) <= seen(union(left, right), o)


whole_numbers = st.builds(lambda s, a, b: window(s, min(a, b), max(a, b)), st.integers(1, 3), *[st.integers(-4, 4)] * 2)


@settings(max_examples=120, deadline=None)
@given(whole_numbers | one_sided, whole_numbers, st.integers(-4, 4))
def test_a_composition_with_a_window_of_stride_one_is_no_wider(outer: Relation, inner: Relation, o: int) -> None:
    inner = replace(inner, stride=1, period=1)
    inside = set(range(-FAR // 2, FAR // 2))
    assert {p for m in seen(outer, o) for p in seen(inner, m)} & inside == seen(compose(outer, inner), o) & inside


def weight(r: Relation, o: int, i: int) -> tuple[int, int] | None:
    """What stands for the weight with which a uniform relation's place o takes position i in: the same at every place
    that a move by the period leads to, and another one everywhere else."""
    if i not in seen(r, o):
        return None
    turn = int(r.period / r.stride)  # places that a move by the period goes on
    return o % turn, i - r.period * (o // turn)


def through(outer: Relation, inner: Relation, o: int, i: int) -> frozenset:
    """The weights of all ways from position i to place o."""
    ways = ((weight(outer, o, m), weight(inner, m, i)) for m in range(-FAR, FAR + 1))
    return frozenset((a, b) for a, b in ways if a is not None and b is not None)


@settings(max_examples=60, deadline=None)
@given(windows, windows, st.integers(-3, 3), st.integers(-3, 3))
def test_the_period_of_a_composition_is_followed(outer: Relation, inner: Relation, o: int, apart: int) -> None:
    """x moved by the period P moves the result by P / stride: the same weights, wherever."""
    both = compose(outer, inner)
    assert both.uniform and both.follows_shifts
    on = Fraction(both.period) / both.stride
    assert on.denominator == 1, "a move by the period ends on a place"
    i = floor(both.stride * o) + apart
    assert through(outer, inner, o, i) == through(outer, inner, o + int(on), i + both.period)


@settings(max_examples=100, deadline=None)
@given(windows, windows)
def test_the_period_is_the_smallest(outer: Relation, inner: Relation) -> None:
    """No smaller move of the input is followed by both layers."""
    both = compose(outer, inner)
    for move in range(1, both.period):
        between = Fraction(move) / inner.stride
        follows = move % inner.period == 0 and between.denominator == 1 and between % outer.period == 0
        assert not follows, f"{move} < {both.period}"


@settings(max_examples=200, deadline=None)
@given(windows, windows)
def test_the_period_of_a_union_is_that_of_both(left: Relation, right: Relation) -> None:
    both = union(left, right)
    if left == right:
        assert both == left
    else:
        assert both.period == lcm(left.period, right.period)
        assert both.uniform == (left.stride == right.stride)


# -- flags, on functions: x ↦ y over an axis that is closed to a ring, where moves are exact

RING = 12


def layers() -> dict[str, tuple[Relation, object]]:
    """Functions of lists of numbers, and the relation of each; None for what every place of the result sees."""

    def slide(taps: list[float], step: int = 1):
        return lambda x: [
            sum(t * x[(step * o + k) % len(x)] for k, t in enumerate(taps)) ** 2 for o in range(len(x) // step)
        ]

    return {
        "pointwise": (POINTWISE, lambda x: [v**3 - v for v in x]),
        "conv": (window(1, 0, 1), slide([1.0, -2.0])),
        "strided": (window(2, 0, 1), slide([1.0, 3.0], 2)),
        "strided by 3": (window(3, 0, 0), slide([1.0], 3)),
        "repeated": (window(Fraction(1, 2), Fraction(-1, 2), 0), lambda x: [v for v in x for _ in range(2)]),
        "ranked": (everything(uniform=True, symmetric=True), lambda x: [v - max(x) for v in x]),
        "anchored": (window(1, 0, 0, uniform=False), lambda x: [v * (i + 1) for i, v in enumerate(x)]),
        "mixed": (everything(), lambda x: [sum((i * o + 1) % 5 * v for i, v in enumerate(x)) for o in range(len(x))]),
    }


def pools() -> dict[str, tuple[Relation, object]]:
    return {
        "sum": (everything(uniform=True, symmetric=True), sum),
        "max": (everything(uniform=True, symmetric=True), max),
        "weighted": (everything(), lambda x: sum((i + 1) * v for i, v in enumerate(x))),
        "first": (window(1, 0, 0, ordered=True), lambda x: x[0]),
    }


numbers = st.lists(st.integers(-9, 9).map(float), min_size=RING, max_size=RING)


def close(left: object, right: object) -> bool:
    return left == pytest.approx(right, rel=1e-9, abs=1e-6)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(layers())), max_size=3),
    st.sampled_from([None, *sorted(pools())]),
    numbers,
    st.data(),
)
def test_flags_say_what_functions_do(names: list[str], pool: str | None, x: list[float], data: st.DataObject) -> None:
    """Moves and permutations of the input, where the composed relation says that they are followed."""
    relation, functions, size = POINTWISE, [], RING
    for name in names:
        each, function = layers()[name]
        if each.stride > 1 and size % each.stride:
            return
        size = int(size / each.stride)
        relation, functions = compose(each, relation), [*functions, function]
    if pool is not None:
        each, function = pools()[pool]
        relation, functions = compose(each, relation), [*functions, function]

    def run(values: list[float]) -> object:
        for function in functions:
            values = function(values)
        return values

    before = run(x)
    moves = relation.follows_shifts and (pool is None or relation.sees is Sees.ALL)
    if moves and RING % relation.period == 0:
        after = run(x[-relation.period :] + x[: -relation.period])
        if isinstance(before, list):
            on = int(relation.period / relation.stride) % len(before)
            before = before[-on:] + before[:-on] if on else before
        assert close(after, before), relation
    if relation.follows_permutations and (pool is None or relation.sees is Sees.ALL):
        order = data.draw(st.permutations(range(RING)))
        after, before = run([x[i] for i in order]), run(x)
        assert close(after, [before[i] for i in order] if isinstance(before, list) else before), relation


def test_one_sided_relations_turn_into_all_where_the_axis_is_turned() -> None:
    turned = window(-1, 0, 0)
    assert compose(prefix(), turned).sees is Sees.ALL
    assert compose(suffix(), turned).sees is Sees.ALL


def test_parts_of_an_axis_change_no_places() -> None:
    part = window(1, 0, 0, ordered=True)
    assert not compose(everything(uniform=True, symmetric=True), part).symmetric
    assert not compose(part, POINTWISE).follows_permutations
    assert compose(part, window(1, -1, 1)).follows_shifts


# -- networks that would fool a careless composition


def entries(body: str, inputs: str, axis: str, value: str = "y") -> dict[tuple[int | None, int, int], Relation]:
    """What a value sees of every input's axis of this name."""
    program = compiled(f"network N {{\n {inputs}\n {body}\n output {value}\n}}")
    graph = program.graph
    view = Receptive().views(graph)[graph.values[value]]
    names = [graph[n].types[0].names for n in graph.inputs]
    return {key: r for key, r in view.relations.items() if names[key[1]][key[2]] == axis}


def test_an_inner_part_of_a_constant_tells_places_apart() -> None:
    """A table of positions in two axes is different along the inner one too."""
    split = 'const at: [t=6] = t\n y = x + (at -> rearrange("(h p) -> h p", h=2))'
    for axis in ("H", "P"):
        assert not any(r.uniform for r in entries(split, "input x: [B, H=2, P=3]", axis).values())
    shuffled = "const c: [a=1, n=4, h=1, w=1] = n\n y = x + (c -> pixel_shuffle(2))"
    for axis in ("H", "W"):
        assert not any(r.uniform for r in entries(shuffled, "input x: [B, C=1, H=2, W=2]", axis).values())


@pytest.mark.parametrize("join", ["y + z", '(y, z) -> einsum("b h p, b p -> b h")'])
def test_an_inner_part_of_an_input_must_move_along(join: str) -> None:
    """z meets the inner part of x's axis: alone, it can't be moved."""
    inputs = "input x: [B, T=6]\n input z: [B, P=3]"
    body = f'y = x -> rearrange("b (h p) -> b h p", h=2)\n out = {join.replace("y + z", "y + (z -> unsqueeze(1))")}'
    program = compiled(f"network N {{\n {inputs}\n {body}\n output out\n}}")
    view = Receptive().views(program.graph)[program.graph.values["out"]]
    mine = [key for key in view.relations if key[1:] == (1, 1)]
    assert mine and all((0, 1) in view.partners.get(key, ()) for key in mine)


def test_patches_and_shuffles_still_follow_moves() -> None:
    """Inner parts do not stand in the way of the axis that they come from."""
    shuffled = entries("y = x -> conv(16, kernel=3, pad=1) -> pixel_shuffle(2)", "input x: [B, C=4, H=8, W=8]", "H")
    assert [r.follows_shifts for r in shuffled.values()] == [True]
    there_and_back = 'y = x -> rearrange("b (n w) -> b n w", w=2) -> softmax -> rearrange("b n w -> b (n w)")'
    found = entries(there_and_back, "input x: [B, T=8]", "T")
    assert [(r.follows_shifts, r.period, r.stride) for r in found.values()] == [(True, 2, 1)]


def test_a_part_of_an_axis_is_in_no_order_of_the_whole() -> None:
    for body in (
        "y = x[T=0..4] -> mean(axis=T)",
        "a, y = x -> split([4, 4], axis=T)",
        "y = (x -> softmax(axis=T))[T=0]",
    ):
        found = entries(body, "input x: [B, T=8]", "T").values()
        assert found and not any(r.follows_permutations and r.sees is not Sees.WINDOW for r in found), body
        assert not any(r.follows_permutations for r in found) or "softmax" in body, body
