"""Expressions of generated code: Python's own `ast` nodes, made from templates and literals, printed as ruff prints
them."""

from __future__ import annotations

import ast
import copy
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from string import Formatter
from typing import Any

from ..ops.base import Code
from ..sizes import Dim, Symbol

_HOLE = "_hole_"

# How tightly operators bind; a higher number binds tighter.
_LOWEST, _TERNARY, _OR, _AND, _NOT, _COMPARE = 0, 1, 2, 3, 4, 5
_UNARY, _POWER, _ATOM = 12, 13, 15
_BINARY: dict[type, tuple[str, int]] = {
    ast.BitOr: ("|", 6),
    ast.BitXor: ("^", 7),
    ast.BitAnd: ("&", 8),
    ast.LShift: ("<<", 9),
    ast.RShift: (">>", 9),
    ast.Add: ("+", 10),
    ast.Sub: ("-", 10),
    ast.Mult: ("*", 11),
    ast.Div: ("/", 11),
    ast.FloorDiv: ("//", 11),
    ast.Mod: ("%", 11),
    ast.MatMult: ("@", 11),
    ast.Pow: ("**", _POWER),
}
_UNARIES: dict[type, str] = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}
_COMPARES: dict[type, str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}


def name(identifier: str) -> ast.Name:
    return ast.Name(identifier, ast.Load())


def attribute(value: ast.expr, *path: str) -> ast.expr:
    """`value.a.b`."""
    for part in path:
        value = ast.Attribute(value, part, ast.Load())
    return value


def dotted(path: str) -> ast.expr:
    """`nn.init.normal_` as an expression. Only for text of the compiler's own."""
    first, *rest = path.split(".")
    return attribute(name(first), *rest)


def call(function: str | ast.expr, *args: ast.expr, **kwargs: ast.expr) -> ast.Call:
    if isinstance(function, str):
        function = dotted(function)
    return ast.Call(function, list(args), [ast.keyword(key, value) for key, value in kwargs.items()])


def literal(
    value: Any,
    hole: Callable[[tuple, Any], ast.expr | None],
    place: tuple = (),
    names: Mapping[str, ast.expr] | None = None,
) -> ast.expr:
    """A literal of a Code. `hole(place, number)` may answer with what stands for a number; `names` says what symbols of
    sizes
    are called."""
    if isinstance(value, tuple | list):
        whole = hole(place, value)
        if whole is not None:
            return whole
        items = [literal(v, hole, (*place, i), names) for i, v in enumerate(value)]
        return ast.Tuple(items, ast.Load()) if isinstance(value, tuple) else ast.List(items, ast.Load())
    if isinstance(value, int | float):
        found = hole(place, value)
        return constant(value) if found is None else found
    if value is None or isinstance(value, str):
        return ast.Constant(value)
    if isinstance(value, Dim):
        return size(value, names or {})
    raise TypeError(f"{type(value).__name__} is no literal of generated code")


def constant(value: float) -> ast.expr:
    """An int, float or bool."""
    if isinstance(value, bool):
        return ast.Constant(value)
    if isinstance(value, float) and not math.isfinite(value):
        finite = attribute(name("math"), "nan" if math.isnan(value) else "inf")
        return ast.UnaryOp(ast.USub(), finite) if value < 0 else finite
    if value < 0 or (value == 0 and math.copysign(1, value) < 0):
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)


def size(value: int | Dim, names: Mapping[str, ast.expr]) -> ast.expr:
    """A size, its symbols replaced by what `names` calls them."""
    if isinstance(value, int):
        return constant(value)
    total: ast.expr | None = None
    for monomial, coefficient in sorted(value.terms, key=lambda t: (not t[0], t[1] < 0)):
        factors: list[ast.expr] = []
        for atom, power in monomial:
            if isinstance(atom, Symbol):
                factor = names[atom.name]
            else:
                factor = ast.BinOp(size(atom.above, names), ast.FloorDiv(), size(atom.below, names))
            factors.append(factor if power == 1 else ast.BinOp(factor, ast.Pow(), ast.Constant(power)))
        amount = abs(coefficient)
        if amount != 1 or not factors:
            factors.insert(0, ast.Constant(amount))
        product = factors[0]
        for factor in factors[1:]:
            product = ast.BinOp(product, ast.Mult(), factor)
        if total is None:
            total = ast.UnaryOp(ast.USub(), product) if coefficient < 0 else product
        else:
            total = ast.BinOp(total, ast.Sub() if coefficient < 0 else ast.Add(), product)
    return total if total is not None else ast.Constant(0)


@lru_cache(maxsize=4096)
def parse(template: str) -> tuple[ast.expr, tuple[str, ...]]:
    """A template as an expression whose holes are names, and the names of its holes, in order, as often as they
    occur."""
    parts: list[str] = []
    holes: list[str] = []
    for text, field, _, _ in Formatter().parse(template):
        parts.append(text)
        if field is not None:
            parts.append(_HOLE + field)
            holes.append(field)
    return ast.parse("".join(parts), mode="eval").body, tuple(holes)


def lift(code: Code) -> Code:
    """The fragment with the numbers of its template as values, where they can be compared."""
    template, numbers = _lifted(code.template)
    return Code(template, {**code.values, **{f"n{i}": n for i, n in enumerate(numbers)}}) if numbers else code


@lru_cache(maxsize=4096)
def _lifted(template: str) -> tuple[str, tuple[float, ...]]:
    tree, holes = parse(template)
    if any(h[:1] == "n" and h[1:].isdigit() for h in holes):
        return template, ()
    lifter = _Lift()
    text = show(lifter.visit(copy.deepcopy(tree)))
    return re.sub(_HOLE + r"(\w+)", r"{\1}", text), tuple(lifter.numbers)


class _Lift(ast.NodeTransformer):
    def __init__(self) -> None:
        self.numbers: list[float] = []

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            return node
        self.numbers.append(node.value)
        return name(f"{_HOLE}n{len(self.numbers) - 1}")


class _Fill(ast.NodeTransformer):
    def __init__(self, fill: Callable[[str], ast.expr | list[ast.expr] | None]) -> None:
        self.fill = fill

    def visit_Name(self, node: ast.Name) -> Any:
        if not node.id.startswith(_HOLE):
            return node
        return self.fill(node.id[len(_HOLE) :])

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        node.keywords = [k for k in node.keywords if k.value is not None]
        return node

    def visit_keyword(self, node: ast.keyword) -> Any:
        if isinstance(node.value, ast.Name) and node.value.id in (f"{_HOLE}device", f"{_HOLE}dtype"):
            filled = self.fill(node.value.id.removeprefix(_HOLE))
            return ast.keyword(node.arg, filled) if isinstance(filled, ast.expr) else None
        return self.generic_visit(node)


def fill(code: Code, what: Callable[[str], ast.expr | list[ast.expr] | None]) -> ast.expr:
    """The fragment with its holes filled. `what` answers with a list for `{all}`, and with None for a `{device}` or
    `{dtype}` that is to be left out."""
    tree, holes = parse(code.template)
    return _Fill(what).visit(copy.deepcopy(tree)) if holes else copy.deepcopy(tree)


def names_in(nodes: Iterable[ast.AST]) -> set[str]:
    """Every bare name that these mention."""
    found: set[str] = set()
    todo: list[Any] = list(nodes)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.AST):
            todo += vars(node).values()
        elif isinstance(node, list):
            todo += node
    return found


def text(value: str) -> str:
    """A string literal, ASCII only, in the quotes that ruff prefers."""
    quote = "'" if value.count('"') > value.count("'") else '"'
    return quote + escape(value, quote) + quote


def escape(value: str, quote: str, keep: Callable[[str], bool] = lambda c: c.isascii() and c.isprintable()) -> str:
    """The inside of a string literal."""
    parts = []
    for c in value:
        if c in ("\\", quote):
            parts.append("\\" + c)
        elif keep(c):
            parts.append(c)
        elif c in "\n\t\r":
            parts.append({"\n": "\\n", "\t": "\\t", "\r": "\\r"}[c])
        else:
            code = ord(c)
            parts.append(f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}")
    return "".join(parts)


def show(node: ast.expr, least: int = _LOWEST) -> str:
    """The expression on one line, in parentheses when it binds less tightly than `least`."""
    printed, binds = _show(node)
    return f"({printed})" if binds < least else printed


def _show(node: ast.expr) -> tuple[str, int]:
    match node:
        case ast.Name():
            return node.id, _ATOM
        case ast.Constant():
            return _printed(node.value), _ATOM
        case ast.Attribute():
            return f"{show(node.value, _ATOM)}.{node.attr}", _ATOM
        case ast.Call():
            return f"{show(node.func, _ATOM)}({', '.join(arguments(node))})", _ATOM
        case ast.Subscript():
            return f"{show(node.value, _ATOM)}[{subscript(node.slice)}]", _ATOM
        case ast.Tuple():
            items = [show(e, _TERNARY) for e in node.elts]
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})", _ATOM
        case ast.List():
            return f"[{', '.join(show(e, _TERNARY) for e in node.elts)}]", _ATOM
        case ast.Dict():
            pairs = zip(node.keys, node.values, strict=True)
            return f"{{{', '.join(f'{show(k)}: {show(v, _TERNARY)}' for k, v in pairs if k is not None)}}}", _ATOM
        case ast.Starred():
            return f"*{show(node.value, 6)}", _ATOM
        case ast.ListComp():
            loop = node.generators[0]
            return f"[{show(node.elt, _TERNARY)} for {show(loop.target)} in {show(loop.iter, _OR)}]", _ATOM
        case ast.DictComp():
            loop = node.generators[0]
            head = f"{show(node.key)}: {show(node.value, _TERNARY)}"
            return f"{{{head} for {show(loop.target)} in {show(loop.iter, _OR)}}}", _ATOM
        case ast.JoinedStr():
            return f'f"{"".join(map(_part, node.values))}"', _ATOM
        case ast.BinOp():
            return _binary(node)
        case ast.UnaryOp(op=ast.Not()):
            return f"not {show(node.operand, _NOT)}", _NOT
        case ast.UnaryOp():
            return f"{_UNARIES[type(node.op)]}{_operand(node.operand)}", _UNARY
        case ast.BoolOp():
            word, binds = ("and", _AND) if isinstance(node.op, ast.And) else ("or", _OR)
            return f" {word} ".join(show(v, binds + 1) for v in node.values), binds
        case ast.Compare():
            parts = [show(node.left, _COMPARE + 1)]
            for op, right in zip(node.ops, node.comparators, strict=True):
                parts += [_COMPARES[type(op)], show(right, _COMPARE + 1)]
            return " ".join(parts), _COMPARE
        case ast.IfExp():
            body, test, orelse = show(node.body, _OR), show(node.test, _OR), show(node.orelse, _TERNARY)
            return f"{body} if {test} else {orelse}", _TERNARY
        case ast.Lambda():
            return f"lambda: {show(node.body, _TERNARY)}", _TERNARY
    raise TypeError(f"{type(node).__name__} does not occur in generated code")


def _part(node: ast.expr) -> str:
    """A part of an f-string."""
    return f"{{{show(node.value)}}}" if isinstance(node, ast.FormattedValue) else str(getattr(node, "value", ""))


def _operand(node: ast.expr) -> str:
    """The operand of a sign. A power in parentheses, as people write it."""
    return show(node, _ATOM if isinstance(node, ast.BinOp) else _UNARY)


def _binary(node: ast.BinOp) -> tuple[str, int]:
    sign, binds = _BINARY[type(node.op)]
    if sign != "**":
        return f"{show(node.left, binds)} {sign} {show(node.right, binds + 1)}", binds
    left, right = show(node.left, _POWER + 1), show(node.right, _UNARY)
    space = "" if _simple_power(node.left) and _simple_power(node.right) else " "
    return f"{left}{space}**{space}{right}", binds


def _simple_power(node: ast.expr) -> bool:
    match node:
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Invert()):
            return _simple_power(node.operand)
        case ast.Constant():
            return isinstance(node.value, int | float) and not isinstance(node.value, bool)
        case ast.Attribute():
            return _simple_power(node.value) and not isinstance(node.value, ast.Constant | ast.UnaryOp)
    return isinstance(node, ast.Name)


def _printed(value: Any) -> str:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float):
        mantissa, e, exponent = repr(value).partition("e")
        return f"{mantissa}e{int(exponent)}" if e else mantissa
    return repr(value)


def arguments(node: ast.Call) -> list[str]:
    """The printed arguments of a call."""
    return [show(a, _TERNARY) for a in node.args] + [f"{k.arg}={show(k.value, _TERNARY)}" for k in node.keywords]


def subscript(node: ast.expr) -> str:
    """What stands between the brackets of a subscript."""
    if isinstance(node, ast.Tuple) and node.elts:
        return ", ".join(subscript(e) if not isinstance(e, ast.Tuple) else show(e) for e in node.elts) + (
            "," if len(node.elts) == 1 else ""
        )
    if not isinstance(node, ast.Slice):
        return show(node, _TERNARY)
    bounds = [node.lower, node.upper] + ([node.step] if node.step is not None else [])
    spaced = not all(b is None or _simple_bound(b) for b in bounds)
    result = ""
    for i, bound in enumerate(bounds):
        if i:
            result += " :" if spaced and result and not result.endswith(":") else ":"
        if bound is not None:
            result += (" " if spaced and i else "") + show(bound, _TERNARY)
    return result


def _simple_bound(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _simple_bound(node.operand)
    return isinstance(node, ast.Name | ast.Constant)
