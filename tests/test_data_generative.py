"""Data for generators: points, two domains, labels that nobody takes, values in [-1, 1]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from archlang.compiler.data_sources import Gaussians, value_range
from archlang.runtime.data import Preprocessing, load
from archlang.runtime.data.feed import Feed
from archlang.runtime.data.procedural import gaussian_means
from archlang.runtime.module import build
from archlang.runtime.predict import predict
from PIL import Image
from sklearn.datasets import load_digits
from training_harness import PICTURES, classifier, compiled, picture_folder, refused

CPU = torch.device("cpu")
IMAGES, UNPAIRED = 'images("few/")', 'unpaired("few/", "many/")'


def one(shape: str) -> str:
    """A network that makes what it sees, and has no target."""
    return f"network Net {{ input x: [B, {shape}]  y = x -> prelu -> tanh  output y  loss fit = (y, x) -> mse }}"


def two(shape: str) -> str:
    """A network of two domains."""
    return (
        f"network Net {{ input a: [B, {shape}]  input b: [B, {shape}]  made = a -> `A2B`: conv({shape[0]}, kernel=1)"
        "  output made  loss fit = (made, b) -> mse }"
    )


def told(classes: int, *, shape: str = "2") -> str:
    """A network without a target that is told the class."""
    return f"""network Net {{ input x: [B, {shape}]  input mode: int[B]
      y = mode -> embedding({classes}, 2)  output y  loss fit = (y, x) -> mse }}"""


def greys(folder: Path, values: range) -> None:
    """Pictures of one grey each, which tells them apart."""
    folder.mkdir()
    for value in values:
        Image.new("L", (4, 4), value).save(folder / f"{value:03}.png")


def domains(tmp_path: Path, body: str = "", data: str = UNPAIRED, sizes: tuple[int, int] = (12, 40)):
    greys(tmp_path / "few", range(sizes[0]))
    greys(tmp_path / "many", range(100, 100 + sizes[1]))
    program, plan = compiled(two("1, 4, 4"), data, f"workers 0 normalize none {body}", tmp_path)
    return load(program, plan)


def seen(feed: Feed, epoch: int, start: int = 0) -> np.ndarray:
    """Which grey each example of an epoch had, [examples, inputs]."""
    batches = [torch.stack([x.amax(dim=(1, 2, 3)) for x in batch], dim=1) for batch in feed.epoch(epoch, start)]
    return (torch.cat(batches) * 255).round().int().numpy()


# -- points


def test_the_ring_and_the_grid():
    ring = gaussian_means(Gaussians(modes=4, radius=2.0))
    assert np.allclose(ring, [[2, 0], [0, 2], [-2, 0], [0, -2]])
    grid = gaussian_means(Gaussians(modes=25, radius=4.0, layout="grid"))
    assert sorted(map(tuple, grid)) == [(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)]
    assert np.allclose(gaussian_means(Gaussians(modes=1, layout="grid")), 0)


def test_points_lie_around_their_modes(tmp_path):
    source = "gaussians(modes=8, radius=2.0, deviation=0.02, examples=4000)"
    program, plan = compiled(classifier(2, 8), source, "", tmp_path)
    data, parts, notes = load(program, plan)
    x, modes = data.tensors
    away = (x - torch.from_numpy(gaussian_means(plan.data))[modes].float()) / 0.02
    assert away.mean(dim=0).abs().max() < 0.1  # 6 standard errors
    assert torch.allclose(away.T @ away / 4000, torch.eye(2), atol=0.1)
    assert np.bincount(modes).min() > 350
    assert np.bincount(modes[torch.from_numpy(parts.test)]).min() > 70
    assert (notes, data.preprocessing.mean) == ([], ())


def test_points_follow_from_the_seed_of_the_split(tmp_path):
    def points(body: str) -> torch.Tensor:
        program, plan = compiled(one("2"), "gaussians(examples=50)", body, tmp_path)
        return load(program, plan)[0].tensors[0]

    assert torch.equal(points("seed 1"), points("seed 2"))
    assert not torch.equal(points("split_seed 1"), points("split_seed 2"))


@pytest.mark.parametrize("shape", ["2", "2, 1, 1", "1, 2"])
def test_points_take_the_form_of_the_input(shape, tmp_path):
    program, plan = compiled(one(shape), "gaussians(examples=50)", "", tmp_path)
    data, parts, _ = load(program, plan)
    (x,) = next(iter(Feed(data, parts.train, 7, CPU).epoch(0)))
    assert x.shape == (7, *map(int, shape.split(",")))


def test_points_that_do_not_fit(tmp_path):
    program, plan = compiled(one("3"), "gaussians", "", tmp_path)
    assert [d.code for d in refused(lambda: load(program, plan))] == ["A1023"]
    (found,) = refused(lambda: compiled(one("2"), 'gaussians(layout="grid")', "", tmp_path))
    assert (found.code, "25" in found.message) == ("A1005", True)


# -- two domains


def test_halves_of_the_digits_share_none(tmp_path):
    program, plan = compiled(two("1, 8, 8"), "inverted_digits", "normalize none", tmp_path)
    data, parts, notes = load(program, plan)
    first, second = (set(side.tolist()) for side in data.sides(parts.train))
    held = {row for part in (parts.validation, parts.test) for row in data.sides(part)[0].tolist()}
    assert first.isdisjoint(second)
    assert held.isdisjoint(first | second)
    assert len(first | second | held) == 1797
    assert abs(len(first) - len(second)) <= 1
    labels = load_digits().target
    counts = [np.bincount(labels[sorted(side)], minlength=10) for side in (first, second)]
    assert np.abs(counts[0] - counts[1]).max() <= 2
    digits, inverses = (torch.cat(x) for x in zip(*Feed(data, parts.train, 64, CPU).epoch(0), strict=True))
    pictures = {x.numpy().tobytes() for x in digits}
    assert not any((1 - x).numpy().tobytes() in pictures for x in inverses)
    assert notes == []


@pytest.mark.parametrize("part", ["validation", "test"])
def test_what_is_held_out_of_the_digits_is_paired(part, tmp_path):
    program, plan = compiled(two("1, 8, 8"), "inverted_digits", "", tmp_path)
    data, parts, _ = load(program, plan)
    batches = list(Feed(data, parts.part(part), 50, CPU).epoch(0))
    assert sum(len(a) for a, _ in batches) == {"validation": 180, "test": 359}[part]
    assert all(torch.equal(a, -b) for a, b in batches)


def test_the_larger_folder_decides_the_epoch(tmp_path):
    data, parts, _ = domains(tmp_path)
    assert [len(side) for side in data.sides(parts.train)] == [9, 28]
    feed = Feed(data, parts.train, 8, CPU, shuffle=True, seed=3)
    a, b = seen(feed, 0).T
    assert feed.steps == 4
    assert len(set(b)) == 28
    assert min(b) >= 100
    assert max(a) < 12
    counts = np.bincount(a)
    assert set(counts[counts > 0]) == {3, 4}  # 28 of 9: gone through three times, and one more
    again = Feed(data, parts.train, 8, CPU, shuffle=True, seed=3)
    assert np.array_equal(seen(again, 0), seen(feed, 0))
    assert np.array_equal(seen(again, 2, start=2), seen(feed, 2)[16:])


def test_partners_change_from_epoch_to_epoch(tmp_path):
    data, parts, _ = domains(tmp_path, sizes=(40, 40))
    feed = Feed(data, parts.train, 8, CPU, shuffle=True)
    pairs = {tuple(pair) for epoch in range(3) for pair in seen(feed, epoch)}
    assert len(pairs) > 80  # of 84
    assert sum(b == a + 100 for a, b in pairs) < 10  # the two sides are not in one order
    still = Feed(data, parts.train, 8, CPU)
    assert np.array_equal(seen(still, 0), seen(still, 1))


def test_parts_of_two_folders_are_disjoint(tmp_path):
    data, parts, _ = domains(tmp_path)
    found = [seen(Feed(data, parts.part(part), 5, CPU), 0) for part in ("train", "validation", "test")]
    for side, size in ((0, 12), (1, 40)):
        values = [set(part[:, side]) for part in found]
        assert sum(map(len, values)) == len(set.union(*values)) == size


def test_processes_share_unpaired_batches(tmp_path):
    data, parts, _ = domains(tmp_path)
    whole = seen(Feed(data, parts.train, 8, CPU, shuffle=True, seed=1, even=True), 0)
    shares = [
        seen(Feed(data, parts.train, 8, CPU, shuffle=True, seed=1, even=True, rank=r, world=2), 0) for r in (0, 1)
    ]
    assert np.array_equal(np.stack(shares, axis=1).reshape(-1, 2), whole)


def test_statistics_are_of_both_folders(tmp_path):
    greys(tmp_path / "few", range(12))
    greys(tmp_path / "many", range(100, 140))
    program, plan = compiled(two("1, 4, 4"), UNPAIRED, "workers 0 normalize standard", tmp_path)
    data, parts, _ = load(program, plan)
    first, second = data.sides(parts.train)
    values = np.concatenate([first, second + 100]) / 255
    assert np.allclose(data.preprocessing.mean, values.mean(), atol=1e-6)
    assert np.allclose(data.preprocessing.std, values.std(), atol=1e-6)


def test_both_domains_are_varied(tmp_path):
    from archlang.runtime.data.augment import Augmenter

    _, plan = compiled(two("1, 4, 4"), 'unpaired("a/", "b/")', "augment flip", tmp_path)
    x = torch.arange(16.0).view(1, 1, 4, 4).repeat(64, 1, 1, 1)
    torch.manual_seed(0)
    for images, still in ((2, 0), (1, 1)):
        batch = Augmenter(plan.augment, Preprocessing(), size=None, images=images)((x, x))
        assert [torch.equal(found, x) for found in batch] == [False, bool(still)]
    a, b = Augmenter(plan.augment, Preprocessing(), size=None, images=2)((x, x))
    assert not torch.equal(a, b)


def test_the_folder_of_both_is_named_on_the_command_line(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "near").mkdir()
    greys(tmp_path / "far" / "few", range(12))
    greys(tmp_path / "far" / "many", range(100, 140))
    program, plan = compiled(two("1, 4, 4"), UNPAIRED, "workers 0", tmp_path / "near")
    assert load(program, plan, tmp_path / "far")[0].size == 52
    assert refused(lambda: load(program, plan))[0].code == "A1010"
    assert refused(lambda: load(program, plan, tmp_path / "near"))[0].code == "A1010"


MISFITS = [
    (one("1, 4, 4"), "", "A1025", "two inputs"),
    (two("3, 4, 4"), "validation 0.03", "A1027", "52 examples in two domains: too few for a validation"),
    (two("1, 4, 4"), "sampler balanced", "A1038", "no class"),
    (two("4, 4, 1"), "", "A1023", "[B, 3, 4, 4]"),
]


@pytest.mark.parametrize(("network", "body", "code", "says"), MISFITS, ids=[case[2] for case in MISFITS])
def test_domains_that_do_not_fit(network, body, code, says, tmp_path):
    greys(tmp_path / "few", range(12))
    greys(tmp_path / "many", range(100, 140))
    program, plan = compiled(network, UNPAIRED, body, tmp_path)
    (found, *_) = refused(lambda: load(program, plan))
    assert (found.code, says in f"{found.message} {found.help}") == (code, True)


def test_one_folder_is_one_domain(tmp_path):
    (found,) = refused(lambda: compiled(two("1, 4, 4"), 'unpaired("a/", "a/")', "", tmp_path))
    assert (found.code, "two folders" in found.message) == ("A1005", True)


def test_two_inputs_of_pictures_call_for_two_folders(tmp_path):
    program, plan = compiled(two("1, 8, 8"), "digits", "", tmp_path)
    (found,) = refused(lambda: load(program, plan))
    assert (found.code, "unpaired" in (found.help or "")) == ("A1025", True)


# -- labels that nobody takes


GAME = """
block Gen {{ input z: [B, C, H, W]  output z -> conv(1, kernel=1) }}
block Dis {{ input x: [B, C, H, W]  output x -> conv(1, kernel=1) }}
adversarial Net {{
  {inputs}
  generator G = Gen
  discriminator D = Dis
  made = {start} -> G
  pair G vs D on ({real}, made) by least_squares
}}
"""
ONE = GAME.format(inputs="input real: [B, 1, 8, 8]  sample z ~ normal(0, 1): [B, 1, 8, 8]", start="z", real="real")
TWO = GAME.format(inputs="input a: [B, 1, 8, 8]  input b: [B, 1, 8, 8]", start="a", real="b")


@pytest.mark.parametrize(
    ("game", "data", "size"),
    [
        (ONE, "digits", 1),
        (ONE, 'images("few/")', 1),
        (TWO, "inverted_digits", 2),
        (TWO, UNPAIRED, 2),
    ],
    ids=["digits", "images", "inverted_digits", "unpaired"],
)
def test_games_take_what_they_play_with(game, data, size, tmp_path):
    greys(tmp_path / "few", range(12))
    greys(tmp_path / "many", range(100, 140))
    program, plan = compiled(game, data, "workers 0 normalize symmetric", tmp_path)
    assert value_range(plan, program) == (-1.0, 1.0)
    examples, parts, _ = load(program, plan)
    batch = next(iter(Feed(examples, parts.train, 6, CPU, shuffle=True).epoch(0)))
    assert [x.shape for x in batch] == [(6, 1, 8, 8)] * size


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ("1, 8, 8", "digits"),
        ("4", "iris"),
        ("10", "diabetes"),
        ("3, 16, 16", 'images("pics/")'),
        ("2", 'csv("d.csv")'),
        ("1", 'csv("d.csv", features=["a"])'),
        ("1", 'csv("d.csv", target="y")'),
        ("2", 'npz("d.npz")'),
    ],
)
def test_sources_serve_a_network_without_a_target(shape, data, tmp_path):
    picture_folder(tmp_path / "pics")
    (tmp_path / "d.csv").write_text("a,y\n" + "".join(f"{i},{i % 3}\n" for i in range(40)))
    np.savez(tmp_path / "d.npz", x=np.random.RandomState(0).rand(40, 2))
    program, plan = compiled(one(shape), data, "workers 0", tmp_path)
    examples, parts, notes = load(program, plan)
    (x,) = next(iter(Feed(examples, parts.train, 6, CPU, shuffle=True).epoch(0)))
    assert x.shape == (6, *map(int, shape.split(",")))
    assert notes == []


def test_a_target_needs_its_column(tmp_path):
    (found,) = refused(lambda: compiled(classifier(2, 2), 'csv("d.csv")', "", tmp_path))
    assert (found.code, found.span.text) == ("A1005", 'csv("d.csv")')
    assert "`y`" in found.message


def test_a_class_may_be_an_input(tmp_path):
    program, plan = compiled(told(8), "gaussians(examples=80)", "", tmp_path)
    data, parts, _ = load(program, plan)
    x, modes = next(iter(Feed(data, parts.train, 6, CPU).epoch(0)))
    assert torch.equal((x / 2).round(), torch.from_numpy(gaussian_means(plan.data) / 2).float()[modes].round())
    picture_folder(tmp_path / "pics")
    text = told(2, shape="3, 16, 16").replace(
        "embedding(2, 2)", 'embedding(2, 768) -> rearrange("b (c h w) -> b c h w", c=3, h=16)'
    )
    program, plan = compiled(text, 'images("pics/")', "workers 0", tmp_path)
    data, parts, _ = load(program, plan)
    _, classes = next(iter(Feed(data, parts.train, 99, CPU).epoch(0)))
    assert set(classes.tolist()) == {0, 1}
    program, plan = compiled(told(7), "gaussians(examples=80)", "", tmp_path)
    assert [d.code for d in refused(lambda: load(program, plan))] == ["A1052"]


# -- the range of values

RANGES = [
    ("1, 8, 8", "digits", "", None),
    ("1, 8, 8", "digits", "normalize none", (0.0, 1.0)),
    ("1, 8, 8", "digits", "normalize symmetric", (-1.0, 1.0)),
    ("3, 16, 16", 'images("pics/")', "normalize none", (0.0, 1.0)),
    ("3, 16, 16", 'images("pics/")', "normalize symmetric", (-1.0, 1.0)),
    ("3, 16, 16", 'images("pics/")', "normalize imagenet", None),
    ("2", 'npz("d.npz")', "normalize symmetric", (-1.0, 1.0)),
    ("2", 'npz("d.npz")', "", None),
    ("2", "gaussians", "", None),
]


@pytest.mark.parametrize(("shape", "data", "body", "expected"), RANGES, ids=[f"{d} {b}" for _, d, b, _ in RANGES])
def test_what_is_known_of_the_values(shape, data, body, expected, tmp_path):
    picture_folder(tmp_path / "pics")
    values = np.random.RandomState(0).rand(40, 2)
    values[:2] = [[0, 1], [1, 0]]
    np.savez(tmp_path / "d.npz", x=values)
    program, plan = compiled(one(shape), data, f"workers 0 {body}", tmp_path)
    known = value_range(plan, program)
    assert known == expected
    examples, parts, _ = load(program, plan)
    x = torch.cat([batch[0] for batch in Feed(examples, parts.train, 50, CPU).epoch(0)])
    least, most = examples.interval
    assert least <= float(x.min()) < float(x.max()) <= most
    if known is not None:
        assert (least, most) == expected


def test_a_range_is_known_of_numbers_only(tmp_path):
    program, plan = compiled(told(8), "gaussians", "normalize symmetric", tmp_path)
    assert value_range(plan, program) == (-1.0, 1.0)
    text = "network Net { input x: int[B, 2]  y = x -> embedding(9, 2)  output y  loss l = (y, y) -> mse }"
    program, plan = compiled(text, 'npz("d.npz")', "normalize symmetric", tmp_path)
    assert value_range(plan, program) is None


@pytest.mark.parametrize("data", ["gaussians", "iris"])
def test_symmetric_is_for_values_from_0_to_1(data, tmp_path):
    program, plan = compiled(one("2" if data == "gaussians" else "4"), data, "normalize symmetric", tmp_path)
    (found,) = refused(lambda: load(program, plan))
    assert (found.code, found.span.text) == ("A1061", "symmetric")
    assert "standard" in found.help


def test_symmetric_is_stored_and_undone(tmp_path):
    picture_folder(tmp_path / "pics")
    program, plan = compiled(one("3, 16, 16"), 'images("pics/")', "workers 0 normalize symmetric", tmp_path)
    data, parts, _ = load(program, plan)
    prep = Preprocessing.model_validate_json(data.preprocessing.model_dump_json())
    files = data.pictures.read(parts.train[:5].tolist())
    (x,) = next(iter(Feed(data, parts.train, 5, CPU).epoch(0)))
    assert torch.allclose(x, files.float() / 127.5 - 1, atol=1e-6)
    assert torch.allclose(prep.as_pictures(x), files.float() / 255, atol=1e-6)
    assert prep.as_pictures(torch.tensor([-1.5, 1.5]).view(2, 1, 1, 1).expand(2, 3, 1, 1)).unique().tolist() == [0, 1]
    rows = predict(program, build(program), tmp_path / "pics" / "dark", prep, device="cpu")
    pixels = _first(tmp_path) / 127.5 - 1
    made = np.tanh(np.where(pixels < 0, 0.25 * pixels, pixels))  # and told as the picture that it is
    assert np.allclose(rows[0]["value"], (made + 1) / 2, atol=1e-5)


def _first(tmp_path: Path) -> np.ndarray:
    from archlang.runtime.data.images import read_image

    return read_image(tmp_path / "pics" / "dark" / "00.png", 16, False).astype(np.float64)


def test_two_classes_of_pictures_still_need_their_folders(tmp_path):
    greys(tmp_path / "pics", range(20))
    program, plan = compiled(PICTURES, 'images("pics/")', "workers 0", tmp_path)
    (found,) = refused(lambda: load(program, plan))
    assert (found.code, "20 images" in found.message) == ("A1013", True)
