"""Python source of a program: one class a block, the network's last."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from ..graph import Graph, Program, Ref
from ..source import Span
from .body import Body, Lines, Step, mark
from .expr import attribute, call, constant, name, names_in, text
from .facts import COMPUTED, Form
from .folding import FOLDING, hook
from .games import game_methods
from .layout import WIDTH, comment, commented, docstring, signature, statement
from .names import MODULE_ATTRIBUTES, Scope, identifier
from .plan import Plan, Plans
from .recurrences import CLASS, IMPORT, definition
from .split import split
from .starts import loop

_WHOLE = "_forward"  # no label and no entry is called so


@dataclass(frozen=True)
class Emitted:
    """Generated source.

    text: the module. network: name of the network's class. lines: what in the spec each 1-based line came from.
    entries: the method of each entry, by the entry's name. elements: what the elements of a class that is an
    nn.Sequential came from, by the class's name."""

    text: str
    network: str
    lines: dict[int, tuple[Step, ...]]
    entries: dict[str, str]
    elements: dict[str, list[tuple[Step, ...]]]


def emit_python(program: Program, *, standalone: bool = False) -> str:
    """The PyTorch source of a program; see `emit`."""
    return emit(program, standalone=standalone).text


def emit(program: Program, *, standalone: bool = False) -> Emitted:
    """The PyTorch source of a program, and where its lines came from.

    It imports torch and nothing else, except where it scans with a cell that has equations: those run quickly, and by
    archlang. standalone: scans are loops everywhere."""
    writer = _Writer(program, standalone)
    body = Lines()
    for plan in writer.plans.plans:
        body.add(["", ""])
        body.extend(writer.klass(plan))
    lines = Lines()
    lines.add(_header(program))
    lines.add(writer.imports())
    if _folds(program):
        lines.add(FOLDING.split("\n"))
    lines.extend(body)
    places = {i: origins for i, origins in enumerate(lines.origins, 1) if origins}
    return Emitted("\n".join(lines.text) + "\n", writer.plans.plans[-1].name, places, writer.entries, writer.elements)


def _header(program: Program) -> list[str]:
    digest = hashlib.sha256(program.source_text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    origin = f"sha256 {digest}, by archlang {_own_version()}"
    source = f" of {program.source_name}" if program.source_name else ""
    line = comment(program.name + source)[: WIDTH - 2].rstrip()
    doc = docstring(program.doc or "", 0)
    together = f"# {line}, {origin}"
    lines = [together] if len(together) <= WIDTH else [f"# {line}", f"# {origin}"]
    if _folds(program):
        lines.append("# For evaluation only. A checkpoint of the network loads with `load_state_dict`.")
    return [*lines, *([""] if not doc else []), *doc, *([""] if doc else [])]


@cache
def _own_version() -> str:
    return version("archlang")


def _folds(program: Program) -> bool:
    return any(graph.folds for graph in program.graph.graphs())


class _Writer:
    def __init__(self, program: Program, standalone: bool) -> None:
        self.program = program
        self.plans = Plans(program, standalone=standalone)
        self.nodes: list[ast.AST] = []
        self.used: set[str] = {"nn"}
        self.elements: dict[str, list[tuple[Step, ...]]] = {}
        methods = Scope(
            MODULE_ATTRIBUTES | {p.partition(".")[0] for p in (*program.graph.modules, *program.graph.weights)}
        )
        self.entries = {entry: methods.new(entry, "entry") for entry in program.entries}

    def imports(self) -> list[str]:
        used = names_in(self.nodes) | self.used
        first = ["import math", ""] if "math" in used else []
        lines = [*first, *(["import torch"] if "torch" in used else [])]
        lines += [IMPORT] if CLASS in used else []
        lines.append(f"from torch import {'Tensor, ' if 'Tensor' in used else ''}nn")
        return [*lines, *(["from torch.nn import functional as F"] if "F" in used else [])]

    # -- classes

    def klass(self, plan: Plan) -> Lines:
        lines = Lines()
        graph = plan.graph
        origins = _origins(graph.span)
        tree = self.plans.tree(graph)
        place = graph.span
        foreign = place is not None and place.source.name != self.program.source_name
        where = comment(f"{place.source.name}:{place.line}") if place is not None and foreign else mark(origins)
        lines.add([commented(f"class {plan.name}({tree.base}):", (where,))], origins)
        if tree.base == "nn.Sequential":
            self.plans.set_size_parameters(plan, {})
            self.elements[plan.name] = [_origins(span) for span in tree.elements()]
            methods = []
        else:
            methods = self._forward(plan)
        stored: dict[str, None] = {}
        if graph is self.program.graph:
            methods += [self._objective(plan)] if graph.losses and self.program.game is None else []
            methods += [self._entry(plan, e, m) for e, m in self.entries.items()]
            if graph.losses:
                keys: list[ast.expr | None] = [ast.Constant(graph[n].name) for n in graph.losses]
                weights = ast.Dict(keys, [constant(graph[n].loss_weight) for n in graph.losses])
                self.nodes.append(weights)
                lines.add([*statement(weights, 4, "loss_weights = "), ""])
        for text_, attribute_ in self.plans.scans(plan).items():
            lines.add([*definition(attribute_, text_), ""], origins)
            self.used.add(CLASS)
        for _, body_stored in methods:
            stored |= body_stored
        constructor = self._constructor(plan, [p for p in plan.parameters if p in stored])
        for i, method in enumerate([*([constructor] if constructor.text else []), *(m for m, _ in methods)]):
            if i:
                lines.add([""])
            lines.extend(method)
        return lines

    def _constructor(self, plan: Plan, stored: Sequence[str]) -> Lines:
        lines = Lines()
        tree = self.plans.tree(plan.graph)
        made = list(tree.lines())
        start = tree.start()
        if not made and not plan.parameters and not start.args:
            return lines
        parameters = ["self", *(f"{p}: {kind}" for p, kind in plan.parameters.items())]
        lines.add(signature("def __init__", parameters, " -> None:", 4))
        self.nodes.append(start)
        lines.add(statement(start, 8))
        for parameter in stored:
            lines.add([f"        self.{parameter} = {parameter}"])
        scope = Scope(set(plan.parameters))
        for line in made:
            origins = _origins(line.span)
            before, value = split(line.value, 8, line.target, lambda: scope.new("part"))
            for variable, part in before:
                self.nodes.append(part)
                lines.add(statement(part, 8, f"{variable} = "), origins)
            self.nodes.append(value)
            lines.add(statement(value, 8, line.target, (mark(origins),)), origins)
        if plan.graph is self.program.graph:
            self._shared_starts(lines)
        self._rewritten(plan, lines)
        return lines

    def _rewritten(self, plan: Plan, lines: Lines) -> None:
        """What rewrites for evaluation need when weights are loaded."""
        if plan.graph.folds:
            lines.add(statement(hook(plan.graph.folds), 8))
            self.used |= {"torch", "Tensor"}
        if plan.graph is self.program.graph and self.program.channels_last:
            lines.add(["        self.to(memory_format=torch.channels_last)"])
            self.used.add("torch")

    def _shared_starts(self, lines: Lines) -> None:
        """What all layers of a class share, and then what differs from it."""
        for text_lines, expressions in loop(self.plans.shared, 8):
            self.nodes += expressions
            lines.add(text_lines)
        for line in self.plans.tree(self.program.graph).exceptions():
            self.nodes.append(line.value)
            origins = _origins(line.span)
            lines.add(statement(line.value, 8, "", (mark(origins),)), origins)

    # -- methods

    def _forward(self, plan: Plan) -> list[tuple[Lines, dict[str, None]]]:
        """`forward`. Where losses read what it computes on its way, both call a method that returns that, too."""
        graph = plan.graph
        outputs = [graph.operands(n)[0] for n in graph.outputs]
        inputs = [n for n in graph.inputs if graph[n].kind.value == "input"]
        besides = self._besides(plan)
        if graph is self.program.graph and self.program.game is not None:
            return game_methods(self, plan, self.program.game, besides)
        if not besides:
            return [self._method("forward", plan, graph, inputs, outputs)]
        whole = self._method(_WHOLE, plan, graph, inputs, [*outputs, *besides])
        body = Body(self.plans, plan, graph, inputs, outputs)
        body.free |= self.plans.size_parameters(graph)
        part = ast.Constant(0) if len(outputs) == 1 else ast.Slice(None, constant(len(outputs)))
        body._say(ast.Subscript(self._call_whole(body, _WHOLE), part, ast.Load()), "return ")
        return [whole, self.method("forward", body, graph, _tensors(len(outputs)))]

    def _besides(self, plan: Plan) -> list[Ref]:
        """What losses read of what the outputs need, beside the outputs and the inputs."""
        graph, facts = plan.graph, self.plans.facts[id(plan.graph)]
        if graph is not self.program.graph or not graph.losses:
            return []
        outputs = [facts.resolve(graph.operands(n)[0]) for n in graph.outputs]
        losses = [facts.resolve(graph.operands(n)[0]) for n in graph.losses]
        inner = set(Body(self.plans, plan, graph, graph.inputs, outputs).needed())
        body = Body(self.plans, plan, graph, graph.inputs, losses)
        read = [ref for n in body.needed() if n not in inner for ref in body.consumed(n)]
        ours = (*COMPUTED, Form.INNER)
        found = [r for r in (*read, *losses) if r.node in inner and facts.forms[r.node] in ours]
        return [ref for ref in dict.fromkeys(found) if ref not in outputs]

    def _entry(self, plan: Plan, entry: str, method: str) -> tuple[Lines, dict[str, None]]:
        graph = self.program.entries[entry]
        outputs = [graph.operands(n)[0] for n in graph.outputs]
        return self._method(method, plan, graph, graph.inputs, outputs)

    def _method(
        self, method: str, plan: Plan, graph: Graph, inputs: Sequence[int], outputs: list[Ref]
    ) -> tuple[Lines, dict[str, None]]:
        body = Body(self.plans, plan, graph, inputs, outputs)
        nodes = body.needed()
        body.start()
        body.open(nodes, checked=True)
        if method in ("forward", _WHOLE):
            self.plans.set_size_parameters(plan, body.free)
        body.run(nodes)
        self.leave(body, _together([body.value(ref) for ref in body.roots]), body.roots)
        said = "The outputs, and what the losses read besides." if method == _WHOLE else ""
        return self.method(method, body, graph, _tensors(len(outputs)), said=said)

    def method(
        self, method: str, body: Body, graph: Graph, result: str, *, said: str = "", further: Sequence[str] = ()
    ) -> tuple[Lines, dict[str, None]]:
        """The method with its signature. said: its docstring. further: parameters after the inputs."""
        self.nodes += body.nodes
        self.used.add("Tensor")
        parameters = ["self", *(f"{v}: Tensor" for v in (*body.parameters.values(), *further))]
        parameters += [f"{v}: nn.Module" for v in body.modules.values()]
        if body.free:
            parameters += ["*", *(f"{v}: int" for v in body.free.values())]
        lines = Lines()
        lines.add(signature(f"def {method}", parameters, f" -> {result}:", 4), _origins(graph.span))
        if said:
            lines.add(docstring(said, 8))
        lines.extend(body.lines)
        return lines, body.stored

    def leave(self, body: Body, value: ast.expr, roots: Iterable[Ref]) -> None:
        """The method's `return`."""
        origins: tuple[Step, ...] = ()
        shape = ""
        for ref in dict.fromkeys(roots):
            held = body.values.get(ref)
            if held is not None and held.variable is None:
                origins += held.origins
                shape = body._shape(ref) if held.changes and not isinstance(value, ast.Tuple) else ""
        body._say(value, "return ", origins, shape)

    def _objective(self, plan: Plan) -> tuple[Lines, dict[str, None]]:
        """Outputs and losses. Calls `forward` when the losses need nothing else that it computes."""
        graph = plan.graph
        outputs = [graph.operands(n)[0] for n in graph.outputs]
        losses = [graph.operands(n)[0] for n in graph.losses]
        facts = self.plans.facts[id(graph)]
        known = [*(facts.resolve(ref) for ref in outputs), *self._besides(plan)]
        body = Body(self.plans, plan, graph, graph.inputs, [*outputs, *losses])
        calls = not any(ref.node in body.parameters for ref in known)
        nodes = body.needed(known if calls else ())
        body.start()
        body.open(nodes, checked=not calls, losses=True)
        if calls:
            body.free |= self.plans.size_parameters(graph)
            self._call_forward(body, known)
        body.run(nodes)
        terms: list[ast.expr] = []
        for at, ref in zip(graph.losses, body.roots[len(outputs) :], strict=True):
            held = body.values.get(ref)
            if held is not None and held.variable is None:
                body._settle(ref, graph[at].name)
            terms.append(body.value(ref))
        keys: list[ast.expr | None] = [ast.Constant(graph[n].name) for n in graph.losses]
        found = [body.value(ref) for ref in body.roots[: len(outputs)]]
        first = found[0] if len(found) == 1 else ast.Tuple(found, ast.Load())
        self.leave(body, ast.Tuple([first, ast.Dict(keys, terms)], ast.Load()), body.roots[: len(outputs)])
        return self.method("objective", body, graph, f"tuple[{_tensors(len(outputs))}, dict[str, Tensor]]")

    def _call_forward(self, body: Body, known: list[Ref]) -> None:
        """Takes what `forward` returns, or what it and the losses share."""
        graph = self.program.graph
        variables = []
        for i, ref in enumerate(known):
            if ref in known[:i] or not body.uses.get(ref):
                variables.append("_")
                continue
            output = graph[graph.outputs[i]].name if i < len(graph.outputs) else "x"
            variables.append(body._name(body._wishes.get(ref) or (output if output != "output" else "y")))
            body._hold(ref, variables[-1])
        value = self._call_whole(body, _WHOLE if len(known) > len(graph.outputs) else "")
        body._say(value, f"{', '.join(variables)} = ")

    def _call_whole(self, body: Body, method: str) -> ast.expr:
        """`self(image)`, or a call of a method with the same parameters."""
        graph = self.program.graph
        given = [n for n in graph.inputs if graph[n].kind.value == "input"]
        extra = {v: name(v) for v in body.free.values()}
        function = attribute(name("self"), method) if method else name("self")
        return call(function, *(name(body.parameters[n]) for n in given), **extra)


def _origins(span: Span | None) -> tuple[Step, ...]:
    return (Step("", span),) if span is not None else ()


def _tensors(number: int) -> str:
    """The type of so many tensors."""
    return "Tensor" if number == 1 else f"tuple[{', '.join(['Tensor'] * number)}]"


def _together(values: list[ast.expr]) -> ast.expr:
    return values[0] if len(values) == 1 else ast.Tuple(values, ast.Load())


__all__ = ["Emitted", "emit", "emit_python", "identifier", "text"]
