"""A value on the bench: the part of a network that computes it as a module of its own, in float64, at chosen sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from archlang.compiler.analysis.cost import cost, nominal_sizes
from archlang.compiler.flatten import FlattenLimit
from archlang.compiler.graph import Graph, Instance, Kind, Layer, Node, Program, Ref
from archlang.compiler.ops.base import Need, Refusal
from archlang.compiler.sizes import Dim, SizeLimit, evaluate, substitute, symbols
from archlang.compiler.types import TensorType
from torch import Tensor, nn

from ..module import build
from ..seeding import fixed_noise
from .results import Costly, Untestable

Pair = tuple[int, int]
Sizes = Mapping[Pair, int]

BUDGET = 2 * 10**11
"""Floating-point operations that one forward pass may take; what needs more is reported as untested."""
_UNNAMED = 12  # the size of an axis that the spec leaves open, without a nominal one
_NARROW = (1, 2, 4, 8, 16, 32, 64)  # what is tried for open axes that are not what is tested
WIDE = 8  # values that are compared have at least so many places along those axes, where the spec has them
_BATCH = 1
_MULTIPLE = 64  # an axis is at most so many times shorter than the symbol that it is made of


@dataclass
class Bench:
    """Values of one graph of a program. refs: which. state: weights to use in place of random ones, by the graph's own
    keys."""

    program: Program
    graph: Graph
    refs: tuple[Ref, ...]
    state: Mapping[str, Tensor] | None = None
    _modules: dict[object, nn.Module] = field(default_factory=dict)
    _seeds: dict[nn.Module, int] = field(default_factory=dict)  # whose weights they have
    _graphs: dict[object, tuple[Graph, int | Dim | None, frozenset[Dim]]] = field(default_factory=dict)

    @cached_property
    def flat(self) -> Graph:
        """What computes the values, blocks inlined. Raises Untestable."""
        return sliced(self.graph, self.refs)

    @cached_property
    def sources(self) -> list[int]:
        """The positions of the graph's inputs that are fed: targets are not."""
        return [i for i, n in enumerate(self.graph.inputs) if self.graph[n].kind is Kind.INPUT]

    def type(self, source: int) -> TensorType:
        return self.graph[self.graph.inputs[source]].types[0]

    def pairs(self, name: str | None, here: Pair) -> list[Pair]:
        """All axes of inputs that are called so: they have one size and move together."""
        if name is None:
            return [here]
        return [(i, a) for i in self.sources for a, known in enumerate(self.type(i).names) if known == name]

    def size(self, pair: Pair) -> int:
        """The size that an axis has when nothing else is asked for: the one stated, or the nominal one."""
        size = self.type(pair[0]).shape[pair[1]]
        return size if isinstance(size, int) else int(evaluate(size, self._defaults()))

    def _defaults(self, limit: int | None = None) -> dict[str, int]:
        """The symbols of the inputs' sizes: nominal ones, no axis longer than the limit."""
        nominal = nominal_sizes(self.graph)
        names = {s for i in self.sources for size in self.type(i).shape for s in symbols(size)}
        most = max([*nominal.values(), _UNNAMED]) if limit is None else limit
        return {name: min(nominal.get(name, _UNNAMED), most) for name in names} | (
            {"B": _BATCH} if "B" in names else {}
        )

    def stage(self, sizes: Sizes, seed: int, least: int = WIDE, dtype: torch.dtype = torch.float64) -> Stage:
        """The module with weights of a seed, ready for inputs of these sizes. Other axes are as short as the network
        allows where their size is open, but not below `least`. Raises Untestable."""
        reason = Untestable("the network takes no inputs of the sizes that the test needs")
        for limit in (*(width for width in _NARROW if width >= least), None):
            try:
                stage = self._stage(sizes, self._defaults(limit), dtype)
                if stage is None:
                    continue
                stage.start(seed, self.state)
                stage.places = [tuple(v.shape) for v in stage.run(stage.inputs(seed))]
                return stage
            except Costly:
                raise  # longer axes cost more
            except Untestable as failure:
                reason = failure
            except (RuntimeError, ValueError, IndexError):
                continue  # a size that a layer refuses as it runs
        raise reason

    def _stage(self, sizes: Sizes, chosen: dict[str, int], dtype: torch.dtype) -> Stage | None:
        """None where some layer would have no places left."""
        fixed: dict[Pair, int] = {}
        for pair, size in sizes.items():
            known = self.type(pair[0]).shape[pair[1]]
            if isinstance(known, Dim):
                chosen |= _solved(known, size)
            elif known != size:
                fixed[pair] = size
        graph, flops, dims = self._resized(fixed)
        if any(evaluate(size, chosen) < 1 for size in dims if symbols(size) <= chosen.keys()):
            return None
        spent = None if flops is None else substitute(flops, chosen)
        if isinstance(spent, int) and spent > BUDGET:
            lengths = ", ".join(str(size) for size in dict.fromkeys(sizes.values()))
            raise Costly(f"inputs of {lengths} positions, which the test needs, cost {spent / 1e9:,.0f} GFLOPs")
        key = (*sorted(fixed.items()), dtype)
        if key not in self._modules:
            self._modules[key] = compiled(self.program, graph).to(dtype).eval()
        shapes = [tuple(int(evaluate(size, chosen)) for size in graph[n].types[0].shape) for n in graph.inputs]
        return Stage(self, graph, self._modules[key], dict(zip(self.sources, shapes, strict=True)), dtype)

    def _resized(self, fixed: Sizes) -> tuple[Graph, int | Dim | None, frozenset[Dim]]:
        """The graph for stated sizes that the test changes, its FLOPs, and all open sizes in it."""
        key = tuple(sorted(fixed.items()))
        if key not in self._graphs:
            graph = resized(self.flat, {(self.sources.index(i), a): size for (i, a), size in fixed.items()})
            sizes = {size for n in graph for t in graph[n].types for size in t.shape}
            dims = frozenset(size for size in sizes if isinstance(size, Dim))
            self._graphs[key] = graph, cost(graph).flops, dims
        return self._graphs[key]


@dataclass
class Stage:
    """A module with weights and the shapes of its inputs, by their position. places: the shapes of its values."""

    bench: Bench
    graph: Graph
    module: nn.Module
    shapes: dict[int, tuple[int, ...]]
    dtype: torch.dtype = torch.float64
    places: list[tuple[int, ...]] = field(default_factory=list)

    def start(self, seed: int, state: Mapping[str, Tensor] | None) -> None:
        if self.bench._seeds.get(self.module) == seed:
            return
        self.bench._seeds[self.module] = seed
        if state is None:
            randomise(self.module, self.graph, seed)
        else:
            self.module.load_state_dict({key: state[key] for key in self.module.state_dict()})

    def inputs(self, seed: int) -> dict[int, Tensor]:
        """Random inputs: floats from a normal distribution, indices below what tables hold."""
        generator = torch.Generator().manual_seed(seed + 1)
        most = indices_of(self.graph)
        drawn = {i: draw(self.bench.type(i).dtype, shape, most, generator) for i, shape in self.shapes.items()}
        return {i: x.to(self.dtype) if x.is_floating_point() else x for i, x in drawn.items()}

    def run(self, inputs: Mapping[int, Tensor]) -> list[Tensor]:
        """The values. No gradients; see `values`."""
        with torch.no_grad():
            return self.values(inputs)

    def values(self, inputs: Mapping[int, Tensor]) -> list[Tensor]:
        """The values, with gradients. Noise that the network draws is the same each time."""
        with fixed_noise(torch.device("cpu")):
            found = self.module(*(inputs[i] for i in self.shapes))
        found = list(found) if isinstance(found, tuple) else [found]
        if not all(bool(torch.isfinite(v).all()) for v in found):
            raise Untestable("the values are not finite")
        return found


def _solved(known: Dim, size: int) -> dict[str, int]:
    """The value of its symbol with which an axis has a size. Raises Untestable."""
    names = symbols(known)
    if len(names) == 1:
        (name,) = names
        for value in (size, *range(1, _MULTIPLE * size + _MULTIPLE)):
            if evaluate(known, {name: value}) == size:
                return {name: value}
    raise Untestable(f"an axis is {known} long, which can't be {size}")


def sliced(graph: Graph, refs: Iterable[Ref]) -> Graph:
    """A flat graph whose outputs are these values, with the layers that they need and all inputs."""
    if graph.module_parameters:
        raise Untestable("the block takes modules from outside: test it where it is used")
    top = replace(graph, nx=graph.nx.copy(), inputs=list(graph.inputs), outputs=[], losses=[])
    goals = []
    for i, ref in enumerate(refs):
        if graph[ref.node].kind is Kind.OUTPUT:
            (ref,) = graph.operands(ref.node)
        goals.append(top.add(Node(Kind.OUTPUT, (graph.type(ref),), f"value{i}"), [ref]))
    try:
        flat = top.flatten()
    except FlattenLimit as limit:
        raise Untestable(str(limit)) from None
    ends = flat.outputs[-len(goals) :]
    needed = flat.needed(ends)
    if any(flat[n].kind is Kind.TARGET for n in needed):
        raise Untestable("the value depends on a target")
    return _only(flat, needed | {n for n in flat.inputs if flat[n].kind is Kind.INPUT}, ends)


def _only(flat: Graph, kept: set[int], ends: list[int]) -> Graph:
    """The graph of some nodes, with what they own."""
    new = Graph("Audited", "network", nominal=dict(flat.nominal), span=flat.span)
    paths = {flat[n].module for n in kept} | {flat[n].weight for n in kept}
    paths |= {path for n in kept for _, path in flat[n].bindings}
    used = {path for path in paths if path is not None}
    new.modules = {
        path: module
        for path, module in flat.modules.items()
        if path in used or any(known.startswith(path + ".") for known in used)
    }
    new.weights = {path: spec for path, spec in flat.weights.items() if path in used}
    where: dict[int, int] = {}
    for number in flat.order():
        if number in kept and (flat[number].kind is not Kind.OUTPUT or number in ends):
            refs = [Ref(where[ref.node], ref.result) for ref in flat.operands(number)]
            where[number] = new.add(flat[number], refs, flat.operand_kinds(number))
    return new


def resized(flat: Graph, sizes: Sizes) -> Graph:
    """The graph for inputs whose axes have other sizes: shapes are inferred again, weights stay. sizes: by position
    among the inputs. Raises Untestable."""
    if not sizes:
        return flat
    types = {source: flat[flat.inputs[source]].types[0] for source, _ in sizes}
    for (source, axis), size in sizes.items():
        types[source] = types[source].resize(axis, size)
    return retyped(flat, types)


def retyped(flat: Graph, types: Mapping[int, TensorType]) -> Graph:
    """The graph for inputs of other types, by their position. Raises Untestable."""
    from .cells import rescanned

    new = replace(flat, nx=type(flat.nx)(), modules=dict(flat.modules), inputs=[], outputs=[], losses=[])
    given = {flat.inputs[source]: t for source, t in types.items()}
    for number in flat.order():
        node, refs = flat[number], flat.operands(number)
        if node.kind is Kind.INPUT:
            node = replace(node, types=(given.get(number, node.types[0]),))
        elif node.scan is not None:
            node = rescanned(node, tuple(map(new.type, refs)), tuple(map(flat.type, refs)), retyped)
            if node.graph is not None and node.module is not None:
                new.modules[node.module] = Instance(node.graph, node.span)
        elif node.kind is Kind.OUTPUT:
            node = replace(node, types=(new.type(refs[0]),))
        elif node.op is not None and refs:
            node = replace(node, types=_inferred(node, tuple(map(new.type, refs)), flat.operand_types(number)))
        new.add(node, refs, flat.operand_kinds(number))
    new.inputs = list(flat.inputs)  # of a cell: states come last, wherever they stand
    return new


def _inferred(node: Node, types: tuple[TensorType, ...], before: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
    assert node.op is not None
    plain = types[: len(before)]
    if plain == before:
        return node.types
    try:
        found = tuple(node.op.infer(plain, Need()))
        same = [w.shape for w in node.op.weights(plain)] == [w.shape for w in node.op.weights(before)]
    except (Refusal, SizeLimit):
        same = False
    if not same:
        raise Untestable(f"`{node.module or node.op.name}` is made for one size of the axis")
    return found


def draw(dtype: str, shape: tuple[int, ...], indices: int, generator: torch.Generator) -> Tensor:
    """A random tensor: floats (of 64 bits) from a normal distribution, indices below `indices`."""
    if dtype == "float":
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    drawn = torch.randint(0, 2 if dtype == "bool" else indices, shape, generator=generator)
    return drawn.bool() if dtype == "bool" else drawn


def indices_of(flat: Graph) -> int:
    """How many indices all tables of a flat graph hold."""
    tables = [
        layer.made[0].shape[0]
        for layer in flat.modules.values()
        if isinstance(layer, Layer) and layer.op.name == "embedding" and layer.made
    ]
    return min(tables, default=2)


def compiled(program: Program, graph: Graph, *, standalone: bool = False) -> nn.Module:
    """A flat graph as a module, whose weights nobody has started. program: that which it is a part of. standalone: as
    `build` has it."""
    made = Program("Audited", graph, source_text=program.source_text, source_name=program.source_name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(made, started=False, standalone=standalone)


def randomise(module: nn.Module, graph: Graph, seed: int) -> None:
    """Weights of a seed under which nothing is symmetric by accident: scales, biases and the statistics of norms are
    random too, and nothing starts at zero."""
    roles = dict(graph.state())
    generator = torch.Generator().manual_seed(seed)

    def normal(shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32)  # drawn in a third of float64's time

    with torch.no_grad():
        for key, value in module.state_dict(keep_vars=True).items():
            spec = roles[key]
            if not value.is_floating_point() or (spec.role != "param" and spec.code is not None):
                continue
            name = key.rpartition(".")[2]
            if name == "running_var":
                value.copy_(0.5 + torch.rand(value.shape, generator=generator, dtype=torch.float64))
            elif name == "running_mean":
                value.copy_(0.3 * normal(value.shape))
            elif spec.role == "param" and value.dim() < 2:
                value.copy_((1.0 if name == "weight" else 0.0) + 0.3 * normal(value.shape))
            elif spec.role == "param":
                value.copy_(normal(value.shape) * (2 * value.shape[0] / value.numel()) ** 0.5)
