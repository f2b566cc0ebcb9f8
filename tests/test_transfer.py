"""The page on transfer learning, run as it stands on real images."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

PAGE = (Path(__file__).parent.parent / "docs" / "transfer.md").read_text(encoding="utf-8")
SPECS = dict(re.findall(r"^<!-- file: (\S+) -->\n```arch[^\n]*\n(.*?)^```$", PAGE, re.M | re.S))
STRATEGIES = ("head", "everything", "steps")
MARGIN = 0.1  # of accuracy on examples that no one has learned from


TURNS = {"": np.array, "_turned": np.rot90, "_mirrored": np.fliplr}


def write(folder: Path, classes: range, most: int, turns: tuple[str, ...]) -> None:
    """Handwritten digits as PNG files, a folder for each class and way to turn it."""
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    for digit, turn in product(classes, turns):
        place = folder / f"{digit}{turn}"
        place.mkdir(parents=True)
        for number, image in enumerate(bunch.images[bunch.target == digit][:most]):
            pixels = np.ascontiguousarray(TURNS[turn](image * 255 / 16)).astype(np.uint8)
            Image.fromarray(pixels, "L").resize((16, 16)).save(place / f"{number:03}.png")


@pytest.mark.slow
def test_transfer_beats_the_beginning(run, tmp_path):
    write(tmp_path / "many", range(7), 60, tuple(TURNS))
    write(tmp_path / "few", range(7, 10), 100, ("",))
    network = SPECS["source.arch"].partition("train ")[0]
    for name, text in SPECS.items():
        (tmp_path / name).write_text(text if name == "source.arch" else network + text)
    reports = {}
    for name in ("source", "scratch", *STRATEGIES):
        done = run("train", f"{name}.arch", "-o", name, "--quiet", "--device", "cpu")
        assert done.code == 0, done.err
        reports[name] = json.loads((tmp_path / name / "report.json").read_text())
    accuracy = {name: report["metrics"]["test"]["accuracy"] for name, report in reports.items()}
    assert reports["scratch"]["examples"]["train"] == reports["head"]["examples"]["train"] == 15
    for name in STRATEGIES:
        assert accuracy[name] >= accuracy["scratch"] + MARGIN, accuracy
    source, head = (load_file(tmp_path / name / "best.safetensors") for name in ("source", "head"))
    assert all(torch.equal(head[key], source[key]) for key in source if not key.startswith("fc."))
    assert head["fc.weight"].shape == (3, 64)
    (phase,) = reports["head"]["phases"]
    assert (phase["learning"], phase["rates"]) == (195, [[0.02, 195]])
    assert reports["everything"]["phases"][0]["rates"] == [[0.0002, 23408], [0.02, 195]]
    told = reports["steps"]["phases"]
    assert [p["name"] for p in told] == ["head", "top", "all"]
    assert told[1]["rates"] == [[0.0002, 18560], [0.002, 195]]
    assert [rate for rate, _ in told[2]["rates"]] == [2e-05, 0.0002, 5e-05]
    assert run("eval", "steps.arch", "-w", "steps", "--device", "cpu").code == 0
    assert run("predict", "steps.arch", "few/7/000.png", "-w", "steps").code == 0
