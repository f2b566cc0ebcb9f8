"""Whole runs of games: interrupted and taken up again, in several processes, measured, and refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from archlang.runtime import train as training
from archlang.runtime.data import load
from archlang.runtime.games import GameSteps
from archlang.runtime.module import build
from archlang.runtime.predict import evaluate, predict
from archlang.runtime.report import draw_curves, summary
from archlang.runtime.train import BEST, LAST, RESUME, fit
from game_harness import compiled, game
from processes import finished
from safetensors.torch import load_file
from torch.nn import functional as F
from training_harness import interrupted_at, refused

WGAN = game("wasserstein(clip=0.1, critic_steps=5, pool=12)")
BODY = "epochs 3 batch 4 accumulate 2 ema 0.9 optimizer adam(lr=2e-3, betas=[0.5, 0.9])"
STEPS = 26  # batches of an epoch: 13 groups


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(training, "draw_curves", lambda report, path: None)


def table(folder: Path, count: int = 4 * STEPS, seed: int = 0) -> Path:
    t = np.random.RandomState(seed).rand(count, 1).astype(np.float32)
    np.savez(folder / "rows.npz", x=np.concatenate([np.sin(3 * t * (i + 1)) for i in range(6)], 1))
    return folder


def run(folder: Path, text: str = WGAN, body: str = BODY, out: str = "run", **options):
    program, plan = compiled(text, body, table(folder))
    options = {"device": "cpu", "progress": False} | options
    return fit(program, lambda: build(program), plan, out=folder / out, **options)


def same_files(one: Path, other: Path) -> None:
    """The same weights, averages, optimizer and pools to the last bit."""
    for name in (BEST, LAST, RESUME):
        left, right = load_file(one / name), load_file(other / name)
        assert left.keys() == right.keys()
        differ = [key for key in left if not torch.equal(left[key], right[key])]
        assert not differ, name


# ------------------------------------------------------------------ resuming


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "draw_curves", lambda report, path: None)
        return folder / "run", run(folder)


@pytest.mark.parametrize("at", [1, 33, 50, 70])
def test_a_resumed_run_is_the_same_run(at, whole, tmp_path, monkeypatch):
    """Noise, a pool, averages, five steps of the critic and groups of two, interrupted anywhere."""
    with interrupted_at(at, monkeypatch):
        run(tmp_path)
    report = run(tmp_path, resume=True)
    same_files(tmp_path / "run", whole[0])
    assert report.history == whole[1].history
    assert report.metrics == whole[1].metrics


def test_what_a_run_leaves(whole):
    """The best weights hold the generator's average and the newest discriminator; a pool is as large as it was said."""
    folder, report = whole
    best, last, state = (load_file(folder / name) for name in (BEST, LAST, RESUME))
    for key in best:
        assert torch.equal(best[key], last[key]) == key.startswith("D."), key
        averaged = f"carried.ema.{key}"
        assert (averaged in state) == key.startswith("G.")
        assert averaged not in state or torch.equal(state[averaged], best[key])
    assert state["carried.pool.0"].shape == (12, 6)
    assert report.best_epoch == 3
    assert set(report.examples) == {"train"}, "a game learns from everything"


# ------------------------------------------------------------------ several processes

MENDED = (
    game("non_saturating(r1=1.0, critic_steps=2)")
    .replace("z -> G", "real -> G")
    .replace("  sample z ~ normal(0, 1): [B, 3]\n", "")
)
PROCESSES = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import torch
from archlang.runtime import train as training
from game_harness import compiled
from safetensors.torch import save_file
from archlang.runtime.module import build

folder = Path({folder!r})
program, plan = compiled({text!r}, {body!r}, folder)
saved = training._Run._save

def save(run):
    states = {{**run.module.state_dict(), "noise": torch.get_rng_state()}}
    save_file(states, folder / f"rank{{run.fabric.global_rank}}.safetensors")
    saved(run)

training._Run._save = save
training.draw_curves = lambda report, path: None
training.fit(program, lambda: build(program), plan, out=folder / "two", device="cpu", processes=2, progress=False)
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    """Gradients are averaged before each side's update and clipped after that. Noise is each process's own."""
    body = "epochs 2 batch 8 accumulate 2 clip 0.5 ema 0.9 validation 0.1 optimizer adam(lr=2e-3)"
    script = table(tmp_path, 80) / "script.py"
    here = str(Path(__file__).parent)
    script.write_text(PROCESSES.format(here=here, folder=str(tmp_path), text=MENDED, body=body))
    done = finished([sys.executable, str(script)], timeout=240)
    assert done.returncode == 0, done.stderr
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    program, plan = compiled(MENDED, body, tmp_path)
    fit(program, lambda: build(program), plan, out=tmp_path / "one", device="cpu", progress=False)
    one = load_file(tmp_path / "one" / LAST)
    assert not torch.equal(first.pop("noise"), second.pop("noise"))
    for key in first:
        assert torch.equal(first[key], second[key]), key
        assert torch.allclose(one[key], first[key], atol=1e-5), key
    left, right = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two"))
    for part in ("train", "validation"):
        assert left["metrics"][part] == pytest.approx(right["metrics"][part], abs=1e-5)


# ------------------------------------------------------------------ what is measured


def test_both_sides_are_measured(tmp_path):
    """As the losses written by hand, over the whole part, with the averaged generator."""
    text = MENDED.replace("non_saturating(r1=1.0, critic_steps=2)", "least_squares")
    body = "epochs 2 batch 16 test 0.25 validation 0.1 ema 0.5 optimizer adam(lr=1e-2)"
    report = run(tmp_path, text, body)
    program, plan = compiled(text, body, tmp_path)
    data, parts, _ = load(program, plan)
    module = build(program)
    module.load_state_dict(load_file(tmp_path / "run" / BEST))
    x = data.tensors[0][torch.from_numpy(parts.test)]
    with torch.no_grad():
        real, fake = module.D(x), module.D(module.G(x))
    wanted = {
        "loss": float(F.mse_loss(fake, torch.ones_like(fake))),
        "discriminator loss": float(((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2),
    }
    assert report.metrics["test"] == pytest.approx(wanted, rel=1e-5)
    assert evaluate(program, module, plan, device="cpu") == pytest.approx(wanted, rel=1e-5)
    assert set(report.history[0]) >= {"validation loss", "validation discriminator loss"}
    assert report.history[-1]["validation loss"] == pytest.approx(report.metrics["validation"]["loss"], rel=1e-5)
    assert report.best_epoch == 2, "a loss says as much about the other side: the newest weights are kept"


def test_measuring_draws_nothing_from_training(tmp_path):
    program, plan = compiled(game("wasserstein(gradient_penalty=10)"), "test 0.2", table(tmp_path))
    module = build(program)
    before = torch.get_rng_state()
    first = evaluate(program, module, plan, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert evaluate(program, module, plan, device="cpu") == first


def test_a_game_of_few_batches(tmp_path):
    """Fewer batches in an epoch than the critic has steps: the generator learns now and then."""
    report = run(tmp_path, WGAN, "epochs 4 batch 52")
    assert ["loss" in row for row in report.history] == [False, False, True, False]
    assert "the best" not in summary(report)
    draw_curves(report, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_generator_that_never_steps(tmp_path, recwarn):
    """Said before the run, phase by phase, where the critic's steps are written; its curve is left empty."""
    text = game("wasserstein(clip=0.1, critic_steps=9)")
    body = "batch 13 accumulate 2 phase short { epochs 2 } phase long { epochs 3 }"  # 8 batches an epoch: 4 groups
    report = run(tmp_path, text, body)
    (said,) = [line for line in report.warnings if "A1085" in line]
    assert "phase `short`" in said
    assert "8 steps" in said
    assert ["loss" in row for row in report.history] == [False, False, False, False, True]
    report.history = report.history[:2]
    draw_curves(report, tmp_path / "curves.png")
    assert [str(w.message) for w in recwarn if "legend" in str(w.message)] == []


def test_batches_of_one(tmp_path):
    """As CycleGAN has them."""
    report = run(tmp_path, game("least_squares(pool=50)"), "epochs 1 batch 1")
    assert load_file(tmp_path / "run" / RESUME)["carried.pool.0"].shape == (50, 6)
    assert np.isfinite(report.metrics["train"]["loss"])


# ------------------------------------------------------------------ refusals


def normed(player: str) -> str:
    plain = "linear(16) -> tanh -> linear(" + ("6)" if player == "Gen" else "1)")
    return game("hinge").replace(plain, plain.replace("tanh", "batchnorm -> tanh"))


REFUSED = {
    "early_stop 3": ("A1080", "3"),
    "schedule plateau(patience=2)": ("A1080", "plateau(patience=2)"),
    "precision fp16": ("A1080", "fp16"),
    "class_weights balanced": ("A1080", "balanced"),
    "metric accuracy": ("A1006", "accuracy"),
    "ema 1.0": ("A1003", "1.0"),
    "ema -0.1": ("A1003", "-0.1"),
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_a_game_has_no_use_for(body, tmp_path):
    (found,) = refused(lambda: compiled(game("hinge"), body, tmp_path))
    assert (found.code, found.span.text) == REFUSED[body]


def test_precision_of_an_option_is_refused_too(tmp_path):
    (found,) = refused(lambda: run(tmp_path, precision="fp16"))
    assert (found.code, found.span.text) == ("A1080", "Game")


@pytest.mark.parametrize("player", ["Gen", "Dis"])
def test_batch_norm_of_one_example(player, tmp_path):
    (found,) = refused(lambda: run(tmp_path, normed(player), "epochs 1 batch 1"))
    assert (found.code, found.span.text) == ("A1082", "1")
    assert "batchnorm" in found.message and "game.arch:" in found.message


def test_a_game_predicts_nothing(tmp_path):
    program, _ = compiled(game("hinge"), "", tmp_path)
    (found,) = refused(lambda: predict(program, build(program), tmp_path / "rows.npz", device="cpu"))
    assert found.code == "A1081"
    assert "model.generate(b=16)" in found.help


@pytest.mark.parametrize("side", ["G", "D"])
def test_a_loss_that_is_no_number_names_its_side(side, tmp_path, monkeypatch):
    """The epoch before is kept, and the message says where it is."""
    learn, role = GameSteps.learn, {"G": "loss", "D": "discriminator loss"}[side]
    seen = [0]

    def spoilt(self, batch, group, closes, update):
        seen[0] += 1
        found = learn(self, batch, group, closes, update)
        return found | {role: torch.tensor(torch.nan)} if seen[0] == 30 else found

    monkeypatch.setattr(GameSteps, "learn", spoilt)
    (found,) = refused(lambda: run(tmp_path, game("hinge"), "epochs 3 batch 8 accumulate 2"))
    whose = {"G": "generators' loss", "D": "discriminators' loss"}[side]
    assert found.code == "A1040"
    assert f"the {whose} became nan in epoch 3, batch 4" in found.message
    assert LAST in found.help
