"""The labelled sequences of a graph, as frames of a figure."""

from __future__ import annotations

from collections.abc import Mapping

from ..graph import Graph, Node
from . import words
from .style import LAYERS, SMALL

_THIN = 4


def thin_levels(graph: Graph) -> dict[str, list[int]]:
    """Levels that fit into one box, with their nodes: a layer with its norm and activation, none of them named."""
    levels: dict[str, list[int]] = {}
    for number in graph.order():
        levels.setdefault(graph[number].level, []).append(number)
    outer = {level[:i] for level in levels for i, c in enumerate(level) if c == "."}
    return {
        level: numbers
        for level, numbers in levels.items()
        if level and level not in outer and 1 < len(numbers) <= _THIN and _stackable([graph[n] for n in numbers])
    }


def _stackable(nodes: list[Node]) -> bool:
    named = any(words.author_name(node) for node in nodes)
    glyphs = [node.op.glyph if node.op is not None else None for node in nodes]
    return not named and glyphs[0] in LAYERS and all(glyph in SMALL for glyph in glyphs[1:])


def level_frames(graph: Graph, thin: Mapping[str, list[int]]) -> dict[str, list[str]]:
    """For each level, the levels drawn around its nodes, from the outside in: those that only hold one other level are
    left out, and those that need no frame."""
    levels = dict.fromkeys(graph[n].level for n in graph.order())
    children: dict[str, set[str]] = {}
    for level in levels:
        parts = level.split(".") if level else []
        for i in range(1, len(parts)):
            children.setdefault(".".join(parts[:i]), set()).add(parts[i])
    frames = {}
    for level in levels:
        parts = level.split(".") if level else []
        paths = [".".join(parts[: i + 1]) for i in range(len(parts))]
        frames[level] = [p for p in paths if p not in thin and (p in levels or len(children.get(p, ())) > 1)]
    return frames


def local_name(level: str, frames: list[str]) -> str:
    """A level's name as it reads within the frame around it."""
    outer = max((frame for frame in frames if level.startswith(frame + ".")), key=len, default="")
    return level[len(outer) + 1 :] if outer else level


def within(level: str, outer: str) -> bool:
    return level == outer or level.startswith(outer + ".")


def mangled(level: str) -> str:
    """A level as an id: letters, digits and underscores, different levels staying different."""
    return "".join(c if c.isascii() and c.isalnum() else "__" if c == "." else f"_{ord(c):x}_" for c in level)
