"""Names in a body: values, sizes, parameters, functions, and the shapes that declare them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .. import ops
from ..diagnostics import Label, did_you_mean, error
from ..graph import Graph, Kind
from ..sizes import Dim, Verdict, compare, symbol
from ..source import Span
from ..syntax import ast
from ..types import DTYPES, Axis, TensorType, unique_names
from .builtins import BUILTINS
from .labels import Labels
from .names import FileScope
from .session import Session, bind_parameters
from .stages import StageEvaluator
from .starts import Starts
from .values import Global, Recipe, Tensor, Weight, describe, freeze

_SCALARS = (bool, int, float, Dim)


class ScopeEvaluator(StageEvaluator):
    """An evaluator with the names of a body."""

    def __init__(
        self,
        session: Session,
        file: FileScope,
        graph: Graph,
        labels: Labels | None = None,
        starts: Starts | None = None,
    ) -> None:
        super().__init__(session, graph, labels or Labels(), starts)
        self.file = file
        self.fixed: dict[str, tuple[str, Span]] = {}  # sizes and parameters: what they are, where from

    # -- names

    def lookup(self, name: str, span: Span) -> Any:
        if name in self.names:
            self.unread.discard(name)
            return self.names[name]
        found = self.file.names.get(name)
        if found is not None:
            return found if isinstance(found.item, ast.Func) else Recipe(found, span=span)
        op = ops.get(name)
        if op is not None and not op.hidden:
            return Recipe(op, span=span)
        if name.endswith("'"):
            raise error("A0201", f"nothing here is called `{name}`", span, help=self._no_next(name[:-1]))
        help = did_you_mean(name, [*self.known_names(), *BUILTINS, *ops.names()])
        raise error("A0201", f"nothing here is called `{name}`", span, help=help)

    def _no_next(self, state: str) -> str:
        if state in self.graph.states:
            return f"say what `{state}` becomes before you use it: `{state}' = …`"
        return f"a prime marks the next value of a state, which a cell declares: `state {state}: [B, …]`"

    def has(self, name: str) -> bool:
        return name in self.names or name in self.file.names

    def known_names(self) -> list[str]:
        return [*self.names, *self.file.names]

    def bind(self, name: str, value: Any, span: Span) -> None:
        """Binds a value's name; sizes and parameters can't be rebound."""
        if name in self.fixed:
            what, where = self.fixed[name]
            raise error(
                "A0204",
                f"`{name}` is {what} here and can't be rebound",
                span,
                labels=[Label(where, f"{what} since here")],
                help="values and sizes share one namespace; take another name",
            )
        self.names[name] = value
        if isinstance(value, Tensor) and value.home == id(self.graph):
            node = self.graph[value.ref.node]
            if not node.name and node.kind is Kind.OP and len(node.types) == 1:
                self.graph.nx.nodes[value.ref.node]["node"] = replace(node, name=name)

    def fix(self, name: str, value: Any, what: str, span: Span) -> None:
        """Binds the name of a size or a parameter."""
        if name in self.names and name not in self.fixed:
            raise error("A0204", f"`{name}` is a value already and can't also be {what}", span)
        self.names[name] = value
        self.fixed.setdefault(name, (what, span))

    def size_names(self) -> list[str]:
        return [name for name, (what, _) in self.fixed.items() if what == "a size"]

    def static_names(self) -> dict[str, Any]:
        """What contracts may speak of: static values, and the file's functions are left out."""
        return {k: v for k, v in self.names.items() if isinstance(v, (*_SCALARS, str, tuple)) or v is None}

    # -- functions and parameters

    def call_function(self, function: Global, call: ast.Call) -> Any:
        item = function.item
        assert isinstance(item, ast.Func)
        if function in self.session.functions:
            circle = " → ".join([*(f.name for f in self.session.functions), function.name])
            raise error(
                "A0417",
                f"`{function.name}` calls itself: {circle}",
                call.span,
                help="static functions can't recurse; use a list or a loop",
            )
        if len(self.session.functions) >= 64:
            raise error("A0804", "functions call functions more than 64 deep", call.span)
        args = tuple(self.eval(a.value) for a in call.arguments if a.name is None)
        kwargs = tuple((a.name, self.eval(a.value)) for a in call.arguments if a.name is not None)
        for a, value in zip(call.arguments, [*args, *(v for _, v in kwargs)], strict=True):
            if isinstance(value, (Tensor, Weight)):
                raise error("A0403", f"{describe(value)} can't be given to a static function", a.span)
        asked = (id(item), freeze(enumerate(args)), freeze(kwargs))
        if asked in self.session.answers:
            return self.session.answers[asked]
        spans: dict[Any, Span] = {}
        for i, a in enumerate(call.arguments):
            spans[a.name if a.name is not None else i] = a.span
        inner = ScopeEvaluator(self.session, function.file, Graph(function.name), Labels())
        self.session.functions.append(function)
        try:
            inner.names.update(
                bind_parameters(
                    item,
                    Recipe(function, args, kwargs),
                    lambda p, so_far: self.default(function, p, so_far),
                    spans,
                    call.span,
                )
            )
            answer = inner.eval(item.value)
        finally:
            self.session.functions.pop()
        if isinstance(answer, (*_SCALARS, str)):
            self.session.answers[asked] = answer
        return answer

    def default(self, target: Global, param: ast.Param, so_far: dict[str, Any]) -> Any:
        """A parameter's default, in the scope of its file and the parameters before it."""
        inner = ScopeEvaluator(self.session, target.file, Graph(target.name), Labels())
        inner.names.update(so_far)
        assert param.default is not None
        return inner.eval(param.default)

    def configured(self, target: Global, recipe: Recipe, span: Span) -> tuple[Global, Recipe]:
        """A named configuration as the definition it configures, with both sets of arguments."""
        return resolve_configuration(self.session, target, recipe, span)

    def template(self, t: ast.Template) -> str:
        """A label's text, holes filled."""
        plain = t.plain
        if plain is not None:
            return plain
        parts = []
        for part in t.parts:
            if isinstance(part, str):
                parts.append(part)
                continue
            value = self.eval(part)
            if not isinstance(value, (int, str)) or isinstance(value, bool):
                raise error("A0418", f"a label is made of numbers and strings, found {describe(value)}", part.span)
            parts.append(str(value))
        return "".join(parts)

    # -- shapes

    def size(self, e: ast.Expr) -> int | Dim:
        """A size: a whole number of at least 0, or a symbolic one."""
        value = self.eval(e)
        if isinstance(value, (int, Dim)) and not isinstance(value, bool):
            if isinstance(value, int) and value < 0:
                raise error("A0309", f"a size can't be negative, found {value}", e.span)
            return value
        raise error("A0309", f"a size is a whole number, found {describe(value)}", e.span)

    def declared(self, shape: ast.Shape, *, fresh: bool) -> TensorType:
        """A declared shape as a type. With `fresh`, a name that nothing has becomes a symbol of that name."""
        axes = []
        for a in shape.axes:
            size: int | Dim
            if a.size is not None:
                size = self.size(a.size)
            elif a.name in self.names and isinstance(self.eval(axis_name(a)), (int, Dim)):
                size = self.eval(axis_name(a))
            elif fresh and a.name is not None:
                size = symbol(a.name)
                if a.nominal is not None:
                    nominal = self.size(a.nominal)
                    if not isinstance(nominal, int) or nominal < 1:
                        raise error("A0309", "a nominal size is a whole number of at least 1", a.nominal.span)
                    self.graph.nominal[a.name] = nominal
            else:
                raise error(
                    "A0201",
                    f"nothing here is called `{a.name}`",
                    a.span,
                    help="a size must be known here: a number, a parameter or an axis of an input",
                )
            if a.name is not None:
                self._fix_size(a.name, size, a.span)
            axes.append(Axis(a.name, size))
        self.no_doubles(shape)
        if shape.dtype not in DTYPES:
            raise error("A0309", f"a tensor holds float, int or bool, not `{shape.dtype}`", shape.span)
        return TensorType(unique_names(axes), shape.dtype)

    @staticmethod
    def no_doubles(shape: ast.Shape) -> None:
        """Refuses a shape that gives one name two sizes. A bare name may stand twice (`[T, T]`): two axes of one size,
        which then have no name of their own."""
        seen: dict[str, Span] = {}
        for a in shape.axes:
            if a.name is not None:
                if a.name in seen and (a.size is not None or a.nominal is not None):
                    raise error(
                        "A0202",
                        f"two axes are called `{a.name}`",
                        a.span,
                        labels=[Label(seen[a.name], "first here")],
                        help=f"name one of them apart: `Q={a.name}`",
                    )
                seen[a.name] = a.span

    def _fix_size(self, name: str, size: int | Dim, span: Span) -> None:
        if name in self.fixed:
            known = self.names[name]
            if isinstance(known, (int, Dim)) and compare(known, size) is Verdict.REFUTED:
                raise error(
                    "A0340",
                    f"`{name}` is {known} already, and here it would be {size}",
                    span,
                    labels=[Label(self.fixed[name][1], "first fixed here")],
                )
            return
        self.fix(name, size, "a size", span)

    def ascribe(self, shape: ast.Shape, found: TensorType, span: Span, what: str) -> TensorType:
        """Checks a type against a declared shape; returns it with the declared names. New names are bound to sizes."""
        self.no_doubles(shape)
        origin = [Label(span, f"this is {found}")] if span != shape.span else []
        if len(shape.axes) != found.rank:
            raise error(
                "A0340",
                f"{what} is declared with {len(shape.axes)} axes, but it is {found}, with {found.rank}",
                shape.span,
                labels=origin,
            )
        if shape.dtype != found.dtype:
            raise error(
                "A0340",
                f"{what} is declared as {shape.dtype}, but it is {found}",
                shape.span,
                labels=origin,
                help='convert it: `-> cast("float")`',
            )
        axes = []
        for position, (a, axis) in enumerate(zip(shape.axes, found.axes, strict=True)):
            if a.size is not None:
                self._meet(self.size(a.size), axis.size, a, position, found, what, origin)
            if a.name is not None:
                if a.name in self.names and a.size is None:
                    known = self.eval(axis_name(a))
                    if not isinstance(known, (int, Dim)) or isinstance(known, bool):
                        raise error("A0204", f"`{a.name}` is {describe(known)} here, and no size", a.span)
                    self._meet(known, axis.size, a, position, found, what, origin)
                else:
                    self._fix_size(a.name, axis.size, a.span)
            axes.append(Axis(a.name, axis.size))
        return TensorType(unique_names(axes), found.dtype)

    def _meet(
        self,
        wanted: int | Dim,
        size: int | Dim,
        a: ast.AxisDecl,
        position: int,
        found: TensorType,
        what: str,
        origin: list[Label],
    ) -> None:
        message = f"{what} has {size} where axis {position}{f' (`{a.name}`)' if a.name else ''} is declared as {wanted}"
        if not self.agree(size, wanted, message, a.span):
            labels = list(origin)
            if a.name in self.fixed and a.size is None and self.fixed[a.name][1] != a.span:
                labels.append(Label(self.fixed[a.name][1], f"`{a.name}` is {wanted} since here"))
            raise error("A0340", message, a.span, labels=labels, help=f"all of it is {found}")


def resolve_configuration(session: Session, target: Global, recipe: Recipe, span: Span) -> tuple[Global, Recipe]:
    """Follows `network A = B(…)` to a definition; arguments given later win over those of the configuration."""
    seen = []
    while isinstance(target.item, ast.Configuration):
        item = target.item
        if target in seen:
            raise error("A0505", f"`{target.name}` is defined by itself", item.name.span)
        seen.append(target)
        inner = ScopeEvaluator(session, target.file, Graph(target.name), Labels())
        base = inner.eval(item.value)
        if (
            not isinstance(base, Recipe)
            or not isinstance(base.target, Global)
            or isinstance(base.target.item, ast.Func)
            or (isinstance(base.target.item, ast.Definition) and base.target.item.kind == "cell")
        ):
            raise error(
                "A0519", f"`{item.name.text}` must configure a network, found {describe(base)}", item.value.span
            )
        made = base.target.item
        if "adversarial" in (item.kind, made.kind) and item.kind != made.kind:
            help = f"write `{made.kind} {item.name.text} = …`"
            raise error(
                "A0519",
                f"`{item.name.text}` is a {_SAID[item.kind]}, and configures a {_SAID[made.kind]}",
                item.value.span,
                help=help,
            )
        merged = {**dict(base.kwargs), **dict(recipe.kwargs)}
        args = recipe.args or base.args
        if not recipe.args and isinstance(base.target.item, ast.Definition):
            known = [p.name for p in base.target.item.params]  # by name, so that any of them can be given anew
            merged = {**dict(zip(known, base.args, strict=False)), **merged} if len(base.args) <= len(known) else merged
            args = () if len(base.args) <= len(known) else base.args
        target, recipe = base.target, Recipe(base.target, args, tuple(merged.items()), span)
    return target, recipe


_SAID = {"adversarial": "game", "network": "network", "block": "block"}


def axis_name(a: ast.AxisDecl) -> ast.Name:
    """The axis' name as an expression."""
    return ast.Name(span=a.span, text=a.name or "")
