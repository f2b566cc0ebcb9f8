"""What a step does to an axis, in the words of the layer: what stands under the layer that breaks a claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...graph import Graph, Kind, Ref
from ...ops.base import Glyph
from ...ops.noise import Noise
from ...relations import Relation, Sees, compose
from ..through_time import runs_along
from .blame import Breach, Reason, Step
from .case import Case
from .findings import Culprit

_MERGING = {"flatten": "flattens", "reshape": "reshapes", "rearrange": "merges", "unflatten": "splits"}

Spoken = tuple[Culprit, str | None]
"""Who is to blame and what would have to change, where the layer tells."""
Said = tuple[str, str | None]


def listed(words: Iterable[str], joint: str = "and") -> str:
    """`H, W and D`"""
    *most, last = list(words)
    return f"{', '.join(most)} {joint} {last}" if most else last


def positions(count: object, axis: str = "") -> str:
    """`1 position`, `4 positions of H`"""
    return f"{count} position{'s' * (count != 1)}" + (f" of {axis}" if axis else "")


def pooled_away(axes: Sequence[str]) -> str:
    """How to get rid of axes: a help without its end."""
    how = "-> global_avgpool -> flatten" if len(axes) > 1 else f"-> mean(axis={axes[0].removeprefix('axis ')})"
    return f"pool {listed(axes)} away (`{how}`)"


def culprit_of(case: Case, step: Step, cause: Breach) -> Spoken:
    """What to say of the first step that breaks a claim."""
    axis = case.axis_name(*cause.pair)
    if cause.reason is Reason.APART and cause.partner is not None:
        partner = f"{case.axis_name(*cause.partner)} of `{case.input_name(cause.partner[0])}`"
        return step.culprit(f"here {axis} meets {partner}, which the claim leaves out"), None
    if step.node.scan is not None and cause.reason is not Reason.TWICE:
        what, advice = _scans(step, cause, axis)
        return step.culprit(what), advice
    if cause.reason is Reason.UNLIKE:
        anchored = _anchored(case, step, cause, axis)
        if anchored is not None:
            return anchored
    if cause.reason is Reason.WIDE:
        return step.culprit(f"from here on a place sees {positions(cause.relation.width, axis)}"), None
    if cause.reason is Reason.TWICE:
        return step.culprit(f"here {axis} meets itself: from here on it is seen along two axes"), None
    what, advice = _does(case, step, cause, axis)
    return step.culprit(what), advice


def _scans(step: Step, cause: Breach, axis: str) -> Said:
    """What a recurrence does to an axis: the one that it runs along, or another."""
    scan = step.node.scan
    along = [i for i, a in runs_along(step.graph, step.ref.node) if (a, *cause.pair) in step.operands[i].relations]
    if scan is None or not along:
        if cause.reason is Reason.UNLIKE and cause.relation.padded:
            spreads = f"step after step this sees further along {axis}, and what is padded at the border spreads as far"
            return spreads, "where borders are far and scans short, vouch for it: `assumed`"
        return f"from here on {_seen(cause, axis)}", None
    back = " in reverse" if scan.reverse else ""
    if cause.along is None and step.ref.result < len(step.node.types) - len(scan.starts):
        return f"every step gets all of {axis}: it starts this scan, or comes with it", None
    if cause.along is None:
        return f"this is the end of a scan over {axis}{back}: all its positions are in it, in their order", None
    if cause.reason is Reason.AHEAD:
        return f"this scans {axis} in reverse: a place sees all positions from its own on", "let it run forward: `scan`"
    if cause.reason is Reason.ALL:
        what = "from its own on" if scan.reverse else "up to its own"
        return f"this scans {axis}{back}: a place sees all positions {what}", None
    advice = "convolutions and attention treat all positions alike; what never looks ahead can claim `causality`"
    return f"this scans {axis}{back}: what a place finds depends on how many steps came before it", advice


def _ways(step: Step, cause: Breach) -> list[tuple[int, int, Relation]]:
    """How the step's op comes to see the axis: (operand, its axis, the op's own relation)."""
    return [
        (operand, axis, relation)
        for out, operand, axis, relation in step.ways
        if out == cause.along and (axis, *cause.pair) in step.operands[operand].relations
    ]


def _does(case: Case, step: Step, cause: Breach, axis: str) -> Said:
    op = step.node.op
    ways = _ways(step, cause)
    if op is None or not ways:
        if step.node.replaced:
            return f"the weights of this are made from all of {axis}", None
        return f"from here on {_seen(cause, axis)}", None
    seen = [compose(r, step.operands[i].relations[a, *cause.pair]) for i, a, r in ways]
    strides = sorted({r.stride for r in seen})
    if len(strides) > 1:
        apart = listed(map(str, strides))
        return f"this joins values whose places are {apart} positions of {axis} apart", None
    own = next((r for _, _, r in ways if r != Relation()), ways[0][2])
    if op.name in _MERGING and own != Relation():
        return _merges(case, step, cause, axis)
    if cause.reason is Reason.AHEAD and own.sees is Sees.WINDOW and own.hi > 0:
        return f"this looks {positions(own.hi, axis)} ahead", _CAUSAL.get(op.name)
    if cause.reason is Reason.NEIGHBOURS and own.sees is Sees.WINDOW:
        return _steps(own, axis), None
    advice = _ADVICE.get(op.name)
    ahead = cause.relation
    if cause.reason is Reason.AHEAD and ahead.sees in (Sees.WINDOW, Sees.PREFIX) and ahead.stride == 1:
        return _masked(op.name, ahead, axis)
    if cause.reason is Reason.AHEAD:
        masked = "before it, set the scores of later positions to -inf"
        advice = masked if op.name == "softmax" else _EARLIER
    return f"this {_mixing(step, cause, own, axis)}", advice


_EARLIER = "let every position see itself and earlier ones only"
_CAUSAL = {
    "conv": 'pad on the left only: `pad="causal"`',
    "avgpool": "pad on the left first, with `pad`, so that the window ends at its own position",
    "maxpool": "pad on the left first, with `pad`, so that the window ends at its own position",
}
_ADVICE = {
    "linear": '`linear` works on the last axis: bring the features there first, as in `rearrange("b c t -> b t c")`',
}


def _masked(name: str, ahead: Relation, axis: str) -> Said:
    """Of a step that sees only so many later positions, as behind a mask that ends too late."""
    advice = f"the mask lets {positions(ahead.hi)} too many through" if name == "softmax" else _EARLIER
    return f"from here on a place sees {positions(ahead.hi, axis)} ahead", advice


def _merges(case: Case, step: Step, cause: Breach, axis: str) -> Said:
    assert step.node.op is not None
    names = [case.axis_name(*pair) for pair in case.axes if (cause.along, *pair) in step.view.relations]
    names = list(dict.fromkeys(names)) or [axis]
    verb = _MERGING[step.node.op.name]
    if verb == "splits":
        return f"this splits {axis} in parts that no longer tell where a position is", None
    into, tail = "into one axis" if len(names) > 1 else "with other axes", "their moves can't be followed from here"
    help = "claim this of a value before it"
    if cause.along == step.node.types[step.ref.result].rank - 1:
        into, tail = "into the features", "what follows weighs every position by itself"
        help = f"{pooled_away(names)} first, or {help}"
    if cause.reason is Reason.ALL:
        tail = f"later places see all of {'them' if len(names) > 1 else 'it'}"
    elif cause.reason is Reason.AHEAD:
        tail = "later positions are seen too"
    return f"this {verb} {listed(names)} {into}: {tail}", help


def _steps(own: Relation, axis: str) -> str:
    if own.width is not None and own.width > 1:
        return f"this joins {own.width} neighbouring positions of {axis}"
    return f"this keeps one position of {axis} in {own.stride}" if own.stride != 1 else f"this moves along {axis}"


def _mixing(step: Step, cause: Breach, own: Relation, axis: str) -> str:
    op = step.node.op
    assert op is not None
    named = {
        "flip": f"turns {axis} around",
        "roll": f"turns {axis} in a circle",
        "index": f"takes one position of {axis}",
        "concat": f"puts tensors one after another along {axis}",
        "softmax": f"normalises over all of {axis}",
        "linear": f"weighs every position of {axis} by itself",
    }
    if op.name in named:
        return named[op.name]
    if own.sees is Sees.PREFIX:
        return f"sees all positions of {axis} up to its own"
    if own.sees is Sees.SUFFIX:
        return f"sees all positions of {axis} from its own on"
    if own.sees is not Sees.ALL:
        return f"treats the positions of {axis} each in its own way"
    if op.glyph is Glyph.NORM:
        return f"normalises over all of {axis}" + ("" if own.uniform else ", and scales each position by itself")
    if cause.along is None:
        return f"pools {axis} away" if op.glyph in (Glyph.POOL, Glyph.REDUCE) else f"sums over {axis}"
    if op.glyph in (Glyph.CONV, Glyph.POOL):
        return f"pads {axis} in a circle" if own.steady else f"cuts {axis} into uneven windows"
    return f"sees all of {axis}"


def _seen(cause: Breach, axis: str) -> str:
    relation = cause.relation
    if cause.reason is Reason.AHEAD and relation.sees is Sees.WINDOW:
        return f"a place sees {positions(relation.hi, axis)} ahead"
    return (
        f"the positions of {axis} are not treated alike" if cause.reason is Reason.UNLIKE else f"all of {axis} is seen"
    )


def _anchored(case: Case, step: Step, cause: Breach, axis: str) -> Spoken | None:
    """What to say of a weight or constant because of which a step no longer treats positions alike: something of its
    own at each. None when that is not the reason."""
    met = {(i, a) for out, i, a, _ in step.ways if out == cause.along and cause.along is not None}
    op = step.node.op
    if op is not None and cause.along is None:
        ways = {(i, a) for i, a, _ in _ways(step, cause)}
        groups = op.contracted(step.graph.operand_types(step.ref.node))
        met = {place for group in groups if group & ways for place in group}
    operands = step.graph.operands(step.ref.node)
    found = next((operands[i] for i, a in sorted(met) if a in step.operands[i].varies), None)
    if found is None:
        return None
    advice = "leave it out, or claim this of a value that does not see it"
    origin = _origin(case, step.graph, found)
    if step.graph[origin].kind is Kind.INPUT:
        return step.culprit(f"this brings in something else at every position of {axis}"), advice
    spec = step.graph.weight_at(step.graph[origin].weight or "")
    kind = "a position embedding" if spec is not None and spec.role == "param" else "a constant"
    if isinstance(step.graph[origin].op, Noise):
        kind = "noise"
    if step.graph[origin].kind is Kind.SCAN:
        kind = "this counts its steps"
    culprit = replace(step, ref=Ref(origin)).culprit(f"{kind}: it holds something else at every position of {axis}")
    return culprit, advice


def _origin(case: Case, graph: Graph, ref: Ref) -> int:
    """The weight, constant or input from which a value has what makes it different from place to place."""
    views = case.receptive.views(graph)
    number = ref.node
    while True:
        before = [operand for operand in graph.operands(number) if views[operand].varies]
        if not before:
            return number
        number = before[0].node
