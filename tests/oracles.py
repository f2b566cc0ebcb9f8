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


@dataclass(frozen=True)
class Oracle:
    """make: the reference network, in whatever state. size: height and width of the input that parity is measured on.
    still: our parameters that silence what is random. losses: their objective from their outputs in training."""

    make: Callable[[], nn.Module]
    size: int = 64
    still: Mapping[str, Any] = field(default_factory=dict)
    losses: Callable[[Any, Tensor], dict[str, Tensor]] = first
    source: str = "torchvision"


def _torchvision(name: str, **settings: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(library("torchvision").models, name)(weights=None, **settings)


def _resnet(name: str) -> Oracle:
    return Oracle(_torchvision(name))


ORACLES: dict[str, Oracle] = {
    "cnn/resnet:ResNet18": _resnet("resnet18"),
    "cnn/resnet:ResNet34": _resnet("resnet34"),
    "cnn/resnet:ResNet50": _resnet("resnet50"),
    "cnn/resnet:ResNet101": _resnet("resnet101"),
    "cnn/resnet:ResNet152": _resnet("resnet152"),
    "cnn/resnet:ResNeXt50_32x4d": _resnet("resnext50_32x4d"),
    "cnn/resnet:ResNeXt101_32x8d": _resnet("resnext101_32x8d"),
    "cnn/resnet:ResNeXt101_64x4d": _resnet("resnext101_64x4d"),
    "cnn/resnet:WideResNet50_2": _resnet("wide_resnet50_2"),
    "cnn/resnet:WideResNet101_2": _resnet("wide_resnet101_2"),
}
