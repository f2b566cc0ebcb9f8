"""The table that `archc show` prints: a row for each layer and block, with shapes and costs for one example."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..elaborate.values import show
from ..flatten import full_path
from ..graph import Graph, Kind, Node, Program, Ref
from ..ops.base import Op
from ..relations import Sees
from ..sizes import Dim, SizeLimit, substitute
from ..types import TensorType
from .cost import Counter, Owned
from .derived import centre, plain
from .players import first_use, on_stage
from .receptive import Reach, Receptive, positional_axes, reach
from .scans import axis_name, steps
from .views import View, after, whole

MOST_ROWS = 100_000


class TableLimit(ValueError):
    """The table would have more rows than the limit."""


@dataclass(frozen=True)
class Row:
    """One layer or block, or an input. Amounts are for one example of the nominal size, and text where a size has none.

    path: where it stands in the module tree, or what the author called it. level: how many blocks it stands in.
    what: the op or block with its settings. shape: types of its results. parameters: trained elements that it owns,
    counted where a shared module is used first. flops: two a multiply-add. memory: bytes of its and all inner results.
    receptive_field: positions of the inputs' spatial axes that one place of the result sees, None where there are none.
    strides, centres: by spatial axis along which it sees a window, how far neighbouring places are apart, and the
    middle of what the first one sees, in positions of the input.
    children: rows directly inside, 0 when folded. steps: of a scan, how often it runs its cell; the rows inside have
    the shapes of one step and the amounts of all, so that they add up.
    """

    path: str
    level: int
    kind: str
    what: str
    shape: str
    parameters: int
    flops: int | str
    memory: int | str
    receptive_field: Reach | None
    strides: dict[str, int | float] = field(default_factory=dict)
    centres: dict[str, int | float] = field(default_factory=dict)
    children: int = 0
    steps: int | str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summary(program: Program | Graph, depth: int | None = None) -> list[Row]:
    """The rows of a program's main graph, from top to bottom; a block's own row comes before those inside it. `depth`:
    how many levels of blocks to open, 0 for the network's own body only, None for all. Of a game, what its pairs add is
    left out, and a discriminator stands once. Raises TableLimit."""
    if not isinstance(program, Program):
        return _Tabulator(program, depth).rows()
    hidden: set[int] = set()
    if program.game is not None:  # what pairs add is said by player
        judges = {first_use(program.graph, pair.discriminator) for pair in program.game.pairs}
        hidden = set(program.graph) - on_stage(program.graph, program.game) - judges
    return _Tabulator(program.graph, depth, hidden).rows()


@dataclass
class _Place:
    """A graph where it is called: the path before its modules, its symbols' values (a batch stays a symbol), what its
    inputs see of the network's (None at the top), where its module parameters lead; how often it runs there, and does
    it run at steps of a scan? (What a step sees depends on which it is.)"""

    graph: Graph
    prefix: str = ""
    level: int = 0
    sizes: Mapping[str, int | Dim] = field(default_factory=dict)
    inputs: list[View] | None = None
    outside: Mapping[str, str] = field(default_factory=dict)
    times: int | Dim | None = 1
    scanned: bool = False


class _Tabulator:
    def __init__(self, graph: Graph, depth: int | None, hidden: Set[int] = frozenset()) -> None:
        self.graph, self.depth, self.hidden = graph, depth, hidden
        self.counter, self.receptive = Counter(), Receptive()
        self.axes = positional_axes(graph, self.receptive)
        self.counted: set[str] = set()
        self.costs: dict[tuple, tuple[str, int | str, int | str]] = {}
        self.found: list[Row] = []

    def rows(self) -> list[Row]:
        self._graph(_Place(self.graph, sizes=self.graph.nominal))
        return self.found

    def _graph(self, place: _Place) -> int:
        """Adds the rows of a graph; returns how many stand directly in it."""
        shown = [number for number in place.graph.order() if _has_row(place.graph[number], place.level)]
        if not place.level:
            shown = [number for number in shown if number not in self.hidden]
        for number in shown:
            node = place.graph[number]
            results = self._seen(place, [Ref(number, i) for i in range(len(node.types))])
            at, row = len(self.found), self._row(place, number, node, results)
            if at >= MOST_ROWS:
                raise TableLimit(f"the table has more than {MOST_ROWS:,} rows")
            self.found.append(row)
            if node.graph is not None and (self.depth is None or place.level < self.depth):
                self.found[at] = replace(row, children=self._graph(self._inside(place, number, row)))
        return len(shown)

    def _inside(self, place: _Place, number: int, row: Row) -> _Place:
        """The graph that a node calls or scans, where it does."""
        node = place.graph[number]
        assert node.graph is not None
        scan = node.kind is Kind.SCAN
        return _Place(
            node.graph,
            f"{row.path}." if row.path else place.prefix,
            place.level + 1,
            {name: substitute(size, place.sizes) for name, size in node.sizes},
            None if scan else self._seen(place, place.graph.operands(number)),
            {name: full_path(path, place.prefix, place.outside) for name, path in node.bindings},
            _product(place.times, substitute(steps(place.graph, number), place.sizes)) if scan else place.times,
            scan or place.scanned,
        )

    def _row(self, place: _Place, number: int, node: Node, results: list[View]) -> Row:
        path = node.module and full_path(node.module, place.prefix, place.outside)
        shape, flops, memory = self._costs(place, number, node)
        return Row(
            path or (place.prefix + node.name if node.name else ""),
            place.level,
            node.op.glyph.value if node.op is not None else node.kind.value,
            describe(place.graph, number),
            shape,
            self._parameters(path).parameters,
            flops,
            memory,
            *self._places(results),
            steps=_amount(steps(place.graph, number), place.sizes) if node.kind is Kind.SCAN else None,
        )

    def _costs(self, place: _Place, number: int, node: Node) -> tuple[str, int | str, int | str]:
        """Types of the results, flops and memory; the same wherever a block is called with the same sizes."""
        key = (id(place.graph), number, tuple(place.sizes.items()), place.times)
        if key not in self.costs:
            one = {name: substitute(size, {"B": 1}) for name, size in ({"B": 1} | dict(place.sizes)).items()}
            found = (self.counter.node(place.graph, number, what) for what in ("flops", "memory"))
            flops, memory = (_amount(amount, one, place.times) for amount in found)
            shape = ", ".join(str(t.substitute(place.sizes)) for t in shown_types(node))
            self.costs[key] = shape, flops, memory
        return self.costs[key]

    def _seen(self, place: _Place, refs: list[Ref]) -> list[View]:
        """What values see of the network's inputs; of steps of a scan, nothing is said."""
        if place.scanned:
            return []
        views = self.receptive.views(place.graph)
        return [views[ref] if place.inputs is None else after(views[ref], place.inputs) for ref in refs]

    def _parameters(self, path: str | None) -> Owned:
        if path is None or path in self.counted:
            return Owned()
        self.counted.add(path)
        module = self.graph.module_at(path)
        return self.counter.module(module) if module is not None else Owned()

    def _places(self, views: list[View]) -> tuple[Reach | None, dict[str, int | float], dict[str, int | float]]:
        """How far one place of it sees, its strides and its centres."""
        found = [
            (self._axis(*pair), r) for view in views for pair in self.axes if (r := whole(view, *pair)) is not None
        ]
        seen = {name: relation for name, relation in found if relation.sees is Sees.WINDOW}
        strides = {name: plain(relation.stride) for name, relation in seen.items()}
        centres = {name: plain(centre(relation)) for name, relation in seen.items()}
        return reach(relation for _, relation in found) if found else None, strides, centres

    def _axis(self, source: int, axis: int) -> str:
        return self.graph[self.graph.inputs[source]].types[0].names[axis] or str(axis)


def _has_row(node: Node, level: int) -> bool:
    """Layers, blocks and losses; inputs at the top; not the arithmetic between them."""
    if node.kind in (Kind.INPUT, Kind.TARGET):
        return level == 0
    return node.graph is not None or (node.op is not None and not node.op.hidden)


def shown_types(node: Node) -> tuple[TensorType, ...]:
    """What a table says that a node makes: of a cell, its outputs, and its states where it has none."""
    states = len(node.graph.states) if node.graph is not None else 0
    return node.types[:-states] if 0 < states < len(node.types) else node.types


def _amount(amount: int | Dim | None, sizes: Mapping[str, int | Dim], times: int | Dim | None = 1) -> int | str:
    value = None if amount is None else _product(substitute(amount, sizes), times)
    return "?" if value is None else value if isinstance(value, int) else str(value)


def _product(left: int | Dim | None, right: int | Dim | None) -> int | Dim | None:
    try:
        return None if left is None or right is None else left * right
    except SizeLimit:
        return None


def describe(graph: Graph, number: int) -> str:
    """What a node runs, with the settings that differ from their defaults: `conv(64, kernel=3)`, `Bottleneck(64)`,
    `LSTM(hidden=256) over T`."""
    node = graph[number]
    if node.op is not None:
        return _op_text(node.op)
    if node.graph is None:
        return node.kind.value
    inner = ", ".join(f"{name}={show(value)}" for name, value in node.graph.arguments.items())
    text = f"{node.graph.name}({inner})" if inner else node.graph.name
    if node.scan is None:
        return f"{text}, one step" if node.graph.states else text
    return f"{text} over {axis_name(graph, number)}{' reversed' if node.scan.reverse else ''}"


def _op_text(op: Op) -> str:
    parts = []
    for position, (name, info) in enumerate(type(op).model_fields.items()):
        value = getattr(op, name)
        if info.is_required() and position == 0:
            parts.append(show(value))
        elif info.is_required() or value != info.default:
            parts.append(f"{name}={show(value)}")
    return f"{op.name}({', '.join(parts)})" if parts else op.name
