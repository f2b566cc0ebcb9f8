"""A figure as a Mermaid flowchart, for Markdown pages that draw it themselves."""

from __future__ import annotations

import json

from ..graph import EdgeKind
from ..ops.base import Glyph
from .figure import Figure, Group, Item, Link, Shape, subscript
from .style import Extra, Theme
from .words import clean

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,/()=")
_ARROWS = {EdgeKind.DATA: "-->", EdgeKind.SKIP: "==>", EdgeKind.GATE: "--o", EdgeKind.STATE: "-.->"}


def mermaid(figure: Figure, theme: Theme) -> str:
    """Mermaid text of a figure."""
    title = json.dumps(
        clean(f"{figure.title} · {figure.subtitle}" if figure.subtitle else figure.title, 200), ensure_ascii=False
    )
    lines = ["---", f"title: {title}", "---", f"flowchart {figure.direction}"]
    children = figure.children()

    def write(group: Group, indent: str) -> None:
        for child in children[group.id]:
            if isinstance(child, Item):
                lines.append(f"{indent}{_item(child)}")
                continue
            badge = f"×{child.times}" if child.times > 1 else ""
            words = " ".join(filter(None, (child.title, badge))) or " "
            lines.append(f'{indent}subgraph {child.id}["{escape(words)}"]')
            write(child, indent + "  ")
            lines.append(f"{indent}end")

    write(figure.groups["root"], "  ")
    lines += [f"  {_link(link)}" for link in figure.links]
    lines += _classes(figure, theme)
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text as data inside a quoted label: every sign of ASCII that could mean something becomes a character code."""
    return "".join(c if c in _PLAIN or (ord(c) > 127 and c.isprintable()) else f"#{ord(c)};" for c in text)


def _item(item: Item) -> str:
    lines = []
    for stripe in item.stripes:
        lines.append(escape(" ".join(filter(None, (stripe.name + subscript(stripe.sub), stripe.text)))))
        if stripe.note:
            lines.append(escape(stripe.note))
    if item.times > 1:
        lines[-1] += f" ×{item.times}"
    text = "<br>".join(lines) or " "
    match item.shape:
        case Shape.CIRCLE:
            return f'{item.id}(("{text}"))'
        case Shape.POINT:
            return f'{item.id}((" "))'
        case Shape.PILL:
            return f'{item.id}(["{text}"])'
    return f'{item.id}["{text}"]'


def _link(link: Link) -> str:
    label = f'|"{escape(link.label + subscript(link.sub))}"|' if link.label else ""
    return f"{link.source} {_ARROWS[link.kind]}{label} {link.target}"


def _classes(figure: Figure, theme: Theme) -> list[str]:
    members: dict[str, list[str]] = {}
    for item in figure.items.values():
        members.setdefault("dot" if item.shape is Shape.POINT else str(item.role), []).append(item.id)
    lines = []
    for name, ids in members.items():
        fill = theme.lines[EdgeKind.DATA].colour if name == "dot" else theme.fills[figure.items[ids[0]].role]
        border = theme.loss if name in (Glyph.LOSS, Extra.TARGET) else theme.border
        lines.append(f"  classDef role_{name} fill:{fill},stroke:{border},color:{theme.text}")
        lines.append(f"  class {','.join(ids)} role_{name}")
    return lines
