"""`archc generate` for pictures and points: what it writes is what the entry makes, and what can't be made is told."""

from __future__ import annotations

from pathlib import Path

import archlang
import numpy as np
import pytest
import torch
from archlang.compiler.diagnostics import ArchError
from archlang.compiler.given_noise import noise_given
from archlang.compiler.ops.noise import DISTRIBUTIONS, Noise
from archlang.runtime.checkpoint import save_weights
from archlang.runtime.data import Preprocessing
from archlang.runtime.making.drawing import drawn, maker
from archlang.runtime.making.entries import draw
from archlang.runtime.making.pictures import grid, levels
from PIL import Image

VAE = """
block Noisy {
  input x: [B, D]
  sample n ~ normal(0, 1): [B, D]
  output x + 0.1 * n
}
network Vae(latent: int = 3) {
  input image: [B, 1, 4, 4]
  module encoder = linear(2 * latent)
  module decoder = linear(16)
  mean, logvar = image -> flatten -> encoder -> split(2, axis=-1)
  sample eps ~ normal(0, 1): [B, latent]
  z = mean + (0.5 * logvar -> exp) * eps
  restored = z -> decoder -> unflatten(1, [1, 4, 4])
  output restored
  loss squared = (restored, image) -> mse
  loss divergence = (mean, logvar) -> kl_standard_normal
  entry encode {
    input image: [B, 1, 4, 4]
    mean, logvar = image -> flatten -> encoder -> split(2, axis=-1)
    output mean
    output logvar
  }
  entry generate {
    sample z ~ normal(0, 1): [b, latent]
    output image = z -> decoder -> unflatten(1, [1, 4, 4])
  }
  entry scaled {
    input psi: []
    sample z ~ normal(0, 1): [b, latent]
    sample many ~ uniform(0, 1): [7, latent]
    output image = psi * (z + (many -> mean(axis=0))) -> decoder -> unflatten(1, [1, 4, 4])
  }
  entry noisy {
    sample z ~ normal(0, 1): [b, latent]
    output code = z -> Noisy
  }
  entry points {
    sample z ~ uniform(-1, 1): [b, 2]
    output place = 2 * z
  }
}
"""
SYMMETRIC = Preprocessing(mean=(0.5,), std=(0.5,), scale=1 / 255)


@pytest.fixture
def vae(tmp_path: Path):
    """A network with entries, its module, and its weights in a file."""
    (tmp_path / "vae.arch").write_text(VAE)
    torch.manual_seed(0)
    compiled = archlang.compile(tmp_path / "vae.arch")
    module = compiled.module()
    save_weights(module, tmp_path / "w.safetensors", {"preprocessing": SYMMETRIC.model_dump_json()})
    return compiled.program, module


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# ------------------------------------------------------------------ noise as inputs


def test_noise_that_is_given_takes_the_place_of_draws(vae):
    program, module = vae
    given = noise_given(program.entries["scaled"])
    assert {name: str(t) for name, t in given.inputs.items()} == {
        "psi": "[]",
        "z": "[b, latent=3]",
        "many": "[7, latent=3]",
    }
    assert [noise.distribution for noise in given.draws.values()] == ["normal", "uniform"]
    made = maker(program, module, "scaled", {"psi": 0.5})
    draws = made.draws(5, seed=3)
    (found,) = made.run(draws)
    x = 0.5 * (draws["z"] + draws["many"].mean(0))
    torch.testing.assert_close(found, module.decoder(x).view(-1, 1, 4, 4).detach())

    assert len(program.entries["scaled"].inputs) == 1
    assert module.scaled(torch.tensor(1.0), b=2).shape == (2, 1, 4, 4)


def test_many_examples_are_made_in_parts_and_depend_on_the_seed_alone(vae):
    program, module = vae
    made = maker(program, module, "noisy")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = drawn(made, 150, seed=1)
    assert torch.equal(before, torch.get_rng_state()) and module.training
    assert first.shape == (150, 3)
    torch.manual_seed(6)
    assert torch.equal(first, drawn(made, 150, seed=1))
    assert not torch.equal(first, drawn(made, 150, seed=2))
    inner = first - made.draws(150, 1)["z"]
    assert 0.05 < float(inner.std()) < 0.15, "what blocks draw inside stays noise"
    assert not torch.equal(inner[:64], inner[64:128])


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_draws_have_their_distribution(name):
    values = {"normal": (2.0, 3.0), "uniform": (-1.0, 2.0), "uniform_int": (3, 6), "bernoulli": (0.3,), "gumbel": ()}
    means = {"normal": 2.0, "uniform": 0.5, "uniform_int": 4.0, "bernoulli": 0.3, "gumbel": 0.5772}
    deviations = {"normal": 3.0, "uniform": 0.866, "uniform_int": 0.8165, "bernoulli": 0.4583, "gumbel": 1.2825}
    noise = Noise(distribution=name, values=values[name], dtype=DISTRIBUTIONS[name].dtypes[0])
    x = draw(noise, (40_000,), torch.Generator().manual_seed(0))
    assert str(x.dtype) == ("torch.int64" if name == "uniform_int" else "torch.float32")
    assert float(x.double().mean()) == pytest.approx(means[name], abs=0.03)
    assert float(x.double().std()) == pytest.approx(deviations[name], abs=0.03)


# ------------------------------------------------------------------ files


def test_a_grid_holds_the_pictures_in_order(vae, run, tmp_path):
    program, module = vae
    assert run("generate", "vae.arch", "-w", "w.safetensors", "--count", "5", "--seed", "4").code == 0
    found = pixels(tmp_path / "vae.png")
    assert found.shape == (2 * 34 + 2, 3 * 34 + 2) and found.dtype == np.uint8
    made = drawn(maker(program, module), 5, seed=4)
    wanted = (((made + 1) / 2).clamp(0, 1) * 255).round()
    for i in range(5):
        tile = found[2 + 34 * (i // 3) :, 2 + 34 * (i % 3) :][:32, :32]
        np.testing.assert_array_equal(tile[::8, ::8], wanted[i, 0].numpy())
        np.testing.assert_array_equal(tile[7::8, 7::8], wanted[i, 0].numpy())
    assert (found[36:, 70:] == 255).all() and (found[:2] == 255).all()


def test_a_folder_holds_a_picture_each_and_is_not_written_over(vae, run, tmp_path):
    program, module = vae
    call = ("generate", "vae.arch", "-w", "w.safetensors", "--entry", "scaled", "--set", "psi=0.25")
    assert run(*call, "--count", "70", "-o", "out/").code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{i:04}.png" for i in range(70)]
    wanted = levels(drawn(maker(program, module, "scaled", {"psi": 0.25}), 70, seed=0), SYMMETRIC)
    for i in (0, 63, 64, 69):
        np.testing.assert_array_equal(pixels(tmp_path / "out" / f"{i:04}.png"), wanted[i, 0].numpy())
    refused = run(*call, "--count", "2", "-o", "out")
    assert refused.code == 1 and "A1093" in refused.err and '"out" holds "0000.png", "0001.png" already' in refused.err
    assert run(*call, "--count", "2", "-o", "out", "--force", "--seed", "9").code == 0
    assert not np.array_equal(pixels(tmp_path / "out" / "0000.png"), wanted[0, 0].numpy())


def test_points_and_numbers(vae, run, tmp_path):
    program, module = vae
    call = ("generate", "vae.arch", "-w", "w.safetensors", "--count", "9")
    for name, entry in (
        ("p.png", "points"),
        ("p.csv", "points"),
        ("c.csv", "noisy"),
        ("c.npz", "noisy"),
        ("i.npz", "scaled"),
    ):
        assert run(*call, "--entry", entry, "-o", name).code == 0
    assert pixels(tmp_path / "p.png").shape == (600, 600, 4)
    points = np.loadtxt(tmp_path / "p.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(points, drawn(maker(program, module, "points"), 9, 0).numpy(), rtol=1e-6)
    assert (tmp_path / "p.csv").read_text().startswith("x,y\n")
    codes = drawn(maker(program, module, "noisy"), 9, 0).numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "c.npz")["code"], codes)
    assert (tmp_path / "c.csv").read_text().startswith("v0,v1,v2\n")
    held = np.load(tmp_path / "i.npz")["image"]
    assert held.shape == (9, 1, 4, 4) and held.min() >= 0 and held.max() <= 1
    once = (tmp_path / "c.npz").read_bytes()
    assert run(*call, "--entry", "noisy", "-o", "c.npz").code == 0
    assert (tmp_path / "c.npz").read_bytes() == once


def test_colour_and_what_is_no_number():
    x = torch.tensor([[0.0, float("nan")], [1.0, 2.0], [-1.0, 0.5]]).view(1, 3, 1, 2)
    found = levels(x, Preprocessing())
    assert found.tolist() == [[[[0, 0]], [[255, 255]], [[0, 128]]]]
    assert grid(found, 1).shape == (3, 20, 36)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--entry", "gnerate"), 1, "A1090"),
        (("--entry", "encode"), 1, "the entry `encode` reads `image: [B, 1, 4, 4]`, and is given noise alone"),
        (("-o", "x.jpg"), 1, "endings: `.png`, `.npz`, or a folder"),
        (("-o", "x.csv"), 1, "A1091"),
        (("--entry", "noisy", "-o", "x.png"), 1, "A1091"),
        (("--entry", "noisy", "-o", "x/"), 1, "A1091"),
        (("--set", "psi=2"), 1, "A1094"),
        (("--entry", "scaled", "--set", "psy=2"), 1, "did you mean `psi`?"),
        (("--set", "psi"), 2, "--set takes a name and a number"),
        (("--set", "psi=nan"), 2, "--set takes a name and a number"),
        (("--set", "psi=1", "--set", "psi=2"), 2, "twice"),
        (("--count", "0"), 2, "range"),
        (("--count", "1000000"), 2, "range"),
        (("-o", "x.png", "--temperature", "1"), 2, "are for texts"),
        (("-n", "5"), 2, "are for texts"),
        (("--steps", "5"), 2, "a row of --interpolate"),
        (("--seed", str(2**70)), 2, "range"),
        (("a prompt", "-o", "x.png"), 2, "are for texts"),
        (("-o", "vae.arch"), 2, "A1212"),
        (("-o", "vae.arch/x/"), 2, "A1203"),
        (("-p", "latent=4"), 1, "A1103"),
    ],
)  # fmt: skip
def test_what_can_not_be_made(vae, run, tmp_path, arguments, code, said):
    there = sorted(tmp_path.iterdir())
    done = run("generate", "vae.arch", "-w", "w.safetensors", *arguments)
    assert (done.code, said in done.err) == (code, True), done.err
    assert sorted(tmp_path.iterdir()) == there


def test_too_much_is_refused_before_it_is_made(vae):
    program, module = vae
    made = maker(program, module)
    with pytest.raises(ArchError) as raised:
        made.draws(2**28, seed=0)
    assert raised.value.diagnostics[0].code == "A1092"
    with pytest.raises(ArchError, match="268,435,456 are the limit"):
        drawn(made, 2**25, seed=0)


def test_several_entries_and_none(tmp_path):
    text = VAE.replace("entry generate", "entry other")
    program = archlang.compile(text).program
    with pytest.raises(ArchError, match="makes several things from noise"):
        maker(program, archlang.load(text))
    cycle = archlang.compile("cyclegan:DigitsCycle")
    with pytest.raises(ArchError, match="no entry that makes something from noise alone") as raised:
        maker(cycle.program, cycle.module())
    assert "--entry fake_b --images" in (raised.value.diagnostics[0].help or "")
