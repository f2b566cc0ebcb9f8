"""Games: players, and what a pair's objective means as layers and losses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .. import ops
from ..diagnostics import Label, did_you_mean, error
from ..game import OBJECTIVES, Hinge, LeastSquares, Minimax, NonSaturating, Objective, Pair, Player, Wasserstein
from ..graph import Graph, Kind, Node, Ref
from ..ops.noise import Noise
from ..sizes import Verdict, compare
from ..source import Span
from ..syntax import ast
from .settings import find_kind, read_call
from .values import POISON, Module, Poisoned, Recipe, Tensor, describe, together

if TYPE_CHECKING:
    from .statements import Body


def declare_player(s: ast.PlayerStmt, body: Body) -> None:
    """`generator G = Generator(latent)`."""
    name = s.name.text
    if body.game is None:
        raise _no_game(f"a {s.role}", s.span)
    value = body.eval(s.value)
    if not isinstance(value, Recipe) or value.kind == "cell":
        raise error("A0551", f"a player is a network, a block or a layer, found {describe(value)}", s.value.span)
    body.own_module(name, value, s.name.span, s.span)
    body.game.players[name] = Player(name, s.role, s.span)


def declare_pair(s: ast.PairStmt, body: Body) -> None:
    """`pair G vs D on (real, fake) by hinge`: the losses of both, as part of the graph."""
    if body.game is None:
        raise _no_game("a pair", s.span)
    objective, first, second, (real, made), extra = together(
        lambda: _objective(s.objective, body),
        lambda: _player(s.first, "generator", body),
        lambda: _player(s.second, "discriminator", body),
        lambda: _judged(s, body),
        lambda: body.named_data(s.extra, "with"),
    )
    together(lambda: _comparable(s, real, made, body), lambda: _beside_others(s, objective, real, made, body))
    judge = _Judge(s, body, body.names[second], extra)
    body.game.pairs.append(_Played(s, body, first, second, objective, judge).losses(real, made))


def _judged(s: ast.PairStmt, body: Body) -> list[Tensor]:
    """What is real and what is made."""
    if len(s.on) != 2:
        raise error(
            "A0552",
            f"a pair plays over two tensors, what is real and what is made, found {len(s.on)}",
            s.span,
            help="write `on (real, fake)`",
        )
    real, made = together(*(partial(lambda e: body.tensor(body.eval(e), e.span), e) for e in s.on))
    if real.ref == made.ref:
        help = "write what is real first, and then what the generator makes of noise or of other data"
        raise error("A0552", "what is real and what is made are the same tensor", s.on[1].span, help=help)
    return [real, made]


def _beside_others(s: ast.PairStmt, objective: Objective, real: Tensor, made: Tensor, body: Body) -> None:
    """Can a pair stand beside those before it?"""
    assert body.game is not None
    players = s.first.text, s.second.text
    for other in body.game.pairs:
        labels = [Label(other.span, "the other pair")] if other.span is not None else []
        if (other.generator, other.discriminator, other.real, other.made) == (*players, real.ref, made.ref):
            message = f"`{players[0]}` plays against `{players[1]}` over the same tensors twice"
            help = "leave one out; a loss that counts more is written `loss … weight 2 over …`"
            raise error("A0551", message, s.span, labels=labels, help=help)
        for setting, why in _shared(other, players[1], made):
            one, two = (getattr(o, setting, None) for o in (other.objective, objective))
            if one != two:
                values = (
                    f"{'nothing' if one is None else one} in one pair, {'nothing' if two is None else two} in another"
                )
                message, help = f"{why}: `{setting}` can't be {values}", f"give both pairs the same `{setting}`"
                raise error("A0553", message, s.objective.span, labels=labels, help=help)


def _shared(other: Pair, discriminator: str, made: Tensor) -> Iterator[tuple[str, str]]:
    """Settings that two pairs must agree in, and why."""
    yield "critic_steps", "discriminators step together"
    if other.made == made.ref:
        yield "pool", "what is made is kept once"
    if other.discriminator == discriminator:
        yield "clip", "the weights of a discriminator have one bound"


def _no_game(what: str, span: Span) -> Exception:
    help = "declare the program with `adversarial Name { … }`"
    return error("A0550", f"{what} belongs to an `adversarial` program", span, help=help)


def _objective(e: ast.Expr, body: Body) -> Objective:
    name, kind = find_kind(e, OBJECTIVES, "A0553", "there is no objective")
    objective, _ = read_call(kind, e, body)
    problem = objective.problem()
    if problem:
        raise error("A0553", f"`{name}` {problem}", e.span)
    return objective


def _player(name: ast.Ident, role: str, body: Body) -> str:
    assert body.game is not None
    found = body.game.players.get(name.text)
    if found is None:
        if body.names.get(name.text) is POISON:
            raise Poisoned
        known = body.game.team(role)
        help = did_you_mean(name.text, known) or f"declare it: `{role} {name.text} = …`"
        raise error("A0551", f"there is no {role} `{name.text}`", name.span, help=help)
    if found.role != role:
        labels = [Label(found.span, "declared here")] if found.span else []
        help = "a pair names the generator first: `pair G vs D on (real, fake) by …`"
        raise error(
            "A0551", f"`{name.text}` is a {found.role}, and a {role} stands here", name.span, labels=labels, help=help
        )
    return name.text


def _comparable(s: ast.PairStmt, real: Tensor, made: Tensor, body: Body) -> None:
    labels = [Label(real.span, f"what is real is {real.type}"), Label(made.span, f"what is made is {made.type}")]
    message = f"`{s.second.text}` compares {real.type} with {made.type}"
    same = real.type.dtype == made.type.dtype and real.type.rank == made.type.rank
    if same:
        sizes = list(zip(real.type.shape, made.type.shape, strict=True))
        batches = [isinstance(size, int) for size in sizes[0]] if sizes else []
        same = len(set(batches)) < 2 and all(compare(a, b) is not Verdict.REFUTED for a, b in sizes)
    if not same:
        raise error(
            "A0552", message, s.span, labels=labels, help="what a generator makes has the shape of what is real"
        )
    if real.type.dtype != "float" or not real.type.rank:
        raise error(
            "A0552",
            f"a pair compares real numbers, one example after the other, not {real.type}",
            s.span,
            labels=labels,
        )
    for one, other in sizes:
        body.agree(one, other, message, s.span)


@dataclass
class _Judge:
    """Sends examples through the discriminator of a pair. extra: what it is given besides, by name."""

    s: ast.PairStmt
    body: Body
    module: Module
    extra: dict[str, tuple[Tensor, Span]]

    def __call__(self, x: Tensor) -> Tensor:
        found = self.body.through(self.module, [x], self.s.span, dict(self.extra))
        if isinstance(found, Tensor) and found.type.dtype == "float" and _one_each(found, x):
            return found
        raise error(
            "A0558",
            f"`{self.module.path}` gives {found.type if isinstance(found, Tensor) else describe(found)}, and is to "
            f"give scores of {x.type}",
            self.s.second.span,
            labels=[Label(self.module.span, "declared here")],
            help="a discriminator has one output: a number for each example, or for each patch of each",
        )


def _one_each(scores: Tensor, x: Tensor) -> bool:
    """Is there a score for each example? A fixed number of them is none, where a batch holds any number of examples."""
    if not scores.type.rank:
        return False
    given, wanted = scores.type.shape[0], x.type.shape[0]
    fixed = isinstance(given, int) and not isinstance(wanted, int)
    return not fixed and compare(given, wanted) is not Verdict.REFUTED


@dataclass
class _Played:
    """A pair on its way into the graph."""

    s: ast.PairStmt
    body: Body
    generator: str
    discriminator: str
    objective: Objective
    judge: _Judge

    def losses(self, real: Tensor, made: Tensor) -> Pair:
        """Adds the losses of both players. What reaches the discriminator sends the generator no gradient."""
        before = len(self.body.graph.losses)
        still = self.op("stop_gradient", made)
        seen = self.op("leaf", real) if self.objective.r1 else real
        on_real, on_made = self.judge(seen), self.judge(still)
        self.discriminate(on_real, on_made)
        if self.objective.r1:
            self.loss("r1", self.discriminator, self.squared_slope(on_real, seen), self.objective.r1 / 2)
        if isinstance(self.objective, Wasserstein) and self.objective.gradient_penalty:
            self.loss("penalty", self.discriminator, self.penalty(real, still), self.objective.gradient_penalty)
        self.generate(self.judge(made))
        return Pair(
            self.generator,
            self.discriminator,
            real.ref,
            made.ref,
            self.objective,
            (on_real.ref, on_made.ref),
            tuple(self.body.graph[n].name for n in self.body.graph.losses[before:]),
            self.s.span,
        )

    def discriminate(self, on_real: Tensor, on_made: Tensor) -> None:
        """The discriminator's terms, on real and on made examples."""
        match self.objective:
            case Minimax() | NonSaturating():  # −log σ(s) = softplus(−s), −log(1 − σ(s)) = softplus(s)
                real, made, weight = self.op("softplus", self.negative(on_real)), self.op("softplus", on_made), 1.0
            case LeastSquares():
                real, made, weight = self.op("square", self.plus(on_real, -1.0)), self.op("square", on_made), 0.5
            case Hinge():
                real = self.op("relu", self.plus(self.negative(on_real), 1.0))
                made, weight = self.op("relu", self.plus(on_made, 1.0)), 1.0
            case _:
                real, made, weight = self.negative(on_real), on_made, 1.0
        self.loss("real", self.discriminator, self.op("mean", real), weight)
        self.loss("made", self.discriminator, self.op("mean", made), weight)

    def generate(self, score: Tensor) -> None:
        """The generator's term."""
        match self.objective:
            case Minimax():
                term = self.negative(self.op("softplus", score))
            case NonSaturating():
                term = self.op("softplus", self.negative(score))
            case LeastSquares():
                term = self.op("square", self.plus(score, -1.0))
            case _:
                term = self.negative(score)
        self.loss("made", self.generator, self.op("mean", term), 1.0)

    def squared_slope(self, score: Tensor, x: Tensor) -> Tensor:
        """E‖∇s‖² at x, over examples."""
        return self.op("mean", self.op("sum", self.op("square", self.slope(score, x)), axis=-1))

    def penalty(self, real: Tensor, made: Tensor) -> Tensor:
        """E[(‖∇s‖ − 1)²] at points drawn uniformly on the lines between real and made examples."""
        sizes = (real.type.shape[0], *(1 for _ in real.type.shape[1:]))
        noise = Noise(distribution="uniform", values=(0.0, 1.0), names=(None,) * len(sizes), sizes=sizes)
        share = self.body.apply(noise, (), self.s.span)[0]
        way = self.op("mul", share, self.op("sub", real, made))
        between = self.op("leaf", self.op("add", made, way))
        length = self.op("norm", self.slope(self.judge(between), between), axis=-1)
        return self.op("mean", self.op("square", self.plus(length, -1.0)))

    def slope(self, score: Tensor, x: Tensor) -> Tensor:
        """The gradient of the scores with respect to x, flat: [B, elements of an example]."""
        found = self.op("input_gradient", score, x)
        return self.op("unsqueeze", found, axis=1) if found.type.rank == 1 else self.op("flatten", found)

    # -- small pieces

    def op(self, name: str, *operands: Tensor, **settings: object) -> Tensor:
        return self.body.apply(ops.require(name)(**settings), operands, self.s.span)[0]

    def negative(self, x: Tensor) -> Tensor:
        return self.op("neg", x)

    def plus(self, x: Tensor, number: float) -> Tensor:
        size = self.body.tensor(abs(number), self.s.span)
        return self.op("add" if number > 0 else "sub", x, size)

    def loss(self, what: str, player: str, value: Tensor, weight: float) -> None:
        graph = self.body.graph
        taken = {graph[n].name for n in graph.losses}
        name = plain = f"{player}_{what}"
        number = 1
        while name in taken:
            number += 1
            name = f"{plain}{number}"
        node = Node(Kind.LOSS, (value.type,), name=name, loss_weight=weight, over=(player,), span=self.s.span)
        self.body.add(node, [value.ref])


def whose(s: ast.LossStmt, body: Body) -> tuple[str, ...]:
    """The players whose loss a `loss` statement adds, which step together. None in a network."""
    if body.game is None:
        if s.over:
            raise _no_game("`over`", s.over[0].span)
        return ()
    players = body.game.players
    if not s.over:
        help = f"write `loss {s.name.text} over {next(iter(players), 'G')} = …`"
        raise error("A0554", "in a game a loss says whose it is", s.span, help=help)

    def known(name: ast.Ident) -> None:
        if name.text not in players:
            if body.names.get(name.text) is POISON:
                raise Poisoned
            help = did_you_mean(name.text, players) or f"the players: {', '.join(f'`{p}`' for p in players) or 'none'}"
            raise error("A0554", f"there is no player `{name.text}`", name.span, help=help)

    together(*(partial(known, name) for name in s.over))
    if len({players[name.text].role for name in s.over}) > 1:
        help = "write a loss for each side; what steps with the generator is declared as a `generator`"
        raise error("A0554", "generators and discriminators don't step together", s.span, help=help)
    return tuple(dict.fromkeys(name.text for name in s.over))


def close_game(item: ast.Definition, body: Body) -> None:
    """What can be told when a game has been read: its outputs are what its pairs make."""
    game, graph = body.game, body.graph
    assert game is not None
    names = {v.ref: n for n, v in body.names.items() if isinstance(v, Tensor)}
    declared, graph.outputs = {graph.operands(n)[0]: n for n in graph.outputs}, []
    for ref, span in {pair.made: pair.span for pair in game.pairs}.items():
        if ref in declared:
            graph.outputs.append(declared.pop(ref))
        else:
            body.add(Node(Kind.OUTPUT, (graph.type(ref),), name=names.get(ref, "made"), span=span), [ref])
    made = list(graph.outputs)
    graph.outputs += declared.values()
    for number in made:
        entry = _made_alone(graph, number)
        if len(made) == 1 and not any(entry[n].types[0].rank for n in entry.inputs):
            entry.name = "generate"
        if entry.name not in body.entries:
            body.entries[entry.name] = entry
    if not game.pairs:
        body.failed = True
        help = "say who plays against whom: `pair G vs D on (real, fake) by non_saturating`"
        body.session.sink.extend(
            error("A0559", f"`{item.name.text}` is a game without a pair", item.name.span, help=help)
        )


def _made_alone(graph: Graph, output: int) -> Graph:
    """What makes an output of a game, as a program of its own over the same weights: noise, and what it reads of the
    data."""
    alone = Graph(graph[output].name, "entry", modules=graph.modules, weights=graph.weights, span=graph[output].span)
    needed, placed = graph.needed([output]), dict[int, int]()
    for number in graph.order():
        if number in needed:
            operands = [Ref(placed[ref.node], ref.result) for ref in graph.operands(number)]
            placed[number] = alone.add(graph[number], operands, graph.operand_kinds(number))
    alone.values = {n: Ref(placed[r.node], r.result) for n, r in graph.values.items() if r.node in placed}
    alone.nominal = dict(graph.nominal)
    return alone
