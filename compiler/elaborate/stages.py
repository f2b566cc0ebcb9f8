"""Stages: what an arrow leads into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..diagnostics import Label, did_you_mean, error
from ..graph import EdgeKind, Graph, Instance, Kind, Layer, Node, Ref
from ..ops.base import Op, Refusal
from ..sizes import Verdict, compare
from ..source import Span
from ..syntax import ast
from .labels import Labels
from .limits import check_count
from .modules import Below
from .repeats import Place, Turn, repeat_turn
from .session import Session, bind_parameters
from .settings import make_op, named_settings, read_init
from .static import BUILTINS
from .tensors import TensorEvaluator
from .values import AxisName, Global, Module, Poisoned, Recipe, Tensor, Weight, describe, freeze


class StageEvaluator(TensorEvaluator):
    """Sends tensors through stages."""

    def __init__(self, session: Session, graph: Graph, labels: Labels) -> None:
        super().__init__(session, graph)
        self.labels = labels
        self.passed: dict[str, Layer | Instance] = {}  # module parameters used here, and as what

    # -- chains

    def pipe(self, e: ast.Pipe) -> Any:
        value = self.eval(e.value)
        return self.chain(e.stages, value, Place(), e.value.span)

    def chain(self, stages: Sequence[ast.Stage], value: Any, place: Place, span: Span) -> Any:
        for stage in stages:
            value = self.stage(stage, value, place, span)
            span = stage.span
        return value

    def stage(self, stage: ast.Stage, value: Any, place: Place, before: Span, path: str | None = None) -> Any:
        """One stage. `before` is the span of what enters it; `path` its label, when it has one."""
        self.budget.spend(1, stage.span)
        match stage:
            case ast.Apply():
                return self._apply(stage, value, place, before, path, {})
            case ast.Labelled():
                return self._labelled(stage, value, place, before)
            case ast.Sequence():
                return self._sequence(stage, value, place, before, path)
            case ast.RepeatStage():
                return self._repeat(stage, value, place, before)
            case ast.ForStage():
                for item in self.iterate(stage.iterable):
                    for target, v in zip(
                        stage.targets, self.take_apart(item, len(stage.targets), stage.span), strict=True
                    ):
                        self.bind(target.text, v, target.span)
                    value = self.chain(stage.stages, value, place, before)
                return value
            case ast.IfStage():
                return self.chain(stage.yes if self.truth(stage.condition) else stage.no, value, place, before)
            case ast.Skip():
                return self._skip(stage, value, place, before)
            case ast.Supplied():
                return self._supplied(stage, value, place, before, path)
            case ast.Scan():
                raise error(
                    "A0902", "`scan` is not supported yet", stage.span, help="recurrent cells come in a later version"
                )
        raise AssertionError(stage)

    def _labelled(self, stage: ast.Labelled, value: Any, place: Place, before: Span) -> Any:
        name = self.template(stage.label)
        path = place.prefix + name
        if place.count is not None:
            place.count += 1
        return self.stage(stage.stage, value, Place(place.prefix), before, path)

    def _sequence(self, stage: ast.Sequence, value: Any, place: Place, before: Span, path: str | None) -> Any:
        path = path if path is not None else place.take()
        if path is None:
            return self.chain(stage.stages, value, place, before)
        self.labels.open(path, stage.span)
        return self.chain(stage.stages, value, Place(path + ".", 0), before)

    def _repeat(self, stage: ast.RepeatStage, value: Any, place: Place, before: Span) -> Any:
        count = self.eval(stage.count)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise error(
                "A0416", f"`repeat` needs a whole number of at least 0, found {describe(count)}", stage.count.span
            )
        check_count(count, "`repeat` would take this many turns:", stage.count.span)
        for turn in range(count):
            start, first, entered = self.graph.nx.number_of_nodes(), place.count, value
            value = self.chain(stage.stages, value, place, before)
            if turn and turn + 1 < count and first is not None and _settled(entered, value):
                return repeat_turn(self, Turn(start, first, entered, value), place, count - turn - 1)
        return value

    def _supplied(self, stage: ast.Supplied, value: Any, place: Place, before: Span, path: str | None) -> Any:
        if stage.start:
            raise error("A0902", "`from` gives a cell its initial state, and cells are not supported yet", stage.span)
        inner = stage.stage
        if isinstance(inner, ast.Labelled):
            path = place.prefix + self.template(inner.label)
            if place.count is not None:
                place.count += 1
            place, inner = Place(place.prefix), inner.stage
        if not isinstance(inner, ast.Apply):
            raise error(
                "A0510",
                "`with` belongs to one layer or block",
                stage.span,
                help="put it after the one that takes the data",
            )
        extra: dict[str, tuple[Tensor, Span]] = {}
        for a in stage.extra:
            if a.name is None:
                raise error(
                    "A0510",
                    "what comes `with` is given by name",
                    a.span,
                    help=f"write `with (name={a.value.span.text})`",
                )
            if a.name in extra:
                raise error("A0206", f"`{a.name}` is given twice", a.span)
            extra[a.name] = (self.tensor(self.eval(a.value), a.value.span), a.span)
        return self._apply(inner, value, place, before, path, extra)

    def _skip(self, stage: ast.Skip, value: Any, place: Place, before: Span) -> Any:
        x = self.tensor(
            value if stage.other is None else self.eval(stage.other),
            before if stage.other is None else stage.other.span,
        )
        y = self.chain(stage.stages, value, place, before)
        made = self.tensor(y, stage.span)
        kinds = (EdgeKind.SKIP, EdgeKind.DATA)
        if stage.by == "concat":
            concat = ops.get("concat")
            assert concat is not None
            axis = "C" if "C" in x.type.names and "C" in made.type.names else -1
            return self.apply(concat(axis=axis), (x, made), stage.span, level=place.level, kinds=kinds)[0]
        clash = x.type.rank != made.type.rank or any(
            compare(a, b) is Verdict.REFUTED for a, b in zip(x.type.shape, made.type.shape, strict=False)
        )
        if clash:
            raise error(
                "A0305",
                f"a skip merges tensors of one shape, but {x.type} goes around and {made.type} comes out",
                stage.span,
                labels=[Label(x.span, f"this is {x.type}"), Label(made.span, f"this is {made.type}")],
                help="bring the two to one shape: `skip from shortcut { … }` adds another tensor instead",
            )
        merge = ops.get("mul" if stage.by == "mul" else "add")
        assert merge is not None
        return self.apply(merge(), (x, made), stage.span, level=place.level, kinds=kinds)[0]

    # -- one layer, block or module

    def _apply(
        self,
        stage: ast.Apply,
        value: Any,
        place: Place,
        before: Span,
        path: str | None,
        extra: dict[str, tuple[Tensor, Span]],
    ) -> Any:
        if path is None:
            path = place.take()
        target = self.callee(stage.function)
        operands = self._operands(value, before)
        if isinstance(target, Module):
            if stage.arguments:
                raise error(
                    "A0511",
                    f"`{target.path}` is made already, and takes no settings here",
                    stage.arguments[0].span,
                    labels=[Label(target.span, "its settings stand here")],
                )
            return self._use_module(target, operands, stage, place, extra)
        args, kwargs, spans = self.arguments(target.target, stage.arguments)
        recipe = Recipe(
            target.target, target.args + args, tuple({**dict(target.kwargs), **dict(kwargs)}.items()), stage.span
        )
        if target.args:
            spans = {(k + len(target.args) if isinstance(k, int) else k): s for k, s in spans.items()}
        return self._use(recipe, operands, stage, place, path, extra, spans, None)

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
                raise error("A0208", f"there is no layer or block `{e.text}`", e.span, help=self._like(e.text))
        if isinstance(value, (Recipe, Module)):
            return value
        what = "an arrow leads into a layer, a block or a module"
        if isinstance(value, (Tensor, Weight)):
            help = "two tensors enter a layer as a tuple: `(a, b) -> layer`; arithmetic stands outside the arrow: `a + (b -> relu)`"
            raise error("A0404", f"{what}, found {describe(value)}", e.span, help=help)
        raise error("A0404", f"{what}, found {describe(value)}", e.span)

    def _like(self, name: str) -> str | None:
        known = [*ops.names(), *self.known_names()]
        close = did_you_mean(name, known)
        if close:
            return close
        folded = re.sub(r"(1d|2d|3d)$", "", name.lower().replace("_", ""))
        aliases = {
            "dense": "linear",
            "fc": "linear",
            "softmax2d": "softmax",
            "avgpooling": "avgpool",
            "concatenate": "concat",
            "cat": "concat",
            "permute": "rearrange",
            "view": "reshape",
            "layer_norm": "layernorm",
        }
        match = next((n for n in ops.names() if n.replace("_", "") == folded), aliases.get(folded))
        if match:
            return f"did you mean `{match}`?"
        return "`archc ops` lists the layers" if name not in BUILTINS else None

    def arguments(
        self, target: Global | type[Op], arguments: Sequence[ast.Argument]
    ) -> tuple[tuple, tuple, dict[Any, Span]]:
        """Settings evaluated; their spans by position and name. Axis names and starts are read as such."""
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
                value = read_init(a.value, self.eval)
            else:
                value = self.eval(a.value)
                if isinstance(value, (Tensor, Weight)):
                    raise error(
                        "A0403",
                        f"{describe(value)} stands among the settings of `{target.name}`",
                        a.span,
                        help=f"parentheses configure, arrows carry data: send it in with `(x, …) -> {target.name}(…)` or `with ({a.name or 'name'}=…)`",
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
        return Recipe(
            target.target, target.args + args, tuple({**dict(target.kwargs), **dict(kwargs)}.items()), call.span
        )

    def _use_module(
        self,
        module: Module,
        operands: list[Tensor],
        stage: ast.Apply,
        place: Place,
        extra: dict[str, tuple[Tensor, Span]],
    ) -> Any:
        return self._use(module.recipe, operands, stage, place, module.path, extra, {}, module)

    def _use(
        self,
        recipe: Recipe,
        operands: list[Tensor],
        stage: ast.Apply,
        place: Place,
        path: str | None,
        extra: dict[str, tuple[Tensor, Span]],
        spans: dict[Any, Span],
        module: Module | None,
    ) -> Any:
        if isinstance(recipe.target, type):
            results = self._use_op(recipe.target, recipe, operands, stage, place, path, extra, spans, module)
        else:
            results = self._use_block(recipe.target, recipe, operands, stage, place, path, extra, spans, module)
        return results[0] if len(results) == 1 else results

    def _use_op(
        self,
        op: type[Op],
        recipe: Recipe,
        operands: list[Tensor],
        stage: ast.Apply,
        place: Place,
        path: str | None,
        extra: dict[str, tuple[Tensor, Span]],
        spans: dict[Any, Span],
        module: Module | None,
    ) -> tuple[Tensor, ...]:
        if op.joins and len(operands) > 1:
            concat = ops.get("concat")
            assert concat is not None
            operands = [self.apply(concat(axis=-1), operands, stage.span, level=place.level)[0]]
        settings = named_settings(recipe, op, spans, stage.span)
        made = make_op(op, settings, tuple(t.type for t in operands), self._static_name, spans, stage.span)
        replaced = self._op_operands(made, operands, extra, stage)
        self.infer(
            made, [t.type for t in operands], operands, stage.span, spans
        )  # before weights: their shapes rest on it
        try:
            weights = made.weights(tuple(t.type for t in operands))
        except Refusal as refusal:
            raise self._refused(made, refusal, operands, stage.span, spans) from None
        self._check_replaced(made, weights, replaced, extra, stage)
        if path is None and any(w.name not in dict(replaced) for w in weights):
            path = self.labels.automatic(place.prefix, op.name)
        if path is not None:
            kept = tuple(w for w in weights if w.name not in dict(replaced))
            layer = Layer(made, tuple(t.type for t in operands), kept, stage.span)
            self._own(path, layer, stage.span, module)
        name = "" if path is None else path.rpartition(".")[2]
        return self.apply(
            made,
            operands,
            stage.span,
            name="" if name.isdigit() or module is not None else name,
            module=path,
            level=place.level,
            replaced=replaced,
            spans=spans,
        )

    def _op_operands(
        self, op: Op, operands: list[Tensor], extra: dict[str, tuple[Tensor, Span]], stage: ast.Apply
    ) -> tuple[tuple[str, Tensor], ...]:
        """Checks the number of operands, moves those given by name into place, returns what replaces weights."""
        names = op.operands
        variadic = bool(names) and names[-1].endswith("*")
        for name in names[len(operands) :]:
            if name in extra:
                operands.append(extra.pop(name)[0])
        least = len(names) - op.optional - (1 if variadic else 0)
        if len(operands) < least or (len(operands) > len(names) and not variadic):
            wanted = (
                f"{least} or more" if variadic else str(len(names)) if not op.optional else f"{least} to {len(names)}"
            )
            listing = ", ".join(n.rstrip("*") for n in names)
            raise error(
                "A0306",
                f"`{op.name}` takes {wanted} tensor{'s' if wanted != '1' else ''} ({listing}), and {len(operands)} enter{'s' if len(operands) == 1 else ''}",
                stage.span,
                labels=[Label(t.span, f"this is {t.type}") for t in operands[:3]],
                help=f"several tensors enter as a tuple: `({listing}) -> {op.name}`" if len(names) > 1 else None,
            )
        return tuple((name, tensor) for name, (tensor, _) in extra.items())

    def _check_replaced(
        self, op: Op, weights, replaced, extra: dict[str, tuple[Tensor, Span]], stage: ast.Apply
    ) -> None:
        known = {w.name: w for w in weights if w.role == "param"}
        for name, tensor in replaced:
            span = extra[name][1]
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

    def _static_name(self, name: str) -> Any:
        return self.lookup(name, self.graph.span) if self.has(name) else None

    def _own(self, path: str, made: Layer | Instance, span: Span, module: Module | None) -> None:
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

    def _use_block(
        self,
        target: Global,
        recipe: Recipe,
        operands: list[Tensor],
        stage: ast.Apply,
        place: Place,
        path: str | None,
        extra: dict[str, tuple[Tensor, Span]],
        spans: dict[Any, Span],
        module: Module | None,
    ) -> tuple[Tensor, ...]:
        if isinstance(target.item, ast.Configuration):
            target, recipe = self.configured(target, recipe, stage.span)
        item = target.item
        assert isinstance(item, ast.Definition)
        if item.kind == "cell":
            raise error("A0902", f"`{item.name.text}` is a cell, and cells are not supported yet", stage.span)
        if item.kind == "adversarial":
            raise error("A0903", f"`{item.name.text}` is a game, and games are not supported yet", stage.span)
        arguments, frozen = self._arguments_of(target, item, recipe, spans, stage.span)
        operands = self._block_operands(item, self.session.inputs(item), operands, extra, stage)
        call = self.session.call(target, arguments, frozen, tuple(t.type for t in operands), stage.span)
        if call.made.failed:
            raise Poisoned
        if path is None:
            path = self.labels.automatic(place.prefix, _snake(item.name.text))
        self._own(path, Instance(call.made.graph, stage.span), stage.span, module)
        bindings = self._bindings(arguments, call.made.passed, stage.span)
        name = path.rpartition(".")[2]
        node = Node(
            Kind.CALL,
            call.results,
            name="" if name.isdigit() or module is not None else name,
            graph=call.made.graph,
            module=path,
            sizes=call.sizes,
            bindings=bindings,
            level=place.level,
            span=stage.span,
        )
        number = self.add(node, [t.ref for t in operands])
        return tuple(Tensor(Ref(number, i), t, stage.span, id(self.graph)) for i, t in enumerate(call.results))

    def _arguments_of(
        self, target: Global, item: ast.Definition, recipe: Recipe, spans: dict[Any, Span], place: Span
    ) -> tuple[dict[str, Any], tuple]:
        """A block's arguments with defaults, and their hashable form; remembered, for blocks are used many times over."""
        given = (id(item), freeze(enumerate(recipe.args)), freeze(recipe.kwargs))
        known = self.session.bound.get(given)
        if known is None:
            arguments = bind_parameters(
                item.name.text, item.params, recipe, lambda p, so_far: self.default(target, p, so_far), spans, place
            )
            known = (arguments, freeze(arguments.items()))
            if not any(isinstance(v, Module) for v in arguments.values()):  # those differ by where they live
                self.session.bound[given] = known
        return known

    def _bindings(
        self, arguments: dict[str, Any], passed: dict[str, Layer | Instance], span: Span
    ) -> tuple[tuple[str, str], ...]:
        found = []
        if not passed and not any(isinstance(v, Module) for v in arguments.values()):
            return ()
        for name, value in arguments.items():
            if isinstance(value, Module):
                found.append((name, value.path))
                if name in passed:
                    self._own(value.path, passed[name], span, value)
        return tuple(found)

    def _block_operands(
        self,
        item: ast.Definition,
        inputs: list[ast.InputStmt],
        operands: list[Tensor],
        extra: dict[str, tuple[Tensor, Span]],
        stage: ast.Apply,
    ) -> list[Tensor]:
        name = item.name.text
        listing = ", ".join(i.name.text for i in inputs)
        ordered = list(operands)
        if len(operands) > len(inputs):
            raise error(
                "A0306",
                f"`{name}` takes {len(inputs)} tensor{'s' if len(inputs) != 1 else ''} ({listing or 'none'}), and {len(operands)} enter",
                stage.span,
                labels=[Label(item.name.span, "declared here")],
            )
        for declared in inputs[len(operands) :]:
            if declared.name.text not in extra:
                missing = [i.name.text for i in inputs[len(operands) :] if i.name.text not in extra]
                raise error(
                    "A0306",
                    f"`{name}` also needs {', '.join(f'`{m}`' for m in missing)}",
                    stage.span,
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

    # -- what statements decide

    def bind(self, name: str, value: Any, span: Span) -> None:
        raise NotImplementedError

    def template(self, t: ast.Template) -> str:
        raise NotImplementedError

    def configured(self, target: Global, recipe: Recipe, span: Span) -> tuple[Global, Recipe]:
        raise NotImplementedError

    def default(self, target: Global, param: ast.Param, so_far: dict[str, Any]) -> Any:
        raise NotImplementedError


def _settled(entered: Any, left: Any) -> bool:
    """Did a turn of a `repeat` leave what it was given? Then every later turn is like it."""
    return isinstance(entered, Tensor) and isinstance(left, Tensor) and entered.type == left.type


def _state(made: Layer | Instance) -> list:
    if isinstance(made, Layer):
        return [(w.name, w.shape, w.role) for w in made.made]
    return [(path, w.shape, w.role) for path, w in made.graph.state()]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
