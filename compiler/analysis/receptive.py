"""What every value sees of every input: the ops' relations, composed along the graph.

A block is summarised once, as relations between its outputs and its inputs, and each call composes the summary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from ..graph import Graph, Kind, Node, Program, Ref
from ..masks import NOTHING, Known, known_of
from ..ops.base import Op
from ..relations import POINTWISE, Exact, Relation, Relations, Sees, everything
from ..types import TensorType
from .alike import Alike
from .recurrences import scanned
from .through_time import runs_along
from .views import Table, View, compose_all, hand_in_hand, in_place, inner_parts, side_by_side, whole

T = TypeVar("T")

Reach = int | Literal["all"]
# What is known of an input from outside, and, where no input reaches it there, along which axes it varies.
Given = tuple[Known, frozenset[int] | None] | None


@dataclass(frozen=True)
class _Done:
    """masked: what is known of elements has a part in the views, and that may depend on plain numbers."""

    graph: Graph
    views: dict[Ref, View]
    masked: bool


class Receptive:
    """Views of the values of graphs. Each is worked through once, and those that are alike together."""

    def __init__(self) -> None:
        self.alike = Alike()
        self._done: dict[object, _Done] = {}
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._kept: dict[object, Any] = {}
        self._regrouped: dict[object, Relations] = {}

    def kept(self, make: Callable[..., T], *needs: object) -> T:
        """What an analysis that builds on the views remembers of blocks: made, of what it needs, when it is first asked
        for."""
        if make not in self._kept:
            self._kept[make] = make(*needs)
        return self._kept[make]

    def views(self, graph: Graph, inputs: Iterable[View] = ()) -> dict[Ref, View]:
        """The view of every value of a graph, in terms of the graph's own inputs. `inputs`: the views that these have
        where the graph is called, for what is known of their elements there."""
        return self.walk(graph, tuple(map(_given, inputs))).views

    def walk(self, graph: Graph, given: tuple[Given, ...]) -> _Done:
        """As `views`, with what is known of the graph's inputs."""
        first = graph if any(given) else self.alike.first(graph)
        key: object = (id(graph), given) if any(given) else id(first)
        done = self._done.get(key)
        if done is not None and done.masked and done.graph is not graph:
            key = id(graph)
            done = self._done.get(key)
        if done is None:
            done = self._done[key] = self._work_through(graph, given)
        return done

    def relations(self, op: Op, types: tuple[TensorType, ...], results: tuple[TensorType, ...]) -> Relations:
        """As the op's own; those that take long to find out, once."""
        if not op.regroups:
            return op.relations(types, results)
        key = op, types, results
        if key not in self._regrouped:
            self._regrouped[key] = op.relations(types, results)
        return self._regrouped[key]

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
        for number, node, refs in self.receptive.alike.walk(self.graph):
            for i, view in enumerate(self._results(number, node, refs, [views[ref] for ref in refs])):
                views[Ref(number, i)] = view
        return _Done(self.graph, views, self.masked)

    def _results(self, number: int, node: Node, refs: list[Ref], operands: list[View]) -> Iterable[View]:
        if node.kind is Kind.OP:
            return self._op(node, tuple([self.graph.type(ref) for ref in refs]), operands)
        if node.kind in (Kind.INPUT, Kind.TARGET):
            return [self._input(self.graph.inputs.index(number), node.types[0])]
        if node.kind in (Kind.OUTPUT, Kind.LOSS):
            return operands
        if node.kind is Kind.WEIGHT:
            return [self._weight(node)]
        if node.kind is Kind.SCAN:
            return scanned(self.receptive, node, operands, [self.graph.type(ref).rank for ref in refs])
        return self._call(node, operands)

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
            inside: Relations = {(0, *key): relation for key, relation in table.items()}
            view = in_place(inside, operands[0], len(table))
            if view is not None:
                return [view]
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
        return compose_all(relations, joint, own, operands, known, inner=[summary.inner for summary in summaries])

    def _op(self, node: Node, types: tuple[TensorType, ...], operands: list[View]) -> list[View]:
        assert node.op is not None
        plain = len(types) - len(node.replaced)
        relations = self.receptive.relations(node.op, types[:plain], node.types)
        alone = len(types) == len(node.types) == 1 and not node.op.regroups
        if alone and operands[0].simple and (view := in_place(relations, operands[0], types[0].rank)) is not None:
            return [view]
        if len(node.types) == 1 < len(types) == plain and not node.op.regroups and not node.op.contracted(types):
            together = side_by_side(relations, operands)
            if together is not None:
                return [together]
        known = [node.op.known()] * len(node.types) if not types else [NOTHING] * len(node.types)
        lifted: set[tuple[int, int]] = set()
        masked = any(view.known.facts or view.known.diagonal for view in operands)
        self.masked = self.masked or masked
        if masked or (operands and all(view.known.constant is not None for view in operands)):
            relations, lifted, known = self._masks(node, types[:plain], relations, operands[:plain])
        joint = hand_in_hand(relations, node.op.contracted(types[:plain])) if plain > 1 or masked else {}
        for operand in range(plain, len(types)):  # a weight that is computed reaches every position
            for axis in range(types[operand].rank):
                relations = relations | {(r, None, operand, axis): everything() for r in range(len(node.types))}
        own = [_long_axes(t) if not types else frozenset() for t in node.types]
        inner = [inner_parts(relations, types[0], node.types[0])] if node.op.regroups else None
        return compose_all(relations, joint, own, operands, known, lifted, inner)

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


def positional_axes(graph: Graph, receptive: Receptive) -> list[tuple[int, int]]:
    """The inputs' axes that are places (image rows, time) rather than features or the batch: some layer with weights
    slides along them, the same at every place. (input, axis)."""
    views = receptive.views(graph)
    found: set[tuple[int, int]] = set()
    for number in graph.order():
        node = graph[number]
        if not _has_weights(graph, number, node):
            continue
        for operand, scanned_axis in runs_along(graph, number):
            found |= {key[1:] for key in views[graph.operands(number)[operand]].relations if key[0] == scanned_axis}
        for result in range(len(node.types)):
            for (axis, source, source_axis), relation in views[Ref(number, result)].relations.items():
                if axis is not None and relation.uniform and relation.sees is not Sees.ALL:
                    found.add((source, source_axis))
    return sorted(pair for pair in found if not is_batch(graph, *pair))


def is_batch(graph: Graph, source: int, axis: int) -> bool:
    """Is this axis of an input the batch?"""
    return graph[graph.inputs[source]].types[0].names[axis] == "B"


def _has_weights(graph: Graph, number: int, node: Node) -> bool:
    if node.kind in (Kind.CALL, Kind.SCAN):
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
