"""Programs and graphs as plain data: pydantic models between the graph and its text and JSON forms.

Graphs are listed callees first and refer to each other by `id`. Types and sizes are in the compiler's short form:
`int[B, C=64, H // 2]`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from ..encoding import (
    Undecodable,
    decode,
    decode_code,
    encode,
    encode_code,
    make_objective,
    make_op,
    settings_of,
)
from ..game import Game, Pair, Player
from ..graph import EdgeKind, Gated, Graph, Instance, Kind, Layer, Node, Program, Ref, Scan
from ..initialisers import read as read_init
from ..ops.base import Check, Code, WeightSpec
from ..size_text import parse_size
from ..types import parse_type

SCHEMA: Literal["archlang.graph/1"] = "archlang.graph/1"
DEEPEST = 64
MOST_GRAPHS = 10_000
MOST_NODES = 500_000

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*'?$", max_length=200)]
Path = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=400)]
MaybePath = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*'?)?$", max_length=400)]
Text = Annotated[str, StringConstraints(max_length=10_000)]
Size = int | Text
Role = Annotated[str, StringConstraints(pattern=r"^(param|buffer|scratch)$")]
Dtype = Annotated[str, StringConstraints(pattern=r"^(float|int|bool)$")]
GraphKind = Annotated[str, StringConstraints(pattern=r"^(block|cell|network|entry)$")]
PlayerRole = Annotated[str, StringConstraints(pattern=r"^(generator|discriminator)$")]
Test = Annotated[str, StringConstraints(pattern=r"^(equal|divides|at_least)$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class WeightModel(_Model):
    """One tensor. `init` is [kind, values…]; `code` computes a fixed one."""

    name: Path
    shape: tuple[Annotated[int, Field(ge=0, le=2**40)], ...]
    role: Role = "param"
    dtype: Dtype = "float"
    init: tuple[Name, tuple[float | Text, ...]] = ("default", ())
    code: dict[str, JsonValue] | None = None


class ModuleModel(_Model):
    """A module: a layer (`op`, `settings`, the types of its `inputs`, the weights `made`) or an instance of `graph`."""

    path: Path
    op: Name | None = None
    settings: dict[str, JsonValue] = {}
    inputs: tuple[Text, ...] = ()
    made: tuple[WeightModel, ...] = ()
    graph: Text | None = None


class OperandModel(_Model):
    """One operand: a result of a node, and what flows along the edge."""

    node: int
    result: int = 0
    kind: Literal["data", "skip", "gate", "state"] = "data"


class ScanModel(_Model):
    """How a cell runs along an axis: of each data input the axis that is taken apart (null: the same at every step); of
    each state, does an operand give its start? Is the last operand a mask? From the last position to the first?"""

    axes: tuple[Annotated[int, Field(ge=0)] | None, ...]
    starts: tuple[bool, ...]
    masked: bool = False
    reverse: bool = False


class NodeModel(_Model):
    """One node; `line` is where it stands in the text."""

    id: Annotated[int, Field(ge=0)]
    kind: Literal["input", "target", "weight", "op", "call", "scan", "output", "loss"]
    types: tuple[Text, ...]
    operands: tuple[OperandModel, ...] = ()
    name: MaybePath = ""
    op: Name | None = None
    settings: dict[str, JsonValue] = {}
    graph: Text | None = None
    module: Path | None = None
    weight: Path | None = None
    replaced: tuple[Name, ...] = ()
    sizes: dict[Name, Size] = {}
    bindings: dict[Name, Path] = {}
    level: MaybePath = ""
    loss_weight: float = 1.0
    over: tuple[Name, ...] = ()
    scan: ScanModel | None = None
    line: int | None = None


class CheckModel(_Model):
    """A question about sizes that only a run can answer."""

    test: Test
    left: Size
    right: Size
    message: Text


class GateModel(_Model):
    """A value that is said to be a gate, [node, result], and the two numbers that it lies between."""

    name: MaybePath
    value: tuple[int, int]
    bounds: tuple[float, float] = (0.0, 1.0)


class GraphModel(_Model):
    """One function. `shares`: id of the graph whose module tree this one uses (an entry its network's). `states`: of a
    cell, what is passed on, in order: its last inputs are the states, its last outputs their next values."""

    id: Text
    name: Name
    kind: GraphKind = "block"
    arguments: dict[Name, JsonValue] = {}
    module_parameters: tuple[Name, ...] = ()
    nominal: dict[Name, int] = {}
    shares: Text | None = None
    modules: tuple[ModuleModel, ...] = ()
    weights: tuple[tuple[Path, WeightModel], ...] = ()
    nodes: tuple[NodeModel, ...] = ()
    values: dict[MaybePath, tuple[int, int]] = {}
    checks: tuple[CheckModel, ...] = ()
    states: tuple[Name, ...] = ()
    gates: tuple[GateModel, ...] = ()


class PlayerModel(_Model):
    """One side of a game; its weights are those at its name."""

    name: Name
    role: PlayerRole


class PairModel(_Model):
    """Who plays against whom over which values of the main graph, [node, result], for what. `scores`: what the
    discriminator says of the real and of the made examples, as it learns from them. `losses`: what the objective
    became, the generator's last."""

    generator: Name
    discriminator: Name
    real: tuple[int, int]
    made: tuple[int, int]
    objective: Name
    settings: dict[str, JsonValue] = {}
    scores: tuple[tuple[int, int], tuple[int, int]]
    losses: tuple[MaybePath, ...]


class GameModel(_Model):
    """Who plays: losses of the main graph say whose they are (`over`)."""

    players: tuple[PlayerModel, ...]
    pairs: tuple[PairModel, ...]


class ProgramModel(_Model):
    """A whole program. Contracts, training and checkpoint tables stay with the source text."""

    version: Literal["archlang.graph/1"] = Field(alias="schema")
    name: Name
    doc: str | None = None
    parameters: dict[Name, JsonValue] = {}
    source_name: str = ""
    graph: Text
    entries: dict[Name, Text] = {}
    game: GameModel | None = None
    graphs: tuple[GraphModel, ...]


# ---------------------------------------------------------------- graph → data


def program_model(program: Program) -> ProgramModel:
    """A program as data."""
    models = _Writer()
    main = models.add_all(program.graph)
    entries = {name: models.add_all(entry) for name, entry in program.entries.items()}
    return ProgramModel(
        schema=SCHEMA,
        name=program.name,
        doc=program.doc,
        parameters={name: encode(value) for name, value in program.parameters.items()},
        source_name=program.source_name,
        graph=main,
        entries=entries,
        game=_game_model(program.game) if program.game is not None else None,
        graphs=tuple(models.done),
    )


def _game_model(game: Game) -> GameModel:
    return GameModel(
        players=tuple(PlayerModel(name=p.name, role=p.role) for p in game.players.values()),
        pairs=tuple(
            PairModel(
                generator=pair.generator,
                discriminator=pair.discriminator,
                real=(*pair.real,),
                made=(*pair.made,),
                objective=pair.objective.name,
                settings=settings_of(pair.objective),
                scores=((*pair.scores[0],), (*pair.scores[1],)),
                losses=pair.losses,
            )
            for pair in game.pairs
        ),
    )


def graph_models(graph: Graph) -> tuple[GraphModel, ...]:
    """A graph and all that it calls, callees first, itself last."""
    models = _Writer()
    models.add_all(graph)
    return tuple(models.done)


class _Writer:
    def __init__(self) -> None:
        self.done: list[GraphModel] = []
        self._ids: dict[int, str] = {}
        self._owners: dict[int, str] = {}  # module trees by identity → the graph that has them
        self._taken: set[str] = set()

    def add_all(self, top: Graph) -> str:
        for graph in top.graphs():
            if id(graph) not in self._ids:
                self._ids[id(graph)] = self._name(graph.name)
                self.done.append(self._graph(graph))
        return self._ids[id(top)]

    def _name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}.{number}"
        self._taken.add(name)
        return name

    def _graph(self, graph: Graph) -> GraphModel:
        own = self._ids[id(graph)]
        shares = self._owners.setdefault(id(graph.modules), own)
        return GraphModel(
            id=own,
            name=graph.name,
            kind=graph.kind,
            arguments={name: encode(value) for name, value in graph.arguments.items()},
            module_parameters=graph.module_parameters,
            nominal=graph.nominal,
            shares=shares if shares != own else None,
            modules=tuple(self._module(p, m) for p, m in graph.modules.items()) if shares == own else (),
            weights=tuple((p, weight_model(w)) for p, w in graph.weights.items()) if shares == own else (),
            nodes=tuple(self._node(graph, number) for number in graph.nx.nodes),
            values={name: (ref.node, ref.result) for name, ref in graph.values.items()},
            checks=tuple(
                CheckModel(test=c.test, left=_size(c.left), right=_size(c.right), message=c.message)
                for c, _ in graph.checks
            ),
            states=graph.states,
            gates=tuple(GateModel(name=g.name, value=(*g.ref,), bounds=(g.lo, g.hi)) for g in graph.gates),
        )

    def _module(self, path: str, module: Layer | Instance) -> ModuleModel:
        if isinstance(module, Instance):
            return ModuleModel(path=path, graph=self._ids[id(module.graph)])
        return ModuleModel(
            path=path,
            op=module.op.name,
            settings=settings_of(module.op),
            inputs=tuple(map(str, module.inputs)),
            made=tuple(map(weight_model, module.made)),
        )

    def _node(self, graph: Graph, number: int) -> NodeModel:
        node = graph[number]
        pairs = zip(graph.operands(number), graph.operand_kinds(number), strict=True)
        return NodeModel(
            id=number,
            kind=node.kind.value,
            types=tuple(map(str, node.types)),
            operands=tuple(OperandModel(node=r.node, result=r.result, kind=k.value) for r, k in pairs),
            name=node.name,
            op=node.op.name if node.op is not None else None,
            settings=settings_of(node.op) if node.op is not None else {},
            graph=self._ids[id(node.graph)] if node.graph is not None else None,
            module=node.module,
            weight=node.weight,
            replaced=node.replaced,
            sizes={name: _size(size) for name, size in node.sizes},
            bindings=dict(node.bindings),
            level=node.level,
            loss_weight=node.loss_weight,
            over=node.over,
            scan=ScanModel(**node.scan._asdict()) if node.scan is not None else None,
            line=node.span.line if node.span is not None else None,
        )


def _size(size: Any) -> int | str:
    return size if isinstance(size, int) else str(size)


def weight_model(spec: WeightSpec) -> WeightModel:
    return WeightModel(
        name=spec.name,
        shape=spec.shape,
        role=spec.role,
        dtype=spec.dtype,
        init=(spec.init.kind, spec.init.values),
        code=encode_code(spec.code) if isinstance(spec.code, Code) else None,
    )


# ---------------------------------------------------------------- data → graph


def make_program(model: ProgramModel) -> Program:
    """The program that the data describes. Raises Undecodable; the verifier says whether it keeps the invariants."""
    graphs = make_graphs(model.graphs)
    try:
        main, entries = graphs[model.graph], {name: graphs[at] for name, at in model.entries.items()}
    except KeyError as missing:
        raise Undecodable(f"there is no graph {missing}") from missing
    parameters = {name: decode(value) for name, value in model.parameters.items()}
    game = _make_game(model.game) if model.game is not None else None
    return Program(model.name, main, entries, model.doc, parameters, game=game, source_name=model.source_name)


def _make_game(model: GameModel) -> Game:
    players = {p.name: Player(p.name, p.role) for p in model.players}
    if len(players) != len(model.players):
        raise Undecodable("two players have one name")
    return Game(
        players,
        [
            Pair(
                p.generator,
                p.discriminator,
                Ref(*p.real),
                Ref(*p.made),
                make_objective(p.objective, p.settings),
                (Ref(*p.scores[0]), Ref(*p.scores[1])),
                p.losses,
            )
            for p in model.pairs
        ],
    )


def make_graphs(models: tuple[GraphModel, ...]) -> dict[str, Graph]:
    """Graphs by id; each may refer to those before it. Raises Undecodable."""
    if len(models) > MOST_GRAPHS or sum(len(m.nodes) for m in models) > MOST_NODES:
        raise Undecodable(f"more than {MOST_GRAPHS:,} graphs or {MOST_NODES:,} nodes")
    known: dict[str, Graph] = {}
    depths: dict[str, int] = {}
    for model in models:
        if model.id in known:
            raise Undecodable(f"two graphs have the id `{model.id[:80]}`")
        callees = [m.graph for m in model.modules if m.graph is not None]
        callees += [n.graph for n in model.nodes if n.graph is not None]
        for callee in [*callees, *([model.shares] if model.shares is not None else [])]:
            if callee not in known:
                raise Undecodable(f"graph `{model.id[:80]}` refers to `{callee[:80]}`, which does not stand before it")
        depths[model.id] = 1 + max((depths[callee] for callee in callees), default=0)
        if depths[model.id] > DEEPEST:
            raise Undecodable(f"graphs call each other more than {DEEPEST} deep")
        try:
            known[model.id] = _make_graph(model, known)
        except (ValueError, IndexError) as failure:
            raise Undecodable(f"graph `{model.id[:80]}`: {failure}") from failure
    return known


def _make_graph(model: GraphModel, known: dict[str, Graph]) -> Graph:
    graph = Graph(
        model.name,
        model.kind,
        {name: decode(value) for name, value in model.arguments.items()},
        model.module_parameters,
        nominal=dict(model.nominal),
        states=model.states,
    )
    if model.shares is not None:
        graph.modules, graph.weights = known[model.shares].modules, known[model.shares].weights
    for module in model.modules:
        if module.path in graph.modules:
            raise Undecodable(f"two modules are called `{module.path}`")
        graph.modules[module.path] = _make_module(module, known)
    for path, weight in model.weights:
        if path in graph.weights:
            raise Undecodable(f"two weights are called `{path}`")
        graph.weights[path] = _make_weight(weight)
    numbers = {node.id for node in model.nodes}
    if len(numbers) != len(model.nodes):
        raise Undecodable("two nodes have one number")
    for node in model.nodes:
        graph.nx.add_node(node.id, node=_make_node(node, known))
        for kinds, listed in (
            (("input", "target"), graph.inputs),
            (("output",), graph.outputs),
            (("loss",), graph.losses),
        ):
            if node.kind in kinds:
                listed.append(node.id)
    states = [number for number in graph.inputs if graph[number].name in graph.states]
    graph.inputs = [number for number in graph.inputs if number not in states] + states
    for node in model.nodes:
        for position, operand in enumerate(node.operands):
            if operand.node not in numbers:
                raise Undecodable(f"%{node.id} uses %{operand.node}, which does not exist")
            graph.nx.add_edge(operand.node, node.id, position, result=operand.result, kind=EdgeKind(operand.kind))
    graph.values = {name: Ref(*at) for name, at in model.values.items()}
    graph.checks = [(Check(c.test, _read(c.left), _read(c.right), c.message), None) for c in model.checks]
    graph.gates = [Gated(g.name, Ref(*g.value), *g.bounds) for g in model.gates]
    return graph


def _make_module(model: ModuleModel, known: dict[str, Graph]) -> Layer | Instance:
    if (model.op is None) == (model.graph is None):
        raise Undecodable(f"module `{model.path}` must be either a layer or a block")
    if model.graph is not None:
        return Instance(known[model.graph])
    op = make_op(model.op or "", model.settings)
    return Layer(op, tuple(map(parse_type, model.inputs)), tuple(map(_make_weight, model.made)))


def _make_weight(model: WeightModel) -> WeightSpec:
    kind, values = model.init
    code = decode_code(model.code) if model.code is not None else None
    return WeightSpec(model.name, model.shape, model.role, model.dtype, read_init(kind, values), code)


def _make_node(model: NodeModel, known: dict[str, Graph]) -> Node:
    return Node(
        Kind(model.kind),
        tuple(map(parse_type, model.types)),
        model.name,
        make_op(model.op, model.settings) if model.op is not None else None,
        known[model.graph] if model.graph is not None else None,
        model.module,
        model.weight,
        model.replaced,
        tuple((name, _read(size)) for name, size in model.sizes.items()),
        tuple(model.bindings.items()),
        model.level,
        model.loss_weight,
        model.over,
        scan=Scan(**dict(model.scan)) if model.scan is not None else None,
    )


def _read(size: int | str) -> Any:
    return parse_size(size) if isinstance(size, str) else size
