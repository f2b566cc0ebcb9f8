"""`samples` of a `train` block: pictures of what is made, which change nothing of the run."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import archlang
import numpy as np
import pytest
import torch
from archlang.compiler.diagnostics import ArchError
from archlang.runtime.data import Preprocessing
from archlang.runtime.making.drawing import maker
from archlang.runtime.making.pictures import grid, levels
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

GAME = """
block Gen {
  input z: [B, L]
  sample n ~ normal(0, 1): [B, L]
  output z + 0.1 * n -> linear(16) -> batchnorm -> tanh -> unflatten(1, [1, 4, 4])
}
block Dis { input x: [B, C, H, W]  output x -> flatten -> linear(8) -> batchnorm -> relu -> dropout(0.2) -> linear(1) }
adversarial Game {
  input real: [B, 1, 4, 4]
  sample z ~ normal(0, 1): [B, 3]
  generator G = Gen
  discriminator D = Dis
  fake = z -> G
  pair G vs D on (real, fake) by non_saturating
}
train Game on digits(size=4) { normalize symmetric  batch 256  BODY }
"""


def trained(folder: Path, name: str, body: str, text: str = GAME, **how) -> Path:
    path = folder / "game.arch"
    path.write_text(text.replace("BODY", body))
    archlang.compile(path).fit(folder / name, device="cpu", progress=False, **how)
    return folder / name


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def same_weights(a: Path, b: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        ours, theirs = load_file(a / name), load_file(b / name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert torch.equal(ours[key], theirs[key]), key


@pytest.mark.parametrize("ema", ["", "ema 0.9"])
def test_a_run_is_the_same_with_samples_and_without(tmp_path, ema):
    watched = trained(tmp_path, "watched", f"epochs 2 samples 3 {ema}")
    same_weights(watched, trained(tmp_path, "alone", f"epochs 2 {ema}"))
    names = sorted(p.name for p in (watched / "samples").iterdir())
    per_epoch = -(-1797 // 256)
    assert names == [f"{n:06}.png" for n in (*range(3, 2 * per_epoch, 3), 2 * per_epoch)]
    found = [pixels(watched / "samples" / name) for name in names]
    assert all(not np.array_equal(a, b) for a, b in pairwise(found))

    program = archlang.compile(tmp_path / "game.arch").program
    made = maker(program, archlang.load(tmp_path / "game.arch", weights=watched))
    with safe_open(watched / "best.safetensors", "pt") as file:
        prep = Preprocessing.model_validate_json(file.metadata()["preprocessing"])
    (x,) = made.run(made.draws(64, 0))
    np.testing.assert_array_equal(found[-1], grid(levels(x, prep), 8)[0].numpy())
    logs = b"".join(p.read_bytes() for p in (watched / "logs").iterdir())
    assert logs.count(b"samples") == len(names) and b"PNG" in logs


def test_phases_go_on_counting_and_a_resumed_run_too(tmp_path):
    text = GAME.replace("adversarial Game {", "adversarial Game(wide: int = 3) {").replace("[B, 3]", "[B, wide]")
    body = "samples 4  phase one { epochs 1 set wide=2 }  phase two { epochs 1 }"
    whole = trained(tmp_path, "whole", body, text)
    names = sorted(p.name for p in (whole / "samples").iterdir())
    assert names == [f"{n:06}.png" for n in (4, 8, 12, 16)]
    assert (whole / "samples" / "000004.png").stat().st_size > 0


def test_a_run_that_goes_on_goes_on_counting(tmp_path):
    run = trained(tmp_path, "run", "epochs 1 samples 5")
    assert [p.name for p in sorted((run / "samples").iterdir())] == ["000005.png", "000008.png"]
    trained(tmp_path, "run", "epochs 2 samples 5", resume=True)
    names = [p.name for p in sorted((run / "samples").iterdir())]
    assert names == [f"{n:06}.png" for n in (5, 8, 10, 15, 16)]


def test_points_are_plotted(tmp_path):
    pictures = " -> linear(16) -> batchnorm -> tanh -> unflatten(1, [1, 4, 4])"
    text = (
        GAME.replace(pictures, " -> linear(2)")
        .replace("[B, 1, 4, 4]", "[B, 2]")
        .replace("x: [B, C, H, W]", "x: [B, D]")
    )
    text = text.replace("digits(size=4)", "gaussians(modes=4)")
    run = trained(tmp_path, "run", "epochs 1 samples 1000000", text.replace("normalize symmetric", ""))
    (only,) = (run / "samples").iterdir()
    assert pixels(only).shape == (600, 600, 4)


def test_translations_show_what_they_are_made_of(tmp_path):
    text = """
block Paint { input x: [B, C, H, W]  output x -> conv: conv(C, kernel=1) -> tanh }
block Plain { input x: [B, C, H, W]  output x -> flatten -> linear(1) }
adversarial Cycle {
  input a: [B, 1, 4, 4]
  input b: [B, 1, 4, 4]
  generator A2B = Paint
  generator B2A = Paint
  discriminator DA = Plain
  discriminator DB = Plain
  fake_b = a -> A2B
  fake_a = b -> B2A
  pair A2B vs DB on (b, fake_b) by least_squares
  pair B2A vs DA on (a, fake_a) by least_squares
}
train Cycle on inverted_digits(size=4) { batch 512 epochs 1 BODY }
"""
    run = trained(tmp_path, "run", "samples 1000", text)
    same_weights(run, trained(tmp_path, "alone", "", text))
    (only,) = (run / "samples").iterdir()
    found = pixels(only)
    assert found.shape == (4 * 34 + 2, 8 * 34 + 2)
    a, fake_b, b, fake_a = (found[2 + 34 * row :, 2:][:32, : 8 * 34 - 2 : 8] for row in range(4))
    module = archlang.load(tmp_path / "game.arch", weights=run)
    for source, made, net in ((a, fake_b, module.fake_b), (b, fake_a, module.fake_a)):
        x = torch.from_numpy(source[::8, :4].copy())[None, None].float() / 127.5 - 1
        wanted = ((net(x).detach() + 1) * 127.5).round()[0, 0].numpy()
        assert np.abs(made[::8, :4].astype(int) - wanted).max() <= 1
    assert a.min() == 0 and b.max() == 255, "digits, and digits whose light is exchanged"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("sample z ~ normal(0, 1): [B, 3]", "input z: [B, 3]"), "has no entry for that"),
        (("unflatten(1, [1, 4, 4])", "unflatten(1, [2, 2, 4])"), "makes [B, "),
    ],
)
def test_what_makes_no_pictures_is_told_before_training(changed, said):
    text = GAME.replace("BODY", "samples 4").replace(*changed)
    text = text.replace("input real: [B, 1, 4, 4]", "input real: [B, 2, 2, 4]") if "2, 2" in changed[1] else text
    compiled = archlang.compile(text)
    with pytest.raises(ArchError) as raised:
        compiled.fit("nowhere")
    (found,) = [d for d in raised.value.diagnostics if d.code == "A1095"]
    assert said in found.message and found.span is not None and found.span.text == "4"
