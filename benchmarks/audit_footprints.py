"""What places of the bundled convolutional networks see, measured by gradients, against the windows proved for them.

    python benchmarks/audit_footprints.py [SPEC[:NETWORK] ...] [--seeds 3]

Of every value with a claim of locality, in every configuration: along each axis of the input by itself, which positions
have a gradient from one place in the middle. Equal means that the first and the last position are those proved and that
none between them is left out. Another seed of weights and inputs is drawn only where the one before was not equal.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from archlang.compiler.analysis.biases import claiming
from archlang.compiler.analysis.biases.findings import Finding, Verdict
from archlang.compiler.frontend import check_source
from archlang.compiler.graph import Graph, Program
from archlang.compiler.source import Source
from archlang.runtime.audit.bench import Bench
from archlang.runtime.audit.space import footprint
from archlang.runtime.audit.windows import windows_of
from archlang.targets import bundled


@dataclass(frozen=True)
class Row:
    """One axis of one value: the proved window around a place, the positions with a gradient."""

    spec: str
    network: str
    value: str
    axis: str
    proved: tuple[int, int]
    measured: tuple[int, int] | None
    holes: int
    seeds: int
    seconds: float

    @property
    def equal(self) -> bool:
        return self.measured == self.proved and not self.holes

    def __str__(self) -> str:
        seen = "nothing" if self.measured is None else f"{self.measured[0]}..{self.measured[1]}"
        width = self.proved[1] - self.proved[0] + 1
        cells = (
            f"{self.spec}:{self.network}",
            self.value,
            self.axis,
            f"{self.proved[0]}..{self.proved[1]}",
            str(width),
            seen,
            "equal" if self.equal else f"NOT equal, {self.holes} left out between",
            str(self.seeds),
            f"{self.seconds:.1f}",
        )
        return " | ".join(cells)


def configurations(wanted: list[str]) -> Iterator[tuple[str, str, Program]]:
    """The networks of the bundled family `cnn` that nothing has to be given: (spec, network, program)."""
    for spec in bundled():
        if spec.family != "cnn":
            continue
        checked = check_source(Source(spec.path.read_text(encoding="utf-8"), spec.path.name), base=spec.path.parent)
        for name, program in checked.programs.items():
            if not wanted or spec.stem in wanted or f"{spec.stem}:{name}" in wanted:
                yield spec.stem, name, program


def rows(spec: str, network: str, program: Program, seeds: int) -> Iterator[Row]:
    graphs = [graph for graph in claiming(program) for _ in graph.claims]
    for graph, finding in zip(graphs, program.findings, strict=True):
        if finding.claim.name == "locality" and finding.verdict is Verdict.PROVED:
            yield from _of_finding(spec, network, program, graph, finding, seeds)


def _of_finding(spec: str, network: str, program: Program, graph: Graph, finding: Finding, seeds: int) -> Iterator[Row]:
    assert finding.ref is not None
    bench = Bench(program, graph, (finding.ref,))
    for window in windows_of(bench, finding):
        start = perf_counter()
        for seed in range(seeds):
            figures, axis = footprint(bench, window, seed).figures, window.axis or "axis"
            first, last = (int(end) for end in figures[f"proved {axis}"])
            seen = figures[f"footprint {axis}"]
            holes = (seen[1] - seen[0] + 1 - figures[f"positions {axis}"]) if seen else 0
            spent = perf_counter() - start
            ends = (seen[0], seen[1]) if seen else None
            row = Row(spec, network, finding.value or "output", axis, (first, last), ends, holes, seed + 1, spent)
            if row.equal:
                break
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="*", metavar="SPEC[:NETWORK]")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun = perf_counter()
    found = []
    print("network | value | axis | proved | wide | measured | | seeds | seconds")
    for spec, network, program in configurations(options.specs):
        for row in rows(spec, network, program, options.seeds):
            found.append(row)
            print(row, flush=True)
    equal = sum(row.equal for row in found)
    features = {(row.spec, row.network, row.value) for row in found}
    whole = {key for key in features if all(r.equal for r in found if (r.spec, r.network, r.value) == key)}
    print(f"{len(whole)} of {len(features)} values, {equal} of {len(found)} axes equal, {perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
