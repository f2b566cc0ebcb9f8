"""Which graphs share a class, and which numbers its constructor takes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

from ..graph import Graph, Instance, Layer, Program
from ..initialisers import scaled
from ..ops.base import Code, Init, WeightSpec
from ..types import TensorType
from .expr import call, constant, name, show
from .facts import Facts, examine
from .least import Asked, asked
from .names import MODULE_ATTRIBUTES, Scope, identifier
from .sizing import shown_size
from .starts import find_shared

if TYPE_CHECKING:
    from .tree import Tree

Place = tuple  # where a number stands: ("m", "conv1", "arg0"), …

_AXES = {"C": "channels", "D": "dim", "E": "dim", "H": "height", "W": "width", "T": "length", "S": "length"}
_POSITIONS = {"arg0": "in", "arg1": "out", "arg2": "third"}


@dataclass
class Plan:
    """One class: the graphs that it serves, and how it is parametrised."""

    name: str
    graphs: list[Graph]
    facts: list[Facts]  # one a graph
    slots: dict[Place, Any]  # the numbers of the first graph
    holes: dict[Place, ast.expr] = field(default_factory=dict)  # those that differ, over the parameters
    parameters: dict[str, str] = field(default_factory=dict)  # name → type
    arguments: dict[int, dict[str, Any]] = field(default_factory=dict)  # by id of a graph
    finder: _Finder | None = None

    @property
    def graph(self) -> Graph:
        return self.graphs[0]

    def hole(self, place: Place, value: Any) -> ast.expr | None:
        """What stands for the number at a place, or None for the number itself."""
        return self.holes.get(place)

    def shape(self, types: Sequence[TensorType]) -> str:
        """A shape as a comment shows it; `types` has one for each graph."""
        parts = []
        for position, axis in enumerate(types[0].axes):
            found = [t.axes[position].size for t in types]
            sizes = [f.local.size(size) for f, size in zip(self.facts, found, strict=True)]
            if all(size == sizes[0] for size in sizes):
                shown: str | None = shown_size(self.graph, sizes[0])
            else:
                shown = self.finder.known(tuple(sizes)) if self.finder else None
            parts.append(shown or axis.name or "_")
        return f"[{', '.join(parts)}]"


class Plans:
    """The classes of a program, callees first; the network's is last."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.facts: dict[int, Facts] = {}
        self.free: dict[int, tuple[str, ...]] = {}
        self.of: dict[int, Plan] = {}
        self.plans: list[Plan] = []
        self._trees: dict[int, Tree] = {}
        self._sizes: dict[int, dict[str, str]] = {}
        self.scope = Scope()
        graphs: dict[int, Graph] = {}
        for root in (program.graph, *program.entries.values()):
            for graph in root.graphs():
                graphs[id(graph)] = graph
        questions: dict[int, Asked] = {}
        entries = {id(graph) for graph in program.entries.values()}
        blocks = [g for i, g in graphs.items() if g is not program.graph and i not in entries]
        for graph in (*blocks, program.graph, *program.entries.values()):
            questions[id(graph)] = asked(graph, questions)
            self.facts[id(graph)] = examine(graph, self.free, questions[id(graph)])
            self.free[id(graph)] = self.facts[id(graph)].unknown
        self.shared = find_shared(program.graph, self.facts)
        self.scope.taken.add(identifier(program.name, "Network"))
        self._group(blocks)
        network = Plan(identifier(program.name, "Network"), [program.graph], [self.facts[id(program.graph)]], {})
        self.of[id(program.graph)] = network
        self.plans.append(network)

    def tree(self, graph: Graph) -> Tree:
        """The modules of the class that serves a graph."""
        from .tree import Tree

        plan = self.of[id(graph)]
        if id(plan) not in self._trees:
            self._trees[id(plan)] = Tree(self, plan, self._entry_helpers() if graph is self.program.graph else None)
        return self._trees[id(plan)]

    def size_parameters(self, graph: Graph) -> dict[str, str]:
        """Symbols that a caller passes to a graph's `forward`, and the keyword of each."""
        return self._sizes[id(self.of[id(graph)])]

    def set_size_parameters(self, plan: Plan, names: dict[str, str]) -> None:
        """Records what the class's `forward` calls the sizes that are passed to it. Callees come before callers."""
        self._sizes[id(plan)] = names

    def _entry_helpers(self) -> dict[str, Graph]:
        """Blocks that only entries run, and that need neither weights nor label."""
        found: dict[str, Graph] = {}
        for entry in self.program.entries.values():
            for at, path in self.facts[id(entry)].helpers.items():
                callee = entry[at].graph
                assert callee is not None
                found[path] = callee
        return found

    def _group(self, blocks: list[Graph]) -> None:
        heights: dict[int, int] = {}
        for graph in blocks:
            callees = {id(g): g for g in _callees(graph)}
            heights[id(graph)] = 1 + max((heights[i] for i in callees), default=-1)
        ready: dict[int, list[Graph]] = {}
        for graph in blocks:
            ready.setdefault(heights[id(graph)], []).append(graph)
        for height in sorted(ready):
            groups: dict[tuple, tuple[list[Graph], list[dict[Place, Any]]]] = {}
            for graph in ready[height]:
                slots: dict[Place, Any] = {}
                structure = (graph.name, *_structure(self, graph, slots))
                members, numbers = groups.setdefault(structure, ([], []))
                members.append(graph)
                numbers.append(slots)
            for members, numbers in groups.values():
                self._plan(members, numbers)
        order = {id(graph): i for i, graph in enumerate(blocks)}
        self.plans.sort(key=lambda plan: order[id(plan.graph)])
        for plan in self.plans:
            plan.name = self.scope.new(plan.graph.name[:1].upper() + plan.graph.name[1:], "Block")

    def _plan(self, members: list[Graph], numbers: list[dict[Place, Any]]) -> None:
        plan = Plan("", members, [self.facts[id(g)] for g in members], numbers[0])
        plan.finder = finder = _Finder(members, _taken(plan))
        for place in numbers[0]:
            vector = tuple(slots[place] for slots in numbers)
            if any(v != vector[0] or type(v) is not type(vector[0]) for v in vector):
                plan.holes[place] = finder.find(vector, _wish(place, plan))
        plan.parameters = {p: type(v[0]).__name__ for p, v in finder.parameters.items()}
        for i, graph in enumerate(members):
            plan.arguments[id(graph)] = {p: vector[i] for p, vector in finder.parameters.items()}
            self.of[id(graph)] = plan
        self.plans.append(plan)


def _callees(graph: Graph) -> Iterator[Graph]:
    for module in graph.modules.values():
        if isinstance(module, Instance):
            yield module.graph
    for number in graph.nx.nodes:
        callee = graph[number].graph
        if callee is not None:
            yield callee


def _taken(plan: Plan) -> set[str]:
    """Attributes that an instance has anyway."""
    paths = [*plan.graph.modules, *plan.graph.weights, *plan.facts[0].helpers.values()]
    return {path.partition(".")[0] for path in paths} | MODULE_ATTRIBUTES


def _wish(place: Place, plan: Plan) -> str:
    """A name for a number that nothing else explains: after its layer and its setting."""
    if place[0] == "a":
        return str(place[2])
    owner = str(place[1])
    if place[0] in ("c", "s"):
        node = plan.graph[plan.facts[0].order[place[1]]]
        owner = node.name or (node.op.name if node.op else "value")
        if owner == "scalar":
            return "factor"
    setting = next((p for p in place[2:] if isinstance(p, str)), "size")
    return f"{owner.replace('.', '_')}_{_POSITIONS.get(setting, setting)}"


# -- structure


def spec_places(path: str, spec: WeightSpec) -> Iterator[tuple[Place, Any]]:
    """The numbers of a weight's construction: its shape and its start."""
    yield ("w", path, spec.name), spec.shape
    yield ("i", path, spec.name), start_values(spec.init)
    if spec.code is not None:
        for key, value in spec.code.values.items():
            yield ("k", path, spec.name, key), value


def start_values(init: Init) -> tuple[float | str, ...]:
    """The numbers of a start. `uniform(-1/√n, 1/√n)` is told by n alone."""
    fan = symmetric_fan(init)
    return init.values if fan is None else (fan,)


def symmetric_fan(init: Init) -> int | None:
    """n, when the start is U(-1/√n, 1/√n)."""
    if init.kind != "uniform":
        return None
    low, high = map(float, init.values)
    if low != -high or high <= 0:
        return None
    fan = round(1 / high**2)
    return fan if fan > 0 and 1 / sqrt(fan) == high else None


def concrete(spec: WeightSpec, layer: Layer | None, constructed: bool) -> WeightSpec:
    """The weight with the start that code must give it: where no nn.Module starts it and nobody said how, as torch.nn
    starts
    linear and convolutional layers, and scales at one."""
    if spec.init.kind == "variance_scaling":
        return replace(spec, init=scaled(spec.init, *_counted(spec, layer)))
    if spec.init.kind != "default" or spec.code is not None or constructed:
        return spec
    matrices = [w for w in (spec, *(layer.made if layer else ())) if len(w.shape) > 1]
    if spec.role == "param" and matrices:
        bound = 1 / sqrt(max(1, prod(matrices[0].shape[1:])))
        return replace(spec, init=Init("uniform", (-bound, bound)))
    return replace(spec, init=Init("constant", (1.0 if spec.name in ("weight", "running_var") else 0.0,)))


def _counted(spec: WeightSpec, layer: Layer | None) -> tuple[tuple[int, ...], int]:
    """The shape of a weight [out, in, …], and the groups that its layer falls into."""
    op = layer.op if layer is not None else None
    return spec.shape[::-1] if stored_inwards(layer) else spec.shape, getattr(op, "groups", 1)


def stored_inwards(layer: Layer | None) -> bool:
    """Does the layer store its weight as [in, out]?"""
    return layer is not None and getattr(layer.op, "layout", "oi") == "io"


def _structure(plans: Plans, graph: Graph, slots: dict[Place, Any]) -> Iterator[Any]:
    """All that decides the code of a graph except its numbers, which land in `slots`."""
    facts = plans.facts[id(graph)]
    yield graph.module_parameters
    for path, module in graph.modules.items():
        yield path
        if isinstance(module, Layer):
            yield _code(facts.layers[path], ("m", path), slots)
            made = facts.layers[path] is not None
            specs = (plans.shared.own(spec, facts.layers[path]) for spec in module.made)
            yield tuple(_spec(path, concrete(spec, module, made), slots) for spec in specs)
        else:
            yield _instance(plans, path, module.graph, slots)
    for path, spec in graph.weights.items():
        yield path, _spec("", concrete(spec, None, False), slots)
    for i, number in enumerate(facts.order):
        node = graph[number]
        yield node.kind, node.name, node.module, node.weight, node.replaced, node.bindings, node.level
        yield facts.overwrites.get(number)
        yield tuple((facts.index[ref.node], ref.result) for ref in graph.operands(number)), len(node.types)
        yield facts.forms[number]
        if number in facts.codes:
            yield _code(facts.codes[number], ("c", i), slots)
        if number in facts.stages:
            yield _code(facts.stages[number], ("s", i), slots)
        if node.graph is not None:
            yield tuple((s, str(size)) for s, size in facts.passed_sizes(number).items())
            if number in facts.helpers:
                yield _instance(plans, facts.helpers[number], node.graph, slots)
            else:
                yield id(plans.of[id(node.graph)])
    for check, span in facts.checks:
        yield check.test, str(check.left), str(check.right), check.message, str(span)
    yield tuple(graph.outputs)
    yield graph.folds


def _instance(plans: Plans, path: str, callee: Graph, slots: dict[Place, Any]) -> Any:
    plan = plans.of[id(callee)]
    for parameter, value in plan.arguments[id(callee)].items():
        slots["a", path, parameter] = value
    return id(plan)


def _spec(path: str, spec: WeightSpec, slots: dict[Place, Any]) -> Any:
    parts = [_abstract(value, place, slots) for place, value in spec_places(path, spec)]
    template = spec.code.template if spec.code is not None else None
    return spec.name, spec.role, spec.dtype, spec.init.kind, symmetric_fan(spec.init) is None, template, tuple(parts)


def _code(code: Code | None, place: Place, slots: dict[Place, Any]) -> Any:
    if code is None:
        return None
    values = tuple((key, _abstract(value, (*place, key), slots)) for key, value in code.values.items())
    return code.template, values


def _abstract(value: Any, place: Place, slots: dict[Place, Any]) -> Any:
    if isinstance(value, tuple | list):
        return type(value), tuple(_abstract(v, (*place, i), slots) for i, v in enumerate(value))
    if isinstance(value, int | float):
        slots[place] = value
        return type(value)
    return repr(value)


# -- numbers


class _Finder:
    """Explains numbers that differ between the graphs of a class: by a static argument of the block, by the size of an
    input, by simple arithmetic on these, or else by a parameter of their own."""

    def __init__(self, graphs: list[Graph], taken: set[str]) -> None:
        self.scope = Scope(taken)
        self.parameters: dict[str, tuple] = {}  # name → values, one a graph
        self._found: dict[tuple, ast.expr] = {}
        self._candidates: dict[str, tuple] = {}
        self._names: dict[str, str] = {}
        arguments = [key for key, value in graphs[0].arguments.items() if isinstance(value, int | float)]
        for key in arguments:
            self._candidate(key, tuple(g.arguments.get(key) for g in graphs))
        for position in range(len(graphs[0].inputs)):
            types = [g[g.inputs[position]].types[0] for g in graphs]
            for i, axis in enumerate(types[0].axes):
                if axis.name is not None:
                    nice = _AXES.get(axis.name, axis.name.lower())
                    wanted = (
                        nice if nice not in arguments and nice not in self._candidates else f"{axis.name.lower()}_in"
                    )
                    self._candidate(wanted, tuple(t.axes[i].size if i < t.rank else None for t in types))

    def _candidate(self, wanted: str, values: tuple) -> None:
        if all(isinstance(v, int | float) for v in values) and len(set(values)) > 1 and wanted not in self._candidates:
            self._candidates[wanted] = values

    def find(self, vector: tuple, wish: str) -> ast.expr:
        """An expression over parameters that has these values."""
        key = tuple((type(v), v) for v in vector)
        if key not in self._found:
            found = self._search(vector)
            self._found[key] = found if found is not None else name(self._own(wish, vector))
        return self._found[key]

    def known(self, vector: tuple) -> str | None:
        """The text of an expression that was found before."""
        found = self._found.get(tuple((type(v), v) for v in vector))
        return show(found) if found is not None else None

    def _own(self, wish: str, vector: tuple) -> str:
        made = self.scope.new(wish, "value")
        self.parameters[made] = vector
        return made

    def _use(self, candidate: str) -> ast.expr:
        if candidate not in self._names:
            self._names[candidate] = self._own(candidate, self._candidates[candidate])
        return name(self._names[candidate])

    def _root(self, vector: tuple) -> ast.expr | None:
        """√n or 1/√n of whole numbers that can be explained: the scale of attention."""
        for exponent in (0.5, -0.5):
            squares = tuple(max(1, round(v ** (1 / exponent))) for v in vector)
            if all(n**exponent == v for n, v in zip(squares, vector, strict=True)):
                found = self._search(squares)
                return ast.BinOp(found, ast.Pow(), constant(exponent)) if found is not None else None
        return None

    def _search(self, vector: tuple) -> ast.expr | None:
        for candidate, values in self._candidates.items():
            if values == vector and all(type(a) is type(b) for a, b in zip(values, vector, strict=True)):
                return self._use(candidate)
        if all(type(v) is float and v > 0 for v in vector):
            return self._root(vector)
        if not all(type(v) is int and v > 0 for v in vector):
            return None
        usable = {c: v for c, v in self._candidates.items() if all(type(x) is int and x > 0 for x in v)}
        for candidate, values in usable.items():
            for factor in range(2, 9):
                if all(factor * a == b for a, b in zip(values, vector, strict=True)):
                    return ast.BinOp(ast.Constant(factor), ast.Mult(), self._use(candidate))
                if all(a == b * factor for a, b in zip(values, vector, strict=True)):
                    return ast.BinOp(self._use(candidate), ast.FloorDiv(), ast.Constant(factor))
        for i, (one, a) in enumerate(usable.items()):
            for two, b in list(usable.items())[i + 1 :]:
                rows = list(zip(a, b, vector, strict=True))
                if all(x * y == v for x, y, v in rows):
                    return ast.BinOp(self._use(one), ast.Mult(), self._use(two))
                if all(x + y == v for x, y, v in rows):
                    return ast.BinOp(self._use(one), ast.Add(), self._use(two))
                if all(x == v * y for x, y, v in rows):
                    return ast.BinOp(self._use(one), ast.FloorDiv(), self._use(two))
                if all(y == v * x for x, y, v in rows):
                    return ast.BinOp(self._use(two), ast.FloorDiv(), self._use(one))
        return None


def construct(plans: Plans, callee: Graph, path: str, inside: Plan) -> ast.expr:
    """`Bottleneck(64, 64, stride=1)`: the first two whole numbers by position, the others by name."""
    plan = plans.of[id(callee)]
    args: list[ast.expr] = []
    kwargs: dict[str, ast.expr] = {}
    for i, (parameter, value) in enumerate(plan.arguments[id(callee)].items()):
        given = inside.hole(("a", path, parameter), value) or constant(value)
        if i < 2 and not kwargs and type(value) is int:
            args.append(given)
        else:
            kwargs[parameter] = given
    return call(name(plan.name), *args, **kwargs)
