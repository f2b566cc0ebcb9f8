"""Blocks that differ only in numbers which decide nothing, such as rates of dropping: one of them is elaborated, the
others are made from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..declared import Invalid
from ..graph import Graph, Instance, Layer, Node
from ..ops.base import Op, Refusal
from ..sizes import SizeLimit
from ..source import Span
from ..syntax import ast
from ..types import TensorType
from .trees import nodes
from .values import freeze

if TYPE_CHECKING:
    from .session import Made, Session


@dataclass(frozen=True, slots=True)
class Handed:
    """What a node was given of the parameters of the body around it, unread: its setting → the parameter. `callee`: the
    block, for a call."""

    settings: dict[str, str]
    callee: Made | None = None


@dataclass(eq=False)
class Families:
    """The blocks elaborated so far that have relatives."""

    _known: dict[tuple, dict[frozenset[str], dict[tuple, Made]]] = field(default_factory=dict)

    def add(self, made: Made) -> None:
        """Remembers a block that was elaborated."""
        if made.numbers:
            alike = self._known.setdefault(_bare(made.key), {}).setdefault(made.numbers, {})
            alike[_others(made.graph.arguments, made.numbers)] = made

    def member(self, session: Session, key: tuple, arguments: dict[str, Any], span: Span) -> Made | None:
        """The block for a key, made from one that differs in plain numbers only. None where there is none, or where the
        new numbers are refused or do decide something: elaboration then finds out what."""
        for numbers, alike in self._known.get(_bare(key), {}).items():
            model = alike.get(_others(arguments, numbers))
            graph = _graph(session, model, arguments, span) if model is not None else None
            if model is not None and graph is not None:
                session.budget.spend_block(graph.name, span)
                made = replace(model, graph=graph, key=key, handed={})
                session.blocks[key] = made
                return made
        return None


def _bare(key: tuple) -> tuple:
    """A key of `Session.blocks` without the values of numbers."""
    definition, frozen, *rest = key
    return (definition, tuple((n, "float") if value[0] == "float" else (n, value) for n, value in frozen), *rest)


def _others(arguments: Mapping[str, Any], numbers: frozenset[str]) -> tuple:
    return tuple(value for n, value in arguments.items() if type(value) is float and n not in numbers)


def _graph(session: Session, model: Made, arguments: dict[str, Any], span: Span) -> Graph | None:
    graph, changed, modules = model.graph, dict[int, Node](), dict(model.graph.modules)
    for number, handed in model.handed.items():
        node = graph[number]
        values = {setting: arguments[parameter] for setting, parameter in handed.settings.items()}
        module: Layer | Instance | None = None
        if handed.callee is not None:
            callee = _callee(session, handed.callee, values, span)
            if callee is None:
                return None
            changed[number] = replace(node, graph=callee.graph)
            module = Instance(callee.graph, node.span)
        else:
            assert node.op is not None
            op = _op(session, node.op, values, graph.operand_types(number))
            if op is None:
                return None
            changed[number] = replace(node, op=op)
            layer = modules.get(node.module or "")
            module = replace(layer, op=op) if isinstance(layer, Layer) else None
        if node.module is not None and module is not None:
            modules[node.module] = module
    return graph.relative(arguments, changed, modules)


def _callee(session: Session, callee: Made, values: dict[str, Any], span: Span) -> Made | None:
    arguments = {**callee.graph.arguments, **values}
    definition, _, *rest = callee.key
    key = (definition, freeze(arguments.items()), *rest)
    return session.blocks.get(key) or session.families.member(session, key, arguments, span)


def _op(session: Session, op: Op, values: dict[str, Any], operands: tuple[TensorType, ...]) -> Op | None:
    """The op with other settings, unless they change what it makes."""
    try:
        other = op.replace(**values)
        same = session.infer(other, operands) == session.infer(op, operands)
        return other if same and session.weights(other, operands) == session.weights(op, operands) else None
    except (Invalid, Refusal, SizeLimit):
        return None


def read_by_defaults(item: ast.Definition, given: Iterable[str]) -> bool:
    """Does a default mention one of the parameters that are given?"""
    names = set(given)
    return any(
        isinstance(node, ast.Name) and node.text in names
        for p in item.params
        if p.default is not None and p.name not in names
        for node in nodes(p.default)
    )
