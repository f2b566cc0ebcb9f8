"""Do sequences fit the network? Asked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping

from archlang.compiler.diagnostics import Sink, error
from archlang.compiler.flatten import FlattenLimit
from archlang.compiler.graph import Graph, Program
from archlang.compiler.ops.linear import Embedding
from archlang.compiler.sizes import Dim
from archlang.compiler.source import Span
from archlang.compiler.training_plan import TrainPlan

from .base import Column, Data
from .fitting import fit, labels_of, many
from .roles import EXTRAS, Roles, roles


def match_sequences(program: Program, plan: TrainPlan, data: Data, sink: Sink) -> None:
    """Gives every input and target its tensor (`data.order`), and says what does not fit."""
    span = plan.place("data")
    known = {column.name: column for column in (*data.inputs, *data.extras)}
    found = roles(program, plan.data.kind, plan.carry)
    if found.spare or found.unused:
        _count(program, plan, data, found, sink)
        return
    pairs = [(node, known[name], "input") for name, node in found.inputs.items()]
    targets = program.target_nodes()
    if targets and len(targets) != len(data.targets):
        message = f"`{program.name}` has {many(len(targets), 'target')}, and {data.origin} gives {len(data.targets)}"
        sink.extend(error("A1025", message, span, labels=labels_of(program.span, "this network")))
        return
    pairs += [(node, column, "target") for node, column in zip(targets, data.targets, strict=False)]
    for node, column, what in pairs:
        fit(program, node, column, what=what, data=data, span=span, sink=sink)
    if not sink.failed:
        _shared(program, [(node, column) for node, column, _ in pairs], data, span, sink)
        numbers = [(node, column) for node, column, what in pairs if what == "input" and column.dtype == "int"]
        assert data.sequences is not None
        check_tables(program, {n: data.sequences.bounds(c.name) for n, c in numbers}, data.origin, span, sink)
    taken = {node: name for name, node in found.inputs.items()}
    inputs = [taken[node] for node in program.input_nodes() if node in taken]
    data.order = (*inputs, *(column.name for column in data.targets[: len(targets)]))


def _count(program: Program, plan: TrainPlan, data: Data, found: Roles, sink: Sink) -> None:
    names = [column.name for column in data.inputs]
    given = " and ".join(f"`{name}`" for name in names)
    extras = ", ".join(f"`{name}`" for name in EXTRAS.get(plan.data.kind, ()))
    free = len(program.input_nodes()) - len(plan.carry)
    what = f"{many(free, 'input')} for data" if plan.carry else many(free, "input")
    help = f"inputs called {extras} get what these names say" if extras else None
    if found.spare and not extras:
        help = "a state that one batch leaves to the next is named by `carry`"
    labels = [label for n in found.spare for label in labels_of(program.graph[n].span, "nothing is left for this one")]
    labels = labels or labels_of(program.span, "this network")
    message = f"`{program.name}` has {what}, and {data.origin} gives {given}"
    sink.extend(error("A1025", message, plan.place("data"), labels=labels, help=help))


def _shared(program: Program, pairs: list[tuple[int, Column]], data: Data, span: Span | None, sink: Sink) -> None:
    """An axis that several tensors share must be equally long in all of them."""
    seen: dict[Dim, tuple[int | str, int]] = {}
    for node, column in pairs:
        for wanted, given in zip(program.graph[node].types[0].shape[1:], column.shape, strict=True):
            if not isinstance(wanted, Dim):
                continue
            before, other = seen.setdefault(wanted, (given, node))
            if before != given:
                one, two = program.graph[other], program.graph[node]
                labels = [*labels_of(one.span, f"`{wanted}` stands here"), *labels_of(two.span, "and here")]
                both = f"`{one.name}` and `{two.name}`"
                message = f"{both} share the axis `{wanted}`, and {data.origin} gives each a length of its own"
                help = "call one of the axes otherwise, such as `S`"
                sink.extend(error("A1023", message, span, labels=labels, help=help))


def check_tables(
    program: Program, bounds: Mapping[int, tuple[int, int] | None], origin: str, span: Span | None, sink: Sink
) -> None:
    """Every whole number must have its row in the embeddings that look it up. bounds: the least and the greatest number
    of inputs, by node."""
    try:
        flat: Graph = program.graph.flatten()
    except FlattenLimit:
        return
    names = {program.graph[node].name: found for node, found in bounds.items()}
    for node in flat.inputs:
        found = names.get(flat[node].name)
        for _, user, _ in flat.users(node) if found is not None else ():
            op = flat[user].op
            if isinstance(op, Embedding) and found is not None and found[1] >= op.count:
                message = f"{origin} has {found[1] + 1:,} tokens, and this table has {op.count:,} rows"
                labels = labels_of(flat[user].span, f"{op.count:,} rows")
                help = f"write `embedding({found[1] + 1}, …)`, or take fewer tokens with `vocabulary` or `least`"
                sink.extend(error("A1052", message, span, labels=labels, help=help))
