"""Folders of images as they come: mixed, broken, empty, and with files that only look like images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from archlang.compiler.diagnostics import Severity
from archlang.runtime import train as training
from archlang.runtime import workplace
from archlang.runtime.data import load
from archlang.runtime.data.augment import Augmenter
from archlang.runtime.data.feed import Feed
from archlang.runtime.data.scanning import find_images
from archlang.runtime.module import build
from PIL import Image
from training_harness import PICTURES, compiled, picture_folder, refused

CPU = torch.device("cpu")
FACES = (
    """network Net { input x: [B, 3, 16, 16]  y = x -> `mix`: conv(3, kernel=1)  output y  loss fit = (y, x) -> mse }"""
)
TURNED = 0x0112


def faces(folder: Path, count: int = 20) -> Path:
    """A flat folder of pictures of one size."""
    noise = np.random.RandomState(0)
    folder.mkdir()
    for i in range(count):
        Image.fromarray(noise.randint(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
    return folder


def cut(file: Path) -> None:
    """Leaves the header, and half of what follows."""
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def read(folder: Path, source: str, network: str = FACES):
    program, plan = compiled(network, source, "workers 0 normalize none", folder)
    return load(program, plan)


def batches(data, rows) -> torch.Tensor:
    return torch.cat([batch[0] for batch in Feed(data, rows, 8, CPU).epoch(0)])


def test_a_flat_folder_and_what_lies_below_it(tmp_path):
    faces(tmp_path / "faces", 12)
    faces(tmp_path / "faces" / "more", 8)
    faces(tmp_path / "faces" / ".hidden", 3)
    (tmp_path / "faces" / "notes.txt").write_text("who they are")
    (tmp_path / "faces" / ".00.png").write_text("what a file manager leaves")
    data, parts, notes = read(tmp_path, 'images("faces/")')
    assert (data.size, data.targets, data.labels, data.classes, notes) == (20, (), None, (), [])
    assert batches(data, parts.train).shape == (14, 3, 16, 16)


def test_classes_that_nobody_takes_still_divide_the_split(tmp_path):
    picture_folder(tmp_path / "pics", per_class=20)
    (tmp_path / "pics" / "empty").mkdir()
    data, parts, _ = read(tmp_path, 'images("pics/")')
    assert (data.size, data.targets, data.classes) == (40, (), ())
    assert np.bincount(data.labels[parts.test]).tolist() == [4, 4]


def test_a_class_may_lie_elsewhere(tmp_path):
    picture_folder(tmp_path / "far", per_class=10)
    (tmp_path / "pics").mkdir()
    for name in ("dark", "light"):
        (tmp_path / "pics" / name).symlink_to(tmp_path / "far" / name)
    faces(tmp_path / "pics" / "stray", 1).joinpath("00.png").rename(tmp_path / "pics" / "stray.png")
    (tmp_path / "pics" / "stray").rmdir()
    data, _, _ = read(tmp_path, 'images("pics/")', PICTURES)
    assert (data.classes, np.bincount(data.labels).tolist()) == (("dark", "light"), [10, 10])


def test_a_link_back_brings_no_picture_twice(tmp_path):
    folder = faces(tmp_path / "faces", 3)
    for name, to in (("self", "."), ("up", ".."), ("root", "/"), ("gone.png", "nowhere.png")):
        (folder / name).symlink_to(to)
    assert [file.name for file in find_images(folder)] == ["00.png", "01.png", "02.png"]


def test_every_kind_of_image_in_one_folder(tmp_path):
    folder = faces(tmp_path / "faces", 10)
    ramp = np.tile(np.linspace(0, 255, 40), (30, 1))
    grey = Image.fromarray(ramp.astype(np.uint8))
    grey.save(folder / "grey.png")
    grey.convert("P").save(folder / "palette.gif")
    Image.fromarray((ramp * 257).astype(np.uint16)).save(folder / "deep.png")
    Image.new("RGBA", (8, 60), (255, 0, 0, 0)).save(folder / "clear.png")
    grey.convert("CMYK").save(folder / "print.jpg")
    exif = Image.Exif()
    exif[TURNED] = 6
    Image.fromarray(np.tile(ramp.astype(np.uint8)[..., None], 3)).save(folder / "turned.jpg", exif=exif)
    data, _, (note,) = read(tmp_path, 'images("faces/")')
    assert (note.code, note.severity, note.span.text) == ("A1060", Severity.NOTE, 'images("faces/")')
    said = "11 in colour, 1 grey, 1 in CMYK, 1 of 16 bits or more, 1 with a palette, 1 with transparency"
    assert note.message == (
        f'the images of images("faces/") differ: {said}, from 8x60 to 40x30 pixels, 1 turned upright, 1 enlarged'
    )
    rows = {Path(path).name: row for row, path in enumerate(data.pictures.paths)}
    x = batches(data, np.arange(data.size))
    for name in ("grey.png", "palette.gif", "deep.png", "print.jpg"):  # all are the same ramp
        assert (x[rows[name]] - x[rows["grey.png"]]).abs().max() < 0.05, name
    level, upright = x[rows["grey.png"]], x[rows["turned.jpg"]]
    assert level[:, :, -1].min() - level[:, :, 0].max() > 0.5
    assert upright[:, -1].min() - upright[:, 0].max() > 0.5
    assert x[rows["clear.png"]].min() == 1


def test_images_that_are_alike_go_without_a_note(tmp_path):
    faces(tmp_path / "faces")
    assert read(tmp_path, 'images("faces/")')[2] == []


def test_all_files_that_are_no_images_are_named_at_once(tmp_path):
    folder = faces(tmp_path / "faces")
    for number in range(7):
        (folder / f"{number:02}.png").write_text("<html>404</html>")
    (found,) = refused(lambda: read(tmp_path, 'images("faces/")'))
    assert (found.code, found.message.startswith("7 of 20 files can't be read as images")) == ("A1015", True)
    assert 'faces/04.png" (cannot identify image file' in found.message
    assert found.message.endswith("and 2 more")
    assert str(tmp_path) not in found.message
    assert 'corrupt="skip"' in found.help


def test_an_image_cut_short_is_refused_when_it_is_read(tmp_path):
    cut(faces(tmp_path / "faces") / "07.png")
    data, _, _ = read(tmp_path, 'images("faces/")')  # its header is fine
    (found,) = refused(lambda: batches(data, np.arange(data.size)))
    assert (found.code, 'faces/07.png"' in found.message) == ("A1015", True)


def test_corrupt_images_are_left_out_and_named(tmp_path):
    folder = faces(tmp_path / "faces")
    cut(folder / "07.png")
    (folder / "09.png").write_bytes(b"")
    data, parts, (told,) = read(tmp_path, 'images("faces/", corrupt="skip")')
    assert (told.code, told.severity, data.size) == ("A1062", Severity.WARNING, 18)
    assert told.message.startswith('2 of the 20 images of images("faces/") can\'t be read and are left out: ')
    assert [name in told.message for name in ("faces/07.png", "faces/09.png", "faces/08.png")] == [True, True, False]
    everything = np.concatenate([parts.train, parts.validation, parts.test])
    assert np.array_equal(np.sort(everything), np.arange(18))
    assert batches(data, everything).shape == (18, 3, 16, 16)


def test_a_run_reports_what_it_left_out_and_varies_both_domains(tmp_path, monkeypatch):
    varied = []

    class Seen(Augmenter):
        def __call__(self, batch):
            found = super().__call__(batch)
            varied.append([not torch.equal(new, old) for new, old in zip(found, batch, strict=True)])
            return found

    monkeypatch.setattr(workplace, "Augmenter", Seen)
    cut(faces(tmp_path / "a") / "07.png")
    faces(tmp_path / "b", 10)
    two = FACES.replace("input x: [B, 3, 16, 16]", "input x: [B, 3, 16, 16]  input z: [B, 3, 16, 16]").replace(
        "(y, x)", "(y, z)"
    )
    source = 'unpaired("a/", "b/", corrupt="skip")'
    program, plan = compiled(two, source, "workers 0 epochs 2 batch 7 augment flip", tmp_path)
    report = training.fit(program, lambda: build(program), plan, out=tmp_path / "run", device="cpu", progress=False)
    assert report.examples == {"train": 20, "validation": 3, "test": 6}
    assert [("A1062" in warning, "a/07.png" in warning) for warning in report.warnings] == [(True, True)]
    assert report.history[-1]["loss"] < report.history[0]["loss"]
    assert [any(found) for found in zip(*varied, strict=True)] == [True, True]


def test_a_class_of_broken_images_is_no_class(tmp_path):
    folder = picture_folder(tmp_path / "pics", per_class=3)
    for file in (folder / "dark").iterdir():
        cut(file)
    (found,) = refused(lambda: read(tmp_path, 'images("pics/", corrupt="skip")', PICTURES))
    assert (found.code, '"dark"' in found.message) == ("A1014", True)


@pytest.mark.parametrize("network", [FACES, PICTURES], ids=["flat", "classes"])
@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((), "it is empty"),
        (("a.heic", "b.HEIC", "c.txt"), "2 of .heic, 1 of .txt"),
        ((".a.png", ".cache/b.png"), "; 2 whose names, or those of their folders, begin with a dot are passed over"),
        ((".a.png", "b.heic"), "there are files 1 of .heic; 1 whose names"),
    ],
)
def test_an_empty_folder_says_what_was_looked_for(network, names, says, tmp_path):
    (tmp_path / "faces").mkdir()
    for name in names:
        (tmp_path / "faces" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "faces" / name).write_bytes(b"x")
    (found,) = refused(lambda: read(tmp_path, 'images("faces/")', network))
    assert (found.code, found.span.text) == ("A1013", 'images("faces/")')
    assert ".jpeg, .jpg, .pgm, .png" in found.help
    assert says in found.help


def test_nothing_is_left_of_broken_images(tmp_path):
    for file in faces(tmp_path / "faces", 3).iterdir():
        cut(file)
    (found,) = refused(lambda: read(tmp_path, 'images("faces/", corrupt="skip")'))
    assert (found.code, found.message[:15], "skip" in found.help) == ("A1015", "3 of 3 files ca", False)
