"""Scans unrolled: the first steps side by side and the last, states going from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..analysis.scans import mask_of, steps
from ..graph import EdgeKind, Ref
from ..sizes import substitute
from ..types import TensorType
from . import words
from .cells import cell_operands, result_end, scan_of, start_names
from .figure import Item, Link, Row, Shape, Stripe
from .scope import End, Scope
from .style import Extra

if TYPE_CHECKING:
    from .outline import Builder

_LEFT_OUT = ""  # the name of a column that stands for many


class Unrolled:
    """A scan, unrolled. `columns`: what the steps that are drawn are called, from left to right."""

    def __init__(self, builder: Builder, scope: Scope, number: int, operands: Sequence[End], home: str) -> None:
        self.builder, self.scope, self.number, self.operands = builder, scope, number, operands
        self.graph, self.node = scope.graph, scope.graph[number]
        self.scan, self.cell = scan_of(self.graph, number)
        self.sizes = {symbol: substitute(size, scope.sizes) for symbol, size in self.node.sizes}
        self.columns = self._columns()
        self.home = home
        builder.figure.unrolled += 1

    def _columns(self) -> list[str]:
        length, most = (
            steps(self.graph, self.number),
            self.builder.unroll or 1,
        )
        if isinstance(length, int):
            shown = [str(i + 1) for i in range(min(most, length))]
            return shown + ([] if length <= most else [str(length)] if length == most + 1 else [_LEFT_OUT, str(length)])
        return [*(str(i + 1) for i in range(most)), _LEFT_OUT, words.size_text(length)]

    def draw(self) -> None:
        """Draws the columns: a closed box each. What the cell holds is drawn beside the figure."""
        given = cell_operands(self.graph, self.number, self.operands)
        first = len(self.cell.inputs) - len(self.cell.states)
        data = [self._inputs(at, end) for at, end in enumerate(given[:first])]
        states = self._starts(given[first:])
        boxes: dict[str, str] = {}
        for column in reversed(self.columns) if self.scan.reverse else self.columns:
            box = boxes[column] = self._box(column, [ends[column] for ends in data] if column else [])
            self._pass_on(states, box)
            states = [
                End(box, end.type, EdgeKind.STATE, name=name)
                for end, name in zip(states, self.cell.states, strict=True)
            ]
        self.builder.figure.rows.append(Row([boxes[column] for column in self.columns], bare=True))
        self._results(boxes, states)

    def _type(self, type_: TensorType) -> TensorType:
        return type_.substitute(self.sizes)

    def _item_name(self, column: str) -> str:
        """The first input in an open column: it stands beside those of others."""
        first = next(at for at, axis in enumerate(self.scan.axes) if axis is not None)
        return f"n{self._prefix(column)}{self.cell.inputs[first]}"

    def _prefix(self, column: str) -> str:
        return f"{self.scope.prefix}{self.number}_{self.columns.index(column)}_"

    def _inputs(self, at: int, end: End) -> dict[str, End]:
        """Where each column has an input of the cell from: the scan before it, where that is unrolled alike, or from
        what is taken apart here."""
        if self.scan.axes[at] is None:
            return dict.fromkeys(self.columns, end)
        node = self.cell[self.cell.inputs[at]]
        type_ = self._type(node.types[0])
        before = dict(end.columns)
        if list(before) == self.columns:
            return {column: End(item, type_) for column, item in before.items()}
        row = {}
        for i, column in enumerate(self.columns):
            name = f"x{self.scope.prefix}{self.number}_{at}_{i}"
            if column:
                stripe = Stripe(Extra.INPUT, "", words.clean(node.name, 40), sub=column)
                self._add(Item(name, Shape.PILL, [stripe], self.home))
                if end.item:
                    self.builder.figure.links.append(Link(end.item, name, end.kind, end.type, end.name, end.sub))
            else:
                self._add(Item(name, Shape.TEXT, [Stripe(Extra.INPUT, "⋯")], self.home))
            row[column] = End(name, type_)
        self.builder.figure.rows.append(Row([end.item for end in row.values()], bare=True))
        return row

    def _add(self, item: Item) -> str:
        return self.builder.add(item).id

    def _starts(self, ends: Sequence[End]) -> list[End]:
        names = list(start_names(self.graph, self.number).values())
        return [
            end if end.name or not end.item else end._replace(name=names[0][0], sub=names.pop(0)[1]) for end in ends
        ]

    def _box(self, column: str, data: Sequence[End]) -> str:
        """A closed column."""
        at = self.columns.index(column)
        name = f"c{self.scope.prefix}{self.number}_{at}"
        if not column:
            return self._add(Item(name, Shape.TEXT, [Stripe(Extra.BLOCK, "⋯")], self.home))
        text = words.block_text(self.cell, self.builder.silent.get(self.cell.name, frozenset()))
        item = Item(name, Shape.BOX, [Stripe(Extra.BLOCK, text, words.author_name(self.node))], self.home)
        item.details = [("step", column), ("weights", "the same at every step")]
        self._add(item)
        for end in data:
            if end.item:
                self.builder.figure.links.append(Link(end.item, name, end.kind, end.type, end.name, end.sub))
        self._gate(name)
        return name

    def _pass_on(self, states: Sequence[End], target: str) -> None:
        """Draws how states reach a closed column: one edge from each place."""
        for source in dict.fromkeys(end.item for end in states if end.item):
            ends = [end for end in states if end.item == source]
            subs = {end.sub for end in ends}
            sub = subs.pop() if len(subs) == 1 else ""
            name = words.clean(", ".join(end.name for end in ends), 40)
            self.builder.figure.links.append(Link(source, target, EdgeKind.STATE, ends[0].type, name, sub))

    def _gate(self, target: str) -> None:
        mask = mask_of(self.graph, self.number)
        if mask is not None:
            end = self.operands[mask]
            self.builder.figure.links.append(Link(end.item, target, EdgeKind.GATE, end.type))

    def _results(self, boxes: dict[str, str], states: Sequence[End]) -> None:
        """What leaves the scan: of outputs, all steps; of states, the last."""
        outputs = self.cell.outputs[: len(self.cell.outputs) - len(self.cell.states)]
        for result, output in enumerate(outputs):
            join = f"j{self.scope.prefix}{self.number}_{result}"
            self._add(Item(join, Shape.POINT, [Stripe(Extra.OUTPUT, "")], self.home))
            type_ = self._type(self.cell[output].types[0])
            parts = [Link(box, join, EdgeKind.DATA, type_) for column, box in boxes.items() if column]
            self.builder.figure.links += parts
            columns = tuple((column, boxes[column]) for column in self.columns)
            end = result_end(self.scope, self.number, result, join)
            self.scope.ends[Ref(self.number, result)] = end._replace(columns=columns)
        for at, end in enumerate(states, len(outputs)):
            self.scope.ends[Ref(self.number, at)] = result_end(self.scope, self.number, at, end.item)
