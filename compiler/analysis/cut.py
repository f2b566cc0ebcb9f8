"""How much of an example can reach a value: the minimum cut between the inputs and it, by elements.

A vertex is a value and weighs the elements that it holds for one example. The minimum vertex cut is the least number of
elements through which everything passes that the value knows of the inputs; by the max-flow min-cut theorem no fewer
separate the two (L. R. Ford and D. R. Fulkerson, "Maximal flow through a network", 1956). Weights and constants are no
way around, since they know nothing of the example; neither are numbers that are given to a whole program.

A block is laid out once for each combination of sizes: one with a single input and a single output becomes one vertex
with the capacity of its own minimum cut, others keep those vertices that can be part of one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import networkx as nx

from ..graph import Graph, Kind, Node, Program, Ref
from ..sizes import Dim, bounds, substitute
from ..source import Span
from .cost import nominal_sizes
from .labels import beneath, label
from .scans import steps

Sizes = Mapping[str, int | Dim]
_UNBOUNDED = 1 << 62
_MOST_UNROLLED = 128  # vertices of a cell's steps that are laid out one by one
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
    times: int | Dim = 1


@dataclass(frozen=True)
class _Place:
    """Where a block is called, and how many copies of it stand side by side there: by how much they count, and the
    number to show."""

    path: str
    call: Span | None
    count: int = 1
    shown: int | Dim = 1

    def times(self, count: int, shown: int | Dim) -> _Place:
        return replace(self, count=min(count, _UNBOUNDED), shown=shown)


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


@dataclass
class _Unrolled:
    """A cell being put in where it is scanned, step by step."""

    layout: _Layout
    inner: _Layout
    node: Node
    operands: Sequence[Vertex | None]
    place: _Place

    def __post_init__(self) -> None:
        graph, scan = self.node.graph, self.node.scan
        assert graph is not None and scan is not None
        self.outputs = len(graph.outputs) - len(graph.states)
        self.entries = self.inner.inputs[: len(graph.inputs) - len(graph.states)]
        self.states = self.inner.inputs[len(self.entries) :]
        fed: dict[int | None, Vertex | None] = dict(zip(scan.entries, self.operands, strict=True))
        self.given = [fed.get(at) for at in range(len(self.inner.inputs))]
        self.masked, self.mask = scan.masked, fed.get(None)

    def all(self, count: int, begun: bool) -> list[Vertex | None]:
        """Every step. begun: do the states know their starts?"""
        held: list[Vertex | None] = self._starts(self.place) if begun else [None] * len(self.states)
        return self._stacked(*self._steps(count, self.place, held), count)

    def few(self, count: int, most: int) -> list[Vertex | None]:
        """A part of many steps, `most` in a row: each row knows nothing of what came before it."""
        nothing: list[Vertex | None] = [None] * len(self.states)
        rows = count // most - 1
        earlier = self._steps(most, self.place.times(rows, rows), nothing)[0] if rows else []
        found, last = self._steps(most, self.place, nothing)
        return self._stacked([*earlier, *found], last, count)

    def folded(self, count: int, shown: int | Dim) -> list[Vertex | None]:
        """Many steps as one, in which what is cut is cut at each; and another, the last, for the final states."""
        place = self.place.times(count, shown)
        held = [_repeated(self.layout, self.inner, state, place) for state in self.states]
        found, after = self._steps(1, place, held)
        begun = self.given[len(self.entries) :]
        for before in (begun, after):
            edges = zip(before, held, strict=True)
            self.layout.flow.add_edges_from((u, v) for u, v in edges if u is not None and u != v)
        once = [self._held(at, self.place, {state}) for at, state in enumerate(held)]
        return self._stacked(found, self._steps(1, self.place, once)[1], shown)

    def _starts(self, place: _Place) -> list[Vertex | None]:
        return [self._held(at, place, {start}) for at, start in enumerate(self.given[len(self.entries) :])]

    def _held(self, at: int, place: _Place, before: Collection[Vertex | None]) -> Vertex | None:
        """A state between two steps."""
        return _repeated(self.layout, self.inner, self.states[at], place, before)

    def _steps(
        self, count: int, place: _Place, held: list[Vertex | None]
    ) -> tuple[list[list[Vertex | None]], list[Vertex | None]]:
        """Some steps one after another: what each puts out, and the states that they end with."""
        found = []
        entries = list(zip(self.entries, self.given, strict=False))
        for _ in range(count):
            fed = [_repeated(self.layout, self.inner, entry, place, {given}) for entry, given in entries]
            results = _copied(self.layout, self.inner, [*fed, *held], place)
            found.append(results[: self.outputs])
            after = results[self.outputs :]
            if self.masked:
                held = [self._held(at, place, {new, held[at], self.mask}) for at, new in enumerate(after)]
            else:
                held = after
        return found, held

    def _stacked(
        self, steps: Sequence[Sequence[Vertex | None]], last: list[Vertex | None], shown: int | Dim
    ) -> list[Vertex | None]:
        """What a scan gives: each output at all steps, and the final states."""
        found: list[Vertex | None] = []
        for at in range(self.outputs):
            before = {vertex for vertex in (*(step[at] for step in steps), self.mask) if vertex is not None}
            result = self.inner.results[at]
            if len(before) < 2 or result is None:
                found.append(next(iter(before), None))
                continue
            members = self.inner.flow.nodes[result]["members"]
            inside = _Inside(self.place.path, members, self.place.call, shown)
            found.append(self.layout.vertex(_UNBOUNDED, (inside,), before))
        return [*found, *last]


class Cutter:
    """Minimum cuts of graphs; each block is cut once for each combination of sizes that it is called with.

    least: count axes of open size by their least size in place of their largest. fold: take all steps of a scan as
    one, whose vertices hold what they do at all."""

    def __init__(self, *, least: bool = False, fold: bool = False) -> None:
        self._least, self._fold = least, fold
        self._done: dict[tuple[int, tuple[tuple[str, int | Dim], ...]], tuple[Graph, _Layout]] = {}

    def cut(self, graph: Graph, ref: Ref, sizes: Sizes | None = None) -> Cut:
        """The minimum cut between the data of a graph and one of its values. `sizes`: what its symbols are; one
        example of the nominal size when left out."""
        sizes = nominal_sizes(graph) if sizes is None else sizes
        layout = self._lay_out(graph, [ref], sizes, graph.data_inputs)
        (goal,) = layout.results
        if goal is None:
            return Cut(0, ())
        capacity, members = _minimum(layout, goal)
        return Cut(capacity if capacity < _UNBOUNDED else None, tuple(_together(_flat(members))))

    def detour(self, graph: Graph, ref: Ref, sizes: Sizes, most: int) -> Detour | None:
        """What leads to a value around the widest value before it that holds no more than `most` elements; None where
        no value on the way is so narrow."""
        layout = Cutter(least=self._least, fold=True)._lay_out(graph, [ref], sizes, graph.data_inputs)
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
                results = _copied(layout, inner, operands, _Place(label(graph, number), node.span))
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
        """Puts a cell in: all its steps where they are few; else what no minimum cut of them exceeds, or, of the least,
        falls below."""
        node = graph[number]
        assert node.graph is not None and node.scan is not None
        inner = self._block(node.graph, {name: substitute(size, sizes) for name, size in node.sizes})
        length = substitute(steps(graph, number), sizes)
        unrolled = _Unrolled(layout, inner, node, operands, _Place(label(graph, number), node.span))
        count, most = self._counted([length]), max(1, _MOST_UNROLLED // len(inner.flow))
        if self._fold or (not self._least and (count > most or not isinstance(length, int))):
            return unrolled.folded(count, length)
        return unrolled.all(count, isinstance(length, int)) if count <= most else unrolled.few(count, most)

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


def _copied(layout: _Layout, inner: _Layout, operands: Sequence[Vertex | None], place: _Place) -> list[Vertex | None]:
    """Puts a block's layout in where it is called. Returns where its results went."""
    where: dict[Vertex, Vertex | None] = dict(zip(inner.inputs, operands, strict=True))
    fed = [entry for entry, operand in where.items() if operand is not None]
    live = {vertex for entry in fed for vertex in nx.descendants(inner.flow, entry)}
    new = [vertex for vertex in inner.flow if vertex in live and vertex not in where]
    for vertex in new:
        where[vertex] = _repeated(layout, inner, vertex, place)
    for vertex in new:
        before = (where.get(other) for other in inner.flow.pred[vertex])
        layout.flow.add_edges_from((other, where[vertex]) for other in before if other is not None)
    return [None if vertex is None else where.get(vertex) for vertex in inner.results]


def _repeated(
    layout: _Layout, inner: _Layout, vertex: Vertex, place: _Place, before: Collection[Vertex | None] | None = None
) -> Vertex | None:
    """A vertex of a block's layout where it is called; None where nothing leads to it, of what is said to."""
    data = inner.flow.nodes[vertex]
    leading = {other for other in before or () if other is not None}
    if before is not None and not leading:
        return None
    members = (_Inside(place.path, data["members"], place.call, place.shown),)
    return layout.vertex(min(data["capacity"] * place.count, _UNBOUNDED), members, leading)


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
            flow.add_edges_from((u, v) for u in before for v in after if u != v)
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
    members: Iterable[Member | _Inside], prefix: str = "", call: Span | None = None, times: int | Dim = 1
) -> Iterable[Member]:
    for member in members:
        path = beneath(prefix, member.path)
        if isinstance(member, _Inside):
            yield from _flat(member.members, path, call or member.call, times * member.times)
        else:
            yield replace(member, path=path, call=call, elements=member.elements * times)


def _together(members: Iterable[Member]) -> Iterable[Member]:
    """A value that is cut at several steps of a scan once, with all its elements."""
    found: dict[tuple[str, Ref], Member] = {}
    for member in members:
        key = member.path, member.ref
        held = found[key].elements + member.elements if key in found else member.elements
        found[key] = replace(member, elements=held)
    return found.values()


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
