"""Relations of layers with settings drawn at random: no farther, as far, alike everywhere, padding where it is read."""

from __future__ import annotations

import random

import pytest
from archlang.compiler.ops import registry
from archlang.compiler.ops.base import Example, Need, Refusal
from archlang.compiler.relations import Relation, Sees
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_harness import Case, make_case
from test_ops import _check_axis, _check_shift

small, pads = st.integers(1, 3), st.integers(0, 2)
modes = st.sampled_from(["zeros", "reflect", "replicate", "circular"])


def kernels(**more: st.SearchStrategy) -> st.SearchStrategy[dict]:
    return st.fixed_dictionaries({"kernel": st.integers(1, 4), "stride": small, "pad": pads, **more})


LAYERS = st.one_of(
    st.tuples(st.just("conv"), kernels(out=st.just(2), dilation=st.integers(1, 2), padding_mode=modes)),
    st.tuples(
        st.just("conv_transpose"),
        kernels(out=st.just(2), dilation=st.integers(1, 2), output_pad=st.integers(0, 1)),
    ),
    st.tuples(st.just("maxpool"), kernels(dilation=st.integers(1, 2), ceil=st.booleans())),
    st.tuples(st.just("avgpool"), kernels(ceil=st.booleans(), count_pad=st.booleans())),
    st.tuples(st.just("adaptive_avgpool"), st.fixed_dictionaries({"size": st.integers(2, 9)})),
    st.tuples(
        st.just("upsample"),
        st.fixed_dictionaries(
            {"scale": small, "mode": st.sampled_from(["nearest", "nearest-exact", "linear"])},
        ),
    ),
    st.tuples(st.just("pad"), st.builds(lambda a, b, mode: {"amount": [[a, b]], "mode": mode}, pads, pads, modes)),
    st.tuples(
        st.just("index"),
        st.builds(
            lambda low, size, drop: {"items": ((2, low, low + size, drop),)}, st.integers(0, 3), small, st.booleans()
        ),
    ),
    st.tuples(st.just("split"), st.just({"parts": (2, 1, 3), "axis": 2})),
    st.tuples(st.just("rearrange"), st.just({"pattern": "b c (l k) -> b (c k) l", "sizes": {"k": 2}})),
    st.tuples(st.just("rearrange"), st.just({"pattern": "b c (l k) -> b k (l c)", "sizes": {"k": 3}})),
)


def drawn(name: str, options: dict, size: int) -> Case | None:
    """The layer on [1, 2, L]; None where it takes no such operand."""
    example = Example(options, (f"1 C=2 L={size}",), ())
    try:
        op = registry()[name](**options)
        op.infer(example.input_types(), Need())
        return make_case(op, example)
    except Refusal:
        return None


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(LAYERS, st.integers(5, 9))
def test_relations_of_layers_with_any_settings(layer: tuple[str, dict], size: int) -> None:
    case = drawn(*layer, size)
    if case is None:
        return
    relations = case.op.relations(case.inputs, case.outputs)
    _check_axis(case, relations, 0, 2, random.Random(0))
    for out in range(len(case.outputs)):
        mine = {k: r for k, r in relations.items() if k[0] == out and k[3] == 2}
        if len(mine) == 1 and all(k[1] is not None and _slides(r) for k, r in mine.items()):
            ((_, axis, _, _),) = mine
            _check_shift(case, mine, out, axis)


def _slides(relation: Relation) -> bool:
    return relation.uniform and relation.sees is Sees.WINDOW and not relation.loose


@settings(max_examples=200, deadline=None)
@given(LAYERS, st.integers(5, 9))
def test_padding_is_noted_where_a_window_leaves_the_axis(layer: tuple[str, dict], size: int) -> None:
    name, options = layer
    case = drawn(name, options, size)
    if case is None or name not in ("conv", "maxpool", "avgpool", "pad") or options.get("padding_mode") == "circular":
        return
    relation = case.op.relations(case.inputs, case.outputs)[0, 2, 0, 2]
    if relation.sees is Sees.WINDOW:
        places = range(int(case.outputs[0].shape[2]))
        leaves = any(relation.stride * o + relation.lo < 0 or relation.stride * o + relation.hi >= size for o in places)
        assert relation.padded or not leaves
