"""Processor time of a training step of generative models, against loops written by hand with care.

By hand: the same layers in nn.Sequential, a fused Adam for each side, discriminators that ask for no gradients while
the generator learns, gradients set to None, losses read when an epoch is over. Ours: the epochs of `fit`, which follow
health besides. Both take turns in one process (by hand, ours, by hand), and the median of the rounds' ratios is shown,
with that of the loop by hand against itself. Usage:

    python benchmarks/game_step_speed.py [--rounds 15] [--threads 1] [dcgan gan wgan-gp vae …]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

import archlang
import numpy as np
import torch
from archlang.compiler.data_sources import Digits
from archlang.compiler.graph import Program
from archlang.compiler.training_plan import Adam, TrainPlan
from archlang.runtime.data.base import Column, Data, Split
from archlang.runtime.devices import make_fabric
from archlang.runtime.module import build
from archlang.runtime.progress import Display
from archlang.runtime.signals import Signals
from archlang.runtime.train import _Run as Run
from torch import Tensor, nn
from torch.nn import functional as F

BETAS = (0.5, 0.999)


def adam(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=1e-4, betas=BETAS, fused=True)


class Game:
    """A game by hand."""

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent: int,
        judge: Callable[[Tensor, Tensor], Tensor],
        persuade: Callable[[Tensor], Tensor],
        penalty: float = 0.0,
        critic_steps: int = 1,
    ) -> None:
        self.G, self.D, self.latent, self.judge, self.persuade = generator, discriminator, latent, judge, persuade
        self.penalty, self.critic_steps, self.number = penalty, critic_steps, 0
        self.optG, self.optD = adam(generator), adam(discriminator)

    def slope(self, x: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand((len(x), *[1] * (x.ndim - 1)))
        between = (fake + share * (x - fake)).requires_grad_()
        (slope,) = torch.autograd.grad(self.D(between).sum(), between, create_graph=True)
        return self.penalty * (slope.flatten(1).norm(dim=1) - 1).square().mean()

    def __call__(self, x: Tensor) -> list[Tensor]:
        self.number += 1
        whole = self.number % self.critic_steps == 0
        with torch.set_grad_enabled(whole):
            fake = self.G(torch.randn((len(x), self.latent), device=x.device, dtype=x.dtype))
        still = fake.detach()
        loss = self.judge(self.D(x), self.D(still))
        if self.penalty:
            loss = loss + self.slope(x, still)
        loss.backward()
        self.optD.step()
        self.optD.zero_grad(set_to_none=True)
        losses = [loss.detach()]
        if whole:
            self.D.requires_grad_(False)
            loss = self.persuade(self.D(fake))
            loss.backward()
            losses.append(loss.detach())
            self.D.requires_grad_(True)
            self.optG.step()
            self.optG.zero_grad(set_to_none=True)
        return losses


class VAE:
    """A variational autoencoder by hand."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        self.encoder, self.decoder = encoder, decoder
        self.optimizer = adam(nn.ModuleList([encoder, decoder]))

    def __call__(self, x: Tensor) -> list[Tensor]:
        mean, log_variance = self.encoder(x.flatten(1)).chunk(2, dim=-1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        logits = self.decoder(z).unflatten(1, (1, 8, 8))
        loss = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        loss = loss + 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum() / len(x)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return [loss.detach()]


def log_judge(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def mlp(sizes: list[int], act: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inside, outside in pairwise(sizes):
        layers += [nn.Linear(inside, outside), act]
    return nn.Sequential(*layers[:-1])


def dcgan() -> Game:
    made = [
        nn.Unflatten(1, (100, 1, 1)),
        nn.ConvTranspose2d(100, 256, 4, bias=False),
        nn.BatchNorm2d(256),
        nn.ReLU(True),
    ]
    for inside, outside in ((256, 128), (128, 64)):
        made += [nn.ConvTranspose2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(True)]
    made += [nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh()]
    judged = [nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for inside, outside in ((64, 128), (128, 256)):
        judged += [nn.Conv2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.LeakyReLU(0.2, True)]
    judged += [nn.Conv2d(256, 1, 4, bias=False), nn.Flatten()]
    return Game(nn.Sequential(*made), nn.Sequential(*judged), 100, log_judge, lambda s: F.softplus(-s).mean())


def gan() -> Game:
    G, D = mlp([16, 128, 128, 2], nn.ReLU(True)), mlp([2, 128, 128, 1], nn.LeakyReLU(0.2, True))
    return Game(G, D, 16, log_judge, lambda s: F.softplus(-s).mean())


def wgan_gp() -> Game:
    G, D = mlp([16, 128, 128, 2], nn.ReLU(True)), mlp([2, 128, 128, 1], nn.LeakyReLU(0.2, True))
    return Game(G, D, 16, lambda r, f: f.mean() - r.mean(), lambda s: -s.mean(), penalty=1.0, critic_steps=5)


CASES = {
    "dcgan": ("adversarial/dcgan:DCGAN", {"resolution": 32}, dcgan, (64, 3, 32, 32), 8),
    "gan": ("adversarial/gan:GAN", {}, gan, (256, 2), 100),
    "wgan-gp": ("adversarial/wgan:WGANGP", {}, wgan_gp, (256, 2), 100),
    "vae": (
        "autoencoders/vae:VAE", {},
        lambda: VAE(mlp([64, 256, 16], nn.ReLU(True)), mlp([8, 256, 64], nn.ReLU(True))), (64, 1, 8, 8), 100,
    ),
}  # fmt: skip


def epoch_by_hand(step: Callable[[Tensor], list[Tensor]], x: Tensor, batch: int) -> None:
    """An epoch over examples in an order of its own, whose losses are looked at when it is over."""
    losses = []
    order = torch.randperm(len(x))
    for start in range(0, len(x), batch):
        losses.append(step(x[order[start : start + batch]]))
    for side in zip(*losses, strict=False):
        torch.stack(side).tolist()


def ours(program: Program, x: Tensor, batch: int, folder: Path) -> Callable[[], None]:
    """An epoch as `fit` makes it: batches, the loop, what is followed of losses and health."""
    plan = TrainPlan(network=program.name, data=Digits(), optimizer=Adam(lr=1e-4, betas=BETAS), batch=batch)
    column = Column("x", tuple(x.shape[1:]), "float")
    data = Data(origin="the examples", inputs=(column,), targets=(), size=len(x), tensors=(x,), arity=1)
    rows, none = np.arange(len(x)), np.arange(0)
    run = Run(
        [program],
        build(program),
        plan,
        fabric=make_fabric("cpu"),
        data=data,
        parts=Split(rows, none, none),
        out=folder,
        compile=False,
        metadata={},
        override=None,
    )
    display, signals = Display(None, False, 1, run.phase.feed.steps), Signals()

    def epoch() -> None:
        run._epoch(display, signals)
        run.trace.clear()

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.cases:
        with TemporaryDirectory() as folder:
            compare(name, options.rounds, Path(folder))


def compare(name: str, rounds: int, folder: Path) -> None:
    """Prints how a case does."""
    spec, settings, by_hand, shape, count = CASES[name]
    program = archlang.compile(spec, **settings).program
    batch = shape[0]
    x = torch.rand((batch * count, *shape[1:]))
    hand = partial(epoch_by_hand, by_hand(), x, batch)
    own = ours(program, x, batch, folder)

    def timed(epoch: Callable[[], None]) -> float:
        start = process_time()
        epoch()
        return process_time() - start

    for epoch in (hand, own):
        timed(epoch)
    ratios, again = [], []
    for _ in range(rounds):
        first, mine, second = timed(hand), timed(own), timed(hand)
        ratios.append(2 * mine / (first + second))
        again.append(second / first)
    print(
        f"{name:8} by hand {first / count * 1e3:8.3f} ms   archlang {median(ratios):.3f}   "
        f"by hand against itself {median(again):.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
