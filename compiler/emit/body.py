"""The statements of a method: one a step, chains written inside one another while the line stays readable."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..graph import Graph, Kind, Node, Ref
from ..source import Span
from ..types import TensorType
from .expr import attribute, call, constant, fill, literal, name, names_in, show, size
from .facts import COMPUTED, Facts, Form
from .layout import WIDTH, comment, statement
from .least import Least
from .loops import find_loops, write_loop
from .names import Scope, identifier
from .plan import Plan, Plans
from .recurrences import recurrence_call, settle_operands, shape_results
from .scans import wished, write_scan
from .sizing import axis_name, is_local, local_name, place, shown_size, symbols_of
from .split import split
from .tree import member

_INDENT = 8
_MOST_NESTED = 4  # steps in one line
_PLAIN = ("x", "y", "z", "h")  # names of what the author did not name
_MARK = 8  # columns kept free for the line's mark, `  # L123`


@dataclass(frozen=True, slots=True)
class Step:
    """What a piece of a line came from. text: the piece, as far as it stands on one line. label: the layer's, or ""."""

    text: str
    span: Span
    label: str = ""


@dataclass
class Value:
    """What a result is in code: a variable, or an expression that waits for its only user."""

    expression: ast.expr
    variable: str | None = None
    steps: int = 0
    origins: tuple[Step, ...] = ()
    reads: tuple[str, ...] = ()  # variables that it reads, once for each use it takes up
    changes: bool = False  # its shape differs from its operand's


@dataclass
class Lines:
    """Lines of code and the places of the spec that each came from."""

    text: list[str] = field(default_factory=list)
    origins: list[tuple[Step, ...]] = field(default_factory=list)

    def add(self, lines: Iterable[str], origins: tuple[Step, ...] = ()) -> None:
        for line in lines:
            self.text.append(line)
            self.origins.append(origins)

    def extend(self, other: Lines) -> None:
        self.text += other.text
        self.origins += other.origins


class Body:
    """One method under construction."""

    def __init__(self, plans: Plans, plan: Plan, graph: Graph, inputs: Sequence[int], roots: Sequence[Ref]) -> None:
        self.plans, self.plan, self.graph = plans, plan, graph
        self.facts: Facts = plans.facts[id(graph)]
        self.tree = plans.tree(plans.program.graph if graph.kind == "entry" else graph)
        self.lines = Lines()
        self.nodes: list[ast.AST] = []  # every expression, to know what the file must import
        self.stored: dict[str, None] = {}  # constructor arguments that the method reads
        self.roots = [self.facts.resolve(ref) for ref in roots]
        self.values: dict[Ref, Value] = {}
        self.uses: dict[Ref, int] = {}
        self.left: dict[str, int] = {}  # uses that each variable still has
        self.scope = Scope()
        self.inputs = list(inputs)
        self.modules = {parameter: self.scope.new(parameter, "module") for parameter in graph.module_parameters}
        self.parameters = {n: self.scope.new(graph[n].name, "x") for n in self.inputs}
        self._wishes = self._bound_names()
        self.symbols: dict[str, ast.expr] = {}
        self.free: dict[str, str] = {}
        self._outer = {
            elements[-1].result.node: level
            for level, elements in self.facts.sequences.items()
            if level.rpartition(".")[0] not in self.facts.sequences
        }

    # -- what is needed

    def needed(self, known: Iterable[Ref] = ()) -> list[int]:
        """The nodes to compute for the roots, in order; counts the uses of every result."""
        stop = set(known)
        todo, found = list(self.roots), set()
        self.uses = {}
        for ref in self.roots:
            self.uses[ref] = self.uses.get(ref, 0) + 1
        while todo:
            ref = todo.pop()
            if ref in stop or ref.node in found:
                continue
            found.add(ref.node)
            for operand in self.consumed(ref.node):
                self.uses[operand] = self.uses.get(operand, 0) + 1
                todo.append(operand)
        return sorted(found, key=self.facts.index.__getitem__)

    def consumed(self, number: int) -> list[Ref]:
        """The results that a node's code mentions, a sequence taken as a whole."""
        if number in self._outer:
            return [self.facts.sequences[self._outer[number]][0].entry]
        operands = self.facts.operands(number)
        if self.facts.forms[number] is not Form.CODE:
            return operands
        holes = set(self.facts.code_holes(number))
        if "all" in holes:
            return operands
        node = self.graph[number]
        plain = len(operands) - len(node.replaced)
        labels = [str(i) for i in range(plain)] + list(node.replaced)
        return [ref for ref, label in zip(operands, labels, strict=True) if label in holes]

    def _bound_names(self) -> dict[Ref, str]:
        """What the author called the results, labels of layers left out."""
        wishes: dict[Ref, str] = {}
        for bound, ref in self.graph.values.items():
            resolved = self.facts.resolve(ref)
            if resolved.node not in self.parameters:
                wishes.setdefault(resolved, bound)
        for number in self.facts.order:
            node = self.graph[number]
            label = (node.module or "").rpartition(".")[2]
            if node.name and node.name != label and node.kind in (Kind.OP, Kind.CALL) and len(node.types) == 1:
                wishes.setdefault(self.facts.resolve(Ref(number)), node.name)
        return wishes

    # -- sizes and checks

    def open(self, nodes: Sequence[int], *, checked: bool, losses: bool = False) -> None:
        """Names the symbols that these nodes need, and reads them off the inputs. With `checked`, the graph's checks
        come first; with `losses`, those of the losses."""
        least = {**(self.facts.least if checked else {}), **(self.facts.losses_least if losses else {})}
        needed: dict[str, None] = {}
        if checked:
            for check, _ in self.facts.checks:
                needed |= dict.fromkeys((*symbols_of(check.left), *symbols_of(check.right)))
        needed |= dict.fromkeys(least)
        for number in nodes:
            code = self.facts.codes.get(number)
            for value in (*(code.values if code else {}).values(), *self.facts.passed_sizes(number).values()):
                needed |= dict.fromkeys(symbols_of(value))
        read: dict[int, dict[int, str]] = {}
        for symbol in sorted(needed, key=lambda s: (not is_local(s), place(s) if is_local(s) else (0, 0), s)):
            if is_local(symbol):
                position, axis = place(symbol)
                read.setdefault(self.graph.inputs[position], {})[axis] = symbol
                wish = axis_name(self.graph, symbol).lower()
            else:
                wish = symbol.lower()
            variable = self.scope.new(wish, "n")
            self.symbols[symbol] = name(variable)
            if not is_local(symbol):
                self.free[symbol] = variable
        for at, axes in read.items():
            self._read_sizes(at, axes)
        if checked:
            for check, span in self.facts.checks:
                self._check(check, span)
        self._check_least(least)

    def _read_sizes(self, at: int, axes: dict[int, str]) -> None:
        tensor = attribute(name(self.parameters[at]), "shape")
        if len(axes) > 1:
            rank = self.graph[at].types[0].rank
            targets = [show(self.symbols[axes[i]]) if i in axes else "_" for i in range(rank)]
            self._say(tensor, f"{', '.join(targets)} = ")
            return
        for axis, symbol in axes.items():
            self._say(ast.Subscript(tensor, constant(axis), ast.Load()), f"{show(self.symbols[symbol])} = ")

    def _check(self, check, span: Span | None) -> None:
        left, right = size(check.left, self.symbols), size(check.right, self.symbols)
        if check.test == "divides":
            test: ast.expr = ast.Compare(ast.BinOp(left, ast.Mod(), right), [ast.Eq()], [constant(0)])
        else:
            test = ast.Compare(left, [ast.GtE() if check.test == "at_least" else ast.Eq()], [right])
        self._say_check(test, check.message, span)

    def _say_check(self, test: ast.expr, message: str, span: Span | None) -> None:
        place = f" ({span.source.name}:{span.line})" if span is not None else ""
        empty = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        spoken = ast.Lambda(empty, ast.Constant(message + place))
        self._say(call("torch._check", test, spoken), "", (Step("", span),) if span else ())

    def _check_least(self, least: Mapping[str, Least]) -> None:
        """Asks whether the inputs are large enough, once for each."""
        for position, number in enumerate(self.inputs):
            found = {axis: need for s, need in least.items() for at, axis in [place(s)] if at == position}
            if not found:
                continue
            axes = sorted(found)
            tests: list[ast.expr] = []
            for axis in axes:
                variable = self.symbols[local_name(position, axis)]
                tests.append(ast.Compare(variable, [ast.GtE()], [constant(found[axis].size)]))
            sizes = " x ".join(str(found[axis].size) for axis in axes)
            said = f"`{self.graph[number].name}` must be at least {sizes}"
            if axes != [self.graph[number].types[0].rank - 2, self.graph[number].types[0].rank - 1]:
                along = (axis_name(self.graph, local_name(position, axis)) for axis in axes)
                said += f" along {', '.join(along)}"
            most = max((found[axis] for axis in axes), key=lambda need: need.size)
            self._say_check(tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests), said, most.span)

    def _say(self, value: ast.expr, target: str, origins: tuple[Step, ...] = (), shape: str = "") -> None:
        before, value = split(value, _INDENT, target, lambda: self.scope.new("part"))
        for variable, part in before:
            self.nodes.append(part)
            self.lines.add(statement(part, _INDENT, f"{variable} = "), origins)
        self.nodes.append(value)
        self.lines.add(statement(value, _INDENT, target, (comment(shape), mark(origins))), origins)

    # -- computing

    def start(self) -> None:
        """Makes the method's parameters readable."""
        for number, variable in self.parameters.items():
            self.values[Ref(number)] = Value(name(variable), variable)
            self.left[variable] = self.uses.get(Ref(number), 0)

    def run(self, nodes: Sequence[int]) -> None:
        """Computes these nodes, in order."""
        steps = [n for n in nodes if n in self._outer or self.facts.forms[n] in COMPUTED]
        loops = find_loops(self, steps)
        inside = {n for loop in loops.values() for n in loop.nodes}
        for number in steps:
            if number in loops:
                write_loop(self, loops[number])
            elif self.facts.forms[number] is Form.SCAN and number not in self.facts.recurrences:
                write_scan(self, number)
            elif number not in inside:
                if self.facts.forms[number] is Form.SCAN:
                    settle_operands(self, number)
                self._compute(number, self.consumed(number))

    def _compute(self, number: int, operands: list[Ref]) -> None:
        node = self.graph[number]
        while True:
            expression = self._expression(number, node)
            waiting = [r for r in dict.fromkeys(operands) if r in self.values and self.values[r].variable is None]
            steps = 1 + sum(self.values[r].steps for r in waiting)
            wish = self._wishes.get(Ref(number), "x")
            room = WIDTH - _INDENT - _MARK - len(wish[:32]) - 3
            repeated = [r for r in waiting if self._occurrences(number, r) > 1]
            if not waiting or (steps <= _MOST_NESTED and len(show(expression)) <= room and not repeated):
                break
            self._settle(repeated[0] if repeated else max(waiting, key=lambda r: len(show(self.values[r].expression))))
        reads: list[str] = []
        origins: list[Step] = []
        for ref in operands:
            value = self.values.get(ref)
            if value is not None:
                reads += [value.variable] if value.variable is not None else value.reads
                origins += [] if value.variable is not None else value.origins
        origins += self._sequence_steps(number, expression) or steps_of(node, show(expression))
        value = Value(expression, None, steps, tuple(origins), tuple(reads), self._changes(number, operands))
        if len(node.types) > 1:
            self._unpack(number, node, value)
            return
        self.values[Ref(number)] = value
        if self.uses.get(Ref(number), 0) != 1 or self._needs_name(Ref(number)):
            self._settle(Ref(number))

    def _needs_name(self, ref: Ref) -> bool:
        """Whether the author's name for a result is worth a statement: not where it is returned or rebound at once."""
        wish = self._wishes.get(ref)
        if wish is None or self.roots == [ref]:
            return False
        users = self.facts.users.get(ref, [])
        return len(users) != 1 or len(self.graph[users[0]].types) != 1 or self._wishes.get(Ref(users[0])) != wish

    def _sequence_steps(self, number: int, expression: ast.expr) -> tuple[Step, ...]:
        """For a labelled sequence: all that it spans."""
        if number not in self._outer:
            return ()
        level = self._outer[number]
        elements = self.facts.sequences[level]
        first, last = self.graph[elements[0].result.node].span, self.graph[number].span
        if first is None or last is None or first.source is not last.source or first.start > last.start:
            return ()
        return (Step(show(expression), first.to(last), level.rpartition(".")[2]),)

    def _occurrences(self, number: int, ref: Ref) -> int:
        """How often a node's code mentions a result."""
        operands = self.facts.operands(number)
        if self.facts.forms[number] is Form.SCAN:
            sources = self.facts.recurrences[number].inputs + self.facts.recurrences[number].constants
            return max(1, sum(operands[s.position] == ref for s in sources))
        if self.facts.forms[number] is not Form.CODE:
            return self.consumed(number).count(ref)
        holes = self.facts.code_holes(number)
        node = self.graph[number]
        labels = [str(i) for i in range(len(operands) - len(node.replaced))] + list(node.replaced)
        return sum(
            holes.count(h) + holes.count("all") * h.isdigit() for h, r in zip(labels, operands, strict=True) if r == ref
        )

    def _changes(self, number: int, operands: list[Ref]) -> bool:
        if not operands:
            return True
        before, after = self.graph.type(operands[0]), self.graph[number].types[0]
        return before.shape != after.shape or (operands[0] in self.values and self._waiting_change(operands[0]))

    def _waiting_change(self, ref: Ref) -> bool:
        return self.values[ref].variable is None and self.values[ref].changes

    def _settle(self, ref: Ref, wish: str | None = None) -> None:
        """Gives a waiting value its variable."""
        value = self.values[ref]
        self._forget(value)
        variable = self._variable(wish or self._wishes.get(ref), value)
        self._say(value.expression, f"{variable} = ", value.origins, self._shape(ref) if value.changes else "")
        self._hold(ref, variable)

    def _hold(self, ref: Ref, variable: str) -> None:
        self.values[ref] = Value(name(variable), variable)
        self.left[variable] = self.uses.get(ref, 0)

    def _forget(self, value: Value) -> None:
        for variable in value.reads:
            self.left[variable] -= 1

    def _variable(self, wish: str | None, value: Value) -> str:
        """The wished name; without one, that of an operand that nobody needs any more, or the first that is free."""
        if wish is not None:
            return self._name(wish)
        dying = [v for v in value.reads if self.left.get(v) == 0 and v in _PLAIN]
        for plain in (*dying, *_PLAIN):
            if self.left.get(plain, 0) == 0 and (plain in self.left or plain not in self.scope.taken):
                self.scope.taken.add(plain)
                return plain
        return self._name("x")

    def _name(self, wish: str) -> str:
        wanted = identifier(wish)
        if self.left.get(wanted) == 0:
            return wanted
        return self.scope.new(wish)

    def _unpack(self, number: int, node: Node, value: Value) -> None:
        self._forget(value)
        variables = []
        for result in range(len(node.types)):
            ref = Ref(number, result)
            if not self.uses.get(ref):
                variables.append("_")
                continue
            plain = wished(node, result) if node.kind is Kind.SCAN else node.name or "x"
            variables.append(self._name(self._wishes.get(ref) or plain))
            self._hold(ref, variables[-1])
        shape = self._shape(Ref(number)) if node.kind is Kind.SCAN and variables[0] != "_" else ""
        self._say(value.expression, f"{', '.join(variables)} = ", value.origins, shape)
        shape_results(self, number)

    def _shape(self, ref: Ref) -> str:
        if not self.graph.type(ref).rank:
            return ""
        if self.graph.kind == "entry":
            sizes = [shown_size(self.graph, self.facts.local.size(n)) for n in self.graph.type(ref).shape]
            return f"[{', '.join(sizes)}]"
        return self.plan.shape(self._types(ref))

    def _types(self, ref: Ref) -> list[TensorType]:
        at = self.facts.index[ref.node]
        return [f.graph[f.order[at]].types[ref.result] for f in self.plan.facts]

    # -- expressions

    def value(self, ref: Ref) -> ast.expr:
        """A result as an operand."""
        if ref in self.values:
            return self.values[ref].expression
        node = self.graph[ref.node]
        if node.kind is Kind.WEIGHT and node.weight is not None:
            return self.path(node.weight)
        if self.facts.forms[ref.node] is Form.NUMBER:
            return self._expression(ref.node, node)
        raise AssertionError(f"{node.name or node.kind} is used before it is computed")

    def path(self, path: str) -> ast.expr:
        """What lives at a path of this graph."""
        head, _, rest = path.partition(".")
        if head in self.modules:
            start: ast.expr = name(self.modules[head])
            for part in rest.split(".") if rest else ():
                start = member(start, "module", part)
            return start
        return self.tree.reach(path)

    def _expression(self, at: int, node: Node) -> ast.expr:
        if at in self._outer:
            level = self._outer[at]
            return call(self.path(level), self.value(self.facts.sequences[level][0].entry))
        operands = [self.value(ref) for ref in self.facts.operands(at)]
        form = self.facts.forms[at]
        if form is Form.SCAN:
            return recurrence_call(self, at, node, operands)
        if form is Form.CALL:
            return self._call(at, node, operands)
        assert node.op is not None
        if form is Form.MODULE:
            return call(self.path(node.module or ""), *operands)
        plain = len(operands) - len(node.replaced)
        given = dict(zip(node.replaced, operands[plain:], strict=True))
        code = self.facts.codes[at]

        def what(hole: str) -> ast.expr | list[ast.expr] | None:
            if hole.isdigit():
                return operands[int(hole)]
            if hole == "all":
                return operands[:plain]
            if hole in code.values:
                return literal(code.values[hole], self._hole, ("c", self.facts.index[at], hole), self.symbols)
            if hole == "training":
                return attribute(name("self"), "training")
            if hole in ("device", "dtype"):
                return self._like(hole)
            return given[hole] if hole in given else self._weight(at, node, hole)

        return fill(code, what)

    def _weight(self, at: int, node: Node, label: str) -> ast.expr:
        if node.module is None or node.op is None:
            return ast.Constant(None)
        refs = self.graph.operands(at)
        types = tuple(self.graph.type(ref) for ref in refs[: len(refs) - len(node.replaced)])
        if label not in {w.name for w in node.op.weights(types)}:
            return ast.Constant(None)
        return member(self.path(node.module), "module", label)

    def _hole(self, place: tuple, value: object) -> ast.expr | None:
        if self.graph.kind == "entry":
            return None
        found = self.plan.hole(place, value)
        if found is None:
            return None
        stored = names_in([found])
        self.stored |= dict.fromkeys(p for p in self.plan.parameters if p in stored)
        return _on_self(found)

    def _like(self, what: str) -> ast.expr | None:
        """The device (or, for real numbers, the dtype) to make a tensor on: an input's, failing that a weight's."""
        for number in self.inputs:
            if what == "device" or self.graph[number].types[0].dtype == "float":
                return attribute(name(self.parameters[number]), what)
        for path, spec in self.graph.state():
            if what == "device" or spec.dtype == "float":
                return attribute(self.tree.reach(path), what)
        if self.modules:
            first = next(iter(self.modules.values()))
            return attribute(call("next", call(attribute(name(first), "parameters"))), what)
        return None

    def _call(self, at: int, node: Node, operands: list[ast.expr]) -> ast.expr:
        assert node.graph is not None
        where = self.facts.helpers.get(at, node.module)
        bound = dict(node.bindings)
        passed = [self.path(bound[p]) for p in node.graph.module_parameters if p in bound]
        keywords = self.plans.size_parameters(node.graph)
        extra = {keywords[s]: size(given, self.symbols) for s, given in self.facts.passed_sizes(at).items()}
        return call(self.path(where or ""), *operands, *passed, **extra)


def mark(origins: tuple[Step, ...]) -> str:
    """The line of the spec, for the end of a line of code."""
    return f"L{origins[-1].span.line}" if origins else ""


def steps_of(node: Node, text: str) -> tuple[Step, ...]:
    if node.span is None:
        return ()
    label = (node.module or "").rpartition(".")[2]
    return (Step(text, node.span, label if label == node.name else ""),)


def _on_self(node: ast.expr) -> ast.expr:
    """Constructor parameters as attributes."""
    if isinstance(node, ast.Name):
        return attribute(name("self"), node.id)
    if isinstance(node, ast.BinOp):
        return ast.BinOp(_on_self(node.left), node.op, _on_self(node.right))
    return node
