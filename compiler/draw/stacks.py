"""Makes a figure easier to read: layers that belong together share a box, shapes stand where they change."""

from __future__ import annotations

from ..graph import EdgeKind
from ..ops.base import Glyph
from . import words
from .figure import Figure, Item, Link, Row, Shape
from .style import LAYERS, SMALL, Extra

_MOST_STRIPES = 5


def tidy(figure: Figure) -> Figure:
    """Fuses chains into stacks, losses with what computes them, and writes the shapes. Changes the figure and returns
    it."""
    _drop_idle_points(figure)
    _mark_skips(figure)
    _fuse(figure)
    _drop_lone_points(figure)
    _unframe(figure)
    _align(figure)
    _label(figure)
    return figure


def _mark_skips(figure: Figure) -> None:
    """A sum of a value with what was made of it is a skip, however it was written: `x + (x -> f)`."""
    incoming = figure.incoming()
    for item in figure.items.values():
        links = incoming[item.id]
        if item.shape is not Shape.CIRCLE or item.text.strip() != "+" or len(links) != 2:
            continue
        for link, other in (links, links[::-1]):
            both_data = link.kind is other.kind is EdgeKind.DATA
            if both_data and link.source != other.source and _reaches(link.source, other.source, incoming):
                link.kind = EdgeKind.SKIP


def _reaches(source: str, target: str, incoming: dict[str, list[Link]]) -> bool:
    """Whether data goes from one item to another. Searched from the target, nearest first."""
    near, seen = [target], {target}
    while near:
        before = [link.source for name in near for link in incoming[name] if not link.loose]
        near = [name for name in dict.fromkeys(before) if name not in seen]
        if source in near:
            return True
        seen.update(near)
    return False


def _fuse(figure: Figure) -> None:
    """Puts the next layer of a chain into the box of the one before, as long as the box stays readable."""
    incoming, outgoing = figure.incoming(), figure.outgoing()
    for name in list(figure.items):
        item = figure.items.get(name)
        while item is not None:
            links = outgoing[item.id]
            target = figure.items[links[0].target] if len(links) == 1 else None
            if target is None or links[0].kind is not EdgeKind.DATA or len(incoming[target.id]) != 1:
                break
            if item.group != target.group or item.aside != target.aside or item.times != 1 or target.times != 1:
                break
            if not _belongs(item, target):
                break
            _absorb(figure, item, target, links[0], outgoing)


def _belongs(item: Item, target: Item) -> bool:
    """Whether a layer continues the box before it: at most one norm and one layer a box; a layer may follow a
    norm, and a change of shape ends a box with a layer."""
    if Shape.POINT in (item.shape, target.shape) or Shape.CIRCLE in (item.shape, target.shape):
        return False
    roles = [stripe.role for stripe in item.stripes]
    new = target.role
    if roles == [Glyph.LOSS] and new is Glyph.LOSS:
        return True
    if not all(role in LAYERS or role in SMALL for role in roles) or len(roles) + len(target.stripes) > _MOST_STRIPES:
        return False
    if len(target.stripes) != 1:
        return False
    layers = sum(role in LAYERS for role in roles)
    if new is Glyph.NORM:
        return Glyph.NORM not in roles
    if new in LAYERS:
        return not layers and roles[0] is Glyph.NORM
    return new in (Glyph.ACTIVATION, Glyph.DROPOUT) or (new is Glyph.SHAPE and layers == 1)


def _absorb(figure: Figure, item: Item, target: Item, link: Link, outgoing: dict[str, list[Link]]) -> None:
    if target.role is Glyph.LOSS:
        computed, term = item.stripes[0], target.stripes[0]
        text = f"{computed.text} {term.text}".strip()
        item.stripes = [type(term)(Glyph.LOSS, text, term.name, computed.note)]
    else:
        item.stripes += target.stripes
    item.shape = Shape.BOX
    item.details += target.details
    figure.links.remove(link)
    outgoing[item.id] = outgoing.pop(target.id)
    for onward in outgoing[item.id]:
        onward.source = item.id
    del figure.items[target.id]


def _drop_idle_points(figure: Figure) -> None:
    """A dot from which nothing goes on is not drawn."""
    outgoing = figure.outgoing()
    idle = {item.id for item in figure.items.values() if item.shape is Shape.POINT and not outgoing[item.id]}
    figure.links = [link for link in figure.links if link.target not in idle]
    for name in idle:
        del figure.items[name]


def _drop_lone_points(figure: Figure) -> None:
    """A dot from which nothing forks is only a bend."""
    outgoing, incoming = figure.outgoing(), figure.incoming()
    for item in list(figure.items.values()):
        if item.shape is Shape.POINT and len(outgoing[item.id]) == 1 and len(incoming[item.id]) == 1:
            before, after = incoming[item.id][0], outgoing[item.id][0]
            if after.kind is EdgeKind.DATA:
                after.kind = before.kind
            if not after.label:
                after.label, after.sub = before.label, before.sub
            after.source = before.source
            figure.links.remove(before)
            outgoing[before.source] = [after if link is before else link for link in outgoing[before.source]]
            del figure.items[item.id]


def _unframe(figure: Figure) -> None:
    """A repetition of a single box needs no frame."""
    for group in list(figure.groups.values()):
        inside = [item for item in figure.items.values() if item.group == group.id]
        framed = any(other.parent == group.id for other in figure.groups.values())
        if group.kind == "repeat" and len(inside) == 1 and not framed and group.parent is not None:
            inside[0].times *= group.times
            inside[0].group = group.parent
            inside[0].shape = Shape.BOX
            del figure.groups[group.id]


def _align(figure: Figure) -> None:
    """The layers that a fork feeds stand side by side, those of gates above all."""
    incoming, outgoing = figure.incoming(), figure.outgoing()
    for fork in figure.forks:
        group = figure.items[fork].group
        fed = [figure.items[link.target] for link in outgoing[fork]]
        row = [item.id for item in fed if item.group == group and len(incoming[item.id]) == 1]
        if len(row) > 1:
            figure.rows.append(Row(row, ordered=False))


def _label(figure: Figure) -> None:
    """Writes a shape where an item changes it, once for all links that leave the item with it."""
    incoming = figure.incoming()
    written: set[tuple[str, str]] = set()
    for link in figure.links:
        source, target = figure.items[link.source], figure.items[link.target]
        text = words.shape_text(link.type)
        if (link.source, text) in written or link.kind is EdgeKind.SKIP or target.role is Glyph.LOSS:
            continue
        if link.label or link.loose or (target.shape is Shape.POINT and target.role is Extra.OUTPUT):
            continue
        before = [words.shape_text(other.type) for other in incoming[source.id] if not other.loose]
        if source.role in (Extra.WEIGHT, Glyph.CONSTANT) or (before and text == before[0]):
            continue
        if source.shape is Shape.POINT or (source.spread and target.spread):
            continue
        link.label = text
        written.add((link.source, text))
