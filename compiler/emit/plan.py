"""Which graphs share a class, and which numbers its constructor takes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

from ..graph import Graph, Instance, Layer, Node, Program
from ..initialisers import scaled
from ..ops.base import Code, Init, WeightSpec
from ..types import TensorType
from .expr import call, constant, dotted, name
from .facts import Facts, Form, examine
from .finder import SETTINGS, Finder, Named, default
from .least import Asked, asked
from .names import MODULE_ATTRIBUTES, Scope, identifier
from .recurrences import Extractor, scan_names
from .relatives import relative
from .sizing import shown_size
from .starts import find_shared

if TYPE_CHECKING:
    from .tree import Tree

Place = tuple  # where a number stands: ("m", "conv1", "arg0"), …

_SIZES = ("kernel_size", "stride", "padding", "dilation")  # settings that are one number, or one an axis
_IN_PLACE = "inplace=True)"
_OVERWRITING = ("nn.ReLU", "nn.ReLU6", "nn.SiLU", "nn.Hardswish", "nn.Hardsigmoid")  # torch saves what they need
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
    finder: Finder | None = None

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

    def __init__(self, program: Program, *, standalone: bool = False) -> None:
        self.program = program
        extractor = None if standalone else Extractor()
        self.facts: dict[int, Facts] = {}
        self.free: dict[int, tuple[str, ...]] = {}
        self.of: dict[int, Plan] = {}
        self.plans: list[Plan] = []
        self._trees: dict[int, Tree] = {}
        self._sizes: dict[int, dict[str, str]] = {}
        self._scans: dict[int, dict[str, str]] = {}
        self.scope = Scope()
        graphs: dict[int, Graph] = {}
        for root in (program.graph, *program.entries.values()):
            for graph in root.graphs():
                graphs[id(graph)] = graph
        questions: dict[int, Asked] = {}
        examined: dict[int, Facts] = {}  # by structure
        entries = {id(graph) for graph in program.entries.values()}
        blocks = [g for i, g in graphs.items() if g is not program.graph and i not in entries]
        for graph in (*blocks, program.graph, *program.entries.values()):
            questions[id(graph)] = asked(graph, questions)
            known = examined.get(id(graph.structure))
            facts = relative(known, graph) if known is not None else None
            facts = facts or examine(graph, self.free, questions[id(graph)], extractor)
            self.facts[id(graph)] = examined[id(graph.structure)] = facts
            self.free[id(graph)] = facts.unknown
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

    def scans(self, plan: Plan) -> dict[str, str]:
        """The attributes of a class that hold its recurrences, by their equations' text."""
        if id(plan) not in self._scans:
            entries = self.program.entries if plan.graph is self.program.graph else {}
            facts = [plan.facts[0], *(self.facts[id(entry)] for entry in entries.values())]
            self._scans[id(plan)] = scan_names(facts, [*plan.parameters, *entries])
        return self._scans[id(plan)]

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
        plan.finder = finder = Finder(members, _taken(plan))
        for place in numbers[0]:
            vector = tuple(slots[place] for slots in numbers)
            if place[-1] == "inplace":
                plan.holes |= {place: ast.Constant(True)} if any(vector) else {}
            elif any(v != vector[0] or type(v) is not type(vector[0]) for v in vector):
                plan.holes[place] = finder.find(vector, str(place[-1]), _wishes(place, plan))
        plan.parameters = finder.signature()
        for i, graph in enumerate(members):
            plan.arguments[id(graph)] = {p: finder.parameters[p][i] for p in plan.parameters}
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


def _wishes(place: Place, plan: Plan) -> list[str]:
    """Names for a number that nothing else explains: after its setting, or after its layer and its setting."""
    if place[0] == "a":
        return [str(place[2])]
    owner = str(place[1])
    if place[0] in ("c", "s"):
        node = plan.graph[plan.facts[0].order[place[1]]]
        owner = node.name or (node.op.name if node.op else "value")
        if owner == "scalar":
            return ["factor"]
    setting = next((p for p in place[2:] if isinstance(p, str)), "size")
    owner = "_".join(part for part in owner.split(".") if not part.isdigit())
    short = _POSITIONS.get(setting, setting)
    long = f"{owner}_{short}" if owner else short
    return [short, long] if setting in _SIZES or setting == "class" else [long]


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
            yield tuple(_spec(path, concrete(spec, module, made), slots, made) for spec in specs)
        else:
            yield _instance(plans, path, module.graph, slots)
    for path, spec in graph.weights.items():
        yield path, _spec("", concrete(spec, None, False), slots)
    for i, number in enumerate(facts.order):
        node = graph[number]
        called = "" if facts.forms[number] is Form.INNER else node.name
        yield node.kind, called, node.module, node.weight, node.replaced, node.bindings, node.level, node.scan
        yield facts.overwrites.get(number) if number not in facts.stages else None
        yield tuple((facts.index[ref.node], ref.result) for ref in graph.operands(number)), len(node.types)
        yield facts.forms[number]
        if number in facts.codes and number not in facts.stages:
            yield _code(facts.codes[number], ("c", i), slots)
        if number in facts.recurrences:
            yield facts.recurrences[number].inputs, facts.recurrences[number].weights
            yield str(facts.recurrences[number].equations)
        if number in facts.stages:
            yield _stage(node, facts.stages[number], ("s", i), slots)
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


def _spec(path: str, spec: WeightSpec, slots: dict[Place, Any], made: bool = False) -> Any:
    """`made`: an nn.Module makes the weight, so its shape stands nowhere."""
    places = [(place, value) for place, value in spec_places(path, spec) if not made or place[0] != "w"]
    parts = [_abstract(value, place, slots) for place, value in places]
    template = spec.code.template if spec.code is not None else None
    return spec.name, spec.role, spec.dtype, spec.init.kind, symmetric_fan(spec.init) is None, template, tuple(parts)


def _code(code: Code | None, place: Place, slots: dict[Place, Any]) -> Any:
    if code is None:
        return None
    return code.template, tuple(_value(key, value, (*place, key), slots) for key, value in code.values.items())


def _value(key: str, value: Any, place: Place, slots: dict[Place, Any]) -> Any:
    if key in _SIZES and (type(value) is int or isinstance(value, tuple)):
        slots[place] = value
        return key
    return key, _abstract(value, place, slots)


def _stage(node: Node, code: Code, place: Place, slots: dict[Place, Any]) -> Any:
    """A layer without weights. Which activation it is may differ between instances."""
    torch_class, bracket, rest = code.template.partition("(")
    if not type(node.op).__module__.endswith(".activation") or not bracket:
        return _code(code, place, slots)
    slots[(*place, "class")] = Named(torch_class)
    if rest in (")", _IN_PLACE) and torch_class in _OVERWRITING:
        slots[(*place, "inplace")] = rest == _IN_PLACE
        rest = ""
    return _code(Code(rest, code.values), place, slots)


def _abstract(value: Any, place: Place, slots: dict[Place, Any]) -> Any:
    if isinstance(value, tuple | list):
        return type(value), tuple(_abstract(v, (*place, i), slots) for i, v in enumerate(value))
    if isinstance(value, int | float):
        slots[place] = value
        return type(value)
    return repr(value)


def construct(plans: Plans, callee: Graph, path: str, inside: Plan) -> ast.expr:
    """`Bottleneck(64, 64, stride=2)`: the first two sizes by position, the others by name."""
    plan = plans.of[id(callee)]
    args: list[ast.expr] = []
    kwargs: dict[str, ast.expr] = {}
    for i, (parameter, value) in enumerate(plan.arguments[id(callee)].items()):
        given = inside.hole(("a", path, parameter), value) or _given(value)
        if i < 2 and not kwargs and type(value) is int and parameter not in SETTINGS:
            args.append(given)
        elif not isinstance(given, ast.Constant) or value != default(parameter):
            kwargs[parameter] = given
    return call(name(plan.name), *args, **kwargs)


def _given(value: Any) -> ast.expr:
    """An argument of a class's constructor."""
    if isinstance(value, Named):
        return dotted(value)
    if isinstance(value, tuple):
        return ast.Tuple([constant(v) for v in value], ast.Load())
    return constant(value)
