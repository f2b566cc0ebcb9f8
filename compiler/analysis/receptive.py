"""What every value sees of every input: the ops' relations, composed along the graph.

A block is summarised once, as relations between its outputs and its inputs, and each call composes the summary.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

from ..graph import Graph, Kind, Node, Program, Ref
from ..masks import NOTHING, Known, known_of
from ..relations import POINTWISE, Exact, Relation, Relations, Sees, compose, everything, union
from ..types import TensorType

T = TypeVar("T")

# (axis of the value, or None when every position sees it; position of the input in `graph.inputs`; axis of the input)
Table = dict[tuple[int | None, int, int], Relation]
Reach = int | Literal["all"]
# For relations that go hand in hand with other axes of inputs: those, as (position of the input, its axis)
Partners = dict[tuple[int | None, int, int], frozenset[tuple[int, int]]]
# The same between a node's results and its operands
Joint = dict[tuple[int, int | None, int, int], frozenset[tuple[int, int]]]


@dataclass(frozen=True)
class View:
    """What one value sees. `varies`: axes along which it holds something else at every place whatever the inputs are
    (a position embedding does), so that nothing that it takes part in is uniform along them. `partners`: other axes of
    inputs with which a relation goes hand in hand: they must move along for it to be uniform, symmetric or steady.
    `inner`: (axis, position of an input, its axis) where the axis is an inner part of the input's, of which no relation
    tells. `known`: what its elements are whatever the inputs are."""

    relations: Table = field(default_factory=dict)
    varies: frozenset[int] = frozenset()
    partners: Partners = field(default_factory=dict)
    inner: frozenset[tuple[int, int, int]] = frozenset()
    known: Known = NOTHING

    @cached_property
    def simple(self) -> bool:
        """Does every axis see one axis of one input at most, by itself?"""
        keyed = [axis for axis, _, _ in self.relations if axis is not None]
        return not (self.partners or self.inner or self.known) and len(set(keyed)) == len(keyed)

    @cached_property
    def keeps_axes(self) -> bool:
        """Does every axis see the same axis of the only input, and no other, and nothing of its own?"""
        return self.simple and not self.varies and all(axis == a and source == 0 for axis, source, a in self.relations)


# What is known of an input from outside, and, where no input reaches it there, along which axes it varies.
Given = tuple[Known, frozenset[int] | None] | None


@dataclass(frozen=True)
class _Done:
    """masked: what is known of elements has a part in the views, and that may depend on plain numbers."""

    graph: Graph
    views: dict[Ref, View]
    masked: bool


class Receptive:
    """Views of the values of graphs. Each is worked through once, and those that differ in plain numbers together."""

    def __init__(self) -> None:
        self._done: dict[object, _Done] = {}
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._kept: dict[object, Any] = {}

    def kept(self, make: Callable[[], T]) -> T:
        """What an analysis that builds on the views remembers of blocks: made when it is first asked for."""
        if make not in self._kept:
            self._kept[make] = make()
        return self._kept[make]

    def views(self, graph: Graph, inputs: Iterable[View] = ()) -> dict[Ref, View]:
        """The view of every value of a graph, in terms of the graph's own inputs. `inputs`: the views that these have
        where the graph is called, for what is known of their elements there."""
        return self.walk(graph, tuple(map(_given, inputs))).views

    def walk(self, graph: Graph, given: tuple[Given, ...]) -> _Done:
        """As `views`, with what is known of the graph's inputs."""
        key: object = (id(graph), given) if any(given) else id(graph.structure)
        done = self._done.get(key)
        if done is not None and done.masked and done.graph is not graph:
            key = id(graph)
            done = self._done.get(key)
        if done is None:
            done = self._done[key] = self._work_through(graph, given)
        return done

    def _work_through(self, graph: Graph, given: tuple[Given, ...]) -> _Done:
        return _Walk(self, graph, given).done()

    def places(self, graph: Graph) -> list[tuple[int, int]]:
        """As `positional_axes`, which a graph is asked for once."""
        key = id(graph.structure)
        if key not in self._places:
            self._places[key] = positional_axes(graph, self)
        return self._places[key]


def _given(view: View) -> Given:
    if not view.known.facts and not view.known.diagonal:
        return None
    return view.known, None if view.relations else view.varies


class _Walk:
    """One walk through a graph, from its inputs on."""

    def __init__(self, receptive: Receptive, graph: Graph, given: tuple[Given, ...]) -> None:
        self.receptive, self.graph, self.given = receptive, graph, given
        self.masked = any(given)

    def done(self) -> _Done:
        views: dict[Ref, View] = {}
        for number in self.graph.order():
            refs = self.graph.operands(number)
            for i, view in enumerate(self._results(number, refs, [views[ref] for ref in refs])):
                views[Ref(number, i)] = view
        return _Done(self.graph, views, self.masked)

    def _results(self, number: int, refs: list[Ref], operands: list[View]) -> Iterable[View]:
        node = self.graph[number]
        if node.kind in (Kind.INPUT, Kind.TARGET):
            return [self._input(self.graph.inputs.index(number), node.types[0])]
        if node.kind in (Kind.OUTPUT, Kind.LOSS):
            return operands
        if node.kind is Kind.WEIGHT:
            return [self._weight(node)]
        if node.kind is Kind.CALL:
            return self._call(node, operands)
        return self._op(node, tuple(self.graph.type(ref) for ref in refs), operands)

    def _input(self, at: int, t: TensorType) -> View:
        itself: Table = {(a, at, a): POINTWISE for a in range(t.rank)}
        given = self.given[at] if self.given else None
        if given is None:
            return View(itself)
        known, varies = given
        return View(itself, known=known) if varies is None else View({}, varies, known=known)

    def _weight(self, node: Node) -> View:
        spec = self.graph.weight_at(node.weight or "")
        t = node.types[0]
        known = NOTHING if spec is None or spec.tree is None else known_of(spec.tree, t.rank, t.dtype)
        self.masked = self.masked or bool(known.facts or known.diagonal)
        return View({}, _long_axes(t), known=known)

    def _call(self, node: Node, operands: list[View]) -> list[View]:
        assert node.graph is not None
        inner = self.receptive.walk(node.graph, tuple(map(_given, operands)))
        self.masked = self.masked or inner.masked
        summaries = [inner.views[Ref(output)] for output in node.graph.outputs]
        if len(operands) == len(summaries) == 1 and operands[0].simple and summaries[0].keeps_axes:
            table = summaries[0].relations
            return [_in_place({(0, *key): relation for key, relation in table.items()}, operands[0])]
        relations = {
            (result, axis, operand, operand_axis): relation
            for result, summary in enumerate(summaries)
            for (axis, operand, operand_axis), relation in summary.relations.items()
        }
        joint = {
            (result, *key): partners
            for result, summary in enumerate(summaries)
            for key, partners in summary.partners.items()
        }
        fixed = {key[2:] for key in relations} & {(i, a) for i, view in enumerate(operands) for a in view.varies}
        known = [replace(s.known, diagonal=frozenset()) if fixed else s.known for s in summaries]
        own = [summary.varies for summary in summaries]
        return _compose_all(relations, joint, own, operands, known, inner=[summary.inner for summary in summaries])

    def _op(self, node: Node, types: tuple[TensorType, ...], operands: list[View]) -> list[View]:
        assert node.op is not None
        plain = len(types) - len(node.replaced)
        relations = node.op.relations(types[:plain], node.types)
        alone = len(types) == len(node.types) == 1 and not node.op.regroups
        if alone and _keeps_axes(relations, types[0].rank) and operands[0].simple:
            return [_in_place(relations, operands[0])]
        known = [node.op.known()] * len(node.types) if not types else [NOTHING] * len(node.types)
        lifted: set[tuple[int, int]] = set()
        masked = any(view.known.facts or view.known.diagonal for view in operands)
        self.masked = self.masked or masked
        if masked or (operands and all(view.known.constant is not None for view in operands)):
            relations, lifted, known = self._masks(node, types[:plain], relations, operands[:plain])
        joint = _hand_in_hand(relations, node.op.contracted(types[:plain])) if plain > 1 or masked else {}
        for operand in range(plain, len(types)):  # a weight that is computed reaches every position
            for axis in range(types[operand].rank):
                relations = relations | {(r, None, operand, axis): everything() for r in range(len(node.types))}
        constant = not types and not node.op.random
        own = [_long_axes(t) if constant else frozenset() for t in node.types]
        inner = [_inner_parts(relations, types[0], node.types[0])] if node.op.regroups else None
        return _compose_all(relations, joint, own, operands, known, lifted, inner)

    def _masks(
        self, node: Node, types: tuple[TensorType, ...], relations: Relations, operands: list[View]
    ) -> tuple[Relations, set[tuple[int, int]], list[Known]]:
        """The relations that are left once what is known of the operands is taken into account, the places that do not
        anchor the result, and what is known of the results."""
        from .known import Use

        assert node.op is not None
        use = Use(node.op, types, relations, [v.known for v in operands], [v.varies for v in operands])

        def moves(place: tuple[int, int]) -> bool:
            operand, axis = place
            return any(key[0] == axis for key in operands[operand].relations)

        narrowed, lifted = use.narrowed(moves)
        return narrowed, lifted, use.passed(node.types)


def _long_axes(t: TensorType) -> frozenset[int]:
    return frozenset(a for a, size in enumerate(t.shape) if size != 1)


def _keeps_axes(relations: Relations, rank: int) -> bool:
    """Does every axis of the only result see the same axis of the only operand, and no other?"""
    return len(relations) == rank and all(axis == operand_axis for _, axis, _, operand_axis in relations)


def _in_place(relations: Relations, view: View) -> View:
    """As `_compose_all`, for what most layers are: a result with the axes of one operand, whose view is simple."""
    if all(relation is POINTWISE for relation in relations.values()):
        return view
    table: Table = {}
    for (axis, source, source_axis), seen in view.relations.items():
        if axis is not None:
            seen = compose(relations[0, axis, 0, axis], seen)
            if axis in view.varies and seen.uniform:
                seen = _anchored(seen)
        table[axis, source, source_axis] = seen
    return View(table, view.varies)


def _inner_parts(relations: Relations, x: TensorType, y: TensorType) -> frozenset[tuple[int, int, int]]:
    """The axes of a regrouped operand of which an axis of the result may be an inner part, as `View.inner` has them."""
    still = {key[3]: key[1] for key, relation in relations.items() if relation == POINTWISE and key[1] is not None}
    moved = [a for a, size in enumerate(x.shape) if a not in still and size != 1]
    free = [a for a, size in enumerate(y.shape) if a not in still.values() and size != 1]
    return frozenset((axis, 0, a) for axis in free for a in moved if (0, axis, 0, a) not in relations)


def _hand_in_hand(relations: Relations, contracted: Iterable[frozenset[tuple[int, int]]]) -> Joint:
    """The axes of operands that meet: in one axis of a result, or in a sum over both."""
    meeting: dict[tuple[int, int | None], set[tuple[int, int]]] = {}
    for result, axis, operand, operand_axis in relations:
        if axis is not None:
            meeting.setdefault((result, axis), set()).add((operand, operand_axis))
    joint: Joint = {}
    for key in relations:
        here = key[2:]
        others = set(meeting[key[:2]]) if key[1] is not None else set()
        others.update(*(group for group in contracted if here in group))
        others.discard(here)
        if others:
            joint[key] = frozenset(others)
    return joint


class _Composer:
    """The views of a node's results: its relations after its operands' views."""

    def __init__(self, operands: list[View], results: int) -> None:
        self.operands = operands
        self.tables: list[Table] = [{} for _ in range(results)]
        self.partners: list[Partners] = [{} for _ in range(results)]
        self.sources: dict[tuple[int, int | None], list[tuple[int, int]]] = {}
        for operand, view in enumerate(operands):
            for axis, source, source_axis in view.relations:
                self.sources.setdefault((operand, axis), []).append((source, source_axis))

    def see(self, result: int, axis: int | None, relation: Relation, operand: int, operand_axis: int | None) -> None:
        """A result's axis sees an operand's axis; what every position of the operand sees, where that is None."""
        view = self.operands[operand]
        for source in self.sources.get((operand, operand_axis), ()):
            seen = compose(relation, view.relations[operand_axis, *source])
            if axis is None and seen.stride != 1:
                seen = replace(seen, stride=1)  # no axis of the result has steps
            _see(self.tables[result], (axis, *source), seen)

    def pair(
        self, result: int, axis: int | None, operand: int, operand_axis: int | None, others: Iterable[tuple[int, int]]
    ) -> None:
        """Notes with which sources the relations just seen go hand in hand."""
        own = self.sources.get((operand, operand_axis), [])
        met = set(own) if operand_axis is not None else set()
        for other in others:
            met.update(self.sources.get(other) or self.within(*other))
        for source in own:
            found = met | self.operands[operand].partners.get((operand_axis, *source), frozenset())
            found.discard(source)
            if found:
                known = self.partners[result].get((axis, *source), frozenset())
                self.partners[result][axis, *source] = known | found

    def within(self, operand: int, operand_axis: int | None) -> set[tuple[int, int]]:
        """The sources of which an operand's axis is an inner part."""
        return {(source, a) for axis, source, a in self.operands[operand].inner if axis == operand_axis}

    def fixed(self, places: Iterable[tuple[int, int]]) -> bool:
        """Does one of these axes of operands hold something of its own at every place?"""
        return any(axis in self.operands[operand].varies for operand, axis in places)

    def apart(self, *places: tuple[int, int | None]) -> bool:
        """Do these axes of operands, which meet, see inputs at different strides? One move can't fit all then."""
        if len(places) == 1:
            return False  # seen when they met
        views = self.operands
        seen = (
            views[operand].relations[axis, *source]
            for operand, axis in places
            for source in self.sources.get((operand, axis), ())
        )
        return len({relation.stride for relation in seen if relation.follows_shifts}) > 1


def _compose_all(
    relations: Relations,
    joint: Joint,
    own: list[frozenset[int]],
    operands: list[View],
    known: list[Known],
    lifted: Container[tuple[int, int]] = (),
    inner: list[frozenset[tuple[int, int, int]]] | None = None,
) -> list[View]:
    """The views of a node's results. lifted: operands' axes that vary without a part in what varies in the results.
    inner: as in `View`, of each result and the operands."""
    results = len(own)
    composer = _Composer(operands, results)
    varies = [set(axes) for axes in own]
    for (result, axis, operand, operand_axis), relation in relations.items():
        others = joint.get((result, axis, operand, operand_axis), ())
        if axis is None and (composer.fixed(others) or composer.apart((operand, operand_axis), *others)):
            relation = _anchored(relation)
        composer.see(result, axis, relation, operand, operand_axis)
        composer.pair(result, axis, operand, operand_axis, others)
        if axis is not None and operand_axis in operands[operand].varies and (operand, operand_axis) not in lifted:
            varies[result].add(axis)
    for operand in range(len(operands)):  # what every position of an operand sees, every position of a result sees
        if (operand, None) in composer.sources:
            for result in range(results):
                composer.see(result, None, POINTWISE, operand, None)
                composer.pair(result, None, operand, None, ())
    parts = [
        _passed_on(composer, result, relations, inner[result] if inner else (), varies[result])
        for result in range(results)
    ]
    for table, axes, partners, facts in zip(composer.tables, varies, composer.partners, known, strict=True):
        for pair in facts.diagonal:
            if axes.issuperset(pair) and _moves_as_one(table, partners, *pair):
                axes.difference_update(pair)
        axes_apart = _at_different_strides(table)
        for key, relation in table.items():
            if relation.uniform and (key[0] in axes or key[0] in axes_apart):
                table[key] = _anchored(relation)
    found = zip(composer.tables, varies, composer.partners, parts, known, strict=True)
    return [View(table, frozenset(axes), partners, part, facts) for table, axes, partners, part, facts in found]


def _at_different_strides(table: Table) -> set[int]:
    """The axes along which inputs are seen at different strides: no move of them all is followed there."""
    strides: dict[int, Exact] = {}
    found: set[int] = set()
    for (axis, _, _), relation in table.items():
        if axis is None or not relation.follows_shifts:
            continue
        if strides.setdefault(axis, relation.stride) != relation.stride:
            found.add(axis)
    return found


def _passed_on(
    composer: _Composer, result: int, relations: Relations, inner: Iterable[tuple[int, int, int]], varies: set[int]
) -> frozenset[tuple[int, int, int]]:
    """A result's inner parts of inputs' axes. Adds to `varies` axes that hold inner parts of axes that do."""
    found: set[tuple[int, int, int]] = set()
    keyed = {axis for axis, _, _ in composer.tables[result]}
    for axis, operand, operand_axis in inner:
        if axis not in keyed:  # else it moves by whole turns of what is inside
            if operand_axis in composer.operands[operand].varies:
                varies.add(axis)
            sources = composer.sources.get((operand, operand_axis)) or composer.within(operand, operand_axis)
            found.update((axis, *source) for source in sources)
    if any(view.inner for view in composer.operands):
        for out, place, operand, operand_axis in relations:
            if out == result and place is not None and place not in keyed:
                found.update((place, *source) for source in composer.within(operand, operand_axis))
    return frozenset(found)


def _moves_as_one(table: Table, partners: Partners, a: int, b: int) -> bool:
    """Do two axes of a value move by the same amount whenever one does, so that what changes with their difference
    alone moves along? Notes then that what the two see must move together, and that its order matters."""
    mine = {key: relation for key, relation in table.items() if key[0] in (a, b)}
    alike = len({relation.stride for relation in mine.values()}) == 1
    sliding = all(relation.uniform and relation.sees is not Sees.ALL for relation in mine.values())
    if not alike or not sliding or {key[0] for key in mine} != {a, b}:
        return False
    sources = frozenset(key[1:] for key in mine)
    for key, relation in mine.items():
        table[key] = replace(relation, ordered=True)
        others = partners.get(key, frozenset()) | sources - {key[1:]}
        if others:
            partners[key] = others
    return True


def _anchored(relation: Relation) -> Relation:
    """A relation that takes part in something that is different at every place."""
    return replace(relation, uniform=False, symmetric=False, steady=False)


def _see(table: Table, key: tuple[int | None, int, int], relation: Relation) -> None:
    table[key] = union(table[key], relation) if key in table else relation


def after(view: View, inputs: list[View]) -> View:
    """What a value of a block sees once the block's inputs see this."""
    relations: Relations = {(0, axis, source, a): r for (axis, source, a), r in view.relations.items()}
    joint: Joint = {(0, *key): partners for key, partners in view.partners.items()}
    return _compose_all(relations, joint, [view.varies], inputs, [view.known], inner=[view.inner])[0]


def whole(view: View, source: int, source_axis: int) -> Relation | None:
    """What one place of a value sees of an input's axis, over all of the value's axes; None when nothing."""
    found = [(axis, r) for (axis, s, a), r in view.relations.items() if (s, a) == (source, source_axis)]
    if not found:
        return None
    if len(found) > 1 and sum(axis is not None for axis, _ in found) > 1:
        return everything()  # it moves along the input with more than one of its own axes
    total = found[0][1]
    for _, relation in found[1:]:
        total = union(total, relation)
    return total


def positional_axes(graph: Graph, receptive: Receptive) -> list[tuple[int, int]]:
    """The inputs' axes that are places (image rows, time) rather than features or the batch: some layer with weights
    slides along them, the same at every place. (input, axis)."""
    views = receptive.views(graph)
    found: set[tuple[int, int]] = set()
    for number in graph.order():
        node = graph[number]
        if not _has_weights(graph, number, node):
            continue
        for result in range(len(node.types)):
            for (axis, source, source_axis), relation in views[Ref(number, result)].relations.items():
                if axis is not None and relation.uniform and relation.sees is not Sees.ALL:
                    found.add((source, source_axis))
    return sorted(pair for pair in found if not is_batch(graph, *pair))


def is_batch(graph: Graph, source: int, axis: int) -> bool:
    """Is this axis of an input the batch?"""
    return graph[graph.inputs[source]].types[0].names[axis] == "B"


def _has_weights(graph: Graph, number: int, node: Node) -> bool:
    if node.kind is Kind.CALL:
        from ..verify import owns_weights

        return node.graph is not None and owns_weights(node.graph)
    if node.op is None or node.kind is not Kind.OP:
        return False
    types = tuple(graph.type(ref) for ref in graph.operands(number))
    return bool(node.op.weights(types[: len(types) - len(node.replaced)]))


def relations_along(
    graph: Graph, ref: Ref, axis: str | int | None = None, receptive: Receptive | None = None
) -> list[tuple[int, int, Relation]]:
    """What a value sees of the inputs' axes: (input, axis, relation). `axis` names one axis of the inputs; without it,
    all that are places (see `positional_axes`), or all but the batch when none is. Targets are left out."""
    receptive = receptive or Receptive()
    view = receptive.views(graph)[ref]
    sources = [i for i, n in enumerate(graph.inputs) if graph[n].kind is Kind.INPUT]
    pairs = [(i, a) for i in sources for a in range(graph[graph.inputs[i]].types[0].rank)]
    if axis is not None:
        pairs = [(i, a) for i, a in pairs if graph[graph.inputs[i]].types[0].find(axis) == a]
    else:
        places = [pair for pair in receptive.places(graph) if pair in pairs]
        pairs = places or [pair for pair in pairs if not is_batch(graph, *pair)]
    found = [(i, a, whole(view, i, a)) for i, a in pairs]
    return [(i, a, relation) for i, a, relation in found if relation is not None]


def reach(relations: Iterable[Relation]) -> Reach:
    """The widest of some relations, in positions; "all" when one is no window. 0 when there are none."""
    widths = [relation.width for relation in relations]
    return "all" if None in widths else max((w for w in widths if w is not None), default=0)


def receptive_field(program: Program | Graph, value: str, axis: str | int | None = None) -> Reach:
    """How many positions of an input axis a place of a named value can see, or "all". After upsampling an upper bound:
    which of them a place sees depends on its phase. Raises KeyError."""
    graph = program.graph if isinstance(program, Program) else program
    return reach(relation for _, _, relation in relations_along(graph, graph.values[value], axis))


def strides(
    program: Program | Graph, value: str, axis: str | int | None = None, receptive: Receptive | None = None
) -> list[Exact]:
    """By how many input positions neighbouring places of a value are apart: each number once, over the axes along which
    it sees a window. Raises KeyError."""
    graph = program.graph if isinstance(program, Program) else program
    found = relations_along(graph, graph.values[value], axis, receptive)
    return sorted({relation.stride for _, _, relation in found if relation.sees is Sees.WINDOW})
