"""Places in labelled sequences, and the turns of a `repeat`: the third and later ones are copies of the second."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from ..graph import EdgeKind, Node, Ref
from .values import Tensor

if TYPE_CHECKING:
    from .families import Handed
    from .stages import StageEvaluator


@dataclass(slots=True)
class Place:
    """Where a stage stands: the path of its labelled sequence, and how many elements that has (None outside one)."""

    prefix: str = ""
    count: int | None = None

    def take(self) -> str | None:
        """The path of the next element of a labelled sequence."""
        if self.count is None:
            return None
        self.count += 1
        return f"{self.prefix}{self.count - 1}"

    @property
    def level(self) -> str:
        return self.prefix.rstrip(".")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn that left the type it was given: its first node and first element, what entered and left."""

    start: int
    first: int
    entered: Tensor
    left: Tensor


def repeat_turn(body: StageEvaluator, turn: Turn, place: Place, times: int) -> Tensor:
    """Copies a turn's nodes and modules `times` over, elements renumbered. Nothing is inferred again: equal operand
    types give equal results, so a thousand blocks cost little more than fifty."""
    graph, prefix = body.graph, place.prefix
    end = graph.nx.number_of_nodes()
    assert place.count is not None
    step, length = place.count - turn.first, end - turn.start
    numbers = {str(n) for n in range(turn.first, place.count)}
    recent = list(graph.modules.items())[-(length + step) :]
    owned = [(_Path(path, prefix), module) for path, module in recent if _Path(path, prefix).number in numbers]
    nodes = [_Copy.of(body, n, turn, prefix, numbers) for n in range(turn.start, end)]
    entering = turn.left.ref
    for k in range(1, times + 1):
        by = k * step
        for path, module in owned:
            renamed = path.moved(by)
            (body.labels.claim if path.rest else body.labels.claim_like)(renamed, module.span or turn.left.span)
            graph.modules[renamed] = module
        for copy in nodes:
            refs = [
                entering if r is None else Ref(r.node + k * length, r.result) if inside else r
                for r, inside in copy.operands
            ]
            number = body.add(copy.node(by), refs, copy.kinds)
            if copy.handed is not None:
                body.handed[number] = copy.handed
        entering = Ref(turn.left.ref.node + k * length, turn.left.ref.result)
    place.count += times * step
    return replace(turn.left, ref=entering)


class _Path:
    """A path taken apart at the element of the sequence that it leads into."""

    __slots__ = ("head", "number", "rest", "value")

    def __init__(self, path: str, prefix: str) -> None:
        inside = path.startswith(prefix)
        self.number = path[len(prefix) :].partition(".")[0] if inside else ""
        self.head, self.rest = (prefix, path[len(prefix) + len(self.number) :]) if inside else (path, "")
        self.value = int(self.number) if self.number.isdecimal() else None

    def moved(self, by: int) -> str:
        """The same path, some elements further on."""
        return f"{self.head}{self.number if self.value is None else self.value + by}{self.rest}"


@dataclass(slots=True)
class _Copy:
    """A node of a turn, ready to be made again: its fields, its paths if they move, and its operands (None for what
    enters the turn, and whether each lies inside the turn)."""

    fields: dict[str, Any]
    paths: dict[str, _Path]
    operands: list[tuple[Ref | None, bool]]
    kinds: list[EdgeKind]
    handed: Handed | None

    @classmethod
    def of(cls, body: StageEvaluator, number: int, turn: Turn, prefix: str, numbers: set[str]) -> _Copy:
        node = body.graph[number]
        given = {f.name: getattr(node, f.name) for f in fields(node)}
        paths = {key: _Path(given[key], prefix) for key in ("module", "level") if given[key]}
        moving = {key: path for key, path in paths.items() if path.number in numbers}
        operands = [
            (None if ref == turn.entered.ref else ref, ref.node >= turn.start) for ref in body.graph.operands(number)
        ]
        return cls(given, moving, operands, body.graph.operand_kinds(number), body.handed.get(number))

    def node(self, by: int) -> Node:
        for key, path in self.paths.items():
            self.fields[key] = path.moved(by)
        return Node(**self.fields)
