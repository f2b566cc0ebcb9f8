"""Augmentation: its geometry and colours are torchvision's, and what is random is seeded and within bounds."""

from __future__ import annotations

import pytest
import torch
from archlang.compiler.augmentations import AUGMENTATIONS, ColorJitter, CutMix, Erase, Mixup, RandomResizedCrop
from archlang.runtime.data import Preprocessing, augment, colours
from archlang.runtime.data.augment import Augmenter
from archlang.runtime.data.images import center, read_image
from oracles import library

PREP = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), scale=1 / 255)
X = torch.rand(5, 3, 20, 28, generator=torch.Generator().manual_seed(0))


def transforms():
    library("torchvision")
    from torchvision.transforms.v2 import functional

    return functional


@pytest.mark.parametrize("degrees", [0.0, 10.0, -33.0, 90.0, 170.0])
def test_rotation(degrees):
    theirs = transforms().rotate(X, degrees, interpolation=transforms().InterpolationMode.BILINEAR)
    assert torch.allclose(augment.rotate(X, torch.full((5,), degrees)), theirs, atol=1e-5)


def test_pieces_are_stretched():
    boxes = torch.tensor([[0, 0, 20, 28], [3, 5, 7, 9], [10, 20, 10, 8], [19, 27, 1, 1], [1, 0, 18, 3]])
    ours = augment.resized(X, boxes, 16, 12)
    for one, image, box in zip(ours, X, boxes.tolist(), strict=True):
        theirs = transforms().resized_crop(image[None], *box, size=[16, 12], antialias=False)
        assert torch.allclose(one, theirs[0], atol=1e-5)


COLOURS = {
    "brightness": colours.brightness,
    "contrast": colours.contrast,
    "saturation": colours.saturation,
    "hue": colours.turn_hue,
}


@pytest.mark.parametrize("name", COLOURS)
def test_colours(name):
    factors = [-0.5, -0.2, 0.0, 0.1, 0.4] if name == "hue" else [0.0, 0.4, 1.0, 1.3, 2.0]
    ours = COLOURS[name](X, torch.tensor(factors))
    for one, image, factor in zip(ours, X, factors, strict=True):
        assert torch.allclose(one, getattr(transforms(), f"adjust_{name}")(image, factor), atol=1e-5)


def test_pictures_are_read_as_for_evaluation(tmp_path):
    """The shorter side resized, the middle cut out: torchvision's preset."""
    import numpy as np
    from PIL import Image

    for height, width in ((41, 67), (53, 30), (40, 40)):
        pixels = np.random.RandomState(0).randint(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        f = transforms()
        theirs = f.center_crop(f.resize(Image.open(tmp_path / "a.png"), [32], antialias=True), [28, 28])
        ours = center(torch.from_numpy(read_image(tmp_path / "a.png", 32, False).copy()), 28)
        assert torch.equal(ours, f.pil_to_tensor(theirs))


def test_random_pieces_stay_within_bounds():
    torch.manual_seed(0)
    boxes = augment.random_boxes(4000, (60, 80), (0.2, 0.5), (0.75, 4 / 3), device=torch.device("cpu")).double()
    top, left, height, width = boxes.unbind(1)
    assert ((top >= 0) & (left >= 0) & (top + height <= 60) & (left + width <= 80)).all()
    share, ratio = height * width / 4800, width / height
    assert 0.19 < share.min() < 0.22 and 0.48 < share.max() < 0.52
    assert abs(float(share.mean()) - 0.35) < 0.01
    assert 0.7 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1.4
    assert abs(float(ratio.log().mean())) < 0.01


def test_a_piece_that_fits_nowhere_is_the_middle():
    boxes = augment.random_boxes(3, (10, 100), (1.0, 1.0), (0.9, 1.1), device=torch.device("cpu"))
    assert boxes.tolist() == [[0, 44, 10, 11]] * 3


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_is_seeded_and_keeps_shape_and_range(name):
    given = {"shift": {"pixels": 3}, "rotate": {"degrees": 30.0}, "color_jitter": {"brightness": 0.4, "hue": 0.1}}
    how = AUGMENTATIONS[name](**given.get(name, {}))
    x, y = PREP.redo(X), torch.tensor([0, 1, 2, 1, 0])
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(Augmenter([how], PREP, size=None, classes=3)((x, y)))
    assert torch.equal(runs[0][0], runs[1][0])
    assert not torch.equal(runs[0][0], runs[2][0])
    assert not torch.equal(runs[0][0], x)
    assert runs[0][0].shape == x.shape
    back = PREP.undo(runs[0][0])
    assert back.min() > -1e-4 and back.max() < 1 + 1e-4


def test_larger_pictures_become_the_networks_size():
    x = torch.rand(2, 3, 32, 32)
    for how in ([RandomResizedCrop()], [ColorJitter(brightness=0.1)]):
        assert Augmenter(how, Preprocessing(), size=28)((x, x))[0].shape == (2, 3, 28, 28)


def test_erasing_covers_with_the_mean():
    torch.manual_seed(0)
    x, _ = Augmenter([Erase(p=1.0)], PREP, size=None)((PREP.redo(X) + 10, X))
    covered = x.abs().amax(1) < 1e-5
    assert (covered.flatten(1).float().mean(1) > 0.01).all()
    torch.manual_seed(0)
    assert torch.equal(Augmenter([Erase(p=0.0)], Preprocessing(), size=None)((X, X))[0], X)


def test_blended_targets():
    y = torch.tensor([0, 1, 2, 1, 0])
    hot = torch.nn.functional.one_hot(y, 3).float()
    x, shares = augment.mix(X, hot, 0.3)
    assert torch.allclose(x[1], 0.3 * X[1] + 0.7 * X[0])
    assert torch.allclose(shares[1], torch.tensor([0.7, 0.3, 0.0]))
    x, shares = augment.paste(X, hot, 0, 0, 10, 14)
    assert torch.equal(x[2, :, :10, :14], X[1, :, :10, :14])
    assert torch.equal(x[2, :, 10:], X[2, :, 10:])
    assert torch.allclose(shares[2], torch.tensor([0.0, 0.25, 0.75]))
    torch.manual_seed(0)
    for how in ([Mixup()], [CutMix()], [Mixup(), CutMix()]):
        _, shares = Augmenter(how, PREP, size=None, classes=3)((X, y))
        assert torch.allclose(shares.sum(1), torch.ones(5))
