"""Modules whose parameters are left unfilled, for a caller who overwrites them all, and what may overwrite them."""

from __future__ import annotations

import math
from pathlib import Path

import archlang
import pytest
import torch
from archlang.compiler.diagnostics import ArchError
from archlang.runtime.checkpoint import save_tensors
from archlang.runtime.module import build
from safetensors.torch import save_file
from torch import nn

EVERY_START = """
network N {
  input x: [B, 3, H~32, W~32]
  const mask: [h=4, w=4] = h + w
  buffer scale: [c=8] = c + 1
  param shift: [8, 1, 1] = trunc_normal(0, 0.5)
  init conv.weight = kaiming_normal(mode="fan_out")
  init linear.weight = orthogonal
  y = x -> conv1: conv(8, kernel=3, init=trunc_normal(0, 0.02)) -> bn: batchnorm -> conv2: conv(8, kernel=3)
  output y + shift + (mask -> sum) -> global_avgpool -> flatten -> fc: linear(10, bias_init=normal(0, 1))
}
"""


def test_a_module_with_nothing_filled_draws_no_random_numbers_and_keeps_its_buffers() -> None:
    program = archlang.compile("resnet:ResNet18").program
    before = torch.get_rng_state()
    module = build(program, started=False)
    assert torch.equal(before, torch.get_rng_state())
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(torch.equal(m.running_var, torch.ones(m.num_features)) for m in norms)
    assert not torch.equal(before, (build(program), torch.get_rng_state())[1])


def test_what_is_loaded_into_an_unfilled_module_is_all_that_it_holds(tmp_path: Path) -> None:
    compiled = archlang.compile(EVERY_START)
    module = compiled.module().eval()
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    loaded = archlang.load(EVERY_START, weights=tmp_path / "w.safetensors").eval()
    mine, others = loaded.state_dict(), module.state_dict()
    assert mine.keys() == others.keys() and all(torch.equal(mine[key], others[key]) for key in mine)
    assert all(type(p) is nn.Parameter and p.requires_grad for p in loaded.parameters())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(x), module(x))
    torch.testing.assert_close(compiled.inference(weights=tmp_path / "w.safetensors")(x), module(x))


def test_modules_that_keep_fresh_weights_are_started(tmp_path: Path) -> None:
    source = "network N(n: int = 3) { input x: [B, 4]  output x -> a: linear(4) -> fc: linear(n, init=ones) }"
    save_file(archlang.load(source).state_dict(), tmp_path / "w.safetensors")
    loaded = archlang.load(source, n=5, weights=tmp_path / "w.safetensors", weights_except=["fc"])
    assert torch.equal(loaded.get_parameter("fc.weight"), torch.ones(5, 4))


def test_on_the_meta_device_nothing_is_filled() -> None:
    with torch.device("meta"):
        module = archlang.load("lenet5")
    assert {p.device.type for p in module.parameters()} == {"meta"}


NORMED = "network N {\n  input x: [B, C=4, T=3]\n  output y = x -> norm: batchnorm -> mean(axis=T) -> fc: linear(2) }"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("fc.weight", math.nan, "`fc.weight` holds 1 NaN among 8 numbers (and so on in 1 more)"),
        ("fc.weight", -math.inf, "`fc.weight` holds 1 infinite among 8 numbers (and"),
        ("norm.running_mean", math.nan, "`norm.running_mean` holds 1 NaN among 4 numbers (and"),
        ("norm.running_mean", math.inf, ""),  # as a mask may be
        ("norm.num_batches_tracked", 7, ""),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float8_e5m2])
def test_weights_that_are_not_finite(key, value, said, dtype, tmp_path):
    """Refused before anything of them is in the module, unless what holds them keeps fresh ones."""
    path = tmp_path / "net.safetensors"
    tensors = archlang.load(NORMED).state_dict()
    tensors[key].view(-1)[-1] = value
    tensors["fc.bias"][0] = math.nan if said else 1.0
    save_tensors({k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}, path)
    if not said:
        assert float(archlang.load(NORMED, weights=path).state_dict()[key].view(-1)[-1]) == value
        return
    with pytest.raises(ArchError) as caught:
        archlang.load(NORMED, weights=path)
    (found,) = caught.value.diagnostics
    assert (found.code, said in found.message) == ("A1086", True), found.message
    kept = archlang.load(NORMED, weights=path, weights_except=["fc", "norm"])
    assert all(bool(torch.isfinite(p).all()) for p in kept.parameters())
