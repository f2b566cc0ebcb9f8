"""Receptive fields, costs and invariants of graphs built by hand, against torch and published numbers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from archlang.compiler import ops
from archlang.compiler.analysis.cost import at_nominal, cost, peak_memory
from archlang.compiler.analysis.receptive import Receptive, receptive_field, relations_along, strides
from archlang.compiler.graph import EdgeKind, Graph, Instance, Kind, Layer, Node, Program, Ref
from archlang.compiler.ops.base import Need, WeightSpec
from archlang.compiler.relations import POINTWISE, Sees, compose, everything, prefix, suffix, union, window
from archlang.compiler.sizes import symbol
from archlang.compiler.types import tensor
from archlang.compiler.verify import BrokenGraph, verify
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Builder(Graph):
    """A graph with a method for each thing that the tests put into one."""

    def input(self, text, name="x", kind=Kind.INPUT):
        return Ref(self.add(Node(kind, (tensor(text),), name=name)))

    def op(self, op_name, *operands, label=None, **options):
        made = ops.get(op_name)(**options)
        types = tuple(self.type(ref) for ref in operands)
        results = made.infer(types, Need())
        weights = made.weights(types)
        label = label or (f"{op_name}{len(self.modules)}" if weights else None)
        if label:
            self.modules.setdefault(label, Layer(made, types, weights))
        return Ref(self.add(Node(Kind.OP, results, name=label or "", op=made, module=label), operands))

    def call(self, graph, *operands, module=None, sizes=()):
        types = tuple(graph[n].types[0].substitute(dict(sizes)) for n in graph.outputs)
        if module:
            self.modules.setdefault(module, Instance(graph))
        return Ref(self.add(Node(Kind.CALL, types, graph=graph, module=module, sizes=tuple(sizes)), operands))

    def weight(self, name, *shape):
        self.weights[name] = WeightSpec(name, shape)
        return Ref(self.add(Node(Kind.WEIGHT, (tensor(" ".join(map(str, shape))),), weight=name)))

    def output(self, ref, name="y"):
        self.values[name] = ref
        return self.add(Node(Kind.OUTPUT, (self.type(ref),), name=name), [ref])

    def loss(self, ref, name="loss"):
        return self.add(Node(Kind.LOSS, (self.type(ref),), name=name), [ref])


def chain(text, *steps, name="net"):
    """A graph of layers one after another; each step is (op, settings)."""
    g = Builder(name)
    x = g.input(text)
    for op, options in steps:
        x = g.op(op, x, **options)
    g.output(x)
    return g


def conv(out, kernel, **options):
    return ("conv", {"out": out, "kernel": kernel, **options})


def block(name, text, *steps):
    return chain(text, *steps, name=name)


LENET = (conv(6, 5), ("tanh", {}), ("avgpool", {"kernel": 2}), conv(16, 5), ("tanh", {}), ("avgpool", {"kernel": 2}))


@pytest.mark.parametrize(
    ("steps", "field", "stride"),
    [
        ((conv(4, 5), conv(4, 5)), 9, 1),
        ((conv(4, 3, pad=1), conv(4, 3, pad=1)), 5, 1),
        (LENET, 16, 4),
        ((conv(64, 7, stride=2, pad=3), ("maxpool", {"kernel": 3, "stride": 2, "pad": 1})), 11, 4),
        ((conv(4, 3, dilation=4),), 9, 1),
        ((conv(4, 4, stride=4), ("conv_transpose", {"out": 2, "kernel": 4, "stride": 4})), 7, 1),  # any 4 of these
        ((conv(4, 1), ("global_avgpool", {})), "all", None),
    ],
)
def test_known_receptive_fields(steps, field, stride):
    g = chain("B 3 H=32 W=32", *steps)
    verify(g)
    assert receptive_field(g, "y") == field
    if stride is not None:
        assert strides(g, "y") == [Fraction(stride)]


def footprint(module, size, channels):
    """Input rows that the middle place of a module's result depends on, by gradient."""
    x = torch.randn(1, channels, size, size, dtype=torch.float64, requires_grad=True)
    y = module(x)
    middle = y.shape[2] // 2
    y[0, :, middle, middle].sum().backward()
    rows = x.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    return int(rows.min()), int(rows.max()), middle


@pytest.mark.parametrize("seed", range(12))
def test_windows_are_what_gradients_see(seed):
    draw = torch.Generator().manual_seed(seed)

    def pick(*options):
        return options[int(torch.randint(len(options), (1,), generator=draw))]

    steps, layers, channels = [], [], 2
    for _ in range(3):
        kernel, stride, pad, dilation = pick(1, 2, 3, 5), pick(1, 1, 2, 3), pick(0, 1), pick(1, 1, 2)
        if pick(True, True, False):
            steps.append(conv(2, kernel, stride=stride, pad=pad, dilation=dilation))
            layers.append(nn.Conv2d(channels, 2, kernel, stride, pad, dilation))
        elif pick(True, False):
            kernel = max(kernel, stride)  # no holes
            steps.append(("conv_transpose", {"out": 2, "kernel": kernel, "stride": stride}))
            layers.append(nn.ConvTranspose2d(channels, 2, kernel, stride))
        else:
            steps.append(("avgpool", {"kernel": kernel, "stride": stride}))
            layers.append(nn.AvgPool2d(kernel, stride))
    g = chain("B 2 H=64 W=64", *steps)
    low, high, at = footprint(nn.Sequential(*layers).double(), 64, 2)
    ((_, _, relation),) = relations_along(g, g.values["y"], "H")
    first, last = relation.stride * at + relation.lo, relation.stride * at + relation.hi
    assert max(0, first) <= low
    assert high <= min(63, last)
    if not any(op == "conv_transpose" for op, _ in steps):
        assert (low, high) == (max(0, first), min(63, last))


def test_a_skip_widens_and_a_global_gate_sees_all():
    g = Builder("net")
    x = g.input("B 4 H=16 W=16")
    near = g.op("conv", x, out=4, kernel=3, pad=1)
    g.output(g.op("add", x, near), "sum")
    gate = g.op("sigmoid", g.op("global_avgpool", near))
    g.output(g.op("mul", near, gate), "gated")
    assert receptive_field(g, "sum", "H") == 3
    assert receptive_field(g, "gated", "H") == "all"
    assert relations_along(g, g.values["sum"], "B") == [(0, 0, POINTWISE)]


def test_a_position_embedding_ends_uniformity():
    g = Builder("net")
    x = g.input("B T=10 D=4")
    h = g.op("linear", x, out=4)
    g.output(h, "before")
    h = g.op("add", h, g.weight("positions", 10, 4))
    g.output(g.op("linear", h, out=4), "after")
    ((_, _, before),) = relations_along(g, g.values["before"], "T")
    ((_, _, after),) = relations_along(g, g.values["after"], "T")
    assert before == POINTWISE
    assert after == replace(POINTWISE, uniform=False)


def test_blocks_compose_like_their_inlined_layers():
    inner = block("Twice", "B C=4 H W", conv(4, 3, pad=1), conv(4, 3, pad=1))
    g = Builder("net")
    x = g.op("conv", g.input("B 3 H=32 W=32"), out=4, kernel=3, stride=2, pad=1)
    for i in range(3):
        x = g.call(inner, x, module=f"stage{i}", sizes=[("B", symbol("B")), ("H", 16), ("W", 16)])
    g.output(x)
    verify(g)
    flat = g.flatten()
    verify(flat)
    assert receptive_field(g, "y") == receptive_field(flat, "y") == 3 + 6 * 2 * 2
    ours, theirs = cost(g), cost(flat)
    for figure in ("parameters", "buffers", "flops", "memory", "depth", "layers"):
        assert getattr(ours, figure) == getattr(theirs, figure)
    assert (ours.depth, ours.layers) == (7, 7)
    sizes = {"B": 1}
    assert peak_memory(g, sizes) >= peak_memory(flat, sizes) > 0


def test_a_block_is_summarised_once():
    inner = block("Layer", "B C=4 H W", conv(4, 3, pad=1))
    worked = []

    class Watched(Receptive):
        def _work_through(self, graph, given):
            worked.append(graph.name)
            return super()._work_through(graph, given)

    g = Builder("net")
    x = g.input("B 4 H=8 W=8")
    for i in range(200):
        x = g.call(inner, x, module=f"layers.{i}", sizes=[("H", 8), ("W", 8)])
    g.output(x)
    view = Watched().views(g)[g.values["y"]]
    assert worked == ["net", "Layer"]
    assert view.relations[2, 0, 2].width == 401


small = st.builds(window, st.sampled_from([1, 2, 3, -1, Fraction(1, 2)]), st.integers(-3, 0), st.integers(0, 3))


@settings(max_examples=200, deadline=None)
@given(small, small, st.integers(-5, 5))
def test_composed_windows_cover_what_the_two_see(outer, inner, o):
    def seen(r, at):
        low, high = r.stride * at + r.lo, r.stride * at + r.hi
        return [i for i in range(-200, 200) if low <= i <= high]

    both = {i for m in seen(outer, o) for i in seen(inner, m)}
    assert both <= set(seen(compose(outer, inner), o))
    assert set(seen(outer, o)) | set(seen(inner, o)) <= set(
        range(-200, 200) if union(outer, inner).sees is Sees.ALL else seen(union(outer, inner), o)
    )


def test_causal_relations_stay_causal_and_break_when_they_look_ahead():
    past, ahead = window(1, -2, 0), window(1, 0, 1)
    assert compose(prefix(), past).sees is Sees.PREFIX
    assert compose(past, prefix()).sees is Sees.PREFIX
    assert union(prefix(), POINTWISE).sees is Sees.PREFIX
    assert (compose(prefix(), past).hi, compose(prefix(), ahead).hi, compose(ahead, prefix()).hi) == (0, 1, 1)
    assert compose(prefix(), suffix()).sees is Sees.ALL
    assert union(prefix(), suffix()).sees is Sees.ALL
    attention = union(POINTWISE, everything(uniform=True, symmetric=True))
    assert attention.symmetric and attention.uniform
    assert not compose(everything(), attention).symmetric
    assert not union(attention, window(1, -1, 1)).symmetric


def lenet():
    g = Builder("LeNet5")
    x = g.input("B 1 H=32 W=32", "image")
    for op, options in LENET:
        x = g.op(op, x, **options)
    g.values["features"] = x
    x = g.op("rearrange", x, pattern="b c h w -> b (c h w)")
    for width in (120, 84):
        x = g.op("tanh", g.op("linear", x, out=width))
    g.output(g.op("linear", x, out=10), "logits")
    return g


def test_the_cost_of_lenet_is_what_torch_counts():
    g = lenet()
    verify(g)
    found = cost(g)
    module = nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(3, 1, 32, 32))
    assert found.parameters == sum(p.numel() for p in module.parameters()) == 61_706
    assert at_nominal(found.flops, g) * 3 == counter.get_total_flops()
    assert found.macs * 2 == found.flops
    assert (found.depth, found.layers) == (5, 5)


def test_memory_counts_every_result_once():
    g = chain("B 8", ("linear", {"out": 16}), ("tanh", {}), ("linear", {"out": 2}))
    assert at_nominal(cost(g).memory, g) == 4 * (16 + 16 + 2)
    assert peak_memory(g, {"B": 1}) == 4 * (16 + 16)
    assert peak_memory(g, {}) is None


def test_what_only_losses_reach_is_counted_apart():
    g = Builder("net")
    x = g.input("B 8")
    h = g.op("linear", x, out=4)
    g.output(g.op("linear", h, out=2))
    g.loss(g.op("linear", h, out=3, label="aux"))
    found = cost(Program("net", g))
    assert (found.parameters, found.loss_parameters) == (8 * 4 + 4 + 4 * 2 + 2, 4 * 3 + 3)
    assert at_nominal(found.flops, g) == 2 * (8 * 4 + 4 * 2)


def test_shared_layers_are_owned_once_and_run_twice():
    g = Builder("net")
    x = g.input("B 8")
    for _ in range(2):
        x = g.op("linear", x, out=8, label="shared")
    g.output(x)
    verify(g)
    found = cost(g)
    assert (found.parameters, found.layers, found.depth) == (72, 1, 2)
    assert at_nominal(found.flops, g) == 2 * 2 * 64


def damaged():
    """One graph for each way to be broken: what was done, and what the verifier must say."""

    def edge_twice(g):
        g.nx.add_edge(0, 2, 0, result=0, kind=EdgeKind.DATA)

    def edge_gone(g):
        g.nx.remove_edge(0, 1, 0)

    def no_result(g):
        g.nx.edges[0, 1, 0]["result"] = 3

    def circle(g):
        g.nx.add_edge(2, 1, 1, result=0, kind=EdgeKind.DATA)

    def wrong_type(g):
        g.nx.nodes[1]["node"] = replace(g[1], types=(tensor("B 5"),))

    def no_module(g):
        del g.modules["linear0"]

    def other_layer(g):
        layer = g.modules["linear0"]
        g.modules["linear0"] = replace(layer, made=layer.made[:1])

    def no_output(g):
        g.outputs.clear()

    def lost_value(g):
        g.values["z"] = Ref(17)

    def lost_weight(g):
        g.weight("w", 3)
        del g.weights["w"]

    def wrong_edge_kind(g):
        g.nx.edges[0, 1, 0]["kind"] = "data flow"

    def wrong_call(g):
        g.call(chain("B 9", ("linear", {"out": 2})), Ref(0), module="inner")

    def called_a_layer(g):
        g.call(chain("B 8", ("linear", {"out": 2})), Ref(0), module="linear0")

    def doubled_key(g):
        g.weights["linear0.weight"] = WeightSpec("weight", (2,))

    return [
        (edge_twice, "each position from 0"),
        (edge_gone, "takes"),
        (no_result, "result 3 of %0"),
        (circle, "a cycle"),
        (wrong_type, "the node says [B, 5]"),
        (no_module, "no module"),
        (other_layer, "another layer"),
        (no_output, "`outputs` lists []"),
        (lost_value, "value `z`"),
        (lost_weight, "there is no weight `w`"),
        (wrong_edge_kind, "says"),
        (wrong_call, "`net` takes [B, 9], gets [B, 8]"),
        (called_a_layer, "is a layer, not a block"),
        (doubled_key, "occur twice"),
    ]


@pytest.mark.parametrize(("damage", "words"), [pytest.param(d, w, id=d.__name__) for d, w in damaged()])
def test_the_verifier_sees_each_kind_of_damage(damage, words):
    g = chain("B 8", ("linear", {"out": 4}), ("tanh", {}))
    verify(g)
    damage(g)
    with pytest.raises(BrokenGraph, match="bug of the compiler") as broken:
        verify(g)
    assert words in str(broken.value)


def test_the_verifier_asks_for_spans_only_when_told():
    g = chain("B 8", ("tanh", {}))
    with pytest.raises(BrokenGraph, match="no span"):
        verify(g, spans=True)


def test_a_graph_that_calls_itself_is_broken():
    g = Builder("loop")
    x = g.input("B 8")
    g.output(x)
    g.call(g, x)
    with pytest.raises(BrokenGraph, match="in a circle: loop"):
        verify(g)
