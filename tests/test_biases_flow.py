"""What flows to a value: minimum cuts, cheapest paths and intervals, against plain enumeration and execution."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import inf

import archlang
import networkx as nx
import pytest
import torch
from archlang.compiler import ops
from archlang.compiler.analysis.biases import Verdict, prove
from archlang.compiler.analysis.cut import Cutter, called_sizes
from archlang.compiler.analysis.paths import Passage, _of_identity, gradient_ways, identity_ways
from archlang.compiler.analysis.ranges import Ranges
from archlang.compiler.frontend import check_source, compile_program
from archlang.compiler.graph import Graph, Kind, Node, Ref
from archlang.compiler.graph_text import print_graph
from archlang.compiler.sizes import symbol
from archlang.compiler.source import Source
from archlang.compiler.types import tensor
from hypothesis import given, settings
from hypothesis import strategies as st

WIDTHS = st.integers(1, 6)
BATCH = (("B", symbol("B")),)
JOIN = ops.get("concat")(axis=-1)
JOINS = st.just(JOIN)


def add_output(graph: Graph, ref: Ref) -> None:
    graph.add(Node(Kind.OUTPUT, (graph.type(ref),), name=f"y{len(graph.outputs)}"), [ref])


def step(graph: Graph, op, width: int, operands, label: str) -> Ref:
    return Ref(graph.add(Node(Kind.OP, (tensor(f"B D={width}"),), name=label, op=op), operands))


def adapted(graph: Graph, ref: Ref, wanted) -> Ref:
    """A value of the type that a block takes, made from another."""
    if graph.type(ref) == wanted:
        return ref
    return Ref(graph.add(Node(Kind.OP, (wanted,), name="adapt", op=JOIN), [ref]))


@st.composite
def graphs(draw, blocks=(), op=JOINS, width=WIDTHS, steps=5):
    """A graph of one or two inputs whose steps join any values before them, or call a block."""
    graph = Graph("random")
    refs = [
        Ref(graph.add(Node(Kind.INPUT, (tensor(f"B D={draw(width)}"),), name=f"x{i}")))
        for i in range(draw(st.integers(1, 2)))
    ]
    for i in range(draw(st.integers(1, steps))):
        if blocks and draw(st.booleans()):
            block = draw(st.sampled_from(blocks))
            operands = [adapted(graph, draw(st.sampled_from(refs)), block[n].types[0]) for n in block.inputs]
            types = tuple(block[output].types[0] for output in block.outputs)
            number = graph.add(Node(Kind.CALL, types, name=f"call{i}", graph=block, sizes=BATCH), operands)
            refs += [Ref(number, result) for result in range(len(types))]
        else:
            chosen = draw(op)
            count = len(chosen.operands) if chosen.operands != ("xs*",) else draw(st.integers(1, 3))
            operands = [draw(st.sampled_from(refs)) for _ in range(count)]
            refs.append(step(graph, chosen, draw(width), operands, f"s{i}"))
    for _ in range(draw(st.integers(1, 2))):
        add_output(graph, draw(st.sampled_from(refs[-3:])))
    return graph


@st.composite
def nested(draw, **kinds):
    inner = [draw(graphs(steps=3, **kinds)) for _ in range(2)]
    return draw(graphs(blocks=inner, steps=4, **kinds))


def least_cut(graph: Graph) -> int:
    """The lightest set of values without which no way leads from an input to the first output, by trying all."""
    flat = graph.flatten()
    goal = flat.operands(flat.outputs[0])[0].node
    plain = nx.DiGraph(flat.nx)
    inputs = [n for n in flat.inputs if n == goal or nx.has_path(plain, n, goal)]
    inside = set(inputs).union(*(nx.descendants(plain, n) for n in inputs)) & {goal, *nx.ancestors(plain, goal)}
    weights = {n: flat[n].types[0].shape[1] for n in inside}
    best = sum(weights[n] for n in inputs)
    for size in range(1, len(inside)):
        for chosen in combinations(sorted(inside), size):
            total = sum(weights[n] for n in chosen)
            rest = plain.subgraph(inside - set(chosen))
            joined = goal in rest and any(n in rest and nx.has_path(rest, n, goal) for n in inputs)
            best = min(best, total) if not joined else best
    return best


@settings(max_examples=80, deadline=None)
@given(nested())
def test_a_minimum_cut_is_the_lightest_of_all(graph: Graph) -> None:
    cut = Cutter().cut(graph, graph.operands(graph.outputs[0])[0])
    assert cut.elements == sum(member.elements for member in cut.members)
    assert cut.elements == least_cut(graph), print_graph(graph)


LAYERS = {
    "relu": {},
    "sigmoid": {},
    "add": {},
    "mul": {},
    "sub": {},
    "linear": {"out": 4},
    "layernorm": {},
    "dropout": {"p": 0.5},
    "softmax": {},
    "stop_gradient": {},
    "exp": {},
}
LAYER = st.sampled_from([ops.get(name)(**given) for name, given in LAYERS.items()])
KIND = {"op": LAYER, "width": st.just(4)}


def every_path(graph: Graph, price) -> list[tuple[int, ...]]:
    """What each path from an input to the first output costs, by walking all of them."""
    flat = graph.flatten()
    goal = flat.operands(flat.outputs[0])[0].node
    plain = nx.DiGraph(flat.nx)
    depends = set(flat.inputs).union(*(nx.descendants(plain, n) for n in flat.inputs))
    found = []
    for start in flat.inputs:
        for path in [[goal]] if start == goal else nx.all_simple_paths(plain, start, goal):
            options = [[]]
            for before, here in pairwise(path):
                refs = flat.operands(here)
                positions = [i for i, ref in enumerate(refs) if ref.node == before]
                known = tuple(ref.node in depends for ref in refs)
                options = [[*o, price(Passage(flat, here, i, known))] for o in options for i in positions]
            found += [steps for steps in options if None not in steps]
    return [tuple(map(sum, zip((0, 0, 0), *steps, strict=True))) for steps in found]


@settings(max_examples=100, deadline=None)
@given(nested(**KIND))
def test_the_way_closest_to_the_identity_is_the_cheapest_of_all(graph: Graph) -> None:
    way = identity_ways().to(graph, graph.operands(graph.outputs[0])[0])
    paths = every_path(graph, lambda passage: _of_identity(passage).cost)
    assert (way and way.cost) == min(paths, default=None)


def _weighs(passage: Passage) -> tuple[int, int, int] | None:
    name = passage.graph[passage.number].op.name
    return None if name == "stop_gradient" else (int(name == "linear"), 0, 0)


@settings(max_examples=100, deadline=None)
@given(nested(**KIND))
def test_the_shortest_gradient_path_is_the_shortest_of_all(graph: Graph) -> None:
    way = gradient_ways().to(graph, graph.operands(graph.outputs[0])[0])
    assert (way and (*way.cost, 0, 0)) == min(every_path(graph, _weighs), default=None)
    if way is not None:
        assert len(way.steps()) == way.cost[0]


STAGES = [
    "sigmoid",
    "tanh",
    "relu",
    "silu",
    "hardsigmoid",
    "neg",
    "clamp(-0.5, 0.7)",
    "softmax(axis=-1)",
    "square",
    "abs",
]


@st.composite
def arithmetic(draw) -> str:
    """A block of a few steps and a network that calls it twice, every value an output."""
    lines, names = [], ["x"]
    for i in range(draw(st.integers(1, 6))):
        a, b = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        forms = [f"{a} -> {draw(st.sampled_from(STAGES))}", f"{a} + {b}", f"{a} * {b}", f"1 - {a}", f"0.5 * {a}"]
        lines.append(f"y{i} = {draw(st.sampled_from(forms))}")
        names.append(f"y{i}")
    body = "\n  ".join(lines)
    outputs = "\n  ".join(f"output {name}" for name in names[1:])
    return (
        f"block Steps() {{\n  input x: [B, 5]\n  {body}\n  output {names[-1]}\n}}\n"
        f"network N {{\n  input x: [B, 5]\n  {body}\n  {outputs}\n"
        f"  output first = y0 -> sigmoid -> Steps\n  output second = first -> Steps\n}}\n"
    )


@settings(max_examples=15, deadline=None)
@given(arithmetic())
def test_values_lie_in_their_bounds(text: str) -> None:
    graph = compile_program(Source(text)).graph
    bounds = Ranges().of(graph)
    module = archlang.load(text).eval()
    torch.manual_seed(0)
    for scale in (0.1, 1, 10):
        with torch.no_grad():
            results = module(torch.randn(64, 5, dtype=torch.float64) * scale)
        results = results if isinstance(results, (tuple, list)) else [results]
        for output, result in zip(graph.outputs, results, strict=True):
            lo, hi = bounds[graph.operands(output)[0]].interval
            assert result.min() >= lo - 1e-6 * max(1, abs(result.min())), graph[output].name
            assert result.max() <= hi + 1e-6 * max(1, abs(result.max())), graph[output].name


def test_bounds_of_a_block_called_again_and_again_fall_back_to_those_of_any_operand() -> None:
    text = (
        "block Grow() {\n  input x: [B, 4]\n  output y = x + 1\n}\n"
        "network N {\n  input x: [B, 4]\n  y = x -> sigmoid -> Grow -> Grow\n  output y\n"
        "  z = y -> net: { repeat 20 { Grow } }\n  output z\n}\n"
    )
    graph = compile_program(Source(text)).graph
    bounds = Ranges().of(graph)
    assert [bounds[graph.operands(output)[0]].interval for output in graph.outputs] == [(2, 3), (-inf, inf)]


def findings(text: str) -> list:
    checked = check_source(Source(text, "net.arch"))
    return [finding for program in checked.programs.values() for finding in prove(program)]


SIZED = """block Squeeze(width: int) {{
  input x: [B, C, H, W]
  y = x -> conv(width, kernel=3, pad=1)
  output z = y -> conv(C, kernel=1)
  bias bottleneck(1024) on z
}}
network N {{
  input image: [B, 8, H{h}, W=16]
  a = image -> one: Squeeze(4)
  b = a -> maxpool(2) -> two: Squeeze(4)
  output b
}}
"""


@pytest.mark.parametrize(
    ("h", "verdicts"),
    [
        ("=16", ["proved", "proved"]),
        ("~16", ["proved", "proved"]),
        ("=32", ["refuted", "proved"]),
        ("", ["unknown"] * 2),
    ],
)
def test_a_block_is_cut_at_the_sizes_that_it_is_called_with(h: str, verdicts: list[str]) -> None:
    assert sorted(f.verdict for f in findings(SIZED.format(h=h))) == sorted(verdicts)


def test_sizes_of_a_block_in_blocks_are_those_of_all_its_calls() -> None:
    text = """block Inner() {
  input x: [B, C, T]
  output y = x -> conv(8, kernel=3, pad=1)
}
block Outer() {
  input x: [B, C, T]
  output y = x -> a: Inner -> b: Inner
}
network N {
  input x: [B, 8, T~12]
  output y = x -> first: Outer -> second: Outer
}
"""
    program = compile_program(Source(text))
    inner = next(graph for graph in program.graph.graphs() if graph.name == "Inner")
    assert called_sizes(program, inner) == [{"B": 1, "T": 12}]


def test_blocks_that_differ_in_plain_numbers_are_proved_once() -> None:
    text = """block Drop(rate: float) {
  input x: [B, C, T]
  output y = x -> conv(2, kernel=3, pad=1) -> dropout(rate)
  bias bottleneck(40) on y
}
network N {
  input x: [B, 8, T~20]
  a = x -> first: Drop(0.1)
  b = x -> second: Drop(0.2)
  output a
  output b
}
"""
    assert [f.verdict for f in findings(text)] == ["proved"]


def test_a_deep_network_is_cut_once_for_each_block() -> None:
    text = """block Basic() {
  input x: [B, C, H, W]
  output x + (x -> conv(C, kernel=3, pad=1) -> relu -> conv(C, kernel=3, pad=1))
  bias residual
}
network N {
  input image: [B, 8, H=32, W=32]
  y = image -> net: { repeat 300 { Basic } }
  output y
  bias bottleneck(8192) on y
  bias residual on y
}
"""
    found = findings(text)
    assert [f.verdict for f in found] == [Verdict.PROVED] * 3
    assert all(not f.caveats for f in found)
