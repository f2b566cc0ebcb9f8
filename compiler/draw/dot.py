"""A figure as DOT, the language of Graphviz. All text goes into HTML-like labels, escaped in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from ..graph import EdgeKind
from ..ops.base import Glyph
from .figure import Figure, Group, Item, Link, Shape, Stripe
from .style import SMALL, Extra, Theme

_GAP = "&#160;"  # other spaces are lost in SVG
FONT = "Helvetica,Arial,sans-serif"
_WIDTH = 124
_TITLE = 11  # letters that fit left of the line that enters a cluster
_APART = 3  # rows between one inset and the next
_LINE = 21  # letters a line of arguments
_SLIGHT = (Glyph.ARITHMETIC, Glyph.SELECT, Glyph.SHAPE)
_ROOM = 2  # rows by which what is off the longest way can move
_READ = 4  # links from what is read by many


def dot(figure: Figure, theme: Theme) -> str:
    """DOT text of a figure. Node names are the items' ids, clusters `cluster_` and the group's id."""
    lines = ["digraph figure {", *_globals(figure, theme)]
    children = figure.children()

    rows, bare = _rows(figure), _bare(figure)
    insets = [group for group in figure.groups.values() if group.kind == "inset"]

    def write(inside: Sequence[Item | Group], indent: str, depth: int) -> None:
        for child in inside:
            if isinstance(child, Item):
                lines.append(f"{indent}{child.id} [{_item(child, theme)}]")
                continue
            framed = child.id not in bare
            lines.append(f"{indent}subgraph {'cluster_' if framed else ''}{child.id} {{")
            lines.extend([f"{indent}  {_cluster(child, theme, depth)}"] if framed else [])
            write(children[child.id], indent + "  ", depth + framed)
            lines.extend(f"{indent}  {row}" for row in rows.get(child.id, ()))
            lines.append(f"{indent}}}")

    if insets:
        main = [child for child in children["root"] if child not in insets]
        parts: list[Sequence[Item | Group]] = [main, *([inset] for inset in insets)]
        order = list(enumerate(parts))
        if figure.direction == "LR":
            order.reverse()  # what is written first stands below
        for number, part in order:  # clusters touch; frames that are not seen keep them apart
            inside = number > 0 or "root" not in bare
            lines += [f'  subgraph cluster_part{number} {{ style=invis margin=10 label=""'] if inside else []
            write(part, "    ", 0)
            lines += [f"    {row}" for row in rows.get("root", ()) if not number]
            lines += ["  }"] if inside else []
    else:
        write(children["root"], "  ", 0)
        lines += [*(f"  {row}" for row in rows.get("root", ())), *_ranks(figure)]
    shortcuts, late = _shortcuts(figure), _late(figure)
    places = {name: (i, at) for i, row in enumerate(figure.rows) if row.ordered for at, name in enumerate(row.items)}
    lines += [f"  {_link(link, figure, theme, shortcuts, late, places)}" for link in figure.links]
    lines += _columns(figure, insets) if insets and figure.direction == "TB" else []
    return "\n".join([*lines, "}"]) + "\n"


def escape(text: str) -> str:
    """Text as data inside an HTML-like label: nothing in it is markup or an escape of Graphviz. Even there it replaces
    `\\N` by a node's name, so a backslash stands in a run of its own."""
    text = "".join(c if c.isprintable() else " " for c in text)
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(char, entity)
    return text.replace("\\", f'<FONT FACE="{FONT}">&#92;</FONT>')


def _attributes(**values: object) -> str:
    """Attributes. Labels are HTML-like; every other value is of our own making."""
    return " ".join(
        f"{name}={value}" if str(value).startswith("<") else f'{name}="{value}"' for name, value in values.items()
    )


def _font(text: str, size: float, colour: str | None = None) -> str:
    tint = f' COLOR="{colour}"' if colour else ""
    return f'<FONT POINT-SIZE="{size:g}"{tint}>{text or _GAP}</FONT>'


def _globals(figure: Figure, theme: Theme) -> list[str]:
    title = f"<B>{_font(escape(figure.title), 15)}</B>"
    if figure.subtitle:
        title += f"<BR/>{_font(escape(figure.subtitle), 9, theme.muted)}<BR/>{_font(_GAP, 6)}"
    graph = _attributes(
        label=f"<{title}>",
        labelloc="t",
        rankdir=figure.direction,
        bgcolor=theme.background,
        fontname=FONT,
        fontcolor=theme.text,
        splines="spline",
        nodesep=0.28,
        ranksep=0.24,
        pad=0.15,
        margin=0,
    )
    node = _attributes(fontname=FONT, fontsize=11, fontcolor=theme.text, color=theme.border, penwidth=theme.width)
    edge = _attributes(fontname=FONT, fontsize=8.5, fontcolor=theme.muted, arrowsize=0.55)
    return [f"  graph [{graph}]", f"  node [{node}]", f"  edge [{edge}]"]


def _cluster(group: Group, theme: Theme, depth: int) -> str:
    block = group.kind in ("block", "inset")
    inset = group.kind == "inset"
    lines = _broken(group.title, 2 * _LINE if inset else _LINE)
    rows = [f"<B>{_font(escape(lines[0]), 10)}</B>" if block else _font(escape(lines[0]), 10)] if group.title else []
    rows += [_font(escape(line), 9, theme.muted) for line in lines[1:]]
    if group.times > 1:
        rows = [" ".join([*rows[:1], f"<B>{_font(f'×{group.times}', 12)}</B>"]), *rows[1:]]
    label = "".join(f"{row}{_LEFT}" for row in rows)
    longest = max(len(line) for line in lines) + (4 if group.times > 1 else 0)
    if longest > _TITLE and not inset:  # the line that enters passes beside the title, not through it
        cells = f'<TD>{label}</TD><TD WIDTH="{_LETTER * longest:.0f}"></TD>'
        label = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0"><TR>{cells}</TR></TABLE>'
    return _attributes(
        id=group.id,
        label=f"<{label}>",
        labeljust="l",
        style="rounded,filled" if block else "rounded,filled,dashed",
        fillcolor=theme.clusters[depth % len(theme.clusters)],
        color=theme.cluster_border,
        penwidth=2 * theme.width if group.times > 1 else theme.width,
        fontsize=10,
        fontcolor=theme.text if block or group.times > 1 else theme.muted,
        margin=12,
    )


_LEFT = '<BR ALIGN="LEFT"/>'
_LETTER = 7.5  # points, with some room to spare


def _broken(title: str, width: int) -> list[str]:
    """A long title in lines: the label and the block, or the block and its arguments."""
    if len(title) <= _TITLE:
        return [title]
    for mark in (": ", " in ", " over "):
        head, found, rest = title.partition(mark)
        if found and head:
            return [head, *_wrapped(found.lstrip(": ") + rest, width)]
    head, found, rest = title.partition("(")
    return [head, *_wrapped(found + rest, width)] if found and head else [title]


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most so many letters, broken after commas."""
    lines = [""]
    for part in re.split(r"(?<=,) ", text):
        joined = f"{lines[-1]} {part}".strip()
        if lines[-1] and len(joined) > width:
            lines.append(part)
        else:
            lines[-1] = joined
    return lines


def _item(item: Item, theme: Theme) -> str:
    fill = theme.fills[item.role]
    line = "dashed" if item.aside or item.role is Glyph.DROPOUT else "solid"
    match item.shape:
        case Shape.POINT:
            return _attributes(id=item.id, shape="point", width=0.05, color=theme.lines[EdgeKind.DATA].colour, label="")
        case Shape.CIRCLE:
            label = f"<{_font(escape(item.stripes[0].text), 13)}>"
            return _attributes(
                id=item.id, shape="circle", fixedsize="true", width=0.26, label=label, style="filled", fillcolor=fill
            )
        case Shape.TEXT:
            return _attributes(
                id=item.id, shape="box", label=_plain(item.stripes[0], theme, 9.5), margin="0.06,0",
                height=0.2, penwidth=0, fontcolor=theme.muted,
            )  # fmt: skip
        case Shape.PILL:
            line = "dashed" if item.role in (Extra.TARGET, Extra.STATE) else line
            io = item.role in (Extra.INPUT, Extra.TARGET, Extra.OUTPUT, Extra.STATE)
            return _attributes(
                id=item.id,
                shape="box",
                style=f"rounded,filled,{line}",
                label=_plain(item.stripes[0], theme, 11 if io else 10),
                fillcolor=fill,
                color=_outline(item, theme),
                margin="0.12,0.02",
                height=0.26,
                width=0.6,
            )
    return _attributes(id=item.id, shape="plain", label=f"<{_table(item, theme)}>")


def _outline(item: Item, theme: Theme) -> str:
    if item.role is Extra.STATE:
        return theme.lines[EdgeKind.STATE].colour
    return theme.loss if item.role is Extra.TARGET else theme.border


def _words(stripe: Stripe, theme: Theme, size: float) -> str:
    name = f"<B>{escape(stripe.name)}</B>" if stripe.name else ""
    if stripe.sub:
        name += f"<SUB>{_font(escape(stripe.sub), size * 0.75)}</SUB>"
    body = f"{_GAP}{_GAP}".join(filter(None, (name, escape(stripe.text)))) or _GAP
    note = f"<BR/>{_font(escape(stripe.note), 8, theme.muted)}" if stripe.note else ""
    return _font(body, size) + note


def _cell(words: str, size: float, above: float, attributes: str = "") -> str:
    """One row. Graphviz sets text a little high in its cell; a cell higher than its text, with the text at the bottom
    of it, looks centred."""
    height = round(size * 1.2 + 2 * above + 2)
    return (
        f'<TR><TD HEIGHT="{height}" VALIGN="BOTTOM" CELLPADDING="{max(0, above - 1):g}"{attributes}>{words}</TD></TR>'
    )


def _plain(stripe: Stripe, theme: Theme, size: float) -> str:
    """The label of an item that is one shape."""
    row = _cell(_words(stripe, theme, size), size, 1)
    return f'<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">{row}</TABLE>>'


def _table(item: Item, theme: Theme) -> str:
    """The stripes of a box, one under the other; repeated boxes have a double frame and a badge."""
    rows = []
    loss = any(stripe.role is Glyph.LOSS for stripe in item.stripes)
    for stripe in item.stripes:
        small = (stripe.role in SMALL or stripe.role is Glyph.SHAPE) and len(item.stripes) > 1
        size, above = (9.5, 2) if small else (11, 4)
        fill = f' BGCOLOR="{theme.fills[stripe.role]}" WIDTH="{_WIDTH}"'
        rows.append(_cell(_words(stripe, theme, size), size, above, fill))
    colour = theme.loss if loss else theme.border
    style = ' STYLE="dashed"' if loss or item.aside else ""
    frame = f'CELLSPACING="0" CELLBORDER="1" COLOR="{colour}"{style}'
    table = f'<TABLE BORDER="0" {frame}>{"".join(rows)}</TABLE>'
    if item.times == 1:
        return table
    badge = f"<B>{_font(f'×{item.times}', 12)}</B>"
    around = f'<TABLE BORDER="1" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2" COLOR="{colour}">'
    doubled = f"{around}<TR><TD>{table}</TD></TR></TABLE>"
    side = f'WIDTH="{16 + 8 * len(str(item.times))}" HEIGHT="20" FIXEDSIZE="TRUE"'
    return (
        '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">'
        f"<TR><TD {side}></TD><TD>{doubled}</TD><TD {side}>{badge}</TD></TR></TABLE>"
    )


def _ranks(figure: Figure) -> list[str]:
    """Inputs in one row at the top, outputs and losses in one at the bottom."""
    lines = []
    top = [i.id for i in figure.items.values() if i.role is Extra.INPUT and i.shape is Shape.PILL and i.group == "root"]
    bottom = [i.id for i in figure.items.values() if i.role is Extra.OUTPUT and i.group == "root"]
    for rank, names in (("source", top), ("sink", bottom)):
        if names:
            lines.append(f"  {{ rank={rank}; {'; '.join(names)} }}")
    return lines


def _rows(figure: Figure) -> dict[str, list[str]]:
    """Items that stand side by side, by the group they are in. Where no edge keeps two neighbours in order, one that is
    not seen does: with two of them side by side, `dot` fails to place a label."""
    found: dict[str, list[str]] = {}
    linked = {frozenset((link.source, link.target)) for link in figure.links if not link.loose}
    for row in figure.rows:
        lines = found.setdefault(figure.items[row.items[0]].group, [])
        lines.append(f"{{ rank=same; {'; '.join(row.items)}; }}")
        if row.ordered:
            pairs = (pair for pair in pairwise(row.items) if frozenset(pair) not in linked)
            lines += [f"{left} -> {right} [style=invis]" for left, right in pairs]
    return found


def _bare(figure: Figure) -> set[str]:
    """The groups around rows that no frame may surround, the figure itself among them."""
    found: set[str] = set()
    for row in figure.rows:
        at = figure.items[row.items[0]].group if row.bare else None
        while at is not None:
            found.add(at)
            at = figure.groups[at].parent
    return found


def _columns(figure: Figure, insets: list[Group]) -> list[str]:
    """Insets in columns as high as the highest part, the figure itself first: each where there is room. Edges that are
    not seen, of a point that is not seen, keep columns in order and parts one below the other."""
    parts = _parts(figure)
    room = max(part.height for part in parts.values())
    columns: list[list[str]] = []
    left: list[int] = []
    for group in ("root", *(inset.id for inset in insets)):
        needed = parts[group].height + _APART
        at = next((i for i, free in enumerate(left) if needed <= free), len(left))
        if at == len(left):
            left.append(room + _APART)
            columns.append([])
        left[at] -= needed
        columns[at].append(group)
    lines = ['  columns [style=invis shape=point width=0 height=0 ordering=out label=""]']
    lines += [f"  columns -> {parts[column[0]].top} [style=invis]" for column in columns]
    below = (pair for column in columns for pair in pairwise(column))
    return [*lines, *(f"  {parts[one].bottom} -> {parts[other].top} [style=invis]" for one, other in below)]


class _Part(NamedTuple):
    """The figure itself, or an inset: how many rows it takes, and the items at the ends of its longest way."""

    height: int
    top: str
    bottom: str


def _parts(figure: Figure) -> dict[str, _Part]:
    outer: dict[str, str] = {}
    for group in figure.groups.values():
        outer[group.id] = group.id if group.kind in ("inset", "root") else outer[group.parent or "root"]
    outgoing = figure.outgoing()
    rows: dict[str, int] = {}
    begins: dict[str, str] = {}
    found: dict[str, _Part] = {}
    for item in figure.items.values():  # in the order of the data, but for states
        row, top = rows.setdefault(item.id, 1), begins.setdefault(item.id, item.id)
        home = outer[item.group]
        if home not in found or row > found[home].height:
            found[home] = _Part(row, top, item.id)
        for link in outgoing[item.id]:
            if not link.loose and rows.get(link.target, 0) <= row:
                rows[link.target], begins[link.target] = row + 1, top
    return found


def _shortcuts(figure: Figure) -> set[str]:
    """Items from which data reaches the rest only along skips: they stand beside the main path."""
    found: set[str] = set()
    outgoing = figure.outgoing()
    for item in reversed(figure.items.values()):
        links = outgoing[item.id]
        if links and all(link.kind is EdgeKind.SKIP or link.target in found for link in links):
            found.add(item.id)
    return found


def _late(figure: Figure) -> set[str]:
    """What is computed, without a layer, from what many read, off the longest way: it stands near what it is for."""
    incoming, outgoing = figure.incoming(), figure.outgoing()
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    for name in figure.items:  # in the order of the data, but for states
        before[name] = max((before.get(link.source, 0) + 1 for link in incoming[name] if not link.loose), default=1)
    for name in reversed(figure.items):
        after[name] = max((after.get(link.target, 0) + 1 for link in outgoing[name] if not link.loose), default=1)
    found: set[str] = set()
    placed = {name for row in figure.rows for name in row.items}
    for name, item in figure.items.items():
        if item.role not in _SLIGHT or name in placed:
            continue
        sources = [link.source for link in incoming[name]]
        near = (*sources, *(link.target for link in outgoing[name]))
        longest = max((before[one] + after[one] for one in near), default=0)
        aside = longest - before[name] - after[name] >= _ROOM
        if sources and aside and all(one in found or len(outgoing[one]) >= _READ for one in sources):
            found.add(name)
    return found


def _link(
    link: Link, figure: Figure, theme: Theme, shortcuts: set[str], late: set[str], places: Mapping[str, tuple[int, int]]
) -> str:
    """An edge. `places`: of items in rows, the row and the place in it; an edge from right to left is written from left
    to right, so that the order stays."""
    line = theme.lines[link.kind]
    source, target = figure.items[link.source], figure.items[link.target]
    values: dict[str, object] = {"color": line.colour, "penwidth": line.width}
    if line.style != "solid" or source.aside or target.aside:
        values["style"] = line.style if line.style != "solid" else "dashed"
    row, other = places.get(link.source, (-1, 0)), places.get(link.target, (-2, 0))
    backwards = row[0] == other[0] and row[1] > other[1]
    head = "none" if target.shape is Shape.POINT else line.head
    if backwards:
        values |= {"dir": "back", "arrowtail": head}
    elif head != "normal":
        values["arrowhead"] = head
    if link.label:
        sub = f"<SUB>{_font(escape(link.sub), 7)}</SUB>" if link.sub else ""
        values["label"] = f"<{_GAP}{escape(link.label)}{sub}{_GAP}>"
    if link.loose:
        values["constraint"] = "false"
    elif link.kind is EdgeKind.SKIP:
        values["weight"] = 2
    else:
        aside = Glyph.LOSS in (source.role, target.role) or source.role in (Extra.WEIGHT, Glyph.CONSTANT)
        aside = aside or source.id in shortcuts or target.id in shortcuts
        aside = aside or (target.id in late and source.id not in late)
        fans_out = link.target in places and link.source not in places
        values["weight"] = 1 if aside or fans_out else 500
    ends = (link.target, link.source) if backwards else (link.source, link.target)
    return f"{ends[0]} -> {ends[1]} [{_attributes(**values)}]"
