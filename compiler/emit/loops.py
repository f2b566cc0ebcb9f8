"""Runs of equal steps over the elements of an nn.ModuleList: they become a loop."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..graph import Ref
from .facts import Form

if TYPE_CHECKING:
    from .body import Body

_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Loop:
    """Steps that run the elements of a list one after the other, each on what the one before it made.

    carried: the operand that is the result of the step before. part: first and past-the-last element, None for all."""

    steps: tuple[int, ...]
    path: str
    item: str
    carried: int
    part: tuple[int | None, int | None] | None


def find_loops(body: Body, steps: Sequence[int]) -> dict[int, Loop]:
    """The loops among the steps of a method, by their first step."""
    found: dict[int, Loop] = {}
    at = 0
    while at < len(steps):
        carried, end = _run(body, steps, at)
        if end - at >= _FEWEST and carried is not None:
            found[steps[at]] = _loop(body, tuple(steps[at:end]), carried)
        at = end
    return found


def _run(body: Body, steps: Sequence[int], at: int) -> tuple[int | None, int]:
    """The operand that a run starting here carries along, and where the run ends."""
    carried: int | None = None
    end = at + 1
    while end < len(steps):
        position = _carries(body, steps[end - 1], steps[end])
        if position is None or (carried is not None and position != carried):
            break
        carried = position
        end += 1
    return carried, end


def _carries(body: Body, before: int, after: int) -> int | None:
    """The operand through which a step continues the one before it; None when it is no repetition of it."""
    facts, graph = body.facts, body.graph
    one, two = graph[before], graph[after]
    if facts.forms[before] is not facts.forms[after] or facts.forms[after] not in (Form.MODULE, Form.CALL):
        return None
    if one.module is None or two.module is None or before in facts.helpers or len(one.types) != 1:
        return None
    base, _, index = one.module.rpartition(".")
    if not base or not index.isdecimal() or two.module != f"{base}.{int(index) + 1}":
        return None
    if base.partition(".")[0] in body.modules or body.tree.list_length(base) is None:
        return None
    if one.bindings != two.bindings or body.uses.get(Ref(before), 0) != 1 or not _same_sizes(body, before, after):
        return None
    left, right = facts.operands(before), facts.operands(after)
    if len(left) != len(right):
        return None
    differing = [i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]
    return differing[0] if len(differing) == 1 and right[differing[0]] == Ref(before) else None


def _same_sizes(body: Body, before: int, after: int) -> bool:
    """Whether two calls pass the same sizes by the same keywords."""
    given = [body.facts.passed_sizes(n) for n in (before, after)]
    callees = [body.graph[n].graph for n in (before, after)]
    keywords = [body.plans.size_parameters(g) if g is not None else {} for g in callees]
    return given[0] == given[1] and keywords[0] == keywords[1]


def _loop(body: Body, steps: tuple[int, ...], carried: int) -> Loop:
    node = body.graph[steps[0]]
    base, _, index = (node.module or "").rpartition(".")
    first, past = int(index), int(index) + len(steps)
    length = body.tree.list_length(base)
    whole = first == 0 and past == length
    part = None if whole else (first or None, past if past != length else None)
    label = base.rpartition(".")[2]
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", node.graph.name if node.graph is not None else "layer")
    item = label[:-1] if len(label) > 3 and label.endswith("s") else (words[-1].lower() if words else "layer")
    return Loop(steps, base, item, carried, part)
