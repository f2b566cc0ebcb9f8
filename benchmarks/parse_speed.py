"""How fast specs are parsed and printed: `python benchmarks/parse_speed.py [files]`, by default those of the tests.

Prints the start-up (import, tables and the first parse, in a fresh process) and, for each file, the best of some runs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from archlang.compiler.syntax.parser import parse
from archlang.compiler.syntax.printer import print_file
from archlang.compiler.syntax.reading import read_source

RUNS = 7
START = """
import time; t = time.perf_counter()
from archlang.compiler.source import Source
from archlang.compiler.syntax.parser import parse
parse(Source("block A { input x: [B, C]  output x -> relu }"))
print(time.perf_counter() - t)
"""


def best(work: Callable[[], object]) -> float:
    """The shortest time of several runs, in seconds."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure and print a table."""
    paths = [Path(p) for p in sys.argv[1:]] or sorted(Path(__file__).parent.parent.glob("tests/syntax_data/*.arch"))
    fresh = [
        float(subprocess.run([sys.executable, "-c", START], capture_output=True, check=True).stdout)
        for _ in range(RUNS)
    ]
    print(f"start-up to the first tree: {min(fresh) * 1e3:.1f} ms")
    print(f"{'file':28} {'lines':>6} {'parse ms':>9} {'print ms':>9} {'lines/s':>9}")
    for path in paths:
        source = read_source(path)
        tree = parse(source)
        parsing, printing = best(lambda: parse(source)), best(lambda: print_file(tree))  # noqa: B023 (called at once)
        speed = source.lines / parsing
        print(f"{path.name:28} {source.lines:6} {parsing * 1e3:9.2f} {printing * 1e3:9.2f} {speed:9.0f}")


if __name__ == "__main__":
    main()
