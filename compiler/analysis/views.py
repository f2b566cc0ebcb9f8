"""What one value sees of every input, and how the relations of a step compose with what its operands see."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from ..masks import NOTHING, Known
from ..relations import POINTWISE, Exact, Relation, Relations, Sees, compose, everything, union
from ..types import TensorType

# (axis of the value, or None when every position sees it; position of the input in `graph.inputs`; axis of the input)
Table = dict[tuple[int | None, int, int], Relation]
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


def in_place(relations: Relations, view: View, rank: int) -> View | None:
    """As `compose_all`, for what most layers are: a result each of whose axes sees the same axis of the only operand,
    and no other. None for others; the operand's view is simple."""
    if len(relations) != rank:
        return None
    same = True
    for (_, axis, _, operand_axis), relation in relations.items():
        if axis != operand_axis:
            return None
        same = same and relation is POINTWISE
    if same:
        return view
    table: Table = {}
    for key, seen in view.relations.items():
        axis = key[0]
        if axis is not None:
            seen = compose(relations[0, axis, 0, axis], seen)
            if axis in view.varies and seen.uniform:
                seen = _anchored(seen)
        table[key] = seen
    return View(table, view.varies)


def side_by_side(relations: Relations, views: list[View]) -> View | None:
    """As `compose_all`, for a sum or a concatenation of values whose axes see the same axes of inputs, each by itself;
    None for others."""
    first = views[0]
    if first.varies or not first.simple or any(axis != operand_axis for _, axis, _, operand_axis in relations):
        return None
    for view in views[1:]:
        if view.varies or not view.simple or view.relations.keys() != first.relations.keys():
            return None
    where = {key[0]: key for key in first.relations}
    if None in where:
        return None
    table: Table = {}
    for (_, axis, operand, _), relation in relations.items():
        key = where.get(axis)
        if key is not None:
            _see(table, key, compose(relation, views[operand].relations[key]))
    return View(table)


def inner_parts(relations: Relations, x: TensorType, y: TensorType) -> frozenset[tuple[int, int, int]]:
    """The axes of a regrouped operand of which an axis of the result may be an inner part, as `View.inner` has them."""
    still = {key[3]: key[1] for key, relation in relations.items() if relation == POINTWISE and key[1] is not None}
    moved = [a for a, size in enumerate(x.shape) if a not in still and size != 1]
    free = [a for a, size in enumerate(y.shape) if a not in still.values() and size != 1]
    return frozenset((axis, 0, a) for axis in free for a in moved if (0, axis, 0, a) not in relations)


def hand_in_hand(relations: Relations, contracted: Iterable[frozenset[tuple[int, int]]]) -> Joint:
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
                seen = _without_steps(seen)
            _see(self.tables[result], (axis, *source), seen)

    def pair(
        self, result: int, axis: int | None, operand: int, operand_axis: int | None, others: Iterable[tuple[int, int]]
    ) -> None:
        """Notes with which sources the relations just seen go hand in hand."""
        own = self.sources.get((operand, operand_axis), [])
        if not others and not self.operands[operand].partners and (operand_axis is None or len(own) < 2):
            return  # as mostly
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


def compose_all(
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


@lru_cache(maxsize=1024)
def _without_steps(relation: Relation) -> Relation:
    """What is seen from everywhere: no axis of the result has steps."""
    return replace(relation, stride=1)


@lru_cache(maxsize=1024)
def _anchored(relation: Relation) -> Relation:
    """A relation that takes part in something that is different at every place."""
    return replace(relation, uniform=False, symmetric=False, steady=False)


def _see(table: Table, key: tuple[int | None, int, int], relation: Relation) -> None:
    table[key] = union(table[key], relation) if key in table else relation


def after(view: View, inputs: list[View]) -> View:
    """What a value of a block sees once the block's inputs see this."""
    relations: Relations = {(0, axis, source, a): r for (axis, source, a), r in view.relations.items()}
    joint: Joint = {(0, *key): partners for key, partners in view.partners.items()}
    return compose_all(relations, joint, [view.varies], inputs, [view.known], inner=[view.inner])[0]


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
