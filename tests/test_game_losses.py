"""What a pair's objective becomes: losses against the papers' formulas written by hand, in double precision."""

from __future__ import annotations

import pytest
import torch
from archlang.compiler.frontend import compile_program
from archlang.compiler.source import Source
from archlang.runtime.module import build
from torch import autograd
from torch.nn.functional import logsigmoid

TEXT = """
block Gen {{ input z: [B, L]  output z -> fc: linear(16) -> tanh -> rearrange("b (c h w) -> b c h w", c=1, h=4) }}
block Dis {{
  input x: [B, C, H, W]
  output x -> c1: conv(3, kernel=3, stride=2, pad=1) -> tanh -> c2: conv(1, kernel=1)
}}
adversarial Game {{
  input real: [B, 1, 4, 4]
  sample z ~ normal(0, 1): [B, 5]
  generator G = Gen
  discriminator D = Dis
  fake = z -> G
  pair G vs D on (real, fake) by {objective}
}}
"""
ROWS = 6
FORMULAS = {
    "minimax": (
        lambda real, made: -logsigmoid(real).mean() - (1 - made.sigmoid()).log().mean(),
        lambda made: (1 - made.sigmoid()).log().mean(),
    ),
    "non_saturating": (
        lambda real, made: -logsigmoid(real).mean() - (1 - made.sigmoid()).log().mean(),
        lambda made: -made.sigmoid().log().mean(),
    ),
    "least_squares": (
        lambda real, made: 0.5 * ((real - 1) ** 2).mean() + 0.5 * (made**2).mean(),
        lambda made: ((made - 1) ** 2).mean(),
    ),
    "hinge": (
        lambda real, made: (1 - real).clamp(min=0).mean() + (1 + made).clamp(min=0).mean(),
        lambda made: -made.mean(),
    ),
    "wasserstein": (
        lambda real, made: made.mean() - real.mean(),
        lambda made: -made.mean(),
    ),
}
"""Of the discriminator, from the scores of real and of made examples; of the generator, from those of made ones."""


class Table:
    """A game in double precision with a batch, and the totals of both sides with their gradients."""

    def __init__(self, objective: str) -> None:
        torch.manual_seed(0)
        self.module = build(compile_program(Source(TEXT.format(objective=objective)))).double()
        self.real = torch.randn(ROWS, 1, 4, 4, dtype=torch.float64) * 2
        (self.fake,) = self.module.play(self.real)
        self.judge = {"discriminator": self.module.D, "generator": self.module.G}

    def total(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        return sum((self.module.loss_weights[name] * term for name, term in terms.items()), start=torch.zeros(()))

    def slopes(self, total: torch.Tensor, role: str) -> list[torch.Tensor]:
        return list(
            autograd.grad(total, list(self.judge[role].parameters()), retain_graph=True, materialize_grads=True)
        )

    def agrees(self, found: torch.Tensor, wanted: torch.Tensor, role: str) -> None:
        """The same value, and the same gradient for each parameter of the side."""
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
        for one, other in zip(self.slopes(found, role), self.slopes(wanted, role), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def squared(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.reshape(ROWS, -1).square().sum(1)


@pytest.mark.parametrize("name", FORMULAS)
def test_losses_are_the_papers(name: str) -> None:
    table = Table(name)
    D, real, fake = table.module.D, table.real, table.fake
    judged, persuaded = FORMULAS[name]
    terms, scores = table.module.discriminator_losses(real, fake)
    table.agrees(table.total(terms), judged(D(real), D(fake.detach())), "discriminator")
    assert all(torch.equal(one, other) for one, other in zip(scores, (D(real), D(fake)), strict=True))
    table.agrees(table.total(table.module.generator_losses(real, fake)), persuaded(D(fake)), "generator")


@pytest.mark.parametrize("name", FORMULAS)
def test_a_discriminators_losses_send_generators_nothing(name: str) -> None:
    table = Table(f"{name}(r1=3)")
    terms, _ = table.module.discriminator_losses(table.real, table.fake)
    assert autograd.grad(table.total(terms), table.fake, retain_graph=True, allow_unused=True) == (None,)
    (arrives,) = autograd.grad(table.total(table.module.generator_losses(table.real, table.fake)), table.fake)
    assert float(arrives.abs().max()) > 0


@pytest.mark.parametrize("name", FORMULAS)
def test_r1(name: str) -> None:
    table = Table(f"{name}(r1=3)")
    D, fake = table.module.D, table.fake.detach()
    real = table.real.clone().requires_grad_()
    score = D(real)
    (slope,) = autograd.grad(score.sum(), real, create_graph=True)
    wanted = FORMULAS[name][0](score, D(fake)) + 3 / 2 * squared(slope).mean()
    table.agrees(table.total(table.module.discriminator_losses(table.real, table.fake)[0]), wanted, "discriminator")


def test_gradient_penalty() -> None:
    table = Table("wasserstein(gradient_penalty=10)")
    D, real, fake = table.module.D, table.real, table.fake.detach()
    torch.manual_seed(4)
    terms, _ = table.module.discriminator_losses(real, table.fake)
    torch.manual_seed(4)
    share = torch.rand(ROWS, 1, 1, 1, dtype=torch.float64)
    between = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = autograd.grad(D(between).sum(), between, create_graph=True)
    penalty = ((squared(slope).sqrt() - 1) ** 2).mean()
    table.agrees(table.total(terms), D(fake).mean() - D(real).mean() + 10 * penalty, "discriminator")
    torch.manual_seed(5)
    assert not torch.equal(table.module.discriminator_losses(real, table.fake)[0]["D_penalty"], terms["D_penalty"])


def test_clipping_is_no_loss() -> None:
    table = Table("wasserstein(clip=0.01)")
    assert list(table.module.loss_weights) == ["D_real", "D_made", "G_made"]


ROWS_TEXT = """
block Gen {{ input z: [B, L]  output z -> fc: linear(4) }}
block Dis {{ input x: [B, L]  output x -> fc: linear(1) }}
adversarial Game {{
  input a: [B, 4]
  input b: [B, 4]
  generator E = linear(6)
  generator G = Gen
  discriminator D = Dis
  code = a -> E
  fake = code -> G
  pair G vs D on (b, fake) by hinge
{more}
}}
"""


def rows(more: str = ""):
    torch.manual_seed(0)
    module = build(compile_program(Source(ROWS_TEXT.format(more=more)))).double()
    return module, torch.randn(ROWS, 4, dtype=torch.float64), torch.randn(ROWS, 4, dtype=torch.float64)


def test_losses_of_a_side_are_over_what_is_said() -> None:
    """What an author writes joins the losses of the side that it names, with its weight, and reads what was made."""
    module, a, b = rows(
        "  loss near weight 10 over E, G = (fake, a) -> l1\n  loss sure over D = fake -> D -> square -> mean"
    )
    assert module.loss_weights == {"D_real": 1.0, "D_made": 1.0, "G_made": 1.0, "near": 10.0, "sure": 1.0}
    made = module.play(a, b)
    judged, _ = module.discriminator_losses(a, b, *made)
    played = module.generator_losses(a, b, *made)
    assert (set(judged), set(played)) == ({"D_real", "D_made", "sure"}, {"G_made", "near"})
    fake = module.G(module.E(a))
    torch.testing.assert_close(played["near"], (fake - a).abs().mean(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(judged["sure"], module.D(fake).square().mean(), rtol=1e-10, atol=1e-10)
    # An author may let a discriminator's loss flow back: who steps differentiates by its own parameters only.
    assert autograd.grad(judged["sure"], module.G.fc.weight, retain_graph=True)[0].abs().max() > 0


def test_every_parameter_that_is_said_to_be_reached_is() -> None:
    """The check that losses reach their players agrees with automatic differentiation."""
    module, a, b = rows()
    made = module.play(a, b)
    judged, _ = module.discriminator_losses(a, b, *made)
    for total, players in ((sum(judged.values()), "D"), (sum(module.generator_losses(a, b, *made).values()), "EG")):
        found = autograd.grad(total, [p for name in players for p in module.get_submodule(name).parameters()])
        assert len(found) == 2 * len(players)


def test_what_a_pair_reaches_may_differ_by_size_in_a_run() -> None:
    text = """
adversarial Game {
  input real: [B, H, 4]
  input other: [N, M, 7]
  generator G = linear(4)
  discriminator D = linear(1)
  pair G vs D on (real, other -> G) by hinge
}
"""
    module = build(compile_program(Source(text)))
    module.play(torch.zeros(2, 3, 4), torch.zeros(2, 3, 7))
    for shape in ((2, 5, 7), (3, 3, 7)):
        with pytest.raises(RuntimeError, match=r"`D` compares \[B, H, 4\] with \[N, M, 4\]"):
            module.play(torch.zeros(2, 3, 4), torch.zeros(*shape))


def second(x: torch.Tensor) -> torch.Tensor:
    """The gradient of a function of the gradient, by hand: s = Σ x³, ∇s = 3x², ∇(Σ (∇s)²) = 36 x³."""
    return 36 * x**3


def test_the_ops_of_a_slope() -> None:
    """`leaf` and `input_gradient` by themselves: first derivatives, and second ones through them."""
    from archlang.compiler.ops import require
    from archlang.compiler.types import parse_type

    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    types = (parse_type("[B, 4]"),)
    leaf, slope = require("leaf")(), require("input_gradient")()
    seen = eval(leaf.call(types, types).template.format("x"), {"x": x})
    assert seen.requires_grad and seen.grad_fn is None
    assert torch.equal(seen, x)
    taken = eval(
        slope.call((parse_type("[B, 1]"), *types), types).template.format("s", "x"),
        {"torch": torch, "s": seen.pow(3).sum(1, keepdim=True), "x": seen},
    )
    torch.testing.assert_close(taken, 3 * seen.detach() ** 2, rtol=1e-12, atol=1e-12)
    (again,) = autograd.grad(taken.square().sum(), seen)
    torch.testing.assert_close(again, second(seen.detach()), rtol=1e-12, atol=1e-12)
    assert autograd.grad(seen.sum(), x, allow_unused=True) == (None,)
