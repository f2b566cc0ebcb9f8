"""One step of a recurrence as a graph of single functions, forward and backward together, nothing in it twice.

Nodes are numbers in an order in which each comes after what it reads. A leaf is a vector that lies in memory (an input,
a state, the result of a product, an adjoint that is given); all else is one function of other nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from .derive import gradient
from .equations import Apply, Expr, Name, Number

Node = int
COSTLY = frozenset({"sigmoid", "tanh", "exp", "log", "sqrt", "softplus"})
"""Functions that no region computes a second time in the same pass."""


class Flat:
    """The graph. `kinds[n]`: the function of a node, the kind of a leaf, or "number"."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.names: list[str] = []
        self.operands: list[tuple[Node, ...]] = []
        self.values: list[float] = []
        self.widths: list[int] = []
        self._found: dict[tuple, Node] = {}

    def _node(self, kind: str, name: str, operands: tuple[Node, ...], value: float, width: int) -> Node:
        key = (kind, name, operands, repr(value))
        if key not in self._found:
            self._found[key] = len(self.kinds)
            self.kinds.append(kind)
            self.names.append(name)
            self.operands.append(operands)
            self.values.append(value)
            self.widths.append(width)
        return self._found[key]

    def leaf(self, kind: str, name: str, width: int) -> Node:
        """A vector in memory."""
        return self._node(kind, name, (), 0.0, width)

    def number(self, value: float) -> Node:
        """A constant."""
        return self._node("number", "", (), value, 1)

    def sum(self, node: Node) -> Node:
        """The sum of the elements of a vector."""
        return self._node("sum", "", (node,), 0.0, 1)

    def is_leaf(self, node: Node) -> bool:
        """Does it lie in memory? Numbers don't."""
        return not self.operands[node] and self.kinds[node] != "number"

    def apply(self, function: str, *operands: Node) -> Node:
        """A function of nodes, left out where a zero or a one makes it one of them."""
        a, b = operands[0], operands[-1]
        x, y = (self.values[v] if self.kinds[v] == "number" else None for v in (a, b))
        match function:
            case "add" if 0 in (x, y):
                return b if x == 0 else a
            case "sub" if y == 0:
                return a
            case "mul" if 0 in (x, y):
                return self.number(0.0)
            case "mul" if 1 in (x, y):
                return b if x == 1 else a
            case "mul" if -1 in (x, y):
                return self.apply("neg", b if x == -1 else a)
            case "div" if y == 1 or x == 0:
                return a
            case "neg" if x is not None:
                return self.number(-x)
            case "neg" if self.kinds[a] == "neg":
                return self.operands[a][0]
            case "add" if self.kinds[b] == "neg":
                return self.apply("sub", a, self.operands[b][0])
        if function in ("add", "mul"):
            operands = tuple(sorted(operands))
        return self._node(function, "", tuple(operands), 0.0, max(self.widths[v] for v in operands))

    def insert(self, value: Expr, table: Mapping[str, Node]) -> Node:
        """The node of an expression. table: the nodes of its names."""
        if isinstance(value, Name):
            return table[value.text]
        if isinstance(value, Number):
            return self.number(value.value)
        return self.apply(value.function, *(self.insert(v, table) for v in value.operands))

    def under(self, roots: Iterable[Node], stop: Iterable[Node] = ()) -> list[Node]:
        """All nodes that the roots need, roots among them, in order. Nodes in `stop` are needed, but nothing under
        them is."""
        stop, found, waiting = frozenset(stop), set(), list(roots)
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                if node not in stop:
                    waiting.extend(self.operands[node])
        return sorted(found)


@cache
def _partial(function: str, operand: int, count: int) -> Expr:
    """The derivative of `y = function(a, b)` by one operand, in names a, b and y."""
    names = tuple(map(Name, "ab"[:count]))
    whole = Apply(function, names)
    return gradient(whole, "ab"[operand], {whole: Name("y")})


def adjoints(flat: Flat, given: Mapping[Node, Node], pulls: Mapping[Node, Node]) -> dict[Node, Node]:
    """The adjoint of every node of the graph that has one, as nodes that are added to it.

    given: adjoints that come from outside. pulls: of nodes that products read, the leaf that holds what the products
    add. Of a leaf in `pulls` (a state) only the pointwise part is in the result."""
    parts: dict[Node, list[Node]] = {node: [adjoint] for node, adjoint in given.items()}
    found: dict[Node, Node] = {}
    for node in reversed(range(len(flat.kinds))):
        if node in pulls and not flat.is_leaf(node):
            parts.setdefault(node, []).append(pulls[node])
        whole = _total(flat, parts.pop(node, []))
        if whole is None:
            continue
        found[node] = whole
        operands = flat.operands[node]
        table = {"y": node, **dict(zip("ab", operands, strict=False))}
        for at, operand in enumerate(operands):
            if flat.kinds[operand] == "number":
                continue
            partial = flat.insert(_partial(flat.kinds[node], at, len(operands)), table)
            part = flat.apply("mul", whole, partial)
            if flat.kinds[part] == "number" and flat.values[part] == 0:
                continue
            if flat.widths[part] > flat.widths[operand]:
                part = flat.sum(part)
            parts.setdefault(operand, []).append(part)
    return found


def _total(flat: Flat, parts: list[Node]) -> Node | None:
    whole = None
    for part in parts:
        whole = part if whole is None else flat.apply("add", whole, part)
    return whole
