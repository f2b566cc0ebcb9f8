"""Does the data fit the network? Asked before anything runs."""

from __future__ import annotations

import torch
from archlang.compiler.diagnostics import Diagnostic, Severity, Sink, error
from archlang.compiler.graph import Program
from archlang.compiler.source import Span
from archlang.compiler.task import Task, TaskKind, find_task
from archlang.compiler.training_plan import TrainPlan

from .base import Data
from .fitting import fit, labels_of, many
from .match_sequences import check_tables, match_sequences
from .roles import label_node


def match(program: Program, plan: TrainPlan, data: Data) -> list[Diagnostic]:
    """Compares shapes, kinds of numbers and classes. Raises ArchError with all that does not fit; returns warnings."""
    sink = Sink()
    span = plan.place("data")
    if data.sequences is not None:
        match_sequences(program, plan, data, sink)
    else:
        _in_order(program, data, span, sink)
    varied = next((stage for stage in plan.stages if stage.augment), None)
    sequences = data.sequences is not None
    if varied is not None and (sequences or (data.inputs[0].dtype == "float" and len(data.inputs[0].shape) != 3)):
        message = f"`augment` varies images, and {data.origin} gives {data.inputs[0]}"
        sink.extend(error("A1031", message, varied.place("augment"), help="leave `augment` out"))
    if data.labels is None and any(stage.sampler == "balanced" for stage in plan.stages):
        place = next(stage.place("sampler") for stage in plan.stages if stage.sampler == "balanced")
        sink.extend(error("A1038", f"{data.origin} gives no class for each example to balance", place))
    if not sink.failed:
        _classes(program, data, span, sink)
    sink.raise_if_failed()
    return [*data.notes, *sink.found]


def _in_order(program: Program, data: Data, span: Span | None, sink: Sink) -> None:
    """The first input gets the first tensor, and so on. Where there is no target, an input may take the label."""
    inputs, targets = program.data_nodes(), program.target_nodes()
    told = not targets and label_node(program) is not None
    given = {"input": (*data.inputs, *data.targets) if told else data.inputs, "target": data.targets}
    for what, nodes in (("input", inputs), ("target", targets)):
        if what == "target" and not nodes:
            continue  # an autoencoder or a generator: the data's targets are not needed
        if len(nodes) != len(given[what]):
            labels = labels_of(program.span, "this network")
            message = f"`{program.name}` has {many(len(nodes), what)}, and {data.origin} gives {len(given[what])}"
            sink.extend(error("A1025", message, span, labels=labels, help=_parts_help(program, data)))
            continue
        for node, column in zip(nodes, given[what], strict=True):
            fit(program, node, column, what=what, data=data, span=span, sink=sink)
    if not sink.failed and data.tensors:
        _tables(program, data, span, sink)


def _parts_help(program: Program, data: Data) -> str | None:
    if data.domains > 1:
        return "it is for a network that has two inputs, one for each domain, and no target"
    if len(program.data_nodes()) == 2 and len(data.inputs[0].shape) == 3:
        return 'pictures of two domains come from two folders: `unpaired("first/", "second/")`'
    return None


def _tables(program: Program, data: Data, span: Span | None, sink: Sink) -> None:
    """Whole numbers that go into a network must be in the tables that look them up."""
    bounds = {
        node: (int(values.min()), int(values.max()))
        for node, values in zip(program.data_nodes(), data.tensors, strict=False)
        if values.dtype == torch.int64
    }
    check_tables(program, bounds, data.origin, span, sink)


def _classes(program: Program, data: Data, span: Span | None, sink: Sink) -> None:
    task = find_task(program)
    if task.kind is not TaskKind.MULTICLASS or task.classes is None:
        return
    bounds = _bounds(data, task)
    if bounds is None:
        return
    low, high = bounds
    output = program.graph[program.graph.outputs[task.output]]
    labels = labels_of(output.span, f"this output scores {task.classes} classes")
    if low < 0 or high >= task.classes:
        names = f" ({len(data.classes)} classes)" if data.classes else ""
        help = f"the last layer needs {high + 1} outputs" if low >= 0 else "classes are numbered from 0"
        if not data.classes and low > 0 and high - low < task.classes:
            help = "classes are numbered from 0"
        sink.extend(
            error(
                "A1026",
                f"the network scores {task.classes} classes, 0 to {task.classes - 1}, and the labels of {data.origin} "
                f"run from {low} to {high}{names}",
                span,
                labels=labels,
                help=help,
            )
        )
    elif (data.classes or data.sequences is not None) and (len(data.classes) or high + 1) < task.classes:
        message = f"the network scores {task.classes} classes, and {data.origin} has {len(data.classes) or high + 1}"
        sink.add(
            Diagnostic("A1030", message, span, tuple(labels), "the other scores never win", severity=Severity.WARNING)
        )


def _bounds(data: Data, task: Task) -> tuple[int, int] | None:
    """The least and the greatest class that the data have; None where they have none."""
    if data.sequences is not None:
        return data.sequences.bounds(data.targets[task.target].name)
    values = data.tensors[len(data.inputs) + task.target] if data.tensors else torch.as_tensor(data.labels)
    counted = values if task.ignore is None else values[values != task.ignore]
    return (int(counted.min()), int(counted.max())) if counted.numel() else None
