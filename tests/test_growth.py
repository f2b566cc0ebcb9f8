"""Networks that grow: what phases set, what carries over, what fades in, and a run taken up in the midst of it."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path

import archlang
import numpy as np
import pytest
import torch
from archlang.compiler.analysis.faded import switched_off
from archlang.compiler.frontend import compile_program
from archlang.compiler.source import Source
from archlang.compiler.training import plan, stage_programs
from archlang.runtime import train as training
from archlang.runtime import workplace
from archlang.runtime.checkpoint import keep
from archlang.runtime.data.fading import FadedFeed
from archlang.runtime.ema import Ema
from archlang.runtime.games import GameSteps
from archlang.runtime.making.entries import Maker
from archlang.runtime.module import build
from archlang.runtime.probe import probe
from archlang.runtime.train import BEST, LAST, RESUME, fit
from archlang.training import plan_for, restore
from safetensors.torch import load_file
from torch.nn import functional as F
from training_harness import interrupted_at, refused

SPECS = Path(__file__).parents[1] / "specs"
TINY = """
adversarial Tiny = {name}(resolution=16, channels=1, latent=4, base=16, most=4{more})
train Tiny on digits {{
  normalize symmetric
  test 0.97
  optimizer adam(lr=1e-3, betas=[0.0, 0.99])
  batch 16
  ema 0.9
  {phases}
}}
"""
PHASES = "phase four { set resolution=4  epochs 1 }  phase eight { set resolution=8  epochs 3  fade alpha=2 }"
STEPS = 4  # batches of an epoch


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(training, "draw_curves", lambda report, path: None)


def written(folder: Path, phases: str = PHASES, spec: str = "progressive", **names: str) -> Path:
    """A file with a small network of a bundled spec, to be trained in these phases."""
    bundled = SPECS / "adversarial"
    shutil.copy(bundled / "progressive.arch", folder)  # the other one imports it
    text = re.sub(r"\ntrain .*", "", (bundled / f"{spec}.arch").read_text(encoding="utf-8"), flags=re.DOTALL)
    path = folder / "tiny.arch"
    path.write_text(text + TINY.format(**{"name": "ProgressiveGAN", "more": "", "phases": phases} | names))
    return path


def planned(path: Path):
    program = compile_program(Source(path.read_text(encoding="utf-8"), str(path)), "Tiny", base=path.parent)
    return program, plan(program.trains[0], program)


def run(folder: Path, phases: str = PHASES, more: str = "", **options):
    program, found = planned(written(folder, f"{more}  {phases}"))
    options = {"device": "cpu", "progress": False} | options
    return fit(program, lambda: build(program), found, out=folder / "run", **options)


class Seen:
    """A whole run: what it left, and what went on in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.alphas = folder, []
        self.before: dict[str, torch.Tensor] = {}
        self.after: dict[str, torch.Tensor] = {}
        self.averaged: tuple[dict[str, torch.Tensor], ...] = ()
        self.compared: list[float] = []
        self.drawn: list[float] = []
        grow, learn, again, made = training._Run._grow, GameSteps.learn, FadedFeed.again, Maker.run

        def grown(running, program):
            self.before = _copy(running.module.state_dict())
            former = _copy(running.ema.kept)
            grow(running, program)
            self.after = _copy(running.module.state_dict())
            self.averaged = former, _copy(running.ema.kept)

        def learned(steps, batch, *rest):
            self.alphas.append(float(batch[1]))
            return learn(steps, batch, *rest)

        def compared(feed, batch):
            found = again(feed, batch)
            self.compared.append(float(found[1]))
            return found

        def drawn(maker, values, seed):
            self.drawn.append(float(values.get("alpha", 1.0)))
            return made(maker, values, seed)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "draw_curves", lambda report, path: None)
            patch.setattr(training._Run, "_grow", grown)
            patch.setattr(GameSteps, "learn", learned)
            patch.setattr(FadedFeed, "again", compared)
            patch.setattr(Maker, "run", drawn)
            self.report = run(folder, PHASES, "samples 2")


def _copy(tensors):
    return {key: value.clone() for key, value in tensors.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return Seen(tmp_path_factory.mktemp("whole"))


# ------------------------------------------------------------------ what carries over


def test_weights_carry_over_by_their_keys(whole):
    """All that the small network learned is in the large one, unchanged; what is new is fresh."""
    assert whole.before.keys() < whole.after.keys()
    for key, value in whole.before.items():
        assert torch.equal(value, whole.after[key]), key
    fresh = {key.split(".")[1] for key in whole.after.keys() - whole.before.keys()}
    assert fresh == {"grow8", "rgb8", "shrink8"}
    trained = [key for key in whole.before if key.endswith("weight")]
    program, found = planned(whole.folder / "tiny.arch")
    torch.manual_seed(found.seed)
    start = build(stage_programs(program, found.stages)[0]).state_dict()
    assert all(not torch.equal(whole.before[key], start[key]) for key in trained)


def test_averages_carry_over(whole):
    """They are the generator's; of what is new they begin with its fresh weights."""
    former, now = whole.averaged
    assert former.keys() == {key for key in whole.before if key.startswith("G.")}
    assert any(not torch.equal(former[key], whole.before[key]) for key in former)
    for key, value in now.items():
        assert torch.equal(value, former[key] if key in former else whole.after[key]), key


def test_alpha_rises_step_by_step(whole):
    """1 in a phase that fades nothing in; else from 0 to 1 over its epochs, and 1 from then on."""
    rising = [step / (2 * STEPS) for step in range(2 * STEPS)]
    assert whole.alphas == pytest.approx([1.0] * STEPS + rising + [1.0] * STEPS)


@pytest.mark.parametrize("spec", ["progressive", "stylegan"])
def test_at_first_a_grown_network_is_the_former_one(spec, tmp_path):
    """With alpha = 0 the generator makes what the small one made, each pixel four times; the discriminator sees a
    picture as the small one sees it at half the size. With alpha = 1 neither does."""
    names = {"name": "StyleGAN", "more": ", width=4, depth=2"} if spec == "stylegan" else {}
    program, _ = planned(written(tmp_path, spec=spec, **names))
    torch.manual_seed(0)
    modules = [build(program.variant({"resolution": size}, {})).double().eval() for size in (4, 8, 16)]
    zero, one = torch.tensor(0.0).double(), torch.tensor(1.0).double()
    z, w = torch.randn(3, 4).double(), torch.randn(3, 4).double()
    for size, (small, large) in zip((4, 8), pairwise(modules), strict=True):
        keep(large, small.state_dict())
        codes = (z,) if spec == "progressive" else (z, w, torch.tensor([1, 2, 9]))
        made, grown, opened = (
            _drawn(module.G, *codes, alpha) for module, alpha in ((small, one), (large, zero), (large, one))
        )
        assert made.shape[-1] == size
        expected = F.interpolate(made, scale_factor=2)
        torch.testing.assert_close(grown, expected)
        assert (opened - expected).abs().max() > 0.01
        picture = torch.randn(3, 1, 2 * size, 2 * size).double()
        seen = small.D(F.avg_pool2d(picture, 2), one)
        torch.testing.assert_close(large.D(picture, zero), seen)
        assert (large.D(picture, one) - seen).abs().max() > 0.01


def _drawn(player, *inputs):
    """What a player makes of inputs, its noise being the same each time."""
    torch.manual_seed(1)
    with torch.no_grad():
        return player(*inputs)


# ------------------------------------------------------------------ what a run leaves


def test_each_phase_is_reported_as_it_was(whole):
    """The network of the first phase was smaller than that of the last one."""
    four, eight = whole.report.phases
    sizes = [sum(value.numel() for value in state.values()) for state in (whole.before, whole.after)]
    assert (four.name, four.epochs, four.learning, four.frozen) == ("four", 1, sizes[0], 0)
    assert (eight.name, eight.epochs, eight.learning, eight.frozen) == ("eight", 3, sizes[1], 0)
    assert four.rates == [(1e-3, sizes[0])]
    assert whole.report.parameters == sizes[1] > sizes[0]


def test_the_best_weights_fit_the_last_phase(whole):
    """A file gives the network as its last phase leaves it, not as it is declared."""
    model = archlang.compile(f"{whole.folder}/tiny.arch:Tiny")
    assert model.program.parameters["resolution"] == 8
    module = model.module(weights=whole.folder / "run")
    for key, value in load_file(whole.folder / "run" / BEST).items():
        assert torch.equal(module.state_dict()[key], value)
    assert model.evaluate(whole.folder / "run") == pytest.approx(whole.report.metrics["test"], rel=1e-4)
    assert module.generate(torch.tensor(1.0), b=5).shape == (5, 1, 8, 8)


@pytest.mark.parametrize("at", [2 * STEPS + 1, 4 * STEPS + 5], ids=["as it grows", "as it fades in"])
def test_a_resumed_run_is_the_same_run(at, whole, tmp_path, monkeypatch):
    """Each step goes back twice: once for either side."""
    with interrupted_at(at, monkeypatch):
        run(tmp_path)
    report = run(tmp_path, resume=True)
    for name in (BEST, LAST, RESUME):
        left, right = load_file(tmp_path / "run" / name), load_file(whole.folder / "run" / name)
        assert left.keys() == right.keys()
        assert not [key for key in left if not torch.equal(left[key], right[key])], name
    assert report.history == whole.report.history
    assert report.phases == whole.report.phases
    assert report.metrics == whole.report.metrics


def test_a_run_that_diverges_as_it_has_grown_is_explained(tmp_path):
    """It is run again from the end of the phase before, whose network is the smaller one."""
    phases = PHASES.replace("epochs 3", "epochs 3  optimizer adam(lr=1e30)")
    (problem,) = refused(lambda: run(tmp_path, phases))
    assert problem.code == "A1040"
    assert "epoch 2" in problem.message and problem.labels


@pytest.mark.slow
def test_style_gan_trains(tmp_path):
    """A few steps: both sides learn, and at a truncation of 0 all pictures are the mean one."""
    names = {"name": "StyleGAN", "more": ", width=4, depth=2"}
    path = written(tmp_path, "phase eight { set resolution=8  epochs 1 }", "stylegan", **names)
    model = archlang.compile(f"{path}:Tiny")
    report = model.fit(tmp_path / "run", device="cpu", progress=False)
    assert model.program.parameters["resolution"] == 8
    for key in ("loss", "discriminator loss", "gradient mapping", "gradient G", "gradient D"):
        assert all(0 < abs(row[key]) < 100 for row in report.history), key
    module = model.module(weights=tmp_path / "run").eval()
    for key, value in module.state_dict().items():
        if key.endswith("strength"):
            value.zero_()  # noise apart
    same, different = (module.truncated(torch.tensor(psi), torch.tensor(1.0), b=3) for psi in (0.0, 1.0))
    assert same.shape == (3, 1, 8, 8)
    torch.testing.assert_close(same[0], same[1])
    assert (different[0] - different[1]).abs().max() > 1e-4


# ------------------------------------------------------------------ what is faded out


def test_layers_that_are_faded_out_raise_no_alarm(whole):
    """`rgb4` has no gradient once alpha is 1, and that is as it should be."""
    last = whole.report.history[-1]
    assert whole.report.health.gradients["D.rgb4.conv"] == 0 < last["gradient"]
    assert whole.report.health.gradients["G.rgb4.conv"] == 0
    assert "A1071" not in [alarm.code for alarm in whole.report.alarms]


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ("(h -> old: linear(3)) * (1 - alpha) + alpha * (h -> new: linear(3))", {"old"}),
        ("(h -> old: linear(3)) * ((alpha - 1) * 2) + (h -> new: linear(3))", {"old"}),
        ("((h -> old: linear(3)) -> relu) * (1 - alpha) + (h -> new: linear(3))", {"old"}),
        ("(h -> linear(8) -> old: linear(3)) * (1 - alpha) + (h -> new: linear(3))", {"old", "linear1"}),
        ("(h -> old: linear(3)) * alpha + (h -> new: linear(3))", set()),
        ("(h -> old: linear(3)) * (1 - 0.5 * alpha) + (h -> new: linear(3))", set()),
    ],
)
def test_what_is_switched_off_at_one(logits, expected, tmp_path):
    """What a loss still depends on some other way is not; and what is has no gradient."""
    text = re.sub(r"logits = .*", f"logits = {logits}", NET)
    program = compile_program(Source(text, str(tmp_path / "net.arch")), "Net", base=tmp_path)
    module = build(program)
    inputs = torch.tensor(1.0), torch.randn(5, 4), torch.zeros(5, dtype=torch.int64)
    module.objective(*inputs)[1]["nll"].backward()
    none = {key.rpartition(".")[0] for key, p in module.named_parameters() if p.grad is None or not p.grad.any()}
    assert switched_off(program) == none == expected


# ------------------------------------------------------------------ networks that play no game

NET = """
network Net(width: int = 4) {
  input  alpha: []
  input  x: [B, 4]
  target y: int[B]
  h = x -> fc1: linear(width) -> relu
  logits = (h -> old: linear(3)) + alpha * (h -> new: linear(3))
  output logits
  loss nll = (logits, y) -> cross_entropy
}
train Net on iris {
  test 0.2
  batch 32
  phase narrow { epochs 1 }
  phase wide   { set width=8  epochs 2 }
}
"""


def test_an_input_without_axes_is_one_where_nothing_fades_it_in(tmp_path):
    path = tmp_path / "net.arch"
    path.write_text(NET)
    model = archlang.compile(path)
    assert model.program.parameters["width"] == 8
    report = model.fit(tmp_path / "run", device="cpu", progress=False)
    assert [phase.learning for phase in report.phases] == [4 * 5 + 6 * 5, 8 * 5 + 6 * 9]
    module = model.module(weights=tmp_path / "run").eval()
    found = model.evaluate(tmp_path / "run")
    assert found == pytest.approx(report.metrics["test"])
    x = torch.tensor([[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]])
    np.savez(tmp_path / "x.npz", x=x.numpy())
    rows = model.predict(tmp_path / "x.npz", tmp_path / "run")
    prep = restore(model.program, tmp_path / "run")[1]
    with torch.no_grad():
        expected = module(torch.tensor(1.0), prep.apply(x)).softmax(1)
    assert torch.allclose(torch.tensor([list(row["probabilities"].values()) for row in rows]), expected, atol=1e-5)
    with torch.no_grad():
        other = module(torch.tensor(0.0), prep.apply(x)).softmax(1)
    assert not torch.allclose(other, expected, atol=1e-3)


def test_probes_of_such_networks_have_the_input_too(tmp_path):
    path = tmp_path / "net.arch"
    path.write_text(NET)
    program = archlang.compile(path).program
    found = probe(program, plan=plan_for(program))
    assert {layer for layer, _ in found.layers} == {"fc1", "old", "new"}


def test_averages_begin_with_what_is_fresh(tmp_path):
    program, _ = planned(written(tmp_path))
    small, large = (build(program.variant({"resolution": size}, {})) for size in (4, 8))
    ema = Ema(large, 0.5, large.program)
    ema.keep({key: value + 1 for key, value in small.state_dict().items()})
    state = small.state_dict()
    for key, value in ema.kept.items():
        expected = state[key] + 1 if key in state else large.state_dict()[key]
        assert torch.equal(value, expected)


# ------------------------------------------------------------------ what is measured while something fades in

FADED = NET.replace("epochs 2 }", "epochs 4  fade alpha=2.5 }").replace("test 0.2", "test 0.2  validation 0.2")


class Measured:
    """Measurements of a run: how far alpha had risen, and what was found."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, losses: tuple[float, ...]) -> None:
        self.alphas: list[float] = []
        given = iter(losses)
        monkeypatch.setattr(workplace, "measure", lambda *a, **k: self._measure(next(given, 9.0), *a, **k))

    def _measure(self, loss, trainee, feed, *rest, **how):
        self.alphas += {float(batch[0]) for batch in feed.epoch(0)}
        return {"loss": loss, "accuracy": -loss}


def test_a_network_is_measured_as_it_is_while_something_fades_in(tmp_path, monkeypatch):
    """At the ends of its epochs alpha was 1 in the first phase, then 0.4 and 0.8, and 1 twice. Weights from before it
    was 1 are not the best ones, as they would be used with 1."""
    path = tmp_path / "net.arch"
    path.write_text(FADED)
    seen = Measured(monkeypatch, (0.1, 0.1, 0.2, 0.5, 0.6))
    report = archlang.compile(path).fit(tmp_path / "run", device="cpu", progress=False)
    assert seen.alphas == pytest.approx([1.0, 0.4, 0.8, 1.0, 1.0, *[1.0] * len(report.metrics)])
    assert report.best_epoch == 4


@pytest.mark.parametrize("how", ["early_stop 1", "schedule plateau(patience=1, factor=0.1)"])
def test_a_loss_that_grows_as_something_fades_in_ends_nothing(how, tmp_path, monkeypatch):
    path = tmp_path / "net.arch"
    path.write_text(FADED.replace("batch 32", f"batch 32  {how}"))
    Measured(monkeypatch, (0.1, 0.1, 0.2, 0.3, 0.3))
    report = archlang.compile(path).fit(tmp_path / "run", device="cpu", progress=False)
    assert len(report.history) == 5
    assert len({row["lr"] for row in report.history}) == 1


def test_a_run_that_ends_before_something_has_risen_is_measured_as_it_is_used(tmp_path, monkeypatch):
    path = tmp_path / "net.arch"
    path.write_text(FADED)
    seen = Measured(monkeypatch, ())
    report = archlang.compile(path).fit(tmp_path / "run", device="cpu", progress=False, epochs=1)
    assert seen.alphas == pytest.approx([1.0, 0.4, *[1.0] * len(report.metrics)])


def test_pairs_and_pictures_of_a_game_are_made_as_it_is_while_something_fades_in(whole):
    """At the ends of the four epochs; and every second update, at the end for the last time."""
    assert whole.compared == [1.0, 0.5, 1.0, 1.0]
    assert whole.drawn == [1.0, 1.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
