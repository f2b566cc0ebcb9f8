"""Programs built by hand, for the tests of figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.compiler.graph import EdgeKind, Graph, Instance, Kind, Layer, Node, Program, Ref
from archlang.compiler.ops import registry
from archlang.compiler.ops.base import Need
from archlang.compiler.sizes import symbol, symbols
from archlang.compiler.types import TensorType, tensor

import archlang.compiler.ops  # noqa: F401  isort: skip


class Builder:
    """A graph under construction: every method returns the Ref of what it made."""

    def __init__(self, name: str, kind: str = "block", **arguments: Any) -> None:
        self.graph = Graph(name, kind, arguments)
        self.counts: dict[str, int] = {}

    def input(self, name: str, type_: str | TensorType, kind: Kind = Kind.INPUT) -> Ref:
        type_ = tensor(type_) if isinstance(type_, str) else type_
        return Ref(self.graph.add(Node(kind, (type_,), name)))

    def op(
        self,
        name: str,
        *operands: Ref,
        label: str | None = None,
        level: str = "",
        kinds: Sequence[EdgeKind] = (),
        **settings: Any,
    ) -> Ref:
        op = registry()[name](**settings)
        inputs = tuple(self.graph.type(ref) for ref in operands)
        weights = op.weights(inputs)
        module = None
        if weights or label:
            self.counts[name] = self.counts.get(name, 0) + 1
            module = f"{level}.{label or name + str(self.counts[name])}".lstrip(".")
            self.graph.modules[module] = Layer(op, inputs, tuple(weights))
        node = Node(Kind.OP, op.infer(inputs, Need()), label or "", op, module=module, level=level)
        return Ref(self.graph.add(node, operands, kinds))

    def call(
        self, callee: Graph, *operands: Ref, label: str = "", level: str = "", kinds: Sequence[EdgeKind] = ()
    ) -> Ref:
        module = f"{level}.{label or self.counts.setdefault(callee.name, 0)}".lstrip(".")
        self.counts[callee.name] = self.counts.get(callee.name, 0) + 1
        self.graph.modules.setdefault(module, Instance(callee))
        types = tuple(callee[n].types[0] for n in callee.outputs)
        names = sorted(set().union(*(symbols(size) for n in callee.inputs for size in callee[n].types[0].shape)))
        sizes = tuple((name, symbol(name)) for name in names)
        node = Node(Kind.CALL, types, label, graph=callee, module=module, level=level, sizes=sizes)
        return Ref(self.graph.add(node, operands, kinds))

    def output(self, ref: Ref, name: str = "") -> None:
        self.graph.add(Node(Kind.OUTPUT, (self.graph.type(ref),), name), [ref])

    def loss(self, ref: Ref, name: str, weight: float = 1.0) -> None:
        self.graph.add(Node(Kind.LOSS, (self.graph.type(ref),), name, loss_weight=weight), [ref])

    def skip(self, value: Ref, around: Ref) -> Ref:
        return self.op("add", value, around, kinds=(EdgeKind.DATA, EdgeKind.SKIP))

    def program(self, **entries: Graph) -> Program:
        return Program(self.graph.name, self.graph, dict(entries))


def lenet() -> Program:
    b = Builder("LeNet5", "network", classes=10)
    image, digit = b.input("image", "B 1 H=32 W=32"), b.input("digit", "int B", Kind.TARGET)
    x = b.op("tanh", b.op("conv", image, label="c1", out=6, kernel=5))
    x = b.op("avgpool", x, label="s2", kernel=2)
    x = b.op("tanh", b.op("conv", x, label="c3", out=16, kernel=5))
    x = b.op("avgpool", x, label="s4", kernel=2)
    x = b.op("flatten", x)
    x = b.op("tanh", b.op("linear", x, label="f5", out=120))
    x = b.op("tanh", b.op("linear", x, label="f6", out=84))
    x = b.op("linear", x, label="out", out=10)
    b.output(x, "logits")
    b.loss(b.op("cross_entropy", x, digit), "nll")
    return b.program()


def bottleneck(input_type: TensorType, width: int, stride: int = 1) -> Graph:
    b = Builder("Bottleneck", width=width, stride=stride)
    x = b.input("x", input_type)
    shortcut = x
    if stride != 1 or input_type.shape[1] != 4 * width:
        shortcut = b.op("conv", x, label="0", level="downsample", out=4 * width, kernel=1, stride=stride, bias=False)
        shortcut = b.op("batchnorm", shortcut, label="1", level="downsample")
    h = b.op("relu", b.op("batchnorm", b.op("conv", x, label="conv1", out=width, kernel=1, bias=False), label="bn1"))
    h = b.op("conv", h, label="conv2", out=width, kernel=3, stride=stride, pad=1, bias=False)
    h = b.op("relu", b.op("batchnorm", h, label="bn2"))
    h = b.op("batchnorm", b.op("conv", h, label="conv3", out=4 * width, kernel=1, bias=False), label="bn3")
    b.output(b.op("relu", b.skip(h, shortcut)))
    return b.graph


def resnet(layers: Sequence[int] = (3, 4, 6, 3)) -> Program:
    b = Builder("ResNet50", "network", layers=tuple(layers))
    x = b.input("image", "B 3 H W")
    b.graph.nominal = {"H": 224, "W": 224}
    x = b.op("conv", x, label="conv1", out=64, kernel=7, stride=2, pad=3, bias=False)
    x = b.op("relu", b.op("batchnorm", x, label="bn1"))
    x = b.op("maxpool", x, kernel=3, stride=2, pad=1)
    for i, depth in enumerate(layers):
        width, level = 64 * 2**i, f"layer{i + 1}"
        x = b.call(bottleneck(b.graph.type(x), width, 2 if i else 1), x, label="0", level=level)
        if depth > 1:
            unit = bottleneck(b.graph.type(x), width)
            for j in range(1, depth):
                x = b.call(unit, x, label=str(j), level=level)
    x = b.op("flatten", b.op("global_avgpool", x))
    b.output(b.op("linear", x, label="fc", out=1000), "logits")
    return b.program()


def unet(depth: int = 3) -> Program:
    b = Builder("UNet", "network")
    x = b.input("image", "B 3 H=128 W=128")
    kept = []

    def double(x: Ref, out: int, label: str) -> Ref:
        inner = Builder("DoubleConv", out=out)
        h = inner.input("x", b.graph.type(x))
        for i in (1, 2):
            h = inner.op("relu", inner.op("conv", h, label=f"conv{i}", out=out, kernel=3, pad=1))
        inner.output(h)
        return b.call(inner.graph, x, label=label)

    for i in range(depth):
        x = double(x, 64 * 2**i, f"down{i}")
        kept.append(x)
        x = b.op("maxpool", x, kernel=2)
    x = double(x, 64 * 2**depth, "middle")
    for i in reversed(range(depth)):
        x = b.op("conv_transpose", x, label=f"up{i}", out=64 * 2**i, kernel=2, stride=2)
        x = b.op("concat", kept[i], x, kinds=(EdgeKind.SKIP, EdgeKind.DATA), axis=1)
        x = double(x, 64 * 2**i, f"join{i}")
    b.output(b.op("conv", x, label="head", out=2, kernel=1), "mask")
    return b.program()


def inception() -> Program:
    b = Builder("Inception", "network")
    x = b.input("image", "B 3 H=64 W=64")
    target = b.input("label", "int B", Kind.TARGET)
    x = b.op("relu", b.op("conv", x, label="stem", out=64, kernel=7, stride=2, pad=3))
    for i in range(2):
        inner = Builder("Inception", width=64 * (i + 1))
        h = inner.input("x", b.graph.type(x))
        one = inner.op("relu", inner.op("conv", h, out=64, kernel=1))
        three = inner.op("relu", inner.op("conv", h, out=96, kernel=1))
        three = inner.op("relu", inner.op("conv", three, out=128, kernel=3, pad=1))
        five = inner.op("relu", inner.op("conv", h, out=16, kernel=1))
        five = inner.op("relu", inner.op("conv", five, out=32, kernel=5, pad=2))
        pool = inner.op("relu", inner.op("conv", inner.op("maxpool", h, kernel=3, stride=1, pad=1), out=32, kernel=1))
        inner.output(inner.op("concat", one, three, five, pool, axis=1))
        x = b.call(inner.graph, x, label=f"inception{'ab'[i]}")
        if i == 0:
            aux = b.op("linear", b.op("flatten", b.op("global_avgpool", x)), label="aux", out=10)
            b.loss(b.op("cross_entropy", aux, target), "helper", 0.3)
    x = b.op("flatten", b.op("dropout", b.op("global_avgpool", x), p=0.4))
    x = b.op("linear", x, label="fc", out=10)
    b.output(x, "logits")
    b.loss(b.op("cross_entropy", x, target), "nll")
    return b.program()


def transformer(layers: int = 6) -> Program:
    b = Builder("Transformer", "network")
    ids = b.input("ids", "int B T")
    x = b.op("embedding", ids, label="wte", count=50_257, dim=512)
    attention = Builder("Attention", heads=8)
    y = attention.input("x", "B T D=512")
    parts = []
    for name in "qkv":
        h = attention.op("linear", y, label=name, out=512)
        parts.append(attention.op("rearrange", h, pattern="b t (h d) -> b h t d", sizes={"h": 8}))
    scores = attention.op("einsum", parts[0], parts[1], pattern="b h q d, b h k d -> b h q k")
    scores = attention.op("div", scores, attention.op("scalar", value=8.0))
    weights = attention.op("dropout", attention.op("softmax", scores, axis=-1), p=0.1)
    y = attention.op("einsum", weights, parts[2], pattern="b h q k, b h k d -> b h q d")
    y = attention.op("rearrange", y, pattern="b h q d -> b q (h d)")
    attention.output(attention.op("linear", y, label="out", out=512))
    block = Builder("Block", heads=8)
    h = block.input("x", "B T D=512")
    inner = block.call(attention.graph, block.op("layernorm", h, label="ln1"), label="attn")
    h = block.skip(inner, h)
    inner = block.op(
        "gelu",
        block.op("linear", block.op("layernorm", h, label="ln2"), label="fc", level="mlp", out=2048),
        level="mlp",
    )
    inner = block.op("dropout", block.op("linear", inner, label="proj", level="mlp", out=512), level="mlp", p=0.1)
    block.output(block.skip(inner, h))
    for i in range(layers):
        x = b.call(block.graph, x, label=str(i), level="h")
    x = b.op("layernorm", x, label="ln_f")
    b.output(b.op("linear", x, label="head", out=50_257, bias=False), "logits")
    return b.program()
