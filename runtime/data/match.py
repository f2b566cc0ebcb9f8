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
from .match_sequences import match_sequences


def match(program: Program, plan: TrainPlan, data: Data) -> list[Diagnostic]:
    """Compares shapes, kinds of numbers and classes. Raises ArchError with all that does not fit; returns warnings."""
    sink = Sink()
    span = plan.place("data")
    if not program.graph.losses:
        labels = labels_of(program.span, "this network")
        message = f"`{program.name}` has no `loss`: nothing says what to learn"
        help = "such as `loss nll = (logits, label) -> cross_entropy`"
        raise error("A1028", message, plan.place("network"), labels=labels, help=help)
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
    return sink.found


def _in_order(program: Program, data: Data, span: Span | None, sink: Sink) -> None:
    """The first input gets the first tensor, and so on."""
    for what, nodes, given in (
        ("input", program.input_nodes(), data.inputs),
        ("target", program.target_nodes(), data.targets),
    ):
        if what == "target" and not nodes:
            continue  # an autoencoder: the data's targets are not needed
        if len(nodes) != len(given):
            sink.extend(
                error(
                    "A1025",
                    f"`{program.name}` has {many(len(nodes), what)}, and {data.origin} gives {len(given)}",
                    span,
                    labels=labels_of(program.span, "this network"),
                )
            )
            continue
        for node, column in zip(nodes, given, strict=True):
            fit(program, node, column, what=what, data=data, span=span, sink=sink)


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
