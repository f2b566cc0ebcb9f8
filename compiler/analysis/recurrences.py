"""What the results of a scan see: those of its cell at every step, and all that its states pass on.

A state sees what its start sees, and what its next value sees, over and over. An axis along which that grows from step
to step (a convolution in a cell) ends in all of it. Along the axis of the scan, a position sees what entered before it;
what it finds of that depends on how many steps lie between, so that positions are not treated alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ..graph import Graph, Node, Ref
from ..masks import NOTHING
from ..relations import POINTWISE, Relation, Relations, Sees, everything, union
from .gates import Dependence
from .through_time import states_of
from .views import Joint, Table, View, after, compose_all

if TYPE_CHECKING:
    from .receptive import Receptive

_ROUNDS = 3  # steps after which what still grows is taken to grow for ever
_MOST_ROUNDS = 16  # and these after which only what is seen is kept


def scanned(receptive: Receptive, node: Node, operands: list[View], ranks: Sequence[int]) -> list[View]:
    """The views of a SCAN node's results, given those of its operands and how many axes these have."""
    assert node.graph is not None
    return _Scan(node, node.graph, receptive.views(node.graph), receptive.kept(Dependence), ranks).after(operands)


@dataclass
class _Scan:
    """One scan. Its operands are the sources of the cell's views here: tensors that enter, starts, the mask."""

    node: Node
    cell: Graph
    summary: dict[Ref, View]
    depends: Dependence
    ranks: Sequence[int]

    def __post_init__(self) -> None:
        scan = self.node.scan
        assert scan is not None
        self.scan, self.count = scan, len(scan.axes)
        self.sources = {at: operand for operand, at in enumerate(scan.entries) if at is not None}
        self.mask = len(scan.entries) - 1 if scan.masked else None

    @cached_property
    def fed(self) -> list[frozenset[int]]:
        """On which operands the cell's inputs depend, at any step."""
        return self.depends.fed(self.node, [frozenset({i}) for i in range(len(self.scan.entries))])

    @cached_property
    def entering(self) -> list[View]:
        """What the cell's inputs see at any step, states included."""
        inputs = [self._itself(at) for at in range(len(self.cell.inputs))]
        held = self._held()
        turn = 0
        while True:
            following = list(inputs)
            for at, result in states_of(self.cell):
                seen = joined([inputs[at], after(self.summary[result], inputs), held])
                following[at] = seen if turn < _ROUNDS else _widened(inputs[at], seen, roughly=turn > _MOST_ROUNDS)
            if following == inputs:
                return inputs
            inputs, turn = following, turn + 1

    def _itself(self, at: int) -> View:
        operand = self.sources.get(at)
        if operand is None:  # a state that starts from zeros
            return View()
        t = self.cell[self.cell.inputs[at]].types[0]
        return View({(a, operand, a): POINTWISE for a in range(t.rank)})

    def _held(self) -> View:
        """What a mask decides, place by place along the axes that it shares."""
        if self.mask is None:
            return View()
        return View({(a, self.mask, a): POINTWISE for a in range(self.ranks[self.mask] - 1)})

    def after(self, operands: list[View]) -> list[View]:
        first = len(self.cell.outputs) - len(self.cell.states)
        relations: Relations = {}
        joint: Joint = {}
        own: list[frozenset[int]] = []
        inner: list[frozenset[tuple[int, int, int]]] = []
        for result, output in enumerate(self.cell.outputs):
            if result < first:
                seen = joined([after(self.summary[Ref(output)], self.entering), self._held()])
                at: int | None = min(self.scan.axis, self.cell[output].types[0].rank)
            else:
                seen, at = self.entering[len(self.cell.inputs) - len(self.cell.states) + result - first], None
            self._place(result, seen, at, relations, joint)
            along = self._along(output, at)
            for operand, relation in along.items():
                relations[result, at, operand, self._axis(operand)] = relation
                met = {(other, self._axis(other)) for other in along if other != operand}
                joint[result, at, operand, self._axis(operand)] = frozenset(met)
            moves = at is not None and self._passes_on(output)
            own.append(frozenset(_past(a, at) for a in seen.varies) | ({at} if moves and at is not None else set()))
            inner.append(frozenset((_past(a, at), i, self._past(i, b)) for a, i, b in seen.inner))
        return compose_all(relations, joint, own, operands, [NOTHING] * len(own), inner=inner)

    def _place(self, result: int, seen: View, at: int | None, relations: Relations, joint: Joint) -> None:
        """Notes what a result sees of its operands' axes but that of the scan."""
        for (axis, operand, a), relation in seen.relations.items():
            key = result, None if axis is None else _past(axis, at), operand, self._past(operand, a)
            relations[key] = relation
            partners = seen.partners.get((axis, operand, a))
            if partners:
                joint[key] = frozenset((i, self._past(i, b)) for i, b in partners)

    def _axis(self, operand: int) -> int:
        """The axis of an operand along which the scan runs."""
        if operand == self.mask:
            return self.ranks[operand] - 1
        axis = self.scan.axes[operand]
        assert axis is not None
        return axis

    def _past(self, operand: int, axis: int) -> int:
        """Where an operand has an axis that a step has there."""
        return _past(axis, self.scan.axes[operand] if operand < self.count else None)

    def _along(self, output: int, at: int | None) -> dict[int, Relation]:
        """What a result sees along the scan, by operand. `at`: its own axis there; None for a final state."""
        found: dict[int, Relation] = {}
        inputs = self.depends.of(self.cell)[Ref(output)]
        before = frozenset[int]().union(*(self.fed[i] for i in inputs if i >= self.count))
        for operand in range(len(self.scan.entries)):
            masks = operand == self.mask
            if not masks and (operand >= self.count or self.scan.axes[operand] is None):
                continue
            now = masks or operand in inputs
            if at is None and (now or operand in before):
                found[operand] = everything(loose=operand not in before)
            elif at is not None and operand in before:
                found[operand] = self._one_sided(0 if now else 1)
            elif now:
                found[operand] = POINTWISE
        return found

    def _one_sided(self, gap: int) -> Relation:
        if self.scan.reverse:
            return Relation(Sees.SUFFIX, lo=gap, hi=gap, uniform=False)
        return Relation(Sees.PREFIX, lo=-gap, hi=-gap, uniform=False)

    def _passes_on(self, output: int) -> bool:
        """Does a result depend on a state? Then it may hold something else at every position whatever enters."""
        return any(at >= self.count for at in self.depends.of(self.cell)[Ref(output)])


def _past(axis: int, at: int | None) -> int:
    """The place of an axis once another stands at `at`."""
    return axis if at is None or axis < at else axis + 1


def joined(views: Iterable[View]) -> View:
    """What is seen by one or another."""
    first, *others = views
    table: Table = dict(first.relations)
    partners = dict(first.partners)
    varies, inner = first.varies, first.inner
    for view in others:
        for key, relation in view.relations.items():
            table[key] = union(table[key], relation) if key in table else relation
        for key, met in view.partners.items():
            partners[key] = partners.get(key, frozenset()) | met
        varies, inner = varies | view.varies, inner | view.inner
    return View(table, varies, partners, inner)


def _widened(before: View, now: View, roughly: bool) -> View:
    """What still grows sees all of an axis in the end. It moves with it where every step does, unless padding comes in
    at the borders: that spreads as far."""
    table = dict(now.relations)
    for key, relation in now.relations.items():
        if before.relations.get(key) != relation and key in before.relations:
            kept = everything(
                uniform=relation.uniform, steady=relation.follows_shifts and not relation.padded, loose=True
            )
            table[key] = everything(loose=True) if roughly else replace(union(relation, kept), period=relation.period)
    return View(table, now.varies, now.partners, now.inner)
