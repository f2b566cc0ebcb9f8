"""What no network uses is still read: unknown layers and constructs that are not supported are found there too."""

from __future__ import annotations

from collections.abc import Iterator

from .. import ops
from ..diagnostics import did_you_mean, error
from ..syntax import ast
from .names import FileScope
from .recurrence import misplaced_state, never_next, no_state, no_such_state
from .session import Session
from .trees import nodes, walk


def check_unused(scope: FileScope, session: Session) -> None:
    """Walks the definitions of a file that were never elaborated."""
    used = {key[0] for key in session.blocks}
    for item in scope.file.items:
        if not isinstance(item, ast.Definition) or id(item) in used:
            continue
        complete = item.kind in ("network", "adversarial") and all(p.default is not None for p in item.params)
        if not complete:
            _walk(item, scope, session)


def _walk(item: ast.Definition, scope: FileScope, session: Session) -> None:
    _states(item, session)
    bound = {p.name for p in item.params} | set(_names(item))
    for node in nodes(item.body):
        if isinstance(node, ast.Apply) and isinstance(node.function, ast.Name):
            name = node.function.text
            if name not in bound and name not in scope.names and ops.get(name) is None:
                help = did_you_mean(name, [*ops.names(), *scope.names, *bound])
                session.sink.extend(
                    error("A0208", f"there is no layer or block `{name}`", node.function.span, help=help)
                )


def _states(item: ast.Definition, session: Session) -> None:
    """What can be told of a body's states without its sizes: is it a cell, and is each given a next value?"""
    found = list(walk(item.body))
    states = {s.name.text: s for s in found if isinstance(s, ast.StateStmt)}
    following = [t for s in found if isinstance(s, ast.BindStmt) for t in s.targets if t.primed]
    if item.kind != "cell":
        for state in states.values():
            session.sink.extend(misplaced_state(item.name.text, item.kind, state.span))
        return
    if not states:
        session.sink.extend(no_state(item))
    for target in following:
        if target.text not in states:
            session.sink.extend(no_such_state(target, states))
    for name, state in states.items():
        if name not in [target.text for target in following]:
            session.sink.extend(never_next(name, state.span))


def _names(item: ast.Definition) -> Iterator[str]:
    """Names that the body binds anywhere."""
    for node in nodes(item.body):
        if isinstance(node, ast.Ident):
            yield node.text
        elif isinstance(node, ast.ModuleStmt):
            for part in node.name.parts[:1]:
                if isinstance(part, str):
                    yield part.partition(".")[0]
