"""How the nodes of a graph look in a figure: outline, words, and what a pointer over them is told."""

from __future__ import annotations

from collections.abc import Mapping

from ..analysis.scans import axis_name
from ..graph import Graph, Kind, Layer, Node
from ..ops.base import Glyph
from ..ops.noise import Noise
from ..sizes import Dim
from ..types import TensorType
from . import words
from .figure import Shape, Stripe
from .style import Extra

_SHAPES = {
    Glyph.ACTIVATION: Shape.PILL,
    Glyph.DROPOUT: Shape.PILL,
    Glyph.SHAPE: Shape.TEXT,
    Glyph.MERGE: Shape.PILL,
    Glyph.ARITHMETIC: Shape.PILL,
    Glyph.SAMPLE: Shape.PILL,
    Glyph.CONSTANT: Shape.PILL,
}


def parameter_count(graph: Graph) -> int:
    """Trained numbers that an instance of a graph owns."""
    return sum(spec.elements for _, spec in graph.state() if spec.role == "param")


def look(
    graph: Graph,
    number: int,
    inputs: tuple[TensorType, ...],
    numbers: Mapping[int, str],
    silent: Mapping[str, frozenset[str]],
) -> tuple[Shape, Stripe]:
    """The outline of a node and what it says. inputs: the types of its operands; numbers: those operands that are plain
    numbers, as text; silent: of each block, the arguments that are left out."""
    node = graph[number]
    name = words.author_name(node)
    match node.kind:
        case Kind.INPUT | Kind.TARGET:
            role = Extra.INPUT if node.kind is Kind.INPUT else Extra.TARGET
            dtype = "" if node.types[0].dtype == "float" else node.types[0].dtype
            return Shape.PILL, Stripe(role, dtype, words.clean(node.name, 40))
        case Kind.OUTPUT:
            return Shape.PILL, Stripe(Extra.OUTPUT, "", words.clean(node.name or "output", 40))
        case Kind.LOSS:
            weight = "" if node.loss_weight == 1 else f"× {node.loss_weight:g}"
            return Shape.BOX, Stripe(Glyph.LOSS, weight, words.clean(node.name or "loss", 40))
        case Kind.WEIGHT:
            return Shape.PILL, Stripe(Extra.WEIGHT, "", words.clean(node.weight or node.name, 40))
        case Kind.CALL | Kind.SCAN:
            return Shape.BOX, Stripe(Extra.BLOCK, callee_text(graph, number, silent), name)
    return _op_look(node, inputs, numbers, name or _bound_name(graph, number))


def callee_text(graph: Graph, number: int, silent: Mapping[str, frozenset[str]]) -> str:
    """What a CALL or SCAN node runs: `Bottleneck(64)`, `LSTM(256) over T`."""
    node = graph[number]
    assert node.graph is not None
    text = words.block_text(node.graph, silent.get(node.graph.name, frozenset()))
    if node.scan is None:
        return text
    return f"{text} over {words.clean(axis_name(graph, number), 20)}{', reversed' if node.scan.reverse else ''}"


def callee_title(graph: Graph, number: int, silent: Mapping[str, frozenset[str]]) -> str:
    """The title of the frame around what a CALL or SCAN node runs."""
    label, text = words.author_name(graph[number]), callee_text(graph, number, silent)
    return f"{label}: {text}" if label else text


def _bound_name(graph: Graph, number: int) -> str:
    """The name of a gate, and in cells of any activation that has one: their authors name them as papers do."""
    node = graph[number]
    named = graph.kind == "cell" or any(gate.ref.node == number for gate in graph.gates)
    if node.op is None or node.op.glyph is not Glyph.ACTIVATION or not named or node.name.endswith("'"):
        return ""
    return words.clean(node.name, 40)


def _op_look(node: Node, inputs: tuple[TensorType, ...], numbers: Mapping[int, str], name: str) -> tuple[Shape, Stripe]:
    assert node.op is not None
    sign = words.sign_of(node.op)
    if sign is not None and len(inputs) - len(numbers) > 1:
        elementwise = "⊙" if sign == "×" else sign
        return Shape.CIRCLE if len(sign) == 1 else Shape.PILL, Stripe(node.op.glyph, elementwise)
    if sign is not None and len(inputs) == 2 and numbers:
        return Shape.PILL, Stripe(node.op.glyph, words.with_numbers(sign, numbers))
    if isinstance(node.op, Noise):
        drawn = f"{node.op.distribution.replace('_', ' ')}({', '.join(map(words.value_text, node.op.values))})"
        return Shape.PILL, Stripe(Glyph.SAMPLE, f"~ {drawn}" if node.name else drawn, words.clean(node.name, 40))
    if node.op.glyph is Glyph.CONSTANT and node.name:
        return Shape.PILL, Stripe(Glyph.CONSTANT, "", words.clean(node.name, 40))
    tree: tuple[object, ...] = getattr(node.op, "tree", ())
    if node.op.glyph is Glyph.CONSTANT and tree[:1] == ("number",):  # states that start at zero
        return Shape.PILL, Stripe(Glyph.CONSTANT, words.value_text(tree[1]))
    text = words.op_text(node.op, inputs)
    if numbers:
        text = f"{text} ({', '.join(numbers.get(i, '·') for i in range(len(inputs)))})"
    return _SHAPES.get(node.op.glyph, Shape.BOX), Stripe(node.op.glyph, words.clean(text), name)


def parameters(graph: Graph, node: Node) -> int:
    """Trained numbers that a node's layer or block owns."""
    if node.graph is not None:
        return parameter_count(node.graph)
    owner = graph.modules.get(node.module or "")
    if isinstance(owner, Layer):
        return sum(spec.elements for spec in owner.made if spec.role == "param")
    if node.weight in graph.weights:
        spec = graph.weights[node.weight]
        return spec.elements if spec.role == "param" else 0
    return 0


def level_parameters(graph: Graph, nodes: list[Node]) -> int:
    """Trained numbers that the layers and blocks of these nodes own, each once."""
    by_path = {node.module: node for node in nodes if node.module is not None}
    return sum(parameters(graph, node) for node in by_path.values())


def details(node: Node, inputs: tuple[TensorType, ...], sizes: Mapping[str, int | Dim]) -> list[tuple[str, str]]:
    """What a pointer over a node is told."""
    found: list[tuple[str, str]] = []
    if node.module is not None:
        found.append(("module", words.clean(node.module)))
    if node.op is not None:
        settings = ", ".join(f"{k}={words.value_text(getattr(node.op, k))}" for k in type(node.op).model_fields)
        found.append((node.op.name, words.clean(settings, 200)))
    if inputs:
        found.append(("takes", words.clean(", ".join(map(str, inputs)), 200)))
    made = [t.substitute(sizes) for t in node.types]
    found.append(("makes", words.clean(", ".join(map(str, made)), 200)))
    if node.span is not None:
        found.append(("written", words.clean(f"line {node.span.line}")))
    return found
