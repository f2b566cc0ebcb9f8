"""What a program costs: parameters, buffers, operations, memory, depth.

A graph is summarised once and a call substitutes what the callee's symbols are there, so the work grows with the number
of different graphs.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ..graph import Graph, Instance, Kind, Layer, Node, Program, Ref
from ..ops.base import Glyph, Op, WeightSpec
from ..sizes import Dim, SizeLimit, substitute
from ..types import TensorType
from .scans import entering, steps

Amount = int | Dim
Tables = list[dict[int | None, int]]  # of each result, how deep it lies below each input
BYTES = {"float": 4, "int": 8, "bool": 1}


@dataclass(frozen=True)
class Owned:
    """What an instance of a graph owns. parameters and buffers in elements; layers: those with a weight matrix."""

    parameters: int = 0
    buffers: int = 0
    layers: int = 0

    def __add__(self, other: Owned) -> Owned:
        return Owned(self.parameters + other.parameters, self.buffers + other.buffers, self.layers + other.layers)

    def __mul__(self, times: int) -> Owned:
        return Owned(self.parameters * times, self.buffers * times, self.layers * times)


class Cost:
    """What a program's main graph costs (parameters: its entries' too), each figure counted when it is asked for.
    Symbolic amounts are polynomials over the sizes that the caller chooses, None when they are too long to write down.

    parameters: trained elements of all that outputs and entries use (of a game, of all players); loss_parameters: of
    what only losses reach.
    flops: of one forward pass, two a multiply-add, products and convolutions only, as torch.utils.flop_counter counts.
    memory: bytes of every result of every op (float32), as training keeps them. A scan costs what its cell does, at
    each step; its parameters count once.
    depth: weight layers on the longest path from input to output, a cell at one step. layers: weight layers in all. A
    weight layer owns or is given a matrix, a kernel or a table; norms are none.
    """

    def __init__(self, program: Program | Graph) -> None:
        self._program = program if isinstance(program, Program) else None
        self._graph = program.graph if isinstance(program, Program) else program
        self._counter = Counter()

    @cached_property
    def _owned(self) -> Owned:
        return self._counter.owned(self._graph)

    @cached_property
    def _lost(self) -> Owned:
        if self._program is None or self._program.game is not None:
            return Owned()
        return self._counter.only_for_losses(self._program)

    @cached_property
    def _roots(self) -> set[int]:
        return _roots(self._graph)

    @property
    def parameters(self) -> int:
        return self._owned.parameters - self._lost.parameters

    @property
    def loss_parameters(self) -> int:
        return self._lost.parameters

    @property
    def buffers(self) -> int:
        return self._owned.buffers - self._lost.buffers

    @property
    def layers(self) -> int:
        return self._owned.layers - self._lost.layers

    @cached_property
    def flops(self) -> Amount | None:
        return self._counter.flops(self._graph, self._roots)

    @cached_property
    def memory(self) -> Amount | None:
        return self._counter.memory(self._graph, self._roots)

    @cached_property
    def depth(self) -> int:
        return self._counter.depth(self._graph)

    @property
    def macs(self) -> Amount | None:
        return None if self.flops is None else self.flops // 2


def cost(program: Program | Graph) -> Cost:
    """The cost of a program."""
    return Cost(program)


def nominal_sizes(graph: Graph) -> dict[str, int]:
    """What symbols stand for in displays and contracts: the nominal sizes, and a batch of one."""
    return {"B": 1, **graph.nominal}


def at_nominal(amount: Amount, graph: Graph) -> Amount:
    """An amount for one example of the nominal size; symbolic where a size has no nominal value."""
    return substitute(amount, nominal_sizes(graph))


def _roots(graph: Graph) -> set[int]:
    """The nodes of a forward pass: those that the outputs need, or all where there are none (a game)."""
    return graph.needed(graph.outputs) if graph.outputs else set(graph.nx.nodes)


def is_weight_layer(op: Op, specs: tuple[WeightSpec, ...]) -> bool:
    """Does the op multiply by a matrix, a kernel or a table of trained numbers?"""
    return op.glyph is not Glyph.NORM and any(s.role == "param" and len(s.shape) >= 2 for s in specs)


class Counter:
    """Counts with a memory of the graphs already counted."""

    def __init__(self) -> None:
        self._graphs: dict[int, Graph] = {}  # by structure: graphs that differ in plain numbers cost the same
        self._owned: dict[int, Owned] = {}
        self._amounts: dict[tuple[int, str], Amount | None] = {}
        self._calls: dict[tuple[int, str, tuple[tuple[str, Amount], ...]], Amount | None] = {}
        self._depths: dict[int, Tables] = {}
        self._weight_layers: dict[tuple[Op, tuple[TensorType, ...]], bool] = {}

    def _key(self, graph: Graph) -> int:
        """What graphs that cost the same have in common."""
        key = id(graph.structure)
        self._graphs.setdefault(key, graph)  # alive as long as its key is in use
        return key

    def owned(self, graph: Graph) -> Owned:
        """What an instance of the graph owns, blocks included."""
        key = self._key(graph)
        if key not in self._owned:
            specs = list(graph.weights.values())
            layers = 0
            blocks: Tally[int] = Tally()
            for module in graph.modules.values():
                if isinstance(module, Instance):
                    blocks[self._key(module.graph)] += 1
                else:
                    specs += module.made
                    layers += self._is_weight_layer(module.op, module.inputs)
            total = _specs(specs, layers)
            for block, times in blocks.items():
                total += self.owned(self._graphs[block]) * times
            self._owned[key] = total
        return self._owned[key]

    def module(self, module: Layer | Instance) -> Owned:
        """What a layer or block owns."""
        if isinstance(module, Instance):
            return self.owned(module.graph)
        return _specs(module.made, int(self._is_weight_layer(module.op, module.inputs)))

    def _is_weight_layer(self, op: Op, inputs: tuple[TensorType, ...]) -> bool:
        if op.glyph is Glyph.NORM:
            return False
        known = self._weight_layers.get((op, inputs))
        if known is None:
            known = self._weight_layers[op, inputs] = is_weight_layer(op, op.weights(inputs))
        return known

    def only_for_losses(self, program: Program) -> Owned:
        """What losses use and neither outputs nor entries do: auxiliary heads."""
        graph = program.graph
        if not graph.outputs or not graph.losses:
            return Owned()
        needed = graph.needed(graph.outputs)
        if not any(graph[n].module or graph[n].weight for n in graph.nx.nodes if n not in needed):
            return Owned()
        used = _used_paths(graph, needed)
        for entry in program.entries.values():
            used |= _used_paths(entry, set(entry.nx.nodes))
        lost = _used_paths(graph, set(graph.nx.nodes)) - used
        total = Owned()
        for path in sorted(lost):
            if any(path.startswith(f"{other}.") for other in used | lost):
                continue  # counted with the module that it lies in
            if any(other.startswith(f"{path}.") for other in used):
                continue  # a module of which a part is used otherwise
            module, spec = graph.module_at(path), graph.weight_at(path)
            total += self.module(module) if module is not None else _specs((spec,)) if spec is not None else Owned()
        return total

    def flops(self, graph: Graph, nodes: set[int] | None = None) -> Amount | None:
        """Floating-point operations of a forward pass; None when the polynomial is too long."""
        return self._amount(graph, "flops", nodes)

    def memory(self, graph: Graph, nodes: set[int] | None = None) -> Amount | None:
        """Bytes of all results; None when the polynomial is too long."""
        return self._amount(graph, "memory", nodes)

    def _amount(self, graph: Graph, what: str, nodes: set[int] | None = None) -> Amount | None:
        key = (self._key(graph), what)
        if nodes is not None or key not in self._amounts:
            try:
                total = self._sum(graph, what, nodes)
            except SizeLimit:
                total = None
            if nodes is not None:
                return total
            self._amounts[key] = total
        return self._amounts[key]

    def _sum(self, graph: Graph, what: str, nodes: set[int] | None) -> Amount | None:
        total: Amount = 0
        for number, times in _different(graph, nodes):
            one = self.node(graph, number, what)
            if one is None:
                return None
            total = total + one * times
        return total

    def node(self, graph: Graph, number: int, what: str) -> Amount | None:
        """One node's share of `flops` or `memory`, in the graph's own symbols."""
        node = graph[number]
        if node.kind in (Kind.CALL, Kind.SCAN):
            once = self._call(node, what)
            if node.kind is Kind.CALL or once is None:
                return once
            try:
                return once * steps(graph, number)
            except SizeLimit:
                return None
        if node.kind is not Kind.OP:
            return 0
        if what == "memory":
            return sum((size_in_bytes(t) for t in node.types), start=0)
        assert node.op is not None
        return node.op.flops(graph.operand_types(number), node.types)

    def _call(self, node: Node, what: str) -> Amount | None:
        """What its graph costs a CALL node, or a SCAN node at each step."""
        assert node.graph is not None
        key = (self._key(node.graph), what, node.sizes)
        if key not in self._calls:
            inner = self._amount(node.graph, what)
            self._calls[key] = None if inner is None else substitute(inner, dict(node.sizes))
        return self._calls[key]

    def depth(self, graph: Graph) -> int:
        """Weight layers on the longest path to an output (to anywhere, when the graph has no outputs)."""
        found: dict[Ref, int] = {}
        for number in graph.order():
            node = graph[number]
            before = [found[ref] for ref in graph.operands(number)]
            if node.graph is not None:
                for i, table in enumerate(self._result_depths(graph, number)):
                    found[Ref(number, i)] = max(
                        (by + (0 if at is None else before[at]) for at, by in table.items()), default=0
                    )
            else:
                deepest = max(before, default=0) + int(self._runs_weight_layer(graph, number, node))
                for i in range(max(1, len(node.types))):
                    found[Ref(number, i)] = deepest
        ends = [found[Ref(output)] for output in graph.outputs] if graph.outputs else found.values()
        return max(ends, default=0)

    def _result_depths(self, graph: Graph, number: int) -> Tables:
        """For each result of a CALL or SCAN node: how deep it lies below each operand. A cell counts once, as the
        literature has it: the depth of a recurrent network is that of one step."""
        node = graph[number]
        assert node.graph is not None
        tables = self._output_depths(node.graph)
        if node.kind is Kind.CALL:
            return tables
        given = entering(graph, number)
        found = _over_steps(tables, node.graph)
        return [_deepest({None if at is None else given[at]: by} for at, by in table.items()) for table in found]

    def _output_depths(self, graph: Graph) -> Tables:
        """For each output: how deep it lies below each input (None: below what the graph makes itself)."""
        key = self._key(graph)
        if key not in self._depths:
            found = self._all_depths(graph)
            self._depths[key] = [found[Ref(output)] for output in graph.outputs]
        return self._depths[key]

    def _all_depths(self, graph: Graph) -> dict[Ref, dict[int | None, int]]:
        found: dict[Ref, dict[int | None, int]] = {}
        for number in graph.order():
            node = graph[number]
            before = [found[ref] for ref in graph.operands(number)]
            if node.kind in (Kind.INPUT, Kind.TARGET):
                found[Ref(number)] = {graph.inputs.index(number): 0}
            elif node.graph is not None:
                for i, table in enumerate(self._result_depths(graph, number)):
                    found[Ref(number, i)] = _deepest(
                        _deeper(before[at], by) if at is not None else {None: by} for at, by in table.items()
                    )
            else:
                own = int(self._runs_weight_layer(graph, number, node))
                table = _deepest(_deeper(b, own) for b in before) or {None: own}
                for i in range(max(1, len(node.types))):
                    found[Ref(number, i)] = table
        return found

    def _runs_weight_layer(self, graph: Graph, number: int, node: Node) -> bool:
        if node.kind is not Kind.OP or node.op is None:
            return False
        return self._is_weight_layer(node.op, graph.operand_types(number))


def _different(graph: Graph, nodes: set[int] | None) -> list[tuple[int, int]]:
    """Nodes that cost differently, each with how many are like it: equal calls cost the same."""
    first: dict[object, int] = {}
    times: Tally[object] = Tally()
    for number in graph:
        if nodes is None or number in nodes:
            node = graph[number]
            callee = node.graph if node.kind is Kind.CALL else None  # scans of different lengths cost differently
            kind = (id(callee.structure), node.sizes) if callee is not None else number
            times[kind] += 1
            first.setdefault(kind, number)
    return [(number, times[kind]) for kind, number in first.items()]


def _over_steps(tables: Tables, cell: Graph) -> Tables:
    """The depths of a cell's results below its inputs, also below those that a result only sees at a later step: of the
    steps that see an input, the first counts."""
    first, following = len(cell.inputs) - len(cell.states), tables[len(tables) - len(cell.states) :]
    found = []
    for table in tables:
        whole, new = dict(table), table
        while states := [(at, by) for at, by in new.items() if at is not None and at >= first]:
            before = _deepest(_deeper(following[at - first], by) for at, by in states)
            new = {at: by for at, by in before.items() if at not in whole}
            whole |= new
        found.append(whole)
    return found


def _deeper(table: Mapping[int | None, int], by: int) -> dict[int | None, int]:
    return {source: depth + by for source, depth in table.items()}


def _deepest(tables: Iterable[Mapping[int | None, int]]) -> dict[int | None, int]:
    result: dict[int | None, int] = {}
    for table in tables:
        for source, depth in table.items():
            result[source] = max(depth, result.get(source, 0))
    return result


def layer_inputs(graph: Graph, number: int) -> tuple[TensorType, ...]:
    """The types of an op's operands, without those that replace weights."""
    return graph.operand_types(number)


def size_in_bytes(t: TensorType) -> Amount:
    """Bytes that a tensor takes: float32, int64, bool of one byte."""
    return t.elements * BYTES[t.dtype]


def _specs(specs: Iterable[WeightSpec], layers: int = 0) -> Owned:
    amounts = {"param": 0, "buffer": 0, "scratch": 0}
    for spec in specs:
        amounts[spec.role] += spec.elements
    return Owned(amounts["param"], amounts["buffer"], layers)


def _used_paths(graph: Graph, nodes: set[int]) -> set[str]:
    used: set[str] = set()
    for number in nodes:
        node = graph[number]
        used |= {path for path in (node.module, node.weight) if path is not None}
        used |= {path for _, path in node.bindings}
    return used


def peak_memory(graph: Graph, sizes: Mapping[str, int]) -> int | None:
    """Bytes of activations that inference holds at once at most: nodes run in the graph's order, each value is freed
    after its last use, inputs count. None when a symbol is not among `sizes`."""
    try:
        return _peak(graph, sizes, {})
    except _UnknownSize:
        return None


class _UnknownSize(Exception):
    pass


_HELD = frozenset({Kind.OP, Kind.CALL, Kind.SCAN, Kind.INPUT})


def _peak(graph: Graph, sizes: Mapping[str, Amount], memo: dict[tuple, int]) -> int:
    key = (id(graph), tuple(sorted((name, str(size)) for name, size in sizes.items())))
    if key in memo:
        return memo[key]

    def size_of(ref: Ref) -> int:
        size = substitute(size_in_bytes(graph.type(ref)), sizes)
        if isinstance(size, Dim):
            raise _UnknownSize
        return size

    roots = _roots(graph)
    order = [number for number in graph.order() if number in roots]
    last = {ref: number for number in order for ref in graph.operands(number)}
    kept = {ref for output in graph.outputs for ref in graph.operands(output)}
    now = most = 0
    for number in order:
        node, inside = graph[number], 0
        operands = sorted(set(graph.operands(number)))
        results = sum(size_of(Ref(number, i)) for i in range(len(node.types))) if node.kind in _HELD else 0
        if node.graph is not None:
            inner = {name: substitute(size, sizes) for name, size in node.sizes}
            inside = _peak(node.graph, inner, memo)
            if node.kind is Kind.CALL:
                inside -= sum(size_of(ref) for ref in operands)  # inputs are held here already
            else:
                inside += results  # made step by step
        most = max(most, now + inside)
        now += results
        most = max(most, now)
        for ref in operands:
            if last[ref] == number and ref not in kept and graph[ref.node].kind in _HELD:
                now -= size_of(ref)
    memo[key] = most
    return most
