"""Time from the text of a spec to a module that is ready, against the time that torchvision takes to construct its own.

Three readings, each the least CPU time of both sides taken in turn:

    without / as called   ours leaves its parameters unfilled, as `archlang.load(…, weights=…)` does, which overwrites
                          them; torchvision's constructor is called as users call it, and fills its parameters
    neither (meta)        both on the meta device, where there is nothing to fill
    both                  both fill their parameters

Ours is everything from reading the text to the module: parsing, elaborating, writing source, compiling and running it.

    python benchmarks/build_speed.py [--rounds 5]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from importlib import resources
from pathlib import Path
from time import process_time

import torch
from archlang.compiler.frontend import compile_program
from archlang.compiler.source import Source
from archlang.runtime.module import build
from networks import ORACLES

NETWORKS = {"ResNet-152": "cnn/resnet:ResNet152", "EfficientNet-B7": "cnn/efficientnet:EfficientNetB7"}
SPECS = Path(str(resources.files("archlang.specs")))
READINGS = {
    "without / as called": (False, False),
    "neither (meta)": (True, True),
    "both": (True, False),
}
"""Is ours filled where there is something to fill; is the device meta."""


def ours(target: str, *, started: bool) -> None:
    """From text to module."""
    file, _, name = target.partition(":")
    path = SPECS / f"{file}.arch"
    build(compile_program(Source(path.read_text(encoding="utf-8"), path.name), name, base=path.parent), started=started)


def seconds(job: Callable[[], object], *, meta: bool) -> float:
    """CPU time of one call."""
    with torch.device("meta") if meta else nullcontext():
        start = process_time()
        job()
        return process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, target in NETWORKS.items():
        for reading, (started, meta) in READINGS.items():
            jobs = (lambda t=target, s=started: ours(t, started=s)), ORACLES[target].make
            times = [[seconds(job, meta=meta) for job in jobs] for _ in range(options.rounds + 1)]
            a, b = (min(found) for found in zip(*times[1:], strict=True))
            print(f"{name:16} {reading:20} ours {a * 1e3:7.1f} ms   torchvision {b * 1e3:7.1f} ms   ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
