"""What is seen of a run while it trains, and what is said about one that goes wrong."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from archlang.compiler.diagnostics import Diagnostic
from archlang.compiler.frontend import compile_program
from archlang.compiler.graph import Program, Ref
from archlang.compiler.source import Source
from archlang.runtime import train as training
from archlang.runtime.audit.results import Untestable
from archlang.runtime.carry import Carried
from archlang.runtime.checkpoint import load_weights
from archlang.runtime.data import load
from archlang.runtime.health import Alarms, measured_fault
from archlang.runtime.health.alarms import over_time, stuck, through_depth
from archlang.runtime.health.blame import Tracer
from archlang.runtime.health.gradients import Gradients
from archlang.runtime.health.latents import Latents, divergence_terms
from archlang.runtime.health.pairs import Pairs
from archlang.runtime.health.units import Units, hidden
from archlang.runtime.measure import Trainee
from archlang.runtime.module import build
from archlang.runtime.observing import observing, unrolled
from archlang.runtime.recurrence import using
from archlang.runtime.report import Report
from archlang.runtime.seeding import fixed_noise
from archlang.runtime.train import LAST, RESUME, fit
from game_harness import compiled as playing
from game_harness import game
from rich.console import Console
from torch import nn
from training_harness import compiled, interrupted_at, mlp, refused

TABLE = """
network Net {{
  input  x: [B, 4]
  target y: int[B]
{body}
  output out
  loss fit = (out, y) -> cross_entropy
}}
"""
VAE = """
network Net(latent: int = 4) {{
  input x: [B, 2]
  h = x -> encoder: linear(32) -> relu
  mean = h -> mean: linear(latent)
  log_variance = h -> log_variance: linear(latent)
  sample eps ~ normal(0, 1): [B, latent]
  deviation = 0.5 * log_variance -> exp
  z = mean + deviation * eps
  out = z -> d1: linear(32) -> relu -> d2: linear(2)
  output out
  loss rest weight 10 = (out, x) -> mse(reduction="batchmean")
  loss kl weight {weight} = (mean, log_variance) -> kl_standard_normal
}}
"""
POINTS = "gaussians(modes=8, examples=400)"


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(training, "draw_curves", lambda report, path: None)


def program(text: str) -> Program:
    return compile_program(Source(text, "net.arch"))


def trained(folder: Path, network: str, how: str, data: str = "iris", console: Console | None = None, **more) -> Report:
    made, plan = compiled(network, data, how, folder)
    return fit(
        made,
        lambda: build(made),
        plan,
        out=folder / "run",
        device="cpu",
        console=console,
        progress=bool(console),
        **more,
    )


def blamed(folder: Path, body: str, how: str = "epochs 2 batch 16") -> tuple[Diagnostic, str]:
    """The error of a run that diverges, and the text that it points to."""
    (found,) = refused(lambda: trained(folder, TABLE.format(body=body), how))
    assert found.code == "A1040"
    assert found.span is not None
    return found, found.span.text


# -- which layer made the first value that is not finite


def test_the_logarithm_of_a_negative_number(tmp_path):
    found, text = blamed(tmp_path, "  out = x -> fc: linear(8) -> log -> linear(3)")
    assert text == "log"
    assert found.span.line == 5
    assert "the loss became nan in epoch 1, batch 1: `log` made the first value" in found.message
    assert "took values from -" in found.underline
    assert "softplus" in found.help
    assert LAST not in found.help  # no epoch was sound


def test_an_exponential_that_overflows(tmp_path):
    body = "  e = 1000 * x -> exp\n  out = e / e -> linear(3)"  # inf / inf is where the NaN begins, but not its cause
    found, text = blamed(tmp_path, body)
    assert text == "exp"
    assert "infinite above 88" in found.help


def test_a_division_by_zero(tmp_path):
    found, text = blamed(tmp_path, "  z = x -> relu\n  ratio = x / z\n  out = ratio -> linear(3)")
    assert text == "x / z"
    assert "divided by 0" in found.help
    assert "from 0 to" in found.underline


def test_a_learning_rate_that_is_too_large(tmp_path):
    body = "  out = x -> a: linear(8) -> relu -> b: linear(8) -> relu -> c: linear(3)"
    found, text = blamed(tmp_path, body, "epochs 4 batch 16 optimizer sgd(1e12)")
    assert text.startswith(("linear", "cross_entropy"))
    assert "smaller `lr`" in found.help


@pytest.mark.parametrize("batch", [16, 150])  # the weights are used again, or the epoch ends with the update
@pytest.mark.parametrize("optimizer", ["sgd(1e38)", "rmsprop(1e38)"])
def test_an_update_that_is_too_large(optimizer, batch, tmp_path):
    found, text = blamed(tmp_path, "  out = 64 * x -> a: linear(3)", f"epochs 4 batch {batch} optimizer {optimizer}")
    assert text == optimizer
    assert ": the update of `a.weight`" in found.message
    assert "make `lr` smaller" in found.help and "`clip 1.0`" in found.help


def test_an_update_of_one_side_of_a_game_that_is_too_large(tmp_path):
    """The discriminator's, before the generator's loss shows it."""
    np.savez(tmp_path / "rows.npz", x=np.ones((16, 6), np.float32))
    made, plan = playing(game("wasserstein"), "epochs 1 batch 8 optimizer rmsprop(1e38)", tmp_path)
    (found,) = refused(lambda: fit(made, lambda: build(made), plan, out=tmp_path / "run", device="cpu", progress=False))
    assert found.code == "A1040"
    assert "in epoch 1, batch 1: the update of `D." in found.message
    assert found.span.text == "rmsprop(1e38)"


def test_a_derivative_that_is_infinite(tmp_path):
    body = "  init linear.weight = zeros\n  init linear.bias = zeros\n  h = x -> a: linear(8)\n  r = h * h -> sqrt"
    found, text = blamed(
        tmp_path, body + "\n  g = h -> relu -> sqrt\n  out = r + g -> linear(3)"
    )  # relu stops what `g` gets
    assert text == "sqrt"
    assert "derivative" in found.message
    assert "derivative at 0 is infinite" in found.help


def test_a_fault_inside_a_block_names_the_layer_and_who_called(tmp_path):
    block = "block Part(n: int) {\n  input x: [B, D]\n  y = x -> linear(n)\n  output y -> log\n}\n"
    (found,) = refused(
        lambda: trained(
            tmp_path, block + TABLE.format(body="  out = x -> p: Part(8) -> linear(3)"), "epochs 1 batch 16"
        )
    )
    assert found.span.text == "log"
    assert [label.span.text for label in found.labels] == ["Part(8)"]
    assert "in `p`" in found.underline


def test_a_fault_in_a_recurrence_names_the_layer_in_its_cell(tmp_path):
    cell = (
        "cell Root(n: int) {\n  input x: [B, I]\n  state h: [B, n]\n  h' = (h, x) -> linear(n) -> log\n  output h'\n}\n"
    )
    network = """
network Net {
  input values: [B, T, 1]
  target next: [B, 2, 1]
  y, last = values -> s: scan Root(4) over T
  out = last.h -> linear(2) -> rearrange("b n -> b n 1")
  output out
  loss fit = (out, next) -> mse
}
"""
    network = cell + network
    (found,) = refused(lambda: trained(tmp_path, network, "epochs 1 batch 64", "sunspots(window=8, horizon=2)"))
    assert found.code == "A1040"
    assert found.span.text == "log"
    assert [label.span.text for label in found.labels] == ["scan Root(4) over T"]


def test_a_later_epoch_is_run_again_to_the_batch_and_its_checkpoint_stays(tmp_path):
    body = "  out = x -> linear(8) -> square -> linear(8) -> square -> linear(8) -> exp -> linear(3)"
    found, text = blamed(tmp_path, body, "epochs 30 batch 16 optimizer sgd(1e-1)")
    assert "in epoch 1" not in found.message
    assert text in ("exp", "square")
    assert LAST in found.help
    kept = build(program(TABLE.format(body=body)))
    load_weights(kept, tmp_path / "run" / LAST)
    assert all(bool(torch.isfinite(p).all()) for p in kept.parameters())


def test_what_was_said_is_the_same_for_groups_of_batches_and_clipped_gradients(tmp_path):
    _, text = blamed(tmp_path, "  out = x -> linear(8) -> log -> linear(3)", "epochs 1 batch 8 accumulate 3 clip 1.0")
    assert text == "log"


def test_a_validation_part_that_is_not_finite(tmp_path):
    class Spoilt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = build(program(TABLE.format(body="  out = x -> log -> linear(3)")))
            self.loss_weights = {"fit": 1.0}

        def objective(self, x, y):
            out = self.inner(x.abs() + 1 if self.training else x)
            return out, {"fit": nn.functional.cross_entropy(out, y)}

    made, plan = compiled(TABLE.format(body="  out = x -> linear(3)"), "iris", "epochs 1 batch 16", tmp_path)
    (found,) = refused(lambda: fit(made, Spoilt(), plan, out=tmp_path / "run", device="cpu", progress=False))
    assert "the validation loss became nan after epoch 1: `log` made the first value" in found.message
    assert found.span.text == "log"


def test_a_validation_part_of_a_game_that_is_not_finite(tmp_path):
    """Rows that nothing learns from hold what a discriminator can't take."""
    text = game("wasserstein(gradient_penalty=10)").replace("output x -> linear(16)", "output x -> log -> linear(16)")
    text = text.replace("-> linear(6)", "-> linear(6) -> exp")
    values = np.ones((40, 6), dtype=np.float32) + np.arange(40, dtype=np.float32)[:, None]
    np.savez(tmp_path / "rows.npz", x=values)
    made, plan = playing(text, "epochs 1 batch 8 validation 0.2 ema 0.9", tmp_path)
    values[load(made, plan)[1].validation[-1]] = -3.0
    np.savez(tmp_path / "rows.npz", x=values)
    run = {"out": tmp_path / "run", "device": "cpu", "progress": False}
    (found,) = refused(lambda: fit(made, lambda: build(made), plan, **run))
    assert found.code == "A1040"
    assert "the validation discriminators' loss became nan after epoch 1: `log` made the first value" in found.message
    assert found.span.text == "log"
    assert found.underline == "took values from -3 to 38, in `D`"


def test_what_is_measured_again_is_measured_on_the_same_noise():
    text = "network Net {\n  input x: [B, 2]\n  sample eps ~ normal(0, 1): [B, 2]\n  output x * eps -> log\n}\n"
    module = build(program(text))
    batches = SimpleNamespace(device=torch.device("cpu"), epoch=lambda number: iter([(torch.ones(3, 2),)] * 2))
    lows = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found = measured_fault(module, lambda batch: ((), [module(*batch)]), batches, Carried(()), nullcontext())
        lows.append(found.sources[0].low)
    with fixed_noise(torch.device("cpu")):
        assert lows == [float(torch.randn(3, 2).min())] * 2


def test_masks_are_infinite_on_purpose():
    """Attention: a row that a mask covers whole is blamed on the softmax, not on the mask."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Linear(3, 3)

        def forward(self, x, mask):
            return torch.softmax(self.proj(x).masked_fill(mask, float("-inf")), -1).sum()

    module = Attention()
    mask = torch.tensor([[True, False, False], [True, True, True]])
    tracer = Tracer(module)
    with tracer:
        loss = module(torch.ones(2, 3), mask)
    fault = tracer.fault(loss)
    assert fault is not None
    assert fault.spot.function == "softmax"
    mask[1, 0] = False
    tracer = Tracer(module)
    with tracer:
        loss = module(torch.ones(2, 3), mask)
        loss.backward()
    assert tracer.fault(loss) is None


def test_weights_and_data_that_are_not_finite_are_named():
    made = build(program(TABLE.format(body="  out = x -> a: linear(8) -> relu -> b: linear(3)")))
    batch = torch.ones(5, 4), torch.zeros(5, dtype=torch.long)

    def fault(*tensors):
        tracer = Tracer(made)
        with tracer:
            total = Trainee(made)(*tensors)[2]
        found = tracer.fault(total)
        assert found is not None
        return found

    poisoned = batch[0].clone()
    poisoned[2, 1] = float("nan")
    found = fault(poisoned, batch[1])
    assert (found.data, found.weights, found.spot.layer) == (True, (), "a")
    for sign in (1.0, 0.0):  # infinite, and where 0 · ∞ comes in, NaN
        with torch.no_grad():
            made.a.bias.fill_(10.0 * sign)
            made.a.weight.zero_()
            made.b.weight[0, 0] = float("inf")
        found = fault(*batch)
        assert (found.data, found.weights, found.spot.layer) == (False, ("b.weight",), "b")


# -- dead units


def test_units_are_channels_of_convolutions_and_features_of_linear_layers():
    text = """
network Net {
  input x: [B, 3, 8, 8]
  h = x -> c1: conv(4, kernel=3, pad=1) -> relu -> global_avgpool -> flatten
  out = h -> fc: linear(6) -> act: relu -> linear(2)
  output out
}
"""
    made = build(program(text))
    with torch.no_grad():
        made.c1.bias[:3] = -100.0
        made.fc.bias[:] = -100.0
        made.fc.bias[0] = 100.0
    units = Units(made)
    with torch.no_grad(), units:
        made(torch.randn(20, 3, 8, 8))
    found = units.read()
    assert {name: (dead.share, dead.units) for name, dead in found.items()} == {
        "c1": (0.75, 4),
        "act": (pytest.approx(5 / 6), 6),
    }
    assert [dead.span.text for dead in found.values()] == ["relu", "relu"]


def test_a_unit_that_fires_in_one_batch_is_alive():
    module = mlp().body
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.zero_()
        module[0].weight[0, 0] = 1.0
    units = Units(module)
    with units:
        module(torch.full((16, 4), -1.0))
        module(torch.full((16, 4), 1.0))
    assert {name: dead.share for name, dead in units.read().items()} == {"1": 15 / 16}
    few = Units(module)
    with few:
        module(torch.ones(4, 4))
    assert few.read() == {}  # too few to judge by


def test_observing_nothing_changes_nothing():
    module = mlp().body
    x = torch.randn(32, 4)
    before = module(x)
    with Units(module), Tracer(module):
        assert torch.equal(module(x), before)


RECT = """
cell Rect(n: int) {
  input x: [B, I]
  state h: [B, n]
  init linear.bias = constant(-9)
  a = (h, x) -> inner: linear(n) -> relu
  h' = 10 + ((a, x) -> second: linear(n)) -> clamp(lo=0, hi=4)
  output h'
}
network Net {
  input values: [B, T, 1]
  target next: [B, 2, 1]
  y, last = values -> s: scan Rect(8) over T
  out = last.h -> linear(2) -> rearrange("b n -> b n 1")
  output out
  loss fit = (out, next) -> mse
}
"""


def test_units_that_die_inside_of_a_recurrence(tmp_path):
    """It runs as one kernel; for the examples that are looked at it is unrolled."""
    with using("eager"):  # no time to build a kernel: any of them is one function
        report = trained(tmp_path, RECT, "epochs 1 batch 64", "sunspots(window=8, horizon=2)")
    (alarm,) = [a for a in report.alarms if a.code == "A1072"]
    assert alarm.message == "8 of the 8 units after `s.inner` are zero for every example"
    assert alarm.place["line"] == 6
    assert report.health.dead["s.inner"] == 1.0
    assert 0 <= report.health.dead["s.second"] < 1
    assert sorted(report.health.dead) == ["s.inner", "s.second"]


def test_only_recurrences_with_units_are_unrolled():
    assert hidden(build(program(RECT)))
    assert not hidden(build(program(RECT.replace("relu", "tanh").replace("clamp(lo=0, hi=4)", "sigmoid"))))


# -- what a run reports


def test_a_healthy_run_reports_its_gradients_and_units_and_says_nothing(tmp_path):
    body = "  out = x -> a: linear(16) -> relu -> b: linear(3)"
    report = trained(tmp_path, TABLE.format(body=body), "epochs 12 batch 16 optimizer adamw(1e-2)")
    assert report.alarms == []
    row = report.history[-1]
    assert row["gradient"] == pytest.approx((row["gradient a"] ** 2 + row["gradient b"] ** 2) ** 0.5)
    assert 0 <= row["dead"] == row["dead a"] < 0.5
    assert list(report.health.gradients) == ["a", "b"]
    assert report.health.dead == {"a": row["dead a"]}
    stored = json.loads((tmp_path / "run" / "report.json").read_text())
    assert stored["health"]["dead"] == {"a": row["dead a"]}
    assert stored["alarms"] == []


def test_gradients_are_those_of_the_last_update_before_they_are_clipped(tmp_path):
    body = "  out = x -> a: linear(16) -> relu -> b: linear(3)"
    free = trained(tmp_path, TABLE.format(body=body), "epochs 1 batch 1000 optimizer sgd(1e-2)")
    (tmp_path / "again").mkdir()
    clipped = trained(tmp_path / "again", TABLE.format(body=body), "epochs 1 batch 1000 clip 1e-3 optimizer sgd(1e-2)")
    assert free.history[0]["gradient"] > 0.1
    assert free.history[0]["gradient"] == clipped.history[0]["gradient"]


@pytest.mark.parametrize(
    ("start", "how"),
    [("", "epochs 3 batch 16 optimizer sgd(10)"), ("  init linear.bias = constant(-30)\n", "epochs 2 batch 16")],
    ids=["a huge step", "negative biases"],
)
def test_units_that_die(start, how, tmp_path, capsys):
    body = start + "  out = x -> a: linear(16) -> relu -> b: linear(3)"
    report = trained(tmp_path, TABLE.format(body=body), how, console=Console(width=200))
    (alarm,) = [a for a in report.alarms if a.code == "A1072"]
    assert "of the 16 units after `a` are zero for every example" in alarm.message
    assert alarm.place["line"] == 5 + bool(start)
    assert capsys.readouterr().out.count("note[A1072]") == 1  # said once, though every epoch has them
    assert report.history[-1]["dead a"] > 0.5


def test_gradients_that_vanish(tmp_path):
    body = "  out = x -> first: linear(8) -> repeat 30 { linear(8) -> sigmoid } -> last: linear(3)"
    report = trained(tmp_path, TABLE.format(body=body), "epochs 2 batch 16")
    (alarm,) = [a for a in report.alarms if a.code == "A1071"]
    assert "`first`" in alarm.message
    assert alarm.epoch == 1
    assert alarm.place["line"] == 5
    small = "  out = x -> first: linear(8) -> repeat 3 { linear(8) -> sigmoid } -> last: linear(3)"
    (tmp_path / "small").mkdir()
    assert trained(tmp_path / "small", TABLE.format(body=small), "epochs 2 batch 16").alarms == []


def test_gradients_that_explode(tmp_path):
    body = "  init linear.weight = normal(0, 3)\n  out = x -> first: linear(8) -> repeat 30 { linear(8) -> sin }"
    report = trained(
        tmp_path, TABLE.format(body=body + " -> last: linear(3)"), "epochs 1 batch 16 optimizer sgd(1e-30)"
    )
    (alarm,) = report.alarms
    assert alarm.code == "A1070"
    assert "towards the inputs" in alarm.message


def test_a_loss_that_does_not_move(tmp_path):
    body = "  out = x -> a: linear(16) -> relu -> b: linear(3)"
    report = trained(tmp_path, TABLE.format(body=body), "epochs 7 batch 16 optimizer sgd(1e-9)")
    (alarm,) = report.alarms
    assert (alarm.code, alarm.epoch) == ("A1073", 5)
    assert "the loss does not move" in alarm.message


def test_thresholds():
    def nowhere(layer):
        return None

    assert through_depth({"a": 1e-5, "b": 1.0}, nowhere) == []
    assert [a.code for a in through_depth({"a": 1e-7, "b": 1.0}, nowhere)] == ["A1071"]
    assert [a.code for a in through_depth({"a": 0.0, "b": 1.0}, nowhere)] == ["A1071"]
    assert [a.code for a in through_depth({"a": 1.0, "b": 1e-7}, nowhere)] == ["A1070"]
    assert [a.code for a in through_depth({"a": 0.0}, nowhere)] == ["A1071"]
    assert [a.code for a in through_depth({"a": float("inf"), "b": 1.0}, nowhere)] == ["A1070"]
    assert over_time([1.0, 1.0, 900.0], None) == []
    assert over_time([1.0, 1.0, 1.0, 900.0], None) == []
    assert [a.code for a in over_time([1.0, 1.0, 1.0, 1100.0], None)] == ["A1070"]
    still = [1.0, 1.005, 0.995, 1.0, 1.0]
    assert [a.code for a in stuck(1.0, 10, still, [1.0, 1.0], None)] == ["A1073"]
    assert stuck(1.0, 10, still[:4], [1.0, 1.0], None) == []
    assert stuck(1.0, 10, [1.0, 0.9, 0.8, 0.8, 0.8], [0.8, 0.8], None) == []
    assert stuck(1.0, 4, [1.1] * 5, [1.0, 1.4, 0.9, 1.2], None) != []  # within what batches vary by


def test_an_alarm_is_said_once():
    alarms = Alarms()
    found = over_time([1.0, 1.0, 1.0, 1e4], None)
    assert [note.code for note in alarms.start(4, found)] == ["A1070"]
    assert alarms.start(5, found) == []
    again = Alarms()
    again.restore(json.loads(json.dumps(alarms.state())))
    assert again.start(6, found) == []
    assert [(a.code, a.epoch) for a in again.said] == [("A1070", 4)]


@pytest.mark.parametrize("step", [4, 7, 12])
def test_an_interrupted_run_reports_the_same(step, tmp_path, monkeypatch):
    """With 105 examples in batches of 16 an epoch has 7 steps: in an epoch, at its end, in the next."""
    network, how = TABLE.format(body="  out = x -> a: linear(16) -> relu -> b: linear(3)"), "epochs 3 batch 16"
    whole = trained(tmp_path, network, how)
    other = tmp_path / "other"
    other.mkdir()
    with interrupted_at(step, monkeypatch):
        trained(other, network, how)
    rest = trained(other, network, how, resume=True)
    assert rest.history == whole.history
    assert rest.health == whole.health


def test_a_run_can_be_run_again_from_its_very_start(tmp_path):
    blamed(tmp_path, "  out = x -> linear(8) -> log -> linear(3)")
    assert (tmp_path / "run" / RESUME).is_file()
    assert not (tmp_path / "run" / LAST).exists()


# -- games


def test_a_discriminator_that_wins(tmp_path):
    game = """
adversarial Net {
  input real: [B, 2]
  sample z ~ normal(0, 1): [B, 4]
  generator G = Gen
  discriminator D = Dis
  fake = z -> G
  pair G vs D on (real, fake) by non_saturating
}
block Gen { input z: [B, L]  output z -> linear(8) -> relu -> linear(2) }
block Dis { input x: [B, L]  output x -> linear(16) -> leaky_relu(0.2) -> linear(1) }
"""
    how = "freeze G epochs 5 batch 4 optimizer adam(lr=2e-2)"
    report = trained(tmp_path, game, how, "gaussians(modes=8, radius=9, examples=400)")
    (alarm,) = report.alarms
    assert alarm.code == "A1077"
    assert alarm.place["line"] == 8
    row = report.history[-1]
    assert row["D(x)"] > 0.99
    assert row["D(G(z))"] < 0.01
    assert row["value"] > -0.1  # −log 4 where nobody can tell
    assert row["diversity"] < 0.3
    assert row["coverage"] == 0
    assert {"D": {k: v for k, v in row.items() if k in report.health.pairs["D"]}} == report.health.pairs
    assert "gradient D" in row
    assert "gradient G" not in row  # it is frozen


DYING = """
adversarial Net {
  input real: [B, 2]
  sample z ~ normal(0, 1): [B, 4]
  generator G = Gen
  discriminator D = Dis
  fake = z -> G
  pair G vs D on (real, fake) by non_saturating
}
block Gen { init linear.bias = constant(-30)  input z: [B, L]  output z -> fc: linear(8) -> relu -> linear(2) }
block Dis { input x: [B, L]  output x -> fc: linear(16) -> relu -> linear(1) }
"""


def test_units_of_players_that_die(tmp_path, capsys):
    """A game learns from everything: there need be no validation part."""
    report = trained(tmp_path, DYING, "epochs 2 batch 100", POINTS, console=Console(width=200))
    (alarm,) = [a for a in report.alarms if a.code == "A1072"]
    assert alarm.message == "8 of the 8 units after `G.fc` are zero for every example"
    assert alarm.place["line"] == 10
    assert capsys.readouterr().out.count("note[A1072]") == 1
    row = report.history[-1]
    assert row["dead G.fc"] == 1.0
    assert row["dead D.fc"] < 0.5
    assert row["dead"] == pytest.approx((8 + 16 * row["dead D.fc"]) / 24)
    assert report.health.dead == {"G.fc": 1.0, "D.fc": row["dead D.fc"]}


def test_games_of_classes_are_looked_at_too(tmp_path):
    """What their players do rests on a target."""
    text = DYING.replace("sample z", "target kind: int[B]\n  sample z").replace("-30", "0")
    text = text.replace("z -> G", "(z, kind) -> G").replace(
        "L]  output z ->", "L]  input k: int[B]\n  e = k -> embedding(8, 4)\n  output z + e ->"
    )
    report = trained(tmp_path, text, "epochs 1 batch 100", "gaussians(modes=8, examples=400)")
    assert 0 < report.history[-1]["diversity"] < 2
    assert set(report.health.dead) == {"G.fc", "D.fc"}


def test_games_are_looked_at_with_the_weights_that_are_kept(tmp_path, monkeypatch):
    seen, epoch = [], Pairs.epoch
    monkeypatch.setattr(Pairs, "epoch", lambda pairs: seen.append((pairs, epoch(pairs))) or seen[-1][1])
    text = DYING.replace("-30", "1")
    report = trained(tmp_path, text, "epochs 2 batch 20 ema 0.99 optimizer adam(lr=2e-2)", POINTS)
    pairs, found = seen[-1]
    again = epoch(pairs)  # the run ends with the average of the generator's weights in its module
    for name in ("diversity", "density", "coverage"):
        assert report.history[-1][name] == found[name] == again[name]


def test_a_weight_with_a_spectral_norm_belongs_to_its_layer():
    """The bias alone may get no gradient: of a hinge loss as many halves push it up as down."""
    module = nn.ModuleDict({"D": nn.utils.parametrizations.spectral_norm(nn.Linear(3, 1))})
    gradients = Gradients(dict(module.named_parameters()))
    found = gradients.even({"D.bias": 0.0, "D.parametrizations.weight.original": 2.0})
    assert found == {"D": 1.0}  # of four numbers


# -- latents


def test_observing_freezes_and_unfreezes_nothing():
    made = program(TABLE.format(body="  out = x -> a: linear(8) -> b: linear(3)"))
    module = build(made)
    module.a.requires_grad_(False)
    shared = unrolled(made, module)
    assert [p.requires_grad for p in module.parameters()] == [False, False, True, True]
    assert all(ours is theirs for ours, theirs in zip(module.parameters(), shared.parameters(), strict=True))


def test_observing_shares_weights():
    text = VAE.format(weight=1)
    made = program(text)
    module = build(made)
    flat = made.graph.flatten()
    refs = [Ref(n) for n in flat.order() if flat[n].module in ("mean", "encoder")]
    inner = observing(made, flat, refs, module)
    x = torch.randn(6, 2)
    h = module.encoder(x)
    for _ in range(2):
        found = inner(x)
        assert torch.equal(found[0], module.encoder(x))
        assert torch.equal(found[1], module.mean(module.encoder(x).relu()))
        with torch.no_grad():
            module.encoder.weight.mul_(2.0)  # as an optimizer does, in place
    assert not torch.equal(h, module.encoder(x))
    assert inner.encoder.weight is module.encoder.weight
    table = program(TABLE.format(body="  out = x -> linear(3)"))
    loss = table.graph.operands(table.graph.losses[0])[0]
    with pytest.raises(Untestable):
        observing(table, table.graph, [loss], build(table))


def test_latents_are_measured_as_the_papers_do():
    made = program(VAE.format(weight=1))
    module = build(made)
    latents = Latents.of(made, module)
    assert latents is not None
    assert divergence_terms(made) == ["kl"]
    x = torch.randn(300, 2)
    with torch.no_grad():
        module.mean.weight[2:] = 0.0  # these dimensions say the same of all
        module.mean.weight[:2] *= 10
        mean = module.mean(module.encoder(x).relu())
        logvar = module.log_variance(module.encoder(x).relu())
        q = torch.distributions.Normal(mean, (0.5 * logvar).exp())
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean(0)
    latents.add([x[:200]])
    latents.add([x[200:]])
    (found,) = latents.read()
    assert found.kl == pytest.approx(kl.tolist(), rel=1e-4)
    assert found.variances == pytest.approx(mean.var(0, unbiased=False).tolist(), rel=1e-3, abs=1e-6)
    assert found.active == 2
    assert found.total == pytest.approx(float(module.objective(x)[1]["kl"]), rel=1e-4)
    assert latents.read() == []
    assert Latents.of(program(TABLE.format(body="  out = x -> linear(3)")), module) is None


def test_a_posterior_that_collapses(tmp_path):
    report = trained(tmp_path, VAE.format(weight=1000), "epochs 6 batch 32 optimizer adam(1e-2)", POINTS)
    (alarm,) = [a for a in report.alarms if a.code == "A1074"]
    assert "0 of 4 dimensions" in alarm.message
    assert "kl_standard_normal" in Path(tmp_path / "net.arch").read_text().splitlines()[alarm.place["line"] - 1]


def test_a_posterior_that_does_not(tmp_path):
    report = trained(tmp_path, VAE.format(weight=0.1), "epochs 6 batch 32 optimizer adam(1e-2)", POINTS)
    assert report.alarms == []
    (latent,) = report.health.latents
    row = report.history[-1]
    assert latent.active == row["active"] >= 1
    assert latent.kl == row["kl"] == pytest.approx(sum(latent.kl_by_dimension))
    assert row["kl"] == pytest.approx(row["validation kl"], rel=1e-4)
    assert row["reconstruction"] == pytest.approx(10 * row["validation rest"])
    assert row["validation loss"] == pytest.approx(row["reconstruction"] + 0.1 * row["kl"], rel=1e-4)
