"""Joining tensors, and taking one apart."""

from __future__ import annotations

from typing import Annotated

from ..declared import Field
from ..relations import POINTWISE, Relations, everything, window
from ..sizes import Dim
from ..types import Axis, TensorType
from .base import Code, Example, Glyph, Interval, Need, Op, Refusal, SizeSetting, axis_index, call, pointwise
from .elementwise import LastAxis, axis_name, check_names, dim, promote, union
from .select import cut
from .shape import new_place

Count = Annotated[int, Field(ge=1, le=4096)]


class _Join(Op):
    """Several tensors that become one."""

    glyph = Glyph.MERGE
    operands = ("xs*",)

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (union(*ranges),)

    def _others(self, inputs: tuple[TensorType, ...], free: int | None, need: Need) -> TensorType:
        """The common type: equal axes but for `free`, names of the first operand that has them."""
        first = inputs[0]
        names = list(first.names)
        sizes = list(first.shape)
        for i, x in enumerate(inputs[1:], 1):
            if x.rank != first.rank:
                raise Refusal(
                    f"`{self.name}` joins tensors with as many axes, but {first} has {first.rank} and {x} has {x.rank}",
                    help="add an axis of size 1 with `rearrange` or `unsqueeze`",
                    operand=i,
                    others=(0,),
                    code="A0330",
                )
            check_names((first, x), self.name)
            for axis in range(x.rank):
                if axis == free:
                    continue
                need.equal(
                    sizes[axis],
                    x.shape[axis],
                    f"`{self.name}` cannot join {first} and {x}: {axis_name(first, axis)} has size "
                    f"{first.shape[axis]}, but {axis_name(x, axis)} has {x.shape[axis]}",
                    help="all axes but the one that is joined must agree" if free is not None else None,
                    operand=i,
                    others=(0,),
                    code="A0330",
                )
                sizes[axis] = x.shape[axis] if isinstance(x.shape[axis], int) else sizes[axis]
            for axis, name in enumerate(x.names):
                if names[axis] is None and name not in names:
                    names[axis] = name
        axes = tuple(Axis(n, s) for n, s in zip(names, sizes, strict=True))
        return TensorType(axes, promote(inputs))


class Concat(_Join):
    """Tensors one after the other along an axis; all other axes agree."""

    name = "concat"
    examples = (
        Example({}, ("B T 3", "B T 5"), ("B T 8",)),
        Example({"axis": "C"}, ("B C=2 H=3 W=3", "B C=4 H=3 W=3", "B C=1 H=3 W=3"), ("B C=7 H=3 W=3",)),
        Example({"axis": 1}, ("B 1 D=4", "B T D=4"), ("B, T=T + 1, D=4",)),
    )

    axis: LastAxis = -1

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        axis = self._axis(inputs)
        joined = self._others(inputs, axis, need)
        size: int | Dim = 0
        for x in inputs:
            size = x.shape[axis] + size
        return (joined.resize(axis, size),)

    def _axis(self, inputs: tuple[TensorType, ...]) -> int:
        for i, x in enumerate(inputs):  # any operand may be the one that names it
            if x.find(self.axis) is not None:
                return axis_index(x, self.axis, operand=i)
        return axis_index(inputs[0], self.axis)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        axis = self._axis(inputs)
        table: Relations = {}
        offset: int | Dim = 0
        for i, x in enumerate(inputs):
            here = everything(loose=True, covers=True)
            if isinstance(offset, int):
                here = window(1, -offset, -offset, uniform=False)
            table |= pointwise(x, operand=i, changed={axis: here} if len(inputs) > 1 else None)
            offset = x.shape[axis] + offset
        return table

    def forgets_result(self, inputs: tuple[TensorType, ...]) -> bool:
        return True

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        axis = dim(outputs[0], self._axis(inputs))
        return Code("torch.cat([{all}], dim={axis})", {"axis": axis}) if axis else Code("torch.cat([{all}])")


class Stack(_Join):
    """Tensors of one shape side by side along a new axis."""

    name = "stack"
    examples = (
        Example({}, ("B T", "B T", "B T"), ("3 B T",)),
        Example({"axis": -1}, ("B T", "B T"), ("B T 2",)),
    )

    axis: int = Field(0, description="where the new axis stands in the result; -1 is the end")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        one = self._others(inputs, None, need)
        place = new_place(one, self.axis)
        return (TensorType((*one.axes[:place], Axis(None, len(inputs)), *one.axes[place:]), one.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        place = new_place(inputs[0], self.axis)
        return {(0, a + (a >= place), i, a): POINTWISE for i, x in enumerate(inputs) for a in range(x.rank)}

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        place = dim(outputs[0], new_place(inputs[0], self.axis))
        return Code("torch.stack([{all}], dim={axis})", {"axis": place}) if place else Code("torch.stack([{all}])")


class Split(Op):
    """A tensor cut along an axis, into so many equal parts or into parts of the sizes given."""

    name = "split"
    glyph = Glyph.SELECT
    results = ("parts*",)
    examples = (
        Example({"parts": 2}, ("B T 6",), ("B T 3", "B T 3")),
        Example({"parts": (1, 2, 3), "axis": "C"}, ("B C=6 H=2",), ("B C=1 H=2", "B C=2 H=2", "B C=3 H=2")),
    )

    parts: Count | Annotated[tuple[SizeSetting, ...], Field(min_length=1, max_length=4096)] = Field(
        description="how many equal parts, or the size of each"
    )
    axis: LastAxis = -1

    @property
    def _count(self) -> int:
        return self.parts if isinstance(self.parts, int) else len(self.parts)

    def _sizes(self, size: int | Dim) -> tuple[int | Dim, ...]:
        return (size // self.parts,) * self.parts if isinstance(self.parts, int) else self.parts

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        axis = axis_index(x, self.axis)
        size = x.shape[axis]
        what = f"{axis_name(x, axis)} of {x} has size {size}"
        if isinstance(self.parts, int):
            need.divides(
                self.parts,
                size,
                f"{what}, which does not fall into {self.parts} equal parts",
                help="give the size of each part: `split([…], axis=…)`",
                operand=0,
                setting="parts",
                code="A0329",
            )
        else:
            total: int | Dim = 0
            for part in self.parts:
                need.at_least(part, 1, f"a part has at least size 1, found {part}", setting="parts", code="A0329")
                total = part + total
            need.equal(
                size, total, f"{what}, but the parts add up to {total}", operand=0, setting="parts", code="A0329"
            )
        return tuple(x.resize(axis, part) for part in self._sizes(size))

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        axis = axis_index(x, self.axis)
        table: Relations = {}
        start: int | Dim = 0
        for i, part in enumerate(self._sizes(x.shape[axis])):
            table |= pointwise(x, output=i, changed={axis: cut(start)})
            start = part + start
        return table

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges * self._count

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        axis = dim(inputs[0], axis_index(inputs[0], self.axis))
        if isinstance(self.parts, int):
            return call("{0}.chunk", self.parts, axis)
        return call("{0}.split", list(self.parts), axis)


class Unstack(Op):
    """The slices of a tensor along its leading axis: `q, k, v = qkv`."""

    name = "unstack"
    glyph = Glyph.SELECT
    results = ("parts*",)
    hidden = True
    examples = (Example({"count": 3}, ("3 B T",), ("B T", "B T", "B T")),)

    count: Count = Field(description="how many there are")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        if x.rank == 0:
            raise Refusal("a scalar cannot be taken apart", operand=0, code="A0407")
        need.equal(
            x.shape[0],
            self.count,
            f"{self.count} names take {x} apart, but its leading axis has size {x.shape[0]}",
            help="one tensor is taken apart along its first axis; `split` cuts along another",
            operand=0,
            code="A0407",
        )
        return (x.drop(0),) * self.count

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        table: Relations = {}
        for i in range(self.count):
            table[i, None, 0, 0] = cut(i)
            table |= {(i, a - 1, 0, a): POINTWISE for a in range(1, x.rank)}
        return table

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges * self.count

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return Code("{0}.unbind()")
