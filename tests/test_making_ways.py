"""Walks between draws, mixed styles, translated folders, and codes: what files hold is what the network says."""

from __future__ import annotations

from pathlib import Path

import archlang
import numpy as np
import pytest
import torch
from archlang.compiler.ops.noise import Noise
from archlang.runtime.checkpoint import save_weights
from archlang.runtime.data import Preprocessing
from archlang.runtime.making.drawing import maker
from archlang.runtime.making.pictures import levels
from archlang.runtime.making.walks import between, find_mixing, spherical
from PIL import Image
from test_making import SYMMETRIC, VAE, pixels

STYLES = """
block Plain { input x: [B, C, H, W]  output x -> flatten -> linear(1) }
block Painter {
  input w: [B, L]
  input v: [B, L]
  input cut: int[B]
  input alpha: []
  param gain: [1] = 1
  after = cut -> rearrange("b -> b 1")
  first = (after > 0, w, v) -> where
  second = (after > 1, w, v) -> where
  output alpha * gain * ((first, second) -> concat(axis=L)) -> unflatten(1, [1, 2, 2 * L // 2])
}
adversarial Styles {
  input real: [B, 1, 2, 2]
  input alpha: []
  sample z ~ normal(0, 1): [B, 2]
  sample other ~ normal(0, 1): [B, 2]
  sample cut ~ uniform_int(0, 3): int[B]
  generator mapping = linear(2)
  generator G = Painter
  discriminator D = Plain
  fake = (z -> mapping, other -> mapping, cut, alpha) -> G
  pair G vs D on (real, fake) by non_saturating
  entry mixed {
    input coarse: [B, 2]
    input fine: [B, 2]
    input cut: int[B]
    input alpha: []
    output image = (coarse -> mapping, fine -> mapping, cut, alpha) -> G
  }
}
"""
CYCLE = """
block Paint { input x: [B, C, H, W]  output x -> conv: conv(C, kernel=1) -> tanh }
block Plain { input x: [B, C, H, W]  output x -> flatten -> linear(1) }
adversarial Cycle {
  input a: [B, 3, 4, 4]
  input b: [B, 3, 4, 4]
  generator A2B = Paint
  generator B2A = Paint
  discriminator DA = Plain
  discriminator DB = Plain
  fake_b = a -> A2B
  fake_a = b -> B2A
  pair A2B vs DB on (b, fake_b) by least_squares
  pair B2A vs DA on (a, fake_a) by least_squares
}
"""


def saved(folder: Path, text: str, prep: Preprocessing = SYMMETRIC):
    """The text as `net.arch`, weights of a seed in `w.safetensors`; the program and its module."""
    (folder / "net.arch").write_text(text)
    torch.manual_seed(0)
    compiled = archlang.compile(folder / "net.arch")
    module = compiled.module()
    save_weights(module, folder / "w.safetensors", {"preprocessing": prep.model_dump_json()})
    return compiled, module.eval()


def tiles(path: Path, side: int, columns: int) -> np.ndarray:
    """The pictures of a grid, row by row, one pixel of each enlarged one: [rows, columns, side, side]."""
    found, step, factor = pixels(path), 34, 32 // side
    rows = (found.shape[0] - 2) // step
    grid = found[2:, 2:][: rows * step, : columns * step].reshape(rows, step, columns, step).swapaxes(1, 2)
    return grid[:, :, :32:factor, :32:factor]


# ------------------------------------------------------------------ walks


def test_an_arc_turns_evenly_and_keeps_its_length():
    a, b = torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 1.0], [-1.0, 1e-9], [1.0, 1.0]])
    half = spherical(a, b, 1 / 3)
    torch.testing.assert_close(half[0], torch.tensor([3**0.5 / 2, 0.5]))
    assert torch.isfinite(half).all(), "opposite draws have no arc, and go along the line"
    torch.testing.assert_close(half[2], a[2])
    torch.testing.assert_close(spherical(a, b, 0.0), a)
    torch.testing.assert_close(spherical(a, b, 1.0), b)
    draws = torch.randn(2000, 64, generator=torch.Generator().manual_seed(0))
    middle = between(Noise(distribution="normal", values=(0.0, 1.0)), draws[:1000], draws[1000:], 0.5)
    assert float(middle.norm(dim=1).mean()) == pytest.approx(8.0, abs=0.1), "as long as what was drawn: √64"
    shifted = between(Noise(distribution="normal", values=(5.0, 1.0)), draws[:1000] + 5, draws[1000:] + 5, 0.5)
    torch.testing.assert_close(shifted, middle + 5, atol=1e-4, rtol=1e-4)
    line = between(Noise(distribution="uniform", values=(0.0, 1.0)), draws[:1], draws[1:2], 0.25)
    torch.testing.assert_close(line, 0.75 * draws[:1] + 0.25 * draws[1:2])


def test_rows_walk_from_draw_to_draw(run, tmp_path):
    compiled, module = saved(tmp_path, VAE)
    done = run("generate", "net.arch", "-w", "w.safetensors", "--interpolate", "3", "--steps", "5", "-o", "walk.png")
    assert done.code == 0, done.err
    found = tiles(tmp_path / "walk.png", 4, 5)
    made = maker(compiled.program, module)
    z = made.draws(4, 0)["z"]
    path = torch.stack([spherical(z[:-1], z[1:], share) for share in (0, 0.25, 0.5, 0.75, 1)], 1)
    with torch.no_grad():
        wanted = levels(module.decoder(path.flatten(0, 1)).view(-1, 1, 4, 4), SYMMETRIC)
    np.testing.assert_array_equal(found, wanted.view(3, 5, 4, 4).numpy())
    np.testing.assert_array_equal(found[0, -1], found[1, 0])


# ------------------------------------------------------------------ styles


@pytest.mark.parametrize("entry", [(), ("--entry", "mixed")])
def test_a_table_mixes_coarse_rows_and_fine_columns(run, tmp_path, entry):
    compiled, module = saved(tmp_path, STYLES)
    assert find_mixing(compiled.program, None).entry.name == "generate", "the entry that draws what it mixes"
    done = run("generate", "net.arch", "-w", "w.safetensors", "--mix", "3", *entry, "--set", "alpha=0.5", "-o", "m.png")
    assert done.code == 0, done.err
    found = tiles(tmp_path / "m.png", 2, 4)
    z = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    w = module.mapping(z).detach() * 0.5
    wanted = levels(torch.stack([w, w], 1).view(6, 1, 2, 2), SYMMETRIC)[:, 0].numpy()
    assert (found[0, 0] == 255).all()
    for i in range(3):
        np.testing.assert_array_equal(found[i + 1, 0], wanted[i])
        np.testing.assert_array_equal(found[0, i + 1], wanted[3 + i])
        for j in range(3):
            np.testing.assert_array_equal(found[i + 1, j + 1], [wanted[i][0], wanted[3 + j][1]])
    for cut, first in (("2", 1), ("0", 3 + 1)):
        call = ("generate", "net.arch", "-w", "w.safetensors", "--mix", "3", *entry, "--set", "alpha=0.5")
        assert run(*call, "--set", f"cut={cut}", "-o", "m.png").code == 0
        np.testing.assert_array_equal(tiles(tmp_path / "m.png", 2, 4)[2, 2], wanted[first])


# ------------------------------------------------------------------ pictures of pictures


def photos(folder: Path, *names: str) -> dict[str, np.ndarray]:
    draws = np.random.RandomState(0)
    found = {}
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        found[name] = draws.randint(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(found[name]).save(path)
    return found


def test_a_folder_is_translated_under_the_same_names(run, tmp_path):
    _, module = saved(tmp_path, CYCLE)
    originals = photos(tmp_path / "photos", "one.png", "in/two.bmp", *(f"in/{i}.png" for i in range(20)))
    call = ("generate", "net.arch", "-w", "w.safetensors", "--entry", "fake_b", "--images", "photos", "-o", "out/")
    done = run(*call)
    assert done.code == 0 and "22 pictures" in done.err, done.err
    for name, original in originals.items():
        x = torch.from_numpy(original).permute(2, 0, 1)[None].float() / 127.5 - 1
        wanted = ((module.fake_b(x).detach() + 1) * 127.5).round()[0].permute(1, 2, 0)
        made = pixels((tmp_path / "out" / name).with_suffix(".png")).astype(int)
        assert np.abs(made - wanted.numpy()).max() <= 1 and made.shape == (4, 4, 3)
    again = run(*call)
    assert again.code == 1 and "A1093" in again.err and "and 19 more" in again.err
    assert run(*call, "--force").code == 0
    assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 22


def test_pictures_that_can_not_be_translated_are_named(run, tmp_path):
    saved(tmp_path, CYCLE)
    photos(tmp_path / "photos", "a.png", "b.png")
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "photos" / "half.png").write_bytes((tmp_path / "photos" / "a.png").read_bytes()[:40])
    call = ("generate", "net.arch", "-w", "w.safetensors", "--images", "photos", "-o", "out/")
    said = run(*call, "--entry", "fake_b")
    assert said.code == 1 and "A1015" in said.err and "bad.png" in said.err
    assert not (tmp_path / "out").exists()
    assert "say `--entry fake_b` or `--entry fake_a`" in run(*call).err
    (tmp_path / "photos" / "bad.png").unlink()
    (tmp_path / "photos" / "half.png").unlink()
    photos(tmp_path / "photos", "a.bmp")
    assert 'both become "a.png"' in run(*call, "--entry", "fake_b").err
    assert "A1010" in run(*call[:5], "nowhere", "-o", "out/", "--entry", "fake_b").err
    assert run(*call[:6]).code == 2 and run(*call[:6], "-o", "x.png").code == 2


# ------------------------------------------------------------------ codes


def test_codes_are_what_the_entry_gives(run, tmp_path):
    compiled, module = saved(tmp_path, VAE)
    shapes = {name: x[..., 0] for name, x in photos(tmp_path / "d", "a.png", "b.png", "c.png").items()}
    for name, x in shapes.items():
        Image.fromarray(x).save(tmp_path / "d" / name)
    assert run("encode", "net.arch", "d", "-w", "w.safetensors", "-o", "c.npz").code == 0
    x = torch.from_numpy(np.stack(list(shapes.values())))[:, None].float() / 127.5 - 1
    mean, logvar = (part.detach().numpy() for part in module.encode(x))
    held = np.load(tmp_path / "c.npz")
    assert [Path(name).name for name in held["input"]] == ["a.png", "b.png", "c.png"]
    np.testing.assert_allclose(held["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(held["logvar"], logvar, rtol=1e-5, atol=1e-6)
    assert run("encode", "net.arch", "d/b.png", "-w", "w.safetensors", "-o", "c.csv").code == 0
    header, row = (tmp_path / "c.csv").read_text().splitlines()
    assert header == "input,mean0,mean1,mean2,logvar0,logvar1,logvar2"
    np.testing.assert_allclose([float(v) for v in row.split(",")[1:4]], mean[1], rtol=1e-5)
    found = compiled.encode(tmp_path / "d", tmp_path / "w.safetensors", value="z", device="cpu")
    again = compiled.encode([tmp_path / "d"], tmp_path / "w.safetensors", value="z", device="cpu")
    assert list(found) == ["z"] and found["z"].shape == (3, 3)
    np.testing.assert_array_equal(found["z"], again["z"])
    assert np.abs(found["z"] - mean).max() > 0.01, "the code is drawn around its mean"


def test_codes_by_an_input_without_axes(tmp_path):
    text = VAE.replace("entry encode {", "entry encode {\n    input strength: []")
    text = text.replace("    output mean\n", "    output mean\n    output twice = 2 * strength * mean\n")
    compiled, _ = saved(tmp_path, text)
    photos(tmp_path / "d", "a.png")
    found = compiled.encode(tmp_path / "d", tmp_path / "w.safetensors", device="cpu")
    assert list(found) == ["mean", "twice", "logvar"]
    np.testing.assert_allclose(found["twice"], 2 * found["mean"], rtol=1e-6)


def test_python_samples_what_the_command_does(tmp_path):
    compiled, module = saved(tmp_path, VAE)
    found = compiled.sample(
        tmp_path / "w.safetensors", entry="scaled", count=3, seed=2, settings={"psi": 0.5}, device="cpu"
    )
    (wanted,) = maker(compiled.program, module, "scaled", {"psi": 0.5}).run(
        maker(compiled.program, module, "scaled").draws(3, 2), 2
    )
    torch.testing.assert_close(found, ((wanted + 1) / 2).clamp(0, 1))


# ------------------------------------------------------------------ what is refused


def test_python_says_which_numbers_and_files_it_takes(tmp_path):
    compiled, _ = saved(tmp_path, VAE)
    weights = tmp_path / "w.safetensors"
    for wrong in ({"count": 0}, {"count": 2.5}, {"seed": -1}, {"seed": 2**70}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` is a whole number"):
            compiled.sample(weights, **wrong)
    with pytest.raises(ValueError, match="no file"):
        compiled.encode([], weights)
    with pytest.raises(ValueError, match="exclude each other"):
        compiled.encode("d", weights, entry="encode", value="z")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("generate", "--mix", "2"), 1, "A1096"),
        (("generate", "--mix", "2", "--entry", "scaled"), 1, "A1096"),
        (("generate", "--interpolate", "2", "--entry", "noisy"), 1, "A1091"),
        (("generate", "--interpolate", "2", "-o", "x.npz"), 2, "one picture"),
        (("generate", "--interpolate", "2", "--mix", "2"), 2, "Only one of"),
        (("generate", "--images", "d", "-o", "out/"), 1, "A1090"),
        (("generate", "--images", "d", "--entry", "generate", "-o", "out/"), 1, "does not make pictures of pictures"),
        (("encode", "d", "-o", "c.txt"), 2, "ends in .npz or .csv"),
        (("encode", "d", "-o", "c.npz", "--value", "zz"), 1, "A1097"),
        (("encode", "d", "-o", "c.npz", "--entry", "generate"), 1, "A1097"),
        (("encode", "d", "-o", "c.csv", "--value", "restored"), 1, "A1091"),
        (("encode", "d", "-o", "c.npz", "--value", "z", "--entry", "encode"), 2, "exclude each other"),
        (("encode", "gone.png", "-o", "c.npz"), 1, "A1010"),
    ],
)
def test_what_can_not_be_done(run, tmp_path, arguments, code, said):
    saved(tmp_path, VAE)
    photos(tmp_path / "d", "a.png")
    there = sorted(tmp_path.iterdir())
    done = run(arguments[0], "net.arch", *arguments[1:], "-w", "w.safetensors")
    assert (done.code, said in done.err) == (code, True), done.err
    assert sorted(tmp_path.iterdir()) == there
