"""What is known while a graph is drawn: where values come from, which frames stand around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..graph import EdgeKind, Graph, Ref
from ..sizes import Dim
from ..types import TensorType


class End(NamedTuple):
    """Where a tensor comes from in the figure. `kind` is that of an edge that it already ran through; `name` and `sub`,
    its subscript, are written beside edges that it leaves along; `columns`: of what an unrolled scan stacks, where each
    step's part comes from, by what the step is called."""

    item: str
    type: TensorType
    kind: EdgeKind = EdgeKind.DATA
    name: str = ""
    sub: str = ""
    columns: tuple[tuple[str, str], ...] = ()


class Loop(NamedTuple):
    """How a scanned cell is drawn once: the subscript of its states; of each data input, is it another at each step?"""

    before: str
    scanned: tuple[bool, ...]


class TooLarge(Exception):
    """The figure would have more items than the limit."""


@dataclass
class Scope:
    """One graph while it is drawn. `loop`: of a cell that is scanned; `joined`: what it puts together, each once;
    `memories`: the items of its states."""

    graph: Graph
    prefix: str
    sizes: Mapping[str, int | Dim]
    depth: int
    home: str
    given: Mapping[int, End] | None
    numbers: dict[int, str] = field(default_factory=dict)
    ends: dict[Ref, End] = field(default_factory=dict)
    levels: dict[str, list[str]] = field(default_factory=dict)
    thin: dict[int, str] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    aside: set[int] = field(default_factory=set)
    loop: Loop | None = None
    joined: dict[object, int] = field(default_factory=dict)
    memories: dict[str, str] = field(default_factory=dict)
