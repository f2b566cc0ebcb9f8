"""The game loop: discriminators and generators in turns."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import reduce
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from archlang.compiler.game import Game
from torch import Tensor, nn

from ..phases import Phase
from ..steps import Batch
from .pool import Pools

if TYPE_CHECKING:
    from lightning_fabric import Fabric

GENERATOR, DISCRIMINATOR = "loss", "discriminator loss"
"""What the objectives of the two sides are called in a report."""
SIDES = {GENERATOR: "generators' loss", DISCRIMINATOR: "discriminators' loss"}


class GameSteps:
    """The steps of a game. For each group of batches the discriminators learn once; every `critic_steps` groups the
    generators do, from what they made for the discriminators' last step, so that nothing is made twice. Where several
    batches make a group they make anew, for only one batch's graph is held at a time.

    Each side differentiates its own objective with respect to its own parameters only: the other side's ask for no
    gradient meanwhile, and none is left over from its step. Between processes gradients are averaged just before an
    update.

    scores: of the newest batch what the discriminators answered, of each pair real and made, [B, …] without gradients.
    """

    def __init__(self, phase: Phase, game: Game, pools: Pools) -> None:
        self.phase, self.game, self.pools = phase, game, pools
        self.fabric: Fabric = phase.learner.fabric
        self.several = self.fabric.world_size > 1
        module: Any = phase.learner.module
        self.play, self.judge, self.persuade = module.play, module.discriminator_losses, module.generator_losses
        if phase.learner.compiled is not phase.learner.trainee:
            self.play, self.persuade = _compiled(self.play), _compiled(self.persuade)
            if not game.penalised:  # compiled code can be differentiated once
                self.judge = _compiled(self.judge)
        self.weights: dict[str, float] = module.loss_weights
        self.teams = phase.teams
        self.context = self.fabric.autocast if phase.plan.precision != "fp32" else nullcontext
        self.clips = _clips(module, game)
        self.held: list[Batch] = []
        self.scores: tuple[Tensor, ...] = ()

    def begin(self) -> None:
        self.held = []

    def learn(self, batch: Batch, group: int, closes: bool, update: int) -> dict[str, Tensor]:
        self.held.append(batch)
        if not closes:
            return {}
        batches, self.held = self.held, []
        whole = (update + 1) % self.game.critic_steps == 0
        found, made = self._discriminate(batches, keep=whole and len(batches) == 1)
        self._update("discriminator")
        for bound, parameters in self.clips:
            with torch.no_grad():
                torch._foreach_clamp_min_(parameters, -bound)
                torch._foreach_clamp_max_(parameters, bound)
        if whole:
            found |= self._generate(batches, made)
            self._update("generator")
        return found

    # -- the two sides

    def _discriminate(self, batches: list[Batch], keep: bool) -> tuple[dict[str, Tensor], tuple[Tensor, ...] | None]:
        """The discriminators' gradients. `keep`: what was made is kept with its graph, for the generators."""
        losses: list[Tensor] = []
        made: tuple[Tensor, ...] | None = None
        for batch in batches:
            with self.context():
                with nullcontext() if keep else torch.no_grad():
                    made = self.play(*batch)
                shown = self.pools.shown(tuple(x.detach() for x in made))
                with _resting(self.teams["generator"]):
                    terms, scores = self.judge(*batch, *shown)
            losses.append(self._backward("discriminator", terms, len(batches)))
            self.scores = tuple(score.detach() for score in scores)
        return {DISCRIMINATOR: _mean(losses)}, made if keep else None

    def _generate(self, batches: list[Batch], made: tuple[Tensor, ...] | None) -> dict[str, Tensor]:
        losses = []
        for batch in batches:
            with self.context():
                values = self.play(*batch) if made is None else made
                with _resting(self.teams["discriminator"]):
                    terms = self.persuade(*batch, *values)
            losses.append(self._backward("generator", terms, len(batches)))
        return {GENERATOR: _mean(losses)}

    def _backward(self, role: str, terms: dict[str, Tensor], group: int) -> Tensor:
        weighted = [term if self.weights[n] == 1.0 else self.weights[n] * term for n, term in terms.items()]
        total = reduce(torch.add, weighted)
        if self.teams[role]:
            (total / group if group > 1 else total).backward()
        return total.detach()

    def _update(self, role: str) -> None:
        if self.several:
            self._average(self.teams[role])
        self.phase.clip(self.teams[role])
        self.phase.step(role)

    def _average(self, parameters: list[nn.Parameter]) -> None:
        """The mean of the processes' gradients."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        flat = torch.cat([g.flatten() for g in gradients])
        mean = self.fabric.all_reduce(flat, reduce_op="mean")
        assert isinstance(mean, Tensor)
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def _resting(parameters: list[nn.Parameter]) -> Iterator[None]:
    """What is computed inside asks for no gradients of these."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _compiled(method: Any) -> Any:
    """A bound method compiled, without what all methods are wrapped in: torch compiles a piece of code a few times at
    most, for whatever shapes and modules."""
    return torch.compile(MethodType(inspect.unwrap(method), method.__self__))


def _mean(losses: list[Tensor]) -> Tensor:
    return losses[0] if len(losses) == 1 else torch.stack(losses).mean()


def _clips(module: nn.Module, game: Game) -> list[tuple[float, list[Tensor]]]:
    """Bounds on weights, and of which parameters."""
    bounds = {pair.discriminator: getattr(pair.objective, "clip", None) for pair in game.pairs}
    return [(b, list(module.get_submodule(name).parameters())) for name, b in bounds.items() if b is not None]
