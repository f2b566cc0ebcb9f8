"""One layer, block or module: what it is, its settings, what enters it, where its weights live."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import ops
from ..diagnostics import Label, did_you_mean, error
from ..graph import Graph, Instance, Kind, Layer, Node
from ..ops.base import Op, Refusal, WeightSpec
from ..source import Span
from ..syntax import ast
from .cells import Run, no_cell, no_states, use_cell
from .families import Handed, read_by_defaults
from .labels import Labels
from .modules import Below
from .repeats import Place
from .session import Made, Session, bind_parameters
from .settings import check_start, make_op, named_settings, read_init
from .starts import Starts
from .suggestions import similar
from .tensors import TensorEvaluator
from .values import POISON, AxisName, Global, Module, Poisoned, Recipe, Tensor, Weight, describe, freeze


@dataclass(slots=True)
class Use:
    """One use of a layer, block or module.

    path: where its weights live; the label, when it has one. extra: what comes `with` it, by name. spans: those of its
    settings, by name and position. handed: parameters of the body around it that stand among them, keyed alike.
    module: the shared instance, when it is one. run: how a cell is to run, unless it takes one step. starts: what its
    states start `from`, by name.
    """

    span: Span
    place: Place
    path: str | None = None
    extra: dict[str, tuple[Tensor, Span]] = field(default_factory=dict)
    operands: list[Tensor] = field(default_factory=list)
    spans: dict[Any, Span] = field(default_factory=dict)
    handed: dict[int | str, str] = field(default_factory=dict)
    module: Module | None = None
    run: Run | None = None
    starts: dict[str, tuple[Tensor, Span]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the author called it: the last part of its label, unless that is a number."""
        name = "" if self.path is None or self.module is not None else self.path.rpartition(".")[2]
        return "" if name.isdigit() else name


class Applier(TensorEvaluator):
    """Applies layers, blocks and modules to tensors."""

    def __init__(self, session: Session, graph: Graph, labels: Labels, starts: Starts | None = None) -> None:
        super().__init__(session, graph)
        self.labels = labels
        self.starts = starts or Starts(session)
        self.passed: dict[str, Layer | Instance] = {}  # module parameters used here, and as what
        self.unread: set[str] = set()  # parameters that are numbers and at whose value nothing has looked
        self.handed: dict[int, Handed] = {}  # by node: what of these it was given

    def use(self, stage: ast.Apply, value: Any, before: Span, use: Use) -> Any:
        """Sends a value (`before` is where it came from) through a layer, a block or a module."""
        if use.path is None:
            use.path = use.place.take()
        target = self.callee(stage.function)
        use.operands = self._operands(value, before)
        if isinstance(target, Module):
            if stage.arguments:
                raise error(
                    "A0511",
                    f"`{target.path}` is made already, and takes no settings here",
                    stage.arguments[0].span,
                    labels=[Label(target.span, "its settings stand here")],
                )
            use.path, use.module = target.path, target
            return self._send(target.recipe, use)
        args, kwargs, spans = self.arguments(target.target, stage.arguments, use.handed)
        recipe = _with_settings(target, args, kwargs, stage.span)
        if target.args:
            spans = {(k + len(target.args) if isinstance(k, int) else k): s for k, s in spans.items()}
            self._read(use.handed.values())
            use.handed = {}
        use.spans = spans
        return self._send(recipe, use)

    def through(self, module: Module, operands: list[Tensor], span: Span, extra: dict[str, tuple[Tensor, Span]]) -> Any:
        """Sends tensors through a module, and further ones by name."""
        return self._send(module.recipe, Use(span, Place(), module.path, extra, operands, module=module))

    def _operands(self, value: Any, span: Span) -> list[Tensor]:
        values = value if isinstance(value, tuple) else (value,)
        return [self.tensor(v, span) for v in values]

    def callee(self, e: ast.Expr) -> Recipe | Module:
        """What an arrow leads into: a layer's name first means the layer."""
        if not isinstance(e, ast.Name):
            value = self.eval(e)
        else:
            value = self.lookup(e.text, e.span) if self.has(e.text) else None
            if not isinstance(value, (Recipe, Module)):
                op = ops.get(e.text)
                if op is not None and not op.hidden:
                    return Recipe(op, span=e.span)
            if value is None:
                raise error(
                    "A0208", f"there is no layer or block `{e.text}`", e.span, help=similar(e.text, self.known_names())
                )
        if isinstance(value, (Recipe, Module)):
            return value
        if value is POISON:
            raise Poisoned
        what = "an arrow leads into a layer, a block or a module"
        if isinstance(value, (Tensor, Weight)):
            help = "several tensors enter as a tuple: `(a, b) -> layer`; arithmetic is outside: `a + (b -> relu)`"
            raise error("A0404", f"{what}, found {describe(value)}", e.span, help=help)
        raise error("A0404", f"{what}, found {describe(value)}", e.span)

    def arguments(
        self, target: Global | type[Op], arguments: Sequence[ast.Argument], handed: dict[int | str, str] | None = None
    ) -> tuple[tuple, tuple, dict[Any, Span]]:
        """Settings evaluated; their spans by position and name. Axis names and starts are read as such. `handed` takes
        note of the parameters that are handed on unread."""
        op = target if isinstance(target, type) else None
        fields = op.fields() if op else ()
        axes = op.axis_settings() if op else frozenset()
        args: list[Any] = []
        kwargs: list[tuple[str, Any]] = []
        spans: dict[Any, Span] = {}
        for a in arguments:
            position = len(args)
            name = a.name if a.name is not None else (fields[position] if position < len(fields) else None)
            if name in axes:
                value = self._axis_setting(a.value)
            elif op is not None and name is not None and (name == "init" or name.endswith("_init")) and name in fields:
                value = read_init(a.value, self)
            elif handed is not None and isinstance(a.value, ast.Name) and a.value.text in self.unread:
                value = self.names[a.value.text]
                handed[position if a.name is None else a.name] = a.value.text
            else:
                value = self.eval(a.value)
                if isinstance(value, (Tensor, Weight)):
                    raise error(
                        "A0403",
                        f"{describe(value)} stands among the settings of `{target.name}`",
                        a.span,
                        help="parentheses configure, arrows carry data: "
                        f"`(x, …) -> {target.name}(…)`, or `with ({a.name or 'name'}=…)`",
                    )
                if isinstance(value, range) and op is not None:
                    value = tuple(value)
            if a.name is None:
                spans[position] = a.span
                args.append(value)
            else:
                spans[a.name] = a.span
                kwargs.append((a.name, value))
        return tuple(args), tuple(kwargs), spans

    def _axis_setting(self, e: ast.Expr) -> Any:
        if isinstance(e, ast.Name):
            return AxisName(e.text)
        if isinstance(e, (ast.ListExpr, ast.TupleExpr)):
            return tuple(self._axis_setting(i) for i in e.items)
        return self.eval(e)

    def recipe(self, call: ast.Call | ast.Name) -> Any:
        """A layer or block as a value: `batchnorm(eps=1e-3)`."""
        name = call.function if isinstance(call, ast.Call) else call
        target = self.callee(name)
        if isinstance(target, Module) or not isinstance(call, ast.Call):
            return target
        args, kwargs, _ = self.arguments(target.target, call.arguments)
        return _with_settings(target, args, kwargs, call.span)

    def _send(self, recipe: Recipe, use: Use) -> Any:
        results = (
            self._use_op(recipe.target, recipe, use)
            if isinstance(recipe.target, type)
            else self._use_block(recipe, use)
        )
        return results[0] if type(results) is tuple and len(results) == 1 else results

    # -- ops

    def _use_op(self, op: type[Op], recipe: Recipe, use: Use) -> tuple[Tensor, ...]:
        if op.joins and len(use.operands) > 1:
            joined = self.apply(ops.require("concat")(axis=-1), use.operands, use.span, level=use.place.level)
            use.operands = [joined[0]]
        if use.run is not None:
            raise no_cell(recipe, use.span)
        if use.starts:
            raise no_states(recipe, use.span)
        made = self._made(op, recipe, use)
        replaced = self._op_operands(made, use)
        types = tuple([t.type for t in use.operands])
        results = self.infer(made, types, use.operands, use.span, use.spans)  # before weights: their shapes rest on it
        try:
            kept = self.session.weights(made, types)
        except Refusal as refusal:
            raise self._refused(made, refusal, use.operands, use.span, use.spans) from None
        if replaced:
            self._check_replaced(made, kept, replaced, use)
            kept = tuple(w for w in kept if w.name not in dict(replaced))
        for spec in kept:
            check_start(spec, use.span, op.name)
        if self.starts.rules:
            kept = self.starts.applied(made, kept)
        if use.path is None and kept:
            use.path = self.labels.automatic(use.place.prefix, op.name)
        if use.path is not None:
            self.own(use.path, Layer(made, types, kept, use.span), use.span, use.module)
        node = Node(
            Kind.OP,
            results,
            name=use.name,
            op=made,
            module=use.path,
            replaced=tuple([n for n, _ in replaced]),
            level=use.place.level,
            span=use.span,
        )
        tensors = self.place(node, [*[t.ref for t in use.operands], *[t.ref for _, t in replaced]], use.span)
        if use.handed:
            self._hand(tensors[0].ref.node, op.fields(), use.handed)
        return tensors

    def _made(self, op: type[Op], recipe: Recipe, use: Use) -> Op:
        """The op with its settings checked; one object for all equal ones, unless it names axes of its operands."""
        key = None
        if op.extra is None and not op.axis_settings():
            key = (op, freeze(enumerate(recipe.args)), freeze(recipe.kwargs))
            known = self.session.ops.get(key)
            if known is not None:
                return known
        settings = named_settings(recipe.args, recipe.kwargs, op, use.spans, use.span)
        types = tuple(t.type for t in use.operands)
        made = make_op(op, settings, types, lambda n: self._static_name(n, use.span), use.spans, use.span)
        if key is not None:
            self.session.ops[key] = made
        return made

    def _hand(
        self, number: int, known: Sequence[str], handed: dict[int | str, str], callee: Made | None = None
    ) -> None:
        """Notes which settings of a node are parameters of this body. A block that looked at one has read it."""
        settings = {known[key] if isinstance(key, int) else key: parameter for key, parameter in handed.items()}
        if callee is not None:
            told = read_by_defaults(callee.item, settings)
            self._read(p for s, p in settings.items() if told or s not in callee.numbers)
        self.handed[number] = Handed(settings, callee)

    def bind_local(self, name: str, value: Any) -> Any:
        self.unread.discard(name)  # the name means something else for a while
        return super().bind_local(name, value)

    def _read(self, parameters: Iterable[str]) -> None:
        """The values of these parameters decide something here."""
        self.unread.difference_update(parameters)

    def _op_operands(self, op: Op, use: Use) -> tuple[tuple[str, Tensor], ...]:
        """Checks the number of operands, moves those given by name into place, returns what replaces weights."""
        names, operands = op.operands, use.operands
        variadic = bool(names) and names[-1].endswith("*")
        for name in names[len(operands) :]:
            if name in use.extra:
                operands.append(use.extra.pop(name)[0])
        least = len(names) - op.optional - (1 if variadic else 0)
        if len(operands) < least or (len(operands) > len(names) and not variadic):
            most = (
                f"{least} or more" if variadic else str(len(names)) if not op.optional else f"{least} to {len(names)}"
            )
            listing = ", ".join(n.rstrip("*") for n in names)
            raise error(
                "A0306",
                f"`{op.name}` takes {_tensors(most)} ({listing}), and {_enter(len(operands))}",
                use.span,
                labels=[Label(t.span, f"this is {t.type}") for t in operands[:3]],
                help=f"several tensors enter as a tuple: `({listing}) -> {op.name}`" if len(names) > 1 else None,
            )
        return tuple((name, tensor) for name, (tensor, _) in use.extra.items())

    @staticmethod
    def _check_replaced(
        op: Op, weights: Sequence[WeightSpec], replaced: tuple[tuple[str, Tensor], ...], use: Use
    ) -> None:
        normed = getattr(op, "spectral_norm", False)  # what norms its weight makes all of them
        known = {} if normed else {w.name: w for w in weights if w.role == "param"}
        for name, tensor in replaced:
            span = use.extra[name][1]
            if name not in known:
                options = [*known, *op.operands[1:]]
                listing = ", ".join(f"`{k}`" for k in options) or "nothing"
                raise error(
                    "A0512",
                    f"`{op.name}` has no `{name}` that could be given",
                    span,
                    help=did_you_mean(name, options) or f"what can come `with` it: {listing}",
                )
            if tensor.type.shape != known[name].shape:
                raise error(
                    "A0307",
                    f"`{name}` of `{op.name}` must be {list(known[name].shape)}, found {tensor.type}",
                    span,
                    labels=[Label(tensor.span, f"this is {tensor.type}")],
                )

    def _static_name(self, name: str, span: Span) -> Any:
        """A name's static value, where an axis is given by number; a size's name never means its size there."""
        return None if name in self.size_names() or not self.has(name) else self.lookup(name, span)

    def own(self, path: str, made: Layer | Instance, span: Span, module: Module | None) -> None:
        """Registers what lives at a path. A shared module must own the same weights at every use."""
        if module is None:
            self.labels.claim(path, span)
            self.graph.modules[path] = made
            return
        if module.made is None:
            module.made = made
            if module.foreign:
                self.passed[module.path] = made
            else:
                self.graph.modules[path] = made
            return
        if _state(module.made) != _state(made):
            raise error(
                "A0308",
                f"`{module.path}` can't be shared here: its weights were made for another input",
                span,
                labels=[Label(module.made.span or module.span, "its first use")],
                help="weights fit one size of the axes they act on; make a second module",
            )

    # -- blocks

    def _use_block(self, recipe: Recipe, use: Use) -> Any:
        target = recipe.target
        assert isinstance(target, Global)
        if isinstance(target.item, ast.Configuration):
            target, recipe = self.configured(target, recipe, use.span)
            self._read(use.handed.values())
            use.handed = {}
        item = target.item
        assert isinstance(item, ast.Definition)
        if item.kind == "adversarial":
            help = "a game holds networks; send data through one of them"
            raise error("A0550", f"`{item.name.text}` is a game, and no layer", use.span, help=help)
        if item.kind == "cell":
            self._read(use.handed.values())
            path = use.path or self.labels.automatic(use.place.prefix, _snake(item.name.text))
            return use_cell(self, recipe, use, path)
        if use.run is not None:
            raise no_cell(recipe, use.span)
        if use.starts:
            raise no_states(recipe, use.span)
        arguments, frozen = self.arguments_of(target, item, recipe, use)
        operands = self.block_operands(item, self.session.inputs(item), use)
        call = self.session.call(target, arguments, frozen, tuple(t.type for t in operands), self.starts, use.span)
        if call.made.failed:
            raise Poisoned
        if use.path is None:
            use.path = self.labels.automatic(use.place.prefix, _snake(item.name.text))
        self.own(use.path, Instance(call.made.graph, use.span), use.span, use.module)
        node = Node(
            Kind.CALL,
            call.results,
            name=use.name,
            graph=call.made.graph,
            module=use.path,
            sizes=call.sizes,
            bindings=self.bindings(arguments, call.made.passed, use.span),
            level=use.place.level,
            span=use.span,
        )
        tensors = self.place(node, [t.ref for t in operands], use.span)
        if use.handed:
            self._hand(tensors[0].ref.node, [p.name for p in item.params], use.handed, call.made)
        return tensors

    def arguments_of(
        self, target: Global, item: ast.Definition, recipe: Recipe, use: Use
    ) -> tuple[dict[str, Any], tuple]:
        """A block's arguments with defaults, and their hashable form; remembered, for blocks are used many times."""
        given = (id(item), freeze(enumerate(recipe.args)), freeze(recipe.kwargs))
        known = self.session.bound.get(given)
        if known is None:
            arguments = bind_parameters(
                item, recipe, lambda p, so_far: self.default(target, p, so_far), use.spans, use.span
            )
            known = (arguments, freeze(arguments.items()))
            if not any(isinstance(v, Module) for v in arguments.values()):  # those differ by where they live
                self.session.bound[given] = known
        return known

    def bindings(
        self, arguments: dict[str, Any], passed: dict[str, Layer | Instance], span: Span
    ) -> tuple[tuple[str, str], ...]:
        found = []
        if not passed and not any(isinstance(v, Module) for v in arguments.values()):
            return ()
        for name, value in arguments.items():
            if isinstance(value, Module):
                found.append((name, value.path))
                if name in passed:
                    self.own(value.path, passed[name], span, value)
        return tuple(found)

    @staticmethod
    def block_operands(item: ast.Definition, inputs: list[ast.InputStmt], use: Use) -> list[Tensor]:
        """The operands in the order of the block's inputs, those given by name included."""
        name, operands, extra = item.name.text, use.operands, use.extra
        listing = ", ".join(i.name.text for i in inputs)
        ordered = list(operands)
        if len(operands) > len(inputs):
            raise error(
                "A0306",
                f"`{name}` takes {_tensors(str(len(inputs)))} ({listing or 'none'}), and {_enter(len(operands))}",
                use.span,
                labels=[Label(item.name.span, "declared here")],
            )
        for declared in inputs[len(operands) :]:
            if declared.name.text not in extra:
                missing = [i.name.text for i in inputs[len(operands) :] if i.name.text not in extra]
                raise error(
                    "A0306",
                    f"`{name}` also needs {', '.join(f'`{m}`' for m in missing)}",
                    use.span,
                    labels=[Label(declared.span, "declared here")],
                    help=f"send `({listing}) -> {name}`, or add `with ({missing[0]}=…)`",
                )
            ordered.append(extra.pop(declared.name.text)[0])
        for key, (_, span) in extra.items():
            first = key in [i.name.text for i in inputs]
            raise error(
                "A0206" if first else "A0512",
                f"`{key}` of `{name}` is given twice" if first else f"`{name}` has no input `{key}`",
                span,
                help=None if first else (did_you_mean(key, [i.name.text for i in inputs]) or f"its inputs: {listing}"),
            )
        return ordered

    def module_attribute(self, module: Module, e: ast.Attribute) -> Any:
        """`E.weight`, and what lives below a block: `transformer.wte.weight`."""
        if module.made is None:
            raise error(
                "A0513",
                f"`{module.path}` has no weights before it is used",
                e.span,
                labels=[Label(module.span, "declared here")],
                help="the sizes of its weights follow from what enters it: use it first",
            )
        return Below(module.path, module.made, module).get(e)

    # -- what bodies decide

    def size_names(self) -> Iterable[str]:
        """Names that stand for sizes of axes."""
        raise NotImplementedError

    def configured(self, target: Global, recipe: Recipe, span: Span) -> tuple[Global, Recipe]:
        """A configuration as the definition that it configures, with both sets of arguments."""
        raise NotImplementedError

    def default(self, target: Global, param: ast.Param, so_far: dict[str, Any]) -> Any:
        """A parameter's default, in the scope of its file and the parameters before it."""
        raise NotImplementedError


def _with_settings(recipe: Recipe, args: tuple, kwargs: tuple, span: Span) -> Recipe:
    """The recipe with further settings; those given by name win over earlier ones."""
    return Recipe(recipe.target, recipe.args + args, tuple({**dict(recipe.kwargs), **dict(kwargs)}.items()), span)


def _tensors(count: str) -> str:
    return f"{count} tensor{'' if count == '1' else 's'}"


def _enter(count: int) -> str:
    return f"{count} enter{'s' if count == 1 else ''}"


def _state(made: Layer | Instance) -> list:
    if isinstance(made, Layer):
        return [(w.name, w.shape, w.role) for w in made.made]
    return [(path, w.shape, w.role) for path, w in made.graph.state()]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
