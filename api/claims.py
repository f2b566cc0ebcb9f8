"""Claims of inductive biases with what came of them, as the commands print them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from archlang.compiler.analysis.biases.findings import Verdict, distinct

if TYPE_CHECKING:
    from archlang.compiler.analysis.biases.findings import Finding


def tally(findings: Iterable[Finding]) -> str:
    """`5 claims proved, 2 with caveats, 1 assumed`; nothing where nothing is claimed. A claim counts once, however
    often the block that makes it is used, and as proved where it is proved in every use."""
    uses: dict[object, list[Finding]] = {}
    for finding in findings:
        uses.setdefault((finding.span, finding.claim.name), []).append(finding)
    proved = [found for found in uses.values() if all(f.verdict is Verdict.PROVED for f in found)]
    assumed = [found for found in uses.values() if any(f.verdict is Verdict.ASSUMED for f in found)]
    caveats = sum(any(f.caveats for f in found) for found in proved)
    counts = {"proved": len(proved), "with caveats": caveats, "assumed": len(assumed)}
    parts = [f"{number:,} {what}" for what, number in counts.items() if number]
    if parts:
        number, what = parts[0].split(" ", 1)
        parts[0] = f"{number} claim{'s' * (number != '1')} {what}"
    return ", ".join(parts)


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """One line a claim, with the block or network that makes it, and one for each condition under which it holds."""
    for finding in distinct(findings):
        yield f"{finding.verdict}  {finding.graph}: {finding}: {finding.message}"
        for caveat in finding.caveats:
            yield f"        {caveat.name}: {caveat.text}"
