"""What a tensor is to the compiler: a kind of number and named, sized axes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from .size_text import parse_size
from .sizes import Dim, substitute

DTYPES = ("float", "int", "bool")


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis. The name says what it is (`C`, `H`, `T`); None when nobody named it. The size may be symbolic."""

    name: str | None
    size: int | Dim

    def __str__(self) -> str:
        size = str(self.size)
        if self.name is None:
            return f"_={size}" if size.isidentifier() else size
        return size if self.name == size else f"{self.name}={size}"


@dataclass(frozen=True)
class TensorType:
    """The type of one tensor. A scalar has no axes. Names are unique within a type."""

    axes: tuple[Axis, ...] = ()
    dtype: str = "float"

    @cached_property
    def shape(self) -> tuple[int | Dim, ...]:
        return tuple(axis.size for axis in self.axes)

    @cached_property
    def names(self) -> tuple[str | None, ...]:
        return tuple(axis.name for axis in self.axes)

    @property
    def rank(self) -> int:
        return len(self.axes)

    @cached_property
    def elements(self) -> int | Dim:
        """Number of elements, symbolic where a size is."""
        total: int | Dim = 1
        for size in self.shape:
            total = total * size
        return total

    @cached_property
    def _hash(self) -> int:
        return hash((self.axes, self.dtype))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        prefix = "" if self.dtype == "float" else self.dtype
        return f"{prefix}[{', '.join(map(str, self.axes))}]"

    def find(self, axis: int | str) -> int | None:
        """Index of an axis given by name or (possibly negative) position; None when there is none."""
        if isinstance(axis, str):
            return self.names.index(axis) if axis in self.names else None
        return axis % self.rank if -self.rank <= axis < self.rank else None

    def resize(self, axis: int, size: int | Dim) -> TensorType:
        """The same type with one axis of another size."""
        axes = list(self.axes)
        axes[axis] = Axis(axes[axis].name, size)
        return TensorType(tuple(axes), self.dtype)

    def drop(self, *positions: int) -> TensorType:
        """The same type without the axes at these positions."""
        return TensorType(tuple(a for i, a in enumerate(self.axes) if i not in positions), self.dtype)

    def cast(self, dtype: str) -> TensorType:
        return TensorType(self.axes, dtype)

    def substitute(self, values: Mapping[str, int | Dim]) -> TensorType:
        """Symbols replaced in every size; axis names stay."""
        shape = [substitute(size, values) for size in self.shape]
        if all(map(operator.is_, shape, self.shape)):
            return self
        return TensorType(tuple(map(Axis, self.names, shape)), self.dtype)


def unique_names(axes: Iterable[Axis], fallback: Callable[[int], str | None] = lambda _: None) -> tuple[Axis, ...]:
    """The axes with names that occur twice replaced (by `fallback(position)`, when that is free, else by None)."""
    axes = tuple(axes)
    names = [axis.name for axis in axes]
    doubled = {n for n in names if n is not None and names.count(n) > 1}
    taken = {n for n in names if n not in doubled}
    result = []
    for i, axis in enumerate(axes):
        name = axis.name
        if name in doubled:
            name = fallback(i)
            name = None if name in taken or name in doubled else name
            taken.add(name)
        result.append(Axis(name, axis.size))
    return tuple(result)


def tensor(text: str) -> TensorType:
    """A type written short, for examples and tests: `"B C=64 H=32 32"`, `"int B T"`, `"int: B, C=H // 2"`.

    Axes are separated by spaces, or by commas when a size needs spaces. A bare name is a symbol."""
    head, _, rest = text.partition(" ")
    dtype, body = (head.rstrip(":"), rest) if head.rstrip(":") in DTYPES else ("float", text)
    return TensorType(_axes(body if "," in body else ",".join(body.split())), dtype)


def parse_type(text: str) -> TensorType:
    """Reads what `str` of a TensorType wrote: `int[B, C=H // 2]`. Raises ValueError."""
    head, bracket, rest = text.strip().partition("[")
    if not bracket or not rest.endswith("]") or head not in ("", *DTYPES):
        raise ValueError(f"not a tensor type: {text[:80]!r}")
    inner = rest[:-1]
    return TensorType(_axes(inner), head or "float")


def _axes(inner: str) -> tuple[Axis, ...]:
    if not inner.strip():
        return ()
    axes = []
    for word in inner.split(","):
        name, equals, size = word.partition("=")
        if not equals:
            name, size = "", word
        name, size = name.strip(), size.strip()
        name = name or (size if size.isidentifier() else "_")
        axes.append(Axis(None if name == "_" else name, parse_size(size)))
    return tuple(axes)
