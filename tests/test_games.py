"""The game loop against loops written by hand, step for step, in double precision."""

from __future__ import annotations

import copy
from collections import Counter
from functools import partial

import pytest
import torch
from game_harness import ROWS, Table, copied, game, rows, same, same_players
from torch import nn
from torch.nn import functional as F

ADAM = "optimizer adam(lr=2e-3, betas=[0.5, 0.9])"


def noise(size=ROWS, width=3):
    return torch.randn((size, width), dtype=torch.float64)


def adam(player, lr=2e-3):
    return torch.optim.Adam(player.parameters(), lr=lr, betas=(0.5, 0.9))


class Plain:
    """A game by hand: an optimizer for each player, gradients set to zero before each step."""

    def __init__(self, table, judge, persuade, penalty=None, clip=None, bound=None, lr=(2e-3, 2e-3)):
        self.judge, self.persuade, self.penalty, self.clip, self.bound = judge, persuade, penalty, clip, bound
        self.G, self.D = copied(table.module.G, 3, 16, 6), copied(table.module.D, 6, 16, 1)
        self.optG, self.optD = adam(self.G, lr[0]), adam(self.D, lr[1])

    def critic(self, x):
        z = noise(len(x))
        self.optD.zero_grad()
        fake = self.G(z).detach()
        loss = self.judge(self.D(x), self.D(fake))
        if self.penalty is not None:
            loss = loss + self.penalty(self.D, x, fake)
        loss.backward()
        if self.bound is not None:
            nn.utils.clip_grad_norm_(self.D.parameters(), self.bound)
        self.optD.step()
        if self.clip is not None:
            for p in self.D.parameters():
                p.data.clamp_(-self.clip, self.clip)
        return z, float(loss.detach())

    def maker(self, z):
        self.optG.zero_grad()
        loss = self.persuade(self.D(self.G(z)))
        loss.backward()
        if self.bound is not None:
            nn.utils.clip_grad_norm_(self.G.parameters(), self.bound)
        self.optG.step()
        return float(loss.detach())

    def play(self, batches, critic_steps=1):
        torch.manual_seed(1)
        judged, made = [], []
        for number, (x,) in enumerate(batches, 1):
            z, loss = self.critic(x)
            judged.append(loss)
            if number % critic_steps == 0:
                made.append(self.maker(z))
        return judged, made


def log_judge(real, fake):
    one, zero = torch.ones_like(real), torch.zeros_like(fake)
    return F.binary_cross_entropy_with_logits(real, one) + F.binary_cross_entropy_with_logits(fake, zero)


def gradient_penalty(D, real, fake):
    share = torch.rand((len(real), 1), dtype=torch.float64)
    x = (share * real + (1 - share) * fake).requires_grad_(True)
    (slope,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    return 10 * ((slope.norm(2, dim=1) - 1) ** 2).mean()


def r1(D, real, fake):
    x = real.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    return 3.0 / 2 * slope.pow(2).sum(1).mean()


def compare(table, plain, batches, critic_steps=1):
    ours = table.play(batches)
    judged, made = plain.play(batches, critic_steps)
    same([row["discriminator loss"] for row in ours], judged)
    same([row["loss"] for row in ours if "loss" in row], made)
    same_players(table.module.G, plain.G)
    same_players(table.module.D, plain.D)


OBJECTIVES = {
    "minimax": (log_judge, lambda s: torch.log(1 - torch.sigmoid(s)).mean(), {}),
    "non_saturating": (log_judge, lambda s: F.binary_cross_entropy_with_logits(s, torch.ones_like(s)), {}),
    "hinge": (lambda r, f: F.relu(1 - r).mean() + F.relu(1 + f).mean(), lambda s: -s.mean(), {}),
    "least_squares": (
        lambda r, f: 0.5 * ((r - 1) ** 2).mean() + 0.5 * (f**2).mean(), lambda s: ((s - 1) ** 2).mean(), {},
    ),
    "non_saturating(r1=3.0)": (
        log_judge, lambda s: F.binary_cross_entropy_with_logits(s, torch.ones_like(s)), {"penalty": r1},
    ),
    "wasserstein(clip=0.1, critic_steps=5)": (lambda r, f: f.mean() - r.mean(), lambda s: -s.mean(), {"clip": 0.1}),
    "wasserstein(gradient_penalty=10, critic_steps=5)": (
        lambda r, f: f.mean() - r.mean(), lambda s: -s.mean(), {"penalty": gradient_penalty},
    ),
}  # fmt: skip


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loop_is_the_plain_loop(objective, tmp_path):
    judge, persuade, more = OBJECTIVES[objective]
    table = Table(game(objective), ADAM, tmp_path)
    compare(table, Plain(table, judge, persuade, **more), rows(), 5 if "critic_steps" in objective else 1)


def test_two_time_scales(tmp_path):
    """Heusel et al., 2017: each side has its own learning rate."""
    judge, persuade, _ = OBJECTIVES["hinge"]
    table = Table(game("hinge"), f"{ADAM} lr G=1e-3, D=4e-3", tmp_path)
    compare(table, Plain(table, judge, persuade, lr=(1e-3, 4e-3)), rows())


def test_each_side_is_clipped_by_itself(tmp_path):
    judge, persuade, _ = OBJECTIVES["non_saturating"]
    table = Table(game("non_saturating"), f"{ADAM} clip 0.05", tmp_path)
    compare(table, Plain(table, judge, persuade, bound=0.05), rows())


# ------------------------------------------------------------------ other games

CYCLE = """
adversarial Game {
  input a: [B, 6]
  input b: [B, 6]
  generator A2B = Gen
  generator B2A = Gen
  discriminator DA = Dis
  discriminator DB = Dis
  fake_b = a -> A2B
  fake_a = b -> B2A
  pair A2B vs DB on (b, fake_b) by least_squares(pool=20)
  pair B2A vs DA on (a, fake_a) by least_squares(pool=20)
  loss cycle_a weight 10 over A2B, B2A = (fake_b -> B2A, a) -> l1
  loss cycle_b weight 10 over A2B, B2A = (fake_a -> A2B, b) -> l1
}
block Gen { input x: [B, L]  output x -> linear(16) -> tanh -> linear(6) }
block Dis { input x: [B, L]  output x -> linear(16) -> tanh -> linear(1) }
"""


class ImagePool:
    """The history of generated images as CycleGAN keeps it (Shrivastava et al., 2017), one image after the other."""

    def __init__(self, size):
        self.size, self.images = size, []

    def query(self, images):
        found = []
        late = len(images) - min(len(images), self.size - len(self.images))
        chances, places = iter(torch.rand(late)), iter(torch.randint(self.size, (late,)))
        for image in images.split(1):
            if len(self.images) < self.size:
                self.images.append(image)
                found.append(image)
                continue
            chance, at = float(next(chances)), int(next(places))
            if chance < 0.5:
                found.append(self.images[at])
                self.images[at] = image
            else:
                found.append(image)
        return torch.cat(found)


def test_cyclegan(tmp_path):
    """Zhu et al., 2017, with the pool and the order of its reference implementation's losses."""
    table = Table(CYCLE, ADAM, tmp_path)
    ours = table.module
    A2B, B2A = copied(ours.A2B, 6, 16, 6), copied(ours.B2A, 6, 16, 6)
    DA, DB = copied(ours.DA, 6, 16, 1), copied(ours.DB, 6, 16, 1)
    optG = torch.optim.Adam([*A2B.parameters(), *B2A.parameters()], lr=2e-3, betas=(0.5, 0.9))
    optD = torch.optim.Adam([*DA.parameters(), *DB.parameters()], lr=2e-3, betas=(0.5, 0.9))
    pool_a, pool_b = ImagePool(20), ImagePool(20)
    batches = rows(tensors=2)
    found = table.play(batches)
    torch.manual_seed(1)
    judged, made = [], []
    for a, b in batches:
        fake_b, fake_a = A2B(a), B2A(b)
        optD.zero_grad()
        loss = 0.0
        for D, real, fake, pool in ((DB, b, fake_b, pool_b), (DA, a, fake_a, pool_a)):
            shown = pool.query(fake.detach())
            loss = loss + 0.5 * (F.mse_loss(D(real), torch.ones(ROWS, 1).double()) + (D(shown) ** 2).mean())
        loss.backward()
        optD.step()
        judged.append(float(loss.detach()))
        optG.zero_grad()
        loss = ((DB(fake_b) - 1) ** 2).mean() + ((DA(fake_a) - 1) ** 2).mean()
        loss = loss + 10 * (B2A(fake_b) - a).abs().mean() + 10 * (A2B(fake_a) - b).abs().mean()
        loss.backward()
        optG.step()
        made.append(float(loss.detach()))
    same([row["discriminator loss"] for row in found], judged)
    same([row["loss"] for row in found], made)
    for name, plain in (("A2B", A2B), ("B2A", B2A), ("DA", DA), ("DB", DB)):
        same_players(getattr(ours, name), plain)


TWO = game("hinge").replace(
    "  fake = z -> G\n", "  discriminator E = Dis\n  fake = z -> G\n  pair G vs E on (real, fake) by least_squares\n"
)


def test_two_discriminators_against_one_generator(tmp_path):
    table = Table(TWO, ADAM, tmp_path)
    G, D, E = copied(table.module.G, 3, 16, 6), copied(table.module.D, 6, 16, 1), copied(table.module.E, 6, 16, 1)
    optG, optD, optE = adam(G), adam(D), adam(E)
    batches = rows()
    found = table.play(batches)
    torch.manual_seed(1)
    judged, made = [], []
    for (x,) in batches:
        fake = G(noise())
        still = fake.detach()
        one = F.relu(1 - D(x)).mean() + F.relu(1 + D(still)).mean()
        other = 0.5 * ((E(x) - 1) ** 2).mean() + 0.5 * (E(still) ** 2).mean()
        for optimizer, loss in ((optD, one), (optE, other)):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        judged.append(float((one + other).detach()))
        optG.zero_grad()
        loss = -D(fake).mean() + ((E(fake) - 1) ** 2).mean()
        loss.backward()
        optG.step()
        made.append(float(loss.detach()))
    same([row["discriminator loss"] for row in found], judged)
    same([row["loss"] for row in found], made)
    for name, plain in (("G", G), ("D", D), ("E", E)):
        same_players(getattr(table.module, name), plain)


# ------------------------------------------------------------------ groups of batches, averages

GIVEN = game("non_saturating").replace("sample z ~ normal(0, 1): [B, 3]", "input z: [B, 3]")


def pairs_of(count, size):
    draws = torch.Generator().manual_seed(3)
    return [(x, torch.randn((size, 3), generator=draws, dtype=torch.float64)) for (x,) in rows(count, size)]


@pytest.mark.parametrize("steps", [1, 3])
def test_two_batches_make_one_of_twice_the_size(steps, tmp_path):
    """For networks that look at examples one by one, and the same noise."""
    text = GIVEN.replace("by non_saturating", f"by non_saturating(critic_steps={steps})")
    small = pairs_of(48, 4)
    whole = [tuple(torch.cat(pair) for pair in zip(small[i], small[i + 1], strict=True)) for i in range(0, 48, 2)]
    grouped, plain = Table(text, f"{ADAM} accumulate 2", tmp_path), Table(text, ADAM, tmp_path)
    ours, theirs = grouped.play(small), plain.play(whole)
    assert not any(ours[::2]), "nothing is learned before a group is complete"
    for name in ("discriminator loss", "loss"):
        same([row[name] for row in ours if name in row], [row[name] for row in theirs if name in row])
    same_players(grouped.module, plain.module)


def test_an_average_of_the_generator(tmp_path):
    """After every step of the generator the average goes a tenth of the way; the discriminator has none."""
    table = Table(game("wasserstein(clip=0.1, critic_steps=2)"), f"{ADAM} ema 0.9", tmp_path)
    average, step = copy.deepcopy(table.module.G), [0]

    def follow():
        step[0] += 1
        if step[0] % 2 == 0:
            with torch.no_grad():
                for kept, now in zip(average.parameters(), table.module.G.parameters(), strict=True):
                    kept.mul_(0.9).add_(now, alpha=0.1)

    table.play(rows(12), follow)
    before = copy.deepcopy(table.module)
    with table.ema.used():
        same_players(table.module.G, average, 1e-12)
        same_players(table.module.D, before.D, 0)
    same_players(table.module, before, 0)
    with pytest.raises(AssertionError):
        same_players(average, before.G, 1e-6)


# ------------------------------------------------------------------ what is computed


@pytest.mark.parametrize("steps", [1, 3])
def test_nothing_is_made_or_judged_twice(steps, tmp_path):
    """A batch asks the generator once. The discriminator sees what is real, what is made, and what is made again where
    the generator steps."""
    table = Table(game(f"hinge(critic_steps={steps})"), ADAM, tmp_path)
    seen = Counter()
    for name in ("G", "D"):
        getattr(table.module, name).register_forward_hook(lambda *_, name=name: seen.update([name]))
    table.play(rows(6))
    assert seen == {"G": 6, "D": 12 + 6 // steps}


def test_no_gradient_is_left_over(tmp_path, monkeypatch):
    """A step of one side gives the other's parameters no gradient, and none is there when a step ends."""
    table = Table(game("wasserstein(gradient_penalty=10, critic_steps=2)"), ADAM, tmp_path)
    step, given = table.phase.optimizer.step, []

    def stepped():
        given.append({key.partition(".")[0] for key, p in table.module.named_parameters() if p.grad is not None})
        return step()

    monkeypatch.setattr(table.phase.optimizer, "step", stepped)
    table.play(rows(4), lambda: none_left(table.module))
    assert given == [{"D"}, {"D"}, {"G"}, {"D"}, {"D"}, {"G"}]


def test_a_loss_of_one_side_moves_that_side_only(tmp_path):
    """Also where it leads through the other one."""
    text = game("hinge").replace("by hinge\n", "by hinge\n  loss more over D = (z -> G -> D, fake -> D) -> mse\n")
    table = Table(text, f"{ADAM} lr G=1e-3, D=2e-3", tmp_path)
    x = rows(1)[0]
    G = copy.deepcopy(table.module.G)
    table.steps._discriminate([x], keep=True)
    assert all(p.grad is None for p in table.module.G.parameters())
    assert all(p.grad is not None for p in table.module.D.parameters())
    same_players(table.module.G, G, 0)


def none_left(module):
    assert all(p.grad is None for p in module.parameters())


def test_a_step_waits_for_nothing(tmp_path, monkeypatch):
    """No value is read while both sides learn, so that a device is never waited for."""
    table = Table(game("wasserstein(gradient_penalty=10, critic_steps=2)"), f"{ADAM} ema 0.9 clip 1.0", tmp_path)

    def read(*_):
        raise AssertionError("a step read a value")

    batches = rows(4)
    with monkeypatch.context() as patch:
        for name in ("item", "tolist", "__float__", "__int__", "__bool__", "cpu", "numpy"):
            patch.setattr(torch.Tensor, name, read)
        for number, batch in enumerate(batches):
            table.steps.learn(batch, 1, True, number)
            table.ema.update()


@pytest.mark.parametrize("objective", ["hinge", "wasserstein(gradient_penalty=10, critic_steps=2)"])
def test_compiled_methods_learn_the_same(objective, tmp_path, monkeypatch):
    plain = Table(game(objective), ADAM, tmp_path)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled = Table(game(objective), ADAM, tmp_path, compile=True)
    ours, theirs = compiled.play(rows(6)), plain.play(rows(6))
    for name in ("discriminator loss", "loss"):
        same([row[name] for row in ours if name in row], [row[name] for row in theirs if name in row])
    same_players(compiled.module, plain.module)


def test_what_is_frozen_stays(tmp_path):
    table = Table(game("hinge"), f"{ADAM} freeze G.linear1", tmp_path)
    before = copy.deepcopy(table.module)
    table.play(rows(3))
    same_players(table.module.G.linear1, before.G.linear1, 0)
    assert not torch.equal(table.module.G.linear2.weight, before.G.linear2.weight)
    assert not torch.equal(table.module.D.linear1.weight, before.D.linear1.weight)
