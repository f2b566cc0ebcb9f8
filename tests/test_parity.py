"""Every configuration with a reference implementation equals it, in keys, counts, outputs and gradients."""

from __future__ import annotations

import pytest
from oracles import ORACLES
from parity import measure

TOLERANCE = 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ORACLES)
def test_equals_the_reference(name: str) -> None:
    found = measure(name)
    assert found.parameters == found.their_parameters
    assert found.flops == found.their_flops
    assert found.evaluation <= TOLERANCE
    assert found.training <= TOLERANCE
    assert found.losses <= TOLERANCE
    assert found.gradients <= TOLERANCE, found.worst
