"""Where a claim over axes fails: the entries of a view that break it, and the first step of the graph that does.

A step is to blame when what it makes breaks the claim, nothing that enters it does, and everything after it on a way to
the value breaks it too. Inside a block the same question is asked of the block's own steps, each after what the block's
inputs see, so that the answer is a layer and not the block it stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any

from ...graph import Graph, Kind, Node, Ref
from ...relations import Relation, Sees, prefix
from ..labels import beneath, label
from ..receptive import Receptive
from ..through_time import runs_along
from ..views import View, after
from .case import Case
from .findings import Culprit, Finding, Verdict

Pair = tuple[int, int]  # position of an input, its axis


class Reason(Enum):
    """How an entry of a view breaks a claim."""

    WIDE = "a window wider than allowed"
    ALL = "more than a window"
    AHEAD = "later positions"
    UNLIKE = "positions are not treated alike"
    NEIGHBOURS = "not each position by itself"
    ANYWHERE = "a fixed range of positions, from everywhere"
    APART = "an axis that the claim leaves out must move along"
    TWICE = "seen along several axes of the value, or in several places"


@dataclass(frozen=True)
class Breach:
    """An entry of a view that breaks a claim. along: the axis of the value, None when every element sees it alike.
    partner: of APART, the axis left out."""

    reason: Reason
    pair: Pair
    along: int | None
    relation: Relation
    partner: Pair | None = None

    @property
    def sure(self) -> bool:
        """Is the claim wrong, not merely impossible to prove?"""
        return not self.relation.loose


Rule = Callable[[Relation, bool], Reason | None]
"""How a relation breaks a claim, given whether every element of the value sees it alike; None when it does not."""


@dataclass(frozen=True)
class Law:
    """What a claim asks of a view. rule: of each entry. joint: other axes must not move along unless they are claimed.
    single: the value sees an axis along one of its own at most, and in one place. fixed: it may see a place that is the
    same for every element besides."""

    rule: Rule
    joint: bool = False
    single: bool = True
    fixed: bool = False

    def breaches(self, case: Case, view: View) -> Iterator[Breach]:
        """What of a view breaks the claim, axis by axis."""
        claimed = frozenset(case.axes)
        for pair in case.axes:
            found = [(key, relation) for key, relation in view.relations.items() if key[1:] == pair]
            for key, relation in found:
                reason = self.rule(relation, key[0] is None)
                if reason is not None:
                    yield Breach(reason, pair, key[0], relation)
                elif self.joint:
                    for partner in sorted(view.partners.get(key, frozenset()) - claimed):
                        yield Breach(Reason.APART, pair, key[0], relation, partner)
            apart = [r for key, r in found if key[0] is not None or (r.sees is not Sees.ALL and not self.fixed)]
            if self.single and len(apart) > 1:
                yield Breach(Reason.TWICE, pair, None, max(apart, key=lambda r: r.loose))


@dataclass(frozen=True)
class Step:
    """A step of a graph: labels of the blocks it stands in, the call in the claim's own graph through which it is
    reached, what its operands see of the inputs that the claim is about, and what the result that matters sees."""

    graph: Graph
    ref: Ref
    within: str
    call: Node | None
    operands: tuple[View, ...]
    view: View

    @property
    def path(self) -> str:
        return beneath(self.within, label(self.graph, self.ref.node))

    @property
    def node(self) -> Node:
        return self.graph[self.ref.node]

    @cached_property
    def ways(self) -> list[tuple[int | None, int, int, Relation]]:
        """How its op looks at its operands: (axis of the result, operand, axis of it, relation)."""
        op = self.node.op
        if op is None:
            return []
        table = op.relations(self.graph.operand_types(self.ref.node), self.node.types)
        return [(out, i, axis, r) for (result, out, i, axis), r in table.items() if result == self.ref.result]

    def culprit(self, what: str) -> Culprit:
        return Culprit(self.path, what, self.node.span, self.call.span if self.call is not None else None)


def first(case: Case, breaks: Callable[[View], bool]) -> Step | None:
    """The first step that makes what breaks the claim, on the ways to its value; None when nothing does."""
    return _search(case.receptive, case.graph, case.ref, None, breaks, "", None)


def _search(
    receptive: Receptive,
    graph: Graph,
    goal: Ref,
    inputs: list[View] | None,
    breaks: Callable[[View], bool],
    within: str,
    call: Node | None,
) -> Step | None:
    views = receptive.views(graph, inputs or ())
    seen: dict[Ref, View] = {}

    def view(ref: Ref) -> View:
        if inputs is None:
            return views[ref]
        if ref not in seen:
            seen[ref] = after(views[ref], inputs)
        return seen[ref]

    if not breaks(view(goal)):
        return None
    starts: list[Ref] = []
    waiting, known = [goal], {goal}
    while waiting:
        here = waiting.pop()
        before = [ref for ref in graph.operands(here.node) if breaks(view(ref))]
        if not before:
            starts.append(here)
        waiting += [ref for ref in before if ref not in known]
        known.update(before)
    place = {number: i for i, number in enumerate(graph.order())}
    ref = min(starts, key=lambda r: place[r.node])
    node, operands = graph[ref.node], graph.operands(ref.node)
    if node.kind is Kind.CALL and node.graph is not None:
        result = Ref(node.graph.outputs[ref.result])
        inner = [view(operand) for operand in operands]
        at = beneath(within, label(graph, ref.node))
        found = _search(receptive, node.graph, result, inner, breaks, at, call or node)
        if found is not None:
            return found
    return Step(graph, ref, within, call, tuple(view(operand) for operand in operands), view(ref))


Words = Callable[[Case, Breach], tuple[str, str | None]]
"""What a refusal says of a breach: the message and the help."""


def refusal(case: Case, law: Law, words: Words, figures: dict[str, Any]) -> Finding | None:
    """The claim refused, or left undecided where all that breaks it is loose; None when nothing breaks it."""
    found = list(law.breaches(case, case.view))
    if not found:
        return None
    worst = min(found, key=lambda b: (not b.sure, b.reason is Reason.TWICE))
    steps = replace(law, single=worst.reason is Reason.TWICE)

    def breaks(view: View) -> bool:
        return any(
            breach.pair == worst.pair and (breach.reason is Reason.TWICE) == (worst.reason is Reason.TWICE)
            for breach in steps.breaches(case, view)
        )

    message, help = words(case, worst)
    culprit, sure = None, worst.sure
    step = first(case, breaks)
    if step is not None:
        from .words import culprit_of

        cause = next(b for b in steps.breaches(case, step.view) if b.pair == worst.pair)
        culprit, advice = culprit_of(case, step, cause)
        help = advice or help
        if worst.reason is Reason.UNLIKE and cause.relation.loose:
            sure = sure and _unlike(case, worst.pair)
    if not sure:
        message += ", as far as can be told"
    verdict = Verdict.REFUTED if sure else Verdict.UNKNOWN
    return case.finding(verdict, message, culprit=culprit, help=help, figures=figures)


def _unlike(case: Case, pair: Pair) -> bool:
    """Does a step on the way treat positions of an axis unlike one another, whatever moved them before? What is only
    moved may end in a sum that does not care."""
    views = case.receptive.views(case.graph)
    for number in case.graph.needed([case.ref.node]):
        operands = [views[ref].relations for ref in case.graph.operands(number)]
        for result, out, operand, axis, relation in _ways(case, number):
            view = views[Ref(number, result)]
            own = not relation.uniform and not relation.loose
            if (axis, *pair) in operands[operand] and (own or out in view.varies):
                return True
    return False


def _ways(case: Case, number: int) -> Iterator[tuple[int, int | None, int, int | None, Relation]]:
    """How a node by itself looks at its operands: (result, its axis, operand, axis of it, relation)."""
    graph = case.graph
    node = graph[number]
    if node.kind is Kind.CALL and node.graph is not None:
        outer = case.receptive.views(graph)
        views = case.receptive.views(node.graph, [outer[ref] for ref in graph.operands(number)])
        for result, output in enumerate(node.graph.outputs):
            for (out, operand, axis), relation in views[Ref(output)].relations.items():
                yield result, out, operand, axis, relation
    elif node.scan is not None:
        for operand, axis in runs_along(graph, number):  # no two positions find the same number of steps before them
            yield 0, axis, operand, axis, prefix(uniform=False)
    elif node.op is not None:
        for (result, out, operand, axis), relation in node.op.relations(
            graph.operand_types(number), node.types
        ).items():
            yield result, out, operand, axis, relation


def pooled(case: Case, pair: Pair) -> Step | None:
    """The step at which the value loses an axis of an input; None when it has it, or knows nothing of it."""

    def gone(view: View) -> bool:
        along = {key[0] for key in view.relations if key[1:] == pair}
        return along == {None}

    return first(case, gone)
