"""Elementwise ops, shapes, patterns, selection and reductions: against plain PyTorch."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from archlang.compiler.ops.base import Interval, Need, Op, Refusal
from archlang.compiler.ops.elementwise import divide, multiply, raise_to
from archlang.compiler.types import TensorType, tensor
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ops_harness import infer, op, refusal, render, sees
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

quick = settings(max_examples=60, deadline=None, derandomize=True)


def text(name: str, *inputs: str, **values: Any) -> str:
    made, types = op(name, **values), tuple(map(tensor, inputs))
    return render(made.call(types, made.infer(types, Need())), len(inputs))


def run(made: Op, *tensors: torch.Tensor) -> Any:
    types = tuple(tensor(" ".join(["int"] * (not x.is_floating_point()) + list(map(str, x.shape)))) for x in tensors)
    code = render(made.call(types, made.infer(types, Need())), len(tensors))
    scope: dict[str, Any] = {f"x{i}": x for i, x in enumerate(tensors)}
    return eval(code, {"torch": torch, "F": F, "math": math, **scope})


# -- broadcasting and kinds of numbers


@given(st.lists(st.sampled_from([1, 2, 3]), max_size=3), st.lists(st.sampled_from([1, 2, 3]), max_size=3))
@quick
def test_broadcasting_is_torchs(a: list[int], b: list[int]) -> None:
    types = tuple(tensor(" ".join(map(str, shape))) for shape in (a, b))
    try:
        expected = torch.broadcast_shapes(a, b)
    except RuntimeError:
        with pytest.raises(Refusal):
            op("add").infer(types, Need())
    else:
        assert op("add").infer(types, Need())[0].shape == tuple(expected)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "floordiv", "mod", "less", "equal"])
@pytest.mark.parametrize(("a", "b"), list(product(["", "int "], repeat=2)))
def test_kinds_of_numbers_are_torchs(name: str, a: str, b: str) -> None:
    symbol = op(name).symbol  # type: ignore[attr-defined]
    one = {"": torch.ones(2), "int ": torch.ones(2, dtype=torch.int64)}
    result = eval(f"a {symbol} b", {"a": one[a], "b": one[b]})
    (found,) = op(name).infer((tensor(f"{a}B"), tensor(f"{b}B")), Need())
    assert found.dtype == {torch.float32: "float", torch.int64: "int", torch.bool: "bool"}[result.dtype]


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ("B T", "_=B T", "[B, T]"),
        ("_=B T", "B T", "[B, T]"),
        ("B h=2 q=T k=T", "q=T k=T", "[B, h=2, q=T, k=T]"),
        ("B h=2 q=T k=T", "B 1 1 T", "[B, h=2, q=T, k=T]"),
        ("B N 1", "B 1 N", "[B, N, _=N]"),
        ("one=1 D=4", "B D=4", "[B, D=4]"),
        ("C=4", "B _=4 C=4", None),
        ("", "B T", "[B, T]"),
    ],
)
def test_names_of_a_sum(a: str, b: str, result: str | None) -> None:
    assert infer("add", a, b) == [result or "[B, 4, C=4]"]


def test_open_sizes_become_checks() -> None:
    need = Need()
    assert infer("add", "B T", "B 5", need=need) == ["[B, T=5]"]
    assert [(c.test, str(c.left), str(c.right)) for c in need.open] == [("equal", "T", "5")]
    need = Need()
    assert (
        infer("rearrange", "B T 6", need=need, pattern="b (h t) d -> b h t d", sizes={"h": 2})
        == ["[B, h=2, t=T // 2, 6]"]
        or need.open
    )
    assert [c.test for c in need.open] == ["divides"]


def test_numbers_of_different_kinds_differ() -> None:
    values = [op("scalar", value=v) for v in (1, 1.0, True)]
    assert len(set(values)) == 3
    assert [v.infer((), Need())[0].dtype for v in values] == ["int", "float", "bool"]


# -- bounds


def test_a_gate_and_its_complement() -> None:
    (gate,) = op("sigmoid").bounds((Interval(),))
    (rest,) = op("sub").bounds((Interval(1, 1), gate))
    (both,) = op("mul").bounds((gate, rest))
    assert gate == rest == both == (0, 1)
    assert op("pow").bounds((Interval(), Interval(2, 2))) == ((0, math.inf),)


ends = st.sampled_from([-math.inf, -2.0, -0.5, 0.0, 0.5, 1.0, 3.0, math.inf])


@given(ends, ends, ends, ends, st.floats(0, 1), st.floats(0, 1))
@quick
def test_interval_arithmetic_holds(a: float, b: float, c: float, d: float, s: float, t: float) -> None:
    x, y = Interval(min(a, b), max(a, b)), Interval(min(c, d), max(c, d))
    u, v = (max(-50.0, r.lo) * (1 - w) + min(50.0, r.hi) * w for r, w in ((x, s), (y, t)))
    assume(x.lo <= u <= x.hi and y.lo <= v <= y.hi and math.isfinite(u) and math.isfinite(v))

    def inside(value: float, bounds: Interval) -> bool:
        slack = 1e-9 * max(1, abs(value))
        return bounds.lo - slack <= value <= bounds.hi + slack

    assert inside(u * v, multiply(x, y))
    if v:
        assert inside(u / v, divide(x, y))
    for exponent in (-2, -1, 0, 0.5, 1, 2, 3, v):
        try:
            power = u**exponent
        except (ZeroDivisionError, OverflowError):
            continue
        if not isinstance(power, complex):
            assert inside(power, raise_to(x, Interval(exponent, exponent))), (u, exponent)
            if exponent == v:
                assert inside(power, raise_to(x, y)), (u, v)


def test_huge_numbers_have_bounds() -> None:
    assert raise_to(Interval(10, 10), Interval(400, 400)).hi == math.inf
    assert multiply(Interval(10**400, 10**400), Interval(2, 2)).hi >= 1e300
    assert op("exp").bounds((Interval(0, 1e6),)) == ((1, math.inf),)


# -- patterns against reshape and permute


@st.composite
def rearrangements(
    draw: Any,
) -> tuple[str, dict[str, int], tuple[int, ...], list[list[int]], list[list[int]], list[int]]:
    """A random pattern, its sizes, the operand's shape, and both sides as lists of atoms."""
    sizes = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=5))
    atoms = list(range(len(sizes)))

    def grouped(order: list[int]) -> list[list[int]]:
        groups: list[list[int]] = []
        for atom in order:
            if groups and groups[-1] and draw(st.booleans()):
                groups[-1].append(atom)
            else:
                groups.append([atom])
            if draw(st.integers(0, 5)) == 0:
                groups.append([])
        return groups

    left, right = grouped(atoms), grouped(draw(st.permutations(atoms)))
    names = "abcde"

    def side(groups: list[list[int]]) -> str:
        words = [" ".join(names[a] for a in g) or "1" for g in groups]
        return " ".join(f"({w})" if len(g) > 1 else w for w, g in zip(words, groups, strict=True))

    given_sizes = {}
    for group in left:
        free = draw(st.sampled_from(group)) if len(group) > 1 else None
        given_sizes |= {names[a]: sizes[a] for a in group if len(group) > 1 and a != free}
    shape = tuple(math.prod(sizes[a] for a in g) for g in left)
    return f"{side(left)} -> {side(right)}", given_sizes, shape, left, right, sizes


@given(rearrangements())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_rearrange_is_reshape_permute_reshape(case: Any) -> None:
    pattern, given_sizes, shape, _, right, sizes = case
    made = op("rearrange", pattern=pattern, sizes=given_sizes)
    x = torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)
    order = [a for g in right for a in g]
    target = tuple(math.prod(sizes[a] for a in g) for g in right)
    expected = x.reshape(sizes).permute(order).reshape(target)
    types = (tensor(" ".join(map(str, shape))),)
    (declared,) = made.infer(types, Need())
    assert declared.shape == target
    result = run(made, x)
    assert torch.equal(result, expected), (pattern, made.call(types, (declared,)))
    _check_sources(made, types, declared, expected)


def _check_sources(made: Op, types: tuple, declared: TensorType, result: torch.Tensor) -> None:
    """Every element of the result comes from a place that the relations name, and windows that are not said to be loose
    are as narrow as can be."""
    relations = made.relations(types, (declared,))
    places = torch.unravel_index(torch.arange(result.numel()), result.shape)
    sources = torch.unravel_index(result.flatten().long(), types[0].shape)
    for (_, out, _, axis), relation in relations.items():
        if out is None:
            continue
        pairs = torch.stack([places[out], sources[axis]], dim=1).unique(dim=0).tolist()
        assert all(sees(relation, o, p) for o, p in pairs), (made, out, axis, relation)
        if relation.sees == "window" and not relation.loose:
            offsets = [p - relation.stride * o for o, p in pairs]
            assert (relation.lo, relation.hi) == (min(offsets), max(offsets)), (made, out, axis, relation)


IDIOMS = [
    ("b c h w -> b (h w) c", {}, "B C=4 H=3 W=2", "x0.flatten(2).transpose(1, 2)"),
    ("b t (h d) -> b h t d", {"h": 8}, "B T D=64", "x0.unflatten(-1, (8, -1)).transpose(1, 2)"),
    ("b t (h d) -> b h t d", {"d": 8}, "B T D=64", "x0.unflatten(-1, (-1, 8)).transpose(1, 2)"),
    ("b h t d -> b t (h d)", {}, "B h=8 T d=8", "x0.transpose(1, 2).flatten(2)"),
    ("b c h w -> b h w c", {}, "B C=4 H=3 W=2", "x0.permute(0, 2, 3, 1)"),
    ("b c h w -> b (c h w)", {}, "B C=4 H=3 W=2", "x0.flatten(1)"),
    ("b t (n h d) -> n b h t d", {"n": 3, "h": 2}, "B T 12", "x0.unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)"),
    ("b c -> b c 1 1", {}, "B C=4", "x0[:, :, None, None]"),
    ("b -> b 1", {}, "B", "x0.unsqueeze(-1)"),
    ("b k -> b 1 1 k", {}, "B T", "x0[:, None, None]"),
    ("b s 1 -> b s", {}, "B S 1", "x0.squeeze(-1)"),
    ("b t d -> b t d", {}, "B T D", "x0"),
]


@pytest.mark.parametrize(("pattern", "sizes", "x", "expected"), IDIOMS)
def test_rearrange_reads_as_people_write(pattern: str, sizes: dict, x: str, expected: str) -> None:
    assert text("rearrange", x, pattern=pattern, sizes=sizes) == expected


@pytest.mark.parametrize(
    ("name", "pattern", "inputs", "result"),
    [
        ("rearrange", "b t (h d) -> b h t d", ["B T D=8"], "[B, h=2, T, d=4]"),
        ("rearrange", "b t c -> b c t", ["_=B _=T C=3"], "[b=B, C=3, t=T]"),
        ("rearrange", "t (h d) -> h (t d)", ["T D=8"], "[h=2, 4 * T]"),
        ("rearrange", "... (h d) -> h ... d", ["B T D=8"], "[h=2, B, T, d=4]"),
        ("einsum", "b h q d, b h k d -> b h q k", ["B h=2 T d=4", "B h=2 S d=4"], "[B, h=2, T, S]"),
        ("einsum", "b h q d, b h k d -> b h q k", ["B h=2 T d=4", "B h=2 T d=4"], "[B, h=2, q=T, k=T]"),
        ("einsum", "i d, j d -> i j", ["B 8", "B 8"], "[i=B, j=B]"),
    ],
)
def test_names_after_a_pattern(name: str, pattern: str, inputs: list[str], result: str) -> None:
    values = {"sizes": {"h": 2}} if name == "rearrange" and "h" in pattern else {}
    assert infer(name, *inputs, pattern=pattern, **values) == [result]


@given(st.data())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_einsum_is_torchs_and_costs_what_is_counted(data: st.DataObject) -> None:
    sizes = {"a": 2, "b": 3, "c": 1, "d": 4}
    count = data.draw(st.integers(1, 3))
    sides = [data.draw(st.permutations("abcd"))[: data.draw(st.integers(1, 4))] for _ in range(count)]
    there = sorted({n for s in sides for n in s})
    right = data.draw(st.permutations(there))[: data.draw(st.integers(0, len(there)))]
    words = ", ".join(" ".join(s) for s in sides) + " -> " + " ".join(right)
    letters = ",".join("".join(s) for s in sides) + "->" + "".join(right)
    tensors = [
        torch.randn([sizes[n] for n in s], generator=torch.Generator().manual_seed(i)) for i, s in enumerate(sides)
    ]
    made = op("einsum", pattern=words)
    with FlopCounterMode(display=False) as counter:
        result = run(made, *tensors)
    torch.testing.assert_close(result, torch.einsum(letters, *tensors), rtol=1e-4, atol=1e-5)
    types = tuple(tensor(" ".join(str(sizes[n]) for n in s)) for s in sides)
    assert made.flops(types, made.infer(types, Need())) == counter.get_total_flops(), words


# -- selection and shape against Python


@given(st.data())
@quick
def test_index_is_pythons(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    x = torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)
    items, places = [], [slice(None)] * len(shape)
    for axis, size in enumerate(shape):
        kind = data.draw(st.sampled_from(["all", "one", "run"]))
        low = data.draw(st.integers(-size - 1, size))
        if kind == "one":
            items.append((axis, low, None, True))
            places[axis] = low
        elif kind == "run":
            high = data.draw(st.integers(-size, size + 1) | st.none())
            items.append((axis, low, high, False))
            places[axis] = slice(low, high)
    made = op("index", items=tuple(items))
    types = (tensor(" ".join(map(str, shape))),)
    try:
        (declared,) = made.infer(types, Need())
    except Refusal as caught:
        assert caught.code == "A0328"
        outside = any(not -shape[a] <= (low or 0) < shape[a] for a, low, _, _ in items)
        beyond = any(high is not None and high > shape[a] for a, _, high, _ in items)
        empty = not outside and x[tuple(places)].numel() == 0
        assert outside or beyond or empty
        return
    result = run(made, x)
    assert torch.equal(result, x[tuple(places)])
    assert tuple(result.shape) == declared.shape
    _check_sources(made, types, declared, result)


@given(st.data())
@quick
def test_reshape_is_torchs(data: st.DataObject) -> None:
    factors = data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), max_size=3))
    shape = tuple(factors)
    total = math.prod(shape)
    target, left = [], total
    while left > 1 or not target:
        size = data.draw(st.sampled_from([n for n in range(2, left + 1) if left % n == 0] or [1]))
        target.append(size)
        left //= size
    target.insert(data.draw(st.integers(0, len(target))), 1)
    given_sizes = list(target)
    if data.draw(st.booleans()):
        given_sizes[data.draw(st.integers(0, len(target) - 1))] = -1
    x = torch.arange(total, dtype=torch.float32).reshape(shape)
    made = op("reshape", sizes=tuple(given_sizes))
    types = (tensor(" ".join(map(str, shape))),)
    (declared,) = made.infer(types, Need())
    assert declared.shape == tuple(target)
    assert torch.equal(run(made, x), x.reshape(target))
    _check_sources(made, types, declared, x.reshape(target))


@pytest.mark.parametrize(
    ("x", "values", "result", "code"),
    [
        ("1 1 D=4", {}, "[B, 1, D=4]", "x0.expand(B, -1, -1)"),
        ("M=7 D=4", {}, "[B, M=7, D=4]", "x0.expand(B, -1, -1)"),
        ("int ", {}, "int[B]", "x0.expand(B)"),
        ("B 1", {"axis": 1}, "[B, _=B]", "x0.expand(-1, B)"),
        ("T=1", {"axis": "T"}, "[B]", "x0.expand(B)"),
    ],
)
def test_expand(x: str, values: dict, result: str, code: str) -> None:
    size = tensor("B").shape[0]
    assert infer("expand", x, size=size, **values) == [result]
    assert text("expand", x, size=size, **values) == code


@pytest.mark.parametrize(
    ("name", "inputs", "values", "code"),
    [
        ("index", ["B T D=3"], {"items": ((1, 0, None, True),)}, "x0[:, 0]"),
        ("index", ["B T D=3"], {"items": ((1, 1, -1, False),)}, "x0[:, 1:-1]"),
        ("index", ["B T D=3"], {"items": ((2, 0, None, True),)}, "x0[..., 0]"),
        ("gather", ["9 D=3", "int B"], {}, "x0[x1]"),
        ("gather", ["B K", "int T"], {"axis": 1}, "x0[:, x1]"),
        ("concat", ["B 3", "B 4"], {}, "torch.cat([x0, x1], dim=-1)"),
        ("stack", ["B", "B"], {}, "torch.stack([x0, x1])"),
        ("split", ["B 6"], {"parts": 2}, "x0.chunk(2, -1)"),
        ("split", ["B 6"], {"parts": (2, 4)}, "x0.split([2, 4], -1)"),
        ("where", ["bool B", "B", ""], {}, "torch.where(x0, x1, x2)"),
        ("mean", ["B T"], {}, "x0.mean()"),
        ("sum", ["B T"], {"axis": "T", "keep": True}, "x0.sum(dim=-1, keepdim=True)"),
        ("max", ["B C H W"], {"axis": (2, 3)}, "x0.amax(dim=(2, 3))"),
        ("clamp", ["B"], {"hi": 1.0}, "torch.clamp(x0, max=1.0)"),
        ("leaky_relu", ["B"], {"slope": 0.2}, "F.leaky_relu(x0, 0.2)"),
        ("gelu", ["B"], {"tanh": True}, "F.gelu(x0, approximate='tanh')"),
        ("softmax", ["B T"], {}, "F.softmax(x0, dim=-1)"),
        ("logical_and", ["bool B", "bool B"], {}, "x0 & x1"),
    ],
)
def test_code_reads_as_people_write(name: str, inputs: list[str], values: dict, code: str) -> None:
    assert text(name, *inputs, **values) == code


def test_pixel_norm_is_the_formula() -> None:
    for shape in ((2, 5), (2, 5, 3), (2, 5, 3, 4)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        expected = x / torch.sqrt((x**2).mean(dim=1, keepdim=True) + 1e-8)
        torch.testing.assert_close(run(op("pixel_norm"), x), expected)


def test_depth_to_space_is_a_window() -> None:
    made = op("rearrange", pattern="b c (h p) (w q) -> b h w (c p q)", sizes={"p": 2, "q": 4})
    types = (tensor("B C=3 H=8 W=8"),)
    relations = made.relations(types, made.infer(types, Need()))
    assert str(relations[0, 1, 0, 2]) == "window(2, 0, 1) uniform"
    assert str(relations[0, 2, 0, 3]) == "window(4, 0, 3) uniform"
    assert (0, 3, 0, 2) not in relations, "an element lies in the block that its row sees"


def test_clamp_holds_ints_between_ints() -> None:
    assert infer("clamp", "int B", lo=0.0, hi=3) == ["int[B]"]
    assert text("clamp", "int B", lo=0.0, hi=3) == "torch.clamp(x0, 0, 3)"
    assert refusal("clamp", "int B", lo=0.5).code == "A0322"


def test_nothing_moves_without_a_call() -> None:
    assert text("roll", "B T", shift=0, axis=1) == "x0"
    assert text("flatten", "B T") == "x0"
    assert text("identity", "B T") == "x0"
