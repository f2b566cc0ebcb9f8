"""What of an axis is left out on the way. Of an axis that is split, relations tell of the outermost part only; of one
that is turned around or rolled, no more than what is seen at most. What gets lost there does not show in them."""

from __future__ import annotations

from collections.abc import Iterator, Set
from fractions import Fraction

from ...graph import Graph, Ref
from ...relations import POINTWISE, Relation, Relations, Sees
from ...sizes import Dim, Verdict, at_least
from ..receptive import Receptive
from .blame import Pair
from .words import positions


class Parts:
    """Looks for steps in which positions of an axis may get lost that is split or followed roughly; once for each
    graph, axes of its inputs and axes of its inputs that are such parts already."""

    def __init__(self, receptive: Receptive) -> None:
        self._receptive = receptive
        self._done: dict[tuple[int, int, frozenset[Pair], frozenset[Pair]], tuple[Graph, bool]] = {}

    def lose(self, graph: Graph, goal: Ref, pairs: frozenset[Pair], inner: frozenset[Pair] = frozenset()) -> bool:
        """May a step that leads to a value leave out some of these axes where relations would not tell?"""
        key = id(graph), goal.node, pairs, inner
        if key not in self._done:
            self._done[key] = graph, any(self._lost(graph, graph.needed([goal.node]), pairs, inner))
        return self._done[key][1]

    def _lost(self, graph: Graph, needed: Set[int], pairs: frozenset[Pair], inner: frozenset[Pair]) -> Iterator[bool]:
        views = self._receptive.views(graph)
        for number in graph.order():
            node, refs = graph[number], graph.operands(number)
            if number not in needed:
                continue
            whole: set[Pair] = set()
            parts: set[Pair] = set()
            for i, ref in enumerate(refs):
                seen = [key for key in views[ref].relations if key[0] is not None]
                whole |= {(i, key[0]) for key in seen if key[1:] in pairs and key[0] is not None}
                parts |= {(i, key[0]) for key in seen if key[1:] in inner and key[0] is not None}
                rough = (key for key in seen if key[1:] in pairs and views[ref].relations[key].loose)
                parts |= {(i, key[0]) for key in rough if key[0] is not None}
                parts |= {(i, axis) for axis, *source in views[ref].inner if tuple(source) in pairs | inner}
            if not whole and not parts:
                continue
            if node.graph is not None and node.scan is None:
                for output in node.graph.outputs:
                    yield self.lose(node.graph, Ref(output), frozenset(whole), frozenset(parts))
            elif parts and (node.op is not None or node.scan is not None):
                types = tuple(graph.operand_types(number))
                relations = {} if node.op is None else self._receptive.relations(node.op, types, node.types)
                yield any(not _kept(graph, number, relations, place) for place in parts)


def _kept(graph: Graph, number: int, relations: Relations, place: Pair) -> bool:
    """Does every result of a step hold all of an axis of an operand, or none of it?"""
    size = graph.operand_types(number)[place[0]].shape[place[1]]

    def whole(result: int, out: int | None, relation: Relation) -> bool:
        if relation.sees is Sees.ALL:
            return not relation.loose or relation.covers
        return out is not None and left_out(relation, graph[number].types[result].shape[out], size) is None

    found = [whole(key[0], key[1], relation) for key, relation in relations.items() if key[2:] == place]
    return bool(found) and all(found)


def left_out(relation: Relation, size: int | Dim, whole: int | Dim) -> str | None:
    """What an axis of `size` places that sees another of `whole` positions like this leaves out of that."""
    if relation.sees is not Sees.WINDOW:
        return None
    if relation is POINTWISE and size == whole:
        return None  # as mostly
    if relation.stride > (relation.width or 0):
        return f"only {positions(relation.width)} in {relation.stride} are seen"
    if relation.lo > 0:
        return f"the first {positions(int(relation.lo))} are never seen"
    if isinstance(size, int) and isinstance(whole, int):
        rest = whole - 1 - (relation.stride * (size - 1) + relation.hi)
        return f"the last {positions(-int(-rest // 1))} are never seen" if rest > 0 else None
    if isinstance(relation.stride, Fraction) or isinstance(relation.hi, Fraction):
        return ""
    short = (size - 1) * relation.stride + relation.hi - (whole - 1)
    return None if at_least(short, 0) is Verdict.PROVED else ""
