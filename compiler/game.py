"""Games: the players of an adversarial program, who plays against whom, and by which objective."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from .declared import Called, Field
from .graph import Graph, Kind, Ref
from .source import Span

Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Steps = Annotated[int, Field(ge=1, le=1000)]


class Objective(Called):
    """Base of what a pair plays for. `s` below is the discriminator's score: of real examples s(x), of made ones
    s(G(z)). Means are over all scores of a batch.

    logits: do scores stand for probabilities, σ(s), that an example is real?"""

    logits: ClassVar[bool] = False

    r1: Weight = Field(0.0, description="γ of the penalty γ/2·‖∇s(x)‖² at real examples (Mescheder et al., 2018)")
    critic_steps: Steps = Field(
        1, description="steps of the discriminator, each on a batch of its own, for one of the generator"
    )
    pool: Annotated[int, Field(ge=0, le=100_000)] = Field(
        0,
        description="made examples that are kept: half of what the discriminator sees comes from them "
        "(Shrivastava et al., 2017)",
    )

    @property
    def slope(self) -> str | None:
        """The setting that penalises the slope of the discriminator at each example; None where none does."""
        return "r1" if self.r1 else None

    def problem(self) -> str | None:
        """What is wrong with the settings together, as the end of a sentence that starts with its name."""
        return None


class Minimax(Objective):
    """The discriminator maximises E[log σ(s(x))] + E[log(1 − σ(s(G(z))))], which the generator minimises (Goodfellow et
    al., 2014)."""

    name = "minimax"
    logits = True


class NonSaturating(Objective):
    """As `minimax`, but the generator maximises E[log σ(s(G(z)))]: its gradient does not vanish where it loses
    (Goodfellow et al., 2014)."""

    name = "non_saturating"
    logits = True


class LeastSquares(Objective):
    """The discriminator minimises ½E[(s(x) − 1)²] + ½E[s(G(z))²], the generator E[(s(G(z)) − 1)²] (Mao et al., 2017;
    factors as CycleGAN has them)."""

    name = "least_squares"


class Hinge(Objective):
    """The discriminator minimises E[max(0, 1 − s(x))] + E[max(0, 1 + s(G(z)))], the generator −E[s(G(z))] (Lim and Ye,
    2017)."""

    name = "hinge"


class Wasserstein(Objective):
    """The critic minimises E[s(G(z))] − E[s(x)], the generator −E[s(G(z))]; the critic is kept Lipschitz by clipping
    its weights (Arjovsky et al., 2017) or by a penalty λ·E[(‖∇s(x̂)‖ − 1)²] at points x̂ between real and made examples
    (Gulrajani et al., 2017)."""

    name = "wasserstein"

    clip: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = Field(
        None, description="bound on the size of every weight of the critic"
    )
    gradient_penalty: Weight = Field(0.0, description="λ of the gradient penalty")

    @property
    def slope(self) -> str | None:
        return "gradient_penalty" if self.gradient_penalty else super().slope

    def problem(self) -> str | None:
        if self.clip is not None and self.gradient_penalty:
            return "takes `clip` or `gradient_penalty`, not both: each is there to do what the other does"
        return None


OBJECTIVES: dict[str, type[Objective]] = {
    kind.name: kind for kind in (Minimax, NonSaturating, LeastSquares, Hinge, Wasserstein)
}


@dataclass(frozen=True)
class Player:
    """One side of a game. `name` is also the path of its weights. role: generator or discriminator."""

    name: str
    role: str
    span: Span | None = None


@dataclass(frozen=True)
class Pair:
    """A generator against a discriminator: over which tensors of the game's graph, and by which objective. scores: the
    discriminator's scores of real and of made examples, as it learns from them. losses: names of what the objective
    became, the generator's last."""

    generator: str
    discriminator: str
    real: Ref
    made: Ref
    objective: Objective
    scores: tuple[Ref, Ref]
    losses: tuple[str, ...]
    span: Span | None = None


@dataclass
class Game:
    """The players of a program and their pairs, in the order of the text. Losses of the program's graph say whose they
    are (`Node.over`)."""

    players: dict[str, Player] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)

    def team(self, role: str) -> list[str]:
        """The players of a role: those who step together."""
        return [player.name for player in self.players.values() if player.role == role]

    def losses(self, graph: Graph, role: str) -> list[int]:
        """The LOSS nodes that a role's players minimise."""
        team = self.team(role)
        return [n for n in graph.losses if graph[n].kind is Kind.LOSS and any(p in team for p in graph[n].over)]

    @property
    def penalised(self) -> bool:
        """Is the slope of a discriminator part of its objective?"""
        return any(pair.objective.slope for pair in self.pairs)

    @property
    def critic_steps(self) -> int:
        """Steps of the discriminators for one of the generators, in which all pairs agree."""
        return self.pairs[0].objective.critic_steps
