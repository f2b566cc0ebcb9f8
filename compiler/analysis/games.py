"""Checks of games that need the whole graph: whose weights are whose, and whether each player's losses reach them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..diagnostics import Diagnostic, Label, Severity
from ..game import Game, Hinge, Pair, Player
from ..graph import Graph, Instance, Program
from ..ops.norm import BatchNorm
from ..source import Span
from .cost import Counter
from .gradients import Gradients
from .ranges import Ranges

_NAMED = 3  # weights that a message names
_STEP = "`generator E = …` steps with the generators"


def check_game(program: Program) -> Iterator[Diagnostic]:
    """What is wrong with a program's game, if it is one: A0555 players of both sides share weights, A0556 weights are
    no player's, A0557 no loss reaches weights of a player."""
    game, graph = program.game, program.graph
    if game is None:
        return
    yield from _passed(game, graph)
    yield from _unowned(game, graph)
    yield from _reach(game, graph)


def trained(graph: Graph, player: str) -> list[str]:
    """Keys of what a player learns, in order."""
    module = graph.modules.get(player)
    if module is None:
        return []
    if isinstance(module, Instance):
        return [key for key, spec in module.graph.state(f"{player}.") if spec.role == "param"]
    return [f"{player}.{spec.name}" for spec in module.made if spec.role == "param"]


def _takers(game: Game, graph: Graph) -> Iterator[tuple[Player, str, Span | None]]:
    """Modules that are passed to players: to whom, which (the first part of its path), where it is used."""
    for number in graph:
        taker = game.players.get(graph[number].module or "")
        if taker is not None:
            for _, path in graph[number].bindings:
                yield taker, path.partition(".")[0], graph[number].span


def _passed(game: Game, graph: Graph) -> Iterator[Diagnostic]:
    """Players that are passed to the other side."""
    said: set[tuple[str, str]] = set()
    for taker, name, _ in _takers(game, graph):
        owner = game.players.get(name)
        if owner is None or owner.role == taker.role or (taker.name, name) in said:
            continue
        said.add((taker.name, name))
        labels = (Label(owner.span, f"declared as a {owner.role} here"),) if owner.span is not None else ()
        yield Diagnostic(
            "A0555",
            f"`{taker.name}` and `{name}` play against each other, and `{taker.name}` holds the weights of `{name}`",
            taker.span,
            labels,
            help=f"a step of the {owner.role}s would change the {taker.role} too: give `{taker.name}` weights of its "
            f"own, or send it what `{name}` makes",
        )


def _unowned(game: Game, graph: Graph) -> Iterator[Diagnostic]:
    """Modules and bare weights that learn and are no player's."""
    counter = Counter()
    for path, module in graph.modules.items():
        if path in game.players or not counter.module(module).parameters:
            continue
        takers = {taker.name: taker for taker, name, _ in _takers(game, graph) if name == path.partition(".")[0]}
        if len({taker.role for taker in takers.values()}) > 1:
            labels = tuple(Label(t.span, f"`{t.name}` holds it") for t in takers.values() if t.span is not None)
            listing = " and ".join(f"`{name}`" for name in takers)
            message = f"{listing} play against each other, and share the weights of `{path}`"
            yield Diagnostic("A0555", message, module.span, labels, help=f"make a module for each side; {_STEP}")
        else:
            message = f"`{path}` has weights, and is no player's: nothing trains them"
            yield Diagnostic("A0556", message, module.span, help=f"put it into a player, or make it one: {_STEP}")
    for path, spec in graph.weights.items():
        if spec.role == "param":
            place = next((graph[n].span for n in graph if graph[n].weight == path), graph.span)
            message = f"`{path}` is a weight of no player: nothing trains it"
            yield Diagnostic("A0556", message, place, help="declare it in the block of a player")


def _reach(game: Game, graph: Graph) -> Iterator[Diagnostic]:
    """Each loss reaches the players that it names, and the losses of a side together all weights of each player."""
    flows, depends = Gradients(), Gradients(everything=True)
    made = {pair.span for pair in game.pairs}
    for player in game.players.values():
        keys = trained(graph, player.name)
        if not keys:
            yield _nothing_learns(player, used=player.name in graph.modules)
            continue
        values = frozenset(graph.operands(n)[0] for n in game.losses(graph, player.role))
        found = flows.of(graph, values)
        missing = [key for key in keys if key not in found.weights]
        if missing:
            read = depends.of(graph, values).weights
            stops = found.stops - made if any(key in read for key in missing) else frozenset()
            yield _unreached(game, player, missing, len(missing) == len(keys), graph, stops)
        else:
            yield from _idle(game, player, keys, graph, flows)


def _idle(game: Game, player: Player, keys: list[str], graph: Graph, flows: Gradients) -> Iterator[Diagnostic]:
    """Losses over a player that does nothing for them."""
    for number in game.losses(graph, player.role):
        node = graph[number]
        if player.name in node.over and flows.of(graph, frozenset(graph.operands(number))).weights.isdisjoint(keys):
            yield Diagnostic(
                "A0557",
                f"`{node.name}` is a loss over `{player.name}`, and its gradient reaches none of its weights",
                node.span,
                help=f"compute it from what `{player.name}` gives, without `stop_gradient` on the way",
            )


def _nothing_learns(player: Player, *, used: bool) -> Diagnostic:
    if not used:
        help = f"send data through it, as in `made = z -> {player.name}`"
        return Diagnostic("A0557", f"`{player.name}` is declared, and never used", player.span, help=help)
    help = "a player is what steps; a function without weights needs no player"
    return Diagnostic("A0557", f"`{player.name}` has no weights: it can't play", player.span, help=help)


def _unreached(
    game: Game, player: Player, missing: list[str], whole: bool, graph: Graph, stops: frozenset[Span]
) -> Diagnostic:
    """No loss of a player's side reaches these weights, which are all (`whole`) or some of its own. stops: where
    gradients end, if losses depend on the weights."""
    cuts = tuple(Label(span, "no gradient passes here") for span in sorted(stops, key=lambda s: s.start)[:_NAMED])
    if whole:
        paired = any(player.name in (pair.generator, pair.discriminator) for pair in game.pairs)
        help = f"let it play in a pair, or write `loss … over {player.name} = …`"
        if any(pair.generator == player.name and _backwards(pair, graph, missing) for pair in game.pairs):
            help = "what is real stands first in a pair: `on (real, fake)`"
        elif paired:
            help = "a gradient must flow from the scores back to it"
        message = f"`{player.name}` has no objective: no loss of the {player.role}s reaches it"
        return Diagnostic("A0557", message, player.span, cuts, help=help)
    listing = ", ".join(f"`{key}`" for key in missing[:_NAMED])
    if len(missing) > _NAMED:
        listing += f" and {len(missing) - _NAMED} more"
    declared = (Label(player.span, f"`{player.name}` is declared here"),) if player.span is not None else ()
    return Diagnostic(
        "A0557",
        f"no loss of the {player.role}s reaches {listing}",
        _place(graph, missing[0]) or player.span,
        (*declared, *cuts),
        help="let what they make enter the output that is judged, or leave them out",
    )


def _backwards(pair: Pair, graph: Graph, keys: Iterable[str]) -> bool:
    """Does the generator of these weights make what stands where the real examples should, and not the other?"""
    depends = Gradients(everything=True)
    first, second = (depends.of(graph, frozenset([ref])).weights for ref in (pair.real, pair.made))
    return not first.isdisjoint(keys) and second.isdisjoint(keys)


def one_sided(program: Program) -> Iterator[Diagnostic]:
    """A warning (A0561) for every pair whose scores are known to have one sign only, by an objective that tells what is
    real from what is made by it."""
    game, graph = program.game, program.graph
    pairs = [p for p in game.pairs if p.objective.logits or isinstance(p.objective, Hinge)] if game is not None else []
    found = Ranges().of(graph) if pairs else None
    for pair in pairs:
        assert game is not None and found is not None
        bounds = found[pair.scores[0]].interval
        if bounds.lo < 0 < bounds.hi:
            continue
        player, by = game.players[pair.discriminator], pair.objective.name
        side, never = ("below", "made") if bounds.lo >= 0 else ("above", "real")
        labels = (Label(player.span, f"gives scores in {bounds.text}"),) if player.span is not None else ()
        yield Diagnostic(
            "A0561",
            f"scores of `{player.name}` are never {side} 0, where `{by}` takes an example for {never}",
            pair.span,
            labels,
            help=f"leave out what bounds the scores, such as `sigmoid`: `{by}` takes any numbers",
            severity=Severity.WARNING,
        )


def mixed(program: Program) -> Iterator[Diagnostic]:
    """A warning (A0563) for every pair that penalises the slope at each example of a discriminator with `batchnorm`,
    whose score of an example depends on the others (Gulrajani et al., 2017, section 4)."""
    game, graph = program.game, program.graph
    for pair in game.pairs if game is not None else ():
        player = graph.modules.get(pair.discriminator)
        if pair.objective.slope is None or not isinstance(player, Instance):
            continue
        inner = [below[number] for below in player.graph.graphs() for number in below]
        norms = list(dict.fromkeys(node.span for node in inner if isinstance(node.op, BatchNorm)))
        if not norms:
            continue
        first = f", the first of {len(norms)}," if len(norms) > 1 else ""
        labels = (Label(pair.span, f"`{pair.objective.slope}` is about one example"),) if pair.span is not None else ()
        yield Diagnostic(
            "A0563",
            f"`batchnorm`{first} makes a score of `{pair.discriminator}` depend on all examples of the batch, and "
            f"`{pair.objective.slope}` penalises its slope at each alone",
            norms[0],
            labels,
            help="use a norm that looks at one example, such as `layernorm`, `groupnorm` or `instancenorm`, or none",
            severity=Severity.WARNING,
        )


def _place(graph: Graph, key: str) -> Span | None:
    """Where the layer of a weight stands; for a bare weight, the block."""
    path = key
    while "." in path:
        path = path.rpartition(".")[0]
        module = graph.module_at(path)
        if module is not None:
            return module.span
    return None
