"""Masks: what is known of elements holds of the tensors themselves, and attention sees what it is said to see."""

from __future__ import annotations

import math

import pytest
import torch
from archlang.compiler.analysis.receptive import Receptive, View, whole
from archlang.compiler.elaborate.indices import FUNCTIONS, grid_code
from archlang.compiler.frontend import check_source
from archlang.compiler.graph import Program
from archlang.compiler.masks import Band, known_of
from archlang.compiler.ops import registry
from archlang.compiler.ops.base import Interval
from archlang.compiler.relations import Relation, Sees
from archlang.compiler.source import Source
from archlang.runtime.module import build
from emit_harness import compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_harness import DTYPES, literal, make_case
from parity import fill

PLACES = 8  # of the axis T
INF = float("inf")


# -- expressions over indices

numbers = st.integers(-3, 3).map(lambda n: ("number", n)) | st.sampled_from([0.5, -INF, INF, True, False]).map(
    lambda v: ("number", v)
)
indices = st.integers(0, 2).map(lambda a: ("index", a))


def _grown(inner):
    two = [f for f in ("+", "-", "*", "//", "%", "<", "<=", ">", ">=", "==", "!=", "min", "max") if f in FUNCTIONS]
    return (
        st.tuples(st.sampled_from(two), inner, inner)
        | st.tuples(st.sampled_from(["neg", "abs", "exp", "log"]), inner)
        | st.tuples(st.sampled_from(["and", "or"]), truths, truths)
        | st.tuples(st.just("not"), truths)
        | st.tuples(st.just("if"), truths, inner, inner)
    )


sums = st.recursive(
    indices | st.integers(-3, 3).map(lambda n: ("number", n)),
    lambda inner: st.tuples(st.sampled_from(["+", "-"]), inner, inner) | st.tuples(st.just("neg"), inner),
    max_leaves=4,
)
compared = st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), sums | sums.map(lambda s: ("abs", s)), sums)
truths = st.recursive(
    compared,
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner) | st.tuples(st.just("not"), inner),
    max_leaves=3,
)
trees = st.recursive(truths | sums | numbers, _grown, max_leaves=6)


def _said(tree: tuple) -> bool:
    """Could the language have made it? What has no index in it, it works out itself."""
    return tree[0] in ("index", "number") or ("index" in str(tree) and all(map(_said, tree[1:])))


def tensor_of(tree: tuple, sizes: tuple[int, ...], dtype: str) -> torch.Tensor | None:
    """What the generated code makes of an expression; None where there is no such operation."""
    if not _said(tree):
        return None
    code = grid_code(sizes, tree, dtype)
    text = code.template.format(**{k: literal(v) for k, v in code.values.items()}, device="'cpu'")
    try:
        return torch.as_tensor(eval(text, {"torch": torch, "math": math})).expand(sizes)
    except (RuntimeError, TypeError, NotImplementedError):
        return None


def _differences(a: int, b: int, sizes: tuple[int, ...]) -> torch.Tensor:
    """b − a at every place."""
    grids = torch.meshgrid(*(torch.arange(n) for n in sizes), indexing="ij")
    return grids[b] - grids[a]


def _outside(tensor: torch.Tensor, a: int, b: int, band: Band) -> torch.Tensor:
    apart = _differences(a, b, tuple(tensor.shape))
    return tensor[(apart < band.lo) | (apart > band.hi)]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(trees | truths, st.sampled_from(["float", "int", "bool"]))
def test_what_is_known_of_an_expression_holds_everywhere(tree: tuple, dtype: str) -> None:
    sizes = (6, 5, 7)
    tensor = tensor_of(tree, sizes, dtype)
    if tensor is None:
        return
    known = known_of(tree, 3, dtype)
    for a, b, value, band in known.facts:
        wrong = [v for v in _outside(tensor, a, b, band).tolist() if float(v) != value]
        assert not wrong, f"{value} outside {band} of {b} - {a}, but {wrong[:3]}"
    for a, b in known.diagonal:
        apart = _differences(a, b, sizes).movedim((a, b), (0, 1))
        rows = tensor.movedim((a, b), (0, 1)).double()
        for d in apart.unique():
            same = rows[apart[:, :, 0] == d]
            assert torch.equal(same.nan_to_num(7.25), same[:1].expand_as(same).nan_to_num(7.25)), f"{(a, b)} at {d}"


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("k <= q", Band(-INF, 0)),
        ("k < q", Band(-INF, -1)),
        ("q + 2 >= k", Band(-INF, 2)),
        ("not (k > q)", Band(-INF, 0)),
        ("q <= k", Band(0, INF)),
        ("abs(q - k) <= 2", Band(-2, 2)),
        ("abs(k - q) < 2 and k <= q", Band(-1, 0)),
        ("k <= q and k > q - 3", Band(-2, 0)),
        ("q == k", Band(0, 0)),
        ("2 * (q - k) >= 3", Band(-INF, -2)),
        ("k <= q and k % 2 == 0", Band(-INF, 0)),
        ("k <= q or k == q + 3", Band(-INF, 3)),
        ("(if k <= q then 1 else 0) == 1", Band(-INF, 0)),
        ("q // 2 == k // 2", None),
        ("k <= q or k == 0", None),
        ("k <= 4", None),
    ],
)
def test_bands_of_masks(text: str, band: Band | None) -> None:
    program = compiled(f"network N {{ const m: bool[q=9, k=9] = {text}  y = m -> identity  output y }}")
    facts = view_of(program).known.facts
    assert {f.band for f in facts if f.value == 0} == ({band} if band else set())


# -- layers


@pytest.mark.parametrize("name", sorted(registry()))
def test_bounds_of_single_numbers_are_exact(name: str) -> None:
    """Where operands that hold one number everywhere have a single number as bound, that is the result. Masks rest on
    this, with −∞ too."""
    for number, example in enumerate(registry()[name].examples):
        case = make_case(registry()[name](**example.settings), example, number)
        if not case.tensors or case.op.weights(case.inputs):
            continue
        kinds = [t.dtype for t in case.inputs]
        for value in (0.0, 1.0, -INF):
            if value == -INF and "float" not in kinds:
                continue
            held = [Interval(value, value) if k == "float" or value != -INF else Interval(0, 1) for k in kinds]
            bounds = case.op.bounds(tuple(held))
            tensors = [
                torch.full_like(t, value, dtype=DTYPES[k]) if k == "float" or value != -INF else t
                for t, k in zip(case.tensors, kinds, strict=True)
            ]
            try:
                results = case.run(tensors)
            except (RuntimeError, IndexError):
                continue  # a number that this operand can't hold
            for bound, result in zip(bounds, results, strict=True):
                if bound.lo == bound.hi:
                    numbers = result.double()[~result.double().isnan()]
                    torch.testing.assert_close(numbers, torch.full_like(numbers, bound.lo), rtol=1e-12, atol=0)


# -- networks


def view_of(program: Program, name: str = "y") -> View:
    return Receptive().views(program.graph)[program.graph.values[name]]


def dependence(program: Program, seed: int = 0) -> set[tuple[int, int]]:
    """Which place of the output's T sees which of the input's, in the compiled module: pairs (place, seen)."""
    module = build(program)
    fill(module)
    module = module.double().eval()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, PLACES, 4, generator=generator, dtype=torch.float64)
    found = set()
    with torch.no_grad():
        before = module(x)
        for p in range(PLACES):
            for _ in range(2):
                other = x.clone()
                other[:, p] += torch.randn(4, generator=generator, dtype=torch.float64)
                same = torch.isclose(module(other), before, rtol=1e-9, atol=1e-12, equal_nan=True)
                found |= {(int(o), p) for o in (~same).any(2).any(0).nonzero()}
    return found


def promised(relation: Relation | None) -> set[tuple[int, int]]:
    """The same, as a relation says."""
    pairs = ((o, p) for o in range(PLACES) for p in range(PLACES))
    if relation is None:
        return set()
    ends = {
        Sees.WINDOW: lambda o, p: relation.stride * o + relation.lo <= p <= relation.stride * o + relation.hi,
        Sees.PREFIX: lambda o, p: p <= relation.stride * o + relation.hi,
        Sees.SUFFIX: lambda o, p: p >= relation.stride * o + relation.lo,
        Sees.ALL: lambda o, p: True,
    }
    return {(o, p) for o, p in pairs if ends[relation.sees](o, p)}


ATTEND = """
block Attend(heads: int, window: int = 2) {{
  input x: [B, T, D]{operand}
  {mask}
  q, k, v = x -> linear(3 * D) -> rearrange("b t (n h d) -> n b h t d", n=3, h=heads)
  scores = ((q, k) -> einsum("b h q d, b h k d -> b h q k")) / 2.0
  y = {seen}
  output y -> rearrange("b h q d -> b q (h d)") -> linear(D)
}}
"""
# How a mask of truth values `m` can reach the scores; those that leave out all of a row give no number there.
WAYS = {
    "where": '((m, scores, -inf) -> where -> softmax(axis=-1), v) -> einsum("b h q k, b h k d -> b h q d")',
    "opposite": '((not m, -inf, scores) -> where -> softmax, v) -> einsum("b h q k, b h k d -> b h q d")',
    "equal": '((m == false, -inf, scores) -> where -> softmax, v) -> einsum("b h q k, b h k d -> b h q d")',
    "added": '(scores + ((m, 0.0, -inf) -> where) -> softmax, v) -> einsum("b h q k, b h k d -> b h q d")',
    "log": '(scores + (m -> cast("float") -> log) -> softmax, v) -> einsum("b h q k, b h k d -> b h q d")',
    "turned": '(v, (m, scores, -inf) -> where -> softmax -> rearrange("b h q k -> k b h q"))'
    ' -> einsum("b h k d, k b h q -> b h q d")',
    "linear": '(scores * (m -> cast("float")), v) -> einsum("b h q k, b h k d -> b h q d")',
    "silu": '((m, scores, 0.0) -> where -> silu -> dropout(0.1), v) -> einsum("b h q k, b h k d -> b h q d")',
    "weighed": '((m, scores, -inf) -> where -> exp, v) -> einsum("b h q k, b h k d -> b h q d")',
    "by hand": '(((m, scores, -inf) -> where -> exp, v) -> einsum("b h q k, b h k d -> b h q d"))'
    " / ((m, scores, -inf) -> where -> exp -> sum(axis=-1, keep=true))",
    "logs": '((m, scores, -inf) -> where -> log_softmax -> exp, v) -> einsum("b h q k, b h k d -> b h q d")',
}
NUMBERS_EVERYWHERE = ("linear", "silu", "weighed")
MASKS = {
    "k <= q": lambda q, k: k <= q,
    "k < q": lambda q, k: k < q,
    "k <= q + 1": lambda q, k: k <= q + 1,
    "k >= q": lambda q, k: k >= q,
    "abs(q - k) <= 1": lambda q, k: abs(q - k) <= 1,
    "k <= q and k > q - 3": lambda q, k: q - 3 < k <= q,
    "k <= q and q - k != 2": lambda q, k: k <= q and q - k != 2,
}


def attention(mask: str, way: str, *, heads: int = 2, inside: bool = True) -> str:
    """The block, the mask its own or an operand."""
    const = f"const m: bool[q=T, k=T] = {mask}"
    operand = "" if inside else "\n  input m: bool[T, S]"
    return ATTEND.format(operand=operand, mask=const if inside else "", seen=WAYS[way]) + (
        "" if inside else f"# {const}\n"
    )


def network(steps: list[str], const: str = "") -> str:
    body = "\n  ".join(f"y = {step}" for step in steps)
    return f"network N {{\n  input x: [B, T={PLACES}, D=4]\n  {const}\n  y = x\n  {body}\n  output y\n}}\n"


COMMON = ("k <= q", "abs(q - k) <= 1")


@pytest.mark.parametrize(
    ("mask", "way"), [(mask, way) for mask in MASKS for way in WAYS if mask in COMMON or way in ("where", "linear")]
)
def test_attention_sees_what_its_mask_lets_through(mask: str, way: str) -> None:
    """Proved = measured, position by position; a mask of the block and one from outside alike."""
    if mask == "k < q" and way not in NUMBERS_EVERYWHERE:
        return  # the first place has nothing to see
    wanted = {(q, k) for q in range(PLACES) for k in range(PLACES) if MASKS[mask](q, k)}
    own = {(q, q) for q in range(PLACES) if any(MASKS[mask](q, k) for k in range(PLACES))}  # for its query
    for inside in (True, False):
        const = "" if inside else f"const past: bool[q=T, k=T] = {mask}"
        call = "y -> Attend(2)" if inside else "(y, past) -> Attend(2)"
        program = compiled(attention(mask, way, inside=inside) + network([call], const))
        relation = whole(view_of(program), 0, 1)
        measured = dependence(program)
        assert measured == wanted | own
        assert relation is not None and relation.uniform and relation.ordered
        hull = promised(relation)
        assert measured <= hull
        if "!=" not in mask:  # a relation has no holes
            assert hull == wanted | own | {(q, q) for q in range(PLACES)}


@pytest.mark.parametrize("way", ["where", "linear"])
def test_without_its_mask_attention_sees_all(way: str) -> None:
    scores = WAYS[way].replace("(m, scores, -inf) -> where", "scores").replace('(m -> cast("float"))', "1.0")
    block = ATTEND.format(operand="", mask="", seen=scores)
    program = compiled(block + network(["y -> Attend(2)"]))
    relation = whole(view_of(program), 0, 1)
    assert relation is not None and relation.sees is Sees.ALL
    assert dependence(program) == {(o, p) for o in range(PLACES) for p in range(PLACES)}


def test_a_large_number_is_no_mask() -> None:
    block = ATTEND.format(
        operand="", mask="const m: bool[q=T, k=T] = k <= q", seen=WAYS["where"].replace("-inf", "-1e9")
    )
    relation = whole(view_of(compiled(block + network(["y -> Attend(2)"]))), 0, 1)
    assert relation is not None and relation.sees is Sees.ALL


def test_a_mask_after_the_softmax_hides_values_but_not_scores() -> None:
    seen = '((scores -> softmax) * (m -> cast("float")), v) -> einsum("b h q k, b h k d -> b h q d")'
    block = ATTEND.format(operand="", mask="const m: bool[q=T, k=T] = k <= q", seen=seen)
    program = compiled(block + network(["y -> Attend(2)"]))
    relation = whole(view_of(program), 0, 1)
    assert relation is not None and relation.sees is Sees.ALL
    assert (0, PLACES - 1) in dependence(program)


LAYERS = st.sampled_from(
    [
        "y + (y -> layernorm -> Past(2))",
        "y -> Past(1)",
        "y -> Near(2)",
        "y + (y -> Near(4))",
        "y -> Strict(1)",
        "y -> Ahead(2)",
        "y -> Later(1)",
        "y + (y -> linear(9) -> gelu -> linear(4))",
        'y -> transpose(1, 2) -> conv(4, kernel=3, pad="causal", dilation=2) -> transpose(1, 2)',
        'y -> transpose(1, 2) -> conv(4, kernel=2, pad="causal") -> transpose(1, 2)',
        "y -> cumsum(axis=1)",
        "(y -> Near(1), y -> Past(1)) -> concat -> linear(4)",
    ]
)
BLOCKS = "".join(
    attention(mask, way).replace("block Attend", f"block {name}")
    for name, mask, way in (
        ("Past", "k <= q", "where"),
        ("Near", "abs(q - k) <= 1", "added"),
        ("Strict", "k < q", "linear"),
        ("Ahead", "k <= q + 1", "opposite"),
        ("Later", "k >= q", "turned"),
    )
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(LAYERS, min_size=1, max_size=3))
def test_random_networks_are_causal_where_proved_and_only_there(steps: list[str]) -> None:
    """`causality` proved: no place sees a later one. Refused: one does. And nothing is seen beyond the relation."""
    text = BLOCKS + network(steps).replace("output y", "output y\n  bias causality on y over T")
    program = compiled(BLOCKS + network(steps))
    measured = dependence(program)
    relation = whole(view_of(program), 0, 1)
    assert measured <= promised(relation)
    codes = {d.code for d in check_source(Source(text, "net.arch")).diagnostics}
    later = any(p > o for o, p in measured)
    assert ("A1301" in codes) == later, f"{relation}, {codes}, {sorted(measured)}"
    assert "A1302" not in codes


@pytest.mark.parametrize(
    ("mask", "reach"), [("abs(q - k) <= 2", (2, 2)), ("k <= q and k > q - 3", (2, 0)), ("q == k", (0, 0))]
)
@pytest.mark.parametrize("way", ["where", "linear", "by hand"])
def test_local_attention_follows_moves(mask: str, reach: tuple[int, int], way: str) -> None:
    """Proved uniform: what is moved along T comes out moved, where no window touches a border."""
    program = compiled(attention(mask, way) + network(["y + (y -> Attend(2))"]))
    relation = whole(view_of(program), 0, 1)
    assert relation is not None and relation.follows_shifts and not relation.follows_permutations
    module = build(program)
    fill(module)
    module = module.double().eval()
    x = torch.randn(1, PLACES, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = module(x), module(x.roll(1, 1))
    inside = slice(reach[0] + 1, PLACES - reach[1])
    torch.testing.assert_close(after[:, inside], before.roll(1, 1)[:, inside])


@pytest.mark.parametrize(
    "scores",
    [
        "scores + at",  # a position of the keys' own
        "(m, scores, at) -> where",
        'scores * (m -> cast("float")) * at',
    ],
)
def test_what_changes_with_a_position_itself_is_not_uniform(scores: str) -> None:
    consts = "const m: bool[q=T, k=T] = k <= q\n  const at: [q=T, k=T] = k * 0.1"
    block = ATTEND.format(
        operand="", mask=consts, seen=WAYS["where"].replace("(m, scores, -inf) -> where", f"({scores})")
    )
    relation = whole(view_of(compiled(block + network(["y -> Attend(2)"]))), 0, 1)
    assert relation is not None and not relation.uniform


def test_distances_may_be_added_to_scores() -> None:
    """Biases that change with k − q follow moves, and no permutation."""
    consts = "const slope: [h=heads, q=T, k=T] = -abs(q - k) * 0.5 ** h"
    block = ATTEND.format(
        operand="", mask=consts, seen=WAYS["where"].replace("(m, scores, -inf) -> where", "(scores + slope)")
    )
    view = view_of(compiled(block + network(["y -> Attend(2)"])))
    entries = [r for (_, _, axis), r in view.relations.items() if axis == 1]
    assert entries and all(r.follows_shifts and not r.follows_permutations for r in entries)


def test_a_count_of_what_a_mask_shows_is_a_position() -> None:
    """Σ_k mask[q, k] · g, with g the same at every k, grows with q."""
    text = f"""
    network N {{
      input x: [B, T={PLACES}, D=4]
      const m: [q=T, k=T] = if k <= q then 1 else 0
      g = x -> sum(axis=T) -> expand(T)
      counted = (m, g) -> einsum("q k, k b d -> b q d")
      y = x + counted
      output y
    }}"""
    view = view_of(compiled(text))
    assert not any(r.uniform for (key, _, axis), r in view.relations.items() if key == 1 and axis == 1)
