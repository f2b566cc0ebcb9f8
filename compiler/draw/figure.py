"""What a figure consists of, whatever it will be written as: items in groups, and links between items."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from ..graph import EdgeKind
from ..types import TensorType
from .style import Role

_LOWERED = str.maketrans("0123456789t+−", "₀₁₂₃₄₅₆₇₈₉ₜ₊₋")


def subscript(text: str) -> str:
    """A subscript in plain text: `ₜ₋₁`, and `_T` where letters have none."""
    lowered = text.translate(_LOWERED)
    return lowered if not lowered or "₀" <= lowered[0] <= "ₜ" else f"_{text}"


class Shape(StrEnum):
    """The outline of an item."""

    BOX = "box"
    PILL = "pill"
    CIRCLE = "circle"
    POINT = "point"
    TEXT = "text"


@dataclass(frozen=True)
class Stripe:
    """One coloured band of an item. `name` is what the author called it, `sub` its subscript, `note` a small second
    line."""

    role: Role
    text: str
    name: str = ""
    note: str = ""
    sub: str = ""


@dataclass
class Item:
    """One node of the figure. `group` is the id of the group it stands in, `times` how often it is repeated in a row,
    `aside` whether only losses reach it, `details` what a pointer over it is told, `spread` whether it stands for
    several of different sizes."""

    id: str
    shape: Shape
    stripes: list[Stripe]
    group: str
    times: int = 1
    aside: bool = False
    details: list[tuple[str, str]] = field(default_factory=list)
    spread: bool = False

    @property
    def role(self) -> Role:
        return self.stripes[0].role

    @property
    def text(self) -> str:
        """All it says, on one line."""
        return " · ".join(f"{s.name}{subscript(s.sub)} {s.text}".strip() for s in self.stripes)


@dataclass
class Group:
    """A frame around items: the figure itself (no parent), a level, an opened block, or an unnamed repetition."""

    id: str
    title: str
    kind: str
    parent: str | None
    times: int = 1


@dataclass
class Link:
    """A tensor on its way from one item to another. `label` is written beside it, with the subscript `sub`. `loose`: it
    leads to another step, and does not say what stands above what."""

    source: str
    target: str
    kind: EdgeKind
    type: TensorType
    label: str = ""
    sub: str = ""
    loose: bool = False


class Row(NamedTuple):
    """Items that stand side by side, from left to right where they are `ordered`. `bare`: no frame is drawn around them
    (in frames, `dot` loses the order of a row that many edges reach)."""

    items: list[str]
    ordered: bool = True
    bare: bool = False


@dataclass
class Figure:
    """Items and groups by id, in the order in which they are met; the group `root` is the figure.

    rows: items of one group that stand side by side. forks: items whose targets do. unrolled: how many scans are drawn
    step by step. direction: where data goes, from the top (TB) or from the left (LR)."""

    title: str
    subtitle: str
    items: dict[str, Item] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    forks: list[str] = field(default_factory=list)
    unrolled: int = 0
    direction: str = "TB"

    def children(self) -> dict[str, list[Item | Group]]:
        """What stands directly in each group, in order of first appearance."""
        found: dict[str, list[Item | Group]] = {name: [] for name in self.groups}
        seen: set[str] = set()
        for item in self.items.values():
            inner: Item | Group = item
            at: str | None = item.group
            while at is not None:
                if inner.id not in seen:
                    found[at].append(inner)
                    seen.add(inner.id)
                inner = self.groups[at]
                at = inner.parent
        return found

    def incoming(self) -> dict[str, list[Link]]:
        found: dict[str, list[Link]] = {name: [] for name in self.items}
        for link in self.links:
            found[link.target].append(link)
        return found

    def outgoing(self) -> dict[str, list[Link]]:
        found: dict[str, list[Link]] = {name: [] for name in self.items}
        for link in self.links:
            found[link.source].append(link)
        return found
