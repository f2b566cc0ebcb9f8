"""Claims about how far values see: global context, and a hierarchy of resolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise

from ...claims import GlobalContext, Hierarchy
from ...graph import Graph, Kind, Node, Ref
from ...relations import POINTWISE, Exact, Relation, Sees, union
from ...sizes import Dim, substitute
from ...source import Span
from ..alike import Alike
from ..cost import is_weight_layer, nominal_sizes
from ..labels import beneath, label
from ..receptive import Receptive
from ..through_time import rounds, states_of
from ..views import View, after
from .blame import Pair
from .case import Case, prover
from .findings import Culprit, Finding, Verdict
from .measures import axes_of, axis_of, vacuous, value_name, windows
from .parts import Parts, left_out
from .words import listed, positions

Sizes = Mapping[str, "int | Dim"]
Entry = tuple[Ref, list[Ref]]  # a value, and what the step that makes it consumes


def _sees_all(view: View, pair: Pair) -> bool:
    source, axis = pair
    for (_, s, a), relation in view.relations.items():
        if a == axis and s == source and relation.sees is Sees.ALL and not relation.loose:
            return True
    return False


@prover(GlobalContext)
def global_context(case: Case) -> Finding:
    """Of every axis some entry is all, and few layers with weights lie before the step that makes it so."""
    figures: dict[str, object] = {"windows": windows(case)}
    refused = vacuous(case)
    if refused is not None:
        return refused
    ways = []
    for pair, seen in case.seen:
        if not _sees_all(case.view, pair):
            return _too_narrow(case, pair, [relation for _, relation in seen], figures)
        whole = [way for way in _Context(case, pair).ways() if way.missed is None]
        if not whole:
            return _unseen(case, pair, figures)
        if case.receptive.kept(Parts, case.receptive).lose(case.graph, case.ref, frozenset({pair})):
            return case.finding(
                Verdict.UNKNOWN,
                f"{axis_of(case, pair)} is split or turned on the way, and some of it may be left out: it can't be "
                f"told what a place of {value_name(case)} sees",
                help="let a layer that sees everything come before",
                figures=figures,
            )
        ways.append((pair, min(whole, key=lambda way: way.layers)))
    most = max(way.layers for _, way in ways)
    figures["layers"] = most
    allowed: int | None = case.claim.layers
    if allowed is not None and most > allowed:
        pair, way = max(ways, key=lambda found: found[1].layers)
        return case.finding(
            Verdict.REFUTED,
            f"the shortest way to a value that sees all of {axis_of(case, pair)} passes {_layers(most)}",
            culprit=way.culprit(f"the first to see all of {case.axis_name(*pair)}"),
            help=f"`global_context(layers={most})` holds; let a layer that sees everything come earlier",
            figures=figures,
        )
    names = axes_of(case, (pair for pair, _ in ways))
    first = listed(dict.fromkeys(f"`{way.path}`" for _, way in ways))
    return case.proved(f"from {first} on a place sees all of {names}, through {_layers(most)}", **figures)


def _layers(count: int) -> str:
    return f"{count} layer{'s' * (count != 1)} with weights"


def _too_narrow(case: Case, pair: Pair, seen: list[Relation], figures: dict[str, object]) -> Finding:
    axis, value = axis_of(case, pair), value_name(case)
    relation = seen[0]
    for other in seen[1:]:
        relation = union(relation, other)
    if relation.sees is Sees.ALL:
        return case.finding(
            Verdict.UNKNOWN,
            f"a place of {value} may see all of {axis}, or less: it is followed too roughly to tell",
            help="claim it of a value that attends to, or pools, the axis",
            figures=figures,
        )
    how = {Sees.PREFIX: "no later positions", Sees.SUFFIX: "no earlier positions"}
    seen_there = how.get(relation.sees) or f"no more than {positions(relation.width)}"
    return case.finding(
        Verdict.REFUTED,
        f"a place of {value} sees {seen_there} of {axis}",
        help="attention, a pooling over the axis or a layer that mixes all of it sees everything",
        figures=figures,
    )


def _unseen(case: Case, pair: Pair, figures: dict[str, object]) -> Finding:
    way = next(iter(_Context(case, pair).ways()))
    name = case.axis_name(*pair)
    return case.finding(
        Verdict.REFUTED if way.missed else Verdict.UNKNOWN,
        f"of {axis_of(case, pair)} {way.missed or 'it depends on the size what is left out before'}",
        culprit=way.culprit(f"not all positions of {name} enter here"),
        help="let steps and windows reach both borders, as with `pad`, and leave no position out",
        figures=figures,
    )


@dataclass(frozen=True)
class _Way:
    """A step that sees all of an axis, the layers with weights on the shortest way through it, and what of the axis
    never reaches it: None nothing, "" unknown."""

    path: str
    node: Node
    call: Node | None
    layers: int
    missed: str | None

    def culprit(self, what: str) -> Culprit:
        return Culprit(self.path, what, self.node.span, self.call.span if self.call is not None else None)


class _Context:
    """The steps that are the first to see all of an axis on the ways to a claim's value."""

    def __init__(self, case: Case, pair: Pair) -> None:
        self.case, self.pair = case, pair
        self.size = substitute(
            case.graph[case.graph.inputs[pair[0]]].types[0].shape[pair[1]], nominal_sizes(case.graph)
        )
        self.crossings = case.receptive.kept(_Crossings, case.receptive.alike)

    def ways(self) -> Iterator[_Way]:
        graph = self.case.graph
        layers = [0 if i == self.pair[0] else None for i in range(len(graph.inputs))]
        yield from self._in(graph, self.case.ref, None, layers, nominal_sizes(graph), "", None)

    def _in(
        self,
        graph: Graph,
        goal: Ref,
        inputs: list[View] | None,
        layers: list[int | None],
        sizes: Sizes,
        within: str,
        call: Node | None,
    ) -> Iterator[_Way]:
        own = self.case.receptive.views(graph, inputs or ())
        seen: dict[Ref, View] = {}

        def view(ref: Ref) -> View:
            if ref not in seen:
                seen[ref] = own[ref] if inputs is None else after(own[ref], inputs)
            return seen[ref]

        least = self.crossings.to_all(graph, layers)
        if inputs is None:
            entries = self.crossings.entries(graph, goal, self.pair, own)
        else:
            entries = _entries(graph, goal, self.pair, view)
        for here, operands in entries:
            node, path = graph[here.node], beneath(within, label(graph, here.node))
            if node.kind is Kind.CALL and node.graph is not None:
                inner = {name: substitute(size, sizes) for name, size in node.sizes}
                views, counts = [view(ref) for ref in operands], [least[ref] for ref in operands]
                result = Ref(node.graph.outputs[here.result])
                yield from self._in(node.graph, result, views, counts, inner, path, call or node)
            elif (count := least[here]) is not None:
                missed = self._missed(graph, [(ref, view(ref)) for ref in self._told(graph, operands, view)], sizes)
                yield _Way(path, node, call, count, missed)

    def _told(self, graph: Graph, refs: Sequence[Ref], view: Callable[[Ref], View]) -> list[Ref]:
        """Operands, those whose places see the axis only roughly replaced by what they are made from: what steps and
        windows leave out shows there."""
        waiting, told = list(refs), dict[Ref, None]()
        for ref in waiting:  # which grows
            seen = [r for key, r in view(ref).relations.items() if key[1:] == self.pair and key[0] is not None]
            made = graph.operands(ref.node) if graph[ref.node].op is not None else []
            if made and any(relation.loose for relation in seen):
                waiting += [operand for operand in made if operand not in waiting]
            else:
                told[ref] = None
        return list(told)

    def _missed(self, graph: Graph, operands: list[tuple[Ref, View]], sizes: Sizes) -> str | None:
        """What of the axis never reaches any of some operands, all of which are seen. None: nothing."""
        found: list[str | None] = []
        for ref, view in operands:
            for (axis, *source), relation in view.relations.items():
                if tuple(source) == self.pair and axis is not None:
                    size = substitute(graph.type(ref).shape[axis], sizes)
                    found.append(left_out(relation, size, self.size))
        return None if None in found else min((text for text in found if text is not None), default=None)


def _entries(graph: Graph, goal: Ref, pair: Pair, view: Callable[[Ref], View]) -> list[Entry]:
    """The values that are the first to see all of an axis, on the ways to one that does, with what these consume."""
    found: list[Entry] = []
    waiting, known = [goal], {goal}
    while waiting:
        here = waiting.pop()
        operands = graph.operands(here.node)
        before = [ref for ref in operands if _sees_all(view(ref), pair)]
        waiting += [ref for ref in before if ref not in known]
        known.update(before)
        if not before:
            found.append((here, operands))
    return found


class _Crossings:
    """The fewest layers with weights between values, and where all of an axis comes to be seen; each block is worked
    through once."""

    def __init__(self, alike: Alike) -> None:
        self._alike = alike
        self._done: dict[tuple[int, tuple[int | None, ...]], tuple[Graph, dict[Ref, int | None]]] = {}
        self._entries: dict[tuple[int, Ref, Pair], tuple[dict[Ref, View], list[Entry]]] = {}

    def entries(self, graph: Graph, goal: Ref, pair: Pair, views: dict[Ref, View]) -> list[Entry]:
        """As `_entries`, of a graph by itself."""
        key = id(views), goal, pair
        if key not in self._entries:
            self._entries[key] = views, _entries(graph, goal, pair, views.__getitem__)
        return self._entries[key][1]

    def to_all(self, graph: Graph, layers: Sequence[int | None]) -> dict[Ref, int | None]:
        """For every value the fewest layers on a way from the inputs, at which so many already lie behind; None where
        no way leads there."""
        graph = self._alike.first(graph)
        key = id(graph), tuple(layers)
        if key not in self._done:
            self._done[key] = graph, self._work_through(graph, layers)
        return self._done[key][1]

    def _work_through(self, graph: Graph, layers: Sequence[int | None]) -> dict[Ref, int | None]:
        found: dict[Ref, int | None] = {}
        for number, node, operands in self._alike.walk(graph):
            before = [found[ref] for ref in operands]
            if node.kind in (Kind.INPUT, Kind.TARGET):
                found[Ref(number)] = layers[graph.inputs.index(number)]
            elif node.graph is not None:
                through = self._through(node.graph)
                fed, mask = (before, None) if node.scan is None else _fed(node, through, before)
                for result, crossing in enumerate(through):
                    found[Ref(number, result)] = _fewest([_past(fed, crossing), mask])
            else:
                least = _fewest(before)
                if least is not None and _has_weights(graph, number, node):
                    least += 1
                found |= {Ref(number, i): least for i in range(max(1, len(node.types)))}
        return found

    def _through(self, graph: Graph) -> list[list[int | None]]:
        """Of every output and every input: the layers between."""
        count = len(graph.inputs)
        tables = [self.to_all(graph, [0 if i == at else None for i in range(count)]) for at in range(count)]
        return [[table[Ref(output)] for table in tables] for output in graph.outputs]


def _past(before: Sequence[int | None], crossing: Sequence[int | None]) -> int | None:
    """The fewest layers past what is crossed from each of several values."""
    ways = zip(before, crossing, strict=True)
    return _fewest(None if here is None or more is None else here + more for here, more in ways)


def _fed(node: Node, through: list[list[int | None]], before: list[int | None]) -> tuple[list[int | None], int | None]:
    """The fewest layers before the inputs of a cell, its states after whatever number of steps, and before the mask,
    which decides of states and outputs by itself."""
    assert node.graph is not None
    count, states = len(node.graph.inputs), states_of(node.graph)
    following = through[len(through) - len(states) :]

    def after(inputs: list[int | None]) -> list[int | None]:
        passed = zip(states, following, strict=True)
        return [_fewest([inputs[at], _past(inputs[:count], crossing), inputs[-1]]) for (at, _), crossing in passed]

    fed = rounds(node, before, None, after)
    return fed[:count], fed[-1]


def _fewest(counts: Iterator[int | None] | list[int | None]) -> int | None:
    return min((count for count in counts if count is not None), default=None)


def _has_weights(graph: Graph, number: int, node: Node) -> bool:
    return node.op is not None and is_weight_layer(node.op, node.op.weights(graph.operand_types(number)))


Place = tuple[str, Node, "Node | None"]  # the path of a step, the step, the call through which it is reached


@dataclass
class _Stages:
    """What values on the way see of one axis of an input: by stride, the ends of the widest window. falls: where the
    resolution rises again; all: where a place comes to see more than a window."""

    widest: dict[Exact, tuple[Exact, Exact]] = field(default_factory=dict)
    falls: Place | None = None
    all: Place | None = None

    def see(self, stride: Exact, lo: Exact, hi: Exact) -> None:
        known = self.widest.get(stride)
        self.widest[stride] = (lo, hi) if known is None else (min(lo, known[0]), max(hi, known[1]))


class _Staircase:
    """The stages of every input's axes on the way to values; each block is worked through once."""

    def __init__(self, receptive: Receptive) -> None:
        self._receptive = receptive
        self._done: dict[int, dict[Pair, _Stages]] = {}

    def stages(self, graph: Graph, needed: Set[int], axes: frozenset[Pair] | None) -> dict[Pair, _Stages]:
        """By axis of the graph's inputs, of these or all, what its nodes see that are needed."""
        views = self._receptive.views(graph)
        found: dict[Pair, _Stages] = {}
        for number, node, refs in self._receptive.alike.walk(graph):
            if number not in needed or node.kind in (Kind.INPUT, Kind.TARGET, Kind.WEIGHT):
                continue
            operands = [views[ref] for ref in refs]
            if node.kind is Kind.CALL and node.graph is not None:
                self._call(found, graph, number, operands, axes)
                continue
            for result in range(max(1, len(node.types))):
                view = views[Ref(number, result)]
                if all(view is not operand for operand in operands):
                    _step(found, graph, number, operands, view, axes)
        return found

    def _call(
        self,
        found: dict[Pair, _Stages],
        graph: Graph,
        number: int,
        operands: list[View],
        axes: frozenset[Pair] | None,
    ) -> None:
        node, at = graph[number], label(graph, number)
        assert node.graph is not None
        for (operand, axis), inner in self._inside(node.graph).items():
            for (along, *source), outer in operands[operand].relations.items():
                pair = source[0], source[1]
                if along != axis or outer.sees is not Sees.WINDOW or (axes is not None and pair not in axes):
                    continue
                here = found.setdefault(pair, _Stages())
                step = outer.stride
                for stride, (lo, hi) in inner.widest.items():
                    here.see(step * stride, step * lo + outer.lo, step * hi + outer.hi)
                here.falls = here.falls or _beneath(at, inner.falls, node)
                here.all = here.all or _beneath(at, inner.all, node)

    def _inside(self, graph: Graph) -> dict[Pair, _Stages]:
        graph = self._receptive.alike.first(graph)
        if id(graph) not in self._done:
            self._done[id(graph)] = self.stages(graph, graph.needed(graph.outputs), None)
        return self._done[id(graph)]


def _beneath(path: str, place: Place | None, call: Node) -> Place | None:
    return None if place is None else (beneath(path, place[0]), place[1], call)


def _step(
    found: dict[Pair, _Stages],
    graph: Graph,
    number: int,
    operands: list[View],
    view: View,
    axes: frozenset[Pair] | None,
) -> None:
    for (along, *source), relation in view.relations.items():
        pair = source[0], source[1]
        if along is None or relation is POINTWISE or (axes is not None and pair not in axes):
            continue
        here = found.setdefault(pair, _Stages())
        place = label(graph, number), graph[number], None
        if relation.sees is not Sees.WINDOW:
            here.all = here.all or place
            continue
        if here.falls is None and relation.stride < max((1, *here.widest)):
            before = [r.stride for v in operands for k, r in v.relations.items() if k[0] is not None and k[1:] == pair]
            here.falls = place if before and relation.stride < min(before) else None
        here.see(relation.stride, relation.lo, relation.hi)


@prover(Hierarchy)
def hierarchy(case: Case) -> Finding:
    """On the way to the value strides never fall and take enough values, and wider strides see more."""
    refused = vacuous(case)
    if refused is not None:
        return refused
    found = case.receptive.kept(_Staircase, case.receptive).stages(case.graph, case.needed, frozenset(case.axes))
    stairs = {pair: found.get(pair, _Stages()) for pair, _ in case.seen}
    texts: dict[str, list[str]] = {}
    figures: dict[str, object] = {"windows": windows(case), "stages": list(_figures(case, stairs))}
    for pair, stages in stairs.items():
        refused = _no_stairs(case, pair, stages, figures)
        if refused is not None:
            return refused
        steps = _climb(stages)
        text = (
            f"strides {' → '.join(str(s) for s, _ in steps)}, receptive fields {' → '.join(str(w) for _, w in steps)}"
        )
        texts.setdefault(text, []).append(case.axis_name(*pair))
    shown = "; ".join(f"{text} along {listed(dict.fromkeys(names))}" for text, names in texts.items())
    return case.proved(shown, **figures)


def _climb(stages: _Stages) -> list[tuple[Exact, int]]:
    """Stride and receptive field of each stage: those where a place sees more than one position."""
    widths = ((stride, int(hi - lo) + 1) for stride, (lo, hi) in sorted(stages.widest.items()))
    return [(stride, width) for stride, width in widths if width > 1]


def _figures(case: Case, stairs: Mapping[Pair, _Stages]) -> Iterator[dict[str, object]]:
    for pair, stages in stairs.items():
        for stride, width in _climb(stages):
            name = case.input_name(pair[0])
            yield {"input": name, "axis": case.axis_name(*pair), "stride": str(stride), "receptive_field": width}


def _no_stairs(case: Case, pair: Pair, stages: _Stages, figures: dict[str, object]) -> Finding | None:
    axis, steps = case.axis_name(*pair), _climb(stages)
    if stages.falls is not None:
        path, node, call = stages.falls
        return case.finding(
            Verdict.REFUTED,
            f"the resolution along {axis} rises again on the way",
            culprit=Culprit(path, f"here the places of {axis} stand closer than before", node.span, _span(call)),
            help="claim it of a value before the resolution rises",
            figures=figures,
        )
    if len(steps) < case.claim.stages:
        strides = f", at stride{'s' * (len(steps) > 1)} {listed(str(s) for s, _ in steps)}" if steps else ""
        culprit, help = None, f"`hierarchy(stages={len(steps)})` holds" if len(steps) > 1 else None
        if stages.all is not None:
            path, node, call = stages.all
            culprit = Culprit(path, f"from here on a place sees more than a window of {axis}", node.span, _span(call))
        help = help or "poolings and strides lower the resolution"
        message = f"there {'is' if len(steps) == 1 else 'are'} {len(steps)} stage{'s' * (len(steps) != 1)} along {axis}"
        return case.finding(Verdict.REFUTED, message + strides, culprit=culprit, help=help, figures=figures)
    for (stride, width), (above, wider) in pairwise(steps):
        if wider <= width:
            return case.finding(
                Verdict.REFUTED,
                f"a place sees {positions(width, axis)} at stride {stride}, and no more at stride {above}",
                help="let a layer with a window follow where the resolution falls",
                figures=figures,
            )
    return None


def _span(call: Node | None) -> Span | None:
    return call.span if call is not None else None
