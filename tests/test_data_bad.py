"""Data that is broken, or does not fit: each case ends in one message that names the place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from archlang.runtime.data import load
from PIL import Image
from training_harness import PICTURES, classifier, compiled, picture_folder, refused, regressor

GOOD = "a,b,y\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(40))
TWO = classifier(2, 2)


def _file(name: str, content: str | bytes):
    def make(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def _npz(**arrays):
    return lambda folder: np.savez(folder / "d.npz", **arrays)


def _folder(change=lambda folder: None):
    def make(folder: Path) -> None:
        change(picture_folder(folder / "pics"))

    return make


def _empty_class(folder: Path) -> None:
    (folder / "grey").mkdir()


def _cut(folder: Path) -> None:
    whole = (folder / "dark" / "03.png").read_bytes()
    (folder / "dark" / "03.png").write_bytes(whole[: len(whole) // 2])


def _text(folder: Path) -> None:
    (folder / "light" / "extra.jpg").write_text("not a picture")


def _bare(folder: Path) -> None:
    folder.joinpath("pics").mkdir()


def _outside(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / "link").symlink_to("/usr")


CSV = 'csv("d.csv", target="y")'
NPZ = 'npz("d.npz")'
PICS = 'images("pics/")'
X, Y = np.zeros((40, 2), np.float32), np.arange(40) % 2
NAN = np.where(np.arange(80).reshape(40, 2) == 13, np.nan, 0.0)

CASES = [
    ("missing file", TWO, CSV, _bare, "A1010", ["d.csv"]),
    ("near name", TWO, 'csv("dd.csv", target="y")', _file("d.csv", GOOD), "A1010", ["did you mean `d.csv`"]),
    ("absolute path", TWO, 'csv("/etc/passwd", target="y")', _bare, "A1011", ["--data"]),
    ("path that leads out", TWO, 'csv("../../../d.csv", target="y")', _outside, "A1011", ["--data"]),
    ("link that leads out", TWO, 'csv("link/d.csv", target="y")', _outside, "A1011", ["out of the project"]),
    ("folder for a table", TWO, 'csv("pics", target="y")', _bare, "A1012", ["pics"]),
    ("empty table", TWO, CSV, _file("d.csv", ""), "A1029", ["empty"]),
    ("header only", TWO, CSV, _file("d.csv", "a,b,y\n"), "A1029", ["no rows"]),
    ("long row", TWO, CSV, _file("d.csv", GOOD.replace("9,2,1\n", "9,2,1,5\n", 1)), "A1016", ["line 11", "4 cells"]),
    ("short row", TWO, CSV, _file("d.csv", GOOD.replace("9,2,1\n", "9,2\n", 1)), "A1016", ["line 11", "2 cells"]),
    ("every row long", TWO, CSV, _file("d.csv", "a,b,y\n" + "1,2,3,1\n" * 9), "A1016", ["line 2", "4 cells"]),
    ("doubled column", TWO, CSV, _file("d.csv", "a,a,y\n1,2,3\n"), "A1016", ["two columns called `a`"]),
    ("not UTF-8", TWO, CSV, _file("d.csv", b"a,b,y\n\xff\xfe,1,2\n"), "A1016", ["d.csv"]),
    ("missing target", TWO, 'csv("d.csv", target="z")', _file("d.csv", GOOD), "A1017", ["`z`", "`a`, `b`, `y`"]),
    ("missing feature", TWO, 'csv("d.csv", target="y", features=["a", "bb"])', _file("d.csv", GOOD), "A1017", ["`bb`"]),
    ("hole", TWO, CSV, _file("d.csv", GOOD.replace("5,5,1", "5,,1")), "A1018", ["line 7", "`b`", "missing"]),
    ("NA", TWO, CSV, _file("d.csv", GOOD.replace("5,5,1", "NA,5,1", 1)), "A1018", ["line 7", "`a`"]),
    ("hole in the target", TWO, CSV, _file("d.csv", GOOD.replace("5,5,1\n", "5,5,\n")), "A1018", ["line 7", "`y`"]),
    ("word", TWO, CSV, _file("d.csv", GOOD.replace("5,5,1", "5,five,1", 1)), "A1019", ["line 7", "`b`", "`five`"]),
    ("infinity", TWO, CSV, _file("d.csv", GOOD.replace("5,5,1", "5,inf,1", 1)), "A1019", ["line 7", "`inf`"]),
    ("half a class", TWO, CSV, _file("d.csv", GOOD.replace("5,5,1\n", "5,5,1.5\n")), "A1019", ["line 7", "`1.5`"]),
    ("words for a number", regressor(2), CSV, _file("d.csv", "a,b,y\n1,2,x\n3,4,y\n"), "A1019", ["line 2", "`y`"]),
    ("too few columns", classifier(3, 2), CSV, _file("d.csv", GOOD), "A1023", ["[B, 3]", "[B, 2]"]),
    (
        "label out of range",
        TWO,
        CSV,
        _file("d.csv", GOOD.replace("39,4,1", "39,4,2")),
        "A1026",
        ["2 classes", "0 to 2"],
    ),
    (
        "labels from one",
        TWO,
        CSV,
        _file("d.csv", GOOD.replace(",1\n", ",2\n").replace(",0\n", ",1\n")),
        "A1026",
        ["from 0"],
    ),
    ("too few rows", TWO, CSV, _file("d.csv", "a,b,y\n1,2,0\n2,3,1\n"), "A1027", ["2 examples"]),
    ("no archive", TWO, NPZ, _file("d.npz", "nonsense"), "A1020", ["d.npz"]),
    ("cut archive", TWO, NPZ, _file("d.npz", b"PK\x03\x04abc"), "A1020", ["d.npz"]),
    ("objects", TWO, NPZ, _npz(x=np.array([{}, {}]), y=Y[:2]), "A1020", ["`x`"]),
    ("words", TWO, NPZ, _npz(x=np.array(["a", "b"]), y=Y[:2]), "A1020", ["not numbers"]),
    ("missing array", TWO, NPZ, _npz(x=X, z=Y), "A1021", ["`y`", "`z`"]),
    ("unequal lengths", TWO, NPZ, _npz(x=X, y=Y[:7]), "A1021", ["40 examples", "7"]),
    ("no axis", TWO, NPZ, _npz(x=X, y=np.array(3)), "A1021", ["single number"]),
    ("no examples", TWO, NPZ, _npz(x=X[:0], y=Y[:0]), "A1029", ["no examples"]),
    ("NaN", TWO, NPZ, _npz(x=NAN, y=Y), "A1022", ["`x[6, 1]`", "1 such"]),
    ("wrong shape", TWO, NPZ, _npz(x=np.zeros((40, 2, 2), np.float32), y=Y), "A1023", ["[B, 2, 2]"]),
    ("whole numbers in", TWO, NPZ, _npz(x=X.astype(int), y=Y), "A1024", ["whole numbers"]),
    ("numbers for classes", TWO, NPZ, _npz(x=X, y=Y.astype(float)), "A1024", ["target `y`"]),
    ("negative label", TWO, NPZ, _npz(x=X, y=Y - 1), "A1026", ["from -1"]),
    ("file for a folder", PICTURES, PICS, _file("pics", "x"), "A1012", ["pics"]),
    ("empty folder", PICTURES, PICS, _bare, "A1013", ["no images", ".jpeg, .jpg", "it is empty"]),
    ("class without images", PICTURES, PICS, _folder(_empty_class), "A1014", ['"grey"']),
    ("text for an image", PICTURES, PICS, _folder(_text), "A1015", ["light/extra.jpg"]),
    ("image cut short", PICTURES, PICS, _folder(_cut), "A1015", ["dark/03.png"]),
    ("size that differs", PICTURES, 'images("pics/", size=8)', _folder(), "A1023", ["[B, 3, 8, 8]", "size=16"]),
    ("digits in colour", PICTURES, "digits", _bare, "A1023", ["[B, 1, 16, 16]", "one channel"]),
    ("a table for images", PICTURES, "iris", _bare, "A1023", ["[B, 4]"]),
    ("classes for a number", regressor(4), "iris", _bare, "A1024", ["target `y`"]),
    ("too few scores", classifier(4, 2), "iris", _bare, "A1026", ["0 to 1", "3 classes"]),
]


@pytest.mark.parametrize(("network", "data", "make", "code", "says"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_bad_data(network, data, make, code, says, tmp_path):
    (tmp_path / "project").mkdir()
    make(tmp_path / "project")
    program, plan = compiled(network, data, "workers 0", tmp_path / "project")
    (found,) = refused(lambda: _read_all(program, plan))
    assert found.code == code
    assert found.span.text == data
    told = f"{found.message} {found.help}"
    assert [s for s in says if s not in told] == []
    assert "Traceback" not in told
    json.dumps(found.as_json())


def _read_all(program, plan) -> None:
    """Loads the data, and looks at every picture as training would."""
    import torch
    from archlang.runtime.data.feed import Feed

    data, parts, _ = load(program, plan)
    for name in ("train", "validation", "test"):
        for _ in Feed(data, parts.part(name), 8, torch.device("cpu"), span=plan.place("data")).epoch(0):
            pass


def test_data_for_several_inputs(tmp_path):
    network = """network Net { input a: [B, 4]  input b: [B, 4]  target y: int[B]
      out = a + b -> linear(3)  output out  loss fit = (out, y) -> cross_entropy }"""
    program, plan = compiled(network, "iris", "", tmp_path)
    (found,) = refused(lambda: load(program, plan))
    assert (found.code, "2 inputs" in found.message) == ("A1025", True)


def test_rows_have_nothing_to_shift(tmp_path):
    program, plan = compiled(classifier(), "iris", "augment flip", tmp_path)
    (found,) = refused(lambda: load(program, plan))
    assert (found.code, found.span.text) == ("A1031", "flip")


def test_two_disagreements_are_shown_together(tmp_path):
    program, plan = compiled(regressor(7), "iris", "", tmp_path)
    assert [d.code for d in refused(lambda: load(program, plan))] == ["A1024", "A1023"] or [
        d.code for d in refused(lambda: load(program, plan))
    ] == ["A1023", "A1024"]


def test_fewer_classes_than_scores_is_a_warning(tmp_path):
    program, plan = compiled(classifier(4, 7), "iris", "", tmp_path)
    _, _, notes = load(program, plan)
    assert [(n.code, str(n.severity)) for n in notes] == [("A1030", "warning")]


def test_a_path_from_the_user_may_lie_anywhere(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "d.csv").write_text(GOOD)
    (tmp_path / "near").mkdir()
    program, plan = compiled(TWO, CSV, "", tmp_path / "near")
    data, _, _ = load(program, plan, tmp_path / "far" / "d.csv")
    assert data.size == 40
    assert refused(lambda: load(program, plan, tmp_path / "gone.csv"))[0].code == "A1010"
    program, plan = compiled(classifier(), "iris", "", tmp_path / "near")
    assert refused(lambda: load(program, plan, tmp_path / "far" / "d.csv"))[0].code == "A1010"


def test_image_bomb_is_refused(tmp_path, monkeypatch):
    picture_folder(tmp_path / "pics")
    Image.new("L", (3000, 3000)).save(tmp_path / "pics" / "dark" / "zz.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    program, plan = compiled(PICTURES, PICS, "", tmp_path)
    (found,) = refused(lambda: load(program, plan))
    assert (found.code, "dark/zz.png" in found.message) == ("A1015", True)
