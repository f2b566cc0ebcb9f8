"""The least sizes of inputs: one question a network, which agrees with what PyTorch's own layers refuse."""

from __future__ import annotations

import pytest
import torch
from archlang.compiler.emit.least import least
from archlang.compiler.ops.base import Check
from archlang.compiler.sizes import symbol
from archlang.runtime.module import build
from emit_harness import compiled, lint

DEEP = """
block Halve(out: int) {
  input x: [B, C, H, W]
  output x -> conv(out, kernel=5) -> relu -> maxpool(2)
}
network Deep {
  input image: [B, 3, H~64, W~64]
  output image -> Halve(4) -> Halve(6) -> conv(2, kernel=(3, 2))
}
"""


def test_one_question_stands_for_those_of_all_layers():
    net = build(compiled(DEEP)).eval()
    assert net.source.count("torch._check(") == 1 and "shape" not in net.source.partition("class Deep")[0]
    assert lint(net.source) == ""
    layers = [net.halve1.conv1, torch.nn.MaxPool2d(2), net.halve2.conv1, torch.nn.MaxPool2d(2), net.conv1]
    for height in range(15, 30):
        for width in (18, 19, 20, 21, 40):
            x = torch.zeros(1, 3, height, width)
            try:
                y = x
                for layer in layers:
                    y = layer(y)
            except RuntimeError:
                with pytest.raises(RuntimeError, match=r"`image` must be at least 24 x 20 \(net\.arch:\d+\)"):
                    net(x)
            else:
                assert net(x).shape == y.shape


def test_what_only_losses_need_is_asked_by_the_objective():
    text = """
    block Wide { input x: [B, C, H, W]  output x -> conv(2, kernel=9) -> global_avgpool -> flatten }
    network Aside {
      input image: [B, 3, H, W]
      target label: int[B]
      x = image -> conv(4, kernel=3)
      output logits = x -> global_avgpool -> flatten -> linear(2)
      loss nll = (logits, label) -> cross_entropy
      loss aux = (x -> Wide, label) -> cross_entropy
    }
    """
    net, label = build(compiled(text)), torch.tensor([0, 1])
    assert net(torch.zeros(2, 3, 3, 3)).shape == (2, 2)
    with pytest.raises(RuntimeError, match="`image` must be at least 11 x 11"):
        net.objective(torch.zeros(2, 3, 10, 11), label)
    assert list(net.objective(torch.zeros(2, 3, 11, 11), label)[1]) == ["nll", "aux"]


def test_what_is_no_plain_least_size_stays_as_it_is():
    h, w = symbol("H"), symbol("W")
    assert least(Check("at_least", (h + 1) // 16 - 3, 1, "")) == ("H", 63)
    assert least(Check("at_least", h * h, 17, "")) == ("H", 5)
    for check in (
        Check("at_least", h - w, 1, ""),
        Check("at_least", -h + 9, 1, ""),
        Check("at_least", h * (h // 4 - 9), 1, ""),
        Check("at_least", 12 // h, 1, ""),
        Check("at_least", h - 2**40, 1, ""),
        Check("divides", h, 2, ""),
    ):
        assert least(check) is None


def test_sizes_of_several_inputs_are_asked_one_by_one():
    text = """
    network Two {
      input a: [B, T, 4]
      input b: [B, 3, H, W]
      output a -> rearrange("b t d -> b d t") -> conv(2, kernel=7)
      output b -> conv(2, kernel=3)
    }
    """
    net = build(compiled(text))
    net(torch.zeros(1, 7, 4), torch.zeros(1, 3, 3, 3))
    with pytest.raises(RuntimeError, match="`a` must be at least 7 along T"):
        net(torch.zeros(1, 6, 4), torch.zeros(1, 3, 3, 3))
    with pytest.raises(RuntimeError, match="`b` must be at least 3 x 3"):
        net(torch.zeros(1, 7, 4), torch.zeros(1, 3, 3, 2))
