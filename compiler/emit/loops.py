"""Runs of equal steps over the elements of a container of modules: they become a loop."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..graph import Ref
from .expr import attribute, constant, name, show
from .facts import Form
from .layout import statement

if TYPE_CHECKING:
    from .body import Body

_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Loop:
    """Steps that run the elements of a list one after the other, each on what the one before it made.

    carried: the operand that is the result of the step before. part: first and past-the-last element, None for all.
    merges: the step after each of these, where it joins what went in and what came out: `torch.cat([x, f(x)])`."""

    steps: tuple[int, ...]
    path: str
    item: str
    carried: int
    part: tuple[int | None, int | None] | None
    merges: tuple[int, ...] = ()

    @property
    def nodes(self) -> tuple[int, ...]:
        """All that the loop computes."""
        return (*self.steps, *self.merges)


def find_loops(body: Body, steps: Sequence[int]) -> dict[int, Loop]:
    """The loops among the steps of a method, by their first step."""
    found: dict[int, Loop] = {}
    at = 0
    while at < len(steps):
        carried, end = _run(body, steps, at)
        if end - at >= _FEWEST and carried is not None:
            found[steps[at]] = _loop(body, tuple(steps[at:end]), carried)
            at = end
            continue
        joined = _joined(body, steps, at)
        if joined is not None:
            found[steps[at]] = joined
        at = at + len(joined.nodes) if joined is not None else end
    return found


def _joined(body: Body, steps: Sequence[int], at: int) -> Loop | None:
    """A loop of pairs: an element of a container on what came before it, and a merge of both."""
    base, _, _ = (body.graph[steps[at]].module or "").rpartition(".")
    kind, labels = body.tree.container(base) if base and base.partition(".")[0] not in body.modules else ("", [])
    calls, merges = tuple(steps[at : at + 2 * len(labels) : 2]), tuple(steps[at + 1 : at + 2 * len(labels) : 2])
    if kind not in ("list", "dict") or len(labels) < _FEWEST or len(merges) != len(labels):
        return None
    facts, graph = body.facts, body.graph
    before = None
    for i, (call, merge) in enumerate(zip(calls, merges, strict=True)):
        node, taken = graph[call], facts.operands(call)
        if node.module != f"{base}.{labels[i]}" or facts.forms[call] not in (Form.MODULE, Form.CALL) or node.bindings:
            return None
        if len(taken) != 1 or len(node.types) != 1 or facts.passed_sizes(call) or call in facts.helpers:
            return None
        start, joins = taken[0], facts.operands(merge)
        if facts.forms[merge] is not Form.CODE or sorted(joins, key=str) != sorted([start, Ref(call)], key=str):
            return None
        if facts.codes[merge] != facts.codes[merges[0]] or body.uses.get(Ref(call)) != 1:
            return None
        newest = joins.index(Ref(call))
        if facts.operands(merges[0])[newest] != Ref(calls[0]):
            return None
        if before is not None and (start != before or body.uses.get(before) != 2):
            return None
        before = Ref(merge)
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", getattr(graph[calls[0]].graph, "name", "layer"))
    return Loop(calls, base, words[-1].lower() if words else "layer", 0, None, merges)


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


# ---------------------------------------------------------------- writing


def write_loop(body: Body, loop: Loop) -> None:
    """`for block in self.blocks: x = block(x, …)`."""
    from .body import Value, mark, steps_of

    first, last = loop.steps[0], Ref(loop.nodes[-1])
    operands = body.facts.operands(first)
    node, start = body.graph[first], operands[loop.carried]
    wish = body._wishes.get(last)
    for ref in dict.fromkeys(operands):
        if ref in body.values and body.values[ref].variable is None:
            body._settle(ref, wish if ref == start else None)
    before = body.values[start]
    for i, ref in enumerate(operands):
        if ref in body.values:
            body.left[body.values[ref].variable or ""] -= 1 if i == loop.carried else len(loop.steps)
    if loop.merges:
        body.left[before.variable or ""] -= 1
    reads = (before.variable,) if before.variable is not None else ()
    target = body._variable(wish, Value(before.expression, reads=reads))
    if target != before.variable:
        body._say(before.expression, f"{target} = ")
    body._hold(start, target)
    body._hold(last, target)
    item = body.scope.new(loop.item)
    step = body._expression(first, node)
    assert isinstance(step, ast.Call)
    step = ast.Call(name(item), step.args, step.keywords)
    origins = steps_of(node, show(step))
    value: ast.expr = step
    if loop.merges:
        body.values[Ref(first)] = Value(step)
        merge = body.graph[loop.merges[0]]
        value = body._expression(loop.merges[0], merge)
        origins += steps_of(merge, show(value))
    modules = body.path(loop.path)
    if body.tree.container(loop.path)[0] == "dict":
        modules = ast.Call(attribute(modules, "values"), [], [])
    if loop.part is not None:
        bounds = [constant(n) if n is not None else None for n in loop.part]
        modules = ast.Subscript(modules, ast.Slice(*bounds), ast.Load())
    body.nodes += [modules, value]
    body.lines.add([f"        for {item} in {show(modules)}:"], origins)
    body.lines.add(statement(value, 12, f"{target} = ", (mark(origins),)), origins)
    body.scope.free(item)
