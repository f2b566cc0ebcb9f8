"""How long checking takes: a whole process against its imports, and in process as sources and depths grow.

    python benchmarks/check_speed.py [--rounds 7]

Every figure is a ratio of medians of two things timed in turn, in one run.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
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


if __name__ == "__main__":
    main()
