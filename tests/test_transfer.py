"""The page on transfer learning, run as it stands on real images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

PAGE = (Path(__file__).parent.parent / "docs" / "transfer.md").read_text(encoding="utf-8")
SPECS = dict(re.findall(r"^<!-- file: (\S+) -->\n```arch[^\n]*\n(.*?)^```$", PAGE, re.M | re.S))
STRATEGIES = ("head", "everything", "steps")
MARGIN = 0.05  # of accuracy on examples that no one has learned from


def write(folder: Path, classes: range, most: int) -> None:
    """Handwritten digits as PNG files, a folder a class."""
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    for digit in classes:
        (folder / str(digit)).mkdir(parents=True)
        for number, image in enumerate(bunch.images[bunch.target == digit][:most]):
            pixels = Image.fromarray((image * 255 / 16).astype(np.uint8), "L").resize((16, 16))
            pixels.save(folder / str(digit) / f"{number:03}.png")


@pytest.mark.slow
def test_transfer_beats_the_beginning(run, tmp_path):
    write(tmp_path / "many", range(7), 90)
    write(tmp_path / "few", range(7, 10), 150)
    network = SPECS["source.arch"].partition("train ")[0]
    for name, text in SPECS.items():
        (tmp_path / name).write_text(text if name == "source.arch" else network + text)
    reports = {}
    for name in ("source", "scratch", *STRATEGIES):
        done = run("train", f"{name}.arch", "-o", name, "--quiet", "--device", "cpu")
        assert done.code == 0, done.err
        reports[name] = json.loads((tmp_path / name / "report.json").read_text())
    accuracy = {name: report["metrics"]["test"]["accuracy"] for name, report in reports.items()}
    assert reports["scratch"]["examples"]["train"] == reports["head"]["examples"]["train"] == 45
    assert accuracy["head"] >= accuracy["scratch"] - 0.03, accuracy
    for name in ("everything", "steps"):
        assert accuracy[name] >= accuracy["scratch"] + MARGIN, accuracy
    source, head = (load_file(tmp_path / name / "best.safetensors") for name in ("source", "head"))
    assert all(torch.equal(head[key], source[key]) for key in source if not key.startswith("fc."))
    assert head["fc.weight"].shape == (3, 32)
    (phase,) = reports["head"]["phases"]
    assert (phase["learning"], phase["rates"]) == (99, [[0.02, 99]])
    assert reports["everything"]["phases"][0]["rates"] == [[0.001, 14128], [0.02, 99]]
    told = reports["steps"]["phases"]
    assert [p["name"] for p in told] == ["head", "top", "all"]
    assert told[1]["rates"] == [[0.001, 9280], [0.005, 99]]
    assert [rate for rate, _ in told[2]["rates"]] == [0.0001, 0.001, 0.0003]
    assert run("eval", "steps.arch", "-w", "steps", "--device", "cpu").code == 0
    assert run("predict", "steps.arch", "few/7/000.png", "-w", "steps").code == 0
