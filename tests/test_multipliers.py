"""Width, depth and resolution multipliers make the networks that the references' factories make."""

from __future__ import annotations

from typing import Any

import archlang
import pytest
import torch
from archlang.compiler.graph import Program
from archlang.runtime.module import build
from oracles import library
from parity import nominal_input
from torch import nn

WIDTHS = (0.1, 0.35, 0.75, 1.3)
DEPTHS = (0.5, 1.3)
FAMILIES = {
    "cnn/mobilenet_v2:MobileNetV2": "mobilenet_v2",
    "cnn/mobilenet_v3:MobileNetV3Large": "mobilenet_v3_large",
    "cnn/mobilenet_v3:MobileNetV3Small": "mobilenet_v3_small",
}


def compiled(name: str, **parameters: Any) -> Program:
    return archlang.compile(name, parameters=parameters).program


def ours(name: str, **parameters: Any) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return shapes(build(compiled(name, **parameters)))


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in module.state_dict().items()}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", FAMILIES)
def test_width_of_mobilenet_v2_and_v3(name: str, width: float) -> None:
    with torch.device("meta"):
        theirs = getattr(library("torchvision").models, FAMILIES[name])(width_mult=width)
    assert ours(name, width=width) == shapes(theirs)


@pytest.mark.parametrize("width", WIDTHS)
def test_width_of_mobilenet_v1(width: float) -> None:
    make = library("timm").models.efficientnet._gen_mobilenet_v1
    with torch.device("meta"):
        theirs = make("mobilenetv1_100", channel_multiplier=width)
    assert ours("cnn/mobilenet_v1:MobileNetV1", width=width) == shapes(theirs)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("width", (0.25, 1.1))
def test_width_and_depth_of_efficientnet(width: float, depth: float) -> None:
    module = library("torchvision").models.efficientnet
    table, last = module._efficientnet_conf("efficientnet_b0", width_mult=width, depth_mult=depth)
    with torch.device("meta"):
        theirs = module.EfficientNet(table, dropout=0.2, last_channel=last)
    assert ours("cnn/efficientnet:EfficientNet", width=width, depth=depth) == shapes(theirs)


@pytest.mark.parametrize(
    ("name", "resolution", "side"),
    [("cnn/mobilenet_v1:MobileNetV1", 0.572, 128), ("cnn/efficientnet:EfficientNet", 600, 600)],
)
def test_resolution_is_the_nominal_size(name: str, resolution: float, side: int) -> None:
    assert nominal_input(compiled(name, resolution=resolution))[2:] == (side, side)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cnn/mobilenet_v1:MobileNetV1", {"width": 0.0}),
        ("cnn/mobilenet_v1:MobileNetV1", {"resolution": 0.0}),
        ("cnn/mobilenet_v2:MobileNetV2", {"width": -1.0}),
        ("cnn/mobilenet_v3:MobileNetV3Large", {"width": 0.0}),
        ("cnn/efficientnet:EfficientNet", {"width": 0.0}),
        ("cnn/efficientnet:EfficientNet", {"depth": 0.0}),
        ("cnn/efficientnet:EfficientNet", {"depth": -0.5}),
        ("cnn/efficientnet:EfficientNet", {"resolution": 0}),
    ],
)
def test_multipliers_that_leave_nothing_are_refused(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(archlang.ArchError):
        compiled(name, **parameters)
