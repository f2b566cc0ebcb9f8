"""The test of a game: each side's objective moves its own players, and what discriminators learn moves no generator."""

from __future__ import annotations

from typing import Any

import torch
from archlang.compiler.analysis.biases.findings import Finding
from archlang.compiler.analysis.cost import cost
from archlang.compiler.flatten import FlattenLimit
from archlang.compiler.game import Game
from archlang.compiler.graph import Program
from archlang.compiler.sizes import evaluate, substitute, symbols
from torch import Tensor, nn

from ..module import build
from ..seeding import fixed_noise
from .bench import BUDGET, Bench, draw, indices_of, randomise
from .results import Costly, Measured, Outcome, Untestable

_ROWS = 4
_PASSES = 12  # a round of a game costs about as much as so many passes through what makes its outputs
_OPEN = 8  # the size of an axis that the spec leaves open, without a nominal one


def adversarial(bench: Bench, finding: Finding, seed: int) -> Measured:
    """Each side's losses have a gradient for every weight of its players; what pairs have discriminators minimise sends
    generators none."""
    program, game = bench.program, bench.program.game
    if game is None:
        return Measured(Outcome.CONTRADICTED, note="nobody plays")
    inputs = _inputs(program, seed)
    module: Any = _module(bench, seed)
    with fixed_noise(torch.device("cpu")):
        try:
            made = module.play(*inputs)
            terms = {
                "discriminator": module.discriminator_losses(*inputs, *made)[0],
                "generator": module.generator_losses(*inputs, *made),
            }
        except (RuntimeError, ValueError, IndexError) as failure:
            raise Untestable(f"the game does not run on random data: {str(failure)[:100]}") from failure
    if not all(bool(torch.isfinite(v)) for side in terms.values() for v in side.values()):
        raise Untestable("the losses are not finite")
    moved = {name: _moved(module, name, list(terms[player.role].values())) for name, player in game.players.items()}
    idle = [name for name, most in moved.items() if most is None]
    if idle:
        return Measured(Outcome.CONTRADICTED, note=f"no gradient reaches all of `{idle[0]}`")
    leaks = _leak(module, game, terms["discriminator"])
    if leaks:
        return Measured(Outcome.CONTRADICTED, note=f"what discriminators minimise has a gradient for `{leaks}`")
    least = min(most for most in moved.values() if most is not None)
    if not least:
        raise Untestable("with these weights the objective is flat for one of the players")
    return Measured(Outcome.AGREES, note=f"gradients of {least:.3g} and more move each player")


def _inputs(program: Program, seed: int) -> list[Tensor]:
    """A few random examples, targets included. Raises Untestable."""
    graph = program.graph
    names = {name for n in graph.inputs for size in graph[n].types[0].shape for name in symbols(size)}
    sizes = {name: _ROWS if name == "B" else graph.nominal.get(name, _OPEN) for name in names}
    flops = cost(program).flops
    spent = None if flops is None else substitute(flops, {"B": _ROWS, **sizes})
    if isinstance(spent, int) and spent * _PASSES > BUDGET:
        raise Costly(f"a round of the game costs about {spent * _PASSES / 1e9:,.0f} GFLOPs")
    try:
        most = indices_of(graph.flatten())
    except FlattenLimit as limit:
        raise Untestable(str(limit)) from None
    generator = torch.Generator().manual_seed(seed + 1)
    types = [graph[n].types[0] for n in graph.inputs]
    return [draw(t.dtype, tuple(int(evaluate(s, sizes)) for s in t.shape), most, generator) for t in types]


def _module(bench: Bench, seed: int) -> nn.Module:
    """The game in double precision and evaluation mode, with the bench's weights or those of the seed."""
    with torch.random.fork_rng(devices=[]):
        module = build(bench.program, started=False).double().eval()
    if bench.state is None:
        randomise(module, bench.program.graph, seed)
    else:
        module.load_state_dict(dict(bench.state))
    return module


def _moved(module: nn.Module, player: str, losses: list[Tensor]) -> float | None:
    """The largest gradient of a player's weights; None where one of them has none."""
    parameters = list(module.get_submodule(player).parameters())
    total = torch.stack(losses).sum()
    found = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    if any(gradient is None for gradient in found):
        return None
    return max(float(gradient.abs().max()) for gradient in found if gradient is not None)


def _leak(module: nn.Module, game: Game, terms: dict[str, Tensor]) -> str | None:
    """A weight of a generator that has a gradient of what pairs have discriminators minimise."""
    losses = [terms[name] for pair in game.pairs for name in pair.losses if name in terms]
    named = [
        (f"{player}.{key}", parameter)
        for player in game.team("generator")
        for key, parameter in module.get_submodule(player).named_parameters()
    ]
    total = torch.stack(losses).sum()
    if not total.requires_grad:
        return None
    found = torch.autograd.grad(total, [p for _, p in named], retain_graph=True, allow_unused=True)
    return next((key for (key, _), g in zip(named, found, strict=True) if g is not None), None)
