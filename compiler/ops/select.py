"""Choosing among the elements of tensors, and putting them in another order."""

from __future__ import annotations

from typing import Annotated

from ..declared import Field
from ..relations import POINTWISE, Relation, Relations, everything, prefix, window
from ..sizes import Dim
from ..types import Axis, TensorType, unique_names
from .base import (
    AxisRef,
    Code,
    Example,
    Glyph,
    Interval,
    Need,
    Op,
    Refusal,
    SizeSetting,
    Unless,
    aligned,
    axis_index,
    call,
    pointwise,
)
from .elementwise import LastAxis, axis_name, broadcast, dim, promote, refuse_bool, require_bool, union

Count = Annotated[int, Field(ge=1, le=4096)]
MOST = 2**31 - 1


Item = tuple[int, SizeSetting | None, SizeSetting | None, bool]


class Index(Op):
    """A position or a run of positions of some axes: `x[T=0]`, `x[T=1..n]`. Negative positions count from the end."""

    name = "index"
    glyph = Glyph.SELECT
    hidden = True
    examples = (
        Example({"items": ((1, 0, None, True),)}, ("B T D=3",), ("B D=3",)),
        Example({"items": ((1, 1, 4, False),)}, ("B T=6 D=3",), ("B T=3 D=3",)),
        Example({"items": ((1, -2, None, False), (2, -1, None, True))}, ("B T=6 D=3",), ("B T=2",)),
        Example({"items": ((2, None, -1, False), (1, 2, 3, False))}, ("B T=6 D=3",), ("B T=1 D=2",)),
        Example({"items": ((1, 1, None, False),)}, ("int B T",), ("int: B, T=T - 1",)),
    )

    items: tuple[Item, ...] = Field(
        description="for each indexed axis: its place, the first position, the one after the last, whether it goes"
    )

    def _spans(self, x: TensorType) -> dict[int, tuple[int | Dim, int | Dim, bool]]:
        """First position and the one after the last, both from the start, and whether the axis goes away."""
        spans = {}
        for axis, low, high, drop in self.items:
            size = x.shape[axis]
            first = _from_start(0 if low is None else low, size)
            spans[axis] = (first, first + 1 if drop else _from_start(size if high is None else high, size), drop)
        return spans

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        axes: list[Axis | None] = list(x.axes)
        for axis, (low, high, drop) in self._spans(x).items():
            size, name = x.shape[axis], axis_name(x, axis)
            what = f"position {low}" if drop else f"positions {low}..{high}"
            message = f"{what} of {name} is out of range: {x} has size {size} there"
            if not drop:
                message = message.replace(" is out", " are out")
                empty = f"positions {low}..{high} of {name} are none at all"
                need.at_least(high - low, 1, empty, operand=0, setting="items", code="A0328")
            need.at_least(low, 0, message, operand=0, setting="items", code="A0328")
            need.at_least(size - high, 0, message, operand=0, setting="items", code="A0328")
            axes[axis] = None if drop else Axis(x.names[axis], high - low)
        return (TensorType(tuple(a for a in axes if a is not None), x.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        spans = self._spans(x)
        table: Relations = {}
        out = 0
        for axis in range(x.rank):
            low, _, drop = spans.get(axis, (0, 0, False))
            if drop:
                table[0, None, 0, axis] = cut(low)
                continue
            table[0, out, 0, axis] = cut(low) if axis in spans else POINTWISE
            out += 1
        return table

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        (x,) = inputs
        values: dict[str, int | Dim] = {}
        texts = {axis: _item_text(axis, low, high, drop, values) for axis, low, high, drop in self.items}
        last = max(texts, default=-1)
        if not texts:
            return Code("{0}")
        parts = [texts.get(axis, ":") for axis in range(last + 1)]
        if len(texts) == 1 and last == x.rank - 1 and last > 1:
            parts = ["...", texts[last]]
        return Code(f"{{0}}[{', '.join(parts)}]", values)


def cut(first: int | Dim) -> Relation:
    """What a part of an axis sees of the whole, that starts there: its places can't change with those left out."""
    return window(1, first, first, ordered=True) if isinstance(first, int) else everything(loose=True)


def _from_start(position: int | Dim, size: int | Dim) -> int | Dim:
    return size + position if isinstance(position, int) and position < 0 else position


def _item_text(axis: int, low: int | Dim | None, high: int | Dim | None, drop: bool, values: dict) -> str:
    def hole(end: str, position: int | Dim | None) -> str:
        if position is None:
            return ""
        values[f"{end}{axis}"] = position
        return f"{{{end}{axis}}}"

    return hole("low", low) if drop else f"{hole('low', low)}:{hole('high', high)}"


class Where(Op):
    """The second tensor where the first is true, the third elsewhere."""

    name = "where"
    glyph = Glyph.SELECT
    operands = ("condition", "yes", "no")
    numbers = True
    examples = (
        Example({}, ("bool B T", "B T", "B T"), ("B T",)),
        Example({}, ("bool S T", "B h=2 S T", ""), ("B h=2 S T",)),
        Example({}, ("bool B 1", "int B T", "int "), ("int B T",)),
    )

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        require_bool(inputs[:1], self.name)
        return (TensorType(broadcast(inputs, need, self.name), promote(inputs[1:])),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return aligned(inputs, outputs[0])

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        condition, yes, no = ranges
        return (yes if condition.lo > 0 else no if condition.hi < 1 else union(yes, no),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return Code("torch.where({0}, {1}, {2})")


class Gather(Op):
    """Rows of a table by number: the table's axis gives way to the axes of the index."""

    name = "gather"
    glyph = Glyph.SELECT
    operands = ("table", "index")
    examples = (
        Example({}, ("9 D=3", "int: S, T"), ("S T D=3",), ("", "index"), high=9),
        Example({"axis": "K"}, ("K", "int: B"), ("B",), ("", "index"), high=5),
        Example({"axis": 1}, ("N K D=2", "int: B"), ("N B D=2",), ("", "index"), high=5),
        Example({"axis": -1}, ("N C=4 K", "int: B"), ("N C=4 B",), ("", "index"), high=5),
    )

    axis: Annotated[AxisRef, Field(description="the table's axis that the index counts along")] = 0

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        table, index = inputs
        if index.dtype != "int":
            raise Refusal(
                f"`gather` looks rows up by number, but the index is {index}",
                help='numbers are ints: `cast("int")`, or `argmax`',
                operand=1,
                code="A0322",
            )
        axis = axis_index(table, self.axis)
        return (TensorType(unique_names((*table.axes[:axis], *index.axes, *table.axes[axis + 1 :])), table.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        table, index = inputs
        axis = axis_index(table, self.axis)
        shift = index.rank - 1
        found: Relations = {
            (0, a + (shift if a > axis else 0), 0, a): POINTWISE for a in range(table.rank) if a != axis
        }
        for a in range(index.rank):
            found[0, axis + a, 1, a] = POINTWISE
            found[0, axis + a, 0, axis] = everything(uniform=True)
        return found if index.rank else found | {(0, None, 0, axis): everything(uniform=True)}

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (ranges[0],)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        axis = axis_index(inputs[0], self.axis)
        return Code(f"{{0}}[{':, ' * axis}{{1}}]")


class _Along(Op):
    """One tensor, along one axis."""

    glyph = Glyph.SELECT

    def _axis(self, x: TensorType) -> int:
        return axis_index(x, self.axis)  # type: ignore[attr-defined]

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        self._axis(inputs[0])
        return inputs


class TopK(_Along):
    """The k largest values along an axis, largest first, and where they stood."""

    name = "topk"
    results = ("values", "indices")
    examples = (
        Example({"k": 2}, ("B T 5",), ("B T 2", "int B T 2")),
        Example({"k": 3, "axis": "C"}, ("B C=4 H=2",), ("B 3 H=2", "int B 3 H=2")),
    )

    k: Count = Field(description="how many")
    axis: LastAxis = -1

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        refuse_bool(inputs, self.name)
        axis = self._axis(x)
        size = x.shape[axis]
        message = f"`topk` takes {self.k} values, but {axis_name(x, axis)} of {x} has size {size}"
        need.at_least(size, self.k, message, operand=0, setting="k", code="A0328")
        y = TensorType((*x.axes[:axis], Axis(None, self.k), *x.axes[axis + 1 :]), x.dtype)
        return (y, y.cast("int"))

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        axis = self._axis(x)
        values = pointwise(x, changed={axis: everything(symmetric=True)})
        return values | pointwise(x, output=1, changed={axis: everything()})

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (ranges[0], Interval(0))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("{0}.topk", self.k, dim=Unless(dim(inputs[0], self._axis(inputs[0])), -1))


class Argmax(_Along):
    """Where the largest value stands along an axis; the axis goes away."""

    name = "argmax"
    examples = (Example({}, ("B T 5",), ("int B T",)), Example({"axis": "C"}, ("B C=4 H=2",), ("int B H=2",)))

    axis: LastAxis = -1

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        refuse_bool(inputs, self.name)
        return (inputs[0].drop(self._axis(inputs[0])).cast("int"),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        gone = self._axis(x)
        table: Relations = {(0, a - (a > gone), 0, a): POINTWISE for a in range(x.rank) if a != gone}
        return table | {(0, None, 0, gone): everything(uniform=True)}

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(0),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("{0}.argmax", dim(inputs[0], self._axis(inputs[0])))


class Roll(_Along):
    """An axis turned: what falls off one end comes in at the other. A positive shift moves towards the end."""

    name = "roll"
    glyph = Glyph.SHAPE
    examples = (
        Example({"shift": 2, "axis": "H"}, ("B C=2 H=5 W=3",), ("B C=2 H=5 W=3",)),
        Example({"shift": -1, "axis": -1}, ("B T",), ("B T",)),
        Example({"shift": 0, "axis": 1}, ("B T",), ("B T",)),
    )

    shift: SizeSetting = Field(description="by how many positions")
    axis: Annotated[AxisRef, Field(description="the axis, by name or position")]

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(
            inputs[0],
            changed={self._axis(inputs[0]): everything(uniform=True, steady=True, loose=True, covers=True)}
            if self.shift != 0
            else None,
        )

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        if self.shift == 0:
            return Code("{0}")
        return call("{0}.roll", self.shift, dim(inputs[0], self._axis(inputs[0])))


class Flip(_Along):
    """An axis in reverse order."""

    name = "flip"
    glyph = Glyph.SHAPE
    examples = (Example({"axis": -1}, ("B T",), ("B T",)), Example({"axis": "C"}, ("int: B, C=4",), ("int: B, C=4",)))

    axis: Annotated[AxisRef, Field(description="the axis, by name or position")]

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0], changed={self._axis(inputs[0]): everything(loose=True, covers=True)})

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("{0}.flip", dim(inputs[0], self._axis(inputs[0])))


class _Running(_Along):
    """Every position holds what the positions up to it make together."""

    glyph = Glyph.REDUCE
    examples = (
        Example({"axis": "T"}, ("B T C=2",), ("B T C=2",)),
        Example({"axis": -1}, ("int: B, T",), ("int: B, T",)),
    )

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        refuse_bool(inputs, self.name)
        return super().infer(inputs, need)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0], changed={self._axis(inputs[0]): prefix()})

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call(f"{{0}}.{self.name}", dim(inputs[0], self._axis(inputs[0])))


class Cumsum(_Running):
    """The running sum along an axis."""

    name = "cumsum"

    axis: LastAxis = -1

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        lo, hi = ranges[0]
        return (Interval(lo if lo >= 0 else -float("inf"), hi if hi <= 0 else float("inf")),)


class Cumprod(_Running):
    """The running product along an axis."""

    name = "cumprod"

    axis: LastAxis = -1

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        lo, hi = ranges[0]
        if lo < 0:
            return (Interval(-1, 1) if lo >= -1 and hi <= 1 else Interval(),)
        return (Interval(lo if lo >= 1 else 0, hi if hi <= 1 else float("inf")),)


class OneHot(Op):
    """Each index as a row of zeros with a one in its place; `cast("float")` makes it something to multiply by."""

    name = "one_hot"
    glyph = Glyph.EMBED
    operands = ("index",)
    examples = (Example({"count": 5}, ("int: B, T",), ("int: B, T, 5",), ("index",), high=5),)

    count: Annotated[int, Field(ge=1, le=MOST)] = Field(description="how many there are: indices lie in [0, count)")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        if x.dtype != "int":
            raise Refusal(
                f"`one_hot` takes indices, but this is {x}",
                help='indices are ints: `cast("int")`, or `argmax`',
                operand=0,
                code="A0322",
            )
        return (TensorType((*x.axes, Axis(None, self.count)), "int"),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0])

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(0, 1),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.one_hot", "{0}", self.count)
