"""Time from the text of a spec to a module that is ready, against the time that torchvision takes to construct its own.

Initialisation is left out on both sides: tensors are made on the meta device, where filling them costs nothing.
Everything else counts: reading, elaborating, writing the source, compiling and running it. Usage:

    python benchmarks/build_speed.py [--rounds 9]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import torch
from archlang.compiler.frontend import compile_program
from archlang.compiler.source import Source
from archlang.runtime.module import build
from networks import in_turn
from oracles import ORACLES

NETWORKS = {"ResNet-152": "cnn/resnet:ResNet152", "EfficientNet-B7": "cnn/efficientnet:EfficientNetB7"}
SPECS = Path(str(resources.files("archlang.specs")))


def ours(target: str) -> Callable[[], None]:
    """From text to module."""
    file, _, name = target.partition(":")
    path = SPECS / f"{file}.arch"
    text = path.read_text(encoding="utf-8")

    def run() -> None:
        with torch.device("meta"):
            build(compile_program(Source(text, path.name), name, base=path.parent))

    return run


def theirs(target: str) -> Callable[[], None]:
    """torchvision's constructor."""

    def run() -> None:
        with torch.device("meta"):
            ORACLES[target].make()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    for name, target in NETWORKS.items():
        a, b = in_turn([ours(target), theirs(target)], options.rounds)
        print(f"{name:16} text to module {a * 1e3:7.1f} ms   torchvision {b * 1e3:7.1f} ms   ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
