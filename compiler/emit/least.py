"""The least sizes that a network's inputs may have.

Layers ask that an axis be long enough for a kernel: one question a layer, about what earlier layers left of the axis.
They all come down to one number for each axis of an input, and only the network's own methods ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..graph import Graph
from ..ops.base import Check
from ..sizes import Dim, Floor, evaluate, symbol, symbols
from ..source import Span

_LONGEST = 2**24  # an axis that must be longer than this is asked about as it stands


@dataclass(frozen=True, slots=True)
class Least:
    """A least size, and what asks for it."""

    size: int
    span: Span | None


@dataclass
class Asked:
    """What a graph asks of its sizes. least: by symbol, for callers to ask. losses: the same, where only losses ask.
    rest: what it must ask itself."""

    least: dict[str, Least] = field(default_factory=dict)
    losses: dict[str, Least] = field(default_factory=dict)
    rest: list[tuple[Check, Span | None]] = field(default_factory=list)

    def add(self, check: Check, span: Span | None, *, output: bool = True) -> None:
        """Takes a question up; what every size answers is left out. output: whether an output needs the answer."""
        found = least(check)
        if found is None:
            self.rest.append((check, span))
            return
        name, size = found
        kept = self.least if output else self.losses
        if size > 1 and (name not in kept or kept[name].size < size):
            kept[name] = Least(size, span)


def asked(graph: Graph, callees: Mapping[int, Asked]) -> Asked:
    """What a graph asks, with what it must ask on behalf of those that it calls; `callees` has theirs, by id."""
    result = Asked()
    for check, span in graph.checks:
        result.add(check, span)
    needed = _needed(graph)
    for number in graph.order():
        node = graph[number]
        if node.graph is None:
            continue
        given = dict(node.sizes)
        for name, need in callees[id(node.graph)].least.items():
            size = given.get(name, symbol(name))
            message = f"axis `{name}` of `{node.graph.name}` must be at least {need.size}"
            if isinstance(size, Dim):
                result.add(Check("at_least", size, need.size, message), need.span, output=number in needed)
    return result


def _needed(graph: Graph) -> set[int]:
    """The nodes that outputs need."""
    found: set[int] = set()
    todo = list(graph.outputs)
    while todo:
        number = todo.pop()
        if number not in found:
            found.add(number)
            todo += [ref.node for ref in graph.operands(number)]
    return found


def least(check: Check) -> tuple[str, int] | None:
    """The symbol that a question is about, and its least value; None when it is no question of that kind."""
    size = check.left - check.right
    if check.test != "at_least" or not isinstance(size, Dim) or len(symbols(size)) != 1 or not _grows(size):
        return None
    (name,) = symbols(size)

    def enough(value: int) -> bool:
        return evaluate(size, {name: value}) >= 0

    high = 1
    while not enough(high):
        high *= 2
        if high > _LONGEST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return name, high


def _grows(size: int | Dim) -> bool:
    """Whether it never falls when its symbols grow."""
    if isinstance(size, int):
        return True
    for monomial, coefficient in size.terms:
        if monomial and coefficient < 0:
            return False
        for atom, _ in monomial:
            if isinstance(atom, Floor) and (len(monomial) > 1 or monomial[0][1] > 1 or not _grows_floor(atom)):
                return False
    return True


def _grows_floor(atom: Floor) -> bool:
    return isinstance(atom.below, int) and atom.below > 0 and _grows(atom.above)
