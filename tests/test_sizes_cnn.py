"""One compiled module serves every size that the reference implementation serves, and refuses the same ones."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path

import archlang
import pytest
import torch
from archlang.runtime.module import build
from oracles import ORACLES
from parity import difference, families, fill, on_meta
from torch import Tensor, nn

ROOT = Path(str(resources.files("archlang.specs")))
CHANNELS = 3
AMPLE = 100
"""Every family serves images of this size."""


@cache
def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """Ours and theirs, with the same weights, in evaluation."""
    theirs = on_meta(ORACLES[name]).to_empty(device="cpu")
    fill(theirs)
    with torch.device("meta"):
        ours = build(archlang.compile(name).program)
    ours.load_state_dict(theirs.state_dict(), assign=True)
    return ours.eval(), theirs.eval()


@cache
def smallest(name: str) -> int:
    """The smallest height that the reference serves, by bisection."""
    _, theirs = pair(name)
    refused, served = 0, AMPLE
    while served - refused > 1:
        middle = (refused + served) // 2
        if serves(theirs, middle):
            served = middle
        else:
            refused = middle
    return served


def serves(module: nn.Module, height: int) -> bool:
    try:
        run(module, height, AMPLE)
    except RuntimeError:
        return False
    return True


def run(module: nn.Module, height: int, width: int) -> Tensor:
    image = torch.randn((1, CHANNELS, height, width), generator=torch.Generator().manual_seed(height))
    with torch.no_grad():
        return module(image)


@pytest.mark.slow
@pytest.mark.parametrize("name", families())
def test_one_module_serves_every_size(name: str) -> None:
    ours, theirs = pair(name)
    least = smallest(name)
    for height, width in [(least, AMPLE), (AMPLE, least), (97, 97), (101, 128), (160, 99)]:
        assert difference(run(ours, height, width), run(theirs, height, width)) <= 1e-4, (height, width)


@pytest.mark.slow
@pytest.mark.parametrize("name", families())
def test_a_size_too_small_is_refused_where_the_reference_fails(name: str) -> None:
    ours, _ = pair(name)
    height = smallest(name) - 1
    if height == 0:
        return
    for size in [(height, AMPLE), (AMPLE, height)]:
        with pytest.raises(RuntimeError, match=r"must be at least .*\(.*\.arch:\d+\)"):
            run(ours, *size)


@pytest.mark.slow
@pytest.mark.parametrize("name", families())
def test_a_size_that_the_spec_states_is_judged_when_it_is_compiled(name: str, tmp_path: Path) -> None:
    path, _, network = name.partition(":")
    text = (ROOT / f"{path}.arch").read_text(encoding="utf-8")
    file = tmp_path / "fixed.arch"
    for height in (smallest(name), smallest(name) - 1):
        if height == 0:
            return
        fixed = re.sub(r"H~\w+, W~\w+", f"H={height}, W={AMPLE}", text)
        assert fixed != text
        file.write_text(re.sub(r"^ *(expect|loss aux).*\n", "", fixed, flags=re.MULTILINE), encoding="utf-8")
        if height == smallest(name):
            archlang.compile(f"{file}:{network}")
            continue
        with pytest.raises(archlang.ArchError) as refusal:
            archlang.compile(f"{file}:{network}")
        (diagnostic,) = refusal.value.diagnostics
        assert diagnostic.code == "A0312"
        assert "axis `H`" in diagnostic.message


def test_an_auxiliary_head_may_need_a_larger_image_than_the_network() -> None:
    with torch.device("meta"):
        net = build(archlang.compile("cnn/inception_v3:InceptionV3").program)
        image, label = torch.empty((2, 3, 298, 299)), torch.zeros((2,), dtype=torch.long)
        assert net(image).shape == (2, 1000)
        with pytest.raises(RuntimeError, match="`image` must be at least 299 x 299"):
            net.objective(image, label)
        outputs, losses = net.objective(torch.empty((2, 3, 299, 299)), label)
    assert outputs.shape == (2, 1000)
    assert losses.keys() == {"nll", "aux"}
