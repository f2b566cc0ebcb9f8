"""Writes docs/parity.md: every configuration beside the reference implementation that it equals, as measured here.

`python docs/parity.py` writes it (some minutes); with words, as in `python docs/parity.py mobilenet_v1`, only the rows
whose names hold one of them are measured, and the others stay. tests/test_parity.py measures every row again."""

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
    from rich.progress import track

    page = FOLDER / "parity.md"
    asked = [name for name in ORACLES if any(word in name for word in sys.argv[1:])] if sys.argv[1:] else list(ORACLES)
    kept = {} if len(asked) == len(ORACLES) else lines(page.read_text(encoding="utf-8"))
    kept |= {name: line(name) for name in track(asked, description="measuring", transient=True)}
    write_atomically(page, PAGE + "".join(kept[name] for name in ORACLES))


def lines(page: str) -> dict[str, str]:
    """The rows of the page as they stand, by configuration."""
    cells = {row: row.split("|") for row in page.splitlines(keepends=True) if row.startswith("| cnn/")}
    return {f"{parts[1].strip()}:{parts[2].strip()}": row for row, parts in cells.items()}


def line(name: str) -> str:
    """One row, measured."""
    from oracles import ORACLES
    from parity import measure

    found = measure(name)
    spec, _, configuration = name.partition(":")
    errors = [bound(e) for e in (found.evaluation, found.training, found.gradients)]
    cells = [spec, configuration, f"{found.parameters:,}", f"{found.flops:,}", *errors, ORACLES[name].source]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
