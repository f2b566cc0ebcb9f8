"""The five networks that benchmarks compare with torchvision's, and how two modules are timed against each other."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oracles import ORACLES

NETWORKS = {
    "ResNet-50": "cnn/resnet:ResNet50",
    "DenseNet-121": "cnn/densenet:DenseNet121",
    "EfficientNet-B0": "cnn/efficientnet:EfficientNetB0",
    "ConvNeXt-T": "cnn/convnext:ConvNeXtTiny",
    "MobileNet v2": "cnn/mobilenet_v2:MobileNetV2_100",
}


def arguments(doc: str | None) -> argparse.Namespace:
    """What the command line asks for: networks, batch sizes, rounds, threads (set at once) and the device."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


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
