"""Does the data fit the network? Asked before anything runs."""

from __future__ import annotations

import torch
from archlang.compiler.diagnostics import Diagnostic, Label, Severity, Sink, error
from archlang.compiler.graph import Program
from archlang.compiler.sizes import Verdict, compare
from archlang.compiler.source import Span
from archlang.compiler.task import TaskKind, find_task
from archlang.compiler.training_plan import TrainPlan

from .base import Column, Data


def match(program: Program, plan: TrainPlan, data: Data) -> list[Diagnostic]:
    """Compares shapes, kinds of numbers and classes. Raises ArchError with all that does not fit; returns warnings."""
    sink = Sink()
    span = plan.place("data")
    if not program.graph.losses:
        raise error(
            "A1028", f"`{program.name}` has no `loss`: nothing says what to learn", plan.place("network"),
            labels=_labels(program.span, "this network"), help="such as `loss nll = (logits, label) -> cross_entropy`",
        )  # fmt: skip
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
                    f"`{program.name}` has {_many(len(nodes), what)}, and {data.origin} gives {len(given)}",
                    span,
                    labels=_labels(program.span, "this network"),
                )
            )
            continue
        for node, column in zip(nodes, given, strict=True):
            _fit(program, node, column, what=what, data=data, span=span, sink=sink)
    varied = next((stage for stage in plan.stages if stage.augment), None)
    if varied is not None and data.inputs[0].dtype == "float" and len(data.inputs[0].shape) != 3:
        message = f"`augment` varies images, and {data.origin} gives {data.inputs[0]}"
        sink.extend(error("A1031", message, varied.place("augment"), help="leave `augment` out"))
    if data.labels is None and any(stage.sampler == "balanced" for stage in plan.stages):
        place = next(stage.place("sampler") for stage in plan.stages if stage.sampler == "balanced")
        sink.extend(error("A1038", f"{data.origin} gives no class for each example to balance", place))
    if not sink.failed:
        _classes(program, data, span, sink)
    sink.raise_if_failed()
    return sink.found


def _fit(
    program: Program, number: int, column: Column, *, what: str, data: Data, span: Span | None, sink: Sink
) -> None:
    node = program.graph[number]
    wanted = node.types[0]
    labels = _labels(node.span, f"{what} `{node.name}` is {wanted}")
    sizes = [program.graph.nominal.get(str(s), s) for s in wanted.shape[1:]]
    differ = [c for s, c in zip(sizes, column.shape, strict=False) if compare(s, c) is Verdict.REFUTED]
    if len(sizes) != len(column.shape) or differ:
        sink.extend(
            error(
                "A1023",
                f"{what} `{node.name}` is {wanted}, and {data.origin} gives {column}",
                span,
                labels=labels,
                help=_shape_help(data, sizes),
            )
        )
    if wanted.dtype != column.dtype:
        sink.extend(
            error(
                "A1024",
                f"{what} `{node.name}` takes {_KINDS[wanted.dtype]}, and {data.origin} gives {_KINDS[column.dtype]}",
                span,
                labels=labels,
                help=f"declare it as `{what} {node.name}: {column}`",
            )
        )


_KINDS = {"float": "numbers", "int": "whole numbers (classes)", "bool": "yes or no"}


def _shape_help(data: Data, sizes: list) -> str | None:
    square = len(sizes) == 3 and isinstance(sizes[1], int) and sizes[1] == sizes[2]
    if square and data.origin.startswith("digits"):
        return f"write `digits(size={sizes[1]})`" if sizes[0] == 1 else "the digits have one channel"
    if square and data.pictures is not None:
        return f"write `images(…, size={sizes[1]}, grey={'true' if sizes[0] == 1 else 'false'})`"
    return None


def _classes(program: Program, data: Data, span: Span | None, sink: Sink) -> None:
    task = find_task(program)
    if task.kind is not TaskKind.MULTICLASS or task.classes is None:
        return
    values = data.tensors[len(data.inputs) + task.target] if data.tensors else torch.as_tensor(data.labels)
    counted = values if task.ignore is None else values[values != task.ignore]
    if counted.numel() == 0:
        return
    low, high = int(counted.min()), int(counted.max())
    output = program.graph[program.graph.outputs[task.output]]
    labels = _labels(output.span, f"this output scores {task.classes} classes")
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
    elif data.classes and len(data.classes) < task.classes:
        message = f"the network scores {task.classes} classes, and {data.origin} has {len(data.classes)}"
        sink.add(
            Diagnostic("A1030", message, span, tuple(labels), "the other scores never win", severity=Severity.WARNING)
        )


def _labels(span: Span | None, message: str) -> list[Label]:
    return [Label(span, message)] if span is not None else []


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"
