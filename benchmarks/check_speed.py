"""How long checking takes: a whole process against its imports, and in process as sources and depths grow.

    python benchmarks/check_speed.py [--rounds 7] [--processes 3] [--proofs]

Every figure is a ratio of two things timed in turn, in one run: of their medians, and for the shipped specs, checked
with and without the proofs of their claims, of the least that each took.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from unittest.mock import patch

import archlang.compiler.analysis.biases
from archlang.compiler.frontend import check_source
from archlang.compiler.source import Source

IMPORTS = [sys.executable, "-c", "import lark, networkx, pydantic, click"]
CHECK = [sys.executable, "-m", "archlang", "check", "lenet5"]
RESIDUAL = """
block Block(width: int) {{
  input x: [B, C, H, W]
  output x -> skip {{
       conv1: conv(width, kernel=3, pad=1, bias=false) -> bn1: batchnorm -> relu
    -> conv2: conv(width, kernel=3, pad=1, bias=false) -> bn2: batchnorm
  }} -> relu
}}
network Deep {{
  input image: [B, 3, H~32, W~32]
  output image -> stem: conv(64, kernel=3, pad=1) -> body: {{ repeat {blocks} {{ Block(64) }} }}
    -> global_avgpool -> flatten -> fc: linear(10)
}}
"""
PIECE = """
block Piece{i}(width: int = {width}) {{
  input x: [B, C, H, W]
  output x -> skip {{
       conv1: conv(width, kernel=3, pad=1, bias=false) -> bn1: batchnorm -> relu
    -> conv2: conv(C, kernel=3, pad=1, bias=false) -> bn2: batchnorm
  }} -> relu
}}
"""


def wide(pieces: int) -> str:
    """A source with that many different blocks, each used once."""
    blocks = "".join(PIECE.format(i=i, width=8 + i % 13) for i in range(pieces))
    chain = " -> ".join(f"p{i}: Piece{i}" for i in range(pieces))
    return f"{blocks}\nnetwork Wide {{\n  input x: [B, 8, H=32, W=32]\n  output x -> {chain}\n}}\n"


def process(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def check(text: str) -> float:
    start = time.process_time()  # the process's own time: other processes disturb it less
    checked = check_source(Source(text, "bench.arch"))
    elapsed = time.process_time() - start
    assert checked.ok, checked.diagnostics
    return elapsed


def compare(title: str, first: Callable[[], float], second: Callable[[], float], rounds: int) -> float:
    """Prints the medians of both and the median of the pairwise ratios first / second."""
    first(), second()
    pairs = [(first(), second()) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in pairs)
    a, b = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
    print(f"{title:58} {a:8.1f} ms / {b:8.1f} ms = {ratio:.2f}")
    return ratio


# `archc check` as it is; and the same process with claims left as they are.
WITHOUT = "import archlang.compiler.analysis.biases as b; b.prove = lambda *_: []; "
COMMAND = "import sys; from archlang.cli.main import main; sys.argv[0] = 'archc'; main()"


def without(text: str) -> float:
    """As `check`, with nothing proved."""
    with patch.object(archlang.compiler.analysis.biases, "prove", return_value=[]):
        return check(text)


def child(code: str, path: str) -> float:
    """The processor time of a whole command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([sys.executable, "-c", code, "check", path], check=True, capture_output=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def added(title: str, pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Prints the least of both, and by how much the first is more."""
    on, off = (min(side) for side in zip(*pairs, strict=True))
    print(f"{title:58} {on * 1e3:8.1f} ms / {off * 1e3:8.1f} ms = +{(on / off - 1) * 100:.0f}%")
    return on, off


def proofs(rounds: int, processes: int) -> None:
    """What the proofs of claims add to checking each shipped spec, in process and in whole commands, and to all."""
    folder = Path(str(resources.files("archlang.specs")))
    ways: dict[str, list[tuple[float, float]]] = {"in process": [], "whole command": []}
    for path in sorted(p for family in ("cnn", "foundations") for p in (folder / family).glob("*.arch")):
        text, name = path.read_text(encoding="utf-8"), f"{path.parent.name}/{path.stem}"
        check(text), without(text)
        pairs = [(check(text), without(text)) for _ in range(rounds)]
        ways["in process"].append(added(f"{name}, with proofs / without", pairs))
        if processes:
            pairs = [(child(COMMAND, str(path)), child(WITHOUT + COMMAND, str(path))) for _ in range(processes)]
            ways["whole command"].append(added("    whole command", pairs))
    for way, times in ways.items():
        if times:
            added(f"all shipped specs, {way}", [(sum(on for on, _ in times), sum(off for _, off in times))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--processes", type=int, default=3, help="whole commands for each spec; 0: none")
    parser.add_argument("--proofs", action="store_true", help="only what proofs add to the shipped specs")
    given = parser.parse_args()
    rounds = given.rounds
    if given.proofs:
        return proofs(rounds, given.processes)
    compare("archc check lenet5 / imports, whole processes", lambda: process(CHECK), lambda: process(IMPORTS), rounds)
    shipped = resources.files("archlang.specs").joinpath("cnn/resnet_cifar.arch").read_text(encoding="utf-8")
    family = shipped[: shipped.index("network ResNet20")]
    deep, shallow = (f"{family} network N = CifarResNet(blocks={n}) {{ expect params > 1 }}" for n in (333, 17))
    compare("shipped residual network, 999 blocks / 51", lambda: check(deep), lambda: check(shallow), rounds)
    bare, short = RESIDUAL.format(blocks=1000), RESIDUAL.format(blocks=50)
    compare("the barest residual network, 1,000 blocks / 50", lambda: check(bare), lambda: check(short), rounds)
    sources = {n: wide(n) for n in (25, 50, 100, 200)}
    for n in (50, 100, 200):
        compare(
            f"{n} different blocks / {n // 2}",
            lambda n=n: check(sources[n]),
            lambda n=n: check(sources[n // 2]),
            rounds,
        )
    proofs(rounds, given.processes)


if __name__ == "__main__":
    main()
