"""Changing the shape of a tensor, not what it holds."""

from __future__ import annotations

from typing import Annotated

from ..declared import Field
from ..relations import POINTWISE, Relation, Relations, everything
from ..sizes import Dim, Verdict, compare, divides
from ..types import Axis, TensorType, unique_names
from .base import (
    AxisMark,
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
    axis_index,
    call,
)
from .elementwise import axis_name, dim
from .regroup import Part, joined, regroup_code, regroup_relations, taken

Sizes = Annotated[tuple[SizeSetting, ...], Field(min_length=1, max_length=32)]

ONLY_MOVES = frozenset({"flatten", "unflatten", "reshape", "squeeze", "unsqueeze", "transpose", "rearrange", "cast"})
"""Ops whose result holds each element of their operand once, in another shape or kind of number."""


class _Shape(Op):
    """An op that moves elements and changes none."""

    glyph = Glyph.SHAPE

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges


def size_name(size: int | Dim) -> str | None:
    """The name of an axis that is given only its size: the symbol, when it is one."""
    return str(size) if isinstance(size, Dim) and str(size).isidentifier() else None


class Flatten(_Shape):
    """Several neighbouring axes made one. An axis among others of size 1 keeps its name."""

    name = "flatten"
    regroups = True
    examples = (
        Example({}, ("B C=4 H=3 W=2",), ("B 24",)),
        Example({}, ("B C=4 1 1",), ("B C=4",)),
        Example({"start": 2}, ("B C=4 H=3 W=2",), ("B C=4 6",)),
        Example({"start": "B", "end": "T"}, ("int: B, T, 4",), ("int: _=B * T, 4",)),
        Example({}, ("B D=3",), ("B D=3",)),
    )

    start: Annotated[AxisRef, Field(description="the first axis")] = 1
    end: Annotated[AxisRef, Field(description="the last axis")] = -1

    def _range(self, x: TensorType) -> tuple[int, int]:
        start, end = axis_index(x, self.start, setting="start"), axis_index(x, self.end, setting="end")
        if end < start:
            raise Refusal(
                f"`flatten` goes from a first axis to a later one, but {axis_name(x, end)} comes before "
                f"{axis_name(x, start)} in {x}",
                operand=0,
                setting="end",
                code="A0334",
            )
        return start, end

    def _plan(self, x: TensorType) -> tuple[list[tuple[Part, ...]], list[tuple[str, ...]]]:
        start, end = self._range(x)
        names = [f"a{i}" for i in range(x.rank)]
        groups = [(n,) for n in names[:start]] + [tuple(names[start : end + 1])] + [(n,) for n in names[end + 1 :]]
        return [(Part(n, size),) for n, size in zip(names, x.shape, strict=True)], groups

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        start, end = self._range(x)
        group = x.axes[start : end + 1]
        size: int | Dim = 1
        for axis in group:
            size = size * axis.size
        real = [axis for axis in group if axis.size != 1] or (group if len(group) == 1 else ())
        name = real[0].name if len(real) == 1 else None
        return (TensorType((*x.axes[:start], Axis(name, size), *x.axes[end + 1 :]), x.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return regroup_relations(*self._plan(inputs[0]))

    def module(self, inputs: tuple[TensorType, ...]) -> Code:
        start, end = self._range(inputs[0])
        return call("nn.Flatten", start_dim=Unless(start, 1), end_dim=Unless(dim(inputs[0], end), -1))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return regroup_code(*self._plan(inputs[0]))


def solve(sizes: tuple[int | Dim, ...], total: int | Dim, what: str, need: Need) -> tuple[int | Dim, ...]:
    """Sizes whose product is `total`, the -1 among them replaced. Refuses what does not come out (A0327)."""
    free = [i for i, size in enumerate(sizes) if size == -1]
    if len(free) > 1:
        raise Refusal("only one size may be left open with -1", help="give the others", setting="sizes", code="A0327")
    known: int | Dim = 1
    for i, size in enumerate(sizes):
        if i not in free:
            need.at_least(size, 1, f"a size must be at least 1, found {size}", setting="sizes", code="A0327")
            known = known * size
    text = " · ".join(str(size) for size in sizes if size != -1)
    if not free:
        need.equal(
            total, known, f"{what} {total} elements, but {text} = {known}", operand=0, setting="sizes", code="A0327"
        )
        return sizes
    if len(sizes) > 1:
        need.divides(
            known,
            total,
            f"{what} {total} elements, which {text} does not divide",
            help="the sizes that are given must divide it",
            operand=0,
            setting="sizes",
            code="A0327",
        )
    return tuple(total // known if i in free else size for i, size in enumerate(sizes))


class Unflatten(_Shape):
    """One axis split into several, the outermost first; one of the sizes may be -1."""

    name = "unflatten"
    regroups = True
    examples = (
        Example({"axis": -1, "sizes": (2, -1)}, ("B T D=6",), ("B T 2 3",)),
        Example({"axis": "C", "sizes": (2, 2, 2)}, ("B C=8 H=3",), ("B 2 2 2 H=3",)),
    )

    axis: Annotated[AxisRef, Field(description="the axis to split")]
    sizes: Annotated[Sizes, Field(description="sizes of the parts; -1 is what is left")]

    def _plan(self, x: TensorType, need: Need) -> tuple[list[tuple[Part, ...]], list[tuple[str, ...]]]:
        axis = axis_index(x, self.axis)
        sizes = solve(self.sizes, x.shape[axis], f"{axis_name(x, axis)} of {x} has", need)
        parts: list[tuple[Part, ...]] = [(Part(f"a{i}", size),) for i, size in enumerate(x.shape)]
        parts[axis] = tuple(
            Part(f"p{i}", size, solved=given == -1)
            for i, (size, given) in enumerate(zip(sizes, self.sizes, strict=True))
        )
        return parts, [(part.name,) for row in parts for part in row]

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        parts, _ = self._plan(x, need)
        axis = axis_index(x, self.axis)
        if len(self.sizes) == 1:
            return inputs
        new = tuple(Axis(size_name(part.size), part.size) for part in parts[axis])
        return (TensorType(unique_names((*x.axes[:axis], *new, *x.axes[axis + 1 :])), x.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return regroup_relations(*self._plan(inputs[0], Need()))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return regroup_code(*self._plan(inputs[0], Need()))


class Reshape(_Shape):
    """The same elements in the same order, in axes of other sizes; one of the sizes may be -1.

    `rearrange` says what becomes of each axis, and should be preferred. Axes that come through unchanged keep their
    names."""

    name = "reshape"
    regroups = True
    examples = (
        Example({"sizes": (2, 12)}, ("2 C=4 H=3",), ("2 12",)),
        Example({"sizes": (-1, 2, 2, 3)}, ("N C=4 H=3",), ("N 2 2 H=3",)),
        Example({"sizes": (4, 3)}, ("int 6 2",), ("int 4 3",)),
        Example({"sizes": (1,)}, ("",), ("1",)),
    )

    sizes: Annotated[Sizes, Field(description="the new sizes; -1 is what is left")]

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        sizes = solve(self.sizes, x.elements, f"{x} has", need)
        names = [size_name(size) for size in sizes]
        for before, after in _groups(x.shape, sizes):
            if len(before) == len(after) == 1:
                names[after[0]] = x.names[before[0]]
        return (TensorType(unique_names(Axis(n, s) for n, s in zip(names, sizes, strict=True)), x.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        before, after = inputs[0].shape, outputs[0].shape
        table: Relations = {}
        for left, right in _groups(before, after):
            for i, axis in enumerate(left):
                for j, out in enumerate(right):
                    relation: Relation = everything(loose=True)
                    if len(right) == 1:
                        relation = joined([before[a] for a in left], i)
                    elif len(left) == 1:  # the outermost part tells all, as in `regroup_relations`
                        if j > 0:
                            continue
                        relation = taken([after[a] for a in right], j)
                    table[0, out, 0, axis] = relation
                if not right:
                    table[0, None, 0, axis] = POINTWISE
        return table

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("{0}.reshape", *self.sizes)


def _groups(before: tuple[int | Dim, ...], after: tuple[int | Dim, ...]) -> list[tuple[list[int], list[int]]]:
    """Runs of axes that hold the same elements before and after, as short as can be told."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        left, right = list(range(i, min(i + 1, len(before)))), list(range(j, min(j + 1, len(after))))
        a: int | Dim = before[i] if left else 1
        b: int | Dim = after[j] if right else 1
        i, j = i + len(left), j + len(right)
        while compare(a, b) is not Verdict.PROVED and (i < len(before) or j < len(after)):
            if i < len(before) and (j == len(after) or _smaller(a, b)):
                left.append(i)
                a, i = a * before[i], i + 1
            else:
                right.append(j)
                b, j = b * after[j], j + 1
        groups.append((left, right))
    return groups


def _smaller(a: int | Dim, b: int | Dim) -> bool:
    if isinstance(a, int) and isinstance(b, int):
        return a < b
    return divides(a, b) is Verdict.PROVED


class Squeeze(_Shape):
    """An axis of size 1 taken away."""

    name = "squeeze"
    examples = (Example({"axis": -1}, ("B T 1",), ("B T",)), Example({"axis": 1}, ("B 1 T",), ("B T",)))

    axis: Annotated[AxisRef, Field(description="the axis, of size 1")]

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        axis = axis_index(x, self.axis)
        need.equal(
            x.shape[axis],
            1,
            f"`squeeze` takes away an axis of size 1, but {axis_name(x, axis)} of {x} has size {x.shape[axis]}",
            help="take one position of it, as in `x[T=0]`, or reduce it with `mean` or `sum`",
            operand=0,
            setting="axis",
            code="A0331",
        )
        return (x.drop(axis),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        gone = axis_index(x, self.axis)
        return {(0, None if a == gone else a - (a > gone), 0, a): POINTWISE for a in range(x.rank)}

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("{0}.squeeze", dim(inputs[0], axis_index(inputs[0], self.axis)))


class Unsqueeze(_Shape):
    """A new axis of size 1, to stand at position `axis` of the result."""

    name = "unsqueeze"
    examples = (Example({"axis": 1}, ("B T",), ("B 1 T",)), Example({"axis": -1}, ("int B",), ("int B 1",)))

    axis: int = Field(description="where the new axis stands in the result; -1 is the end")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        place = new_place(x, self.axis)
        return (TensorType((*x.axes[:place], Axis(None, 1), *x.axes[place:]), x.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        place = new_place(inputs[0], self.axis)
        return {(0, a + (a >= place), 0, a): POINTWISE for a in range(inputs[0].rank)}

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("{0}.unsqueeze", dim(outputs[0], new_place(inputs[0], self.axis)))


def new_place(x: TensorType, axis: int) -> int:
    """Where a new axis goes, counted in the result. Refuses a place beyond it (A0302)."""
    if not -x.rank - 1 <= axis <= x.rank:
        raise Refusal(
            f"the result has {x.rank + 1} axes: there is no place {axis}",
            help=f"give a place from {-x.rank - 1} to {x.rank}",
            operand=0,
            setting="axis",
            code="A0302",
        )
    return axis % (x.rank + 1)


class Transpose(_Shape):
    """Two axes exchanged."""

    name = "transpose"
    examples = (
        Example({"a": 1, "b": 2}, ("B T D=3",), ("B D=3 T",)),
        Example({"a": "H", "b": "W"}, ("B H=2 W=3",), ("B W=3 H=2",)),
    )

    a: Annotated[AxisRef, Field(description="one axis")]
    b: Annotated[AxisRef, Field(description="the other axis")]

    def _order(self, x: TensorType) -> list[int]:
        a, b = axis_index(x, self.a, setting="a"), axis_index(x, self.b, setting="b")
        order = list(range(x.rank))
        order[a], order[b] = b, a
        return order

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        return (TensorType(tuple(x.axes[i] for i in self._order(x)), x.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return {(0, out, 0, axis): POINTWISE for out, axis in enumerate(self._order(inputs[0]))}

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        (x,) = inputs
        return call("{0}.transpose", axis_index(x, self.a, setting="a"), axis_index(x, self.b, setting="b"))


class Expand(_Shape):
    """The same values repeated along an axis, without a copy.

    `expand(n)` stretches the first axis when that has size 1 (a class token [1, 1, D] becomes [n, 1, D]); otherwise it
    puts a new axis of size n in front ([M, D] becomes [n, M, D], a scalar [n]). `expand(n, axis=T)` stretches the axis
    T, which must have size 1. Where the size is a plain symbol the axis is called after it."""

    name = "expand"
    examples = (
        Example({"size": 3, "axis": 0}, ("1 1 D=4",), ("3 1 D=4",)),
        Example({"size": 3}, ("M=2 D=4",), ("3 M=2 D=4",)),
        Example({"size": 3}, ("",), ("3",)),
        Example({"size": 5, "axis": "T"}, ("int: B, T=1, 2",), ("int: B, T=5, 2",)),
        Example({"size": 5, "axis": -1}, ("B 1",), ("B 5",)),
    )

    size: Annotated[SizeSetting, Field(description="size of the axis afterwards")]
    axis: Annotated[
        int | str | None, AxisMark(), Field(description="the axis to stretch; none: the first, or a new one")
    ] = None

    def _place(self, x: TensorType) -> tuple[int, bool]:
        """The axis of the result that is stretched, and whether it is new."""
        if self.axis is not None:
            return axis_index(x, self.axis), False
        return 0, x.rank == 0 or x.shape[0] != 1

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        place, new = self._place(x)
        need.at_least(self.size, 1, f"a size must be at least 1, found {self.size}", setting="size", code="A0331")
        if new:
            return (TensorType(unique_names((Axis(size_name(self.size), self.size), *x.axes)), x.dtype),)
        need.equal(
            x.shape[place],
            1,
            f"`expand` stretches an axis of size 1, but {axis_name(x, place)} of {x} has size {x.shape[place]}",
            help="leave `axis` out to put a new axis in front",
            operand=0,
            setting="axis",
            code="A0331",
        )
        name = size_name(self.size) or x.names[place]
        axes = [*x.axes[:place], Axis(name, self.size), *x.axes[place + 1 :]]
        if name in (a.name for i, a in enumerate(x.axes) if i != place):
            axes[place] = Axis(None, self.size)
        return (TensorType(tuple(axes), x.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        place, new = self._place(x)
        if new:
            return {(0, a + 1, 0, a): POINTWISE for a in range(x.rank)}
        return {(0, None if a == place else a, 0, a): POINTWISE for a in range(x.rank)}

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        place, _ = self._place(inputs[0])
        rest = [self.size if a == place else -1 for a in range(outputs[0].rank)]
        return call("{0}.expand", *rest)
