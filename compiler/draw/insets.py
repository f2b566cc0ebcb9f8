"""The figure that is drawn unless a depth is asked for: as detailed as stays readable, and beside it what the closed
boxes hold, as in papers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ..graph import Graph, Kind, Program, Ref
from ..sizes import substitute
from . import words
from .cells import loop_of
from .figure import Figure, Group, Item, Link, Shape, Stripe
from .games import of_game
from .levels import local_name, within
from .outline import Builder, drawn
from .repeats import find_repeats
from .scope import End, Scope, TooLarge
from .stacks import tidy
from .style import Extra

READABLE = 30
_DEEPEST = 12
INSETS = 6
_NODES = 40  # what an inset shows has at most so many


def automatic(program: Program, graph: Graph, parameters: bool, most: int, unroll: int | None = None) -> Figure:
    """The most detailed figure that is still readable (the least detailed one when none is), with insets. unroll: how
    many steps of scans stand side by side, their cells closed."""
    if program.game is not None and graph is program.graph:
        return of_game(program, parameters, most, insets=True)
    draw = partial(drawn, program, graph, parameters=parameters, most=most, repeats={}, unroll=unroll)
    builder = draw(_depth(draw, least=0 if unroll is None else 1))
    with suppress(TooLarge):
        add_insets(builder)
    return tidy(builder.figure)


def of_depth(
    program: Program, graph: Graph, depth: int, parameters: bool, most: int, unroll: int | None = None
) -> Figure:
    """The figure with so many levels and blocks opened. Cells that are unrolled are opened beside it, each once. Of a
    game, 0 is as papers have it; a depth shows all that its objectives add."""
    if program.game is not None and graph is program.graph and not depth:
        return of_game(program, parameters, most, insets=False)
    builder = drawn(program, graph, depth, parameters, most, unroll=unroll)
    builder.unroll = None
    shown: set[str] = set()
    for scope, number, left in builder.beside:
        name = _callee(scope, number).name
        if name not in shown:
            shown.add(name)
            _block(builder, scope, number, f"i{len(shown)}", left)
    return tidy(builder.figure)


def _depth(draw: Callable[[int], Builder], least: int) -> int:
    """How many levels of blocks can be open in a readable figure; in one that shows at least so many scans unrolled,
    where that is possible."""
    size, unrolled = None, 0
    for depth in range(_DEEPEST):
        try:
            figure = tidy(draw(depth).figure)
        except TooLarge:
            if not depth:
                raise
            return depth - 1
        steps = {name for row in figure.rows if row.ordered for name in row.items}
        shown = sum(item.shape is not Shape.POINT and item.id not in steps for item in figure.items.values())
        before, size = size, (len(figure.groups), len(figure.items))
        if depth and (size == before or (shown > READABLE and unrolled >= least)):
            return depth - 1
        unrolled = figure.unrolled
    return _DEEPEST - 1


def add_insets(builder: Builder, most: int = INSETS) -> None:
    """Draws beside the figure what its closed boxes hold: each block once, and of levels that hold the same kinds of
    layers the first; then what those leave closed; no more than `most`. Raises TooLarge, with whole insets drawn so
    far."""
    builder.unroll = None
    shown: set[object] = set()
    for scope, what in builder.closed:  # grows while insets are drawn
        if len(shown) == most:
            return
        key, inside = _contents(scope, what)
        if key in shown or not 1 < _drawn(builder, scope, what, len(inside)) <= _NODES:
            continue
        shown.add(key)
        home = f"i{len(shown)}"
        if isinstance(what, int):
            _block(builder, *_commonest(builder, scope, what), home)
        else:
            _level(builder, scope, what, inside, home)


def _drawn(builder: Builder, scope: Scope, what: int | str, count: int) -> int:
    """How many nodes of a closed box are drawn. One that holds too many shows the levels of a pyramid once."""
    if isinstance(what, str) or count <= _NODES:
        return count
    callee = _callee(scope, what)
    runs = builder.repeats[id(callee)] = find_repeats(callee, loose=True)
    return count - sum(run.length * (run.times - 1) for run in runs)


def _contents(scope: Scope, what: int | str) -> tuple[object, list[int]]:
    """What makes two closed boxes alike, and the nodes of a box but for what enters and leaves it."""
    if isinstance(what, int):
        callee = _callee(scope, what)
        return callee.name, [n for n in callee.order() if callee[n].kind not in (Kind.INPUT, Kind.OUTPUT)]
    inside = [n for n in scope.graph.order() if within(scope.graph[n].level, what)]
    nodes = [scope.graph[n] for n in inside]
    return frozenset(n.graph.name if n.graph else n.op.name if n.op else n.kind for n in nodes), inside


def _commonest(builder: Builder, scope: Scope, number: int) -> tuple[Scope, int]:
    """Of the closed calls of the same block, one of the form that it has most often: of MBConv, with its way around."""
    blocks = [(s, n, g) for s, n in builder.closed if isinstance(n, int) and (g := s.graph[n].graph) is not None]
    alike = [(s, n, g) for s, n, g in blocks if g.name == _callee(scope, number).name]
    graphs = {id(s.graph): s.graph for s, _, _ in alike}.values()
    forms = Counter(_form(g) for outer in graphs for n in outer.nx.nodes if (g := outer[n].graph) is not None)
    best = max(alike, key=lambda found: forms[_form(found[2])])
    return best[0], best[1]


def _form(graph: Graph) -> tuple[object, ...]:
    """What two variants of a block with the same drawing agree in."""
    return (graph.name, *((graph[n].kind, type(graph[n].op)) for n in graph.order()))


def _callee(scope: Scope, number: int) -> Graph:
    callee = scope.graph[number].graph
    assert callee is not None
    return callee


def _block(builder: Builder, scope: Scope, number: int, home: str, depth: int = 0) -> None:
    node, callee = scope.graph[number], _callee(scope, number)
    title = words.block_text(callee, builder.silent.get(callee.name, frozenset()))
    builder.figure.groups[home] = Group(home, title, "inset", "root")
    sizes = {symbol: substitute(size, scope.sizes) for symbol, size in node.sizes}
    loop = loop_of(scope.graph, number) if node.scan is not None else None
    builder.draw(callee, f"{home}_", sizes, depth=depth, home=home, given=None, loop=loop)


def _level(builder: Builder, scope: Scope, level: str, inside: list[int], home: str) -> None:
    """The nodes of a level, between what enters it and what leaves it."""
    graph, members = scope.graph, set(inside)
    frames = {name: [f for f in found if within(f, level) and f != level] for name, found in scope.levels.items()}
    title = words.clean(local_name(level, scope.levels.get(level, [])), 40)
    if scope.prefix:  # not the network's own: of which block is it?
        title += f" in {words.block_text(graph, builder.silent.get(graph.name, frozenset()))}"
    builder.figure.groups[home] = Group(home, title, "inset", "root")
    inner = Scope(graph, f"{home}_", scope.sizes, 0, home, None, scope.numbers, levels=frames, thin=scope.thin)
    inner.uses = scope.uses
    for ref in dict.fromkeys(ref for n in inside for ref in graph.operands(n) if ref.node not in members):
        known = ref.node in scope.numbers
        item = "" if known else _terminal(builder, f"{home}_in{ref.node}_{ref.result}", Extra.INPUT, "input", home)
        inner.ends[ref] = End(item, graph.type(ref).substitute(scope.sizes))
    builder.nodes(inner, members)
    for ref in dict.fromkeys(
        Ref(n, result) for n in inside for result, user, _ in graph.users(n) if user not in members
    ):
        item = _terminal(builder, f"{home}_out{ref.node}_{ref.result}", Extra.OUTPUT, "output", home)
        end = inner.ends[ref]
        builder.figure.links.append(Link(end.item, item, end.kind, end.type))


def _terminal(builder: Builder, name: str, role: Extra, text: str, home: str) -> str:
    return builder.add(Item(name, Shape.PILL, [Stripe(role, "", text)], home)).id
