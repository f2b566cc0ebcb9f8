"""A program as JSON, with a versioned schema, and back."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from ..diagnostics import error
from ..elaborate.labels import RESERVED
from ..encoding import Undecodable
from ..graph import Graph, Program
from ..ops.base import Refusal
from ..sizes import SizeLimit
from ..verify import BrokenGraph, verify
from .models import SCHEMA, ProgramModel, make_program, program_model

LONGEST = 200_000_000  # characters


def as_data(program: Program) -> dict[str, Any]:
    """A program as plain data. What has its default value is left out."""
    data = program_model(program).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {"schema": SCHEMA, **data}


def to_json(program: Program, *, indent: int | None = None) -> str:
    """A program as JSON text: the same program gives the same bytes."""
    return json.dumps(as_data(program), indent=indent, ensure_ascii=False, allow_nan=False)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of what `to_json` writes."""
    return ProgramModel.model_json_schema(by_alias=True)


def from_json(text: str | bytes, name: str = "<json>") -> Program:
    """The program that JSON text describes, verified. Contracts, training and places in the text are not part of it.

    Raises ArchError: A0690 no JSON, A0691 another schema, A0692 not what the schema says, A0693 a graph that can't be,
    A0694 too large.
    """
    if len(text) > LONGEST:
        raise error("A0694", f"{name} has {len(text):,} characters, and the limit is {LONGEST:,}")
    model = _model(text, name)
    try:
        program = make_program(model)
        verify(program)
        for top in (program.graph, *program.entries.values()):
            for graph in top.graphs():
                _usable(graph)
    except (Undecodable, BrokenGraph, Refusal) as failure:
        raise error("A0693", f"{name} describes a graph that can't be: {_first_lines(failure)}") from None
    except (SizeLimit, RecursionError, MemoryError, OverflowError):
        raise error("A0694", f"{name} describes a graph that is too large") from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ZeroDivisionError, AssertionError) as failure:
        kind = type(failure).__name__
        raise error("A0693", f"{name} describes a graph that can't be: an op fails with {kind}") from None
    return program


def _model(text: str | bytes, name: str) -> ProgramModel:
    try:
        return ProgramModel.model_validate_json(text)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "json_invalid":
            raise error("A0690", f"{name} is no JSON: {first['msg']}") from None
        if any(e["loc"] == ("schema",) for e in failure.errors(include_url=False, include_input=False)):
            raise error(
                "A0691",
                f"{name} has another schema than `{SCHEMA}`",
                help="it was written by another version: write it again from its `.arch` file",
            ) from None
        raise error(
            "A0692",
            f"{name} is not what the schema says at `{place[:200]}`: {first['msg']}",
            help="`archc compile --emit json` writes files of this form",
        ) from None
    except RecursionError:
        raise error("A0690", f"{name} is no JSON of ours: it is nested too deeply") from None


def _usable(graph: Graph) -> None:
    """Every op can be lowered and analysed, every path can be an attribute of a module. Raises what the op raises."""
    for path in (*graph.modules, *graph.weights):
        if any(part in RESERVED or part.startswith("__") for part in path.split(".")):
            raise Undecodable(f"`{path}` can't be the path of a module")
    for number in graph.nx.nodes:
        node = graph[number]
        if node.op is not None:
            types = tuple(graph.type(ref) for ref in graph.operands(number))
            types = types[: len(types) - len(node.replaced)]
            node.op.call(types, node.types)
            node.op.module(types)
            node.op.relations(types, node.types)
            node.op.flops(types, node.types)


def _first_lines(failure: Exception) -> str:
    if isinstance(failure, BrokenGraph):
        return "; ".join(failure.problems[:3])
    return str(failure)[:500]
