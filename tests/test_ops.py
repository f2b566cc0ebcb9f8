"""Every example of every op: declared shapes, weights, costs, ranges and relations against what PyTorch does."""

from __future__ import annotations

import random
from fractions import Fraction
from math import lcm

import pytest
import torch
from archlang.compiler import ops
from archlang.compiler.ops import registry
from archlang.compiler.ops.base import ANY, Need, Op, Refusal
from archlang.compiler.relations import Relation, Sees
from archlang.compiler.sizes import symbol
from archlang.compiler.types import Axis, TensorType
from ops_harness import (
    SIZES,
    Case,
    changed_positions,
    concrete,
    coordinates,
    evaluate_size,
    make_case,
    range_of,
    render,
    sees,
)
from torch.utils.flop_counter import FlopCounterMode

CASES = [(name, i) for name, op in sorted(registry().items()) for i in range(len(op.examples))]
examples = pytest.mark.parametrize(("name", "number"), CASES, ids=[f"{name}-{i}" for name, i in CASES])

# Ops that see, for each value of another operand, only a part of what their relation says.
CHOOSY = frozenset({"gather"})


def op_of(name: str, number: int) -> Op:
    return registry()[name](**registry()[name].examples[number].settings)


def case_of(name: str, number: int) -> Case:
    return make_case(op_of(name, number), registry()[name].examples[number], number)


def test_registry_is_complete() -> None:
    assert ops.names() == sorted(n for n, op in registry().items() if not op.hidden)
    assert ops.get("no such op") is None


def test_common_ops_are_where_they_are_looked_for() -> None:
    for name, family in ops._HOMES.items():
        assert registry()[name].__module__ == f"archlang.compiler.ops.{family}"


@pytest.mark.parametrize("name", sorted(registry()))
def test_documented(name: str) -> None:
    op = registry()[name]
    assert op.__doc__ and op.__doc__.strip().endswith((".", ")")), "a docstring that ends in a full stop"
    for setting, info in op.model_fields.items():
        assert info.description, f"setting {setting} has no description"


@examples
def test_shapes(name: str, number: int) -> None:
    """Declared result types = inferred = executed."""
    op, example = op_of(name, number), registry()[name].examples[number]
    assert tuple(map(str, op.infer(example.input_types(), Need()))) == tuple(map(str, example.output_types()))
    case = case_of(name, number)
    results = case.run()
    assert len(results) == len(case.outputs)
    for result, declared in zip(results, case.outputs, strict=True):
        assert tuple(result.shape) == declared.shape
        assert {"float": result.is_floating_point(), "bool": result.dtype is torch.bool}.get(
            declared.dtype, result.dtype is torch.int64
        ), f"{declared} is {result.dtype}"


@examples
def test_symbolic_first_axis(name: str, number: int) -> None:
    """With the first axis a symbol: the same types, the same cost, the same text but for the symbol."""
    case = case_of(name, number)
    first = next((t.shape[0] for t in case.inputs if t.rank), None)
    if first is None:
        return
    symbolic = tuple(
        TensorType((Axis(t.axes[0].name, symbol("Batch")), *t.axes[1:]), t.dtype)
        if t.rank and t.shape[0] == first
        else t
        for t in case.inputs
    )
    try:
        outputs = case.op.infer(symbolic, Need())
    except Refusal as refusal:
        assert refusal.code == "A0303", refusal
        return
    assert tuple(t.substitute({"Batch": int(first)}) for t in outputs) == case.outputs
    flops = case.op.flops(symbolic, outputs)
    assert evaluate_size(flops, {"Batch": int(first)}) == case.op.flops(case.inputs, case.outputs)
    assert case.op.weights(symbolic) == case.op.weights(case.inputs)
    text = render(case.op.call(symbolic, outputs), len(symbolic), list(case.weights))
    for result, expected in zip(case.evaluate(text, case.tensors, Batch=int(first)), case.run(), strict=True):
        torch.testing.assert_close(result, expected)


@examples
def test_module(name: str, number: int) -> None:
    """The module lists exactly the declared weights, and computes what the functional form does, in both modes."""
    case = case_of(name, number)
    specs = case.op.weights(case.inputs)
    module = case.module()
    if module is None:
        return
    listed = module.state_dict()
    saved = [s for s in specs if s.role != "scratch"]
    assert list(listed) == [s.name for s in saved]
    assert [tuple(t.shape) for t in listed.values()] == [s.shape for s in saved]
    assert [t.is_floating_point() for t in listed.values()] == [s.dtype == "float" for s in saved]
    assert [n for n, _ in module.named_parameters()] == [s.name for s in specs if s.role == "param"]
    assert {n for n, _ in module.named_buffers()} == {s.name for s in specs if s.role != "param"}
    for training in (False, True):
        module = case.module()
        assert module is not None
        module.train(training)
        torch.default_generator.manual_seed(0)
        results = module(*(t.clone() for t in case.tensors))
        results = tuple(results) if isinstance(results, tuple | list) else (results,)
        for result, expected in zip(results, case.run(training=training), strict=True):
            torch.testing.assert_close(result, expected)


@examples
def test_flops(name: str, number: int) -> None:
    case = case_of(name, number)
    with FlopCounterMode(display=False) as counter:
        case.run()
    assert case.op.flops(case.inputs, case.outputs) == counter.get_total_flops()


@examples
def test_bounds(name: str, number: int) -> None:
    case = case_of(name, number)
    ranges = tuple(range_of(t) for t in case.tensors)
    for given in (ranges, tuple(ANY for _ in ranges)):
        declared = case.op.bounds(given)
        assert len(declared) == len(case.outputs)
        for training in (False, True):
            for result, bounds in zip(case.run(training=training), declared, strict=True):
                slack = 1e-9 * max(1.0, float(result.double().abs().max()))
                assert bounds.lo - slack <= float(result.min()), bounds
                assert float(result.max()) <= bounds.hi + slack, bounds


def _positions(size: int, chance: random.Random) -> list[int]:
    """Every position of a short axis; the borders, and a run in the middle, of a long one."""
    if size <= 9:
        return list(range(size))
    return sorted({0, 1, size - 2, size - 1, *range(size // 2 - 2, size // 2 + 2), chance.randrange(size)})


@examples
def test_relations(name: str, number: int) -> None:
    """What a changed element reaches lies within the declared relations, and reaches as far as they say."""
    case = case_of(name, number)
    relations = case.op.relations(case.inputs, case.outputs)
    for out, out_axis, operand, axis in relations:
        assert 0 <= out < len(case.outputs)
        assert out_axis is None or 0 <= out_axis < case.outputs[out].rank
        assert 0 <= operand < len(case.inputs)
        assert 0 <= axis < case.inputs[operand].rank
    chance = random.Random(0)
    for operand, t in enumerate(case.inputs):
        for axis in range(t.rank):
            _check_axis(case, relations, operand, axis, chance)


def _check_axis(case: Case, relations: dict, operand: int, axis: int, chance: random.Random) -> None:
    """Perturbs elements at each position along one axis, at other places in every round, until all is reached that the
    relations promise: an op that only moves elements shows one connection at a time."""
    sizes = [int(n) for n in case.inputs[operand].shape]
    mine = {k: r for k, r in relations.items() if k[2:] == (operand, axis) and k[1] is not None}
    related = {k[0] for k in relations if k[2:] == (operand, axis)}
    fixed = {k[0]: r for k, r in relations.items() if k[1:] == (None, operand, axis) and r.sees is Sees.WINDOW}
    positions = _positions(sizes[axis], chance)
    reached: dict[tuple, dict[int, set[int]]] = {key: {p: set() for p in positions} for key in mine}
    must_reach = case.inputs[operand].dtype == "float" and case.op.name not in CHOOSY
    for _ in range(40):
        for position in positions:
            index = tuple(position if a == axis else chance.randrange(n) for a, n in enumerate(sizes))
            masks = changed_positions(case, operand, index)
            for out, mask in enumerate(masks):
                assert out in related or not mask.any(), f"result {out} sees axis {axis} of operand {operand} unrelated"
                outside = out in fixed and sizes[axis] > 1 and not fixed[out].lo <= position <= fixed[out].hi
                assert not (outside and mask.any()), f"result {out} sees position {position}, not only {fixed[out]}"
            for key, relation in mine.items():
                seen = coordinates(masks[key[0]], key[1])
                wrong = [o for o in seen if not sees(relation, o, position)]
                assert not wrong, f"{key}: {relation} excludes position {position} from {wrong}"
                reached[key][position] |= seen
        unmet = [_unmet(r, reached[k], int(case.outputs[k[0]].shape[k[1]])) for k, r in mine.items() if not r.loose]
        if not must_reach or not any(unmet):
            return
    raise AssertionError(f"operand {operand}, axis {axis}: {' and '.join(filter(None, unmet))}")


def _unmet(relation: Relation, reached: dict[int, set[int]], size: int) -> str:
    """What a relation says can be seen, and was not; empty when there is nothing."""
    if relation.sees is not Sees.WINDOW:
        unseen = {p: {o for o in range(size) if sees(relation, o, p)} - seen for p, seen in reached.items()}
        return f"{relation} but no effect of {unseen}" if any(unseen.values()) else ""
    observed = {p - relation.stride * o for p, seen in reached.items() for o in seen}
    possible = {p - relation.stride * o for p in reached for o in range(size)}
    missing = ({relation.lo, relation.hi} & possible) - observed
    return f"{relation} but nothing at offset {sorted(map(str, missing))}" if missing else ""


@examples
def test_uniform(name: str, number: int) -> None:
    """Where every window is uniform, shifted operands give the shifted result, away from the borders."""
    case = case_of(name, number)
    relations = case.op.relations(case.inputs, case.outputs)
    for out, t in enumerate(case.outputs):
        for out_axis in range(t.rank):
            mine = {k: r for k, r in relations.items() if k[:2] == (out, out_axis)}
            alone = all(sum(k[0] == out and k[2:] == key[2:] for k in relations) == 1 for key in mine)
            if mine and alone and all(r.uniform and r.sees is Sees.WINDOW for r in mine.values()):
                _check_shift(case, mine, out, out_axis)


def _check_shift(case: Case, mine: dict, out: int, out_axis: int) -> None:
    step = lcm(*(r.stride.denominator for r in mine.values()))
    tensors = list(case.tensors)
    inside = set(range(int(case.outputs[out].shape[out_axis]) - step))
    for (_, _, operand, axis), r in mine.items():
        shift = int(r.stride * step)
        tensors[operand] = torch.roll(tensors[operand], shift, axis)
        last = int(case.inputs[operand].shape[axis]) - 1 - shift
        inside = {o for o in inside if r.stride * o + r.lo >= 0 and r.stride * o + r.hi <= Fraction(last)}
    places = torch.tensor(sorted(inside), dtype=torch.int64)
    before, after = case.run()[out], case.run(tensors)[out]
    torch.testing.assert_close(after.index_select(out_axis, places + step), before.index_select(out_axis, places))


@examples
def test_symmetric(name: str, number: int) -> None:
    """A result symmetric in an axis is unchanged, at each position, when the other positions are permuted, in all
    operands that it sums over together."""
    case = case_of(name, number)
    for (out, out_axis, operand, axis), relation in case.op.relations(case.inputs, case.outputs).items():
        size = int(case.inputs[operand].shape[axis])
        if not relation.symmetric or relation.sees is not Sees.ALL or size == 1:
            continue
        own = None if out_axis is None else random.Random(number).randrange(int(case.outputs[out].shape[out_axis]))
        others = [p for p in range(size) if p != own]
        order = torch.arange(size)
        order[others] = torch.tensor(others[1:] + others[:1])
        tensors = list(case.tensors)
        together = [group for group in case.op.contracted(case.inputs) if (operand, axis) in group]
        for i, a in {(operand, axis)}.union(*together):
            tensors[i] = tensors[i].index_select(a, order)
        before, after = case.run()[out], case.run(tensors)[out]
        if out_axis is not None:
            before, after = before.select(out_axis, own), after.select(out_axis, own)
        torch.testing.assert_close(after, before)


@pytest.mark.parametrize("name", sorted(registry()))
def test_unknown_setting_is_refused(name: str) -> None:
    example = registry()[name].examples[0]
    with pytest.raises(ValueError, match="Extra inputs"):
        registry()[name](**example.settings, no_such_setting=1)


def test_symbols_of_examples_stand_for_numbers() -> None:
    (t,) = concrete((TensorType((Axis("B", symbol("B")), Axis(None, symbol("B") * 2))),))
    assert t.shape == (SIZES["B"], 2 * SIZES["B"])
