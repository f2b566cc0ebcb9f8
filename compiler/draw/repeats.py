"""Finds what is repeated in a row: `repeat 3 { Bottleneck(64) }` is drawn once, with `×3`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..graph import Graph, Kind, Node, Ref
from ..ops.base import Op

_LONGEST_UNIT = 64
_SAVED = 6  # layers in no block and no level of their own are drawn once only where that saves so many
_MOST_NODES = 4_000  # a graph with more is drawn folded or not at all; looking for repeats would only cost time


@dataclass(frozen=True)
class Repeat:
    """`times` runs of `length` nodes each, from position `start` of the graph's order; `level` is the labelled sequence
    that the first run fills, when each run fills one. loose: runs differ in sizes."""

    start: int
    length: int
    times: int
    level: str | None = None
    loose: bool = False


def find_repeats(graph: Graph, *, loose: bool = False) -> list[Repeat]:
    """Runs of the same nodes, each fed by the one before as that was by the one before it. They do not overlap. loose:
    runs may differ in sizes and settings, as the levels of a pyramid do."""
    order = graph.order()
    if len(order) > _MOST_NODES:
        return []
    finder = _Finder(graph, order, loose)
    found: list[Repeat] = []
    position = 0
    while position < len(order):
        best = finder.best(position)
        if best is None:
            position += 1
        else:
            found.append(best)
            position = best.start + best.length * best.times
    return found


class _Finder:
    def __init__(self, graph: Graph, order: Sequence[int], loose: bool) -> None:
        self.graph, self.order, self.loose = graph, order, loose
        self.at = {number: i for i, number in enumerate(order)}
        self.fingerprints: dict[int, tuple] = {}
        self.known: dict[tuple, tuple] = {}
        numbers: dict[tuple, int] = {}
        self.keys = [numbers.setdefault(self._key(number), len(numbers)) for number in order]
        self.levels = [graph[number].level for number in order]
        self.operands = [graph.operands(number) for number in order]
        self.users = [[self.at[user] for _, user, _ in graph.users(number)] for number in order]
        self.level_sizes = Counter(prefix for level in self.levels for prefix in _prefixes(level))

    def _key(self, number: int) -> tuple:
        """What two nodes that do the same agree in."""
        node = self.graph[number]
        if self.loose:
            return (
                _kind(node),
                tuple(self.graph.operand_kinds(number)),
                _stem(node.module),
                node.bindings,
                _depth(node.level),
            )
        return (
            node.kind,
            self._fingerprint(node.graph) if node.graph is not None else (type(node.op), repr(node.op)),
            node.types,
            tuple(self.graph.operand_kinds(number)),
            _stem(node.module),
            node.replaced,
            node.bindings,
            node.scan,
            _depth(node.level),
        )

    def _fingerprint(self, graph: Graph) -> tuple:
        """What two blocks that differ in rates and the like agree in."""
        if id(graph) not in self.fingerprints:
            nodes = [
                (
                    node.kind,
                    node.types,
                    self._fingerprint(node.graph) if node.graph is not None else _settings(node.op),
                    tuple(graph.operands(number)),
                    node.scan,
                )
                for number in graph.order()
                for node in (graph[number],)
            ]
            key = (graph.name, tuple(nodes))
            self.fingerprints[id(graph)] = self.known.setdefault(key, (len(self.known),))
        return self.fingerprints[id(graph)]

    def best(self, start: int) -> Repeat | None:
        """The repetition that begins here and covers most nodes; of equals the shortest unit."""
        best: Repeat | None = None
        for length in range(1, min(_LONGEST_UNIT, (len(self.order) - start) // 2) + 1):
            if self.keys[start] != self.keys[start + length]:
                continue
            times, level = self._times(start, length)
            if times < 2 or not self._worth(start, length, times, level):
                continue
            if best is None or self._gain(length, times) > self._gain(best.length, best.times):
                best = Repeat(start, length, times, level, self.loose)
        return best

    def _gain(self, length: int, times: int) -> int:
        """Nodes that a repetition covers; of a loose one, those that it saves."""
        return length * (times - self.loose)

    def _worth(self, start: int, length: int, times: int, level: str | None) -> bool:
        nodes = [self.graph[n] for n in self.order[start : start + length]]
        if any(node.kind in (Kind.INPUT, Kind.TARGET, Kind.OUTPUT, Kind.LOSS) for node in nodes):
            return False
        calls = sum(node.graph is not None for node in nodes)
        return calls > 0 or level is not None or (times > 3 and length * (times - 1) >= _SAVED)

    def _times(self, start: int, length: int) -> tuple[int, str | None]:
        level = self._whole_level(start, length)
        slots = None
        times = 1
        while start + (times + 1) * length <= len(self.order):
            here = start + times * length
            if self.keys[start : start + length] != self.keys[here : here + length]:
                break
            if not self._same_levels(start, here, length, level):
                break
            fed = self._slots(here - length, here, length)
            if fed is None or (slots is not None and fed != slots) or not self._closed(here - length, here, length):
                break
            if times == 1 and not self._feeds_alike(start, length, fed):
                break
            slots = fed
            times += 1
        return times, level

    def _whole_level(self, start: int, length: int) -> str | None:
        """The level that exactly these nodes fill."""
        shared = _common(self.levels[start : start + length])
        return shared if shared and self.level_sizes[shared] == length else None

    def _same_levels(self, start: int, here: int, length: int, level: str | None) -> bool:
        if level is None:
            return self.levels[start : start + length] == self.levels[here : here + length]
        other = self._whole_level(here, length)
        if other is None or other.rpartition(".")[0] != level.rpartition(".")[0]:
            return False
        inner = [name[len(level) :] for name in self.levels[start : start + length]]
        return inner == [name[len(other) :] for name in self.levels[here : here + length]]

    def _slots(self, before: int, here: int, length: int) -> list[tuple] | None:
        """Where the run at `here` gets its operands: from itself, from the run before it, or from a fixed place."""
        slots: list[tuple] = []
        for i in range(length):
            for ref in self.operands[here + i]:
                source = self.at[ref.node]
                if source >= here:
                    slots.append(("inside", source - here, ref.result))
                elif source >= before:
                    slots.append(("before", source - before, ref.result))
                else:
                    slots.append(("fixed", ref.node, ref.result))
        return slots if any(slot[0] == "before" for slot in slots) else None

    def _feeds_alike(self, start: int, length: int, slots: list[tuple]) -> bool:
        """Whether the first run has its operands in the same pattern: what later runs get from the run before, it gets
        from outside, one source for one result."""
        entry: dict[tuple, Ref] = {}
        position = 0
        for i in range(length):
            for ref in self.operands[start + i]:
                slot = slots[position]
                position += 1
                source = self.at[ref.node]
                if slot[0] == "inside":
                    good = slot == ("inside", source - start, ref.result)
                elif slot[0] == "fixed":
                    good = slot == ("fixed", ref.node, ref.result)
                else:
                    fed, later = self.graph.type(ref), self.graph.type(Ref(self.order[start + slot[1]], slot[2]))
                    sizes = (fed.rank, later.rank) if self.loose else (fed.shape, later.shape)
                    alike = sizes[0] == sizes[1] and fed.dtype == later.dtype
                    good = source < start and alike and entry.setdefault(slot, ref) == ref
                if not good:
                    return False
        return True

    def _closed(self, before: int, here: int, length: int) -> bool:
        """Whether only the next run uses what the run at `before` makes."""
        return all(before <= user < here + length for i in range(before, before + length) for user in self.users[i])


def _kind(node: Node) -> tuple:
    """What a node does, its sizes and settings left aside."""
    inside = tuple(_kind(node.graph[n]) for n in node.graph.order()) if node.graph is not None else ()
    name = node.graph.name if node.graph is not None else type(node.op).__name__
    return node.kind, name, inside, tuple((t.rank, t.dtype) for t in node.types), node.scan, node.replaced


def _settings(op: Op | None) -> tuple:
    """An op and its settings, but for rates and the like."""
    if op is None:
        return ()
    values = ((name, getattr(op, name)) for name in type(op).model_fields)
    return type(op), tuple((name, repr(value)) for name, value in values if not isinstance(value, float))


def _stem(path: str | None) -> str | None:
    """The last part of a path without its number: `layers.0.conv1` → `conv`."""
    return None if path is None else path.rpartition(".")[2].rstrip("0123456789")


def _depth(level: str) -> int:
    return level.count(".") + bool(level)


def _prefixes(level: str) -> list[str]:
    parts = level.split(".") if level else []
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _common(levels: Sequence[str]) -> str:
    """The innermost level that holds all of these."""
    shared = levels[0].split(".")
    for level in levels[1:]:
        parts = level.split(".")
        while shared and parts[: len(shared)] != shared:
            shared.pop()
    return ".".join(shared)
