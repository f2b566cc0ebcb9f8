"""The reference implementations: which network of theirs each of our configurations equals.

They lie beside the environment (see tests/oracles.txt): `library("torchvision")` finds them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOLDER = Path(sys.prefix) / "oracles"
# torchvision's own build declares these when its compiled operators load, which a build of torch for the CPU can't load
SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared = torch.library.Library("torchvision", "FRAGMENT")


@cache
def library(name: str) -> ModuleType:
    """torchvision or timm, ready to be used."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    for operator, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, operator):
            _declared.define(operator + schema)
    return importlib.import_module(name)


def first(outputs: Any, target: Tensor) -> dict[str, Tensor]:
    """The objective of a network with one output: its cross-entropy."""
    return {"nll": F.cross_entropy(outputs, target)}


def auxiliary(*heads: str) -> Callable[[Any, Tensor], dict[str, Tensor]]:
    """The objective of a network whose further outputs in training are those of auxiliary heads."""

    def losses(outputs: Any, target: Tensor) -> dict[str, Tensor]:
        named = zip(("nll", *heads), outputs, strict=True)
        return {name: F.cross_entropy(output, target) for name, output in named}

    return losses


@dataclass(frozen=True)
class Oracle:
    """make: the reference network, in whatever state, perhaps with settings of its own. size: height and width of the
    input that parity is measured on. still: our parameters that silence what is random. losses: their objective from
    their outputs in training."""

    make: Callable[..., nn.Module]
    size: int = 64
    still: Mapping[str, Any] = field(default_factory=dict)
    losses: Callable[[Any, Tensor], dict[str, Tensor]] = first
    source: str = "torchvision"


def _torchvision(name: str, **settings: Any) -> Callable[..., nn.Module]:
    return lambda **more: getattr(library("torchvision").models, name)(weights=None, **settings, **more)


def _timm(name: str) -> Oracle:
    return Oracle(lambda **more: library("timm").create_model(name, **more), source="timm")


def _half_mobilenet_v1(**more: Any) -> nn.Module:
    """timm registers no network of half the width; this is what its registered ones are made by."""
    make = library("timm").models.efficientnet._gen_mobilenet_v1
    return make("mobilenetv1_100", channel_multiplier=0.5, **more)


def _quiet(name: str, **settings: Any) -> Oracle:
    """With a parameter `dropout` that can be set to 0."""
    return Oracle(_torchvision(name, **settings), still={"dropout": 0.0})


ORACLES: dict[str, Oracle] = {
    "cnn/resnet:ResNet18": Oracle(_torchvision("resnet18")),
    "cnn/resnet:ResNet34": Oracle(_torchvision("resnet34")),
    "cnn/resnet:ResNet50": Oracle(_torchvision("resnet50")),
    "cnn/resnet:ResNet101": Oracle(_torchvision("resnet101")),
    "cnn/resnet:ResNet152": Oracle(_torchvision("resnet152")),
    "cnn/resnet:ResNeXt50_32x4d": Oracle(_torchvision("resnext50_32x4d")),
    "cnn/resnet:ResNeXt101_32x8d": Oracle(_torchvision("resnext101_32x8d")),
    "cnn/resnet:ResNeXt101_64x4d": Oracle(_torchvision("resnext101_64x4d")),
    "cnn/resnet:WideResNet50_2": Oracle(_torchvision("wide_resnet50_2")),
    "cnn/resnet:WideResNet101_2": Oracle(_torchvision("wide_resnet101_2")),
    "cnn/alexnet:AlexNet": _quiet("alexnet"),
    "cnn/vgg:VGG11": _quiet("vgg11"),
    "cnn/vgg:VGG11BN": _quiet("vgg11_bn"),
    "cnn/vgg:VGG13": _quiet("vgg13"),
    "cnn/vgg:VGG13BN": _quiet("vgg13_bn"),
    "cnn/vgg:VGG16": _quiet("vgg16"),
    "cnn/vgg:VGG16BN": _quiet("vgg16_bn"),
    "cnn/vgg:VGG19": _quiet("vgg19"),
    "cnn/vgg:VGG19BN": _quiet("vgg19_bn"),
    "cnn/densenet:DenseNet121": _quiet("densenet121"),
    "cnn/densenet:DenseNet161": _quiet("densenet161"),
    "cnn/densenet:DenseNet169": _quiet("densenet169"),
    "cnn/densenet:DenseNet201": _quiet("densenet201"),
    "cnn/squeezenet:SqueezeNet1_0": _quiet("squeezenet1_0"),
    "cnn/squeezenet:SqueezeNet1_1": _quiet("squeezenet1_1"),
    "cnn/googlenet:GoogLeNet": Oracle(
        _torchvision("googlenet", aux_logits=True, init_weights=True),
        still={"dropout": 0.0, "dropout_aux": 0.0},
        losses=auxiliary("aux2", "aux1"),
    ),
    "cnn/inception_v3:InceptionV3": Oracle(
        _torchvision("inception_v3", init_weights=True), size=299, still={"dropout": 0.0}, losses=auxiliary("aux")
    ),
    "cnn/mobilenet_v1:MobileNetV1_100": _timm("mobilenetv1_100"),
    "cnn/mobilenet_v1:MobileNetV1_125": _timm("mobilenetv1_125"),
    "cnn/mobilenet_v1:MobileNetV1_050_160": Oracle(_half_mobilenet_v1, source="timm"),
    "cnn/mobilenet_v2:MobileNetV2_100": _quiet("mobilenet_v2"),
    "cnn/mobilenet_v2:MobileNetV2_140": _quiet("mobilenet_v2", width_mult=1.4),
    "cnn/mobilenet_v2:MobileNetV2_050": _quiet("mobilenet_v2", width_mult=0.5),
    "cnn/mobilenet_v3:MobileNetV3Large": _quiet("mobilenet_v3_large"),
    "cnn/mobilenet_v3:MobileNetV3Small": _quiet("mobilenet_v3_small"),
    "cnn/efficientnet:EfficientNetB0": Oracle(
        _torchvision("efficientnet_b0"), still={"dropout": 0.0, "drop_path": 0.0}
    ),
    "cnn/efficientnet:EfficientNetB1": Oracle(
        _torchvision("efficientnet_b1"), still={"dropout": 0.0, "drop_path": 0.0}
    ),
    "cnn/efficientnet:EfficientNetB2": Oracle(
        _torchvision("efficientnet_b2"), still={"dropout": 0.0, "drop_path": 0.0}
    ),
    "cnn/efficientnet:EfficientNetB3": Oracle(
        _torchvision("efficientnet_b3"), still={"dropout": 0.0, "drop_path": 0.0}
    ),
    "cnn/efficientnet:EfficientNetB4": Oracle(
        _torchvision("efficientnet_b4"), still={"dropout": 0.0, "drop_path": 0.0}
    ),
    "cnn/efficientnet:EfficientNetB5": Oracle(
        _torchvision("efficientnet_b5"), still={"dropout": 0.0, "drop_path": 0.0}
    ),
    "cnn/efficientnet:EfficientNetB6": Oracle(
        _torchvision("efficientnet_b6"), still={"dropout": 0.0, "drop_path": 0.0}
    ),
    "cnn/efficientnet:EfficientNetB7": Oracle(
        _torchvision("efficientnet_b7"), still={"dropout": 0.0, "drop_path": 0.0}
    ),
    "cnn/convnext:ConvNeXtTiny": Oracle(_torchvision("convnext_tiny"), still={"drop_path": 0.0}),
    "cnn/convnext:ConvNeXtSmall": Oracle(_torchvision("convnext_small"), still={"drop_path": 0.0}),
    "cnn/convnext:ConvNeXtBase": Oracle(_torchvision("convnext_base"), still={"drop_path": 0.0}),
    "cnn/convnext:ConvNeXtLarge": Oracle(_torchvision("convnext_large"), still={"drop_path": 0.0}),
}
