"""What data sources give: shapes, splits, statistics, batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from archlang.runtime.data import load
from archlang.runtime.data.base import moments, split
from archlang.runtime.data.feed import Feed
from archlang.runtime.data.images import read_image
from PIL import Image
from sklearn.datasets import load_digits
from training_harness import PICTURES, classifier, compiled, picture_folder, regressor

CPU = torch.device("cpu")
DIGITS = """network Net {{ input x: [B, 1, {size}, {size}]  target y: int[B]
  out = x -> flatten -> linear(10)  output out  loss fit = (out, y) -> cross_entropy }}"""


def test_digits_are_scikit_learns(tmp_path):
    program, plan = compiled(DIGITS.format(size=8), "digits", "normalize none", tmp_path)
    data, _, _ = load(program, plan)
    assert np.array_equal(data.tensors[0][:, 0].numpy() * 16, load_digits().images)
    assert np.array_equal(data.tensors[1].numpy(), load_digits().target)


def test_digits_resized(tmp_path):
    program, plan = compiled(DIGITS.format(size=32), "digits(size=32)", "normalize none", tmp_path)
    images = load(program, plan)[0].tensors[0]
    assert images.shape == (1797, 1, 32, 32)
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    small = torch.nn.functional.avg_pool2d(images, 4)
    assert (
        torch.corrcoef(torch.stack([small.flatten(), torch.tensor(load_digits().images / 16).flatten().float()]))[0, 1]
        > 0.97
    )


@pytest.mark.parametrize(
    ("kind", "size", "features", "classes"),
    [("iris", 150, 4, 3), ("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2), ("diabetes", 442, 10, 0)],
)
def test_tables_are_standardised_by_the_training_part(kind, size, features, classes, tmp_path):
    network = classifier(features, classes) if classes else regressor(features)
    program, plan = compiled(network, kind, "", tmp_path)
    data, parts, notes = load(program, plan)
    assert (data.size, data.tensors[0].shape[1], len(data.classes), notes) == (size, features, classes, [])
    assert len(data.preprocessing.features) == features
    x = data.tensors[0][torch.from_numpy(parts.train)].double()
    assert x.mean(0).abs().max() < 1e-5
    assert (x.std(0, correction=0) - 1).abs().max() < 1e-4
    whole = data.tensors[0].double()
    assert whole.mean(0).abs().max() > 1e-3  # the other parts had no say


def test_split_is_stratified_and_disjoint():
    labels = np.repeat([0, 1, 2], [500, 100, 20])
    parts = split(620, labels, 0.1, 0.2, 3)
    together = np.concatenate([parts.train, parts.validation, parts.test])
    assert np.array_equal(np.sort(together), np.arange(620))
    for name, share in (("validation", 0.1), ("test", 0.2)):
        counts = np.bincount(labels[parts.part(name)], minlength=3)
        assert np.abs(counts - share * np.array([500, 100, 20])).max() <= 1
    again, other = split(620, labels, 0.1, 0.2, 3), split(620, labels, 0.1, 0.2, 4)
    assert np.array_equal(parts.test, again.test)
    assert not np.array_equal(parts.test, other.test)
    assert np.array_equal(parts.test[:5], np.sort(parts.test)[:5])


def test_split_does_not_follow_the_training_seed(tmp_path):
    program, plan = compiled(classifier(), "iris", "seed 1", tmp_path)
    first = load(program, plan)[1].test
    program, plan = compiled(classifier(), "iris", "seed 2", tmp_path)
    assert np.array_equal(first, load(program, plan)[1].test)
    program, plan = compiled(classifier(), "iris", "split_seed 2", tmp_path)
    assert not np.array_equal(first, load(program, plan)[1].test)


def test_csv_with_class_names(tmp_path):
    rows = "".join(f'{i},"{i / 2}",{("cat", "dog")[i % 2]}\n' for i in range(40))
    (tmp_path / "d.csv").write_text(f"\ufeffa,b,kind\n\n{rows}\n\n", encoding="utf-8")
    program, plan = compiled(
        classifier(1, 2), 'csv("d.csv", target="kind", features=["b"])', "normalize none", tmp_path
    )
    data, _, _ = load(program, plan)
    assert (data.classes, data.preprocessing.features) == (("cat", "dog"), ("b",))
    assert data.tensors[0][:3, 0].tolist() == [0.0, 0.5, 1.0]
    assert data.tensors[1][:3].tolist() == [0, 1, 0]


def test_csv_with_another_separator(tmp_path):
    (tmp_path / "d.csv").write_text("a;y\n" + "".join(f"{i};{i * 2.5}\n" for i in range(30)))
    program, plan = compiled(regressor(1), 'csv("d.csv", target="y", separator=";")', "", tmp_path)
    assert load(program, plan)[0].tensors[1][:3].tolist() == [0.0, 2.5, 5.0]


def test_npz_is_left_as_it_is(tmp_path):
    x = np.random.RandomState(0).normal(5, 3, (40, 4))
    np.savez(tmp_path / "d.npz", inputs=x, labels=(np.arange(40) % 3).astype(np.uint8))
    program, plan = compiled(classifier(), 'npz("d.npz", input="inputs", target="labels")', "", tmp_path)
    data, _, _ = load(program, plan)
    assert torch.equal(data.tensors[0], torch.from_numpy(x.astype(np.float32)))
    assert data.tensors[1].dtype == torch.int64


def test_images_take_the_form_of_the_input(tmp_path):
    picture_folder(tmp_path / "pics")
    program, plan = compiled(PICTURES, 'images("pics/")', "workers 0", tmp_path)
    data, parts, _ = load(program, plan)
    assert (data.size, data.classes, data.inputs[0].shape) == (24, ("dark", "light"), (3, 16, 16))
    batches = list(Feed(data, parts.train, 5, CPU).epoch(0))
    x = torch.cat([b[0] for b in batches])
    assert x.shape == (len(parts.train), 3, 16, 16)
    assert x.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert torch.equal(torch.cat([b[1] for b in batches]), torch.from_numpy(data.labels[parts.train]))


def test_workers_change_nothing(tmp_path):
    picture_folder(tmp_path / "pics", per_class=6)
    program, plan = compiled(PICTURES, 'images("pics/")', "", tmp_path)
    data, parts, _ = load(program, plan)
    state = torch.get_rng_state()
    feeds = [Feed(data, parts.train, 3, CPU, shuffle=True, seed=1, workers=w) for w in (0, 2)]
    for epoch in (0, 1):
        for a, b in zip(*(feed.epoch(epoch) for feed in feeds), strict=True):
            assert torch.equal(a[0], b[0])
            assert torch.equal(a[1], b[1])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1", "F", "I"])
def test_every_mode_of_picture(mode, tmp_path):
    ramp = np.tile(np.linspace(0, 255, 32), (32, 1))
    if mode in ("I;16", "I"):
        image = Image.fromarray((ramp * 257).astype(np.uint16 if mode == "I;16" else np.int32))
    elif mode == "F":
        image = Image.fromarray((ramp / 255).astype(np.float32))
    else:
        image = Image.fromarray(ramp.astype(np.uint8)).convert(mode)
    image.save(tmp_path / "a.tiff")
    for grey in (True, False):
        pixels = read_image(tmp_path / "a.tiff", 16, grey)
        assert pixels.shape == (1 if grey else 3, 16, 16)
        assert pixels.dtype == np.uint8
        assert pixels[:, :, -2:].mean() > 200
        assert pixels[:, :, :2].mean() < 60


def test_what_is_transparent_is_white_and_photos_stand_upright(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png", 8, False).min() == 255
    photo = Image.fromarray(np.vstack([np.zeros((8, 16)), np.full((8, 16), 255)]).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    photo.save(tmp_path / "photo.jpg", exif=exif)
    pixels = read_image(tmp_path / "photo.jpg", 16, True)[0]
    assert pixels[:6].mean() > 240
    assert pixels[10:].mean() < 15


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_every_batch(world, tmp_path):
    program, plan = compiled(classifier(), "iris", "", tmp_path)
    data, parts, _ = load(program, plan)
    feeds = [
        Feed(data, parts.train, 16, CPU, shuffle=True, seed=5, rank=r, world=world, even=True) for r in range(world)
    ]
    whole = Feed(data, parts.train, 16, CPU, shuffle=True, seed=5)
    assert len({feed.steps for feed in feeds}) == 1
    for expected, *shares in zip(whole.epoch(2), *(feed.epoch(2) for feed in feeds), strict=False):
        assert len({len(s[0]) for s in shares}) == 1
        size = sum(len(s[0]) for s in shares)
        interleaved = torch.stack([s[0] for s in shares], dim=1).flatten(0, 1)
        assert torch.equal(interleaved, expected[0][:size])
        assert len(expected[0]) - size < world


def test_order_follows_from_seed_and_epoch(tmp_path):
    program, plan = compiled(classifier(), "iris", "", tmp_path)
    data, parts, _ = load(program, plan)
    feed = Feed(data, parts.train, 16, CPU, shuffle=True, seed=5)
    whole, rest = list(feed.epoch(3)), list(feed.epoch(3, start=4))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole[4:], rest, strict=True))
    assert not torch.equal(whole[0][0], next(iter(feed.epoch(4)))[0])


def test_a_last_batch_of_one_is_left_out():
    assert Feed.__init__.__doc__
    from archlang.runtime.data.base import Column, Data

    data = Data("d", (Column("x", (1,), "float"),), (), 9, tensors=(torch.arange(9.0)[:, None],), arity=1)
    assert Feed(data, np.arange(9), 4, CPU, even=True).sizes == [4, 4]
    assert Feed(data, np.arange(9), 4, CPU).sizes == [4, 4, 1]
    assert Feed(data, np.arange(1), 4, CPU, even=True).sizes == [1]


def test_shifted_and_mirrored_images():
    from archlang.runtime.data.augment import flip, shift

    torch.manual_seed(0)
    x = torch.arange(36.0).reshape(1, 1, 6, 6).repeat(200, 2, 1, 1)
    moved = shift(x, 1)
    assert moved.shape == x.shape
    padded = torch.nn.functional.pad(x[:1], (1, 1, 1, 1), mode="replicate")[0]
    possible = [padded[:, r : r + 6, c : c + 6] for r in range(3) for c in range(3)]
    counts = [sum(torch.equal(image, p) for image in moved) for p in possible]
    assert sum(counts) == 200
    assert min(counts) > 5
    mirrored = flip(x)
    turned = sum(torch.equal(image, x[0].flip(-1)) for image in mirrored)
    assert 70 < turned < 130
    assert turned + sum(torch.equal(image, x[0]) for image in mirrored) == 200


def test_moments_of_a_constant():
    mean, std = moments(torch.full((5, 2, 3), 7.0))
    assert (mean, std) == ((7.0, 7.0), (1.0, 1.0))
