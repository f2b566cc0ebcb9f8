"""How figures write ops, arguments, shapes and counts. Everything here is plain text; each format escapes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from typing import Any

from ..graph import Graph, Node
from ..ops.base import Op
from ..ops.select import Index, Item
from ..sizes import Dim
from ..types import TensorType
from .style import SMALL

BATCH = frozenset({"B", "N", "batch", "Batch"})
LONGEST = 60
_SILENT = frozenset(  # settings that a figure leaves out, as papers do
    (
        *("bias", "init", "padding_mode", "pad", "output_pad", "eps", "momentum", "affine", "track"),
        *("layout", "ceil", "count_pad", "axes", "reduction"),
    )
)
_SIGNS = {"*": "×", "-": "−", "/": "÷", "**": "^", "<=": "≤", ">=": "≥", "==": "=", "!=": "≠"}
_MIRRORED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}
_COMMUTE = frozenset(["+", "×", "=", "≠", "and", "or"])
_MANY = 4  # whole numbers; what has more of them is a row of a table
_TRIVIAL = {"stride": 1, "groups": 1, "dilation": 1, "drop": 0, "dropout": 0}


def clean(text: object, longest: int = LONGEST) -> str:
    """One line of printable text, cut where it is too long."""
    kept = "".join(c if c.isprintable() else " " for c in str(text))
    kept = " ".join(kept.split())
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


def sign_of(op: Op) -> str | None:
    """The sign that stands for an op of several tensors, where it has one."""
    if op.name == "concat":
        return "‖"
    sign = getattr(op, "symbol", None)
    return _SIGNS.get(sign, sign) if isinstance(sign, str) else None


def with_numbers(sign: str, numbers: Mapping[int, str]) -> str:
    """An op of two operands, one of which is a number: `× 0.5`, `1 − x`."""
    if 1 in numbers:
        return f"{sign} {numbers[1]}"
    if sign in _COMMUTE or sign in _MIRRORED:
        return f"{_MIRRORED.get(sign, sign)} {numbers[0]}"
    return f"{numbers[0]} {sign} x"


def size_text(size: int | Dim) -> str:
    """A size as papers write it: `3D`, `H/2`, `(T + 1)`."""
    text = str(size)
    text = re.sub(r"(\d) \* (?=[A-Za-z(])", r"\1", text)
    text = text.replace(" ** ", "^").replace(" // ", "/").replace(" * ", "·")
    return f"({text})" if " " in text else text


def shape_text(type_: TensorType) -> str:
    """The shape without the batch: `6×28×28`; `scalar` where nothing is left."""
    axes = list(type_.axes)
    if axes and (axes[0].name in BATCH or str(axes[0].size) in BATCH):
        axes = axes[1:]
    if not axes:
        return "scalar" if type_.dtype == "float" else type_.dtype
    return clean("×".join(size_text(a.size) for a in axes))


def value_text(value: Any) -> str:
    """A static value, short."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}".replace("inf", "∞").replace("-", "−", 1) if abs(value) == inf else f"{value:.4g}"
    if isinstance(value, Dim):
        return size_text(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(value_text(v) for v in value) + "]"
    name = getattr(value, "name", None) or getattr(value, "path", None)
    if isinstance(name, str) and not isinstance(value, str | int | Dim):
        return name
    return str(value)


def times_text(value: Any, axes: int) -> str:
    """A kernel: `5×5`."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,) * max(1, axes)
    return "×".join(map(str, values))


def op_text(op: Op, inputs: tuple[TensorType, ...]) -> str:
    """An op with the settings that say what it is: `conv 64, 7×7 /2`."""
    if isinstance(op, Index) and inputs:
        return clean(f"[{', '.join(_taken(item, inputs[0]) for item in op.items)}]")
    axes = inputs[0].rank - 2 if inputs else 0
    first: list[str] = []
    then: list[str] = []
    for position, (name, info) in enumerate(type(op).model_fields.items()):
        value = getattr(op, name)
        if isinstance(value, dict) or (name in _SILENT and not (name == "pad" and isinstance(value, str))):
            continue
        if not info.is_required() and value == info.default:
            continue
        match name:
            case "kernel" | "size":
                first.append(times_text(value, axes))
            case "stride":
                then.append("/" + (str(value) if isinstance(value, int) else times_text(value, axes)))
            case "groups":
                depthwise = bool(inputs) and inputs[0].rank > 1 and inputs[0].shape[1] == value
                then.append("depthwise" if depthwise else f"groups {value}")
            case "dilation":
                then.append("dilated " + value_text(value))
            case "init":
                continue
            case "pad":
                then += [] if value in ("same", "valid") else [str(value)]
            case _:
                short = value_text(value)
                bare = info.is_required() or (not position and op.glyph in SMALL)
                first.append(name if value is True else short if bare else f"{name}={short}")
    pattern = getattr(op, "pattern", None)
    if isinstance(pattern, str):
        return clean(pattern.replace("->", "→"))
    if op.name == "embedding" and len(first) == 2:
        first = ["→".join(first)]
    return clean(" ".join(filter(None, [op.name.replace("_", " "), ", ".join(first), *then])))


def _taken(item: Item, x: TensorType) -> str:
    """A position or a run of them, as a spec says it: `T=0`, `H=2..8`."""
    axis, low, high, drop = item
    ends = [value_text(end) if end is not None else "" for end in (low, high)]
    return f"{x.names[axis] or f'axis {axis}'}={ends[0] if drop else '..'.join(ends)}"


def author_name(node: Node) -> str:
    """The label that the author gave a layer or block; empty for those that are numbered or named by their kind."""
    last = (node.module or "").rpartition(".")[2]
    if last.isdigit() or not last:
        return ""
    kind = node.op.name if node.op is not None else node.graph.name if node.graph is not None else ""
    by_kind = last.rstrip("0123456789").lower() == kind.lower()
    return "" if by_kind and not _labelled(node) else clean(last, 40)


def _labelled(node: Node) -> bool:
    """Whether a label stands before the stage in the text: `conv1` may be one, or the name of an unlabelled layer."""
    if node.span is None:
        return False
    text, at = node.span.source.text, node.span.start
    return text[max(0, at - 40) : at].rstrip().endswith(":") or text[at : at + len(node.name) + 1] == f"{node.name}:"


def spread(first: str, last: str) -> str:
    """What the first and the last of several say, once where they agree: `Layer(512 … 32)`."""
    if first == last:
        return first
    parts, others = (re.findall(r"\w+|\W", text) for text in (first, last))
    shortest = min(len(parts), len(others))
    head = next((i for i in range(shortest) if parts[i] != others[i]), shortest)
    shortest -= head
    tail = next((i for i in range(shortest) if parts[-1 - i] != others[-1 - i]), shortest)
    ends = ["".join(some[head : len(some) - tail]) for some in (parts, others)]
    if not all(ends):
        return f"{first} … {last}"
    return "".join([*parts[:head], " … ".join(ends), *parts[len(parts) - tail :]])


def block_text(graph: Graph, silent: frozenset[str] = frozenset()) -> str:
    """A block with its arguments: `Bottleneck(64, stride=2)`, the first without its name. Those in `silent` are left
    out, those that change nothing (`stride=1`), and rates and the like. A block of nothing but whole numbers, and many
    of them, is a row of the paper's table, written as there: `Inception(64, 96, 128, 16, 32, 32)`."""
    arguments = graph.arguments
    if len(arguments) > _MANY and all(type(value) is int for value in arguments.values()):
        return _call_text(graph.name, [str(value) for value in arguments.values()])
    parts = []
    for i, (name, value) in enumerate(arguments.items()):
        if (i and name in silent) or not _telling(name, value):
            continue
        text = times_text(value, 1) if name in ("kernel", "stride") else value_text(value)
        parts.append(name if value is True else text if not i else f"{name}={text}")
    return _call_text(graph.name, parts)


def _call_text(name: str, parts: list[str]) -> str:
    return clean(f"{name}({', '.join(parts)})" if parts else name, 2 * LONGEST)


def _telling(name: str, value: Any) -> bool:
    return not (
        isinstance(value, float) or value in (None, False) or name in _SILENT or _TRIVIAL.get(name, ...) == value
    )


def count_text(count: int) -> str:
    """A number of parameters: `61,706`, `25.6M`."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:,}"
