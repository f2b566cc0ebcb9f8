"""The reference of the layers, written from their classes: what `archc ops` and the op reference in the docs show."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from . import ops
from .declared import Rule
from .ops.base import AxisMark, Example, Init, Op
from .sizes import Dim

_HUGE = 2**31 - 1


def signature(op: type[Op]) -> str:
    """`conv(out, kernel, stride=1, …)`."""
    parts = [n if f.is_required() else f"{n}={literal(f.default)}" for n, f in op.model_fields.items() if n != op.extra]
    if op.extra:
        parts.append("name=size…")
    return f"{op.name}({', '.join(parts)})"


def takes(op: type[Op]) -> str:
    """`x`, `(query, key, value, [mask])`: what enters, those that may be left out in brackets."""
    names = list(op.operands)
    first_optional = len(names) - op.optional
    shown = [f"{n.removesuffix('*')}…" if n.endswith("*") else n for n in names]
    shown = [f"[{n}]" if i >= first_optional else n for i, n in enumerate(shown)]
    if op.joins:
        return f"{shown[0]}, or several tensors, joined along the last axis"
    return shown[0] if len(shown) == 1 else f"({', '.join(shown)})"


def summary(op: type[Op]) -> str:
    """The first sentence of its documentation, on one line."""
    text = " ".join(documentation(op).split("\n\n")[0].split())
    head, stop, _ = text.partition(". ")
    return head + ("." if stop else "")


def documentation(op: type[Op]) -> str:
    return inspect.cleandoc(op.__doc__ or "")


def settings(op: type[Op]) -> list[dict[str, Any]]:
    """Each setting in positional order: name, type in words, default (None with `required`), description."""
    return [
        {
            "name": name,
            "type": kind(field.annotation, field.metadata),
            "required": field.is_required(),
            "default": None if field.is_required() else literal(field.default),
            "description": field.description or "",
        }
        for name, field in op.model_fields.items()
    ]


def literal(value: Any) -> str:
    """A value as a spec writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (list, tuple)) and not isinstance(value, Init):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return ", ".join(f"{k}={literal(v)}" for k, v in value.items())
    if isinstance(value, Init):
        return f"{value.kind}({', '.join(map(literal, value.values))})"
    return str(value)


def kind(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """A type in words: `int ≥ 1`, `int ≥ 1 or list[int ≥ 1]`, `"same" or "valid"`, `axis`."""
    extra = list(metadata)
    if any(isinstance(m, AxisMark) for m in extra):
        return "axis"
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return kind(inner, [*more, *extra])
    if origin in (Union, types.UnionType):
        members = [m for m in get_args(annotation) if not (m is Dim and int in get_args(annotation))]
        return " or ".join(dict.fromkeys(kind(m, () if m is type(None) else extra) for m in members))
    if origin is Literal:
        return " or ".join(literal(v) for v in get_args(annotation))
    if origin in (tuple, list):
        inner = [a for a in get_args(annotation) if a is not Ellipsis]
        return f"list[{' or '.join(dict.fromkeys(map(kind, inner)))}]" if inner else "list"
    if origin is dict:
        return "name=size"
    names = {type(None): "none", Init: "start", Dim: "size", Any: "any"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation))) + bounds(extra)


def bounds(metadata: Iterable[Any]) -> str:
    """` ≥ 1`, ` > 0, < 1` or nothing. A bound that only keeps numbers in a machine word is not shown."""
    found = []
    for item in metadata:
        limits = item.limits if isinstance(item, Rule) else {}
        for limit, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if limit in limits and abs(limits[limit]) < _HUGE:
                found.append(f"{sign} {limits[limit]}")
    return " " + ", ".join(found) if found else ""


def example(op: type[Op], case: Example) -> str:
    """`[B, 3, H=9, W=8] -> conv(6, kernel=3)   [B, C=6, H=7, W=6]`, as a pair of what enters and what leaves."""
    first = next((n for n, f in op.model_fields.items() if f.is_required()), None)
    arguments = []
    for name, value in case.settings.items():
        if name == op.extra:
            arguments.append(literal(value))
        else:
            arguments.append(literal(value) if name == first else f"{name}={literal(value)}")
    inside = ", ".join(a for a in arguments if a)
    entering = ", ".join(map(str, case.input_types()))
    left = entering if len(case.inputs) == 1 else f"({entering})"
    right = ", ".join(map(str, case.output_types()))
    stage = f"{op.name}({inside})" if inside else op.name
    return f"{left} -> {stage}  # {right}"


def weights(op: type[Op]) -> list[str]:
    """Names of the weights that it owns in any of its examples, in order, with what each is."""
    found: dict[str, str] = {}
    for case in op.examples:
        for spec in op(**case.settings).weights(case.input_types()):
            found.setdefault(spec.name, spec.role)
    return [name if role == "param" else f"{name} ({role})" for name, role in found.items()]


def page(op: type[Op], level: int = 1) -> str:
    """The Markdown page of one op."""
    lines = [f"{'#' * level} {op.name}", "", f"    {signature(op)}", "", documentation(op), ""]
    lines += [f"Takes {takes(op)}; gives {', '.join(op.results)}."]
    owned = weights(op)
    if owned:
        lines += [f"Weights: {', '.join(f'`{w}`' for w in owned)}."]
    if op.random:
        lines += ["Draws random numbers."]
    table = settings(op)
    if table:
        lines += ["", "| setting | type | default | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{s['name']}` | {_cell(s['type'])} | {'required' if s['required'] else _code(s['default'])} |"
            f" {_cell(s['description'])} |"
            for s in table
        ]
    lines += ["", "```text", *(example(op, case) for case in op.examples), "```", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""


def as_json(op: type[Op]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "name": op.name,
        "family": str(op.glyph),
        "signature": signature(op),
        "summary": summary(op),
        "documentation": documentation(op),
        "operands": list(op.operands),
        "optional": op.optional,
        "results": list(op.results),
        "settings": settings(op),
        "weights": weights(op),
        "random": op.random,
        "examples": [example(op, case) for case in op.examples],
    }


def families() -> dict[str, list[type[Op]]]:
    """Every op that a spec may name, by family, families and ops sorted."""
    found: dict[str, list[type[Op]]] = {}
    for name in ops.names():
        op = ops.get(name)
        assert op is not None  # it is registered
        found.setdefault(str(op.glyph), []).append(op)
    return dict(sorted(found.items()))


def document() -> str:
    """The whole reference, as one Markdown document."""
    lines = ["# Layers", "", "Written from the classes in `compiler/ops/`; `archc ops NAME` shows the same page.", ""]
    table = families()
    for family, members in table.items():
        lines.append(f"- **{family}**: " + ", ".join(f"[{op.name}](#{op.name})" for op in members))
    for family, members in table.items():
        lines += ["", f"## Family: {family}", ""]
        lines += [page(op, level=3) for op in members]
    return "\n".join(lines).rstrip("\n") + "\n"
