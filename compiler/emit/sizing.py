"""Sizes as a method sees them: every axis of its inputs can be read; what these do not tell is passed to it.

A block is often called where its input's axis is `H // 2` of somewhere. Its code need not know: it reads its own
input's shape. So sizes are rewritten over *local* symbols, one an axis of an input, before code is compared or printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..graph import Graph
from ..ops.base import Check, Code
from ..sizes import Atom, Dim, Symbol, Verdict, at_least, compare, divides, rebuild, substitute, symbol, symbols

_MARK = "@"  # starts the name of a local symbol: no symbol of a spec has it


def local_name(position: int, axis: int) -> str:
    """The local symbol of an axis, by the input's position."""
    return f"{_MARK}{position}.{axis}"


def is_local(name: str) -> bool:
    return name.startswith(_MARK)


def place(name: str) -> tuple[int, int]:
    """The input's position and the axis of a local symbol."""
    position, _, axis = name[1:].partition(".")
    return int(position), int(axis)


@dataclass
class Local:
    """The rewriting of one graph's sizes."""

    _symbols: dict[str, int | Dim] = field(default_factory=dict)
    _atoms: dict[Atom, Dim] = field(default_factory=dict)
    _whole: dict[Dim, Dim] = field(default_factory=dict)
    _known: dict[Dim, int | Dim] = field(default_factory=dict)  # sizes already rewritten

    @staticmethod
    def of(graph: Graph) -> Local:
        open_sizes = [
            (size, position, axis)
            for position, number in enumerate(graph.inputs)
            for axis, size in enumerate(graph[number].types[0].shape)
            if isinstance(size, Dim)
        ]
        return _local(tuple(open_sizes))

    def _learn(self, size: Dim, here: Dim) -> None:
        left = [s for s in symbols(self._rewritten(size)) if not is_local(s)]
        if not left:
            return  # told by another axis
        constant = sum(c for monomial, c in size.terms if not monomial)
        rest = [(monomial, c) for monomial, c in size.terms if monomial]
        if len(rest) == 1 and rest[0][1] == 1 and len(rest[0][0]) == 1 and rest[0][0][0][1] == 1:
            atom = rest[0][0][0][0]
            if isinstance(atom, Symbol):
                self._symbols[atom.name] = here - constant
                return
            if not constant:
                self._atoms[atom] = here
                return
        self._whole[size] = here

    def size(self, size: int | Dim) -> int | Dim:
        """A size over local symbols, as far as these tell it."""
        if isinstance(size, int):
            return size
        known = self._known.get(size)
        if known is None:
            known = self._known[size] = self._rewritten(size)
        return known

    def _rewritten(self, size: Dim) -> int | Dim:
        if size in self._whole:
            return self._whole[size]
        return substitute(rebuild(size, self._atoms.get) if self._atoms else size, self._symbols)

    def value(self, value: Any) -> Any:
        """A literal of a Code."""
        if isinstance(value, Dim):
            return self.size(value)
        if isinstance(value, tuple | list):
            return type(value)(self.value(v) for v in value)
        return value

    def code(self, code: Code) -> Code:
        return Code(code.template, {key: self.value(value) for key, value in code.values.items()})

    def check(self, check: Check) -> Check | None:
        """A check; None when nothing is left to ask."""
        left, right = self.size(check.left), self.size(check.right)
        if check.test == "divides":
            verdict = divides(right, left)
        elif check.test == "at_least":
            verdict = at_least(left - right, 0) if not isinstance(right, int) else at_least(left, right)
        else:
            verdict = compare(left, right)
        return None if verdict is Verdict.PROVED else Check(check.test, left, right, check.message)


@lru_cache(maxsize=256)
def _local(sizes: tuple[tuple[Dim, int, int], ...]) -> Local:
    """The rewriting for inputs with these open sizes: what it is, the input's position, the axis."""
    local = Local()
    for size, position, axis in sizes:
        local._learn(size, symbol(local_name(position, axis)))
    return local


def symbols_of(value: Any) -> Iterator[str]:
    """The symbols of a literal."""
    if isinstance(value, Dim):
        yield from sorted(symbols(value))
    elif isinstance(value, tuple | list):
        for v in value:
            yield from symbols_of(v)


def axis_name(graph: Graph, local: str) -> str:
    """What the author calls the axis of a local symbol."""
    position, number = place(local)
    axis = graph[graph.inputs[position]].types[0].axes[number]
    bare = str(axis.size)
    return axis.name or (bare if bare.isidentifier() else "n")


def shown_size(graph: Graph, size: int | Dim) -> str:
    """A size for a comment, in terms of the axes of the graph's inputs."""
    return str(substitute(size, {s: symbol(axis_name(graph, s)) for s in symbols(size) if is_local(s)}))
