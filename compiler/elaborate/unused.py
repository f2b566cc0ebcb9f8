"""What no network uses is still read: unknown layers and constructs that are not supported are found there too."""

from __future__ import annotations

from collections.abc import Iterator

from .. import ops
from ..diagnostics import did_you_mean, error
from ..syntax import ast
from .names import FileScope
from .session import Session
from .statements import LATER
from .trees import nodes

_KINDS = {"adversarial": ("A0903", "games are")}


def check_unused(scope: FileScope, session: Session) -> None:
    """Walks the definitions of a file that were never elaborated."""
    used = {key[0] for key in session.blocks}
    for item in scope.file.items:
        if not isinstance(item, ast.Definition) or id(item) in used:
            continue
        if item.kind in _KINDS:
            code, what = _KINDS[item.kind]
            session.sink.extend(
                error(code, f"{what} not supported yet", item.name.span, help="they come in a later version")
            )
            continue
        complete = item.kind == "network" and all(p.default is not None for p in item.params)
        if not complete:
            _walk(item, scope, session)


def _walk(item: ast.Definition, scope: FileScope, session: Session) -> None:
    bound = {p.name for p in item.params} | set(_names(item))
    for node in nodes(item.body):
        later = LATER.get(type(node))
        if later is not None:
            code, what, way_out = later
            session.sink.extend(error(code, f"{what} is not supported yet", node.span, help=way_out))
        if isinstance(node, ast.Apply) and isinstance(node.function, ast.Name):
            name = node.function.text
            if name not in bound and name not in scope.names and ops.get(name) is None:
                help = did_you_mean(name, [*ops.names(), *scope.names, *bound])
                session.sink.extend(
                    error("A0208", f"there is no layer or block `{name}`", node.function.span, help=help)
                )


def _names(item: ast.Definition) -> Iterator[str]:
    """Names that the body binds anywhere."""
    for node in nodes(item.body):
        if isinstance(node, ast.Ident):
            yield node.text
        elif isinstance(node, ast.ModuleStmt):
            for part in node.name.parts[:1]:
                if isinstance(part, str):
                    yield part.partition(".")[0]
