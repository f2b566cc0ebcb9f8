"""Writes docs/parity.md: every configuration beside the reference implementation that it equals, as measured here.

`python docs/parity.py` writes it (about three minutes); tests/test_parity.py measures every row again."""

from __future__ import annotations

import math
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "tests"))

PAGE = """\
# Parity with reference implementations

Each configuration below was given the same weights as the reference implementation in the last column, through its
`state_dict`, which loads as it is. Differences are the largest one relative to the largest magnitude, rounded up to a
power of ten; 0 means that every bit is equal. *Evaluation* and *training* compare the outputs in either mode,
*gradients* those of every parameter and of the input, with dropout and stochastic depth set to zero. Parameters
include those of auxiliary heads. FLOPs are those of one image of the nominal size in evaluation, two a multiply-add.

Measured on the CPU in single precision, with a batch of two small images. The tests measure every row again.

| spec | configuration | parameters | FLOPs | evaluation | training | gradients | reference |
|---|---|--:|--:|--:|--:|--:|---|
"""


def bound(error: float) -> str:
    """An error rounded up to a power of ten, leaving room for other processors' rounding; 0 where there is none."""
    return f"1e{math.ceil(math.log10(3 * error))}" if error else "0"


def main() -> None:
    from archlang.compiler.files import write_atomically
    from oracles import ORACLES
    from parity import measure
    from rich.progress import track

    lines = []
    for name in track(ORACLES, description="measuring", transient=True):
        found = measure(name)
        spec, _, configuration = name.partition(":")
        errors = [bound(e) for e in (found.evaluation, found.training, found.gradients)]
        cells = [spec, configuration, f"{found.parameters:,}", f"{found.flops:,}", *errors, ORACLES[name].source]
        lines.append(f"| {' | '.join(cells)} |\n")
    write_atomically(FOLDER / "parity.md", PAGE + "".join(lines))


if __name__ == "__main__":
    main()
