"""Cells that run along an axis: a plain loop over its positions.

    h = x.new_zeros(B, 256)
    ys = []
    for x_t in x.unbind(1):
        y_t, h = self.rnn(x_t, h)
        ys.append(y_t)
    y = torch.stack(ys, 1)

The axis is unbound once: indexing it at every step would make the backward pass quadratic in its length.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..analysis.scans import steps
from ..elaborate.indices import IndexGrid
from ..graph import Graph, Kind, Node, Ref, Scan
from ..ops.base import Check, Code
from ..sizes import Dim, symbol
from ..source import Span
from .expr import attribute, call, constant, literal, name, show
from .layout import header, statement
from .names import identifier
from .sizing import Local, symbols_of

if TYPE_CHECKING:
    from .body import Body

_DTYPES = {"int": "torch.int64", "bool": "torch.bool"}
_INNER = 12


# ---------------------------------------------------------------- what is known of a scan before it is written


def starts(node: Node) -> Code:
    """The shapes of the states that start at zero, as the values of a fragment that is never written as a whole."""
    assert node.scan is not None and node.graph is not None
    final = node.types[len(node.types) - len(node.scan.starts) :]
    shapes = {f"state{i}": t.shape for i, t in enumerate(final) if not node.scan.starts[i]}
    return Code(f"[{', '.join(f'{{{key}}}' for key in shapes)}]", dict(shapes))


def zeros(graph: Graph) -> dict[int, Ref]:
    """Tensors of zeros that only start a state of a cell which runs one step; what enters that tells their type."""
    found: dict[int, Ref] = {}
    for number in graph.order():
        node = graph[number]
        if node.kind is not Kind.CALL or node.graph is None or not node.graph.states:
            continue
        operands = graph.operands(number)
        count = len(operands) - len(node.graph.states)
        like = next((ref for ref in operands[:count] if graph.type(ref).dtype == "float"), None)
        for ref in operands[count:]:
            alone = len(graph.users(ref.node)) == 1 and like is not None and like.node < ref.node
            if like is not None and alone and _is_zero(graph[ref.node]):
                found[ref.node] = like
    return found


def _is_zero(node: Node) -> bool:
    return isinstance(node.op, IndexGrid) and node.op.tree == ("number", 0) and node.types[0].dtype == "float"


def like_operand(node: Node) -> Code:
    """Zeros like an operand."""
    sizes = {f"v{i}": size for i, size in enumerate(node.types[0].shape)}
    return Code(f"{{0}}.new_zeros({', '.join(f'{{{key}}}' for key in sizes) or '()'})", dict(sizes))


def lengths(graph: Graph, local: Local) -> list[tuple[Check, Span | None]]:
    """Asks whether there is anything to scan. Symbols are at least 1 for every proof, but tensors may well be empty."""
    found: dict[Dim, tuple[Check, Span | None]] = {}
    for number in graph.order():
        node = graph[number]
        if node.kind is not Kind.SCAN or node.scan is None:
            continue
        for ref, at in zip(graph.operands(number), node.scan.axes, strict=False):
            axis = graph.type(ref).axes[at] if at is not None else None
            size = local.size(axis.size) if axis is not None else 1
            if axis is not None and isinstance(size, Dim):
                message = f"there is nothing to scan: `{axis.name or axis.size}` is 0 long"
                found.setdefault(size, (Check("at_least", size, 1, message), node.span))
    return list(found.values())


def scanned(graph: Graph) -> dict[str, Span | None]:
    """Symbols that say how long the scans of a graph and of what it calls are, each with a scan of such a length."""
    return _scanned(graph, {})


def _scanned(graph: Graph, known: dict[int, dict[str, Span | None]]) -> dict[str, Span | None]:
    if id(graph) in known:
        return known[id(graph)]
    found = known[id(graph)] = dict[str, Span | None]()
    for number in graph.order():
        node = graph[number]
        if node.kind is Kind.SCAN:
            found |= {name: node.span for name in sorted(symbols_of(steps(graph, number))) if name not in found}
        given = dict(node.sizes)
        for inner, span in _scanned(node.graph, known).items() if node.graph is not None else ():
            names = symbols_of(given.get(inner, symbol(inner)))
            found |= {name: span for name in names if name not in found}
    return found


def wished(node: Node, result: int) -> str:
    """What a result is called where the author did not name it."""
    assert node.graph is not None
    states = node.graph.states
    outputs = len(node.types) - len(states)
    return states[result - outputs] if result >= outputs else "y"


# ---------------------------------------------------------------- writing


def write_scan(body: Body, number: int) -> None:
    """Writes the loop of a SCAN node."""
    _Loop(body, number).write()


class _Loop:
    """One loop under construction."""

    def __init__(self, body: Body, number: int) -> None:
        self.body, self.number, self.node = body, number, body.graph[number]
        assert self.node.scan is not None and self.node.graph is not None
        self.scan: Scan = self.node.scan
        self.cell: Graph = self.node.graph
        operands = body.facts.operands(number)
        count = len(self.scan.axes)
        self.data = operands[:count]
        self.begun = operands[count : count + sum(self.scan.starts)]
        self.mask = operands[-1] if self.scan.masked else None
        self.outputs = len(self.node.types) - len(self.scan.starts)
        self.scratch: list[str] = []  # names that are free again after the loop

    def write(self) -> None:
        body = self.body
        for ref in dict.fromkeys([*self.data, *([self.mask] if self.mask is not None else [])]):
            if ref in body.values and body.values[ref].variable is None:
                body._settle(ref, "mask" if ref == self.mask and ref not in body._wishes else None)
        states = self._begin()
        lists = {i: self._list(i) for i in range(self.outputs) if body.uses.get(Ref(self.number, i))}
        items, mask = self._head()
        self._step(items, states, lists, mask)
        for variable in self.scratch:
            body.scope.free(variable)
        self._end(states, lists)

    # -- before the loop

    def _begin(self) -> list[str]:
        """Statements that start the states; their variables."""
        body, given = self.body, iter(self.begun)
        variables: list[str] = []
        for i, state in enumerate(self.cell.states):
            wish = body._wishes.get(Ref(self.number, self.outputs + i)) or state
            variable = self._given(next(given), wish) if self.scan.starts[i] else self._zeros(i, wish)
            body.left[variable] = body.left.get(variable, 0) + 1
            variables.append(variable)
        return variables

    def _given(self, ref: Ref, wish: str) -> str:
        """The start that an operand gives: its own variable where nothing else needs that."""
        body, ours = self.body, False
        if ref in body.values and body.values[ref].variable is None:
            body._settle(ref, wish)
            ours = True
        held = body.values.get(ref)
        variable = held.variable if held is not None else None
        if variable is not None and body.left[variable] == 1 and (ours or variable == identifier(wish)):
            return variable
        variable = body._name(wish)
        body._say(body.value(ref), f"{variable} = ")
        return variable

    def _zeros(self, state: int, wish: str) -> str:
        body, key = self.body, f"state{state}"
        shape = body.facts.codes[self.number].values[key]
        place = ("c", body.facts.index[self.number], key)
        sizes = [literal(size, body._hole, (*place, i), body.symbols) for i, size in enumerate(shape)]
        sizes = sizes or [ast.Tuple([], ast.Load())]
        dtype = self.node.types[self.outputs + state].dtype
        variable = body._name(wish)
        body._say(self._filled(sizes, dtype), f"{variable} = ")
        return variable

    def _filled(self, sizes: Sequence[ast.expr], dtype: str) -> ast.expr:
        """Zeros on the device of what is scanned; real ones as precise as what enters, or as the cell's weights."""
        body, first = self.body, self.body.value(self.data[0])
        if dtype in _DTYPES:
            return call(attribute(first, "new_zeros"), *sizes, dtype=attribute(name("torch"), _DTYPES[dtype][6:]))
        for ref in (*self.data, *self.begun):
            if body.graph.type(ref).dtype == "float":
                return call(attribute(body.value(ref), "new_zeros"), *sizes)
        for path, spec in self.cell.state():
            if spec.dtype == "float" and self.node.module is not None:
                return call(attribute(body.path(f"{self.node.module}.{path}"), "new_zeros"), *sizes)
        return call("torch.zeros", *sizes, device=attribute(first, "device"))

    def _list(self, output: int) -> str:
        """Makes the list of an output's steps."""
        wish = self._wish(output)
        variable = self.body._name(f"{wish}s" if len(wish) == 1 else f"{wish}_steps")
        self.body.left[variable] = 1
        self.body._say(ast.List([], ast.Load()), f"{variable} = ")
        return variable

    def _wish(self, output: int) -> str:
        return identifier(self.body._wishes.get(Ref(self.number, output)) or "y")

    # -- the loop

    def _head(self) -> tuple[list[ast.expr], ast.expr | None]:
        """The `for` line; what the cell is given of its inputs at a step, and the mask's part."""
        body = self.body
        axis = body.graph.type(self.data[0]).axes[self.scan.axis].name or "t"
        items: list[ast.expr] = []
        targets: list[str] = []
        sources: list[ast.expr] = []
        taken = [*zip(self.data, self.scan.axes, strict=True)]
        taken += [(self.mask, -1)] if self.mask is not None else []
        for position, (ref, at) in enumerate(taken):
            value = body.value(ref)
            if at is None:
                items.append(value)
                continue
            stem = value.id if isinstance(value, ast.Name) else self._entering(position)
            targets.append(self._fresh(f"{stem}_{axis.lower()}"))
            items.append(name(targets[-1]))
            parts: ast.expr = call(attribute(value, "unbind"), constant(at))
            sources.append(_backwards(parts) if self.scan.reverse else parts)
        over = sources[0] if len(sources) == 1 else call("zip", *sources, strict=ast.Constant(True))
        body.nodes.append(over)
        origins = self._origins(over)
        body.lines.add(header(f"for {', '.join(targets)} in ", over, 8), origins)
        mask = items.pop() if self.mask is not None else None
        return items, mask

    def _entering(self, position: int) -> str:
        return self.cell[self.cell.inputs[position]].name if position < len(self.data) else "mask"

    def _step(self, items: list[ast.expr], states: list[str], lists: dict[int, str], mask: ast.expr | None) -> None:
        from .body import mark

        body = self.body
        if mask is not None:
            items = [self._real(position, item, mask) for position, item in enumerate(items)]
        axis = (body.graph.type(self.data[0]).axes[self.scan.axis].name or "t").lower()
        made = {i: self._fresh(f"{self._wish(i)}_{axis}") for i in lists}
        following = [self._fresh(f"{state}_next") for state in states] if mask is not None else states
        value = body._call(self.number, self.node, [*items, *(name(state) for state in states)])
        targets = [*(made.get(i, "_") for i in range(self.outputs)), *following]
        self._say(value, f"{', '.join(targets)} = ", mark(self._origins(value)))
        for i, (state, after) in enumerate(zip(states, following, strict=True)):
            if mask is not None:
                chosen = self._aligned(mask, self.node.types[self.outputs + i].rank)
                self._say(call("torch.where", chosen, name(after), name(state)), f"{state} = ", "")
        for i, variable in lists.items():
            append = call(attribute(name(variable), "append"), name(made[i]))
            body.lines.add(statement(append, _INNER), self._origins(append))

    def _real(self, position: int, item: ast.expr, mask: ast.expr) -> ast.expr:
        """What enters at a step, zero where the mask is false: what is no number there would be none in gradients."""
        entering = self.body.graph.type(self.data[position])
        if self.scan.axes[position] is None or entering.dtype != "float":
            return item
        return call("torch.where", self._aligned(mask, entering.rank - 1), item, constant(0))

    def _aligned(self, mask: ast.expr, rank: int) -> ast.expr:
        """The mask of one step, with axes of size 1 where it has none and a state does."""
        leading = self._leading()
        if leading in (0, rank):
            return mask
        return _subscript(mask, [ast.Slice()] * leading + [ast.Constant(None)] * (rank - leading))

    def _leading(self) -> int:
        assert self.mask is not None
        return self.body.graph.type(self.mask).rank - 1

    def _say(self, value: ast.expr, target: str, comment: str) -> None:
        self.body.nodes.append(value)
        self.body.lines.add(statement(value, _INNER, target, (comment,)), self._origins(value))

    def _origins(self, value: ast.expr) -> tuple:
        from .body import steps_of

        return steps_of(self.node, show(value))

    def _fresh(self, wish: str) -> str:
        self.scratch.append(self.body.scope.new(wish))
        return self.scratch[-1]

    # -- after the loop

    def _end(self, states: list[str], lists: dict[int, str]) -> None:
        """What the loop leaves: stacked outputs, and the states as they are."""
        from .body import Value

        body = self.body
        for i, state in enumerate(states):
            body._hold(Ref(self.number, self.outputs + i), state)
        mask = body.values[self.mask].variable if self.mask in body.values else None
        for i, variable in lists.items():
            reads = (variable, *([mask] if mask is not None else []))
            if mask is not None:
                body.left[mask] += 1
            value = self._stacked(i, variable)
            body.values[Ref(self.number, i)] = Value(value, None, 1, self._origins(value), reads, True)
        for ref in (*self.data, *self.begun, *([self.mask] if self.mask is not None else [])):
            held = body.values.get(ref)
            if held is not None and held.variable is not None and held.variable not in states:
                body.left[held.variable] -= 1
        for i in lists:
            ref = Ref(self.number, i)
            if body.uses.get(ref, 0) != 1 or body._needs_name(ref):
                body._settle(ref)

    def _stacked(self, output: int, variable: str) -> ast.expr:
        """The steps of an output, in the order of the inputs; zero where the mask is false."""
        rank = self.node.types[output].rank
        at = min(self.scan.axis, rank - 1)
        steps: ast.expr = _backwards(name(variable)) if self.scan.reverse else name(variable)
        value: ast.expr = call("torch.stack", steps, constant(at))
        if self.mask is None:
            return value
        mask, leading = self.body.value(self.mask), self._leading()
        axes: list[ast.expr] = [ast.Slice()] * (leading + 1)
        if at < leading:
            mask = call(attribute(mask, "movedim"), constant(-1), constant(at))
        elif at > leading:
            axes = [*[ast.Slice()] * leading, *[ast.Constant(None)] * (at - leading), ast.Slice()]
        axes += [ast.Constant(None)] * (rank - len(axes))
        if any(isinstance(part, ast.Constant) for part in axes):
            mask = _subscript(mask, axes)
        return call(attribute(value, "masked_fill"), ast.UnaryOp(ast.Invert(), mask), constant(0))


def _backwards(value: ast.expr) -> ast.expr:
    return ast.Subscript(value, ast.Slice(None, None, constant(-1)), ast.Load())


def _subscript(value: ast.expr, axes: list[ast.expr]) -> ast.expr:
    return ast.Subscript(value, ast.Tuple(axes, ast.Load()), ast.Load())
