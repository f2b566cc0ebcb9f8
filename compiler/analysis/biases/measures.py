"""What the claims over axes share: the figures of a view, caveats, and claims that would say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any

from ...graph import Graph, Kind, Node, Ref
from ...ops.base import Glyph
from ...relations import Relation, Sees
from ..alike import Alike
from ..labels import beneath, label
from ..views import View, after
from .blame import Breach, Pair, Reason, pooled
from .case import Case
from .findings import Caveat, Finding, Verdict
from .words import listed


def windows(case: Case) -> list[dict[str, object]]:
    """The figures of a claim over axes: what a place sees of each, along which axis of the value (None when every
    element sees it alike)."""
    found = []
    for pair, seen in case.seen:
        along, relation = min(seen, key=lambda entry: entry[0] is None)
        figures: dict[str, object] = {
            "input": case.input_name(pair[0]),
            "axis": case.axis_name(*pair),
            "along": along,
            "sees": str(relation.sees),
            "period": str(relation.period),
        }
        if along is not None:
            figures["stride"] = str(relation.stride)
        if relation.sees is Sees.WINDOW:
            figures |= {"lo": str(relation.lo), "hi": str(relation.hi), "width": relation.width}
        found.append(figures)
    return found


def value_name(case: Case) -> str:
    return f"`{case.claimed.value}`" if case.claimed.value else "the output"


def vacuous(case: Case) -> Finding | None:
    """The refusal of a claim over axes that the value knows nothing of."""
    if not case.axes:
        return case.finding(
            Verdict.REFUTED, "no input has an axis but the batch", help="it is said of axes: give the inputs some"
        )
    known = {case.axis_name(*pair) for pair, _ in case.seen}
    missing = [name for name in case.axis_names if name not in known]
    if not missing:
        return None
    named = listed(missing)
    return case.finding(
        Verdict.REFUTED,
        f"{value_name(case)} does not depend on {named}: the claim would say nothing",
        help=f"leave {named} out, or claim it of a value that is computed from it",
        figures={"windows": windows(case)},
    )


def axes_of(case: Case, pairs: Iterable[Pair]) -> str:
    """H and W of `image`"""
    by_input: dict[int, list[str]] = {}
    for source, axis in pairs:
        by_input.setdefault(source, []).append(case.axis_name(source, axis))
    return listed(f"{listed(names)} of `{case.input_name(source)}`" for source, names in by_input.items())


def axis_of(case: Case, pair: Pair) -> str:
    """H of `image`"""
    return f"{case.axis_name(*pair)} of `{case.input_name(pair[0])}`"


def gone(case: Case, figures: dict[str, Any]) -> Finding | None:
    """The refusal of a claim that asks for an axis which the value has no more."""
    for pair, seen in case.seen:
        if all(along is None for along, _ in seen):
            step, name = pooled(case, pair), case.axis_name(*pair)
            instead = case.claim.name.replace("equivariance", "invariance")
            other = f"claim `{instead}` of it, or this of a value before" if instead != case.claim.name else None
            return case.finding(
                Verdict.REFUTED,
                f"{value_name(case)} has no places along {name} any more",
                culprit=step.culprit(f"here {name} goes away") if step is not None else None,
                help=other or f"claim it of a value that still has {name}",
                figures=figures,
            )
    return None


def still_there(case: Case, figures: dict[str, Any]) -> Finding | None:
    """The refusal of a claim that asks for an axis to be gone, of a value that has it."""
    for pair, seen in case.seen:
        if any(along is not None for along, _ in seen):
            name, instead = case.axis_name(*pair), case.claim.name.replace("invariance", "equivariance")
            return case.finding(
                Verdict.REFUTED,
                f"{value_name(case)} still has places along {name}, so that it changes with it",
                help=f"claim `{instead}` of it, or this once {name} is pooled away",
                figures=figures,
            )
    return None


def meeting(case: Case, breach: Breach) -> tuple[str, str | None]:
    """What is said where axes meet, or are seen from everywhere."""
    axis, value = axis_of(case, breach.pair), value_name(case)
    if breach.reason is Reason.APART and breach.partner is not None:
        names = f"{case.axis_name(*breach.pair)}, {case.axis_name(*breach.partner)}"
        message = f"{value} joins {axis} with {axis_of(case, breach.partner)}, which the claim leaves as it is"
        return message, f"claim it over both: `over {names}`"
    if breach.reason is Reason.ANYWHERE:
        return f"every place of {value} sees the same positions of {axis}", None
    return f"{value} sees {axis} along several of its own axes", "claim it of a value before they meet"


def caveats(case: Case, *, moves: bool = False) -> Iterator[Caveat]:
    """What a proof about the places of a value supposes. moves: of a claim that the input's moves are followed."""
    seen = [(pair, key, relation) for pair, found in case.seen for key, relation in found]
    if moves and any(relation.padded for _, _, relation in seen):
        path = _first_with(case, lambda relation: relation.padded)
        yield Caveat("zero padding", f"from `{path}` on, places near the border see padding in place of data")
    still = {pair for pair, key, _ in seen if key is not None}
    if moves and any(pair in still and relation.sees is not Sees.WINDOW for pair, _, relation in seen):
        yield _global(case)
    yield from batch_statistics(case)


def _global(case: Case) -> Caveat:
    path = _first_with(case, lambda relation: relation.sees is not Sees.WINDOW)
    text = f"from `{path}` on, places know of all others: what leaves at one border must equal what enters at the other"
    if all(relation.sees in (Sees.WINDOW, Sees.PREFIX, Sees.SUFFIX) for _, seen in case.seen for _, relation in seen):
        text = f"from `{path}` on, places know of all on one side of them: what enters there must count for nothing"
    return Caveat("global statistics", text)


def _first_with(case: Case, test: Callable[[Relation], bool]) -> str:
    """The path of the first step whose results see a claimed axis in such a way, which no later step undoes."""
    claimed = frozenset(case.axes)

    def has(view: View) -> bool:
        return any(key[1:] in claimed and test(relation) for key, relation in view.relations.items())

    def search(graph: Graph, needed: Set[int], inputs: list[View] | None) -> str:
        views = case.receptive.views(graph, inputs or ())
        for number in graph.order():
            if number not in needed:
                continue
            node = graph[number]
            for result in range(max(1, len(node.types))):
                view = views[Ref(number, result)]
                if has(view if inputs is None else after(view, inputs)):
                    if node.kind is not Kind.CALL or node.graph is None:
                        return label(graph, number)
                    operands = [views[ref] for ref in graph.operands(number)]
                    outer = operands if inputs is None else [after(operand, inputs) for operand in operands]
                    goal = node.graph.outputs[result]
                    return beneath(label(graph, number), search(node.graph, node.graph.needed([goal]), outer))
        return graph.name

    return search(case.graph, case.needed, None)


def batch_statistics(case: Case) -> Iterator[Caveat]:
    """The caveat of norms that take statistics over the batch, of values that have a claimed axis."""
    graph, claimed = case.graph, frozenset(case.axes)
    views, norms = case.receptive.views(graph), case.receptive.kept(_Norms, case.receptive.alike)
    told: dict[bool, tuple[int, str]] = {}
    for number, refs, more, path, stepwise in sorted(norms.of(graph)):
        if number in case.needed and any(
            key[0] is not None and key[1:] in claimed for ref in refs for key in views[ref].relations
        ):
            count, first = told.get(stepwise, (0, path))
            told[stepwise] = count + more, first
    for stepwise, (count, first) in sorted(told.items()):
        others = f" and {count - 1} more" if count > 1 else ""
        verb = "take" if count > 1 else "takes"
        where = "all positions within a step: other steps have no part in them" if stepwise else "all positions"
        yield Caveat("batch statistics", f"in training, `{first}`{others} {verb} statistics over the batch and {where}")


class _Norms:
    """The steps of graphs that run norms with batch statistics: how many, which is the first, and whether they stand in
    a cell, where each step has statistics of its own."""

    def __init__(self, alike: Alike) -> None:
        self._alike = alike
        self._done: dict[int, list[tuple[int, list[Ref], int, str, bool]]] = {}

    def of(self, graph: Graph) -> list[tuple[int, list[Ref], int, str, bool]]:
        """Each such step in order: the node, its operands, how many norms, the path of the first, in a scan or not."""
        graph = self._alike.first(graph)
        if id(graph) not in self._done:
            self._done[id(graph)] = [
                (number, operands, *found)
                for number, node, operands in self._alike.walk(graph)
                for found in self._at(graph, number, node)
            ]
        return self._done[id(graph)]

    def _at(self, graph: Graph, number: int, node: Node) -> Iterator[tuple[int, str, bool]]:
        if node.graph is None:
            if node.op is not None and node.op.stateful and node.op.glyph is Glyph.NORM:
                yield 1, label(graph, number), False
            return
        inside: dict[bool, list[tuple[int, str]]] = {}
        for _, _, count, path, stepwise in self.of(node.graph):
            inside.setdefault(stepwise or node.scan is not None, []).append((count, path))
        for stepwise, found in sorted(inside.items()):
            yield sum(count for count, _ in found), beneath(label(graph, number), found[0][1]), stepwise
