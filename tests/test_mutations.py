"""Specs changed on purpose: claims that a change breaks are refused, those that it keeps are proved, as
docs/mutations.md counts them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutants import NETWORKS, SMALL, Mutant, chosen, table

PAGE = Path(__file__).parents[1] / "docs" / "mutations.md"


def judged(spec: str) -> dict[Mutant, bool]:
    return {mutant: mutant.accepted() for mutant in chosen(spec)}


@pytest.mark.slow
@pytest.mark.parametrize("spec", [*NETWORKS, *SMALL])
def test_what_is_broken_is_refused_and_what_is_kept_is_proved(spec: str) -> None:
    wrong = [f"{m} ({'holds' if m.holds else 'broken'})" for m, accepted in judged(spec).items() if accepted != m.holds]
    assert not wrong, "\n".join(wrong)


def test_the_page_counts_them() -> None:
    counts = table([*NETWORKS, *SMALL])
    assert counts in PAGE.read_text(encoding="utf-8")
    assert sum(not m.holds for s in (*NETWORKS, *SMALL) for m in chosen(s)) >= 200
    assert sum(m.holds for s in (*NETWORKS, *SMALL) for m in chosen(s)) >= 200
