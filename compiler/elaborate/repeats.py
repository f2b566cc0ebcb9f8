"""Places in labelled sequences, and the turns of a `repeat`: the third and later ones are copies of the second."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..graph import Ref
from .values import Tensor

if TYPE_CHECKING:
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
    graph = body.graph
    end = graph.nx.number_of_nodes()
    assert place.count is not None
    step = place.count - turn.first
    nodes = [(graph[n], graph.operands(n), graph.operand_kinds(n)) for n in range(turn.start, end)]
    numbers = {str(n) for n in range(turn.first, place.count)}
    owned = [
        (path, module)
        for path, module in list(graph.modules.items())[-(len(nodes) + step) :]
        if _number(path, place.prefix) in numbers
    ]
    left = turn.left
    for k in range(1, times + 1):
        shift = k * (end - turn.start)
        for path, module in owned:
            renamed = _renumber(path, place.prefix, numbers, k * step)
            body.labels.claim(renamed, module.span or turn.left.span)
            graph.modules[renamed] = module
        for node, operands, kinds in nodes:
            refs = [
                left.ref
                if ref == turn.entered.ref
                else Ref(ref.node + shift, ref.result)
                if ref.node >= turn.start
                else ref
                for ref in operands
            ]
            module = node.module and _renumber(node.module, place.prefix, numbers, k * step)
            level = node.level and _renumber(node.level, place.prefix, numbers, k * step)
            body.add(node if module is None and not level else replace(node, module=module, level=level), refs, kinds)
        left = replace(left, ref=Ref(turn.left.ref.node + shift, turn.left.ref.result))
    place.count += times * step
    return left


def _number(path: str, prefix: str) -> str | None:
    """The element of a labelled sequence that a path leads into."""
    return path[len(prefix) :].partition(".")[0] if path.startswith(prefix) else None


def _renumber(path: str, prefix: str, numbers: set[str], by: int) -> str:
    number = _number(path, prefix)
    if number is None or number not in numbers:
        return path
    return f"{prefix}{int(number) + by}{path[len(prefix) + len(number) :]}"
