"""Cells: one step taken outside a scan, and scans along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..diagnostics import Label, did_you_mean, error
from ..graph import EdgeKind, Instance, Kind, Node, Scan
from ..sizes import Dim
from ..source import Span
from ..syntax import ast
from ..types import Axis, TensorType
from .indices import IndexGrid
from .values import Outcomes, Poisoned, Ran, Recipe, States, Tensor, describe

if TYPE_CHECKING:
    from .apply import Applier, Use
    from .session import Call


@dataclass(frozen=True, slots=True)
class Run:
    """A cell is to run along an axis of what enters it."""

    axis: ast.Ident
    reverse: bool = False


def use_cell(applier: Applier, recipe: Recipe, use: Use, path: str) -> Any:
    """Sends what enters through a cell: one step of it, or all along an axis. `path`: where its weights live."""
    target = recipe.target
    assert not isinstance(target, type)
    item = target.definition
    inputs = applier.session.inputs(item)
    mask = None
    if use.run is not None and "mask" not in [i.name.text for i in inputs]:
        mask = use.extra.pop("mask", None)
    scanned = list(use.operands) if use.run is not None else []
    at = [_position(t, use.run.axis) for t in scanned] if use.run is not None else []
    length = _length(applier, scanned, at, use)
    use.operands = [_step(t, a) for t, a in zip(scanned, at, strict=True)] if use.run is not None else use.operands
    arguments, frozen = applier.arguments_of(target, item, recipe, use)
    operands = applier.block_operands(item, inputs, use)
    if use.run is None:
        _no_sequence(item, inputs, use)
    entering = tuple(t.type for t in (*operands, *_shaping(applier, item, use)))
    call = applier.session.call(target, arguments, frozen, entering, applier.starts, use.span)
    if call.made.failed:
        raise Poisoned
    applier.own(path, Instance(call.made.graph, use.span), use.span, use.module)
    states = call.made.graph.states
    types = call.results[len(call.results) - len(states) :]
    starts = _starts(applier, dict(zip(states, types, strict=True)), use)
    node = Node(
        Kind.CALL,
        call.results,
        name=use.name,
        graph=call.made.graph,
        module=path,
        sizes=call.sizes,
        bindings=applier.bindings(arguments, call.made.passed, use.span),
        level=use.place.level,
        span=use.span,
    )
    if use.run is None:
        begun = [start or _zeros(applier, t, use.span) for start, t in zip(starts, types, strict=True)]
        return _step_taken(applier, node, operands, begun, states)
    assert length is not None
    return _run(applier, node, call, use, _Scanned(scanned, at, length, operands, starts, mask))


def _no_sequence(item: ast.Definition, inputs: Sequence[ast.InputStmt], use: Use) -> None:
    """Refuses a step that is given whole sequences: operands of one axis more than it takes."""
    given = list(zip(inputs, use.operands, strict=False))
    if not given or any(t.type.rank != len(i.shape.axes) + 1 for i, t in given):
        return
    declared, found = given[0][0], given[0][1].type
    names, known = found.names[1:], {a.name for a in declared.shape.axes}
    axis = next((name for name in names if name and name not in known), names[0])
    cell = use.span.text if "\n" not in use.span.text else item.name.text
    way = f"to run it along {axis}," if axis else "to run it along an axis, give that a name, `T`, and"
    count = found.rank - 1
    raise error(
        "A0340",
        f"a step of `{item.name.text}` takes `{declared.name.text}` with {count} ax{'es' if count != 1 else 'is'}, and "
        f"this is {found}, with {found.rank}",
        use.span,
        labels=[Label(declared.shape.span, "declared here")],
        help=f"this is one step of the cell: {way} write `scan {cell} over {axis or 'T'}`",
    )


def _shaping(applier: Applier, item: ast.Definition, use: Use) -> list[Tensor]:
    """The starts of states that take their shape from it."""
    found = []
    for s in applier.session.unshaped(item):
        name = s.name.text
        if name not in use.starts:
            raise error(
                "A0538",
                f"state `{name}` takes its shape from its start, and is given none",
                use.span,
                labels=[Label(s.span, "declared here")],
                help=f"write `from ({name}=…)`",
            )
        found.append(use.starts[name][0])
    return found


def _zeros(applier: Applier, t: TensorType, span: Span) -> Tensor:
    grid = IndexGrid(names=t.names, sizes=t.shape, tree=("number", 0), dtype=t.dtype)
    return applier.apply(grid, (), span)[0]


def _step_taken(
    applier: Applier, node: Node, operands: Sequence[Tensor], begun: Sequence[Tensor], states: Sequence[str]
) -> Any:
    assert node.span is not None
    refs = [t.ref for t in (*operands, *begun)]
    kinds = [EdgeKind.DATA] * len(operands) + [EdgeKind.STATE] * len(begun)
    return _results(applier.place(node, refs, node.span, kinds), states)


@dataclass(slots=True)
class _Scanned:
    """What a scan takes: the tensors that entered, the position of the axis in each, its length; all operands of a
    step; the starts of the states, None for zeros; the mask and where it was given."""

    tensors: list[Tensor]
    at: list[int]
    length: int | Dim
    operands: list[Tensor]
    starts: list[Tensor | None]
    mask: tuple[Tensor, Span] | None


def _run(applier: Applier, node: Node, call: Call, use: Use, what: _Scanned) -> Any:
    assert use.run is not None
    states = call.made.graph.states
    outputs = call.results[: len(call.results) - len(states)]
    axis = Axis(what.tensors[0].type.axes[what.at[0]].name, what.length)
    stacked = tuple(_stacked(t, min(what.at[0], t.rank), axis) for t in outputs)
    last = call.results[len(outputs) :]
    if what.mask is not None:
        _check_mask(applier, what, axis, (*outputs, *last), use)
    axes: list[int | None] = list(what.at)
    by_name = len(what.operands) - len(axes)
    refs = [t.ref for t in what.tensors] + [t.ref for t in what.operands[len(axes) :]]
    kinds = [EdgeKind.DATA] * len(refs)
    begun = [start.ref for start in what.starts if start is not None]
    refs, kinds = refs + begun, kinds + [EdgeKind.STATE] * len(begun)
    if what.mask is not None:
        refs, kinds = [*refs, what.mask[0].ref], [*kinds, EdgeKind.GATE]
    scan = Scan(
        tuple(axes + [None] * by_name),
        tuple(start is not None for start in what.starts),
        what.mask is not None,
        use.run.reverse,
    )
    made = replace(node, kind=Kind.SCAN, types=(*stacked, *last), scan=scan)
    return _results(applier.place(made, refs, use.span, kinds), states)


def _stacked(t: TensorType, at: int, axis: Axis) -> TensorType:
    axes = tuple(Axis(None, a.size) if a.name == axis.name else a for a in t.axes)
    return TensorType((*axes[:at], axis, *axes[at:]), t.dtype)


def _results(tensors: Sequence[Tensor], states: Sequence[str]) -> Any:
    outputs, final = tensors[: len(tensors) - len(states)], tensors[len(tensors) - len(states) :]
    return joined(outputs, States(dict(zip(states, final, strict=True))))


def joined(outputs: Sequence[Tensor], last: States) -> Any:
    """The value of a use of a cell: its outputs, which bring the states along; the states, where it has none."""
    if not outputs:
        return last
    if len(outputs) == 1:
        only = outputs[0]
        return Ran(only.ref, only.type, only.span, only.home, last)
    return Outcomes(outputs, last)


def _position(t: Tensor, axis: ast.Ident) -> int:
    at = t.type.find(axis.text)
    if at is None:
        named = ", ".join(f"`{n}`" for n in t.type.names if n) or "none of its axes has a name"
        raise error(
            "A0535",
            f"there is no axis `{axis.text}` to scan over: this is {t.type}",
            axis.span,
            labels=[Label(t.span, f"this is {t.type}")],
            help=did_you_mean(axis.text, [n for n in t.type.names if n]) or f"its named axes: {named}",
        )
    return at


def _length(applier: Applier, scanned: Sequence[Tensor], at: Sequence[int], use: Use) -> int | Dim | None:
    if use.run is None:
        return None
    if not scanned:
        raise error("A0306", "a scan needs a tensor to run along, and none enters", use.span)
    sizes = [t.type.shape[a] for t, a in zip(scanned, at, strict=True)]
    for t, size in zip(scanned[1:], sizes[1:], strict=True):
        name = use.run.axis.text
        message = f"what enters a scan must be equally long along `{name}`, and has {sizes[0]} and {size}"
        if not applier.agree(sizes[0], size, message, use.span):
            labels = [Label(scanned[0].span, f"this is {scanned[0].type}"), Label(t.span, f"this is {t.type}")]
            raise error("A0536", message, use.span, labels=labels)
    if sizes[0] == 0:
        raise error("A0536", f"there is nothing to scan: `{use.run.axis.text}` is 0 long", use.run.axis.span)
    return sizes[0]


def _step(t: Tensor, at: int) -> Tensor:
    """What enters at one step. (Only its type is looked at.)"""
    return replace(t, type=t.type.drop(at))


def _starts(applier: Applier, states: dict[str, TensorType], use: Use) -> list[Tensor | None]:
    for name, (_, span) in use.starts.items():
        if name not in states:
            known = ", ".join(f"`{s}`" for s in states) or "none"
            help = did_you_mean(name, states) or f"its states: {known}"
            raise error("A0537", f"this cell has no state `{name}`", span, help=help)
    found: list[Tensor | None] = []
    for name, wanted in states.items():
        if name not in use.starts:
            found.append(None)
            continue
        given, span = use.starts[name]
        if given.type.rank != wanted.rank or given.type.dtype != wanted.dtype:
            raise _other_shape(name, wanted, given, span)
        for left, right in zip(given.type.shape, wanted.shape, strict=True):
            message = f"the start of `{name}` has {left} where the state has {right}"
            if not applier.agree(left, right, message, span):
                raise _other_shape(name, wanted, given, span)
        found.append(given)
    return found


def _other_shape(name: str, wanted: TensorType, given: Tensor, span: Span):
    return error(
        "A0538",
        f"state `{name}` is {wanted} here, and can't start from {given.type}",
        span,
        labels=[Label(given.span, f"this is {given.type}")] if given.span != span else [],
    )


def _check_mask(applier: Applier, what: _Scanned, axis: Axis, held: Sequence[TensorType], use: Use) -> None:
    """A mask has the axis of the scan behind the axes that all states and outputs begin with."""
    assert what.mask is not None
    mask, span = what.mask
    leading = held[0].axes[: mask.type.rank - 1] if held else ()
    wanted = TensorType((*leading, axis), "bool")
    shown = f"{use.run.axis.text if use.run else ''}"
    if mask.type.dtype != "bool" or mask.type.rank < 1 or any(t.rank < mask.type.rank - 1 for t in held):
        raise error(
            "A0539",
            f"the mask of a scan tells which positions are real: bool[B, {shown}]; found {mask.type}",
            span,
            help="compare to make one: `tokens != 0`" if mask.type.dtype != "bool" else None,
        )
    message = f"the mask of this scan must be {wanted}, found {mask.type}"
    for given, asked in zip(mask.type.axes, wanted.axes, strict=True):
        along = asked is wanted.axes[-1]
        elsewhere = given.name not in (None, asked.name) and (along or given.name in wanted.names)
        if elsewhere or not applier.agree(given.size, asked.size, message, span):
            raise error("A0539", message, span, labels=[Label(mask.span, f"this is {mask.type}")])


def no_cell(value: Any, span: Span):
    """The diagnostic for a scan of what is no cell."""
    return error(
        "A0534",
        f"`scan` runs a cell along an axis, found {describe(value)}",
        span,
        help="declare it as `cell`, with a `state` and its next value; layers work on all positions without a scan",
    )


def no_states(value: Any, span: Span):
    """The diagnostic for a start of what is no cell."""
    return error(
        "A0537",
        f"{describe(value)} has no state that could start `from` anything",
        span,
        help="`from` gives starts to the states of a cell; further operands come `with` a layer or block",
    )
