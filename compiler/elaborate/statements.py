"""Bodies: the statements of a block, a network or an entry, run into a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from .. import ops
from ..diagnostics import ArchError, Label, did_you_mean, error
from ..graph import Graph, Kind, Node, Ref
from ..ops.base import Check, WeightSpec
from ..sizes import Dim, Verdict, compare, symbol
from ..source import Span
from ..syntax import ast
from ..types import DTYPES, Axis, TensorType
from .indices import IndexGrid, grid_code
from .labels import Labels
from .names import FileScope
from .session import Session, bind_parameters, walk
from .settings import read_init
from .stages import StageEvaluator
from .static import BUILTINS
from .values import POISON, Global, Indexed, Module, Poisoned, Recipe, Tensor, Weight, describe

LATER = {
    ast.SampleStmt: ("A0904", "`sample`", "noise and generative models come in a later version"),
    ast.GateStmt: ("A0905", "`gate`", "write it without `gate` for now; its bounds are proved in a later version"),
    ast.StateStmt: ("A0902", "`state`", "recurrent cells come in a later version"),
    ast.BiasStmt: ("A0906", "`bias`", "claims are proved in a later version; leave them out until then"),
    ast.NamesStmt: ("A0907", "`names`", "choose labels equal to the checkpoint's keys for now"),
    ast.PlayerStmt: ("A0903", "a player", "games come in a later version"),
    ast.PairStmt: ("A0903", "`pair`", "games come in a later version"),
}
_SCALARS = (bool, int, float, Dim)


class Body(StageEvaluator):
    """One body under construction."""

    def __init__(self, session: Session, file: FileScope, graph: Graph, labels: Labels | None = None) -> None:
        super().__init__(session, graph, labels or Labels())
        self.file = file
        self.names: dict[str, Any] = {}
        self.fixed: dict[str, tuple[str, Span]] = {}  # sizes and parameters: what they are, where from
        self.expects: list[tuple[ast.ExpectStmt, dict[str, Any]]] = []
        self.entries: dict[str, Graph] = {}
        self._run: dict[type, Callable[[Any], None]] = {
            ast.InputStmt: self._input,
            ast.ParamStmt: self._param,
            ast.ConstStmt: self._const,
            ast.BindStmt: self._bind,
            ast.ModuleStmt: self._module,
            ast.ForStmt: self._for,
            ast.IfStmt: lambda s: self.run(s.yes if self.truth(s.condition) else s.no),
            ast.OutputStmt: self._output,
            ast.LossStmt: self._loss,
            ast.EntryStmt: self._entry,
            ast.ExpectStmt: lambda s: self.expects.append((s, self.static_names())),
        }

    # -- names

    def lookup(self, name: str, span: Span) -> Any:
        if name in self.names:
            return self.names[name]
        found = self.file.names.get(name)
        if found is not None:
            return found if isinstance(found.item, ast.Func) else Recipe(found, span=span)
        op = ops.get(name)
        if op is not None and not op.hidden:
            return Recipe(op, span=span)
        help = did_you_mean(name, [*self.known_names(), *BUILTINS, *ops.names()])
        raise error("A0201", f"nothing here is called `{name}`", span, help=help)

    def has(self, name: str) -> bool:
        return name in self.names or name in self.file.names

    def known_names(self) -> list[str]:
        return [*self.names, *self.file.names]

    def bind_local(self, name: str, value: Any) -> Any:
        before = self.names.get(name, Ellipsis)
        self.names[name] = value
        return before

    def restore_local(self, name: str, before: Any) -> None:
        if before is Ellipsis:
            self.names.pop(name, None)
        else:
            self.names[name] = before

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
        spans: dict[Any, Span] = {}
        for i, a in enumerate(call.arguments):
            spans[a.name if a.name is not None else i] = a.span
        inner = Body(self.session, function.file, Graph(function.name), Labels())
        self.session.functions.append(function)
        try:
            inner.names.update(
                bind_parameters(
                    function.name,
                    item.params,
                    Recipe(function, args, kwargs),
                    lambda p, so_far: self.default(function, p, so_far),
                    spans,
                    call.span,
                )
            )
            return inner.eval(item.value)
        finally:
            self.session.functions.pop()

    def default(self, target: Global, param: ast.Param, so_far: dict[str, Any]) -> Any:
        """A parameter's default, in the scope of its file and the parameters before it."""
        inner = Body(self.session, target.file, Graph(target.name), Labels())
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

    # -- running

    def run(self, body: Sequence[ast.Stmt]) -> None:
        """Every statement; an error in one does not hide those of the next."""
        for statement in body:
            self.budget.spend(1, statement.span)
            later = LATER.get(type(statement))
            try:
                if later is not None:
                    code, what, help = later
                    raise error(code, f"{what} is not supported yet", statement.span, help=help)
                self._run[type(statement)](statement)
            except ArchError as failure:
                self.session.sink.extend(failure)
                self._poison(statement)
                if any(d.code.startswith("A080") for d in failure.diagnostics):
                    raise Poisoned from None  # a limit: going on would only meet it again
            except Poisoned:
                self._poison(statement)

    def _poison(self, statement: ast.Stmt) -> None:
        for name in bound_names(statement):
            if name not in self.fixed:
                self.names[name] = POISON

    def run_block(self, item: ast.Definition, arguments: dict[str, Any], operands: tuple[TensorType, ...]) -> None:
        """A block's body for these arguments and operand types. Errors go to the session's sink."""
        self._prepare(item, arguments)
        self._operand_types = {id(s): t for s, t in zip(self.session.inputs(item), operands, strict=True)}
        skipped = (ast.LossStmt, ast.ExpectStmt, ast.EntryStmt) if item.kind == "network" else ()
        targets = {s.name.text for s in item.body if isinstance(s, ast.InputStmt) and s.role == "target"}
        self._finish(item, [s for s in item.body if not isinstance(s, skipped) and not (targets and _is_target(s))])

    def run_network(self, item: ast.Definition, arguments: dict[str, Any]) -> None:
        """A network's body: its inputs are what the declaration says."""
        self._prepare(item, arguments)
        self._operand_types = {}
        self._finish(item, item.body)

    def _prepare(self, item: ast.Definition, arguments: dict[str, Any]) -> None:
        if id(item) not in self.session.labels:
            self.session.labels[id(item)] = frozenset(plain_labels(item.body))
        self.labels.spoken_for |= self.session.labels[id(item)]
        spans = {p.name: p.span for p in item.params}
        for name, value in arguments.items():
            if isinstance(value, Module):
                value = Module(name, value.recipe, spans[name], foreign=True)
            self.fix(name, value, "a parameter", spans[name])
        self.graph.module_parameters = tuple(n for n, v in arguments.items() if isinstance(v, Module))

    def _finish(self, item: ast.Definition, body: Sequence[ast.Stmt]) -> None:
        failed = False
        try:
            self.run(body)
        except Poisoned:
            failed = True
        if not self.graph.outputs and not failed and not self.session.sink.failed:
            self.session.sink.extend(
                error(
                    "A0504", f"`{item.name.text}` has no output", item.name.span, help="say what leaves it: `output y`"
                )
            )
        self.graph.values = {
            n: v.ref for n, v in self.names.items() if isinstance(v, Tensor) and v.home == id(self.graph)
        }

    # -- shapes

    def _size(self, e: ast.Expr) -> int | Dim:
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
                size = self._size(a.size)
            elif a.name in self.names and isinstance(self.eval(_name(a)), (int, Dim)):
                size = self.eval(_name(a))
            elif fresh and a.name is not None:
                size = symbol(a.name)
                if a.nominal is not None:
                    nominal = self._size(a.nominal)
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
        self._no_doubles(shape)
        if shape.dtype not in DTYPES:
            raise error("A0309", f"a tensor holds float, int or bool, not `{shape.dtype}`", shape.span)
        return TensorType(tuple(axes), shape.dtype)

    @staticmethod
    def _no_doubles(shape: ast.Shape) -> None:
        seen: dict[str, Span] = {}
        for a in shape.axes:
            if a.name is not None:
                if a.name in seen:
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
        self._no_doubles(shape)
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
                self._meet(self._size(a.size), axis.size, a, position, found, what, origin)
            if a.name is not None:
                if a.name in self.names and a.size is None:
                    known = self.eval(_name(a))
                    if not isinstance(known, (int, Dim)) or isinstance(known, bool):
                        raise error("A0204", f"`{a.name}` is {describe(known)} here, and no size", a.span)
                    self._meet(known, axis.size, a, position, found, what, origin)
                else:
                    self._fix_size(a.name, axis.size, a.span)
            axes.append(Axis(a.name, axis.size))
        return TensorType(tuple(axes), found.dtype)

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
        verdict = compare(wanted, size)
        message = f"{what} has {size} where axis {position}{f' (`{a.name}`)' if a.name else ''} is declared as {wanted}"
        if verdict is Verdict.REFUTED:
            labels = list(origin)
            if a.name in self.fixed and a.size is None and self.fixed[a.name][1] != a.span:
                labels.append(Label(self.fixed[a.name][1], f"`{a.name}` is {wanted} since here"))
            raise error("A0340", message, a.span, labels=labels, help=f"all of it is {found}")
        if verdict is Verdict.OPEN:
            self.check(Check("equal", size, wanted, message), a.span)

    # -- statements

    def _input(self, s: ast.InputStmt) -> None:
        kind = Kind.TARGET if s.role == "target" else Kind.INPUT
        given = self._operand_types.get(id(s))
        what = f"`{s.name.text}` of `{self.graph.name}`"
        if given is None:
            type_ = self.declared(s.shape, fresh=True)
        else:
            try:
                type_ = self.ascribe(s.shape, given, s.shape.span, what)
            except ArchError as failure:
                raise self._called_from(failure) from None
        if s.name.text in self.names:
            raise error("A0202", f"`{s.name.text}` is declared twice", s.name.span)
        number = self.add(Node(kind, (type_,), name=s.name.text, span=s.span))
        self.names[s.name.text] = Tensor(Ref(number), type_, s.span, id(self.graph))

    def _called_from(self, failure: ArchError) -> ArchError:
        """An operand that does not fit is the caller's mistake: the call site is the place, the declaration a label."""
        if not self.session.stack:
            return failure
        call = self.session.stack[-1][1]
        return ArchError(
            *(
                replace(d, span=call, labels=(Label(d.span, "declared here"), *d.labels)) if d.span else d
                for d in failure.diagnostics
            )
        )

    def _param(self, s: ast.ParamStmt) -> None:
        name = self.template(s.name)
        type_ = self.declared(s.shape, fresh=False)
        init = read_init(s.init, self.eval) if s.init is not None else None
        if init is None:
            raise error("A0414", f"`{name}` needs a start", s.span, help="write `= 0` or `= normal(0, 0.02)`")
        spec = WeightSpec(name, self._known(type_, s), "param", type_.dtype, init)
        self._own_weight(name, spec, type_, s.span)

    def _known(self, type_: TensorType, s: ast.Stmt) -> tuple[int, ...]:
        for size in type_.shape:
            if not isinstance(size, int):
                raise error(
                    "A0303",
                    f"the size of a weight must be known, but it is {size}",
                    s.span,
                    help="give the axis a fixed size where it enters, as in `H=224`",
                )
        shape = tuple(s for s in type_.shape if isinstance(s, int))
        return shape

    def _own_weight(self, name: str, spec: WeightSpec, type_: TensorType, span: Span) -> None:
        self.labels.claim(name, span)
        self.graph.weights[name] = spec
        self.bind(name, Weight(name, spec, type_, span), span)

    def _const(self, s: ast.ConstStmt) -> None:
        what = "buffer" if s.buffer else "const"
        sizes: list[int | Dim] = []
        names: list[str | None] = []
        locals_: list[tuple[str, Any]] = []
        self._no_doubles(s.shape)
        for a in s.shape.axes:
            if a.name is not None and a.size is None and a.name not in self.names:
                raise error(
                    "A0419",
                    f"axis `{a.name}` of a {what} needs a size",
                    a.span,
                    help=f"write `{a.name}=16`, or the name of a size that is known",
                )
            size = self._size(a.size) if a.size is not None else self._size(_name(a))
            sizes.append(size)
            names.append(a.name)
        for position, name in enumerate(names):
            if name is not None:
                locals_.append((name, self.bind_local(name, Indexed(("index", position)))))
        try:
            value = self.eval(s.value)
        finally:
            for name, before in reversed(locals_):
                self.restore_local(name, before)
        tree = value.tree if isinstance(value, Indexed) else _constant(value, s)
        type_ = TensorType(tuple(Axis(n, z) for n, z in zip(names, sizes, strict=True)), s.shape.dtype)
        known = [z for z in sizes if isinstance(z, int)]
        if len(known) == len(sizes):
            self._fixed_const(s, tuple(known), tree, type_)
            return
        if s.buffer:
            self._known(type_, s)
        op = IndexGrid(names=tuple(names), sizes=tuple(sizes), tree=tree, dtype=s.shape.dtype)
        self.bind(s.name.text, self.apply(op, (), s.span)[0], s.name.span)

    def _fixed_const(self, s: ast.ConstStmt, shape: tuple[int, ...], tree: tuple, type_: TensorType) -> None:
        elements = 1
        for size in shape:
            elements *= size
        if elements > 2**31:
            raise error("A0802", f"this tensor would have {elements:,} elements, and the limit is {2**31:,}", s.span)
        code = grid_code(shape, tree, s.shape.dtype)
        role = "buffer" if s.buffer else "scratch"
        self._own_weight(
            s.name.text, WeightSpec(s.name.text, shape, role, s.shape.dtype, code=code), type_, s.name.span
        )

    def _bind(self, s: ast.BindStmt) -> None:
        if any(t.primed for t in s.targets):
            raise error("A0902", "a next value (`h' = …`) belongs to a cell, and cells are not supported yet", s.span)
        before = self.graph.nx.number_of_nodes()
        value = self.eval(s.value)
        if s.shape is not None:
            value = self._ascribed(s, value, before)
        if len(s.targets) == 1:
            self.bind(s.targets[0].text, value, s.targets[0].span)
            return
        for target, part in zip(s.targets, self._apart(value, s), strict=True):
            self.bind(target.text, part, target.span)

    def _ascribed(self, s: ast.BindStmt, value: Any, before: int) -> Tensor:
        assert s.shape is not None
        x = self.tensor(value, s.value.span)
        type_ = self.ascribe(s.shape, x.type, s.value.span, f"`{s.targets[0].text}`")
        node = self.graph[x.ref.node]
        if x.ref.node >= before and len(node.types) == 1:  # made by this statement: the graph takes the names too
            self.graph.nx.nodes[x.ref.node]["node"] = replace(node, types=(type_,))
        return replace(x, type=type_)

    def _apart(self, value: Any, s: ast.BindStmt) -> tuple:
        count = len(s.targets)
        if isinstance(value, (Tensor, Weight)):
            x = self.tensor(value, s.value.span)
            if x.type.rank and x.type.shape[0] == count:
                unstack = ops.get("unstack")
                assert unstack is not None
                return self.apply(unstack(), (x,), s.value.span)
            raise error(
                "A0407",
                f"{count} names need a leading axis of size {count}, but this is {x.type}",
                s.span,
                labels=[Label(x.span, f"this is {x.type}")],
                help="split it first: `-> split(2, axis=-1)`, or `rearrange` an axis to the front",
            )
        return self.take_apart(value, count, s.span)

    def _module(self, s: ast.ModuleStmt) -> None:
        path = self.template(s.name)
        value = self.eval(s.value)
        if isinstance(value, Module):
            self.bind(path, value, s.name.span)  # another name for it
            return
        if not isinstance(value, Recipe):
            raise error("A0404", f"a module is made from a layer or a block, found {describe(value)}", s.value.span)
        self.labels.claim(path, s.span)
        module = Module(path, value, s.span)
        head, dot, rest = path.partition(".")
        if not dot:
            self.bind(path, module, s.name.span)
            return
        known = self.names.get(head, ())
        if not isinstance(known, tuple) or rest != str(len(known)):
            raise error(
                "A0515",
                f"`{path}` must continue the list `{head}`: the next one is `{head}.{len(known) if isinstance(known, tuple) else 0}`",
                s.span,
            )
        self.bind(head, (*known, module), s.name.span)

    def _for(self, s: ast.ForStmt) -> None:
        for item in self.iterate(s.iterable):
            for target, v in zip(s.targets, self.take_apart(item, len(s.targets), s.span), strict=True):
                self.bind(target.text, v, target.span)
            self.run(s.body)

    def _output(self, s: ast.OutputStmt) -> None:
        value = self.eval(s.value)
        if isinstance(value, tuple):
            raise error(
                "A0516",
                f"an output is one tensor, found {describe(value)}",
                s.value.span,
                help="write one `output` for each",
            )
        x = self.tensor(value, s.value.span)
        name = s.name.text if s.name is not None else s.value.text if isinstance(s.value, ast.Name) else "output"
        if s.name is not None:
            self.bind(s.name.text, x, s.name.span)
        taken = [self.graph[o].name for o in self.graph.outputs]
        if name in taken and name != "output":
            raise error("A0202", f"`{name}` leaves twice", s.span)
        self.add(Node(Kind.OUTPUT, (x.type,), name=name, span=s.span), [x.ref])

    def _loss(self, s: ast.LossStmt) -> None:
        if s.over:
            raise error("A0903", "`over` belongs to a game, and games are not supported yet", s.over[0].span)
        if self.graph.kind == "entry":
            raise error("A0517", "an entry has no loss", s.span, help="losses belong to the network's own body")
        x = self.tensor(self.eval(s.value), s.value.span)
        if x.type.rank or x.type.dtype != "float":
            raise error(
                "A0341", f"a loss is one number, but this is {x.type}", s.value.span, help="reduce it: `-> mean`"
            )
        weight = self.eval(s.weight) if s.weight is not None else 1.0
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise error(
                "A0415", f"a loss's weight is a number, found {describe(weight)}", s.weight.span if s.weight else s.span
            )
        if s.name.text in [self.graph[n].name for n in self.graph.losses]:
            raise error("A0202", f"two losses are called `{s.name.text}`", s.name.span)
        self.add(Node(Kind.LOSS, (x.type,), name=s.name.text, loss_weight=float(weight), span=s.span), [x.ref])

    def _entry(self, s: ast.EntryStmt) -> None:
        name = s.name.text
        if self.graph.kind != "network":
            raise error("A0518", "an entry belongs to a network", s.span)
        if name in self.entries or name in ("forward", "objective"):
            raise error("A0202", f"`{name}` is taken", s.name.span)
        graph = Graph(name, "entry", modules=self.graph.modules, weights=self.graph.weights, span=s.span)
        inner = Body(self.session, self.file, graph, self.labels)
        inner.names = {k: v for k, v in self.names.items()}
        inner.fixed = {k: v for k, v in self.fixed.items() if not isinstance(self.names.get(k), Dim)}
        inner.names = {k: v for k, v in inner.names.items() if not isinstance(v, Dim)}
        inner._operand_types = {}
        own = {n for i in walk(s.body) if isinstance(i, ast.InputStmt) for n in (i.name.text,)}
        for hidden in own:
            inner.names.pop(hidden, None)
        inner.run(s.body)
        if not graph.outputs and not self.session.sink.failed:
            raise error("A0504", f"entry `{name}` has no output", s.name.span, help="say what leaves it: `output y`")
        graph.values = {n: v.ref for n, v in inner.names.items() if isinstance(v, Tensor) and v.home == id(graph)}
        self.entries[name] = graph


def resolve_configuration(session: Session, target: Global, recipe: Recipe, span: Span) -> tuple[Global, Recipe]:
    """Follows `network A = B(…)` to a definition; arguments given later win over those of the configuration."""
    seen = []
    while isinstance(target.item, ast.Configuration):
        item = target.item
        if target in seen:
            raise error("A0505", f"`{target.name}` is defined by itself", item.name.span)
        seen.append(target)
        inner = Body(session, target.file, Graph(target.name), Labels())
        base = inner.eval(item.value)
        if (
            not isinstance(base, Recipe)
            or not isinstance(base.target, Global)
            or isinstance(base.target.item, ast.Func)
        ):
            raise error(
                "A0519", f"`{item.name.text}` must configure a network, found {describe(base)}", item.value.span
            )
        merged = {**dict(base.kwargs), **dict(recipe.kwargs)}
        args = recipe.args or base.args
        if not recipe.args and isinstance(base.target.item, ast.Definition):
            known = [p.name for p in base.target.item.params]  # by name, so that any of them can be given anew
            merged = {**dict(zip(known, base.args, strict=False)), **merged} if len(base.args) <= len(known) else merged
            args = () if len(base.args) <= len(known) else base.args
        target, recipe = base.target, Recipe(base.target, args, tuple(merged.items()), span)
    return target, recipe


def _name(a: ast.AxisDecl) -> ast.Name:
    return ast.Name(span=a.span, text=a.name or "")


def _constant(value: Any, s: ast.ConstStmt) -> tuple:
    if isinstance(value, Dim):
        return ("size", value)
    if isinstance(value, (bool, int, float)):
        return ("number", value)
    raise error("A0419", f"each element must be a number or a truth value, found {describe(value)}", s.value.span)


def _is_target(s: ast.Stmt) -> bool:
    return isinstance(s, ast.InputStmt) and s.role == "target"


def bound_names(s: ast.Stmt) -> Iterator[str]:
    """Names that a statement would have bound."""
    match s:
        case ast.BindStmt():
            yield from (t.text for t in s.targets)
        case ast.InputStmt() | ast.ConstStmt() | ast.SampleStmt() | ast.GateStmt() | ast.StateStmt() | ast.PlayerStmt():
            yield s.name.text
            if isinstance(s, (ast.InputStmt, ast.SampleStmt, ast.StateStmt)):
                yield from (a.name for a in s.shape.axes if a.name)
        case ast.ParamStmt() | ast.ModuleStmt():
            if s.name.plain:
                yield s.name.plain.partition(".")[0] if isinstance(s, ast.ModuleStmt) else s.name.plain
            elif s.name.parts and isinstance(s.name.parts[0], str):
                yield s.name.parts[0].partition(".")[0]
        case ast.OutputStmt():
            if s.name is not None:
                yield s.name.text
        case ast.ForStmt():
            yield from (t.text for t in s.targets)
            for inner in s.body:
                yield from bound_names(inner)
        case ast.IfStmt():
            for inner in (*s.yes, *s.no):
                yield from bound_names(inner)


def plain_labels(node: Any) -> Iterator[str]:
    """Every label without holes below a node: automatic names avoid them."""
    stack = [node]
    while stack:
        at = stack.pop()
        if isinstance(at, tuple):
            stack.extend(at)
        elif isinstance(at, ast.Node):
            if isinstance(at, (ast.Labelled, ast.ModuleStmt, ast.ParamStmt)):
                label = at.label if isinstance(at, ast.Labelled) else at.name
                if label.plain:
                    yield label.plain
            stack.extend(getattr(at, name) for name in at.__dataclass_fields__ if name != "span")
