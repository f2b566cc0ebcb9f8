"""Methods of a game: what its generators make, and the losses of each side."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..game import Game
from ..graph import Graph, Ref
from .body import Body, Lines
from .expr import attribute, call, constant, name
from .plan import Plan

if TYPE_CHECKING:
    from .python import _Writer

PLAY = "play"
LOSSES = {"discriminator": "discriminator_losses", "generator": "generator_losses"}
"""The method with the losses of each role."""

Method = tuple[Lines, dict[str, None]]


def game_methods(writer: _Writer, plan: Plan, game: Game, besides: Sequence[Ref]) -> list[Method]:
    """`play`, `forward`, and the losses of both sides, which take what `play` gives. besides: what losses read of what
    is made on the way to the outputs."""
    graph = plan.graph
    outputs = [graph.operands(n)[0] for n in graph.outputs]
    known = list(dict.fromkeys([*(writer.plans.facts[id(graph)].resolve(ref) for ref in outputs), *besides]))
    methods = [_play(writer, plan, graph, known), _forward(writer, plan, graph, outputs, known)]
    return [*methods, *(_losses(writer, plan, game, role, known) for role in LOSSES)]


def _play(writer: _Writer, plan: Plan, graph: Graph, known: list[Ref]) -> Method:
    body = Body(writer.plans, plan, graph, graph.inputs, known)
    nodes = body.needed()
    body.start()
    body.open(nodes, checked=True)
    writer.plans.set_size_parameters(plan, body.free)
    body.run(nodes)
    writer.leave(body, ast.Tuple([body.value(ref) for ref in body.roots], ast.Load()), body.roots)
    said = "What is made, and what losses read besides." if len(known) > len(graph.outputs) else "What is made."
    return writer.method(PLAY, body, graph, "tuple[Tensor, ...]", said=said)


def _forward(writer: _Writer, plan: Plan, graph: Graph, outputs: list[Ref], known: list[Ref]) -> Method:
    body = Body(writer.plans, plan, graph, graph.inputs, outputs)
    body.free |= writer.plans.size_parameters(graph)
    given = [name(body.parameters[n]) for n in graph.inputs]
    played = call(attribute(name("self"), PLAY), *given, **{v: name(v) for v in body.free.values()})
    part: ast.expr = constant(0) if len(outputs) == 1 else ast.Slice(None, constant(len(outputs)))
    whole = len(known) == len(outputs) > 1
    writer.leave(body, played if whole else ast.Subscript(played, part, ast.Load()), ())
    return writer.method("forward", body, graph, "Tensor" if len(outputs) == 1 else "tuple[Tensor, ...]")


def _losses(writer: _Writer, plan: Plan, game: Game, role: str, known: list[Ref]) -> Method:
    graph = plan.graph
    numbers = game.losses(graph, role)
    scores = [ref for pair in game.pairs for ref in pair.scores] if role == "discriminator" else []
    body = Body(writer.plans, plan, graph, graph.inputs, [*(graph.operands(n)[0] for n in numbers), *scores])
    nodes = body.needed(known)
    body.start()
    given = [body._name(body._wishes.get(ref) or graph[ref.node].name or "x") for ref in known]
    for ref, variable in zip(known, given, strict=True):
        body._hold(ref, variable)
    body.open(nodes, checked=False, losses=True)
    body.run(nodes)
    for number, ref in zip(numbers, body.roots, strict=False):
        held = body.values.get(ref)
        if held is not None and held.variable is None:
            body._settle(ref, graph[number].name)
    terms = ast.Dict(
        [ast.Constant(graph[n].name) for n in numbers], [body.value(r) for r in body.roots[: len(numbers)]]
    )
    result = "dict[str, Tensor]"
    if role == "discriminator":
        judged = ast.Tuple([body.value(ref) for ref in body.roots[len(numbers) :]], ast.Load())
        writer.leave(body, ast.Tuple([terms, judged], ast.Load()), ())
        said, result = "Losses; and of each pair the scores, real and made.", f"tuple[{result}, tuple[Tensor, ...]]"
    else:
        writer.leave(body, terms, ())
        said = "Losses."
    return writer.method(LOSSES[role], body, graph, result, said=said, further=given)
