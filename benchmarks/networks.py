"""The five networks that benchmarks compare with torchvision's, and how two modules are timed against each other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oracles import ORACLES

NETWORKS = {
    "ResNet-50": "cnn/resnet:ResNet50",
    "DenseNet-121": "cnn/densenet:DenseNet121",
    "EfficientNet-B0": "cnn/efficientnet:EfficientNetB0",
    "ConvNeXt-T": "cnn/convnext:ConvNeXtTiny",
    "MobileNet v2": "cnn/mobilenet_v2:MobileNetV2_100",
}


def reference(name: str):
    """torchvision's module, with fresh weights."""
    return ORACLES[NETWORKS[name]].make()


def in_turn(jobs: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """The median time of each job, in seconds. They take turns, so that what else the machine does hits all of them."""
    times: list[list[float]] = [[] for _ in jobs]
    for job in jobs:
        job()
    for _ in range(rounds):
        for job, found in zip(jobs, times, strict=True):
            start = perf_counter()
            job()
            found.append(perf_counter() - start)
    return [median(found) for found in times]
