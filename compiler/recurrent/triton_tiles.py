"""Nodes of a plan as lines of Triton: each is a tile, rows of the batch by elements of a vector, in single precision.

Vectors are padded to powers of two. What lies in the padding may be anything, no number included, until it is read
across elements: there it is made zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .flat import Node
from .plan import Plan, Sink

SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}

# tanh from the logistic function loses what is small, of which two terms of the series are exact enough. NaN passes
# through all of them, as comparisons with it are false.
FUNCTIONS = """\
import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    square = x * x
    series = x * (1.0 - square * (0.3333333333333333 - square * 0.13333333333333333))
    return tl.where(square < 0.0025, series, 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0)


@triton.jit
def softplus(x):
    return tl.where(x > 0, x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def relu(x):
    return tl.where(x < 0, 0.0, x)


@triton.jit
def positive(x):
    return tl.where(x > 0, 1.0, 0.0)


@triton.jit
def sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, x))


@triton.jit
def larger(a, b):
    return tl.where((a > b) | (a != a), a, b)


@triton.jit
def smaller(a, b):
    return tl.where((a < b) | (a != a), a, b)


@triton.jit
def above(a, b):
    return tl.where(a > b, 1.0, tl.where(a == b, 0.5, 0.0))
"""
_CALLS = {"max": "larger", "min": "smaller", "exp": "tl.exp", "log": "tl.log", "sqrt": "tl.sqrt", "abs": "tl.abs"}


def padded(width: int) -> int:
    """How wide the tile of a vector is: 1, or what products of tiles can have."""
    return 1 if width == 1 else max(16, 1 << (width - 1).bit_length())


class Tiles:
    """The lines of one kernel.

    once: what stands before the loop over steps. loads, body, stores: of a step; loads come first, so that memory is
    waited for only where it is read. arguments: tensors that the lines name, in the order in which they first do."""

    def __init__(self, plan: Plan, masked: bool, backward: bool, tape: int) -> None:
        self.plan, self.flat, self.masked, self.tape = plan, plan.flat, masked, tape
        self.arguments: dict[str, None] = {}
        self.once: list[str] = []
        self.loads: list[str] = []
        self.body: list[str] = []
        self.stores: list[str] = []
        self.names: dict[Node, str] = {}
        self.columns: set[int] = set()
        self.stop: frozenset[Node] = frozenset((*plan.tape, *plan.following) if backward else ())
        if masked:
            self.loads.append(f"keep = (tl.load({self.tensor('mask')} + place, mask=here, other=0) != 0)")

    # --- Memory ---------------------------------------------------------------------------------------------------

    def tensor(self, name: str) -> str:
        self.arguments.setdefault(name)
        return name

    def column(self, width: int) -> str:
        """The elements of a vector, as a term to add to an address."""
        if width == 1:
            return ""
        self.columns.add(width)
        return f" + j{width}"

    def inside(self, width: int) -> str:
        """Which elements of a tile are there."""
        self.column(width)
        return "here" if width == 1 else f"m{width}"

    def address(self, name: str, row: str, stride: int | str, width: int, offset: int = 0) -> str:
        shift = f" + {offset}" if offset else ""
        return f"{self.tensor(name)} + {row} * {stride}{shift}{self.column(width)}"

    def load(self, name: str, row: str, stride: int | str, width: int, offset: int = 0) -> str:
        place = self.address(name, row, stride, width, offset)
        return f"tl.load({place}, mask={self.inside(width)}, other=0.0).to(tl.float32)"

    def store(self, value: str, name: str, row: str, stride: int | str, width: int, offset: int = 0) -> None:
        place = self.address(name, row, stride, width, offset)
        self.stores.append(f"tl.store({place}, {value}, mask={self.inside(width)})")

    def vector(self, name: str, width: int, offset: int = 0) -> str:
        """The tile of a weight of one axis: the same for all rows, loaded once."""
        at = list(self.plan.equations.weights).index(name)
        variable = f"vector{at}_{offset}_{width}"
        shift = f" + {offset}" if offset else ""
        place = f"{self.tensor(f'weight{at}')}{shift}{self.column(width)}"
        inside = "" if width == 1 else f", mask=j{width} < {width}, other=0.0"
        tile = " + tl.zeros([1, 1], tl.float32)" if width == 1 else ""
        line = f"{variable} = tl.load({place}{inside}).to(tl.float32){tile}"
        if line not in self.once:
            self.once.append(line)
        return variable

    # --- Values ---------------------------------------------------------------------------------------------------

    def compute(self, nodes: Iterable[Node]) -> None:
        """Adds lines for nodes that have none yet, each after what it reads."""
        for node in nodes:
            if node not in self.names:
                self.names[node] = self._compute(node)

    def _compute(self, node: Node) -> str:
        kind, variable = self.flat.kinds[node], f"v{node}"
        if node not in self.stop and kind == "number":
            return self._number(self.flat.values[node])
        if node in self.stop or (self.flat.is_leaf(node) and kind not in ("product", "pull")):
            text = self.kept(node) if node in self.stop else self.leaf(node)
            if not text.startswith("tl.load"):
                return text
            self.loads.append(f"{variable} = {text}")
            return variable
        text = self.product(self.flat.names[node]) if kind == "product" else self._function(node, kind)
        self.body.append(f"{variable} = {text}")
        return variable

    def _number(self, value: float) -> str:
        text = repr(value)
        return f"({text})" if value - value == 0 else f'tl.full([1, 1], float("{text}"), tl.float32)'

    def _function(self, node: Node, kind: str) -> str:
        operands = self.flat.operands[node]
        if kind == "sum":
            width = self.flat.widths[operands[0]]
            return f"tl.sum({self.clean(self.names[operands[0]], width)}, 1, keep_dims=True)"
        values = [self.names[v] for v in operands]
        if kind not in SIGNS or all(self.flat.kinds[v] == "number" for v in operands):
            numbers = [self.flat.kinds[v] == "number" for v in operands]
            values = [f"tl.full([1, 1], {v}, tl.float32)" if n else v for v, n in zip(values, numbers, strict=True)]
        if kind in SIGNS:
            return f"{values[0]} {SIGNS[kind]} {values[1]}"
        return f"-{values[0]}" if kind == "neg" else f"{_CALLS.get(kind, kind)}({', '.join(values)})"

    def clean(self, value: str, width: int) -> str:
        """A tile with zeros in its padding."""
        self.column(width)
        return value if padded(width) == width else f"tl.where(j{width} < {width}, {value}, 0.0)"

    def wide(self, value: str, width: int) -> str:
        """A tile of full size, of a value that may be narrower."""
        return f"({value} + tl.zeros([BB, {padded(width)}], tl.float32))"

    def leaf(self, node: Node) -> str:
        """What a leaf is read from, but products."""
        kind, name, width = self.flat.kinds[node], self.flat.names[node], self.flat.widths[node]
        eq = self.plan.equations
        if kind == "input":
            return self.load(f"input{list(eq.inputs).index(name)}", "place", width, width)
        if kind == "constant":
            return self.constant(list(eq.constants).index(name), width)
        if kind == "vector":
            return self.vector(name, width)
        if kind == "state":
            return self.state(list(eq.states).index(name), width)
        if kind == "output adjoint":
            return self.load(f"given{name}", "place", f"given{name}_row", width)
        if kind == "next adjoint":
            return self.later(list(eq.states).index(name), width)
        raise ValueError(f"`{kind}` is no leaf that is read")

    def before(self, product: str) -> Iterator[str]:
        """The parts of a product that are there before the loop: of inputs and constants, and its bias."""
        plan, width = self.plan, self.plan.widths[product]
        if product in plan.before:
            variable = f"before{list(plan.before).index(product)}"
            self.loads.append(f"{variable} = {self._tape(plan.before[product], width)}")
            yield variable
        step = plan.products[product]
        if step.bias is not None:
            yield self.vector(step.bias, width, (step.rows or (0, 0))[0])

    def _tape(self, column: int, width: int) -> str:
        return self.load("tape", "place", self.tape, width, column)

    def kept(self, node: Node) -> str:
        """What the forward pass has left."""
        plan, width = self.plan, self.flat.widths[node]
        if node in plan.following:
            at = list(plan.equations.states).index(plan.following[node])
            return self.load(f"state{at}", "after", width, width)
        return self._tape(plan.tape[node], width)

    # --- What kernels differ in ---------------------------------------------------------------------------------

    def constant(self, at: int, width: int) -> str:
        return self.load(f"constant{at}", "rows", width, width)

    def state(self, at: int, width: int) -> str:
        return self.load(f"state{at}", "before", width, width)

    def later(self, at: int, width: int) -> str:
        raise NotImplementedError

    def product(self, name: str) -> str:
        raise NotImplementedError

    # --- Sinks ----------------------------------------------------------------------------------------------------

    def masked_value(self, value: str, otherwise: str = "0.0") -> str:
        return f"tl.where(keep, {value}, {otherwise})" if self.masked else value

    def leave(self, sink: Sink) -> None:
        """Stores what a region leaves, but states and sums, which kernels hold in ways of their own."""
        plan, eq = self.plan, self.plan.equations
        value = self.masked_value(self.names[sink.node])
        match sink.kind:
            case "tape":
                self.store(value, "tape", "place", self.tape, self.flat.widths[sink.node], sink.at)
            case "output":
                width = plan.widths[eq.outputs[sink.at]]
                self.store(value, f"output{sink.at}", "place", width, width)
            case "adjoint":
                self.store(value, "adjoints", "place", plan.columns_width, sink.width, sink.at)
            case "input":
                self.store(value, f"to_input{list(eq.inputs).index(sink.name)}", "place", sink.width, sink.width)
