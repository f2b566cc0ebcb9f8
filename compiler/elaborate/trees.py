"""Walks over syntax trees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..syntax import ast


def walk(body: Sequence[ast.Stmt]) -> Iterator[ast.Stmt]:
    """Every statement of a body, those inside `for` and `if` included."""
    for s in body:
        yield s
        match s:
            case ast.ForStmt():
                yield from walk(s.body)
            case ast.IfStmt():
                yield from walk((*s.yes, *s.no))


def nodes(root: Any) -> Iterator[ast.Node]:
    """Every node below one, or below a tuple of them; itself included."""
    stack = [root]
    while stack:
        at = stack.pop()
        if isinstance(at, tuple):
            stack.extend(at)
        elif isinstance(at, ast.Node):
            yield at
            stack.extend([value for name, value in vars(at).items() if name != "span"])


def bound_names(s: ast.Stmt) -> Iterator[str]:
    """Names that a statement would have bound."""
    match s:
        case ast.BindStmt():
            yield from (f"{t.text}'" if t.primed else t.text for t in s.targets)
        case ast.InputStmt() | ast.ConstStmt() | ast.SampleStmt() | ast.GateStmt() | ast.StateStmt() | ast.PlayerStmt():
            yield s.name.text
            if isinstance(s, (ast.InputStmt, ast.SampleStmt, ast.StateStmt)):
                yield from (a.name for a in s.shape.axes if a.name)
        case ast.ParamStmt() | ast.ModuleStmt():
            if s.name.plain:
                yield s.name.plain.partition(".")[0] if isinstance(s, ast.ModuleStmt) else s.name.plain
            elif s.name.parts and isinstance(s.name.parts[0], str):
                yield s.name.parts[0].partition(".")[0]
        case ast.OutputStmt():
            if s.name is not None:
                yield s.name.text
        case ast.ForStmt():
            yield from (t.text for t in s.targets)
            for inner in s.body:
                yield from bound_names(inner)
        case ast.IfStmt():
            for inner in (*s.yes, *s.no):
                yield from bound_names(inner)


def plain_labels(root: Any) -> Iterator[str]:
    """Every label without holes below a node: automatic names avoid them."""
    for node in nodes(root):
        if isinstance(node, (ast.Labelled, ast.ModuleStmt, ast.ParamStmt)):
            label = node.label if isinstance(node, ast.Labelled) else node.name
            if label.plain:
                yield label.plain
