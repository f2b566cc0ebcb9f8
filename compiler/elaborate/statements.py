"""Bodies: the statements of a block, a network or an entry, run into a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .. import ops
from ..diagnostics import ArchError, Label, error
from ..game import Game
from ..graph import Graph, Kind, Node, Ref
from ..ops.base import Code, WeightSpec
from ..sizes import Dim
from ..source import Span
from ..syntax import ast
from ..types import Axis, TensorType
from .biases import read_claim
from .indices import IndexGrid, grid_code
from .labels import Labels
from .limits import ELEMENTS
from .names import FileScope
from .noise import read_noise
from .pairs import close_game, declare_pair, declare_player, whose
from .published import Publications
from .recurrence import CellBody
from .scope import axis_name
from .session import Session
from .settings import check_start, read_init
from .starts import Starts
from .trees import bound_names, plain_labels, walk
from .values import POISON, Indexed, Module, Outcomes, Poisoned, Ran, Recipe, Tensor, Weight, describe, together

_OF_A_PROGRAM = (ast.LossStmt, ast.ExpectStmt, ast.EntryStmt, ast.PretrainedStmt, ast.NamesStmt)
"""What a network says that does not matter where it is used as a block."""


class Body(CellBody):
    """One body under construction."""

    def __init__(
        self,
        session: Session,
        file: FileScope,
        graph: Graph,
        labels: Labels | None = None,
        starts: Starts | None = None,
    ) -> None:
        super().__init__(session, file, graph, labels, starts)
        self.expects: list[tuple[ast.ExpectStmt, dict[str, Any]]] = []
        self.entries: dict[str, Graph] = {}
        self.published = Publications()
        self.game: Game | None = None
        self._operand_types: dict[int, TensorType] = {}
        self._following: dict[str, Tensor] = {}
        self.failed = False
        self._top: set[int] = set()  # the `init` statements that stand at the top

    # -- running

    def run(self, body: Sequence[ast.Stmt]) -> None:
        """Every statement; an error in one does not hide those of the next."""
        for statement in body:
            self.budget.spend(1, statement.span)
            try:
                _RUN[type(statement)](self, statement)
            except ArchError as failure:
                self.session.sink.extend(failure)
                self._poison(statement)
            except Poisoned:
                self._poison(statement)

    def _poison(self, statement: ast.Stmt) -> None:
        self.failed = True
        for name in bound_names(statement):
            if name not in self.fixed:
                self.names[name] = POISON

    def run_block(self, item: ast.Definition, arguments: dict[str, Any], operands: tuple[TensorType, ...]) -> None:
        """A block's body for these arguments and operand types. Errors go to the session's sink."""
        self._prepare(item, arguments)
        entering: list[ast.Stmt] = [*self.session.inputs(item), *self.session.unshaped(item)]
        self._operand_types = {id(s): t for s, t in zip(entering, operands, strict=True)}
        skipped = _OF_A_PROGRAM if item.kind == "network" else ()
        self._finish(item, [s for s in item.body if not isinstance(s, skipped) and not _is_target(s)])

    def run_network(self, item: ast.Definition, arguments: dict[str, Any]) -> None:
        """The body of a network or a game: its inputs are what the declaration says."""
        self.game = Game() if item.kind == "adversarial" else None
        self._prepare(item, arguments)
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
            if type(value) is float:
                self.unread.add(name)
        self.graph.module_parameters = tuple(n for n, v in arguments.items() if isinstance(v, Module))

    def _finish(self, item: ast.Definition, body: Sequence[ast.Stmt]) -> None:
        rules = [s for s in body if isinstance(s, ast.InitStmt)]
        self._top = {id(s) for s in rules}
        self.run(rules)  # before all others: they hold for the whole body
        self.run([s for s in body if not isinstance(s, ast.InitStmt)] if rules else body)
        if item.kind == "cell":
            self.close_cell(item)
        if self.game is not None and not self.failed:
            close_game(item, self)
        elif not self.graph.outputs and not self.failed:
            self.failed = True
            self.session.sink.extend(
                error(
                    "A0504", f"`{item.name.text}` has no output", item.name.span, help="say what leaves it: `output y`"
                )
            )
        self.close_gates()
        self.graph.values = {
            n: v.ref for n, v in self.names.items() if isinstance(v, Tensor) and v.home == id(self.graph)
        }

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
        init = read_init(s.init, self) if s.init is not None else None
        if init is None:
            raise error("A0414", f"`{name}` needs a start", s.span, help="write `= 0` or `= normal(0, 0.02)`")
        spec = WeightSpec(name, self._known(type_, s), "param", type_.dtype, init)
        check_start(spec, s.span)
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
        return tuple(size for size in type_.shape if isinstance(size, int))

    def _init(self, s: ast.InitStmt) -> None:
        if id(s) not in self._top:
            raise error(
                "A0520",
                "an `init` stands at the top of a block or network, not inside `for`, `if` or `entry`",
                s.span,
                help="its value may be chosen: `init conv.weight = if wide then normal(0, 0.01) else zeros`",
            )
        self.starts.declare(s, self)

    def publish(self, s: ast.PretrainedStmt | ast.NamesStmt) -> None:
        """What a network, or the configuration that is compiled, says about published weights."""
        if self.graph.kind != "network":
            what = "pretrained" if isinstance(s, ast.PretrainedStmt) else "names"
            raise error("A0523", f"`{what}` belongs to a network or a configuration, not a {self.graph.kind}", s.span)
        self.published.declare(s, self)

    def claim(self, s: ast.BiasStmt) -> None:
        """What a body claims of its values."""
        self.graph.claims.append(read_claim(s, self))

    def _own_weight(self, name: str, spec: WeightSpec, type_: TensorType, span: Span) -> None:
        self.labels.claim(name, span)
        self.graph.weights[name] = spec
        self.bind(name, Weight(name, spec, type_, span), span)

    def _const(self, s: ast.ConstStmt) -> None:
        what = "buffer" if s.buffer else "const"
        sizes: list[int | Dim] = []
        names: list[str | None] = []
        locals_: list[tuple[str, Any]] = []
        self.no_doubles(s.shape)
        for a in s.shape.axes:
            if a.name is not None and a.size is None and a.name not in self.names:
                raise error(
                    "A0419",
                    f"axis `{a.name}` of a {what} needs a size",
                    a.span,
                    help=f"write `{a.name}=16`, or the name of a size that is known",
                )
            size = self.size(a.size) if a.size is not None else self.size(axis_name(a))
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
        if elements > ELEMENTS:
            raise error("A0802", f"this tensor would have {elements:,} elements, and the limit is {ELEMENTS:,}", s.span)
        code = grid_code(shape, tree, s.shape.dtype)
        if s.buffer:  # a checkpoint is copied into it in place
            code = Code(f"{code.template}.contiguous()", code.values)
        role = "buffer" if s.buffer else "scratch"
        self._own_weight(
            s.name.text, WeightSpec(s.name.text, shape, role, s.shape.dtype, code=code, tree=tree), type_, s.name.span
        )

    def _sample(self, s: ast.SampleStmt) -> None:
        noise = read_noise(s, self, lambda: self.declared(s.shape, fresh=self.graph.kind in ("entry", "game")))
        self.bind(s.name.text, self.apply(noise, (), s.span)[0], s.name.span)

    def _bind(self, s: ast.BindStmt) -> None:
        if s.targets[0].primed:
            self.next(s)
            return
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
        if isinstance(value, Ran):
            if count == 2:
                return Tensor(value.ref, value.type, value.span, value.home), value.last
        elif isinstance(value, Outcomes) and count in (len(value), len(value) + 1):
            return (*value, value.last)[:count]
        if isinstance(value, (Ran, Outcomes)):
            outputs = len(value) if isinstance(value, Outcomes) else 1
            raise error(
                "A0407",
                f"{count} names for what a cell gives: {outputs} output{'s' * (outputs != 1)}, and its states",
                s.span,
                help=f"a name for each output, and one for all states: `{', '.join('yzuvw'[:outputs])}, last = …`",
            )
        if isinstance(value, (Tensor, Weight)):
            x = self.tensor(value, s.value.span)
            if x.type.rank and x.type.shape[0] == count:
                return self.apply(ops.require("unstack")(count=count), (x,), s.value.span)
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
        head, dot, rest = path.partition(".")
        module = self.own_module(path, value, None if dot else s.name.span, s.span)
        if not dot:
            return
        known = self.names.get(head, ())
        if not isinstance(known, tuple) or rest != str(len(known)):
            count = len(known) if isinstance(known, tuple) else 0
            raise error("A0515", f"`{path}` does not continue the list `{head}`, which has {count} so far", s.span)
        self.bind(head, (*known, module), s.name.span)

    def own_module(self, path: str, recipe: Recipe, name: Span | None, span: Span) -> Module:
        """An instance of its own, bound to its path where the name stands in the text."""
        self.labels.claim(path, span)
        module = Module(path, recipe, span)
        if name is not None:
            self.bind(path, module, name)
        return module

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
        if self.graph.kind == "entry":
            raise error("A0517", "an entry has no loss", s.span, help="losses belong to the network's own body")
        over, x, weight, _ = together(
            lambda: whose(s, self), lambda: self._lost(s), lambda: self._loss_weight(s), lambda: self._loss_name(s.name)
        )
        self.add(Node(Kind.LOSS, (x.type,), name=s.name.text, loss_weight=weight, over=over, span=s.span), [x.ref])

    def _lost(self, s: ast.LossStmt) -> Tensor:
        x = self.tensor(self.eval(s.value), s.value.span)
        if x.type.rank or x.type.dtype != "float":
            raise error(
                "A0341", f"a loss is one number, but this is {x.type}", s.value.span, help="reduce it: `-> mean`"
            )
        return x

    def _loss_weight(self, s: ast.LossStmt) -> float:
        if s.weight is None:
            return 1.0
        weight = self.eval(s.weight)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise error("A0415", f"a loss's weight is a number, found {describe(weight)}", s.weight.span)
        if not math.isfinite(weight):
            raise error("A0415", f"a loss's weight is a finite number, found {weight}", s.weight.span)
        return float(weight)

    def _loss_name(self, name: ast.Ident) -> None:
        if name.text in [self.graph[n].name for n in self.graph.losses]:
            raise error("A0202", f"two losses are called `{name.text}`", name.span)

    def _entry(self, s: ast.EntryStmt) -> None:
        name = s.name.text
        if self.graph.kind != "network":
            raise error("A0518", "an entry belongs to a network", s.span)
        if name in self.entries or name in ("forward", "objective"):
            raise error("A0202", f"`{name}` is taken", s.name.span)
        graph = Graph(name, "entry", modules=self.graph.modules, weights=self.graph.weights, span=s.span)
        inner = Body(self.session, self.file, graph, self.labels, self.starts)
        inner.fixed = {k: v for k, v in self.fixed.items() if not isinstance(self.names.get(k), Dim)}
        inner.names = {k: v for k, v in self.names.items() if not isinstance(v, Dim)}
        own = {n for i in walk(s.body) if isinstance(i, ast.InputStmt) for n in (i.name.text,)}
        for hidden in own:
            inner.names.pop(hidden, None)
        inner.run(s.body)
        inner.close_gates()
        self.failed = self.failed or inner.failed
        if not graph.outputs and not inner.failed:
            raise error("A0504", f"entry `{name}` has no output", s.name.span, help="say what leaves it: `output y`")
        graph.values = {n: v.ref for n, v in inner.names.items() if isinstance(v, Tensor) and v.home == id(graph)}
        self.entries[name] = graph


_RUN: dict[type, Callable[[Body, Any], None]] = {
    ast.InputStmt: Body._input,
    ast.ParamStmt: Body._param,
    ast.ConstStmt: Body._const,
    ast.SampleStmt: Body._sample,
    ast.BindStmt: Body._bind,
    ast.StateStmt: Body.state,
    ast.GateStmt: Body.gate,
    ast.ModuleStmt: Body._module,
    ast.ForStmt: Body._for,
    ast.IfStmt: lambda self, s: self.run(s.yes if self.truth(s.condition) else s.no),
    ast.OutputStmt: Body._output,
    ast.LossStmt: Body._loss,
    ast.PlayerStmt: lambda self, s: declare_player(s, self),
    ast.PairStmt: lambda self, s: declare_pair(s, self),
    ast.EntryStmt: Body._entry,
    ast.InitStmt: Body._init,
    ast.PretrainedStmt: Body.publish,
    ast.NamesStmt: Body.publish,
    ast.BiasStmt: Body.claim,
    ast.ExpectStmt: lambda self, s: self.expects.append((s, self.static_names())),
}
"""What runs each kind of statement."""


def _constant(value: Any, s: ast.ConstStmt) -> tuple:
    if isinstance(value, Dim):
        return ("size", value)
    if isinstance(value, (bool, int, float)):
        return ("number", value)
    raise error("A0419", f"each element must be a number or a truth value, found {describe(value)}", s.value.span)


def _is_target(s: ast.Stmt) -> bool:
    return isinstance(s, ast.InputStmt) and s.role == "target"
