"""Invariants of the graph. What breaks one is a bug of the compiler, never of a spec: it raises `BrokenGraph`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import networkx as nx

from .graph import EdgeKind, Graph, Instance, Kind, Layer, Node, Program, Ref
from .ops.base import Need, Refusal
from .sizes import Verdict, compare
from .types import TensorType

_TESTS = {"equal", "divides", "at_least"}


class BrokenGraph(AssertionError):
    """Graphs that break invariants; `problems` lists each with where it is."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            "the graph is broken, which is a bug of the compiler:\n" + "\n".join(f"- {p}" for p in problems)
        )


def verify(program: Program | Graph, *, spans: bool = False) -> None:
    """Checks a graph, or all of a program's, with every graph that they call. `spans`: every node must know its place
    in the text. Raises BrokenGraph with everything that is wrong."""
    tops = [program.graph, *program.entries.values()] if isinstance(program, Program) else [program]
    done: set[int] = set()
    problems: list[str] = []
    for top in tops:
        circle = _circle(top)
        if circle:
            problems.append(f"graphs call each other in a circle: {circle}")
            continue
        for graph in top.graphs():
            if id(graph) not in done:
                done.add(id(graph))
                problems += (f"{graph.kind} {graph.name}: {problem}" for problem in _problems(graph, spans))
    if isinstance(program, Program) and not problems:
        problems += _game(program)
    if problems:
        raise BrokenGraph(problems)


def _circle(top: Graph) -> str | None:
    calls: nx.DiGraph = nx.DiGraph()
    names: dict[int, str] = {}
    todo = [top]
    while todo:
        graph = todo.pop()
        if id(graph) in names:
            continue
        names[id(graph)] = graph.name
        callees = [graph[n].graph for n in graph.nx.nodes if "node" in graph.nx.nodes[n]]
        callees += [m.graph for m in graph.modules.values() if isinstance(m, Instance)]
        for callee in callees:
            if callee is not None:
                calls.add_edge(id(graph), id(callee))
                todo.append(callee)
    if nx.is_directed_acyclic_graph(calls):
        return None
    return " → ".join(names[u] for u, _ in nx.find_cycle(calls))


def _problems(graph: Graph, spans: bool) -> Iterator[str]:
    structure = list(_structure(graph))
    yield from structure
    if structure:
        return  # nothing below can be asked of a graph whose edges lie
    for number in graph.nx.nodes:
        node = graph[number]
        for problem in _node(graph, number, node):
            yield f"%{number} ({node.kind} {node.name or (node.op.name if node.op else '')}): {problem}"
        if spans and node.span is None:
            yield f"%{number} has no span"
    yield from _module_tree(graph)
    yield from _states(graph)
    for name, ref in graph.values.items():
        if not _exists(graph, ref):
            yield f"value `{name}` is {ref}, which does not exist"
    for check, _ in graph.checks:
        if check.test not in _TESTS:
            yield f"a check asks for `{check.test}`"


def _game(program: Program) -> Iterator[str]:
    """Losses are those of players of one side, pairs play over what there is; in a network no loss is a player's."""
    game, graph = program.game, program.graph
    if game is None:
        yield from (
            f"loss %{n} is over {list(graph[n].over)}, and there is no game" for n in graph.losses if graph[n].over
        )
        return
    for name, player in game.players.items():
        if name != player.name or player.role not in ("generator", "discriminator"):
            yield f"player `{name}` is called `{player.name}`, a {player.role}"
    for n in graph.losses:
        roles = {game.players[name].role if name in game.players else None for name in graph[n].over}
        if len(roles) != 1 or None in roles:
            yield f"loss %{n} is over {list(graph[n].over)}, which are no players of one side"
    for pair in game.pairs:
        for name, role in ((pair.generator, "generator"), (pair.discriminator, "discriminator")):
            if name not in game.players or game.players[name].role != role:
                yield f"a pair names `{name}`, which is no {role}"
        unknown = set(pair.losses) - {graph[n].name for n in graph.losses}
        if unknown:
            yield f"a pair has the losses {sorted(unknown)}, which do not exist"
        for ref in (pair.real, pair.made, *pair.scores):
            if not _exists(graph, ref) or graph.type(ref).dtype != "float":
                yield f"a pair plays over {ref}, which is no tensor of real numbers"


def _structure(graph: Graph) -> Iterator[str]:
    numbers = list(graph.nx.nodes)
    missing = [n for n in numbers if not isinstance(graph.nx.nodes[n].get("node"), Node)]
    if missing:
        yield f"these are no nodes: {missing}"
        return
    if not nx.is_directed_acyclic_graph(graph.nx):
        yield f"a cycle: {nx.find_cycle(graph.nx)}"
    for number in numbers:
        edges = [(key, u, data) for u, _, key, data in graph.nx.in_edges(number, keys=True, data=True)]
        positions = sorted(key for key, _, _ in edges)
        if positions != list(range(len(positions))):
            yield f"%{number} has operands at {positions}: each position from 0 needs exactly one producer"
        for key, u, data in edges:
            if set(data) != {"result", "kind"} or not isinstance(data["kind"], EdgeKind):
                yield f"the edge %{u} → %{number} says {data}"
            elif not _exists(graph, Ref(u, data["result"])):
                yield f"operand {key} of %{number} is result {data['result']} of %{u}, which has {len(graph[u].types)}"
    for what, listed, kinds in (
        ("inputs", graph.inputs, (Kind.INPUT, Kind.TARGET)),
        ("outputs", graph.outputs, (Kind.OUTPUT,)),
        ("losses", graph.losses, (Kind.LOSS,)),
    ):
        actual = [n for n in numbers if graph[n].kind in kinds]
        if sorted(listed) != sorted(actual):
            yield f"`{what}` lists {listed}, but there are {actual}"


def _exists(graph: Graph, ref: Ref) -> bool:
    return ref.node in graph.nx.nodes and 0 <= ref.result < len(graph[ref.node].types)


def _node(graph: Graph, number: int, node: Node) -> Iterator[str]:
    operands = tuple(graph.type(ref) for ref in graph.operands(number))
    match node.kind:
        case Kind.INPUT | Kind.TARGET:
            if operands or len(node.types) != 1:
                yield f"has {len(operands)} operands and {len(node.types)} results, must have 0 and 1"
            if not node.name:
                yield "has no name"
        case Kind.OUTPUT | Kind.LOSS:
            shapes = [[(t.dtype, t.shape) for t in types] for types in (node.types, operands)]
            if len(operands) != 1 or shapes[0] != shapes[1]:  # names of axes may differ: those of inlined blocks do
                yield f"has the types {_list(node.types)} and passes on {_list(operands)}"
        case Kind.WEIGHT:
            yield from _weight(graph, node, operands)
        case Kind.OP:
            yield from _op(graph, node, operands)
        case Kind.CALL:
            yield from _call(graph, node, operands)
        case Kind.SCAN:
            yield from _scan(graph, node, operands)
    if node.kind is not Kind.OP and node.op is not None:
        yield "has an op"
    if node.kind not in (Kind.CALL, Kind.SCAN) and (node.graph is not None or node.sizes):
        yield "has what only a call has"
    if (node.kind is Kind.SCAN) != (node.scan is not None):
        yield "is a scan without saying how, or the other way round"


def _weight(graph: Graph, node: Node, operands: tuple[TensorType, ...]) -> Iterator[str]:
    if operands or len(node.types) != 1 or node.weight is None:
        yield "a weight has no operands, one result and a path"
        return
    if _leads_out(graph, node.weight):
        return
    spec = graph.weight_at(node.weight)
    if spec is None:
        yield f"there is no weight `{node.weight}`"
    elif (spec.shape, spec.dtype) != (node.types[0].shape, node.types[0].dtype):
        yield f"`{node.weight}` is {spec.dtype} {list(spec.shape)}, the node {node.types[0]}"


def _op(graph: Graph, node: Node, operands: tuple[TensorType, ...]) -> Iterator[str]:
    op = node.op
    if op is None:
        yield "has no op"
        return
    plain = operands[: len(operands) - len(node.replaced)]
    variadic = bool(op.operands) and op.operands[-1].endswith("*")
    least = len(op.operands) - op.optional - variadic
    if len(plain) < least or (len(plain) > len(op.operands) and not variadic):
        yield f"takes {op.operands}, has {len(plain)}"
        return
    try:
        inferred = op.infer(plain, Need())
    except Refusal as refusal:
        yield f"refuses its operands: {refusal.message}"
        return
    if not _agree(inferred, node.types):
        yield f"makes {_list(inferred)}, the node says {_list(node.types)}"
    specs = {spec.name: spec for spec in op.weights(plain)}
    unknown = [name for name in node.replaced if name not in specs]
    if unknown:
        yield f"replaces {unknown}, which the op does not have"
    elif not _agree_shapes(operands[len(plain) :], [specs[name].shape for name in node.replaced]):
        yield f"weights {list(node.replaced)} are replaced by {_list(operands[len(plain) :])}"
    made = {name: spec for name, spec in specs.items() if name not in node.replaced}
    if node.module is None:
        if made:
            yield f"owns {sorted(made)}, but no module"
    elif not _leads_out(graph, node.module):
        module = graph.module_at(node.module)
        if not isinstance(module, Layer):
            yield f"`{node.module}` is {'a block' if module else 'no module'}, not a layer"
        elif type(module.op) is not type(op) or {s.name: s.shape for s in module.made} != {
            name: spec.shape for name, spec in made.items()
        }:
            yield f"`{node.module}` is another layer: {module.op!r} with {[str(s.name) for s in module.made]}"


def _call(graph: Graph, node: Node, operands: tuple[TensorType, ...]) -> Iterator[str]:
    callee = node.graph
    if callee is None:
        yield "calls nothing"
        return
    sizes = dict(node.sizes)
    wanted = tuple(callee[n].types[0].substitute(sizes) for n in callee.inputs)
    if not _agree(wanted, operands):
        yield f"`{callee.name}` takes {_list(wanted)}, gets {_list(operands)}"
    results = tuple(callee[n].types[0].substitute(sizes) for n in callee.outputs)
    if not _agree(results, node.types):
        yield f"`{callee.name}` makes {_list(results)}, the node says {_list(node.types)}"
    yield from _instance(graph, node, callee)


def _scan(graph: Graph, node: Node, operands: tuple[TensorType, ...]) -> Iterator[str]:
    """A scan is a call of its cell on operands and results without the axis."""
    cell, scan = node.graph, node.scan
    if cell is None or scan is None or not cell.states:
        yield "scans nothing"
        return
    states, inputs = len(cell.states), len(cell.inputs) - len(cell.states)
    if len(scan.axes) != inputs or len(scan.starts) != states or all(axis is None for axis in scan.axes):
        yield f"runs a cell of {inputs} inputs and {states} states as {scan}"
        return
    if len(operands) != inputs + sum(scan.starts) + scan.masked:
        yield f"has {len(operands)} operands for {scan}"
        return
    wanted = [cell[n].types[0].substitute(dict(node.sizes)) for n in cell.inputs]
    begun = [t for t, given in zip(wanted[inputs:], scan.starts, strict=True) if given]
    if any(axis is not None and axis >= t.rank for t, axis in zip(operands, scan.axes, strict=False)):
        yield f"scans axes that {_list(operands)} do not have"
        return
    steps = [t if a is None else t.drop(a) for t, a in zip(operands, scan.axes, strict=False)]
    given = (*steps, *operands[inputs : inputs + len(begun)])
    if not _agree((*wanted[:inputs], *begun), given):
        yield f"`{cell.name}` takes {_list((*wanted[:inputs], *begun))} at a step, gets {_list(given)}"
    if scan.masked and operands[-1].dtype != "bool":
        yield f"is masked by {operands[-1]}"
    made = tuple(cell[n].types[0].substitute(dict(node.sizes)) for n in cell.outputs)
    outputs = len(made) - states
    results = tuple(t.drop(min(scan.axis, t.rank - 1)) for t in node.types[:outputs]) + node.types[outputs:]
    if not _agree(made, results):
        yield f"`{cell.name}` makes {_list(made)} at a step, the node says {_list(node.types)}"
    yield from _instance(graph, node, cell)


def _states(graph: Graph) -> Iterator[str]:
    """The states of a cell enter last, and their next values leave last."""
    count = len(graph.states)
    if (graph.kind == "cell") != bool(count):
        yield f"has the states {list(graph.states)}"
    if count:
        entering, leaving = ([graph[n] for n in listed[-count:]] for listed in (graph.inputs, graph.outputs))
        if tuple(node.name for node in entering) != graph.states:
            yield f"the states {list(graph.states)} are not its last inputs"
        elif not _agree(tuple(n.types[0] for n in entering), tuple(n.types[0] for n in leaving)):
            yield f"the states {list(graph.states)} are not like its last outputs"
    for gate in graph.gates:
        if not _exists(graph, gate.ref):
            yield f"gate `{gate.name}` is {gate.ref}, which does not exist"


def _instance(graph: Graph, node: Node, callee: Graph) -> Iterator[str]:
    """What a call owns, and the modules that it passes on."""
    bound = [name for name, _ in node.bindings]
    if sorted(bound) != sorted(callee.module_parameters):
        yield f"`{callee.name}` takes the modules {list(callee.module_parameters)}, gets {bound}"
    for _, path in node.bindings:
        if not _leads_out(graph, path) and graph.module_at(path) is None:
            yield f"there is no module `{path}` to pass"
    if node.module is None:
        if owns_weights(callee):
            yield f"`{callee.name}` owns weights, but the call has no module"
    elif not _leads_out(graph, node.module):
        module = graph.module_at(node.module)
        if not isinstance(module, Instance):
            yield f"`{node.module}` is {'a layer' if module else 'no module'}, not a block"
        elif not _same_tree(module.graph, callee):
            yield f"`{node.module}` owns other weights than `{callee.name}`"


def _module_tree(graph: Graph) -> Iterator[str]:
    keys = [path for path, _ in graph.own_weights()]
    counts = Counter(keys)
    doubled = sorted(key for key in counts if counts[key] > 1 or _also_in_a_block(graph, key))
    if doubled:
        yield f"these keys occur twice: {doubled[:5]}"
    for path, module in graph.modules.items():
        if isinstance(module, Layer):
            known = {spec.name for spec in module.op.weights(module.inputs)}
            unknown = [spec.name for spec in module.made if spec.name not in known]
            if unknown:
                yield f"layer `{path}` owns {unknown}, which its op does not have"


def _leads_out(graph: Graph, path: str) -> bool:
    return path.split(".", 1)[0] in graph.module_parameters


def _also_in_a_block(graph: Graph, key: str) -> bool:
    """Does a block own a tensor of the same key as one that the graph itself owns?"""
    parts = key.split(".")
    for i in range(1, len(parts)):
        owner = graph.modules.get(".".join(parts[:i]))
        if isinstance(owner, Instance) and owner.graph.weight_at(".".join(parts[i:])) is not None:
            return True
    return False


def owns_weights(graph: Graph) -> bool:
    """Does an instance of the graph own any tensor?"""
    return any(True for inner in graph.graphs() for _ in inner.own_weights())


def _same_tree(left: Graph, right: Graph, seen: set[tuple[int, int]] | None = None) -> bool:
    """Do instances of the two own tensors of the same keys and shapes?"""
    seen = set() if seen is None else seen
    if left is right or (id(left), id(right)) in seen:
        return True
    seen.add((id(left), id(right)))
    blocks = [{p: m.graph for p, m in g.modules.items() if isinstance(m, Instance)} for g in (left, right)]
    owned = [{path: spec.shape for path, spec in g.own_weights()} for g in (left, right)]
    return (
        owned[0] == owned[1]
        and blocks[0].keys() == blocks[1].keys()
        and all(_same_tree(blocks[0][path], blocks[1][path], seen) for path in blocks[0])
    )


def _agree(left: tuple[TensorType, ...], right: tuple[TensorType, ...]) -> bool:
    """Same kinds, same ranks, and no size that can't be the same; names may differ."""
    return [t.dtype for t in left] == [t.dtype for t in right] and _agree_shapes(right, [t.shape for t in left])


def _agree_shapes(types: tuple[TensorType, ...], shapes: list) -> bool:
    return [t.rank for t in types] == [len(shape) for shape in shapes] and all(
        compare(one, other) is not Verdict.REFUTED
        for t, shape in zip(types, shapes, strict=True)
        for one, other in zip(t.shape, shape, strict=True)
    )


def _list(types: tuple[TensorType, ...]) -> str:
    return ", ".join(map(str, types)) or "nothing"
