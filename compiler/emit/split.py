"""Expressions too long for a line that are no plain call: parts of them become statements of their own."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable

from .expr import name, show
from .layout import WIDTH

_ATOMS = (ast.Name, ast.Constant, ast.Attribute, ast.Lambda, ast.List, ast.Dict, ast.Tuple, ast.Starred)


def split(
    value: ast.expr, indent: int, target: str, fresh: Callable[[], str]
) -> tuple[list[tuple[str, ast.expr]], ast.expr]:
    """Statements `name = part` to put before `target = value`, and what then remains of the value. `fresh` makes
    names."""
    if indent + len(target) + len(show(value)) <= WIDTH:
        return [], value
    splitter = _Splitter(indent, fresh)
    value = splitter.settle(value, WIDTH - indent - len(target))
    return splitter.before, value


class _Splitter:
    """Leaves the expressions that it is given as they are: what changes is copied."""

    def __init__(self, indent: int, fresh: Callable[[], str]) -> None:
        self.before: list[tuple[str, ast.expr]] = []
        self.indent, self.fresh = indent, fresh

    def settle(self, node: ast.expr, room: int) -> ast.expr:
        """The expression, or what it is once its longest parts have names."""
        while len(show(node)) > room:
            match node:
                case ast.Call():
                    return self._call(node)
                case ast.Subscript() if not _is_atom(node.value):
                    node = ast.Subscript(self._hoist(node.value), node.slice, node.ctx)
                case ast.BinOp() | ast.Compare() | ast.BoolOp() | ast.IfExp() | ast.UnaryOp():
                    shorter = self._hoist_longest(node)
                    if shorter is None:
                        return node
                    node = shorter
                case _:
                    return node
        return node

    def _call(self, node: ast.Call) -> ast.Call:
        function = node.func
        if isinstance(function, ast.Attribute) and not _is_atom(function.value):
            function = ast.Attribute(self._hoist(function.value), function.attr, function.ctx)
        inner = WIDTH - self.indent - 5  # an argument on a line of its own, with its comma
        args = [self._argument(a, inner) for a in node.args]
        keywords = [ast.keyword(k.arg, self._argument(k.value, inner - len(k.arg or "") - 1)) for k in node.keywords]
        return ast.Call(function, args, keywords)

    def _argument(self, node: ast.expr, room: int) -> ast.expr:
        if len(show(node)) <= room or isinstance(node, _ATOMS):
            return node
        return self._call(node) if isinstance(node, ast.Call) else self._hoist(node)

    def _hoist(self, node: ast.expr) -> ast.Name:
        node = self.settle(node, WIDTH - self.indent - len("part99 = "))
        variable = self.fresh()
        self.before.append((variable, node))
        return name(variable)

    def _hoist_longest(self, node: ast.expr) -> ast.expr | None:
        """The expression with a name for its longest operand that is no atom."""
        places = [
            (field, index, child)
            for field in ("left", "right", "operand", "body", "test", "orelse", "values", "comparators")
            for index, child in _children(node, field)
            if not _is_atom(child)
        ]
        if not places:
            return None
        field, index, child = max(places, key=lambda place: len(show(place[2])))
        copied = copy.copy(node)
        if index is None:
            setattr(copied, field, self._hoist(child))
        else:
            children = list(getattr(node, field))
            children[index] = self._hoist(child)
            setattr(copied, field, children)
        return copied


def _children(owner: ast.expr, field: str) -> list[tuple[int | None, ast.expr]]:
    value = getattr(owner, field, None)
    if isinstance(value, list):
        return list(enumerate(value))
    return [(None, value)] if isinstance(value, ast.expr) else []


def _is_atom(node: ast.expr) -> bool:
    """A name, a literal or a path of attributes."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name | ast.Constant)
