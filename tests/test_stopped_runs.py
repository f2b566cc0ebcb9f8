"""Runs of `archc train` that get a signal, or the one that no process sees, and are taken up by another process."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from archlang.runtime.train import BEST, LAST, RESUME
from processes import finished
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

At = tuple[str, str, int]  # see stopping.py

GAME = """
adversarial Game {
  input real: [B, 1, 4, 4]
  sample z ~ normal(0, 1): [B, 3]
  generator G = Gen
  discriminator D = Dis
  fake = z -> G
  pair G vs D on (real, fake) by wasserstein(clip=0.1, critic_steps=5, pool=12)
}
block Gen { input z: [B, L]  output z -> linear(16) -> batchnorm -> tanh -> linear(16) -> unflatten(1, [1, 4, 4]) }
block Dis { input x: [B, C, H, W]  output x -> flatten -> linear(16) -> relu -> dropout(0.2) -> linear(1) }
train Game on npz("rows.npz") {
  normalize none  epochs 3  batch 4  accumulate 2  ema 0.9  samples 5
  optimizer adam(lr=2e-3, betas=[0.5, 0.9])
}
"""
VAE = """
network VAE {
  input x: [B, 1, 4, 4]
  module decoder = linear(16)
  mean, s = x -> flatten -> linear(8) -> relu -> dropout(0.1) -> linear(4) -> split(2, axis=-1)
  sample eps ~ normal(0, 1): [B, 2]
  logits = mean + (0.5 * s -> exp) * eps -> decoder -> unflatten(1, [1, 4, 4])
  output logits -> sigmoid
  loss reconstruction = (logits, x) -> bce_with_logits(reduction="batchmean")
  loss divergence = (mean, s) -> kl_standard_normal
  entry generate {
    sample z ~ normal(0, 1): [b, 2]
    output z -> decoder -> unflatten(1, [1, 4, 4]) -> sigmoid
  }
}
train VAE on npz("rows.npz") {
  normalize none  epochs 3  batch 4  samples 5
  optimizer adam(lr=1e-2)  schedule cosine  metric mse
}
"""
# Backward passes and pictures are those of the second epoch of three, files those of all.
STOPPED: dict[str, tuple[str, At]] = {
    "game, killed in an epoch": ("game", ("SIGKILL", "", 33)),
    "game, its state half written": ("game", ("half", RESUME, 3)),
    "game, a picture half written": ("game", ("half", "000020.png", 1)),
    "game, its last state just in place": ("game", ("placed", RESUME, 4)),
    "game, Ctrl-C": ("game", ("SIGINT", "", 33)),
    "vae, killed in an epoch": ("vae", ("SIGKILL", "", 30)),
    "vae, its best weights just in place": ("vae", ("placed", BEST, 2)),
    "vae, its last weights not yet in place": ("vae", ("whole", LAST, 3)),
    "vae, its report half written": ("vae", ("half", "report.json", 1)),
    "vae, told to end": ("vae", ("SIGTERM", "", 30)),
}
ENDS = {"SIGINT": 128 + signal.SIGINT, "SIGTERM": 128 + signal.SIGTERM}  # else it is killed


def named(case: str) -> str:
    return case.replace(" ", "_").replace(",", "")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs: whole ones, and those that were stopped and taken up again."""
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "game.arch").write_text(GAME)
    (folder / "vae.arch").write_text(VAE)
    rows = np.random.RandomState(0).rand(104, 1).astype(np.float32)
    pictures = np.concatenate([0.5 + 0.5 * np.sin(3 * rows * (i + 1)) for i in range(16)], 1)
    np.savez(folder / "rows.npz", x=pictures.reshape(-1, 1, 4, 4))

    def train(spec: str, out: str, *more: str) -> list[str]:
        return ["train", f"{spec}.arch", "-o", out, "--device", "cpu", "--quiet", *more]

    wanted: list[tuple[list[str], At | None, int]] = [(train(spec, spec), None, 0) for spec in ("game", "vae")]
    for case, (spec, at) in STOPPED.items():
        wanted.append((train(spec, named(case)), at, ENDS.get(at[0], -signal.SIGKILL)))
        wanted.append((train(spec, named(case), "--resume"), None, 0))
    script = str(Path(__file__).parent / "stopping.py")
    done = finished([sys.executable, script, str(folder)], input=json.dumps([(a, at) for a, at, _ in wanted]))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == [code for *_, code in wanted], done.stdout + done.stderr
    said = " ".join(done.stderr.split())
    assert "Traceback" not in said
    for batches in (4, 12):
        assert f"error[A1045]: interrupted in epoch 2 after {batches} batches; everything is saved" in said
    return folder


@pytest.mark.parametrize("case", STOPPED)
def test_a_run_that_was_stopped_is_taken_up_as_if_nothing_had_been(case: str, runs: Path) -> None:
    """Weights, averages, optimizer, pool and pictures to the last bit, and what is reported; nothing else is left."""
    whole, killed = runs / STOPPED[case][0], runs / named(case)
    for name in (BEST, LAST, RESUME):
        left, right = load_file(whole / name), load_file(killed / name)
        assert left.keys() == right.keys()
        assert [key for key in left if not torch.equal(left[key], right[key])] == [], name
    ours, theirs = (json.loads((run / "report.json").read_text()) for run in (whole, killed))
    changes = {"seconds", "files"}
    assert {k: v for k, v in ours.items() if k not in changes} == {k: v for k, v in theirs.items() if k not in changes}
    assert len(ours["history"]) == 3

    def files(run: Path) -> dict[str, bytes]:
        pictures = {f"samples/{p.name}": p.read_bytes() for p in (run / "samples").iterdir()}
        return pictures | {p.name: b"" for p in run.iterdir()}

    assert files(whole) == files(killed)
    assert len(files(whole)) > 10
