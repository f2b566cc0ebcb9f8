"""Does one tensor of the data fit one input or target of the network?"""

from __future__ import annotations

from archlang.compiler.diagnostics import Label, Sink, error
from archlang.compiler.graph import Program
from archlang.compiler.sizes import Verdict, compare
from archlang.compiler.source import Span

from .base import Column, Data


def fit(program: Program, number: int, column: Column, *, what: str, data: Data, span: Span | None, sink: Sink) -> None:
    node = program.graph[number]
    wanted = node.types[0]
    labels = labels_of(node.span, f"{what} `{node.name}` is {wanted}")
    usual = {} if data.sequences is not None else program.graph.nominal  # sequences may have any length that is open
    sizes = [usual.get(str(s), s) for s in wanted.shape[1:]]
    pairs = zip(sizes, column.shape, strict=False)
    differ = [c for s, c in pairs if isinstance(c, int) and compare(s, c) is Verdict.REFUTED]
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


def labels_of(span: Span | None, message: str) -> list[Label]:
    return [Label(span, message)] if span is not None else []


def many(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"
