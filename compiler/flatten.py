"""Graph.flatten: every call inlined. A scan stays one step, and keeps its cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .graph import EdgeKind, Graph, Instance, Kind, Node, Ref
from .ops.base import Op
from .sizes import Dim, substitute

_MOST_NODES = 200_000


class FlattenLimit(ValueError):
    """The flat graph would have more nodes than the limit."""


def flatten(graph: Graph) -> Graph:
    """The graph with every block inlined. Paths, names and levels get the path of the instance in front."""
    flat = Graph(graph.name, graph.kind, dict(graph.arguments), nominal=dict(graph.nominal), span=graph.span)
    refs = _inline(flat, graph, "", None, {}, {})
    scans = [flat[n] for n in flat if flat[n].kind is Kind.SCAN]
    _own(flat, graph, "", {path for scan in scans for path in (scan.module, *(at for _, at in scan.bindings))})
    flat.inputs = [refs[Ref(n)].node for n in graph.inputs]  # of a cell: states enter last, wherever they stand
    flat.values = {name: refs[ref] for name, ref in graph.values.items() if ref in refs}
    flat.states, flat.gates = graph.states, [gate._replace(ref=refs[gate.ref]) for gate in graph.gates]
    return flat


def _own(flat: Graph, graph: Graph, prefix: str, whole: set[str | None]) -> None:
    """Takes over what `graph` owns. whole: paths of blocks that stay blocks."""
    for path, spec in graph.weights.items():
        flat.weights[prefix + path] = spec
    for path, module in graph.modules.items():
        if isinstance(module, Instance) and prefix + path not in whole:
            _own(flat, module.graph, f"{prefix}{path}.", whole)
        else:
            flat.modules[prefix + path] = module


def _inline(
    flat: Graph,
    graph: Graph,
    prefix: str,
    arguments: list[Ref] | None,
    sizes: Mapping[str, int | Dim],
    outside: Mapping[str, str],
) -> dict[Ref, Ref]:
    """Copies the nodes of `graph` into `flat`. `arguments` stand for its inputs (None at the top), `outside` maps its
    module parameters to full paths. Returns where each result went; OUTPUT nodes of a callee map to what they pass on.
    """
    where: dict[Ref, Ref] = {}
    given = dict(zip(graph.inputs, arguments or (), strict=False))  # a cell's may stand in another order
    for check, span in graph.checks:
        left, right = substitute(check.left, sizes), substitute(check.right, sizes)
        flat.checks.append((replace(check, left=left, right=right), span))
    for number in graph.order():
        node = graph[number]
        operands = [where[ref] for ref in graph.operands(number)]
        kinds: list[EdgeKind] = graph.operand_kinds(number)
        if arguments is not None and node.kind in (Kind.INPUT, Kind.TARGET):
            where[Ref(number)] = given[number]
        elif arguments is not None and node.kind is Kind.OUTPUT:
            where[Ref(number)] = operands[0]
        elif node.kind is Kind.CALL and node.graph is not None:
            inner = {name: substitute(size, sizes) for name, size in node.sizes}
            at = full_path(node.module or node.name or f"{node.graph.name}{number}", prefix, outside)
            passed = {name: full_path(path, prefix, outside) for name, path in node.bindings}
            results = _inline(flat, node.graph, f"{at}.", operands, inner, passed)
            for i, output in enumerate(node.graph.outputs):
                where[Ref(number, i)] = results[Ref(output)]
        else:
            copy = _copy(node, prefix, sizes, outside)
            new = flat.add(copy, operands, kinds)
            if new > _MOST_NODES:
                raise FlattenLimit(f"the flat graph has more than {_MOST_NODES} nodes")
            for i in range(max(1, len(node.types))):
                where[Ref(number, i)] = Ref(new, i)
    return where


def _copy(node: Node, prefix: str, sizes: Mapping[str, int | Dim], outside: Mapping[str, str]) -> Node:
    return replace(
        node,
        op=node.op if node.op is None or not sizes else _resized(node.op, sizes),
        types=tuple(t.substitute(sizes) for t in node.types),
        module=None if node.module is None else full_path(node.module, prefix, outside),
        sizes=tuple((name, substitute(size, sizes)) for name, size in node.sizes),
        bindings=tuple((name, full_path(path, prefix, outside)) for name, path in node.bindings),
        weight=None if node.weight is None else full_path(node.weight, prefix, outside),
        level=(prefix + node.level).rstrip("."),
    )


def _resized(op: Op, sizes: Mapping[str, int | Dim]) -> Op:
    """The op with the block's sizes in its settings as they are outside: `sample n: [B, D]` of a block that is given
    [b, 8] draws [b, 8]."""
    settings = {name: getattr(op, name) for name in type(op).model_fields}
    changed = {name: new for name, old in settings.items() if (new := _setting(old, sizes)) != old}
    return op.replace(**changed) if changed else op


def _setting(value: Any, sizes: Mapping[str, int | Dim]) -> Any:
    match value:
        case Dim():
            return substitute(value, sizes)
        case tuple():
            return tuple(_setting(part, sizes) for part in value)
        case dict():
            return {key: _setting(part, sizes) for key, part in value.items()}
    return value


def full_path(path: str, prefix: str, outside: Mapping[str, str]) -> str:
    """A path of a graph as seen from the top: paths into a module parameter lead to the module that was passed."""
    head, dot, rest = path.partition(".")
    if head in outside:
        return outside[head] + dot + rest
    return prefix + path
