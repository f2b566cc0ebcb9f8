"""Every configuration with a reference implementation equals it, in keys, counts, outputs and gradients, as
docs/parity.md says."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracles import ORACLES
from parity import measure, rows

TOLERANCE = 1e-4
PAGE = rows((Path(__file__).parents[1] / "docs" / "parity.md").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ORACLES)
def test_equals_the_reference(name: str) -> None:
    found = measure(name)
    assert found.parameters == found.their_parameters
    assert found.flops == found.their_flops
    assert found.losses <= TOLERANCE
    said = PAGE[name]
    assert (f"{found.parameters:,}", f"{found.flops:,}") == (said["parameters"], said["FLOPs"])
    for column in ("evaluation", "training", "gradients"):
        error = getattr(found, column)
        assert float(said[column]) <= TOLERANCE
        # another processor rounds in other places, even where every bit was equal
        assert error <= max(float(said[column]), 1e-5), (column, found.worst)


def test_the_page_lists_each_of_them_once() -> None:
    assert list(PAGE) == list(ORACLES)
