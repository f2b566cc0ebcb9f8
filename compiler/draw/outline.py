"""From a graph to a figure: what is opened, what is folded, what is drawn once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ..analysis.cost import cost
from ..graph import Graph, Kind, Program, Ref
from ..ops.arithmetic import Scalar
from ..sizes import Dim, substitute
from . import cells, words
from .cells import stronger
from .figure import Figure, Group, Item, Link, Shape, Stripe
from .items import callee_title, details, level_parameters, look, parameters
from .levels import level_frames, local_name, mangled, thin_levels, within
from .repeats import Repeat, find_repeats
from .scope import End, Loop, Scope, TooLarge
from .style import Extra
from .unrolled import Unrolled


def outline(
    program: Program,
    graph: Graph,
    depth: int,
    parameters: bool,
    most: int,
    *,
    repeats: dict[int, list[Repeat]] | None = None,
    unroll: int | None = None,
) -> Figure:
    """The figure of one entry of a program, with so many levels and blocks opened. `repeats` keeps what was found for
    further depths. unroll: how many steps of scans stand side by side; None draws their cells once. Raises TooLarge."""
    return drawn(program, graph, depth, parameters, most, repeats=repeats, unroll=unroll).figure


def drawn(
    program: Program,
    graph: Graph,
    depth: int,
    parameters: bool,
    most: int,
    *,
    repeats: dict[int, list[Repeat]] | None = None,
    unroll: int | None = None,
) -> Builder:
    """As `outline`, with what was left closed."""
    figure = Figure(words.clean(program.name), _subtitle(program, graph))
    figure.groups["root"] = Group("root", figure.title, "root", None)
    builder = Builder(figure, parameters, most, _silent(graph), {} if repeats is None else repeats)
    builder.unroll = unroll
    builder.narrow = _narrow(program, graph)
    builder.draw(graph, "", graph.nominal, depth=depth, home="root", given=None)
    return builder


def _subtitle(program: Program, graph: Graph) -> str:
    owned = cost(program)
    parts = [f"{words.count_text(owned.parameters)} parameter{'s' * (owned.parameters != 1)}"]
    if owned.loss_parameters:
        parts[0] += f" and {words.count_text(owned.loss_parameters)} in training"
    for number in graph.inputs:
        node = graph[number]
        if node.kind is Kind.INPUT:
            parts.append(f"{words.clean(node.name, 30)} {words.shape_text(node.types[0].substitute(graph.nominal))}")
    return words.clean(" · ".join(parts), 160)


def _narrow(program: Program, graph: Graph) -> dict[int, str]:
    """What to write beside the nodes of the graph's own body that a proved bottleneck consists of."""
    claimed = [f.ref for f in program.findings if f.claim.name == "bottleneck" and f.graph == graph.name]
    if not claimed or graph is not program.graph:
        return {}
    from ..analysis.cut import Cutter

    cutter = Cutter()
    members = [m for ref in claimed if ref is not None for m in cutter.cut(graph, ref).members if m.call is None]
    return {m.ref.node: f"bottleneck, {m.elements} elements" for m in members}


def _silent(graph: Graph) -> dict[str, frozenset[str]]:
    """Of each block, the arguments that are the same wherever it stands (all of them, where it stands once)."""
    seen: dict[str, dict[str, set[str]]] = {}
    for callee in graph.graphs():
        for name, value in callee.arguments.items():
            seen.setdefault(callee.name, {}).setdefault(name, set()).add(words.value_text(value))
    return {name: frozenset(a for a, v in by.items() if len(v) == 1) for name, by in seen.items()}


@dataclass
class Builder:
    figure: Figure
    parameters: bool
    most: int
    silent: dict[str, frozenset[str]]
    repeats: dict[int, list[Repeat]]
    links: set[tuple[str, str]] = field(default_factory=set)
    closed: list[tuple[Scope, int | str]] = field(default_factory=list)  # blocks by node, levels by name
    narrow: dict[int, str] = field(default_factory=dict)  # notes of the nodes of a bottleneck, in the outermost graph
    unroll: int | None = None
    beside: list[tuple[Scope, int, int]] = field(default_factory=list)  # unrolled cells that a depth opens, so deep

    def draw(
        self,
        graph: Graph,
        prefix: str,
        sizes: Mapping[str, int | Dim],
        *,
        depth: int,
        home: str,
        given: list[End] | None,
        loop: Loop | None = None,
    ) -> list[End]:
        """Draws the nodes of one graph; returns where its outputs come from. `given` stand for its inputs, None at the
        top; `home` is the group it stands in, `prefix` what its ids start with, `loop` how a scanned cell is drawn."""
        entering = None if given is None else dict(zip(graph.inputs, given, strict=True))
        thin = thin_levels(graph)
        scope = Scope(graph, prefix, sizes, depth, home, entering, levels=level_frames(graph, thin), loop=loop)
        scope.thin = {numbers[0]: local_name(level, scope.levels[level]) for level, numbers in thin.items()}
        scope.uses = Counter(node.module for n in graph.nx.nodes if (node := graph[n]).module is not None)
        if given is None:
            scope.aside = set(graph.nx.nodes) - graph.needed([*graph.outputs, *graph.inputs])
        self.nodes(scope)
        return [scope.ends[Ref(number)] for number in graph.outputs] if given is not None else []

    def nodes(self, scope: Scope, members: Collection[int] | None = None) -> None:
        """Draws the nodes of a graph, or some that stand in a row; what is repeated once."""
        graph = scope.graph
        if id(graph) not in self.repeats:
            self.repeats[id(graph)] = find_repeats(graph)
        order = [n for n in graph.order() if members is None or n in members]
        starts = {number: i for i, number in enumerate(graph.order())}
        runs = {repeat.start: repeat for repeat in self.repeats[id(graph)]}
        position = 0
        while position < len(order):
            run = runs.get(starts[order[position]])
            if run is None or len(order) < position + run.length * run.times:
                self.node(scope, order[position])
                position += 1
                continue
            self._run(scope, run, order[position : position + run.length * run.times])
            position += run.length * run.times

    def _run(self, scope: Scope, run: Repeat, repeated: list[int]) -> None:
        """Draws what is repeated, once."""
        unit = repeated[: run.length]
        frame = self._frame(scope, run, unit)
        outside = self._fork(scope, unit, frame)
        for number in unit:
            self.node(scope, number, run, frame)
        scope.ends.update(outside)
        for offset, copy in enumerate(repeated[run.length :]):
            for result, type_ in enumerate(scope.graph[copy].types):
                end = scope.ends[Ref(unit[offset % run.length], result)]
                type_ = type_.substitute(scope.sizes) if run.loose else end.type
                scope.ends[Ref(copy, result)] = end._replace(type=type_)
        if run.loose:
            self._spread(scope, unit, repeated[-run.length :])

    def _spread(self, scope: Scope, first: list[int], last: list[int]) -> None:
        """What is drawn once of runs that differ in sizes says what the first and the last have."""
        for number, other in zip(first, last, strict=True):
            if isinstance(scope.graph[number].op, Scalar):
                scope.numbers[other] = words.value_text(scope.graph[other].op.value)  # type: ignore[union-attr]
            item = self.figure.items.get(f"n{scope.prefix}{number}")
            if item is not None:
                _, stripe = self._look(scope, other)
                before = item.stripes[0]
                texts = [words.spread(a, b) for a, b in ((before.text, stripe.text), (before.name, stripe.name))]
                item.stripes = [replace(before, text=texts[0], name=texts[1])]
                item.spread = True

    def _frame(self, scope: Scope, run: Repeat, unit: list[int]) -> tuple[str, int] | None:
        """An unnamed frame for a run that is neither one block nor one level: its id, and how many levels lie outside
        it."""
        if run.length == 1 or run.level is not None:
            return None
        outside = min((scope.levels[scope.graph[n].level] for n in unit), key=len)
        if len(outside) > scope.depth:
            return None
        parent = self._open_levels(scope, outside)
        name = f"r{scope.prefix}{unit[0]}"
        self.figure.groups[name] = Group(name, "", "repeat", parent, run.times)
        return name, len(outside)

    def _fork(self, scope: Scope, unit: list[int], frame: tuple[str, int] | None) -> dict[Ref, End]:
        """What enters an unnamed frame to go several ways gets a dot inside; returns the ends to restore after."""
        if frame is None:
            return {}
        inside = set(unit)
        entering = Counter(ref for number in unit for ref in scope.graph.operands(number) if ref.node not in inside)
        outside = {}
        for ref, times in entering.items():
            if times > 1 and scope.ends[ref].item:
                outside[ref] = scope.ends[ref]
                scope.ends[ref] = self._point(
                    f"p{scope.prefix}{unit[0]}_{ref.node}_{ref.result}", frame[0], scope.ends[ref]
                )
        return outside

    def _point(self, name: str, home: str, end: End) -> End:
        self.add(Item(name, Shape.POINT, [Stripe(Extra.INPUT, "")], home))
        self.figure.links.append(Link(end.item, name, end.kind, end.type, end.name, end.sub))
        return End(name, end.type)

    def _open_levels(
        self, scope: Scope, frames: list[str], parent: str | None = None, times: dict[str, int] | None = None
    ) -> str:
        """The group of a level, made with those around it where it is new."""
        parent = scope.home if parent is None else parent
        for frame in frames:
            name = f"g{scope.prefix}{mangled(frame)}"
            if name not in self.figure.groups:
                title = words.clean(local_name(frame, frames), 40)
                self.figure.groups[name] = Group(name, title, "level", parent, (times or {}).get(frame, 1))
            parent = name
        return parent

    def node(
        self,
        scope: Scope,
        number: int,
        run: Repeat | None = None,
        frame: tuple[str, int] | None = None,
    ) -> None:
        graph, node = scope.graph, scope.graph[number]
        if cells.terminal(self, scope, number) or cells.joined_before(self, scope, number):
            return
        if scope.given is not None and node.kind in (Kind.INPUT, Kind.TARGET):
            scope.ends[Ref(number)] = self._entry(scope, number, scope.given[number])
            return
        operands = [scope.ends[ref] for ref in graph.operands(number)]
        if scope.given is not None and node.kind is Kind.OUTPUT:
            scope.ends[Ref(number)] = operands[0]
            return
        if isinstance(node.op, Scalar):
            scope.numbers[number] = words.value_text(node.op.value)
            scope.ends[Ref(number)] = End("", node.types[0])
            return
        frames = scope.levels[node.level]
        times = {run.level: run.times} if run is not None and run.level is not None else {}
        call_times = run.times if run is not None and run.length == 1 else 1
        if len(frames) > scope.depth:
            folded = self._folded(scope, frames, times)
            self._link(scope, number, folded, operands)
            self._publish(scope, number, folded)
            return
        if frame is None:
            home = self._open_levels(scope, frames, times=times)
        else:
            home = self._open_levels(scope, frames[frame[1] :], frame[0])
        left = scope.depth - len(frames)
        if node.scan is not None and self.unroll is not None and call_times == 1:
            self.closed.append((scope, number))
            self.beside += [(scope, number, left - 1)] if left else []
            Unrolled(self, scope, number, operands, home).draw()
            return
        if node.graph is not None and left > 0:
            inside = cells.opened if node.scan is not None else Builder._call
            inside(self, scope, number, operands, home=home, depth=left - 1, times=call_times)
            return
        if node.graph is not None:
            self.closed.append((scope, number))
        item = self._item(scope, number, home)
        item.times = call_times
        self._link(scope, number, item.id, operands)
        if node.scan is not None:
            cells.self_loop(self, scope, number, item.id, home)
        self._publish(scope, number, item.id)

    def _publish(self, scope: Scope, number: int, item: str) -> None:
        for result in range(len(scope.graph[number].types)):
            scope.ends[Ref(number, result)] = cells.result_end(scope, number, result, item)

    def _entry(self, scope: Scope, number: int, end: End) -> End:
        """An input of an opened block: a small dot where it goes several ways."""
        if len(scope.graph.users(number)) < 2 or not end.item:
            return end
        return self._point(f"n{scope.prefix}{number}", scope.home, end)

    def _call(self, scope: Scope, number: int, operands: list[End], *, home: str, depth: int, times: int) -> None:
        node = scope.graph[number]
        assert node.graph is not None
        name = f"b{scope.prefix}{number}"
        title = callee_title(scope.graph, number, self.silent)
        self.figure.groups[name] = Group(name, title, "block", home, times)
        sizes = {symbol: substitute(size, scope.sizes) for symbol, size in node.sizes}
        kinds = scope.graph.operand_kinds(number)
        ends = [end._replace(kind=stronger(kind, end.kind)) for end, kind in zip(operands, kinds, strict=True)]
        results = self.draw(node.graph, f"{scope.prefix}{number}_", sizes, depth=depth, home=name, given=ends)
        for i, end in enumerate(results):
            named = cells.result_end(scope, number, i, end.item)
            scope.ends[Ref(number, i)] = end._replace(name=named.name, sub=named.sub)

    def add(self, item: Item) -> Item:
        if len(self.figure.items) >= self.most:
            raise TooLarge
        self.figure.items[item.id] = item
        return item

    def _link(self, scope: Scope, number: int, target: str, operands: list[End]) -> None:
        """Draws the edges into a node. A closed box takes what comes from one place along one edge: where data enters
        it, a skip around what it holds is not drawn beside that."""
        closed = self.figure.items[target].role is Extra.LEVEL
        starts = cells.start_names(scope.graph, number)
        for i, (end, kind) in enumerate(zip(operands, scope.graph.operand_kinds(number), strict=True)):
            name, sub = (end.name, end.sub) if end.name else starts.get(i, ("", ""))
            link = Link(end.item, target, stronger(kind, end.kind), end.type, words.clean(name, 40), sub)
            if not end.item or end.item == target or (closed and (end.item, target) in self.links):
                continue
            self.links.add((end.item, target))
            self.figure.links.append(link)

    def _folded(self, scope: Scope, frames: list[str], times: dict[str, int]) -> str:
        """The box of a level that stays closed."""
        level = frames[scope.depth]
        name = f"l{scope.prefix}{mangled(level)}"
        if name not in self.figure.items:
            self.closed.append((scope, level))
            home = self._open_levels(scope, frames[: scope.depth])
            inside = [node for n in scope.graph.nx.nodes if within((node := scope.graph[n]).level, level)]
            count = level_parameters(scope.graph, inside)
            blocks = Counter(n.graph.name for n in inside if n.graph is not None)
            layers = Counter(n.op.name for n in inside if n.op is not None and n.module is not None)
            holds = blocks or layers
            text = ", ".join(f"{kind} ×{many}" if many > 1 else kind for kind, many in list(holds.items())[:3])
            note = words.count_text(count) if self.parameters and count else ""
            stripe = Stripe(Extra.LEVEL, words.clean(text, 44), words.clean(local_name(level, frames), 40), note)
            details = [("holds", f"{len(inside)} nodes"), ("parameters", f"{count:,}")]
            item = Item(name, Shape.BOX, [stripe], home, times.get(level, 1), details=details)
            self.add(item)
        return name

    def _look(self, scope: Scope, number: int) -> tuple[Shape, Stripe]:
        graph = scope.graph
        refs = list(enumerate(graph.operands(number)))
        inputs = tuple(graph.type(ref).substitute(scope.sizes) for _, ref in refs)
        numbers = {i: scope.numbers[ref.node] for i, ref in refs if ref.node in scope.numbers}
        return look(graph, number, inputs, numbers, self.silent)

    def _item(self, scope: Scope, number: int, home: str) -> Item:
        graph, node = scope.graph, scope.graph[number]
        inputs = tuple(graph.type(ref).substitute(scope.sizes) for ref in graph.operands(number))
        shape, stripe = self._look(scope, number)
        if number in scope.thin:
            stripe = replace(stripe, name=words.clean(scope.thin[number], 40))
        item = Item(f"n{scope.prefix}{number}", shape, [stripe], home, aside=number in scope.aside)
        item.details = details(node, inputs, scope.sizes)
        count = parameters(graph, node)
        if count:
            item.details.append(("parameters", f"{count:,}"))
        shared = node.module is not None and scope.uses[node.module] > 1
        note = ", ".join(
            part
            for part in (
                words.count_text(count) if self.parameters and count else "",
                "shared weights" if shared else "",
                self.narrow.get(number, "") if not scope.prefix else "",
            )
            if part
        )
        if note:
            item.stripes = [replace(stripe, note=note)]
        return self.add(item)
