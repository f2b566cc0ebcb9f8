"""What games learn: modes that a plain one loses and a Wasserstein one covers, digits, and inverse digits."""

from __future__ import annotations

import re
from pathlib import Path

import archlang
import pytest
import torch
from archlang.compiler.data_sources import Gaussians
from archlang.runtime import train as training
from archlang.runtime.data import load
from archlang.runtime.data.procedural import gaussian_means
from archlang.runtime.health.games import density_and_coverage, subset
from archlang.training import plan_for
from torch import nn
from torch.nn import functional as F

SPECS = Path(__file__).parents[1] / "specs" / "adversarial"
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setattr(training, "draw_curves", lambda report, path: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fitted(target: str, folder: Path, **options):
    """A network as its train block says, its report, and the module that came of it."""
    model = archlang.compile(target)
    report = model.fit(folder / "run", device="cpu", progress=False, **options)
    return model, report, model.module(weights=folder / "run").eval()


# ------------------------------------------------------------------ a ring of Gaussians


def shares(points: torch.Tensor, source: Gaussians) -> list[float]:
    """The share of the points [n, 2] that lies within four deviations of each mode."""
    distances = torch.cdist(points, torch.tensor(gaussian_means(source), dtype=points.dtype))
    return (distances < 4 * source.deviation).float().mean(0).tolist()


def drawn(module: nn.Module, count: int = 2000) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return module.generate(b=count)


def coverage(model: archlang.Compiled, points: torch.Tensor) -> float:
    real = load(model.program, plan_for(model.program))[0].tensors[0]
    return density_and_coverage(subset(real), subset(points))[1]


def test_a_plain_game_loses_modes_and_is_told_so(tmp_path):
    """It makes nearly one point."""
    model, report, module = fitted(f"{SPECS}/gan.arch:GAN", tmp_path)
    points = drawn(module)
    assert sum(share >= 0.05 for share in shares(points, plan_for(model.program).data)) <= 2
    assert coverage(model, points) < 0.25
    assert "A1075" in [alarm.code for alarm in report.alarms]
    assert report.health.pairs["D"]["diversity"] < 0.5


def test_a_critic_with_a_penalty_covers_all_modes(tmp_path):
    """Where points lay evenly on the ring, each mode would get 0.4 / 4π = 3.2 % of them."""
    model, report, module = fitted(f"{SPECS}/wgan.arch:WGANGP", tmp_path)
    points = drawn(module)
    found = shares(points, plan_for(model.program).data)
    assert len(found) == 8
    assert min(found) >= 0.05, found
    assert coverage(model, points) > 0.5
    assert "A1075" not in [alarm.code for alarm in report.alarms]


# ------------------------------------------------------------------ digits


class Judge(nn.Module):
    """A small classifier of digits of 8 × 8, whose last but one layer measures pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def judge(x: torch.Tensor, y: torch.Tensor) -> Judge:
    torch.manual_seed(0)
    network = Judge()
    adam = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(300):
        rows = torch.randint(len(x), (128,))
        adam.zero_grad()
        F.cross_entropy(network(x[rows]), y[rows]).backward()
        adam.step()
    return network


def frechet(one: torch.Tensor, other: torch.Tensor) -> float:
    """The Fréchet distance of Gaussians with the mean and covariance of rows [n, d] (Heusel et al., 2017):
    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½)."""
    one, other = one.double(), other.double()
    first, second = torch.cov(one.T), torch.cov(other.T)
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    return float((one.mean(0) - other.mean(0)).square().sum() + first.trace() + second.trace() - 2 * shared)


def test_the_distance_is_that_of_gaussians():
    """Of independent ones it is |μ₁ − μ₂|² + Σ (σ₁ − σ₂)²."""
    torch.manual_seed(0)
    x = torch.randn(100_000, 3)
    y = torch.randn(100_000, 3) * torch.tensor([1.0, 2.0, 3.0]) + torch.tensor([1.0, 0.0, 2.0])
    assert frechet(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet(x, y) == pytest.approx(5 + 1 + 4, rel=0.02)


def replaced(spec: str, folder: Path, train: str) -> str:
    """A bundled file with another end: from its small configuration on."""
    text = (SPECS / f"{spec}.arch").read_text(encoding="utf-8")
    path = folder / f"{spec}.arch"
    path.write_text(re.sub(r"\nadversarial Digits.*", "\n", text, flags=re.DOTALL) + train)
    return f"{path}:Small"


DCGAN = """
adversarial Small = DCGAN(latent=16, resolution=8, channels=1, width=32)
train Small on digits {
  normalize symmetric
  test 0.25
  optimizer adam(lr=1e-3, betas=[0.5, 0.999])
  epochs 30
  batch 64
  ema 0.95
}
"""


def test_digits_that_are_made_are_like_digits(tmp_path):
    """Measured in the features of a classifier: less far from digits that were held out than pixels are which have the
    right means and deviations, each by itself, and much less than what noise and an untrained generator make."""
    model, _, module = fitted(replaced("dcgan", tmp_path, DCGAN), tmp_path)
    data, parts, _ = load(model.program, plan_for(model.program))
    pictures, labels = data.tensors[0], torch.as_tensor(data.labels)
    network = judge(pictures[parts.train], labels[parts.train])
    held, count = pictures[parts.test], len(parts.test)
    assert (network(held).argmax(1) == labels[parts.test]).float().mean() > 0.9

    torch.manual_seed(0)
    pixels = held.mean(0) + held.std(0) * torch.randn(count, *held.shape[1:])
    with torch.no_grad():
        features = [
            network.body(x)
            for x in (
                held,
                module.generate(b=count),
                pixels,
                archlang.load(f"{tmp_path}/dcgan.arch:Small").eval().generate(b=count),
                torch.rand_like(held) * 2 - 1,
            )
        ]
    made, by_pixel, untrained, noise = (frechet(features[0], other) for other in features[1:])
    assert made < 30 < by_pixel, (made, by_pixel)
    assert min(untrained, noise) > 300
    assert len(set(network.head(features[1]).argmax(1).tolist())) == 10


# ------------------------------------------------------------------ from digits to inverse digits


def test_inverse_digits_are_found_without_pairs(tmp_path):
    """On digits that were held out, whose inverses are known: the mean absolute error on values in [-1, 1]."""
    model, _, module = fitted(f"{SPECS}/cyclegan.arch:DigitsCycle", tmp_path)
    data, parts, _ = load(model.program, plan_for(model.program))
    digits, inverses = (x[side] for x, side in zip(data.tensors, data.sides(parts.test), strict=True))
    assert len(digits) > 300
    assert torch.allclose(digits, -inverses, atol=1e-6)
    with torch.no_grad():
        there = (module.A2B(digits) - inverses).abs().mean()
        back = (module.B2A(inverses) - digits).abs().mean()
    assert max(float(there), float(back)) < 0.2, (there, back)
    assert (digits - inverses).abs().mean() > 1.2, "what leaving a digit as it is would give"
    assert (inverses - inverses.mean(0)).abs().mean() > 0.28, "what the mean of all inverses would give"
