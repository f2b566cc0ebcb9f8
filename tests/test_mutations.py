"""Specs changed on purpose: claims that a change breaks are refused, those that it keeps are proved, as
docs/mutations.md counts them."""

from __future__ import annotations

from pathlib import Path

import pytest
import recurrent_mutants
from mutants import NETWORKS, SMALL, Mutant, chosen, table

PAGE = Path(__file__).parents[1] / "docs" / "mutations.md"


SPECS = (*NETWORKS, *SMALL, *recurrent_mutants.RECURRENT)


def of(spec: str) -> list[Mutant]:
    return recurrent_mutants.chosen(spec) if spec in recurrent_mutants.RECURRENT else chosen(spec)


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS)
def test_what_is_broken_is_refused_and_what_is_kept_is_proved(spec: str) -> None:
    judged = {mutant: mutant.accepted() for mutant in of(spec)}
    wrong = [f"{m} ({'holds' if m.holds else 'broken'})" for m, accepted in judged.items() if accepted != m.holds]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("network", [n for networks in recurrent_mutants.RECURRENT.values() for n in networks])
def test_what_is_claimed_besides_is_true(network: str) -> None:
    spec = next(spec for spec, networks in recurrent_mutants.RECURRENT.items() if network in networks)
    text = recurrent_mutants.text_of(spec, network)
    for claim, line in recurrent_mutants.claims(text):
        assert Mutant(spec, network, "none", claim, line, True, text).accepted(), claim


def test_the_page_counts_them() -> None:
    found = [mutant for spec in SPECS for mutant in of(spec)]
    assert table(found) in PAGE.read_text(encoding="utf-8")
    assert sum(not m.holds for m in found) >= 500
    assert sum(m.holds for m in found) >= 1000
