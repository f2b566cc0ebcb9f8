"""Axes split into parts, moved and joined again: what `rearrange`, `flatten`, `unflatten` and `reshape` share.

An operand axis is a tuple of parts, outermost first; an axis of size 1 that goes away has none. A result axis is a
tuple of the names of its parts; a new axis of size 1 has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

from ..relations import POINTWISE, Relation, Relations, compose, everything, union, window
from ..sizes import Dim
from .base import Code


@dataclass(frozen=True, slots=True)
class Part:
    """One factor of an axis. solved: its size follows from the others' (printed as -1)."""

    name: str
    size: int | Dim
    solved: bool = False


Parts = Sequence[tuple[Part, ...]]
Names = Sequence[tuple[str, ...]]


def _product(sizes: Sequence[int | Dim]) -> int | Dim:
    total: int | Dim = 1
    for size in sizes:
        total = total * size
    return total


def taken(sizes: Sequence[int | Dim], part: int) -> Relation:
    """What one part sees of the axis that it is split off from: the outermost one sees blocks, each in its place."""
    inner, outer = _product(sizes[part + 1 :]), _product(sizes[:part])
    if outer != 1 or not isinstance(inner, int):
        return everything(loose=True, covers=outer == 1)
    return window(inner, 0, inner - 1)


def joined(sizes: Sequence[int | Dim], part: int) -> Relation:
    """What a composed axis sees of one of its parts: each position of the outermost one is repeated along it."""
    inner, outer = _product(sizes[part + 1 :]), _product(sizes[:part])
    if outer != 1 or not isinstance(inner, int):
        return everything(loose=True, covers=True)
    return window(Fraction(1, inner), -Fraction(inner - 1, inner), 0, loose=inner != 1, covers=inner != 1)


def regroup_relations(parts: Parts, result: Names) -> Relations:
    """Relations of every result axis to the operand axes whose parts it holds. Of an axis that is split only the
    outermost part tells: what an element sees lies within the block that its place along that part sees."""
    parts, result = merge(parts, result)
    sizes = {part.name: part.size for axis in parts for part in axis}
    home = {part.name: (a, i) for a, row in enumerate(parts) for i, part in enumerate(row)}
    table: Relations = {}
    for out, names in enumerate(result):
        for place, name in enumerate(names):
            axis, i = home[name]
            if i > 0:
                continue
            inner = taken([p.size for p in parts[axis]], i)
            relation = compose(joined([sizes[n] for n in names], place), inner)
            key = (0, out, 0, axis)
            table[key] = union(table[key], relation) if key in table else relation
    for a, row in enumerate(parts):  # an axis of size 1 that goes away is seen by all
        if not row:
            table[0, None, 0, a] = POINTWISE
    return table


def merge(parts: Parts, result: Names) -> tuple[list[tuple[Part, ...]], list[tuple[str, ...]]]:
    """Parts that stay together, side by side in one operand axis and in one result axis, made one part. Parts of size 1
    in longer axes go."""
    ones = {p.name for axis in parts for p in axis if p.size == 1 and len(axis) > 1 and _joined_elsewhere(p, result)}
    parts = [tuple(p for p in axis if p.name not in ones) for axis in parts]
    result = [tuple(n for n in names if n not in ones) for names in result]
    after = {a: b for names in result for a, b in pairwise(names)}
    merged: dict[str, str] = {}
    new_parts = []
    for axis in parts:
        kept: list[Part] = []
        previous = ""
        for part in axis:
            if kept and after.get(previous) == part.name:
                last = kept[-1]
                kept[-1] = Part(last.name, last.size * part.size, last.solved or part.solved)
                merged[part.name] = last.name
            else:
                kept.append(part)
            previous = part.name
        new_parts.append(tuple(kept))
    return new_parts, [tuple(n for n in names if n not in merged) for names in result]


def _joined_elsewhere(part: Part, result: Names) -> bool:
    return any(part.name in names and len(names) > 1 for names in result)


@dataclass
class _Writer:
    """Writes a chain of calls, keeping track of where every part is. A row is what one current axis holds."""

    text: str = "{0}"
    values: dict[str, Any] = field(default_factory=dict)

    def literal(self, value: int | Dim) -> str:
        if isinstance(value, int):
            return str(value)
        key = f"size{len(self.values)}"
        self.values[key] = value
        return f"{{{key}}}"


def regroup_code(parts: Parts, result: Names) -> Code:
    """The fewest readable calls: squeeze, unflatten, flatten neighbours, permute, flatten the rest, unsqueeze."""
    axes, groups = merge(parts, result)
    writer = _Writer()
    rows = _drop_ones(writer, axes)
    rows = _unflatten(writer, rows)
    order = [row[0].name for row in rows]
    order, groups = _flatten_neighbours(writer, order, groups)
    _permute(writer, order, [name for names in groups for name in names])
    _flatten(writer, groups)
    _insert_ones(writer, groups)
    return Code(writer.text, writer.values)


def _drop_ones(writer: _Writer, axes: list[tuple[Part, ...]]) -> list[tuple[Part, ...]]:
    gone = [i for i, axis in enumerate(axes) if not axis]
    if len(gone) == 1:
        writer.text += f".squeeze({_last(gone[0], len(axes))})"
    elif gone:
        writer.text += f".squeeze(({', '.join(map(str, gone))}))"
    return [axis for axis in axes if axis]


def _last(axis: int, rank: int) -> int:
    return -1 if axis == rank - 1 else axis


def _unflatten(writer: _Writer, rows: list[tuple[Part, ...]]) -> list[tuple[Part, ...]]:
    for i in reversed(range(len(rows))):  # from the right, so that places on the left stay
        if len(rows[i]) > 1:
            sizes = ", ".join("-1" if p.solved else writer.literal(p.size) for p in rows[i])
            writer.text += f".unflatten({_last(i, len(rows))}, ({sizes}))"
    return [(part,) for row in rows for part in row]


def _flatten_neighbours(
    writer: _Writer, order: list[str], groups: list[tuple[str, ...]]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Joins what stands side by side already, while memory is still in order."""
    names = [n for g in groups for n in g]
    if order == names:
        return order, groups
    after = {a: b for g in groups for a, b in pairwise(g)}
    i = len(order) - 1
    while i > 0:
        start = i
        while start > 0 and after.get(order[start - 1]) == order[start]:
            start -= 1
        if start < i:
            writer.text += _flatten_text(start, i, len(order))
            gone = set(order[start + 1 : i + 1])
            order = [n for n in order if n not in gone]
            groups = [tuple(n for n in g if n not in gone) for g in groups]
        i = start - 1
    return order, groups


def _flatten_text(start: int, end: int, rank: int) -> str:
    last = end == rank - 1
    if last:
        return f".flatten({start})" if start else ".flatten()"
    return f".flatten({start}, {end})"


def _permute(writer: _Writer, order: list[str], wanted: list[str]) -> None:
    moved = [i for i, (a, b) in enumerate(zip(order, wanted, strict=True)) if a != b]
    if len(moved) == 2:
        writer.text += f".transpose({moved[0]}, {moved[1]})"
    elif moved:
        writer.text += f".permute({', '.join(str(order.index(name)) for name in wanted)})"


def _flatten(writer: _Writer, groups: list[tuple[str, ...]]) -> None:
    rank = sum(map(len, groups))
    end = rank
    for group in reversed(groups):
        start = end - len(group)
        if len(group) > 1:
            writer.text += _flatten_text(start, end - 1, rank)
            rank -= len(group) - 1
        end = start


def _insert_ones(writer: _Writer, groups: list[tuple[str, ...]]) -> None:
    ones = [i for i, group in enumerate(groups) if not group]
    if len(ones) == 1:
        writer.text += f".unsqueeze({_last(ones[0], len(groups))})"
    elif ones:
        items = ", ".join("None" if i in ones else ":" for i in range(ones[-1] + 1))
        writer.text += f"[{items}]"
