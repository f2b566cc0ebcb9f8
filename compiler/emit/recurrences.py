"""Scans whose cell has equations: one call of a recurrence that was made for them, in place of a loop.

class Tagger(nn.Module):
    rnn_scan = Recurrence(\"\"\"
        input x: 128
        …
    \"\"\")

    def forward(self, x: Tensor) -> Tensor:
        y, h = self.rnn_scan((x,), (self.rnn.update.weight, self.rnn.update.bias))
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..graph import Graph, Kind, Node, Ref
from ..ops.base import Code, Refusal
from ..recurrent.extract import Extracted, Weight, extract
from .expr import attribute, call, constant, literal, name
from .layout import WIDTH
from .names import MODULE_ATTRIBUTES, Scope

if TYPE_CHECKING:
    from .body import Body
    from .facts import Facts

CLASS = "Recurrence"
IMPORT = f"from archlang.runtime.recurrence import {CLASS}"
_VECTOR = 2  # axes of the states that a recurrence takes: [B, n]


class Extractor:
    """The equations of cells, each asked for once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, tuple[int, ...]], Extracted | None] = {}

    def of(self, graph: Graph, number: int) -> Extracted | None:
        """What a SCAN node computes at a step, as equations. None where the cell has none, or nothing new enters."""
        node = graph[number]
        cell, scan = node.graph, node.scan
        assert cell is not None and scan is not None
        if scan.masked and graph.type(graph.operands(number)[-1]).rank > cell[cell.inputs[-1]].types[0].rank:
            return None  # a mask of single features
        fixed = tuple(i for i, axis in enumerate(scan.axes) if axis is None)
        if (id(cell), fixed) not in self._known:
            self._known[id(cell), fixed] = _equations(cell, fixed)
        return self._known[id(cell), fixed]


def _equations(cell: Graph, fixed: tuple[int, ...]) -> Extracted | None:
    try:
        found = extract(cell, len(cell.states), fixed)
    except Refusal:  # an axis goes by a name that only one operand has: a loop runs that as well
        return None
    return found if isinstance(found, Extracted) and found.inputs else None


def examples(graph: Graph, number: int) -> Code:
    """The sizes of the axes before the features, as far as the call must know them, as the values of a fragment that
    is never written as a whole."""
    node = graph[number]
    final, masked = node.types[-1], node.scan is not None and node.scan.masked
    if final.rank > _VECTOR or (masked and graph.type(graph.operands(number)[-1]).rank < final.rank == _VECTOR):
        return Code("[{examples}]", {"examples": final.shape[:-1]})
    return Code("[]", {})


def scan_names(facts: Sequence[Facts], taken: Iterable[str]) -> dict[str, str]:
    """Attributes of a class for its recurrences, by their text. taken: names that the class has given away."""
    found: dict[str, str] = {}
    scope = Scope(MODULE_ATTRIBUTES | {name.partition(".")[0] for name in taken})
    for one in facts:
        scope.taken |= {path.partition(".")[0] for path in (*one.graph.modules, *one.graph.weights)}
        scope.taken |= {path.partition(".")[0] for path in one.helpers.values()}
    for one in facts:
        for number, extracted in one.recurrences.items():
            cell, text = one.graph[number].graph, str(extracted.equations)
            if cell is not None and text not in found:
                found[text] = scope.new(f"{cell.name.lower()}_scan", "scan")
    return found


def definition(attribute_name: str, text: str) -> list[str]:
    """The statement that makes a recurrence, in the body of a class."""
    lines = [f"        {line}" for line in text.split("\n")]
    long = "  # noqa: E501" if any(len(line) > WIDTH for line in lines) else ""
    return [f'    {attribute_name} = {CLASS}("""', *lines, f'    """){long}']


def settle_operands(body: Body, number: int) -> None:
    """Names what starts and masks a recurrence, where it has no name yet."""
    node = body.graph[number]
    assert node.scan is not None and node.graph is not None
    operands = body.facts.operands(number)[len(node.scan.axes) :]
    begun = [state for state, given in zip(node.graph.states, node.scan.starts, strict=True) if given]
    for ref, wish in zip(operands, [*begun, *(["mask"] if node.scan.masked else [])], strict=True):
        if ref in body.values and body.values[ref].variable is None:
            body._settle(ref, body._wishes.get(ref) or wish)


# ---------------------------------------------------------------- the call


def recurrence_call(body: Body, number: int, node: Node, operands: list[ast.expr]) -> ast.expr:
    """`self.rnn_scan((x,), (self.rnn.update.weight, …), mask=mask)`: a tuple of outputs, then of final states."""
    scan, extracted = node.scan, body.facts.recurrences[number]
    assert scan is not None
    shaped = _Shapes(body, number, node)
    inputs = [_part(shaped.sequence(operands[s.position], s.position), s.part) for s in extracted.inputs]
    fixed = [_part(shaped.vector(operands[s.position]), s.part) for s in extracted.constants]
    begun = iter(operands[len(scan.axes) : len(scan.axes) + sum(scan.starts)])
    states: list[ast.expr] = [shaped.vector(next(begun)) if given else ast.Constant(None) for given in scan.starts]
    weights = [_weight(body, number, node, weight) for weight in extracted.weights]
    given: dict[str, ast.expr] = {}
    if any(scan.starts):
        given["states"] = ast.Tuple(states, ast.Load())
    if fixed:
        given["constants"] = ast.Tuple(fixed, ast.Load())
    if scan.masked:
        given["mask"] = shaped.mask(operands[-1])
    if scan.reverse:
        given["reverse"] = ast.Constant(True)
    made = attribute(name("self"), body.plans.scans(body.plan)[str(extracted.equations)])
    whole = call(made, ast.Tuple(inputs, ast.Load()), ast.Tuple(weights, ast.Load()), **given)
    return whole if len(node.types) > 1 else shaped.result(ast.Subscript(whole, constant(0), ast.Load()), 0)


def _weight(body: Body, number: int, node: Node, weight: Weight) -> ast.expr:
    head, _, rest = weight.path.partition(".")
    bound = dict(node.bindings)
    own = body.facts.helpers.get(number, node.module)
    path = f"{bound[head]}.{rest}" if head in bound else f"{own}.{weight.path}"
    value = body.path(path)
    if weight.transposed:
        value = attribute(value, "T")
    if weight.flat:
        value = call(attribute(value, "flatten"))
    return value if weight.part is None else ast.Subscript(value, _slice(weight.part), ast.Load())


def _part(value: ast.expr, part: tuple[int, int] | None) -> ast.expr:
    if part is None:
        return value
    return ast.Subscript(value, ast.Tuple([ast.Constant(...), _slice(part)], ast.Load()), ast.Load())


def _slice(part: tuple[int, int]) -> ast.expr:
    return ast.Slice(constant(part[0]) if part[0] else None, constant(part[1]))


class _Shapes:
    """What stands between the tensors of a network and those of a recurrence: sequences [B, T, n], vectors [B, n]."""

    def __init__(self, body: Body, number: int, node: Node) -> None:
        assert node.scan is not None
        self.body, self.number, self.node, self.scan = body, number, node, node.scan
        self.leading = node.types[-1].rank - 1

    def sequence(self, value: ast.expr, position: int) -> ast.expr:
        """[…, T, n] as [B, T, n], wherever T stands."""
        at = self.scan.axes[position]
        assert at is not None
        if at != self.leading:
            value = _method(value, "movedim", at, self.leading)
        return self._one(value)

    def vector(self, value: ast.expr) -> ast.expr:
        """[…, n] as [B, n]."""
        return self._one(value)

    def mask(self, value: ast.expr) -> ast.expr:
        """[…, T] as [B, T]; what it does not tell apart is alike."""
        known = self.body.graph.type(self.body.graph.operands(self.number)[-1]).rank - 1
        if known < self.leading and self.leading > 0:
            axes: list[ast.expr] = [ast.Slice()] * known + [ast.Constant(None)] * (self.leading - known)
            value = ast.Subscript(value, ast.Tuple([*axes, ast.Slice()], ast.Load()), ast.Load())
            value = call(attribute(value, "expand"), *self._sizes(), constant(-1))
        return self._one(value)

    def result(self, value: ast.expr, result: int) -> ast.expr:
        """An output or a final state as the network has it."""
        if self.leading == 0:
            value = _method(value, "squeeze", 0)
        elif self.leading > 1:
            value = call(attribute(value, "unflatten"), constant(0), ast.Tuple(self._sizes(), ast.Load()))
        outputs = len(self.node.types) - len(self.scan.starts)
        at = min(self.scan.axis, self.node.types[result].rank - 1)
        return _method(value, "movedim", self.leading, at) if result < outputs and at != self.leading else value

    @property
    def plain(self) -> bool:
        """Does every result come as the network has it?"""
        return self.leading == 1 and all(
            min(self.scan.axis, t.rank - 1) == 1 for t in self.node.types[: -len(self.scan.starts)]
        )

    def _one(self, value: ast.expr) -> ast.expr:
        """With one leading axis."""
        if self.leading == 0:
            return _method(value, "unsqueeze", 0)
        return value if self.leading == 1 else _method(value, "flatten", 0, self.leading - 1)

    def _sizes(self) -> list[ast.expr]:
        body, key = self.body, "examples"
        sizes = body.facts.codes[self.number].values[key]
        place = ("c", body.facts.index[self.number], key)
        return [literal(size, body._hole, (*place, i), body.symbols) for i, size in enumerate(sizes)]


def shape_results(body: Body, number: int) -> None:
    """After a call whose results have other axes than the network's: gives them those."""
    from .body import Value

    node = body.graph[number]
    if node.kind is not Kind.SCAN or number not in body.facts.recurrences:
        return
    shaped = _Shapes(body, number, node)
    if shaped.plain:
        return
    for result in range(len(node.types)):
        ref = Ref(number, result)
        held = body.values.get(ref)
        if held is None or held.variable is None:
            continue
        value = shaped.result(held.expression, result)
        if value is held.expression:
            continue
        body.left[held.variable] = 1
        body.values[ref] = Value(value, None, 1, (), (held.variable,), True)
        if body.uses.get(ref, 0) != 1:
            body._settle(ref)


def _method(value: ast.expr, method: str, *numbers: int) -> ast.expr:
    return call(attribute(value, method), *(constant(n) for n in numbers))
