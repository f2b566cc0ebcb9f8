"""Nodes to text on one line: `unparse`. The printer lays out what does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from . import ast

# How tightly a form binds: what stands where a tighter one is needed takes parentheses.
VALUE, OPERAND, TEST, AND, NOT, COMPARE, ARITH, TERM, FACTOR, POWER, POSTFIX, ATOM = range(12)

_BINARY = {"or": TEST, "and": AND, "+": ARITH, "-": ARITH, "*": TERM, "/": TERM, "//": TERM, "%": TERM, "**": POWER}
_SIDES = {TEST: (TEST, AND), AND: (AND, NOT), COMPARE: (ARITH, ARITH), ARITH: (ARITH, TERM), TERM: (TERM, FACTOR)}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset(("and", "or", "not", "if", "then", "else", "for", "in", "true", "false", "none"))
_STAGE_WORD = re.compile(r"^(scan|reverse|bidirectional|skip|repeat)\b")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_DIRECTIONS = {"forward": "scan", "reverse": "reverse", "bidirectional": "bidirectional"}


def unparse(node: ast.Node) -> str:
    """The text of an expression, a stage, a shape or any node below a declaration, on one line."""
    return _WRITERS[type(node)](node)


def level(node: ast.Expr) -> int:
    """How tightly the node binds."""
    match node:
        case ast.Pipe() | ast.IfExpr():
            return VALUE
        case ast.Range():
            return OPERAND
        case ast.Binary():
            return _BINARY.get(node.op, COMPARE)
        case ast.Unary():
            return NOT if node.op == "not" else FACTOR
        case ast.Call() | ast.Attribute() | ast.Index():
            return POSTFIX
    return ATOM


def sides(op: str) -> tuple[int, int]:
    """How tightly the operands of a binary operator must bind."""
    return (POSTFIX, FACTOR) if op == "**" else _SIDES[_BINARY.get(op, COMPARE)]


def at(node: ast.Expr, least: int) -> str:
    """The expression where at least `least` is needed."""
    text = unparse(node)
    return text if level(node) >= least else f"({text})"


def closed(node: ast.Expr) -> bool:
    """Whether the value may stand between `then` and `else`: it must not end in an `if` stage."""
    match node:
        case ast.Pipe(_, stages):
            return not any(isinstance(s.stage if isinstance(s, ast.Labelled) else s, ast.IfStage) for s in stages)
        case ast.IfExpr(_, yes, no):
            return closed(yes) and closed(no)
    return True


def closed_text(node: ast.Expr) -> str:
    """The value between `then` and `else`."""
    return unparse(node) if closed(node) else f"({unparse(node)})"


def commas(nodes: Iterable[ast.Node]) -> str:
    return ", ".join(map(unparse, nodes))


def quoted(text: str, plain: bool) -> str:
    return text if plain else f"`{text}`"


def string(text: str) -> str:
    """A string literal."""
    return '"' + "".join(_ESCAPES.get(c, c) for c in text) + '"'


def _name(node: ast.Name) -> str:
    plain = bool(_IDENTIFIER.fullmatch(node.text)) and node.text not in _RESERVED
    return quoted(node.text, plain or node.primed) + "'" * node.primed


def _template(node: ast.Template) -> str:
    text = "".join(p if isinstance(p, str) else "{" + at(p, TEST) + "}" for p in node.parts)
    identifier = node.plain is not None and _IDENTIFIER.fullmatch(text) and text not in ("true", "false", "none")
    return quoted(text, bool(identifier))


def _attribute(node: ast.Attribute) -> str:
    plain = bool(_IDENTIFIER.fullmatch(node.name)) or (node.name.isascii() and node.name.isdigit())
    value = f"({unparse(node.value)})" if isinstance(node.value, ast.Number) else at(node.value, POSTFIX)
    return f"{value}.{quoted(node.name, plain)}"


def _binary(node: ast.Binary) -> str:
    left, right = sides(node.op)
    return f"{at(node.left, left)} {node.op} {at(node.right, right)}"


def _unary(node: ast.Unary) -> str:
    return f"not {at(node.operand, NOT)}" if node.op == "not" else node.op + at(node.operand, FACTOR)


def _tuple(node: ast.TupleExpr) -> str:
    return f"({commas(node.items)}{',' * (len(node.items) == 1)})"


def _comprehension(node: ast.Comprehension) -> str:
    condition = f" if {at(node.condition, TEST)}" if node.condition else ""
    return f"[{unparse(node.value)} for {commas(node.targets)} in {at(node.iterable, OPERAND)}{condition}]"


def _range(node: ast.Range) -> str:
    return f"{at(node.low, ARITH) if node.low else ''}..{at(node.high, ARITH) if node.high else ''}"


def _argument(node: ast.Argument) -> str:
    return (f"{node.name}=" if node.name is not None else "") + unparse(node.value)


def settings(arguments: tuple[ast.Argument, ...]) -> str:
    """`(a, b=c)`."""
    return f"({commas(arguments)})"


def _pipe(node: ast.Pipe) -> str:
    return " -> ".join([at(node.value, OPERAND), *map(unparse, node.stages)])


def _if_expr(node: ast.IfExpr) -> str:
    return f"if {at(node.condition, TEST)} then {closed_text(node.yes)} else {unparse(node.no)}"


# ---------------------------------------------------------------- stages


def apply_head(node: ast.Apply) -> str:
    """What is applied, without its settings."""
    return _STAGE_WORD.sub(r"`\1`", unparse(node.function))


def _apply(node: ast.Apply) -> str:
    return apply_head(node) + (settings(node.arguments) if node.arguments else "")


def header(node: ast.Stage) -> str:
    """What stands before the brace of a stage in braces, with the space."""
    match node:
        case ast.RepeatStage():
            return f"repeat {at(node.count, OPERAND)} "
        case ast.ForStage():
            return f"for {commas(node.targets)} in {at(node.iterable, OPERAND)} "
        case ast.IfStage():
            return f"if {at(node.condition, TEST)} "
        case ast.Skip():
            other = f"from {at(node.other, TEST)} " if node.other else ""
            return f"skip {other}{f'by {node.by} ' if node.by != 'add' else ''}"
    return ""


def braced(stages: tuple[ast.Stage, ...]) -> str:
    """`{ a -> b }`."""
    return "{ " + " -> ".join(map(unparse, stages)) + " }" if stages else "{}"


def _braces(node: Any) -> str:
    return header(node) + braced(node.stages)


def _if_stage(node: ast.IfStage) -> str:
    text = header(node) + braced(node.yes)
    if len(node.no) == 1 and isinstance(node.no[0], ast.IfStage):
        return f"{text} else {unparse(node.no[0])}"
    return f"{text} else {braced(node.no)}" if node.no else text


def _supplied(node: ast.Supplied) -> str:
    return unparse(node.stage) + supplies(node)


def supplies(node: ast.Supplied) -> str:
    """` from (…) with (…)`."""
    start = f" from {settings(node.start)}" if node.start or not node.extra else ""
    return start + (f" with {settings(node.extra)}" if node.extra else "")


def _scan(node: ast.Scan) -> str:
    return f"{_DIRECTIONS[node.direction]} {unparse(node.cell)} over {node.axis.text}"


# ---------------------------------------------------------------- shapes and heads


def _axis(node: ast.AxisDecl) -> str:
    if node.nominal is not None:
        return f"{node.name}~{at(node.nominal, TEST)}"
    if node.name is None:
        return at(node.size, TEST) if node.size else ""
    if node.size is None:
        return _name(ast.Name(node.name, span=node.span))
    compound = level(node.size) < POSTFIX
    return f"{node.name} = {at(node.size, TEST)}" if compound else f"{node.name}={at(node.size, TEST)}"


def _shape(node: ast.Shape) -> str:
    return ("" if node.dtype == "float" else node.dtype) + f"[{commas(node.axes)}]"


def _type(node: ast.TypeRef) -> str:
    return f"{node.name}[{unparse(node.argument)}]" if node.argument else node.name


def _param(node: ast.Param) -> str:
    default = f" = {unparse(node.default)}" if node.default else ""
    return f"{node.name}: {unparse(node.type)}{default}"


def _key_rule(node: ast.KeyRule) -> str:
    return " ".join([unparse(node.theirs), "=", unparse(node.ours), *map(unparse, node.options)])


def _setting(node: ast.Setting) -> str:
    if node.assignments:
        return f"{node.key.text} {', '.join(f'{_path(a.name)}={at(a.value, TEST)}' for a in node.assignments)}"
    text = f"{node.key.text} {', '.join(at(v, TEST) for v in node.values)}"
    return text + (f" except {', '.join(at(v, TEST) for v in node.excepted)}" if node.excepted else "")


def _path(name: str | None) -> str:
    """The name of a setting, or a module's path."""
    parts = (name or "").split(".")
    plain = all(_IDENTIFIER.fullmatch(part) or (part.isascii() and part.isdigit()) for part in parts[1:])
    return quoted(name or "", plain and bool(_IDENTIFIER.fullmatch(parts[0])))


def _ident(node: ast.Ident) -> str:
    return node.text + "'" * node.primed


_WRITERS: dict[type, Callable[[Any], str]] = {
    ast.Ident: _ident,
    ast.Template: _template,
    ast.Number: lambda n: n.text,
    ast.String: lambda n: string(n.value),
    ast.Bool: lambda n: "true" if n.value else "false",
    ast.NoneLit: lambda n: "none",
    ast.Name: _name,
    ast.ListExpr: lambda n: f"[{commas(n.items)}]",
    ast.Comprehension: _comprehension,
    ast.TupleExpr: _tuple,
    ast.Unary: _unary,
    ast.Binary: _binary,
    ast.IfExpr: _if_expr,
    ast.Range: _range,
    ast.Argument: _argument,
    ast.Call: lambda n: at(n.function, POSTFIX) + settings(n.arguments),
    ast.Attribute: _attribute,
    ast.Index: lambda n: f"{at(n.value, POSTFIX)}[{commas(n.arguments)}]",
    ast.Pipe: _pipe,
    ast.Apply: _apply,
    ast.Labelled: lambda n: f"{unparse(n.label)}: {unparse(n.stage)}",
    ast.Sequence: _braces,
    ast.RepeatStage: _braces,
    ast.ForStage: _braces,
    ast.IfStage: _if_stage,
    ast.Skip: _braces,
    ast.Scan: _scan,
    ast.Supplied: _supplied,
    ast.AxisDecl: _axis,
    ast.Shape: _shape,
    ast.TypeRef: _type,
    ast.Param: _param,
    ast.KeyRule: _key_rule,
    ast.Setting: _setting,
}
