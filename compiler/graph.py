"""The graph: an architecture as a networkx MultiDiGraph, and the module tree that owns its weights.

A `Graph` is a function: inputs, outputs, nodes between. A block elaborates to one Graph for each combination of
arguments and operand types, and CALL nodes use it as often as needed. Weights belong to the *module tree*:
`Graph.modules` maps the dotted paths of what one instance of this graph owns (`conv1`, `layer1.0`, `downsample.1`) to
layers or further graphs, `Graph.weights` maps the paths of its bare tensors (`param`, `buffer`). Nodes refer to modules
by path, so sharing is two nodes with one path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import networkx as nx

from .ops.base import Check, Op, WeightSpec
from .sizes import Dim
from .source import Span
from .types import TensorType

if TYPE_CHECKING:
    from .analysis.biases.findings import Finding
    from .claims import Claim
    from .game import Game
    from .key_names import KeyTable
    from .pretrained import Published
    from .syntax import ast


class Kind(StrEnum):
    """What a node is."""

    INPUT = "input"
    TARGET = "target"
    WEIGHT = "weight"
    OP = "op"
    CALL = "call"
    SCAN = "scan"
    OUTPUT = "output"
    LOSS = "loss"


class EdgeKind(StrEnum):
    """What flows along an edge, for figures and analyses."""

    DATA = "data"
    SKIP = "skip"
    GATE = "gate"
    STATE = "state"


class Ref(NamedTuple):
    """One result of a node."""

    node: int
    result: int = 0


class Scan(NamedTuple):
    """How a SCAN node runs its cell's graph. Its operands are the data inputs of the cell in order, then the starts of
    states that have one, then a mask; its results the cell's outputs, stacked, then the final states.

    axes: of each data input, the axis that is taken apart, one position a step; None for what is the same at each.
    starts: of each state, does an operand give its start? It is zeros otherwise.
    masked: bool, [leading axes, axis]; where it is false the states stay as they are and the outputs are zero.
    reverse: from the last position to the first. Outputs stand where their inputs stood.
    """

    axes: tuple[int | None, ...]
    starts: tuple[bool, ...]
    masked: bool = False
    reverse: bool = False

    @property
    def axis(self) -> int:
        """The position of the axis in the first tensor, and in stacked outputs (of fewer axes: the last)."""
        return next(axis for axis in self.axes if axis is not None)

    @property
    def entries(self) -> list[int | None]:
        """Of each operand, the input of the cell's graph that it is, or starts; None for a mask."""
        data = len(self.axes)
        begun = [data + state for state, given in enumerate(self.starts) if given]
        return [*range(data), *begun, *([None] if self.masked else [])]


@dataclass(slots=True, eq=False)
class Node:
    """One step of a graph. Never changed in place: `dataclasses.replace` makes another. (Frozen, it would take three
    times as long to make.)

    name: what the author called it (a label, a bound name, an input's name) or "" .
    types: one for each result (OUTPUT and LOSS nodes have the type of what they pass on).
    op: for OP nodes. graph: the callee of CALL nodes, the cell of SCAN nodes. scan: how that is run.
    module: path of the layer or block instance it runs, when that owns weights or was labelled. weight: for WEIGHT
    nodes, the path of the tensor, from this graph's instance (it may lead into a block: `transformer.wte.weight`).
    replaced: names of weights that are not made but come as the last operands (`linear(V) with (weight=…)`).
    sizes: for CALL and SCAN nodes, what the callee's symbols are here.
    bindings: for CALL and SCAN nodes, (module parameter of the callee, path here of the module passed).
    level: dotted path of the labelled sequence it stands in, "" at the top; figures draw levels as clusters.
    loss_weight: for LOSS nodes. over: in a game, the players whose loss it is.
    overwrites: the position of the operand over which it writes its result, which nothing else reads.
    """

    kind: Kind
    types: tuple[TensorType, ...]
    name: str = ""
    op: Op | None = None
    graph: Graph | None = None
    module: str | None = None
    weight: str | None = None
    replaced: tuple[str, ...] = ()
    sizes: tuple[tuple[str, int | Dim], ...] = ()
    bindings: tuple[tuple[str, str], ...] = ()
    level: str = ""
    loss_weight: float = 1.0
    over: tuple[str, ...] = ()
    overwrites: int | None = None
    scan: Scan | None = None
    span: Span | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A module with an op: one layer. `inputs` are the operand types its weights were made for; `made` the weights that
    it owns (those replaced by operands are left out)."""

    op: Op
    inputs: tuple[TensorType, ...]
    made: tuple[WeightSpec, ...]
    span: Span | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """A module that is a block: what it owns is what `graph` owns."""

    graph: Graph
    span: Span | None = None


class Claimed(NamedTuple):
    """A claim about a body: of which value (`ref`, called `value`; None for the whole program), over which axes of the
    inputs (none named: all that are places). `assumed`: its author vouches for what can't be proved."""

    claim: Claim
    value: str | None
    ref: Ref | None
    axes: tuple[str, ...]
    assumed: bool
    span: Span


class Gated(NamedTuple):
    """A value that is said to be a gate: between two bounds, and a factor of something."""

    name: str
    ref: Ref
    lo: float
    hi: float
    span: Span | None = None


class Fold(NamedTuple):
    """A batch norm that a rewrite made part of the layer before it: paths of both, and what is added to the variance.
    A checkpoint still has the norm's tensors; they become part of the layer's as it is loaded."""

    layer: str
    norm: str
    eps: float


@dataclass(eq=False)
class Graph:
    """One function of the program.

    name: the block's, network's or entry's name. kind: block, cell, network or entry.
    arguments: the static arguments it was made with, by parameter name (figures and generated code show them).
    module_parameters: names of its parameters that are modules; paths that start with one lead out of this instance.
    values: names bound at the end of the body, for contracts: `features` → where it is.
    checks: questions about sizes that only a run can answer, in terms of this graph's symbols, with where each arose.
    nominal: sizes that symbols have for costs and figures (`H~224`).
    folds: what rewrites for evaluation made of its norms. claims: inductive biases that the body claims.
    states: of a cell, what is passed on: its last inputs are the states, its last outputs their next values.
    gates: values that are said to be gates.
    """

    name: str
    kind: str = "block"
    arguments: dict[str, Any] = field(default_factory=dict)
    module_parameters: tuple[str, ...] = ()
    nx: nx.MultiDiGraph = field(default_factory=nx.MultiDiGraph)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    losses: list[int] = field(default_factory=list)
    modules: dict[str, Layer | Instance] = field(default_factory=dict)
    weights: dict[str, WeightSpec] = field(default_factory=dict)
    values: dict[str, Ref] = field(default_factory=dict)
    checks: list[tuple[Check, Span | None]] = field(default_factory=list)
    nominal: dict[str, int] = field(default_factory=dict)
    folds: tuple[Fold, ...] = ()
    claims: list[Claimed] = field(default_factory=list)
    states: tuple[str, ...] = ()
    gates: list[Gated] = field(default_factory=list)
    span: Span | None = None

    def add(self, node: Node, operands: Sequence[Ref] = (), kinds: Sequence[EdgeKind] = ()) -> int:
        """Adds a node after its operands exist; returns its number. `kinds` defaults to data throughout."""
        # Straight into networkx's dictionaries, as its own add_node and add_edge do at three times the price: a deep
        # network is mostly this.
        graph, kind = self.nx, node.kind
        number = len(graph._node)
        graph._node[number], graph._succ[number] = {"node": node}, {}
        incoming: dict[int, dict[int, dict[str, object]]] = {}
        graph._pred[number] = incoming
        for position, ref in enumerate(operands):
            edges = incoming.get(ref.node)
            if edges is None:
                edges = incoming[ref.node] = graph._succ[ref.node][number] = {}
            edges[position] = {"result": ref.result, "kind": kinds[position] if kinds else EdgeKind.DATA}
        if kind is Kind.INPUT or kind is Kind.TARGET:
            self.inputs.append(number)
        elif kind is Kind.OUTPUT:
            self.outputs.append(number)
        elif kind is Kind.LOSS:
            self.losses.append(number)
        return number

    def __getitem__(self, number: int) -> Node:
        return self.nx._node[number]["node"]  # `nx.nodes` and `nx.pred` mean the same and build a view at each use

    def __iter__(self) -> Iterator[int]:
        """The numbers of its nodes."""
        return iter(self.nx._node)

    def type(self, ref: Ref) -> TensorType:
        """The type of a result."""
        return self[ref.node].types[ref.result]

    @property
    def data_inputs(self) -> list[int]:
        """The inputs that hold something of an example. In a program, a number without axes doesn't: it is one for all,
        such as a factor that fades in; what a block is given may have been computed."""
        whole = self.kind in ("network", "entry")
        return [n for n in self.inputs if self[n].kind is Kind.INPUT and (self[n].types[0].rank or not whole)]

    def operands(self, number: int) -> list[Ref]:
        """What a node consumes, in operand order."""
        incoming = self.nx._pred[number]
        if len(incoming) == 1:  # most nodes have one operand, and analyses ask for nothing as often
            ((producer, edges),) = incoming.items()
            if len(edges) == 1:
                return [Ref(producer, edge["result"]) for edge in edges.values()]
        return [ref for _, ref, _ in self._incoming(number)]

    def operand_types(self, number: int) -> tuple[TensorType, ...]:
        """Types of what a node's op works on, in operand order: what replaces its weights is left out."""
        refs = self.operands(number)
        return tuple(self.type(ref) for ref in refs[: len(refs) - len(self[number].replaced)])

    def operand_kinds(self, number: int) -> list[EdgeKind]:
        """The kind of each operand's edge, in operand order."""
        return [kind for _, _, kind in self._incoming(number)]

    def _incoming(self, number: int) -> list[tuple[int, Ref, EdgeKind]]:
        found = [
            (position, Ref(producer, edge["result"]), edge["kind"])
            for producer, edges in self.nx._pred[number].items()
            for position, edge in edges.items()
        ]
        found.sort()
        return found

    def users(self, number: int) -> list[tuple[int, int, int]]:
        """Who consumes a node: (its result, the consumer, the operand's position), in order."""
        found = [(data["result"], v, key) for _, v, key, data in self.nx.out_edges(number, keys=True, data=True)]
        return sorted(found)

    def order(self) -> list[int]:
        """Every node after its operands; the order of the text where that allows."""
        if all(u < v for v, before in self.nx._pred.items() for u in before):
            return sorted(self.nx._node)
        return list(nx.lexicographical_topological_sort(self.nx))

    def needed(self, roots: Sequence[int]) -> set[int]:
        """The nodes that these depend on, themselves included."""
        found = set(roots)
        for root in roots:
            found |= nx.ancestors(self.nx, root)
        return found

    def graphs(self) -> Iterator[Graph]:
        """This graph and every graph that it calls or owns, each once, callees before callers."""
        seen: set[int] = set()
        found: list[Graph] = []

        def visit(graph: Graph) -> None:
            seen.add(id(graph))
            for module in graph.modules.values():
                if isinstance(module, Instance) and id(module.graph) not in seen:
                    visit(module.graph)
            for number in graph:
                callee = graph[number].graph
                if callee is not None and id(callee) not in seen:
                    visit(callee)
            found.append(graph)

        visit(self)
        return iter(found)

    def own_weights(self) -> Iterator[tuple[str, WeightSpec]]:
        """Paths and specs of the tensors that this graph itself owns, blocks left out."""
        yield from self.weights.items()
        for path, module in self.modules.items():
            if isinstance(module, Layer):
                for spec in module.made:
                    yield f"{path}.{spec.name}", spec

    def state(self, prefix: str = "") -> Iterator[tuple[str, WeightSpec]]:
        """Every tensor of an instance, with its full key, blocks expanded. As long as the model has tensors."""
        for path, spec in self.weights.items():
            yield prefix + path, spec
        for path, module in self.modules.items():
            if isinstance(module, Layer):
                for spec in module.made:
                    yield f"{prefix}{path}.{spec.name}", spec
            else:
                yield from module.graph.state(f"{prefix}{path}.")

    def module_at(self, path: str) -> Layer | Instance | None:
        """The module that a path leads to, through blocks; None when there is none or it leads out of this instance."""
        if path in self.modules:
            return self.modules[path]
        for head, rest in _splits(path):
            owner = self.modules.get(head)
            if isinstance(owner, Instance):
                return owner.graph.module_at(rest)
        return None

    def weight_at(self, path: str) -> WeightSpec | None:
        """The tensor that a path leads to, through blocks and layers; None as in `module_at`."""
        if path in self.weights:
            return self.weights[path]
        for head, rest in _splits(path):
            owner = self.modules.get(head)
            if isinstance(owner, Instance):
                return owner.graph.weight_at(rest)
            if isinstance(owner, Layer):
                return next((spec for spec in owner.made if spec.name == rest), None)
        return None

    def relative(
        self, arguments: dict[str, Any], changed: Mapping[int, Node], modules: dict[str, Layer | Instance]
    ) -> Graph:
        """The same finished graph for other arguments, with other nodes in some places. The two share their edges."""
        other = nx.MultiDiGraph()
        other._node = {**self.nx._node, **{number: {"node": node} for number, node in changed.items()}}
        other._adj, other._pred = self.nx._adj, self.nx._pred
        return replace(self, arguments=arguments, nx=other, modules=modules)

    @property
    def structure(self) -> object:
        """What this graph has in common with those made by `relative`, and with no others: the same object for all."""
        return self.nx._adj

    def flatten(self) -> Graph:
        """One graph without calls: every block inlined, names and levels prefixed by where the block stood."""
        from .flatten import flatten

        return flatten(self)


def _splits(path: str) -> Iterator[tuple[str, str]]:
    """A dotted path as (head, rest), shortest head first."""
    at = path.find(".")
    while at >= 0:
        yield path[:at], path[at + 1 :]
        at = path.find(".", at + 1)


@dataclass(eq=False)
class Program:
    """What a network compiles to: its graph, its entries (further graphs over the same module tree), and what was said
    about it.

    parameters: the static parameters, as resolved. pretrained: where weights are published, by name. names: tables that
    rename the keys of published weights. trains: the `train` blocks of the file that name this network. findings: what
    came of the inductive biases that it and its blocks claim. game: its players, of an adversarial one. variant:
    makes the program that other values of some parameters give, as the phases of a `train` block have them.
    channels_last: images and filters keep the channels of a position side by side in memory.
    """

    name: str
    graph: Graph
    entries: dict[str, Graph] = field(default_factory=dict)
    doc: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    expects: list[tuple[ast.ExpectStmt, dict[str, Any]]] = field(default_factory=list)
    pretrained: dict[str, Published] = field(default_factory=dict)
    names: dict[str, KeyTable] = field(default_factory=dict)
    trains: list[ast.Train] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    game: Game | None = None
    variant: Callable[[Mapping[str, Any], Mapping[str, Span]], Program] | None = None
    channels_last: bool = False
    source_text: str = ""
    source_name: str = ""
    span: Span | None = None

    def input_nodes(self) -> list[int]:
        return [n for n in self.graph.inputs if self.graph[n].kind is Kind.INPUT]

    def data_nodes(self) -> list[int]:
        """The inputs that examples fill. One without axes is set by what runs the program: training fades it in."""
        return [n for n in self.input_nodes() if self.graph[n].types[0].rank]

    def target_nodes(self) -> list[int]:
        return [n for n in self.graph.inputs if self.graph[n].kind is Kind.TARGET]
