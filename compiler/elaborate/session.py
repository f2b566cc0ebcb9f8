"""What one compilation shares: the diagnostics, the budget, and the graphs of blocks already elaborated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..diagnostics import ArchError, Diagnostic, Label, Sink, did_you_mean, error
from ..graph import Graph, Instance, Layer
from ..ops.base import Check, Need, Op, WeightSpec
from ..sizes import Dim, symbol
from ..source import Span
from ..syntax import ast
from ..types import Axis, TensorType
from . import limits
from .families import Families, Handed
from .limits import Budget
from .starts import Key, Starts
from .trees import bound_names, walk
from .values import POISON, Global, Indexed, Module, Recipe, Tensor, Weight, describe


@dataclass(eq=False)
class Made:
    """A block elaborated for certain arguments and operand types, in the block's own symbols."""

    item: ast.Definition
    graph: Graph
    passed: dict[str, Layer | Instance]  # module parameters that it used, and as what
    failed: bool = False
    taken: frozenset[Key] = frozenset()  # `init` rules of its callers that it took
    key: tuple = ()  # what it was elaborated for, see `Session.call`
    handed: dict[int, Handed] = field(default_factory=dict)  # by node
    numbers: frozenset[str] = frozenset()  # parameters that were handed on and decided nothing


@dataclass(eq=False)
class Call:
    """A use of a block: its graph, what its symbols are for the caller, the types of its results there."""

    made: Made
    sizes: tuple[tuple[str, int | Dim], ...]
    results: tuple[TensorType, ...]


@dataclass(eq=False)
class Session:
    """Shared by every body under construction."""

    sink: Sink
    budget: Budget = field(default_factory=Budget)
    blocks: dict[tuple, Made] = field(default_factory=dict)
    families: Families = field(default_factory=Families)
    calls: dict[tuple, Call] = field(default_factory=dict)
    inferred: dict[tuple[Op, tuple[TensorType, ...]], tuple[tuple[TensorType, ...], list[Check]]] = field(
        default_factory=dict
    )
    owned: dict[tuple[Op, tuple[TensorType, ...]], tuple[WeightSpec, ...]] = field(default_factory=dict)
    ops: dict[tuple, Op] = field(default_factory=dict)  # by settings
    bound: dict[tuple, tuple[dict[str, Any], tuple]] = field(default_factory=dict)
    stack: list[tuple[Global, Span]] = field(default_factory=list)
    functions: list[Global] = field(default_factory=list)
    answers: dict[tuple, Any] = field(default_factory=dict)  # of static functions, by their arguments
    labels: dict[int, frozenset[str]] = field(default_factory=dict)  # plain labels of a definition's body
    starts: dict[Span, ast.InitStmt] = field(default_factory=dict)  # every `init` statement that was in force
    start_sets: dict[tuple, int] = field(default_factory=dict)  # the rules that bodies have, numbered
    started: set[Span] = field(default_factory=set)  # those of them that some layer took
    _inputs: dict[int, list[ast.InputStmt]] = field(default_factory=dict)

    def inputs(self, item: ast.Definition) -> list[ast.InputStmt]:
        """The inputs that a block declares, in order."""
        if id(item) not in self._inputs:
            for s in walk(item.body):
                if isinstance(s, ast.InputStmt) and s not in item.body:
                    raise error("A0514", "an input stands at the top of a block, not inside `for` or `if`", s.span)
            self._inputs[id(item)] = [s for s in item.body if isinstance(s, ast.InputStmt) and s.role == "input"]
        return self._inputs[id(item)]

    def unshaped(self, item: ast.Definition) -> list[ast.StateStmt]:
        """The states of a cell whose shape has a size that nothing else in it names: they take it from their start."""
        states = [s for s in item.body if isinstance(s, ast.StateStmt)]
        if not states:
            return []
        others = [s for s in walk(item.body) if not isinstance(s, ast.StateStmt)]
        known = {p.name for p in item.params} | {name for s in others for name in bound_names(s)}
        return [s for s in states if any(a.size is None and a.name and a.name not in known for a in s.shape.axes)]

    def call(
        self,
        target: Global,
        arguments: dict[str, Any],
        frozen: tuple,
        operands: tuple[TensorType, ...],
        starts: Starts,
        span: Span,
    ) -> Call:
        """The graph of a block for these arguments (and their `frozen` form), operands and `init` rules. Elaborates it
        once for each different combination. A cell's operands are its inputs, then the starts of `unshaped` states."""
        key = (id(target.item), frozen, operands, starts.key())
        call = self.calls.get(key)
        if call is None:
            item = target.definition
            entering: list[ast.InputStmt | ast.StateStmt] = [*self.inputs(item), *self.unshaped(item)]
            outward, canonical = _canonical([i.shape.axes for i in entering], operands)
            inner = (id(target.item), frozen, tuple([(t.shape, t.dtype) for t in canonical]), starts.key())
            made = self.blocks.get(inner)
            if made is None:
                made = self.families.member(self, inner, arguments, span)
            if made is None:
                made = self._elaborate(target, arguments, canonical, starts.below(), span)
                made.key = inner
                self.families.add(made)
                self.blocks[inner] = made
            inputs = operands[: len(self.inputs(item))]
            results = tuple(self._result(made, o, outward, inputs) for o in made.graph.outputs)
            call = self.calls[key] = Call(made, tuple(outward.items()), results)
        for rule in call.made.taken:
            starts.take(rule)
        return call

    @staticmethod
    def _result(
        made: Made, output: int, outward: Mapping[str, int | Dim], operands: tuple[TensorType, ...]
    ) -> TensorType:
        """An output's type for the caller, axes called as the caller's operands call them."""
        graph = made.graph
        renamed: dict[str, str] = {}  # inner names by the first operand's, unless another has that very name
        for number, operand in zip(graph.inputs, operands, strict=False):
            for inner, outer in zip(graph[number].types[0].axes, operand.axes, strict=False):
                if inner.name is not None and outer.name is not None:
                    if inner.name == outer.name:
                        renamed[inner.name] = outer.name
                    renamed.setdefault(inner.name, outer.name)
        inside = graph[output].types[0]
        names = [renamed.get(a.name, a.name) if a.name else None for a in inside.axes]
        if len({n for n in names if n}) < sum(n is not None for n in names):
            names = list(inside.names)
        axes = (Axis(n, s) for n, s in zip(names, inside.substitute(outward).shape, strict=True))
        return TensorType(tuple(axes), inside.dtype)

    def _elaborate(
        self, target: Global, arguments: dict[str, Any], operands: tuple[TensorType, ...], starts: Starts, span: Span
    ) -> Made:
        from .statements import Body

        if any(known.item is target.item for known, _ in self.stack):
            circle = [known.name for known, _ in self.stack]
            circle = [*circle[circle.index(target.name) :], target.name]
            raise error(
                "A0505",
                f"`{target.name}` contains itself: {' → '.join(circle)}",
                span,
                labels=[Label(target.item.name.span, f"`{target.name}` is declared here")],
                help="a block can't instantiate itself; write the depth out with `repeat` or `for`",
            )
        if len(self.stack) >= limits.DEPTH:
            raise error("A0804", f"blocks stand in blocks more than {limits.DEPTH} deep", span)
        self.budget.spend_block(target.name, span)
        self.stack.append((target, span))
        said = len(self.sink.found)
        try:
            kind = "cell" if target.definition.kind == "cell" else "block"
            body = Body(self, target.file, Graph(target.name, kind, arguments, span=target.item.span), starts=starts)
            body.run_block(target.definition, arguments, operands)
        finally:
            self.stack.pop()
        made = Made(target.definition, body.graph, body.passed, body.failed, frozenset(starts.taken))
        plain = body.graph.kind == "block" and not body.graph.module_parameters
        if not body.failed and len(self.sink.found) == said and plain:
            made.handed, made.numbers = body.handed, frozenset(body.unread)
        return made

    def infer(self, op: Op, operands: tuple[TensorType, ...]) -> tuple[tuple[TensorType, ...], list[Check]]:
        """Types of an op's results and the questions left to the run, asked once. Raises Refusal, SizeLimit."""
        known = self.inferred.get((op, operands))
        if known is None:
            need = Need()
            known = op.infer(operands, need), need.open
            self.inferred[op, operands] = known
        return known

    def weights(self, op: Op, operands: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        """What an op owns for these operands, asked once. Raises Refusal."""
        known = self.owned.get((op, operands))
        if known is None:
            known = self.owned[op, operands] = op.weights(operands)
        return known


def _canonical(
    declared: list[tuple[ast.AxisDecl, ...]], operands: tuple[TensorType, ...]
) -> tuple[dict[str, int | Dim], tuple[TensorType, ...]]:
    """The operand types in the block's own symbols, and what those symbols are for the caller. A symbol is called as
    the block declares the axis where it first stands alone."""
    inward: dict[str, int | Dim] = {}
    outward: dict[str, int | Dim] = {}

    def name(caller: str, wanted: str | None) -> None:
        if caller in inward:
            return
        chosen = wanted or caller
        while chosen in outward:
            chosen += "_"
        inward[caller], outward[chosen] = symbol(chosen), symbol(caller)

    for i, operand in enumerate(operands):
        for a, axis in enumerate(operand.axes):
            alone = axis.size.alone if isinstance(axis.size, Dim) else None
            if alone and i < len(declared) and a < len(declared[i]):
                name(alone, declared[i][a].name)
    for operand in operands:
        for size in operand.shape:
            if isinstance(size, Dim):
                for caller in sorted(size.symbols):
                    name(caller, None)
    return outward, tuple(t.substitute(inward) for t in operands)


def bind_parameters(
    item: ast.Definition | ast.Func,
    recipe: Recipe,
    default: Callable[[ast.Param, dict[str, Any]], Any],
    spans: dict[Any, Span],
    place: Span,
) -> dict[str, Any]:
    """Arguments by parameter name, types checked, defaults filled in. `default(param, so far)` evaluates a default.

    Raises every problem at once."""
    name, params = item.name.text, item.params
    found: list[Diagnostic] = []
    known = [p.name for p in params]
    given: dict[str, Any] = dict(zip(known, recipe.args, strict=False))
    if len(recipe.args) > len(params):
        listing = ", ".join(known) or "none"
        found.append(
            Diagnostic(
                "A0205",
                f"`{name}` has {len(params)} parameters ({listing}), found {len(recipe.args)} values",
                spans.get(len(params), place),
            )
        )
    for key, value in recipe.kwargs:
        where = spans.get(key, place)
        if key not in known:
            listing = ", ".join(f"`{k}`" for k in known)
            help = did_you_mean(key, known) or (f"its parameters: {listing}" if known else "it has no parameters")
            found.append(Diagnostic("A0205", f"`{name}` has no parameter `{key}`", where, help=help))
        elif key in given:
            found.append(Diagnostic("A0206", f"`{key}` of `{name}` is given twice", where))
        else:
            given[key] = value
    result: dict[str, Any] = {}
    for position, p in enumerate(params):
        if p.name in given:
            problem = mismatch(given[p.name], p.type)
            if problem:
                code = "A0303" if isinstance(given[p.name], Dim) else "A0415"
                where = spans.get(p.name) or spans.get(position) or place
                labels = (Label(p.span, "declared here"),)
                found.append(Diagnostic(code, f"`{p.name}` of `{name}` must be {problem}", where, labels))
            result[p.name] = given[p.name]
        elif p.default is not None:
            result[p.name] = default(p, result) if not found else POISON
        else:
            found.append(
                Diagnostic(
                    "A0207",
                    f"`{name}` needs its `{p.name}` ({type_text(p.type)})",
                    place,
                    (Label(p.span, "declared here"),),
                )
            )
    if found:
        raise ArchError(*found)
    return result


def type_text(t: ast.TypeRef) -> str:
    return f"list[{type_text(t.argument)}]" if t.argument else t.name


def mismatch(value: Any, t: ast.TypeRef) -> str | None:
    """What the type wants and what the value is, when they differ."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, Indexed) and t.name in ("int", "float"):
        return None
    ok = {
        "int": number and not isinstance(value, float),
        "float": number,
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
        "list": isinstance(value, (tuple, range)),
        "block": isinstance(value, Recipe),
        "cell": isinstance(value, Recipe) and value.kind == "cell",
        "module": isinstance(value, Module),
    }.get(t.name)
    if ok is None:
        return f"of a type that exists, not `{t.name}`"
    if not ok:
        words = {
            "int": "a whole number",
            "float": "a number",
            "bool": "true or false",
            "str": "a string",
            "list": f"a {type_text(t)}",
            "block": "a layer or a block",
            "cell": "a cell",
            "module": "a module, declared with `module E = …`",
        }
        extra = ", which is no static value" if isinstance(value, (Tensor, Weight)) else ""
        return f"{words[t.name]}; found {describe(value)}{extra}"
    if t.name == "list" and t.argument is not None:
        for i, item in enumerate(value):
            inner = mismatch(item, t.argument)
            if inner:
                return f"a {type_text(t)}: element {i} must be {inner}"
    return None
