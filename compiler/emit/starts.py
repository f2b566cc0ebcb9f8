"""How weights start, in code: one loop over the network's modules for what all layers of a class share, and calls of
nn.init for the rest."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..graph import Graph, Instance, Layer
from ..initialisers import INITIALISERS, TRUNCATED
from ..ops.base import Code, Init, WeightSpec
from .expr import attribute, call, constant, literal, name
from .facts import Facts
from .layout import statement

MOST_EXCEPTIONS = 4  # layers of a class that start otherwise, beside a loop over all of them

Hole = Callable[[tuple, float], ast.expr | None]


def start_call(init: Init, weight: ast.expr, hole: Hole, place: tuple) -> ast.expr:
    """`nn.init.normal_(weight, std=0.01)`: what torch.nn.init assumes anyway is left out. `hole` as in `literal`."""
    if init.kind == "constant" and hole((*place, 0), 0) is None and init.values[0] in (0, 1):
        return call("nn.init.zeros_" if init.values[0] == 0 else "nn.init.ones_", weight)
    settings = INITIALISERS[init.kind].model_fields
    given: dict[str, ast.expr] = {}
    for i, (setting, value) in enumerate(zip(settings, init.values, strict=True)):
        held = None if isinstance(value, str) else hole((*place, i), value)
        if held is not None or value != settings[setting].default:
            given[setting] = held or literal(value, hole, (*place, i))
    if init.kind in ("constant", "uniform"):
        values = [literal(value, hole, (*place, i)) for i, value in enumerate(init.values)]
        return call(f"nn.init.{init.kind}_", weight, *values)
    return call(f"nn.init.{init.kind}_", weight, **given)


# ---------------------------------------------------------------- what all layers of a class share


@dataclass(eq=False)
class Shared:
    """The starts that the network's constructor gives to all layers of a class of torch.nn.

    rules: by class and weight. optional: weights that some layers of the class lack. exceptions: what starts otherwise,
    with the path of its layer."""

    rules: dict[str, dict[str, Init]] = field(default_factory=dict)
    optional: set[tuple[str, str]] = field(default_factory=set)
    exceptions: list[tuple[str, Layer, WeightSpec]] = field(default_factory=list)

    def own(self, spec: WeightSpec, code: Code | None) -> WeightSpec:
        """The weight of a layer, constructed by `code`, as the class that owns it must start it."""
        covered = code is not None and spec.name in self.rules.get(_class(code), ())
        return replace(spec, init=Init()) if covered else spec


def _class(code: Code) -> str:
    return code.template.partition("(")[0]


def find_shared(graph: Graph, facts: Mapping[int, Facts]) -> Shared:
    """What the layers of a network share, over all its blocks. `facts` are those of every graph, by id."""
    counts = _Counts(facts)
    found = counts.of(graph)
    shared = Shared()
    starts: dict[str, dict[str, list[tuple[Init, int]]]] = {}
    for (torch_class, weight, init), number in found.items():
        if weight:
            starts.setdefault(torch_class, {}).setdefault(weight, []).append((init, number))
    for torch_class, weights in starts.items():
        most = {weight: _most(inits) for weight, inits in weights.items()}
        rules = {weight: init for weight, init in most.items() if init is not None}
        if not any(found[torch_class, weight, init] > 1 for weight, init in rules.items()):
            continue
        shared.rules[torch_class] = rules
        layers = found[torch_class, "", Init()]
        shared.optional |= {(torch_class, w) for w in rules if sum(n for _, n in weights[w]) < layers}
    shared.exceptions = list(_exceptions(graph, "", shared.rules, counts))
    return shared


def _most(inits: list[tuple[Init, int]]) -> Init | None:
    """The start that nearly all have; None when some start as PyTorch's own module does, or too many differ."""
    if any(init.kind == "default" for init, _ in inits):
        return None
    most, number = max(inits, key=lambda pair: pair[1])
    return most if sum(n for _, n in inits) - number <= MOST_EXCEPTIONS else None


class _Counts:
    """How many layers of a class start a weight so, by the structure of a graph; under the weight "" how many there are
    at all."""

    def __init__(self, facts: Mapping[int, Facts]) -> None:
        self._facts = facts
        self._known: dict[int, Counter[tuple[str, str, Init]]] = {}

    def of(self, graph: Graph) -> Counter[tuple[str, str, Init]]:
        if id(graph.structure) not in self._known:
            found: Counter[tuple[str, str, Init]] = Counter()
            for path, module in graph.modules.items():
                if isinstance(module, Instance):
                    found.update(self.of(module.graph))
                    continue
                torch_class = self.torch_class(graph, path)
                if torch_class is not None and module.made:
                    found[torch_class, "", Init()] += 1
                    found.update((torch_class, spec.name, spec.init) for spec in _trained(module))
            self._known[id(graph.structure)] = found
        return self._known[id(graph.structure)]

    def torch_class(self, graph: Graph, path: str) -> str | None:
        """The class of a graph's own layer; None where no class of torch.nn fits."""
        code = self._facts[id(graph)].layers[path]
        found = _class(code) if code is not None else ""
        return found if found.count(".") == 1 else None  # what wraps a module keeps its weights elsewhere


def _exceptions(
    graph: Graph, prefix: str, rules: dict[str, dict[str, Init]], counts: _Counts
) -> Iterator[tuple[str, Layer, WeightSpec]]:
    """The layers that start otherwise than the rule of their class, looked for only where there are some."""
    if all(init == rules.get(kind, {}).get(weight, init) for kind, weight, init in counts.of(graph)):
        return
    for path, module in graph.modules.items():
        if isinstance(module, Instance):
            yield from _exceptions(module.graph, f"{prefix}{path}.", rules, counts)
            continue
        own = rules.get(counts.torch_class(graph, path) or "", {})
        for spec in _trained(module):
            if spec.init != own.get(spec.name, spec.init):
                yield prefix + path, module, spec


def _trained(layer: Layer) -> list[WeightSpec]:
    return [spec for spec in layer.made if spec.role == "param"]


# ---------------------------------------------------------------- the loop


def loop(shared: Shared, indent: int) -> Iterator[tuple[list[str], list[ast.expr]]]:
    """The lines of the loop over the modules, with the expressions in them."""
    if not shared.rules:
        return
    yield [" " * indent + "for module in self.modules():"], []
    groups: dict[tuple, list[str]] = {}
    for torch_class, rules in shared.rules.items():
        optional = tuple((torch_class, weight) in shared.optional for weight in rules)
        grouped = torch_class.startswith("nn.Conv")
        scaled = any(init.kind == "variance_scaling" for init in rules.values())
        groups.setdefault((tuple(rules.items()), optional, grouped and scaled), []).append(torch_class)
    word = "if"
    for (rules, optional, grouped), classes in groups.items():
        kinds = " | ".join(classes)
        yield [" " * (indent + 4) + f"{word} isinstance(module, {kinds}):"], []
        for (weight, init), lacks in zip(rules, optional, strict=True):
            inner = indent + 8
            if lacks:
                yield [" " * inner + f"if module.{weight} is not None:"], []
                inner += 4
            for target, value in _rule(weight, init, grouped):
                yield statement(value, inner, target), [value]
        word = "elif"


def _rule(weight: str, init: Init, grouped: bool) -> Iterator[tuple[str, ast.expr]]:
    """Assignments and calls that start the weight of `module`."""
    tensor = attribute(name("module"), weight)
    if init.kind != "variance_scaling":
        yield "", start_call(init, tensor, lambda place, value: None, ())
        return
    scale, mode, distribution = init.values
    assert isinstance(scale, float)
    counted = _FANS[str(mode)].replace("WEIGHT", f"module.{weight}")
    if mode == "fan_out_per_group" and grouped:
        counted += " // module.groups"
    yield "fan = ", ast.parse(counted, mode="eval").body
    if distribution == "uniform":
        yield "bound = ", _root(3 * scale)
        bound = name("bound")
        yield "", call("nn.init.uniform_", tensor, ast.UnaryOp(ast.USub(), bound), bound)
        return
    if distribution == "normal":
        yield "std = ", _root(scale)
        yield "", call("nn.init.normal_", tensor, std=name("std"))
        return
    yield "std = ", ast.BinOp(_root(scale), ast.Div(), constant(TRUNCATED))
    limits = {end: ast.BinOp(constant(n), ast.Mult(), name("std")) for end, n in (("a", -2), ("b", 2))}
    yield "", call("nn.init.trunc_normal_", tensor, std=name("std"), **limits)


_FANS = {
    "fan_in": "WEIGHT[0].numel()",
    "fan_out": "WEIGHT[:, 0].numel()",
    "fan_avg": "(WEIGHT[0].numel() + WEIGHT[:, 0].numel()) / 2",
    "fan_out_per_group": "WEIGHT[:, 0].numel()",
}


def _root(scale: float) -> ast.expr:
    """(scale / fan) ** 0.5."""
    if scale == 1:
        return ast.BinOp(name("fan"), ast.Pow(), constant(-0.5))
    plain = int(scale) if scale == int(scale) else scale
    return ast.BinOp(ast.BinOp(constant(plain), ast.Div(), name("fan")), ast.Pow(), constant(0.5))
