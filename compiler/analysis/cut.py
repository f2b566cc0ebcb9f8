"""How much of an example can reach a value: the minimum cut between the inputs and it, by elements.

A vertex is a value and weighs the elements that it holds for one example. The minimum vertex cut is the least number of
elements through which everything passes that the value knows of the inputs; by the max-flow min-cut theorem no fewer
separate the two (L. R. Ford and D. R. Fulkerson, "Maximal flow through a network", 1956). Weights and constants are no
way around, since they know nothing of the example.

A block is laid out once for each combination of sizes: one with a single input and a single output becomes one vertex
with the capacity of its own minimum cut, others keep those vertices that can be part of one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import networkx as nx

from ..graph import Graph, Kind, Program, Ref
from ..sizes import Dim, bounds, substitute
from ..source import Span
from .cost import nominal_sizes
from .labels import beneath, label
from .scans import steps

Sizes = Mapping[str, int | Dim]
_UNBOUNDED = 1 << 62
_SOURCE = -1
Vertex = int


@dataclass(frozen=True)
class Member:
    """A value of a cut: labels of the blocks it stands in and its own, how many elements it holds, which value of its
    graph it is, where it is made; `call`: where it stands in a block, the call that leads there."""

    path: str
    elements: int | Dim
    ref: Ref
    span: Span | None
    call: Span | None = None

    def __str__(self) -> str:
        held = f"{self.elements:,}" if isinstance(self.elements, int) else str(self.elements)
        return f"`{self.path}` ({held})"


@dataclass(frozen=True)
class Cut:
    """A minimum cut: how many elements pass, None when an open size decides it, and its members."""

    elements: int | None
    members: tuple[Member, ...]


def members_as_json(members: Iterable[Member]) -> list[dict[str, str | int]]:
    """A cut's members for programs; an open size as text."""
    return [
        {"path": m.path, "elements": m.elements if isinstance(m.elements, int) else str(m.elements)} for m in members
    ]


@dataclass(frozen=True)
class Detour:
    """A way around a narrow value: that value, and where the two meet again."""

    narrow: Member
    meets: Member


@dataclass(frozen=True)
class _Inside:
    """Members of a block's own cut, seen from where it is called; of a cell, as often as it takes steps."""

    path: str
    members: tuple[Member | _Inside, ...]
    call: Span | None
    times: int = 1


@dataclass
class _Layout:
    """A graph as a flow network. `flow` holds vertices with their `capacity` and `members`; `inputs` are those of the
    graph's inputs; `results` says where each output (or value asked for) went, None when it knows nothing of them."""

    flow: nx.DiGraph = field(default_factory=nx.DiGraph)
    inputs: list[Vertex] = field(default_factory=list)
    results: list[Vertex | None] = field(default_factory=list)

    def spare(self, capacity: int, before: Collection[Vertex]) -> Vertex | None:
        """The only vertex before one that holds no less: no cut needs this one too."""
        if len(before) != 1:
            return None
        (only,) = before
        return only if self.flow.nodes[only]["capacity"] <= capacity else None

    def vertex(self, capacity: int, members: tuple[Member | _Inside, ...], before: Collection[Vertex] = ()) -> Vertex:
        number = len(self.flow)
        self.flow.add_node(number, capacity=capacity, members=members)
        self.flow.add_edges_from((other, number) for other in before)
        return number


class Cutter:
    """Minimum cuts of graphs; each block is cut once for each combination of sizes that it is called with.

    least: count axes of open size by their least size in place of their largest."""

    def __init__(self, *, least: bool = False) -> None:
        self._least = least
        self._done: dict[tuple[int, tuple[tuple[str, int | Dim], ...]], tuple[Graph, _Layout]] = {}

    def cut(self, graph: Graph, ref: Ref, sizes: Sizes | None = None) -> Cut:
        """The minimum cut between a graph's inputs and one of its values. `sizes`: what the graph's symbols are; one
        example of the nominal size when left out."""
        sizes = nominal_sizes(graph) if sizes is None else sizes
        sources = [n for n in graph.inputs if graph[n].kind is Kind.INPUT]
        layout = self._lay_out(graph, [ref], sizes, sources)
        (goal,) = layout.results
        if goal is None:
            return Cut(0, ())
        capacity, members = _minimum(layout, goal)
        return Cut(capacity if capacity < _UNBOUNDED else None, tuple(_flat(members)))

    def detour(self, graph: Graph, ref: Ref, sizes: Sizes, most: int) -> Detour | None:
        """What leads to a value around the widest value before it that holds no more than `most` elements; None where
        no value on the way is so narrow."""
        layout = self._lay_out(graph, [ref], sizes, [n for n in graph.inputs if graph[n].kind is Kind.INPUT])
        (goal,) = layout.results
        flow = layout.flow
        narrow = [v for v in nx.ancestors(flow, goal) if flow.nodes[v]["capacity"] <= most] if goal is not None else []
        for vertex in sorted(narrow, key=lambda v: (-flow.nodes[v]["capacity"], v)):
            past = nx.descendants(flow, vertex)
            rest = nx.subgraph_view(flow, filter_node=lambda v, without=vertex: v != without)
            ways = (
                nx.multi_source_dijkstra_path(rest, set(layout.inputs) - {vertex}) if layout.inputs != [vertex] else {}
            )
            if goal in ways:
                met = next(v for v in ways[goal] if v in past)
                return Detour(*(next(iter(_flat(flow.nodes[v]["members"]))) for v in (vertex, met)))
        return None

    def _block(self, graph: Graph, sizes: Sizes) -> _Layout:
        key = id(graph.structure), tuple(sizes.items())
        if key not in self._done:
            goals = [graph.operands(output)[0] for output in graph.outputs]
            layout = self._lay_out(graph, goals, sizes, graph.inputs)
            if len(layout.inputs) == len(layout.results) == 1:
                layout = _narrowed(layout)
            else:
                _reduce(layout.flow, {*layout.inputs, *layout.results})
            self._done[key] = graph, layout
        return self._done[key][1]

    def _lay_out(self, graph: Graph, goals: Sequence[Ref], sizes: Sizes, sources: Sequence[int]) -> _Layout:
        layout = _Layout()
        names = {ref: name for name, ref in graph.values.items()}
        needed = graph.needed([goal.node for goal in goals])
        where: dict[Ref, Vertex] = {}
        known: dict[int | Dim, int | Dim] = {}

        def add(ref: Ref, before: Collection[Vertex] = ()) -> None:
            shape = [
                known.get(size) or known.setdefault(size, substitute(size, sizes)) for size in graph.type(ref).shape
            ]
            capacity = self._counted(shape)
            spare = layout.spare(capacity, before)
            if spare is None:
                member = Member(names.get(ref) or label(graph, ref.node), _product(shape), ref, graph[ref.node].span)
                spare = layout.vertex(capacity, (member,), before)
            where[ref] = spare

        for number in sources:
            add(Ref(number))
            layout.inputs.append(where[Ref(number)])
        for number in graph.order():
            node = graph[number]
            if number not in needed or node.kind in (Kind.INPUT, Kind.TARGET):
                continue
            operands = [where.get(ref) for ref in graph.operands(number)]
            before = {vertex for vertex in operands if vertex is not None}
            if node.graph is not None and node.scan is not None:
                results = self._scan(layout, graph, number, operands, sizes)
                where |= {Ref(number, i): vertex for i, vertex in enumerate(results) if vertex is not None}
            elif node.graph is not None:
                inner = self._block(node.graph, {name: substitute(size, sizes) for name, size in node.sizes})
                results = _copied(layout, inner, operands, (label(graph, number), node.span))
                where |= {Ref(number, i): vertex for i, vertex in enumerate(results) if vertex is not None}
            elif node.kind is Kind.OUTPUT and before:
                (where[Ref(number)],) = before
            elif before:
                for result in range(len(node.types)):
                    add(Ref(number, result), before)
        layout.results = [where.get(goal) for goal in goals]
        return layout

    def _scan(
        self, layout: _Layout, graph: Graph, number: int, operands: Sequence[Vertex | None], sizes: Sizes
    ) -> list[Vertex | None]:
        """Puts a cell in: its last step, through which final states come, and all its steps side by side, through which
        outputs come. Its states may know all that enters."""
        node, before = graph[number], {vertex for vertex in operands if vertex is not None}
        assert node.graph is not None
        inner = self._block(node.graph, {name: substitute(size, sizes) for name, size in node.sizes})
        length = self._counted([substitute(steps(graph, number), sizes)])
        place, first = (label(graph, number), node.span), len(node.graph.outputs) - len(node.graph.states)
        found: list[Vertex | None] = []
        for times, results in ((length, slice(0, first)), (1, slice(first, None))):
            fed = [_repeated(layout, inner, entry, place, times, before) for entry in inner.inputs]
            found += _copied(layout, inner, fed, place, times)[results]
        return found

    def _counted(self, shape: Sequence[int | Dim]) -> int:
        """By how much a tensor of this shape counts."""
        total = 1
        for size in shape:
            if isinstance(size, int):
                total *= size
            else:
                lo, hi = bounds(size)
                total *= int(max(lo, 0) if self._least else min(hi, _UNBOUNDED))
        return min(total, _UNBOUNDED)


def _product(shape: Sequence[int | Dim]) -> int | Dim:
    total: int | Dim = prod(size for size in shape if isinstance(size, int))
    for size in shape:
        total = total if isinstance(size, int) else size * total
    return total


def _copied(
    layout: _Layout,
    inner: _Layout,
    operands: Sequence[Vertex | None],
    place: tuple[str, Span | None],
    times: int = 1,
) -> list[Vertex | None]:
    """Puts a block's layout in where it is called (path and span), perhaps several `times` side by side. Returns where
    its results went."""
    where: dict[Vertex, Vertex | None] = dict(zip(inner.inputs, operands, strict=True))
    for vertex in inner.flow:  # in an order in which what comes before is there
        if vertex not in where:
            before = {where[v] for v in inner.flow.pred[vertex]} - {None}
            where[vertex] = _repeated(layout, inner, vertex, place, times, {v for v in before if v is not None})
    return [None if vertex is None else where[vertex] for vertex in inner.results]


def _repeated(
    layout: _Layout, inner: _Layout, vertex: Vertex, place: tuple[str, Span | None], times: int, before: set[Vertex]
) -> Vertex | None:
    """A vertex of a block's layout where it is called; None where nothing leads to it."""
    data = inner.flow.nodes[vertex]
    members = (_Inside(place[0], data["members"], place[1], times),)
    return layout.vertex(min(data["capacity"] * times, _UNBOUNDED), members, before) if before else None


def _narrowed(layout: _Layout) -> _Layout:
    """A block of one input and one output as a single vertex."""
    (entry,), (goal,) = layout.inputs, layout.results
    if goal is None or goal == entry:
        return layout
    capacity, members = _minimum(layout, goal)
    narrow = _Layout()
    narrow.inputs = [narrow.vertex(layout.flow.nodes[entry]["capacity"], layout.flow.nodes[entry]["members"])]
    narrow.results = [narrow.vertex(capacity, members, narrow.inputs)]
    return narrow


def _reduce(flow: nx.DiGraph, keep: set[Vertex | None]) -> None:
    """Leaves out vertices that no minimum cut needs: those that lead nowhere, and those that hold no less than the only
    one before them, or the only one after. Where two hold the same, the earlier one stays."""
    waiting = dict.fromkeys(sorted(flow))
    while waiting:
        vertex = next(iter(waiting))
        del waiting[vertex]
        if vertex in keep or vertex not in flow:
            continue
        before, after, capacity = list(flow.pred[vertex]), list(flow.succ[vertex]), flow.nodes[vertex]["capacity"]
        spare = not after or (len(before) == 1 and flow.nodes[before[0]]["capacity"] <= capacity)
        if not spare and len(after) == 1:
            shared = len(flow.pred[after[0]]) > 1
            spare = flow.nodes[after[0]]["capacity"] < capacity + shared
        if spare:
            flow.remove_node(vertex)
            flow.add_edges_from((u, v) for u in before for v in after)
            waiting |= dict.fromkeys(v for v in (*before, *after) if v in flow)


def _minimum(layout: _Layout, goal: Vertex) -> tuple[int, tuple[Member | _Inside, ...]]:
    """Capacity and members of the minimum cut between the inputs and a vertex; of several, that nearest the inputs."""
    flow: nx.DiGraph = layout.flow
    flow = flow.subgraph({goal, *nx.ancestors(flow, goal)}).copy()
    flow.add_node(_SOURCE, capacity=_UNBOUNDED * 2, members=())
    flow.add_edges_from((_SOURCE, entry) for entry in layout.inputs if entry in flow)
    _reduce(flow, {_SOURCE, goal})
    if list(flow.pred[goal]) == [_SOURCE]:
        return flow.nodes[goal]["capacity"], flow.nodes[goal]["members"]
    pipes = nx.DiGraph()
    for vertex, data in flow.nodes(data=True):
        pipes.add_edge((vertex, 0), (vertex, 1), capacity=data["capacity"])
    pipes.add_edges_from(((u, 1), (v, 0)) for u, v in flow.edges)
    residual = nx.algorithms.flow.preflow_push(pipes, (_SOURCE, 0), (goal, 1))
    open_ = nx.subgraph_view(residual, filter_edge=lambda u, v: residual[u][v]["flow"] < residual[u][v]["capacity"])
    reached = {(_SOURCE, 0), *nx.descendants(open_, (_SOURCE, 0))}
    cut = [vertex for vertex in sorted(flow) if (vertex, 0) in reached and (vertex, 1) not in reached]
    total = sum(flow.nodes[vertex]["capacity"] for vertex in cut)
    return min(total, _UNBOUNDED), tuple(m for vertex in cut for m in flow.nodes[vertex]["members"])


def _flat(
    members: Iterable[Member | _Inside], prefix: str = "", call: Span | None = None, times: int = 1
) -> Iterable[Member]:
    for member in members:
        path = beneath(prefix, member.path)
        if isinstance(member, _Inside):
            yield from _flat(member.members, path, call or member.call, times * member.times)
        else:
            yield replace(member, path=path, call=call, elements=member.elements * times)


def called_sizes(program: Program, graph: Graph) -> list[Sizes]:
    """What a graph's symbols are wherever a program uses it, or one that differs in plain numbers, for one example of
    the nominal size: each combination once. As nominal, where nothing calls it."""
    found: dict[tuple[tuple[str, int | Dim], ...], Sizes] = {}
    seen: set[tuple[int, tuple[tuple[str, int | Dim], ...]]] = set()
    tops = (program.graph, *program.entries.values())
    waiting: list[tuple[Graph, Sizes]] = [(top, nominal_sizes(top)) for top in tops]
    for here, sizes in waiting:  # grows as it goes
        structure, key = here.structure, tuple(sizes.items())
        if (id(structure), key) in seen:
            continue
        seen.add((id(structure), key))
        if structure is graph.structure:
            found[key] = sizes
        for number in here.nx.nodes:
            node = here[number]
            if node.graph is not None:
                waiting.append((node.graph, {name: substitute(size, sizes) for name, size in node.sizes}))
    return list(found.values()) or [nominal_sizes(graph)]
