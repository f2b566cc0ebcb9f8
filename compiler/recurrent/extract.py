"""Equations of a cell's graph, where it has some.

Products and pointwise functions of vectors are all that equations know. A value that is cut (one product for four
gates, then a split) is cut before it is computed: rows of the product's weight, parts of each operand of a pointwise
function. What is joined along the features is only ever an operand of a product.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ..flatten import FlattenLimit
from ..graph import Graph, Kind, Node, Ref
from ..ops.base import Need, axis_index
from ..ops.einsum import Einsum
from ..types import TensorType
from .activations import binary, prelu, unary
from .derive import named
from .equations import BINARY, UNARY, Apply, Assign, Equations, Expr, Name, Number, Product
from .expressions import apply, mul, names
from .tidy import reads, tidy

_TAKEN = {*UNARY, *BINARY, "linear", "input", "constant", "state", "weight", "next", "output"}


@dataclass(frozen=True)
class Weight:
    """A tensor that a kernel is given: the one at a path of the cell's instance, transposed if it is stored as
    [in, out], flat if it has other axes than the features' (all of size 1), and only these of its elements."""

    path: str
    transposed: bool = False
    flat: bool = False
    part: tuple[int, int] | None = None

    def code(self, tensor: str) -> str:
        """Python text of what is meant, given the text of the tensor at the path."""
        text = f"{tensor}.T" if self.transposed else f"{tensor}.flatten()" if self.flat else tensor
        return text if self.part is None else f"{text}[{self.part[0]}:{self.part[1]}]"


@dataclass(frozen=True)
class Source:
    """A vector that enters: a data input of the cell by its position, and the part of its features that is meant."""

    position: int
    part: tuple[int, int] | None = None

    def code(self, tensor: str) -> str:
        """Python text of what is meant, given the text of the input."""
        return tensor if self.part is None else f"{tensor}[..., {self.part[0]}:{self.part[1]}]"


@dataclass(frozen=True)
class Extracted:
    """Equations of a cell, and what stands for their names, in the order in which they list them."""

    equations: Equations
    weights: tuple[Weight, ...]
    inputs: tuple[Source, ...]
    constants: tuple[Source, ...]


class NoEquations(Exception):
    """Why a cell has none."""


@dataclass(frozen=True)
class Joined:
    """Several vectors along the features."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True)
class Matrix:
    """A weight of two axes, as it is stored."""

    path: str
    shape: tuple[int, ...]


Value = Number | Name | Apply | Joined | Matrix


def extract(graph: Graph, states: int | None = None, constants: Collection[int] = ()) -> Extracted | str:
    """The equations of a cell, or why it has none.

    graph: its inputs are data, then as many states as it has (`states`, else as many as it names); its outputs end
    with their next values. constants: positions of the data inputs that are the same at every step."""
    count = len(graph.states) if states is None else states
    try:
        return _Extraction(graph.flatten(), count, constants).whole()
    except FlattenLimit:
        return "it is too large"
    except NoEquations as reason:
        return str(reason)


@dataclass
class _Extraction:
    graph: Graph
    count: int
    constant: Collection[int]
    values: dict[Ref, Value] = field(default_factory=dict)
    steps: dict[str, Product | Assign] = field(default_factory=dict)
    known: dict[object, str] = field(default_factory=dict)  # what has a name already: steps and sources by content
    taken: set[str] = field(default_factory=lambda: set(_TAKEN))
    widths: dict[str, int] = field(default_factory=dict)
    weights: dict[str, tuple[Weight, tuple[int, ...]]] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    def whole(self) -> Extracted:
        graph = self.graph
        data = graph.inputs[: len(graph.inputs) - self.count]
        begun = [self._input(number, i) for i, number in enumerate(graph.inputs)]
        states = {name: self.widths[name] for name in begun[len(data) :]}
        self._compute()
        leaving = [self._leaving(number) for number in graph.outputs]
        following = dict(zip(states, leaving[len(leaving) - self.count :], strict=True))
        outputs = tuple(leaving[: len(leaving) - self.count])
        steps = tidy(tuple(self.steps.values()), {*leaving})
        return self._tables(states, steps, following, outputs)

    # --- What enters and leaves ---------------------------------------------------------------------------------

    def _input(self, number: int, position: int) -> str:
        node = self.graph[number]
        t = node.types[0]
        if t.dtype != "float":
            raise NoEquations(f"`{node.name}` holds no real numbers")
        self._leading(t, f"`{node.name}`")
        name = self._fresh(node.name or "x", _size(t, f"`{node.name}`"))
        self.values[Ref(number)] = Name(name)
        self.sources[name] = Source(position)
        return name

    def _leading(self, t: TensorType, what: str) -> None:
        """All vectors have the axes of the examples in common."""
        if t.rank == 0:
            raise NoEquations(f"{what} is no vector")
        if t.shape[:-1] != self._examples():
            raise NoEquations(f"{what} has other axes than the first input")

    def _examples(self) -> tuple[object, ...]:
        return self.graph[self.graph.inputs[0]].types[0].shape[:-1]

    def _leaving(self, number: int) -> str:
        (ref,) = self.graph.operands(number)
        t = self.graph.type(ref)
        self._leading(t, "what leaves it")
        value = self._vector(self.values[ref])
        if self._varies(value) and self._width(value) == t.shape[-1]:
            return self._name(value, "y")
        raise NoEquations("a value that leaves it is the same for all examples or all features")

    def _varies(self, value: Expr) -> bool:
        """Does it depend on what enters?"""
        return any(
            name in self.sources or (name in self.steps and self._step_varies(self.steps[name]))
            for name in names(value)
        )

    def _step_varies(self, step: Product | Assign) -> bool:
        found = step.operands if isinstance(step, Product) else names(step.value)
        return any(self._varies(Name(name)) for name in found)

    def _tables(
        self,
        states: dict[str, int],
        steps: tuple[Product | Assign, ...],
        following: dict[str, str],
        outputs: tuple[str, ...],
    ) -> Extracted:
        read = {*following.values(), *outputs, *(n for step in steps for n in reads(step))}
        data = {name: s for name, s in self.sources.items() if name in read and name not in states}
        fixed = {name: s for name, s in data.items() if s.position in self.constant}
        moving = {name: s for name, s in data.items() if name not in fixed}
        used = {name: self.weights[name] for name in self.weights if name in read}
        equations = Equations(
            {name: self.widths[name] for name in moving},
            states,
            {name: shape for name, (_, shape) in used.items()},
            steps,
            following,
            outputs,
            {name: self.widths[name] for name in fixed},
        )
        equations.widths  # noqa: B018  (asks whether it fits together)
        weights = tuple(weight for weight, _ in used.values())
        return Extracted(named(equations), weights, tuple(moving.values()), tuple(fixed.values()))

    # --- Names --------------------------------------------------------------------------------------------------

    def _fresh(self, wanted: str, width: int) -> str:
        stem = wanted if wanted.isidentifier() and wanted.isascii() else "v"
        name, n = stem, 1
        while name in self.taken:
            n += 1
            name = f"{stem}_{n}"
        self.taken.add(name)
        self.widths[name] = width
        return name

    def _name(self, value: Expr, wanted: str) -> str:
        """A name that stands for a value."""
        if isinstance(value, Name):
            return value.text
        return self._step(("assign", value), wanted, self._width(value), lambda name: Assign(name, value))

    def _step(self, key: object, wanted: str, width: int, make) -> str:
        if key not in self.known:
            name = self._fresh(wanted, width)
            self.known[key] = name
            self.steps[name] = make(name)
        return self.known[key]

    def _weight(self, weight: Weight, shape: tuple[int, ...]) -> str:
        if weight not in self.known:
            name = self._fresh(f"{'w' if len(shape) == 2 else 'b'}{len(self.weights)}", shape[0])
            self.known[weight] = name
            self.weights[name] = (weight, shape)
        return self.known[weight]

    def _width(self, value: Expr) -> int:
        return max((self.widths[name] for name in names(value)), default=1)

    # --- Nodes --------------------------------------------------------------------------------------------------

    def _compute(self) -> None:
        for number in self.graph.order():
            node = self.graph[number]
            match node.kind:
                case Kind.WEIGHT:
                    self.values[Ref(number)] = self._parameter(node)
                case Kind.OP:
                    for i, value in enumerate(self._op(number, node)):
                        self.values[Ref(number, i)] = value
                case Kind.SCAN:
                    raise NoEquations("it holds a scan of its own")
                case Kind.LOSS | Kind.TARGET:
                    raise NoEquations("it holds a loss")

    def _parameter(self, node: Node) -> Value:
        t = node.types[0]
        shape = tuple(size if isinstance(size, int) else -1 for size in t.shape)
        assert node.weight is not None
        if t.dtype != "float" or -1 in shape:
            raise NoEquations(f"`{node.weight}` holds no real numbers")
        if len(shape) == 2 and shape[0] > 1:
            return Matrix(node.weight, shape)
        if any(size != 1 for size in shape[:-1]):
            raise NoEquations(f"`{node.weight}` has several axes")
        return Name(self._weight(Weight(node.weight, flat=len(shape) != 1), (shape[-1] if shape else 1,)))

    def _op(self, number: int, node: Node) -> list[Value]:
        op = node.op
        assert op is not None
        operands = [self.values[ref] for ref in self.graph.operands(number)]
        types = self.graph.operand_types(number)
        if any(t.dtype != "float" for t in node.types) and op.name != "scalar":
            raise NoEquations(f"`{op.name}` gives no real numbers")
        match op.name:
            case "scalar":
                return [self._scalar(op)]
            case "linear":
                return [self._linear(node, types, operands)]
            case "einsum":
                return [self._einsum(node, types, operands)]
            case "concat":
                self._last(op, node.types[0])  # the result has the axis, whatever its parts call theirs
                return [Joined(tuple(v for value in operands for v in self._parts(value)))]
            case "split" | "glu" | "index":
                return self._cut(node, types[0], operands[0])
            case "prelu" if node.module is not None and not getattr(op, "channels", False):
                slope = Name(self._weight(Weight(f"{node.module}.weight"), (1,)))
                return [self._pointwise(node, prelu(slope, self._vector(operands[0])))]
        if getattr(op, "p", None) == 0 and op.random:
            return operands
        return [self._pointwise(node, self._function(node, operands))]

    def _function(self, node: Node, operands: Sequence[Value]) -> Expr:
        op = node.op
        assert op is not None
        if op.random:
            raise NoEquations(f"`{op.name}` draws random numbers")
        vectors = [self._vector(value) for value in operands]
        found = None
        if len(vectors) == 1:
            found = unary(op, vectors[0])
        elif len(vectors) == 2:
            found = binary(op, *vectors)
        if found is None:
            raise NoEquations(f"`{op.name}` is neither a product nor a pointwise function that equations have")
        return found

    def _scalar(self, op) -> Expr:
        if isinstance(op.value, bool) or not isinstance(op.value, int | float):
            raise NoEquations(f"`{op.value}` is no real number")
        return Number(float(op.value))

    def _pointwise(self, node: Node, value: Expr) -> Expr:
        """A value with a name; the type of the result tells whether axes were stretched."""
        t = node.types[0]
        if isinstance(value, Number | Name):
            return value
        if t.rank and self._varies(value):
            self._leading(t, f"what `{node.op.name if node.op else ''}` gives")
        return Name(self._name(value, node.name or "v"))

    def _vector(self, value: Value) -> Expr:
        if isinstance(value, Joined):
            if len(value.parts) == 1:
                return value.parts[0]
            raise NoEquations("what is joined is more than the operand of a product")
        if isinstance(value, Matrix):
            raise NoEquations(f"`{value.path}` has several axes, and is more than the weight of a product")
        return value

    def _parts(self, value: Value) -> tuple[Expr, ...]:
        return value.parts if isinstance(value, Joined) else (self._vector(value),)

    def _last(self, op, t: TensorType) -> None:
        if axis_index(t, op.axis) != t.rank - 1:
            raise NoEquations(f"`{op.name}` is not along the features")

    # --- Products -----------------------------------------------------------------------------------------------

    def _linear(self, node: Node, types: Sequence[TensorType], operands: list[Value]) -> Value:
        op = node.op
        assert op is not None
        if getattr(op, "spectral_norm", False):
            raise NoEquations("the weight of a product is normalised at each step")
        given = dict(zip(node.replaced, operands[len(operands) - len(node.replaced) :], strict=True))
        entering = operands[: len(operands) - len(node.replaced)]
        shapes = {spec.name: spec.shape for spec in op.weights(tuple(types))}
        stored_across = getattr(op, "layout", "oi") == "io"
        matrix = given.get("weight", Matrix(f"{node.module}.weight", shapes["weight"]))
        if not isinstance(matrix, Matrix):
            raise NoEquations("the weight of a product is computed")
        weight = self._matrix(matrix, stored_across)
        bias = None
        if "bias" in shapes:
            own = given.get("bias")
            bias = self._bias(own) if own is not None else self._weight(Weight(f"{node.module}.bias"), shapes["bias"])
        return self._product(node, [v for value in entering for v in self._parts(value)], weight, bias)

    def _bias(self, value: Value) -> str:
        if isinstance(value, Name) and value.text in self.weights:
            return value.text
        raise NoEquations("the bias of a product is computed")

    def _matrix(self, matrix: Matrix, transposed: bool) -> str:
        shape = matrix.shape[::-1] if transposed else matrix.shape
        return self._weight(Weight(matrix.path, transposed), shape)

    def _product(self, node: Node, entering: Sequence[Expr], weight: str, bias: str | None) -> Value:
        self._leading(node.types[0], "a product")
        operands = tuple(self._name(value, "v") for value in entering)
        made = (operands, weight, bias, None)
        width = self.weights[weight][1][0]
        return Name(self._step(made, node.name or "p", width, lambda name: Product(name, *made)))

    def _einsum(self, node: Node, types: Sequence[TensorType], operands: list[Value]) -> Value:
        assert isinstance(node.op, Einsum)
        sides, right, _ = node.op.solve(types, Need())
        at = [i for i, value in enumerate(operands) if isinstance(value, Matrix)]
        if len(operands) != 2 or len(at) != 1:
            raise NoEquations("`einsum` is more than a product with one weight")
        matrix, entering = operands[at[0]], operands[1 - at[0]]
        assert isinstance(matrix, Matrix)
        side, vector = sides[at[0]], sides[1 - at[0]]
        for transposed, (out, into) in ((False, side), (True, side[::-1])):
            if vector[-1] == into and right == (*vector[:-1], out) and out not in vector:
                return self._product(node, self._parts(entering), self._matrix(matrix, transposed), None)
        raise NoEquations("`einsum` is more than a product with one weight")

    # --- Cuts ---------------------------------------------------------------------------------------------------

    def _cut(self, node: Node, t: TensorType, value: Value) -> list[Value]:
        op = node.op
        assert op is not None
        width = _size(t, f"what `{op.name}` cuts")
        if op.name == "index":
            return [self._part(value, *self._ends(op, t, width))]
        self._last(op, t)
        if op.name == "glu":
            left, right = self._part(value, 0, width // 2), self._part(value, width // 2, width)
            return [self._pointwise(node, mul(self._vector(left), Apply("sigmoid", (self._vector(right),))))]
        ends = [0]
        for part in node.types:
            ends.append(ends[-1] + _size(part, "a part"))
        return [self._part(value, *pair) for pair in pairwise(ends)]

    def _ends(self, op: Any, t: TensorType, width: int) -> tuple[int, int]:
        """First and past-the-last feature of `x[N=low..high]`."""
        axis, low, high, drops = op.items[0] if len(op.items) == 1 else (None, 0, 0, True)
        low, high = 0 if low is None else low, width if high is None else high
        if axis != t.rank - 1 or drops or not isinstance(low, int) or not isinstance(high, int):
            raise NoEquations("what is taken by position are not features")
        return low % width if low < 0 else low, high % width if high < 0 else high

    def _part(self, value: Value, start: int, stop: int) -> Value:
        """Elements start … stop of a value."""
        if isinstance(value, Matrix):
            raise NoEquations(f"`{value.path}` has several axes, and is cut")
        if isinstance(value, Joined):
            return Joined(tuple(self._parts_between(value.parts, start, stop)))
        return self._piece(value, start, stop)

    def _parts_between(self, parts: Sequence[Expr], start: int, stop: int) -> list[Expr]:
        found, at = [], 0
        for part in parts:
            width = self._width(part)
            low, high = max(start - at, 0), min(stop - at, width)
            if low < high:
                found.append(self._piece(part, low, high))
            at += width
        return found

    def _piece(self, value: Expr, start: int, stop: int) -> Expr:
        if self._width(value) in (1, stop - start):
            return value
        if isinstance(value, Apply):
            return apply(value.function, *(self._piece(v, start, stop) for v in value.operands))
        assert isinstance(value, Name)
        return self._named_piece(value.text, start, stop)

    def _named_piece(self, name: str, start: int, stop: int) -> Expr:
        step = self.steps.get(name)
        wanted = f"{name}_{start}"
        if isinstance(step, Assign):
            piece = self._piece(step.value, start, stop)
            return Name(self._name(piece, wanted))
        if isinstance(step, Product):
            first = step.rows[0] if step.rows else 0
            made = (step.operands, step.weight, step.bias, (first + start, first + stop))
            return Name(self._step(made, wanted, stop - start, lambda found: Product(found, *made)))
        if name in self.weights:
            weight = self.weights[name][0]
            first = weight.part[0] if weight.part else 0
            part = Weight(weight.path, weight.transposed, weight.flat, (first + start, first + stop))
            return Name(self._weight(part, (stop - start,)))
        source = self.sources[name]
        if source.position >= len(self.graph.inputs) - self.count:
            raise NoEquations(f"the state `{name}` is cut")
        first = source.part[0] if source.part else 0
        cut = Source(source.position, (first + start, first + stop))
        if cut not in self.known:
            self.known[cut] = self._fresh(wanted, stop - start)
            self.sources[self.known[cut]] = cut
        return Name(self.known[cut])


def _size(t: TensorType, what: str) -> int:
    size = t.shape[-1]
    if not isinstance(size, int):
        raise NoEquations(f"the number of features of {what} is not known")
    return size
