"""Weight sharing: shape inference is played again with the sizes of the claimed axes left open.

Where a layer then can't say how many weights it needs, or where a number in the text holds the size fast, the weights
do depend on the axis. A block is played through once for each combination of operand types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...claims import WeightSharing
from ...graph import Graph, Kind, Node, Ref
from ...ops.base import Check, Need, Op, Refusal
from ...sizes import Dim, SizeLimit, substitute, symbol, symbols
from ...types import TensorType
from ..labels import beneath, label
from ..through_time import at_one_step, stacked
from .case import Case, prover
from .findings import Culprit, Finding, Verdict
from .measures import vacuous, value_name
from .words import listed, pooled_away

_ROUNDS = 4  # steps after which the shapes of states have settled

Types = tuple[TensorType, ...]
Open = Mapping[str, tuple[str, ...]]  # a symbol that stands for an open size: the claimed axes that it depends on


@dataclass
class _Fixed(Exception):
    """The size of an axis is held fast. sure: by weights, not by a number that may have been computed from it. pooling:
    those of features that were made of the axis."""

    graph: Graph
    number: int
    what: str
    sure: bool
    path: str
    call: Node | None = None
    pooling: bool = False


@prover(WeightSharing)
def weight_sharing(case: Case) -> Finding:
    """Shapes can be inferred, with the same weights, whatever the sizes of the axes."""
    refused = vacuous(case)
    if refused is not None:
        return refused
    names = listed(case.axis_names)
    inputs, opened = _opened(case)
    try:
        if inputs != _input_types(case.graph) or any(map(_may_hold_fast, case.graph.graphs())):
            _Replay().play(case.graph, inputs, [case.ref], opened)
    except _Fixed as fixed:
        return _refused(case, fixed, names)
    return case.proved(f"no layer on the way to {value_name(case)} has weights that depend on the size of {names}")


def _refused(case: Case, fixed: _Fixed, names: str) -> Finding:
    node = fixed.graph[fixed.number]
    sizes = {case.axis_name(s, a): case.graph[case.graph.inputs[s]].types[0].shape[a] for s, a in case.axes}
    numbers = [f"`{name}~{size}`" for name, size in sizes.items() if isinstance(size, int)]
    sure = fixed.sure or not numbers
    if not fixed.sure:
        message = f"`{fixed.path}` holds the size of {names} fast"
        help = f"compute the number from the size of {names}"
        if numbers:
            help = f"leave the size open where it enters, {numbers[0]}, so that what is computed from it follows"
    elif node.kind is Kind.WEIGHT:
        message = f"the size of `{fixed.path}` depends on that of {names}"
        help = f"compute it from the position, or give every position of {names} the same"
    else:
        message = f"the weights of `{fixed.path}` depend on the size of {names}"
        help = f"a convolution or attention shares its weights along {names}"
        if fixed.pooling:
            help = f"{pooled_away(case.axis_names)} first"
    span = fixed.call.span if fixed.call is not None else None
    culprit = Culprit(fixed.path, fixed.what, node.span, span)
    return case.finding(Verdict.REFUTED if sure else Verdict.UNKNOWN, message, culprit=culprit, help=help)


def _opened(case: Case) -> tuple[Types, Open]:
    """The types of the graph's inputs with the claimed axes left open. Sizes that are symbols are so already."""
    types = list(_input_types(case.graph))
    taken = {name for t in types for size in t.shape for name in symbols(size)}
    given: dict[tuple[str, int], str] = {}
    opened: dict[str, tuple[str, ...]] = {}
    for source, axis in case.axes:
        name, size = case.axis_name(source, axis), types[source].shape[axis]
        if isinstance(size, int):
            key = name, size  # inputs that call an axis by one name share its size
            if key not in given:
                given[key] = _fresh(name, taken)
            types[source] = types[source].resize(axis, symbol(given[key]))
            opened[given[key]] = (name,)
        else:
            opened |= {s: (*opened.get(s, ()), name) for s in symbols(size)}
    return tuple(types), opened


def _input_types(graph: Graph) -> Types:
    return tuple(graph[n].types[0] for n in graph.inputs)


def _may_hold_fast(graph: Graph) -> bool:
    """Is there a run-time check that may let an open size be one number only? Without one, inference went through."""
    return any(_equals_number(check) for check, _ in graph.checks)


def _fresh(name: str, taken: set[str]) -> str:
    free = name.replace(" ", "_")
    while free in taken:
        free += "_"
    taken.add(free)
    return free


class _Replay:
    """Plays shape inference again; blocks once for each combination of operand types."""

    def __init__(self) -> None:
        self._done: dict[tuple[int, Types], dict[Ref, TensorType]] = {}

    def play(self, graph: Graph, inputs: Types, goals: Sequence[Ref], opened: Open) -> dict[Ref, TensorType]:
        """The types of a graph's values for inputs of these types. Raises _Fixed."""
        found: dict[Ref, TensorType] = {}
        needed = graph.needed([goal.node for goal in goals])
        for number in graph.order():
            if number in needed:
                results = self._results(graph, number, inputs, found, opened)
                found |= {Ref(number, i): t for i, t in enumerate(results)}
        return found

    def _results(
        self, graph: Graph, number: int, inputs: Types, found: Mapping[Ref, TensorType], opened: Open
    ) -> Types:
        node, operands = graph[number], graph.operands(number)
        if node.kind in (Kind.INPUT, Kind.TARGET):
            return (inputs[graph.inputs.index(number)],)
        types = tuple(found[ref] for ref in operands)
        if node.kind in (Kind.OUTPUT, Kind.LOSS):
            return types
        before = tuple(graph.type(ref) for ref in operands)
        if node.graph is not None:
            if types == before and not any(name in opened for t in types for size in t.shape for name in symbols(size)):
                return node.types
            play = self._call if node.scan is None else self._scan
            return play(graph, number, types, opened)
        if node.op is None:
            return node.types
        plain = len(types) - len(node.replaced)
        need = Need()
        try:
            results = node.op.infer(types[:plain], need)
            same = _shapes(node.op, types[:plain]) == _shapes(node.op, before[:plain])
        except (Refusal, SizeLimit) as refusal:
            raise self._blamed(graph, number, types[:plain], before[:plain], opened, refusal) from None
        if not same:
            raise self._blamed(graph, number, types[:plain], before[:plain], opened, None)
        for check in need.open:
            if _holds_fast(check, opened):
                raise self._held(graph, number, before, check, opened)
        return results

    def _call(self, graph: Graph, number: int, types: Types, opened: Open) -> Types:
        """The types of a call's results. The block keeps its own symbols, which stand for any size; what was a number
        and is open now gets a symbol of the block's own."""
        node = graph[number]
        callee = node.graph
        assert callee is not None
        own = [callee[n].types[0] for n in callee.inputs]
        taken = {name for t in own for size in t.shape for name in symbols(size)}
        sizes: dict[str, int | Dim] = dict(node.sizes)
        for mine, outer in zip(own, types, strict=True):
            for here, there in zip(mine.shape, outer.shape, strict=True):
                if isinstance(here, Dim) and str(here).isidentifier():
                    sizes[str(here)] = there
        inner: list[TensorType] = []
        named: dict[int | Dim, str] = {}
        for mine, outer in zip(own, types, strict=True):
            for axis, (here, there) in enumerate(zip(mine.shape, outer.shape, strict=True)):
                if substitute(here, sizes) != there:
                    if there not in named:
                        named[there] = _fresh(mine.names[axis] or "size", taken)
                        sizes[named[there]] = there
                    mine = mine.resize(axis, symbol(named[there]))
            inner.append(mine)
        free = {
            name: names
            for name, size in sizes.items()
            if (names := tuple(dict.fromkeys(n for s in symbols(size) for n in opened.get(s, ()))))
        }
        key = id(callee.structure), tuple(inner)
        if key not in self._done:
            goals = [Ref(output) for output in callee.outputs]
            try:
                self._done[key] = self.play(callee, tuple(inner), goals, free)
            except _Fixed as fixed:
                fixed.path, fixed.call = beneath(label(graph, number), fixed.path), node
                raise
        return tuple(self._done[key][Ref(output)].substitute(sizes) for output in callee.outputs)

    def _scan(self, graph: Graph, number: int, types: Types, opened: Open) -> Types:
        """As `_call`, of a cell: at one step, whose states have the shapes that their next values have."""
        node = graph[number]
        callee, scan = node.graph, node.scan
        assert callee is not None and scan is not None
        entering = at_one_step(node, types)
        first = len(callee.outputs) - len(callee.states)
        for _ in range(_ROUNDS):
            results = self._call(graph, number, tuple(entering), opened)
            following = [t.shape for t in results[first:]]
            if following == [t.shape for t in entering[len(scan.axes) :]]:
                break
            entering[len(scan.axes) :] = results[first:]
        where = next(i for i, axis in enumerate(scan.axes) if axis is not None)
        axis = types[where].axes[scan.axis]
        return *(stacked(t, scan.axis, axis) for t in results[:first]), *results[first:]

    def _blamed(
        self, graph: Graph, number: int, types: Types, before: Types, opened: Open, refusal: Refusal | SizeLimit | None
    ) -> _Fixed:
        """A layer whose weights, or settings, need the size."""
        op = graph[number].op
        assert op is not None
        weighed = bool(op.weights(before))
        axes = list(_needed_axes(op, types, before))
        names = listed(_names(opened, (types[i].shape[a] for i, a in axes)) or ["the axis"])
        path = label(graph, number)
        if weighed and axes:
            i, a = axes[0]
            what = f"this has weights for {before[i].shape[a]} features, made of every position of {names}"
            alone = types[i].shape[a] in [symbol(name) for name in opened]
            if alone:
                what = f"this has weights for every position of {names}"
            return _Fixed(graph, number, what, True, path, pooling=not alone)
        reason = refusal.message if isinstance(refusal, Refusal) else "the sizes become too long to write down"
        return _Fixed(graph, number, f"this can't be made for any size: {reason}", False, path)

    def _held(self, graph: Graph, number: int, before: Types, check: Check, opened: Open) -> _Fixed:
        """What a size is compared with, and so must be: a trained tensor, a constant, or a number in the text."""
        left = check.left if isinstance(check.left, Dim) else check.right
        fixed = check.right if isinstance(check.left, Dim) else check.left
        names = listed(_names(opened, [left]))
        for ref in graph.operands(number):
            origin = _source(graph, ref)
            spec = graph.weight_at(graph[origin].weight or "") if graph[origin].kind is Kind.WEIGHT else None
            if spec is not None and fixed in spec.shape:
                trained = spec.role == "param"
                what = f"this is for {fixed} positions of {names}, no more and no fewer"
                return _Fixed(graph, origin, what, trained, label(graph, origin))
        return _Fixed(graph, number, f"here {left} must be {fixed}", False, label(graph, number))


def _source(graph: Graph, ref: Ref) -> int:
    """Where a value starts, following its first operands."""
    number = ref.node
    while operands := graph.operands(number):
        number = operands[0].node
    return number


def _shapes(op: Op, types: Types) -> list[tuple[int, ...]]:
    return [spec.shape for spec in op.weights(types)]


def _needed_axes(op: Op, types: Types, before: Types) -> Iterator[tuple[int, int]]:
    """The axes of operands that a layer's weights depend on: with the old size of one of them it can be made again."""
    for i, (new, old) in enumerate(zip(types, before, strict=True)):
        for axis in range(new.rank):
            if new.shape[axis] != old.shape[axis]:
                tried = (*types[:i], new.resize(axis, old.shape[axis]), *types[i + 1 :])
                try:
                    op.infer(tried, Need())
                    if _shapes(op, tried) == _shapes(op, before):
                        yield i, axis
                except Refusal:
                    continue


def _names(opened: Open, sizes: Iterator[int | Dim] | Sequence[int | Dim]) -> list[str]:
    return list(dict.fromkeys(name for size in sizes for s in sorted(symbols(size)) for name in opened.get(s, ())))


def _holds_fast(check: Check, opened: Open) -> bool:
    """Does a run-time check let an open size be one number only?"""
    return _equals_number(check) and any(s in opened for end in (check.left, check.right) for s in symbols(end))


def _equals_number(check: Check) -> bool:
    return check.test == "equal" and (isinstance(check.left, int) or isinstance(check.right, int))
