"""Writes docs/mutations.md: shipped specs changed on purpose, and what becomes of their claims.

`python docs/mutations.py` judges every mutant and writes the page (about a minute); tests/test_mutations.py judges
them again."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "tests"))

PAGE = """\
# Mutations

A proof system is only as good as what it refuses. Shipped specs are changed on purpose: a step is put in behind the
inputs of networks and blocks and before the claims, or a piece is replaced. Whether a claim survives follows from what
the change does, not from the compiler: a factor that differs from place to place breaks every claim about moves, a mean
over all places breaks locality, an activation breaks neither. Of recurrences, scans are turned around, replaced, masked
and started otherwise, and the gates of their cells are given other activations. Variational autoencoders are given
other noise, deviations and divergences. `tests/mutants.py`, `tests/recurrent_mutants.py` and `tests/latent_edits.py`
hold the changes, and the tests judge all of them again.

Of {broken} mutants that break a claim, {refused} are refused ({share:.1f} %). Of {kept} that keep theirs, {wrong} are.

| claim | mutants that break it | mutants that keep it |
|---|--:|--:|
{table}
## The changes

{changes}
"""


def main() -> None:
    import recurrent_mutants
    from archlang.compiler.files import write_atomically
    from mutants import EDITS, NETWORKS, SMALL, STEPS, chosen, table
    from rich.progress import track

    found = [m for spec in (*NETWORKS, *SMALL) for m in chosen(spec)]
    found += [m for spec in recurrent_mutants.RECURRENT for m in recurrent_mutants.chosen(spec)]
    judged = [(m, m.accepted()) for m in track(found, description="judging", transient=True)]
    broken = [accepted for mutant, accepted in judged if not mutant.holds]
    kept = [accepted for mutant, accepted in judged if mutant.holds]
    steps = [step for form in STEPS.values() for step in form]
    named = {
        "That break a claim": sorted({s.name for s in steps if s.breaks} | {e.change for e in EDITS if not e.holds}),
        "That keep claims": sorted({s.name for s in steps if s.keeps} | {e.change for e in EDITS if e.holds}),
        "Of recurrences, that break a claim": sorted({c.name for c in recurrent_mutants.CHANGES if c.breaks}),
        "Of recurrences, that keep claims": sorted({c.name for c in recurrent_mutants.CHANGES if c.keeps}),
    }
    changes = "\n\n".join("\n".join([f"{title}:", "", *(f"- {n}" for n in names)]) for title, names in named.items())
    page = PAGE.format(
        broken=len(broken),
        refused=broken.count(False),
        share=100 * broken.count(False) / len(broken),
        kept=len(kept),
        wrong=kept.count(False),
        table=table(found),
        changes=changes,
    )
    write_atomically(FOLDER / "mutations.md", page)
    for mutant, accepted in judged:
        if accepted != mutant.holds:
            print(f"{'refused' if mutant.holds else 'accepted'} wrongly: {mutant}")


if __name__ == "__main__":
    main()
