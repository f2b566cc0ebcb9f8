"""Text to tree: `parse`."""

from __future__ import annotations

from ..diagnostics import ArchError, Diagnostic
from ..source import Source
from . import ast
from .complaints import Complaints
from .literals import TooMany
from .machine import DEEPEST, Machine, TooDeep

LARGEST_TEXT = 4_000_000
"""Most characters of one source."""


def parse(source: Source) -> ast.File:
    """The tree of a source, or ArchError with every syntax error in it (codes A01…)."""
    if len(source.text) > LARGEST_TEXT:
        message = f"{source.name} holds {len(source.text):_} characters; at most {LARGEST_TEXT:_} are read"
        raise ArchError(Diagnostic("A0155", message, help="split it into several files and `import` them"))
    nodes = Complaints(source)
    tree = None
    try:
        tree = Machine(nodes, "file", 0, len(source.text)).run()
    except TooMany:
        pass
    except TooDeep as deep:
        nodes.report(
            "A0105",
            f"this nests more than {DEEPEST} levels deep",
            nodes.span(deep.start, min(deep.end, deep.start + 1)),
            "give the inner parts names of their own, or move them into a block",
        )
    if nodes.found or tree is None:
        raise ArchError(*nodes.found)
    return tree
