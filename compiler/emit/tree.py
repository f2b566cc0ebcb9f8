"""The module tree as code: how submodules are constructed, and how a path is reached."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

from ..graph import Graph, Instance, Layer
from ..initialisers import needs_axes
from ..ops.base import Code, WeightSpec
from ..source import Span
from .expr import attribute, call, constant, dotted, fill, literal, name, show
from .facts import Element, Facts, Form, child_path, constructor_of, is_plain_stage, without_defaults
from .names import DICT_ATTRIBUTES, is_plain
from .plan import Plan, Plans, concrete, construct, stored_inwards, symmetric_fan
from .series import series
from .starts import start_call

_DTYPES = {"int": "torch.int64", "bool": "torch.bool"}


@dataclass
class Branch:
    """One level of the tree. `kind` is root, sequential, list, dict, module or leaf."""

    path: str
    kind: str = ""
    children: dict[str, Branch] = field(default_factory=dict)
    weights: dict[str, WeightSpec] = field(default_factory=dict)
    leaf: Layer | Instance | Graph | None = None  # a Graph: a block that needs no label
    stage: int | None = None  # a node without weights, in a sequence


@dataclass
class Line:
    """A statement of a constructor."""

    target: str
    value: ast.expr
    span: Span | None = None


def grow(facts: Facts, more: dict[str, Graph] | None = None) -> Branch:
    """The tree of what one instance of a graph owns. `more` are further blocks to construct, by attribute."""
    graph = facts.graph
    root = Branch("", "root")
    for path, spec in graph.weights.items():
        above, _, last = path.rpartition(".")
        _descend(root, above).weights[last] = spec
    for path, module in graph.modules.items():
        if isinstance(module, Layer) and facts.layers[path] is None and not module.made:
            continue
        if is_plain_stage(graph, path) and path.rpartition(".")[0] not in facts.sequences:
            continue
        _descend(root, path).leaf = module
    for number, path in facts.helpers.items():
        if facts.forms[number] is not Form.INNER:
            _descend(root, path).leaf = graph[number].graph
    for path, block in (more or {}).items():
        _descend(root, path).leaf = block
    for level, elements in facts.sequences.items():
        _fill_sequence(_descend(root, level), elements)
    _settle(root, facts)
    labels = list(root.children)
    if root.kind == "root" and labels and {*labels} == {str(i) for i in range(len(labels))} and not root.weights:
        root.kind = "list"
        root.children = {str(i): root.children[str(i)] for i in range(len(labels))}
    return root


def _descend(root: Branch, path: str) -> Branch:
    branch = root
    for part in path.split(".") if path else ():
        branch = branch.children.setdefault(part, Branch(child_path(branch.path, part)))
    return branch


def _fill_sequence(branch: Branch, elements: list[Element]) -> None:
    branch.kind = "sequential"
    for position, element in enumerate(elements):
        if str(position) not in branch.children:
            path = child_path(branch.path, str(position))
            branch.children[str(position)] = Branch(path, "leaf", stage=element.node)
    branch.children = {str(i): branch.children[str(i)] for i in range(len(elements))}


def _settle(branch: Branch, facts: Facts) -> None:
    """Decides what each level is."""
    for child in branch.children.values():
        _settle(child, facts)
    if branch.kind:
        return
    labels = list(branch.children)
    if branch.leaf is not None or branch.stage is not None:
        branch.kind = "leaf"
    elif labels and not branch.weights and {*labels} == {str(i) for i in range(len(labels))}:
        branch.kind = "list"
        branch.children = {str(i): branch.children[str(i)] for i in range(len(labels))}
    elif labels and not any(label in DICT_ATTRIBUTES for label in labels):
        branch.kind = "dict"
    else:
        branch.kind = "module"


class Tree:
    """Code for one class's modules."""

    def __init__(self, plans: Plans, plan: Plan, more: dict[str, Graph] | None = None) -> None:
        self.plans, self.plan, self.facts = plans, plan, plan.facts[0]
        self.root = grow(self.facts, more)

    # -- reaching

    def reach(self, path: str, start: ast.expr | None = None) -> ast.expr:
        """The expression for what lives at a path: `self.transformer.h[0]`."""
        branch: Branch | None = self.root
        expression = start or name("self")
        parts = path.split(".")
        for i, part in enumerate(parts):
            if branch is None:
                expression = member(expression, "module", part)
                continue
            expression = member(expression, branch.kind, part)
            branch = branch.children.get(part)
            if branch is not None and isinstance(branch.leaf, Instance) and not branch.children and i + 1 < len(parts):
                inner = self.plans.tree(branch.leaf.graph)
                return inner.reach(".".join(parts[i + 1 :]), expression)
        return expression

    def list_length(self, path: str) -> int | None:
        """How many elements an nn.ModuleList at a path has; None when no such list is there."""
        kind, labels = self.container(path)
        return len(labels) if kind == "list" else None

    def container(self, path: str) -> tuple[str, list[str]]:
        """The kind of the level at a path, and its labels."""
        branch: Branch | None = self.root
        for part in path.split("."):
            branch = branch.children.get(part) if branch is not None else None
        return (branch.kind, list(branch.children)) if branch is not None else ("", [])

    # -- constructing

    @property
    def base(self) -> str:
        """What the class derives from: a container when its labels are 0, 1, 2 …"""
        return {"sequential": "nn.Sequential", "list": "nn.ModuleList"}.get(self.root.kind, "nn.Module")

    def start(self) -> ast.Call:
        """The call of the base's constructor."""
        made = self._construct(self.root) if self.root.kind != "root" else call("nn.Module")
        assert isinstance(made, ast.Call)
        return call(attribute(call("super"), "__init__"), *made.args)

    def elements(self) -> list[Span | None]:
        """Where the elements of a class that is one sequence come from."""
        if self.root.kind != "sequential":
            return []
        graph = self.facts.graph
        return [graph[e.node].span if e.node is not None else None for e in self.facts.sequences[""]]

    def lines(self) -> Iterator[Line]:
        """The statements of the constructor after it called its base's, in the order of `state_dict`."""
        if self.root.kind != "root":
            yield from self._after(self.root)
            return
        yield from self._weights(self.root)
        for label, child in self.root.children.items():
            yield from self._child(name("self"), label, child)

    def _child(self, owner: ast.expr, label: str, child: Branch) -> Iterator[Line]:
        yield _assign(owner, label, self._construct(child), self._span(child))
        yield from self._after(child)

    def _span(self, branch: Branch) -> Span | None:
        if isinstance(branch.leaf, Layer | Instance):
            return branch.leaf.span
        return None

    def _after(self, branch: Branch) -> Iterator[Line]:
        """What a constructed level still needs: what its container could not take, bare tensors, starts."""
        if branch.kind in {"module", "leaf"}:
            for label, child in branch.children.items():
                yield from self._child(self.reach(branch.path), label, child)
        else:
            for child in branch.children.values():
                yield from self._after(child)
        yield from self._weights(branch)
        if isinstance(branch.leaf, Layer):
            yield from self._starts(branch.path, branch.leaf)

    def _construct(self, branch: Branch) -> ast.expr:
        if branch.stage is not None:
            place = ("s", self.facts.index[branch.stage])
            node = self.facts.graph[branch.stage]
            if node.graph is not None:
                return construct(self.plans, node.graph, self.facts.helpers[branch.stage], self.plan)
            made = self._code(self.facts.stages[branch.stage], place)
            torch_class = self.plan.hole((*place, "class"), None)
            in_place = self.plan.hole((*place, "inplace"), None)
            assert isinstance(made, ast.Call)
            made.func = torch_class or made.func
            made.keywords = [ast.keyword("inplace", in_place)] if in_place is not None else made.keywords
            return made
        match branch.leaf:
            case Layer():
                return self._layer(branch.path, branch.leaf)
            case Instance():
                return construct(self.plans, branch.leaf.graph, branch.path, self.plan)
            case Graph():
                return construct(self.plans, branch.leaf, branch.path, self.plan)
        children = [self._construct(child) for child in branch.children.values()]
        match branch.kind:
            case "sequential":
                return call("nn.Sequential", *_runs(children))
            case "list":
                runs = _runs(children)
                whole = runs[0].value if len(runs) == 1 and isinstance(runs[0], ast.Starred) else None
                return call("nn.ModuleList", whole or ast.List(runs, ast.Load()))
            case "dict":
                labels = list(branch.children)
                whole = series(labels, children) if "i" not in self.plan.parameters else None
                keys: list[ast.expr | None] = [ast.Constant(label) for label in labels]
                return call("nn.ModuleDict", whole or ast.Dict(keys, children))
        return call("nn.Module")

    def _layer(self, path: str, layer: Layer) -> ast.expr:
        code = constructor_of(self.facts, path, layer)
        if code is not None:
            return self._code(code, ("m", path))
        if all(spec.role == "param" and spec.name not in DICT_ATTRIBUTES for spec in layer.made):
            keys: list[ast.expr | None] = [ast.Constant(spec.name) for spec in layer.made]
            return call("nn.ParameterDict", ast.Dict(keys, [self._empty(path, spec) for spec in layer.made]))
        return call("nn.Module")

    def _code(self, code: Code, place: tuple) -> ast.expr:
        def what(hole: str) -> ast.expr | None:
            return None if hole in ("device", "dtype") else literal(code.values[hole], self.plan.hole, (*place, hole))

        return without_defaults(fill(code, what))

    # -- tensors

    def _empty(self, path: str, spec: WeightSpec, function: str = "torch.empty") -> ast.expr:
        shape = [literal(n, self.plan.hole, ("w", path, spec.name, i)) for i, n in enumerate(spec.shape)]
        if not shape:
            shape = [ast.Tuple([], ast.Load())]
        dtype = {"dtype": dotted(_DTYPES[spec.dtype])} if spec.dtype in _DTYPES else {}
        return call(function, *shape, **dtype)

    def _weights(self, branch: Branch) -> Iterator[Line]:
        """Bare tensors: `param`, `buffer`, `const`."""
        owner = self.reach(branch.path) if branch.path else name("self")
        for label, spec in branch.weights.items():
            yield from self._tensor(owner, label, "", concrete(spec, None, False))

    def _tensor(self, owner: ast.expr, label: str, path: str, spec: WeightSpec) -> Iterator[Line]:
        if spec.role == "param":
            value, started = self._started(path, spec)
            yield _assign(owner, label, call("nn.Parameter", value), None, "register_parameter")
            if not started:
                yield from self._start(member(owner, "module", label), path, spec)
            return
        if spec.code is not None:
            place = ("k", path, spec.name)
            value = self._code(spec.code, place)
        else:
            value = self._started(path, spec)[0]
        extra = {} if spec.role == "buffer" else {"persistent": ast.Constant(False)}
        yield Line("", call(attribute(owner, "register_buffer"), ast.Constant(label), value, **extra))

    def _started(self, path: str, spec: WeightSpec) -> tuple[ast.expr, bool]:
        """A new tensor, and whether it has its values already."""
        init = spec.init
        if init.kind == "constant" or (init.kind == "default" and spec.role != "param"):
            value = init.values[0] if init.values else 0
            given = literal(value, self.plan.hole, ("i", path, spec.name, 0))
            if value in (0, 1) and spec.shape and isinstance(given, ast.Constant):
                return self._empty(path, spec, "torch.zeros" if value == 0 else "torch.ones"), True
            if not spec.shape:
                return call("torch.tensor", _as_float(given) if spec.dtype == "float" else given), True
            shape = [literal(n, self.plan.hole, ("w", path, spec.name, i)) for i, n in enumerate(spec.shape)]
            return call("torch.full", ast.Tuple(shape, ast.Load()), _as_float(given)), True
        return self._empty(path, spec), False

    def _starts(self, path: str, layer: Layer) -> Iterator[Line]:
        """How a layer's weights start, where its nn.Module would start them otherwise or there is none."""
        where = self.reach(path)
        code = constructor_of(self.facts, path, layer)
        plain = code is None and any(spec.role != "param" or spec.name in DICT_ATTRIBUTES for spec in layer.made)
        for spec in layer.made:
            spec = concrete(self.plans.shared.own(spec, code), layer, code is not None)
            if plain:
                yield from self._tensor(where, spec.name, path, spec)
            elif spec.init.kind != "default":
                tensor = where
                for part in spec.name.split("."):
                    tensor = member(tensor, "module", part)
                yield from self._start(attribute(tensor, "T") if _turned(spec, layer) else tensor, path, spec)

    def _start(self, where: ast.expr, path: str, spec: WeightSpec) -> Iterator[Line]:
        fan = symmetric_fan(spec.init)
        place = ("i", path, spec.name)
        if fan is not None:
            bound = ast.BinOp(literal(fan, self.plan.hole, (*place, 0)), ast.Pow(), constant(-0.5))
            yield Line("", call("nn.init.uniform_", where, ast.UnaryOp(ast.USub(), bound), bound))
            return
        yield Line("", start_call(spec.init, where, self.plan.hole, place))

    def exceptions(self) -> Iterator[Line]:
        """Starts that differ from what all other layers of their class share."""
        for path, layer, spec in self.plans.shared.exceptions:
            where = member(self.reach(path), "module", spec.name)
            init = concrete(spec, layer, True).init
            yield Line("", start_call(init, where, lambda place, value: None, ()), layer.span)


def _turned(spec: WeightSpec, layer: Layer) -> bool:
    """Does nn.init count the fans of a weight that is stored the other way around?"""
    return stored_inwards(layer) and needs_axes(spec.init)


def _as_float(value: ast.expr) -> ast.expr:
    if isinstance(value, ast.Constant) and isinstance(value.value, int):
        return constant(float(value.value))
    if isinstance(value, ast.UnaryOp):
        return ast.UnaryOp(value.op, _as_float(value.operand))
    return value


def member(owner: ast.expr, kind: str, label: str) -> ast.expr:
    """One step down from a level of a kind."""
    if kind in ("sequential", "list"):
        return ast.Subscript(owner, ast.Constant(int(label)), ast.Load())
    if is_plain(label) and not (kind == "dict" and label in DICT_ATTRIBUTES):
        return attribute(owner, label)
    if kind == "dict":
        return ast.Subscript(owner, ast.Constant(label), ast.Load())
    return call("getattr", owner, ast.Constant(label))


def _assign(owner: ast.expr, label: str, value: ast.expr, span: Span | None, register: str = "add_module") -> Line:
    """`owner.label = value`, or what does the same for a label that can't stand after a dot."""
    if is_plain(label):
        return Line(f"{show(owner)}.{label} = ", value, span)
    return Line("", call(attribute(owner, register), ast.Constant(label), value), span)


def _runs(children: list[ast.expr]) -> list[ast.expr]:
    """Equal neighbours, three or more, as one comprehension."""
    result: list[ast.expr] = []
    for _, group in groupby(children, key=show):
        run = list(group)
        if len(run) < 3:
            result += run
            continue
        loop = ast.comprehension(target=name("_"), iter=call("range", ast.Constant(len(run))), ifs=[], is_async=0)
        result.append(ast.Starred(ast.ListComp(run[0], [loop]), ast.Load()))
    return result
