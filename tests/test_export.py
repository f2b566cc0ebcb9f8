"""Exported files run without archlang and say what the module says."""

from __future__ import annotations

import sys
from pathlib import Path

import archlang
import numpy as np
import pytest
import torch
from archlang.compiler.diagnostics import ArchError
from archlang.runtime.checkpoint import save_weights
from parity import fill

NET = """
network Net(classes: int = 3) {
  input image: [B, 3, H~16, W~16]
  x = image -> c1: conv(8, kernel=3, stride=2, pad=1, bias=false) -> batchnorm -> relu -> dropout(0.5)
  output logits = x -> skip { conv(8, kernel=1) -> batchnorm } -> global_avgpool -> flatten -> head: linear(classes)
}
"""


def network() -> tuple[archlang.Compiled, torch.nn.Module]:
    """A small network whose norms have seen something."""
    compiled = archlang.compile(NET)
    module = compiled.module()
    fill(module)
    return compiled, module.eval()


def saved(module: torch.nn.Module, folder: Path) -> Path:
    save_weights(module, folder / "w.safetensors")
    return folder / "w.safetensors"


SHAPES = [(1, 3, 16, 16), (5, 3, 16, 16), (2, 3, 31, 20)]


@pytest.mark.slow
def test_onnx(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    compiled, module = network()
    path = tmp_path / "out" / "net.onnx"
    assert compiled.export(path, weights=saved(module, tmp_path)) == {}
    session = onnxruntime.InferenceSession(path)
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("image", ["B", 3, "H", "W"])
    assert (result.name, result.shape) == ("logits", ["B", 3])
    assert [p.name for p in path.parent.iterdir()] == ["net.onnx"]
    for shape in SHAPES:
        x = torch.randn(shape)
        (found,) = session.run(None, {"image": x.numpy()})
        np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_archive(tmp_path: Path) -> None:
    compiled, module = network()
    assert compiled.export(tmp_path / "net.pt2", weights=saved(module, tmp_path)) == {}
    loaded = torch.export.load(tmp_path / "net.pt2").module()
    for shape in SHAPES:
        x = torch.randn(shape)
        torch.testing.assert_close(loaded(x), module(x), rtol=1e-4, atol=1e-5)


def test_another_ending(tmp_path: Path) -> None:
    with pytest.raises(ArchError, match="does not say which format") as caught:
        archlang.compile(NET).export(tmp_path / "net.tflite")
    assert [d.code for d in caught.value.diagnostics] == ["A1238"]


def test_packages_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ArchError, match="needs the package `onnx`") as caught:
        archlang.compile(NET).export(tmp_path / "net.onnx")
    assert [d.code for d in caught.value.diagnostics] == ["A1236"]
    assert not list(tmp_path.iterdir())


DEPENDS = "network Net { input x: [B, D=4]  output x -> linear(2) }"


def test_what_torch_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no translation\nfor this")

    monkeypatch.setattr(torch.export, "export", refuse)
    with pytest.raises(ArchError, match=r"torch\.export: no translation") as caught:
        archlang.compile(DEPENDS).export(tmp_path / "net.pt2")
    assert [d.code for d in caught.value.diagnostics] == ["A1237"]
    assert not list(tmp_path.iterdir())
