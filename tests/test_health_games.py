"""Numbers about games, on scores and examples made for it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from archlang.runtime.health.games import (
    LONG,
    SETTLED,
    GameHealth,
    density_and_coverage,
    diversity,
    oscillation,
    subset,
)


def ring(count: int, modes: int = 8, used: int = 8, seed: int = 0, spread: float = 0.05) -> torch.Tensor:
    """Points around some of the modes of a ring, [count, 2]."""
    generator = torch.Generator().manual_seed(seed)
    angles = torch.arange(count) % used * (2 * math.pi / modes)
    centres = torch.stack([angles.cos(), angles.sin()], 1) * 2
    return centres + spread * torch.randn(count, 2, generator=generator)


def played(game: GameHealth, steps: int, real: float = 0.3, made: float = -0.2, circle: float = 0.0) -> GameHealth:
    """A game after so many steps with scores around these values."""
    generator = torch.Generator().manual_seed(3)
    for step in range(steps):
        noise = torch.randn(4, generator=generator) * 0.1
        wave = circle * math.sin(step / 6)
        game.add(real + noise, made + noise, 0.7 - wave + noise[0], 1.3 + wave + noise[1])
    return game


def codes(game: GameHealth) -> list[str]:
    return [alarm.code for alarm in game.alarms()]


def test_means_of_scores_and_the_value_of_the_game():
    scores = torch.tensor([0.0, 2.0]), torch.tensor([-1.0, 1.0])
    loss = torch.tensor(1.0)
    game = GameHealth(logits=True)
    game.add(*scores, None, loss)
    found = game.epoch(ring(20), ring(20, seed=1))
    assert found["D(x)"] == pytest.approx((0.5 + 1 / (1 + math.exp(-2))) / 2, abs=1e-6)
    assert found["D(G(z))"] == pytest.approx(0.5, abs=1e-6)
    value = scores[0].sigmoid().log().mean() + (1 - scores[1].sigmoid()).log().mean()
    assert found["value"] == pytest.approx(float(value), abs=1e-6)
    game = GameHealth(logits=False)
    game.add(*scores, loss, loss)
    game.add(scores[0] + 4, scores[1], loss, loss)
    found = game.epoch(ring(20), ring(20, seed=1))
    assert (found["D(x)"], found["D(G(z))"], found["value"]) == (3.0, 0.0, 3.0)


def test_a_players_draw_has_the_value_of_the_paper():
    game = GameHealth(logits=True)
    game.add(torch.zeros(8, 1), torch.zeros(8, 1), None, torch.tensor(0.0))
    assert game.epoch(ring(20), ring(20))["value"] == pytest.approx(-math.log(4), abs=1e-6)  # Goodfellow et al., 2014


def test_an_epoch_counts_its_own_steps_only():
    game = GameHealth(logits=False)
    one = torch.tensor(1.0)
    game.add(one, one, one, one)
    game.epoch(ring(20), ring(20))
    game.add(3 * one, one, one, one)
    assert game.epoch(ring(20), ring(20))["D(x)"] == 3.0


def test_diversity_compares_distances():
    assert diversity(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [2.0], [4.0]])) == pytest.approx(2.0)
    assert diversity(ring(400), ring(400, seed=1)) == pytest.approx(1.0, abs=0.02)
    assert diversity(ring(400), ring(400, used=1)) < 0.1
    assert math.isnan(diversity(torch.zeros(4, 2), ring(4)))
    assert math.isnan(diversity(ring(1), ring(4)))


def test_density_and_coverage_are_the_papers():
    real = torch.arange(6.0)[:, None]  # a line: with k = 1 each ball reaches to the next point
    density, coverage = density_and_coverage(real, torch.tensor([[0.5], [10.0]]), nearest=1)
    assert coverage == pytest.approx(2 / 6)  # the balls around 0 and 1 hold 0.5
    assert density == pytest.approx((2 + 0) / 2 / 1)
    density, coverage = density_and_coverage(ring(500), ring(500, seed=1))
    assert density == pytest.approx(1.0, abs=0.15)
    assert coverage > 0.9
    assert density_and_coverage(ring(500), ring(500) + 100) == (0.0, 0.0)
    assert density_and_coverage(ring(500), ring(500, used=2))[1] == pytest.approx(0.25, abs=0.03)
    assert math.isnan(density_and_coverage(ring(5), ring(5))[0])


def test_subsets_are_the_same_each_time():
    many = torch.arange(4000.0).reshape(2000, 2, 1)
    assert subset(many).shape == (512, 2)
    assert torch.equal(subset(many), subset(many))
    assert torch.equal(subset(many[:5]), many[:5].flatten(1))


def test_oscillation_is_told_from_noise_drift_and_decay():
    random = np.random.default_rng(0)
    steps = np.arange(600)
    noise = random.normal(size=600)
    slow = np.zeros(600)
    for i in range(1, 600):
        slow[i] = 0.95 * slow[i - 1] + noise[i]
    for quiet in (noise, slow, np.cumsum(noise), 5 * np.exp(-steps / 50) + 0.3 * noise, np.ones(600), steps * 1.0):
        assert oscillation(quiet.tolist()) < 0.35
    assert oscillation((np.sin(steps / 8) + 0.5 * noise).tolist()) > 0.6
    drifting = np.sin(np.cumsum(1 / 8 + 0.05 * random.normal(size=600))) + steps / 100
    assert oscillation(drifting.tolist()) > 0.5
    assert oscillation(np.sin(steps / 8).tolist()[: SETTLED - 1]) == 0.0


def test_a_healthy_game_says_nothing():
    game = played(GameHealth(logits=True), 300)
    for seed in range(4):
        game.epoch(ring(300), ring(300, seed=seed + 1))
    assert codes(game) == []


def test_mode_collapse():
    game = played(GameHealth(logits=True), 300)
    game.epoch(ring(300), ring(300, seed=1))
    game.epoch(ring(300), ring(300, used=1))
    game.epoch(ring(300), ring(300, used=1))
    assert codes(game) == []  # not for an epoch or two
    game.epoch(ring(300), ring(300, used=1))
    assert codes(game) == ["A1075"]


def test_generators_begin_narrow():
    game = played(GameHealth(logits=True), 300)
    for _ in range(4):
        game.epoch(ring(300) * 5, ring(300, used=1))
    assert codes(game) == []
    played(game, LONG - 300)
    assert codes(game) == ["A1075"]


def test_half_of_the_modes_lost():
    game = played(GameHealth(logits=True), 300)
    game.epoch(ring(300), ring(300, seed=1))
    for _ in range(3):
        found = game.epoch(ring(300), torch.cat([ring(100, used=1), -ring(100, used=1), ring(100, used=3)]))
    assert found["diversity"] > 0.8  # far apart, but few
    assert codes(game) == ["A1075"]


def test_nothing_is_said_before_a_game_has_settled():
    game = played(GameHealth(logits=True), SETTLED - 1, real=9.0, made=-9.0)
    for _ in range(3):
        game.epoch(ring(300), ring(300, used=1))
    assert codes(game) == []


def test_a_discriminator_that_has_won():
    game = played(GameHealth(logits=True), 300, real=6.0, made=-6.0)
    game.epoch(ring(300), ring(300, seed=1))
    assert codes(game) == ["A1077"]
    assert "0.998" in game.alarms()[0].message
    for real, made in ((6.0, -2.0), (2.0, -6.0)):
        game = played(GameHealth(logits=True), 300, real=real, made=made)
        game.epoch(ring(300), ring(300, seed=1))
        assert codes(game) == []
    game = played(GameHealth(logits=False), 300, real=6.0, made=-6.0)  # a critic's scores are no probabilities
    game.epoch(ring(300), ring(300, seed=1))
    assert codes(game) == []


def test_players_that_go_in_circles():
    game = played(GameHealth(logits=True), 300, circle=0.4)
    assert game.epoch(ring(300), ring(300, seed=1))["oscillation"] > 0.6
    assert codes(game) == ["A1076"]


def test_a_game_that_is_taken_up_again_is_as_if_it_had_gone_on():
    whole, begun = GameHealth(logits=True), GameHealth(logits=True)
    for game in (whole, begun):
        played(game, 150, circle=0.4).epoch(ring(50), ring(50, seed=1))
        played(game, 60, circle=0.4)
    other = GameHealth(logits=True)
    other.restore(json.loads(json.dumps(begun.state())), torch.device("cpu"))
    for game in (whole, other):
        played(game, 50, circle=0.4)
    assert whole.epoch(ring(50), ring(50, seed=1)) == other.epoch(ring(50), ring(50, seed=1))
    assert whole.state() == other.state()
    assert codes(whole) == codes(other)
