"""Parameters of the specs: every legal value makes the network that the reference makes of it, every illegal one is
told with a code and a place."""

from __future__ import annotations

from typing import Any

import archlang
import pytest
import torch
from archlang.compiler.diagnostics import ArchError
from archlang.compiler.elaborate import limits
from archlang.runtime.module import build
from oracles import ORACLES, Oracle, library
from parity import families, on_meta

# Legal values of our parameters, with what the reference calls them.
LEGAL: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *((name, {"classes": n}, {"num_classes": n}) for name in families() for n in (1, 37)),
    *(
        (
            "cnn/densenet:DenseNet121",
            {"growth": growth, "stem": stem, "layers": layers, "classes": 10},
            {"growth_rate": growth, "num_init_features": stem, "block_config": layers, "num_classes": 10},
        )
        for growth, stem, layers in [(1, 1, [1, 1]), (7, 13, [2, 1, 3]), (48, 96, [4])]
    ),
    *(
        ("cnn/mobilenet_v2:MobileNetV2_100", {"width": w, "classes": 10}, {"width_mult": w, "num_classes": 10})
        for w in (0.05, 0.35, 0.77, 2.5)
    ),
]
REFUSED: list[tuple[str, dict[str, Any]]] = [
    *((name, {"classes": classes}) for name in families() for classes in (0, -1, 2**31, 1.5, "ten")),
    *(
        (name, {"dropout": p})
        for name in families()
        if "dropout" in ORACLES[name].still
        for p in (-0.1, 1.1, float("nan"))
    ),
    *(("cnn/densenet:DenseNet121", {key: n}) for key in ("growth", "stem") for n in (0, -3, 2**31)),
    ("cnn/densenet:DenseNet121", {"layers": 3}),
    ("cnn/densenet:DenseNet121", {"layers": [6, 12.5]}),
    ("cnn/vgg:VGG11", {"layers": [-1]}),
    ("cnn/resnet:ResNet18", {"layers": [2, 0, 2, 2]}),
    ("cnn/squeezenet:SqueezeNet1_0", {"stem": [96]}),
    ("cnn/squeezenet:SqueezeNet1_0", {"stages": [[[16, 0]]]}),
    ("cnn/googlenet:GoogLeNet", {"dropout_aux": 2.0}),
    *(
        (name, {"width": width})
        for name in (
            "cnn/mobilenet_v2:MobileNetV2_100",
            "cnn/mobilenet_v3:MobileNetV3Large",
            "cnn/efficientnet:EfficientNetB0",
        )
        for width in (0.0, -1.0, 1e12, float("inf"))
    ),
]


def shapes(module: torch.nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in module.state_dict().items()}


@pytest.mark.parametrize(("name", "ours", "theirs"), LEGAL, ids=str)
def test_a_legal_value_makes_what_the_reference_makes_of_it(
    name: str, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    oracle = Oracle(library("torchvision").models.DenseNet) if "growth" in ours else ORACLES[name]
    with torch.device("meta"):
        made = build(archlang.compile(name, parameters=ours).program)
    assert shapes(made) == shapes(on_meta(oracle, **theirs))


@pytest.mark.parametrize(("name", "parameters"), REFUSED, ids=str)
def test_an_illegal_value_is_told_with_a_place(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(archlang.ArchError) as refusal:
        archlang.compile(name, parameters=parameters)
    for diagnostic in refusal.value.diagnostics:
        assert diagnostic.code.startswith("A")
        assert diagnostic.message


def test_a_network_of_too_many_different_blocks_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "BLOCKS", 20)
    archlang.compile("cnn/densenet:DenseNet121", layers=[19])
    with pytest.raises(ArchError) as caught:
        archlang.compile("cnn/densenet:DenseNet121", layers=[30])
    assert [d.code for d in caught.value.diagnostics] == ["A0801"]
