"""Phases: what is frozen stays, parts learn at their own rates, and an interrupted run is the run that went through."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from archlang.runtime import train as training
from archlang.runtime.data import load
from archlang.runtime.data.feed import Feed
from archlang.runtime.module import build
from archlang.runtime.optim import make_optimizer, parameter_groups
from archlang.runtime.seeding import seed_all
from archlang.runtime.train import BEST, LAST, RESUME, fit
from archlang.runtime.weighing import weighed_objective
from torch import nn
from training_harness import classifier, compiled, interrupted_at, picture_folder, refused, same_weights

NORMED = """
network Net(classes: int = 2) {
  input  x: [B, 3, 16, 16]
  target y: int[B]
  out = x -> conv1: conv(4, kernel=3) -> bn1: batchnorm -> relu -> dropout(0.2) -> conv2: conv(4, kernel=3)
    -> bn2: batchnorm -> relu -> global_avgpool -> flatten -> fc: linear(classes)
  output out
  loss fit = (out, y) -> cross_entropy
}
"""


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(training, "draw_curves", lambda report, path: None)


def trained(folder, body, network=None, data="iris", out="run", **options):
    """(weights before, the module after, the report)."""
    program, plan = compiled(network or classifier(), data, body, folder)
    seed_all(plan.seed)
    module = build(program)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    report = fit(program, module, plan, out=folder / out, device="cpu", progress=False, **options)
    return before, module, report


def test_what_is_frozen_stays(tmp_path):
    picture_folder(tmp_path / "pics")
    body = "batch 4 workers 0 validation 0 epochs 2 freeze conv1, bn1, conv2 except conv2.bias"
    before, module, report = trained(tmp_path, body, NORMED, 'images("pics/")')
    changed = {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}
    assert {key for key in changed if not key.endswith("num_batches_tracked")} == {
        *("conv2.bias", "bn2.weight", "bn2.bias", "bn2.running_mean", "bn2.running_var", "fc.weight", "fc.bias")
    }
    assert all(p.requires_grad for p in module.parameters())
    (phase,) = report.phases
    assert (phase.learning, phase.frozen) == (4 + 8 + 10, 112 + 8 + 144)


def test_statistics_of_frozen_norms_can_follow(tmp_path):
    picture_folder(tmp_path / "pics")
    body = "batch 4 workers 0 validation 0 epochs 1 freeze all except fc frozen_stats update"
    before, module, _ = trained(tmp_path, body, NORMED, 'images("pics/")')
    after = module.state_dict()
    assert not torch.equal(before["bn1.running_mean"], after["bn1.running_mean"])
    assert torch.equal(before["bn1.weight"], after["bn1.weight"])


def test_rates_and_decay_by_module(tmp_path):
    body = "optimizer adamw(lr=1e-3, weight_decay=0.1, decay_norms=false) lr linear1=1e-5, linear1.bias=1e-4"
    program, plan = compiled(classifier(), "iris", body, tmp_path)
    module = build(program)
    groups = parameter_groups(plan.optimizer, module.named_parameters(), plan.lr)
    names = {id(p): key for key, p in module.named_parameters()}
    optimizer = make_optimizer(plan.optimizer, groups)
    got = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert got == {
        "linear1.weight": (1e-5, 0.1),
        "linear1.bias": (1e-4, 0.0),
        "linear2.weight": (1e-3, 0.1),
        "linear2.bias": (1e-3, 0.0),
    }


def test_phases_are_the_plain_loops(tmp_path):
    """Head first, then everything at rates by module: the same weights as the loops one would write."""
    body = """batch 16 validation 0
      phase head { freeze all except linear2  epochs 2  optimizer sgd(0.1, momentum=0.9) }
      phase all  { epochs 2  optimizer sgd(0.05, momentum=0.9)  lr linear1=0.01  schedule linear }"""
    program, plan = compiled(classifier(), "iris", body, tmp_path)
    seed_all(0)
    ours, plain = build(program), build(program)
    plain.load_state_dict(ours.state_dict())
    report = fit(program, ours, plan, out=tmp_path / "run", device="cpu", progress=False)
    data, parts, _ = load(program, plan)
    feed = Feed(data, parts.train, 16, torch.device("cpu"), shuffle=True, seed=0, even=True)
    total = 2 * feed.steps
    for first, groups in (
        (0, [{"params": plain.linear2.parameters(), "lr": 0.1}]),
        (2, [{"params": plain.linear1.parameters(), "lr": 0.01}, {"params": plain.linear2.parameters(), "lr": 0.05}]),
    ):
        optimizer = torch.optim.SGD(groups, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n, first=first: 1 - n / total if first else 1.0)
        for epoch in (first, first + 1):
            for x, y in feed.epoch(epoch):
                plain.zero_grad()
                F.cross_entropy(plain(x), y).backward()
                optimizer.step()
                scheduler.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert [(p.name, p.epochs, p.learning) for p in report.phases] == [("head", 2, 27), ("all", 2, 67)]
    assert report.phases[1].rates == [(0.01, 40), (0.05, 27)]
    assert [row["phase"] for row in report.history] == [1, 1, 2, 2]


BODY = """batch 4 workers 0 validation 0.2
  augment random_resized_crop, color_jitter(brightness=0.2), mixup
  phase head { freeze all except fc  epochs 2 }
  phase all  { epochs 3  optimizer sgd(0.05, momentum=0.9)  lr conv1=1e-3  schedule cosine
               early_stop patience=2, metric=loss }"""


@pytest.mark.parametrize("at", [2, 8, 10, 14], ids=["first phase", "between phases", "second phase", "later"])
def test_a_resumed_run_is_the_same_run(at, tmp_path, monkeypatch):
    picture_folder(tmp_path / "pics")
    _, whole, told = trained(tmp_path, BODY, NORMED, 'images("pics/")', out="whole")
    with interrupted_at(at, monkeypatch):
        trained(tmp_path, BODY, NORMED, 'images("pics/")', out="parts")
    torch.rand(7)
    _, resumed, again = trained(tmp_path, BODY, NORMED, 'images("pics/")', out="parts", resume=True)
    assert same_weights(whole, resumed)
    assert (told.history, told.phases) == (again.history, again.phases)
    for name in (BEST, LAST, RESUME):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_resuming_with_other_phases_is_refused(tmp_path):
    body = "phase a { epochs 1 } phase b { epochs 1 batch 8 }"
    trained(tmp_path, body)
    for other, place in (
        ("phase a { epochs 2 } phase b { epochs 1 batch 8 }", "2"),
        ("phase a { epochs 1 } phase b { epochs 1 batch 9 }", "9"),
        ("epochs 1", "Net"),
    ):
        (found,) = refused(lambda o=other: trained(tmp_path, o, resume=True))
        assert (found.code, found.span.text) == ("A1106", place)
    _, _, report = trained(tmp_path, "phase a { epochs 1 } phase b { epochs 3 batch 8 }", resume=True)
    assert [p.epochs for p in report.phases] == [1, 3]


def test_class_weights_weigh_what_is_learned(tmp_path):
    program, plan = compiled(classifier(), "iris", "class_weights [1, 0.5, 3]", tmp_path)
    data, parts, _ = load(program, plan)
    module = build(program)
    objective = weighed_objective(program, module, plan, data, parts)
    x, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    out, losses = objective(x, y)
    assert torch.allclose(losses["fit"], F.cross_entropy(module(x), y, weight=torch.tensor([1.0, 0.5, 3.0])))
    assert torch.equal(out, module(x))
    assert torch.allclose(module.objective(x, y)[1]["fit"], F.cross_entropy(module(x), y))


def test_balanced_weights_and_draws(tmp_path):
    from sklearn.utils.class_weight import compute_class_weight

    rare = np.repeat([0, 1, 2], [60, 30, 10])
    np.savez(tmp_path / "a.npz", x=np.random.RandomState(0).rand(100, 4).astype(np.float32), y=rare)
    body = "class_weights balanced sampler balanced validation 0 test 0.2"
    program, plan = compiled(classifier(), 'npz("a.npz")', body, tmp_path)
    data, parts, _ = load(program, plan)
    module = build(program)
    weights = compute_class_weight("balanced", classes=np.arange(3), y=rare[parts.train])
    x, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = F.cross_entropy(module(x), y, weight=torch.tensor(weights, dtype=torch.float32))
    assert torch.allclose(weighed_objective(program, module, plan, data, parts)(x, y)[1]["fit"], expected)
    feed = Feed(data, parts.train, 16, torch.device("cpu"), shuffle=True, even=True, balanced=True)
    drawn = torch.cat([y for n in range(40) for _, y in feed.epoch(n)])
    assert torch.allclose(torch.bincount(drawn) / len(drawn), torch.full((3,), 1 / 3), atol=0.03)
    report = fit(program, module, plan.replace(epochs=2), out=tmp_path / "run", device="cpu", progress=False)
    assert report.epochs == 2


def test_half_precision_is_refused_where_it_is_asked_for(tmp_path):
    (found,) = refused(lambda: trained(tmp_path, "precision fp16 epochs 1"))
    assert (found.code, found.span.text) == ("A1042", "fp16")
    assert trained(tmp_path, "precision bf16 epochs 1 phase a { freeze linear1 } phase b { }")[2].epochs == 2


def test_a_norm_that_rests_uses_what_it_has(tmp_path):
    """Frozen batch norms normalise by their running statistics while the rest is in training mode."""
    from archlang.runtime.phases import _resting

    program, plan = compiled(NORMED, "iris", "freeze bn1", tmp_path)
    module = build(program)
    assert plan.freeze is not None
    found = _resting(module, plan.freeze)
    assert found == [module.bn1]
    assert isinstance(found[0], nn.BatchNorm2d)
