"""Claims about recurrences: is there one along an axis?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from ...claims import Sequential
from ...graph import Graph, Kind, Node, Ref
from ...relations import Sees
from ...source import Span
from ..labels import beneath, label
from ..through_time import reached_goals, runs_along
from ..views import View, after
from .blame import Pair
from .case import Case, prover
from .findings import Culprit, Finding, Verdict
from .measures import axis_of, vacuous, value_name, windows
from .words import listed

_NAMED = 3  # scans that a message names


@dataclass(frozen=True)
class Run:
    """A scan on the way to a value. pairs: the axes of the inputs along which it runs; perhaps: those along which it
    may run, in some order; call: where it stands in a block, the call that leads there."""

    path: str
    pairs: frozenset[Pair]
    perhaps: frozenset[Pair]
    reverse: bool
    span: Span | None
    call: Span | None


@prover(Sequential)
def sequential(case: Case) -> Finding:
    """On the way to the value a scan runs along every axis."""
    figures: dict[str, object] = {"windows": windows(case)}
    refused = vacuous(case)
    if refused is not None:
        return refused
    runs = list(dict.fromkeys(_runs(case, case.graph, case.needed, None, "", None)))
    texts = []
    for pair, _ in case.seen:
        along = [run for run in runs if pair in run.pairs]
        if not along:
            return _none(case, pair, runs, figures)
        texts.append(_told(along, axis_of(case, pair)))
    figures["scans"] = [run.path for run in runs]
    return case.proved("; ".join(texts), **figures)


def _told(runs: Sequence[Run], axis: str) -> str:
    """`rnn` scans T of `x`, one position after another"""
    paths = list(dict.fromkeys(f"`{run.path}`" for run in runs))
    more = [f"{len(paths) - _NAMED} more"] if len(paths) > _NAMED else []
    ways = {run.reverse for run in runs}
    how = "in both directions" if len(ways) > 1 else "from the last position on" if True in ways else "in order"
    return f"{listed([*paths[:_NAMED], *more])} {'scan' if paths[1:] else 'scans'} {axis}, {how}"


def _none(case: Case, pair: Pair, runs: Sequence[Run], figures: dict[str, object]) -> Finding:
    name = case.axis_name(*pair)
    near = next((run for run in runs if pair in run.perhaps), None)
    if near is not None:
        return case.finding(
            Verdict.UNKNOWN,
            f"`{near.path}` may scan {axis_of(case, pair)} in some order: it is followed too roughly to tell",
            culprit=Culprit(near.path, f"this scans what {name} was made into", near.span, near.call),
            help=f"claim it where {name} enters the scan as it is (`reverse` scans from the last position on), or "
            "vouch for it: `bias sequential … assumed`",
            figures=figures,
        )
    other = next((run for run in runs if run.pairs), None)
    culprit = None
    if other is not None:
        names = listed(dict.fromkeys(case.axis_name(*found) for found in sorted(other.pairs)))
        culprit = Culprit(other.path, f"this scans {names}", other.span, other.call)
    return case.finding(
        Verdict.REFUTED,
        f"no recurrence runs along {name} on the way to {value_name(case)}",
        culprit=culprit,
        help=f"`scan` runs a cell along an axis: `x -> scan LSTM(64) over {name}`; what never looks ahead without one "
        "can claim `causality`",
        figures=figures,
    )


def _runs(
    case: Case, graph: Graph, needed: Set[int], inputs: list[View] | None, within: str, call: Node | None
) -> Iterator[Run]:
    """The scans of a graph on the way to what is needed, those of its blocks and cells included."""
    if not any(inner[n].kind is Kind.SCAN for inner in graph.graphs() for n in inner):
        return
    own = case.receptive.views(graph, inputs or ())

    def view(ref: Ref) -> View:
        return own[ref] if inputs is None else after(own[ref], inputs)

    for number in graph.order():
        node = graph[number]
        if number not in needed or node.graph is None:
            continue
        path, operands = beneath(within, label(graph, number)), [view(ref) for ref in graph.operands(number)]
        goals = _goals(graph, number, needed)
        if node.scan is not None:
            along = [_pairs(operands[operand], axis) for operand, axis in runs_along(graph, number)]
            pairs, perhaps = (frozenset[Pair]().union(*found) for found in zip(*along, strict=True))
            span = call.span if call is not None else None
            yield Run(path, pairs, perhaps, node.scan.reverse, node.span, span)
            operands = _of_one_step(node, operands)
            goals = reached_goals(node.graph, goals)
        inner = node.graph.needed([goal.node for goal in goals])
        yield from _runs(case, node.graph, inner, operands, path, call or node)


def _goals(graph: Graph, number: int, needed: Set[int]) -> set[Ref]:
    """The outputs of what a node runs that something needed consumes, or all where it is what is asked for."""
    node = graph[number]
    assert node.graph is not None
    used = {result for result, user, _ in graph.users(number) if user in needed}
    return {Ref(output) for i, output in enumerate(node.graph.outputs) if i in used or not used}


def _pairs(view: View, axis: int) -> tuple[frozenset[Pair], frozenset[Pair]]:
    """The axes of inputs that an axis of a value goes through position after position, and those which it may."""
    found = {key[1:]: relation for key, relation in view.relations.items() if key[0] == axis}
    rough = {pair for pair, relation in found.items() if relation.sees is Sees.ALL and relation.loose}
    return frozenset(found.keys() - rough), frozenset(rough)


def _of_one_step(node: Node, operands: list[View]) -> list[View]:
    """What the inputs of a cell see at one step, the axis of its scan left out. (States are left out too: no scan in a
    cell runs along an axis of theirs that is not one of what enters.)"""
    assert node.scan is not None and node.graph is not None
    found = [View()] * len(node.graph.inputs)
    for i, axis in enumerate(node.scan.axes):
        relations = operands[i].relations
        if axis is not None:
            kept = {key: r for key, r in relations.items() if key[0] != axis}
            relations = {(_before(key[0], axis), *key[1:]): r for key, r in kept.items()}
        found[i] = View(relations)
    return found


def _before(along: int | None, axis: int) -> int | None:
    return along - 1 if along is not None and along > axis else along
