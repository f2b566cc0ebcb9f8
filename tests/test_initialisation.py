"""Weights start as those of the reference implementation: tensor by tensor, from the same distribution."""

from __future__ import annotations

import archlang
import pytest
import torch
from archlang.compiler.analysis.cost import cost
from archlang.runtime.module import build
from distributions import same_distribution
from oracles import ORACLES
from parity import families

LIGHT = 15_000_000
"""Parameters. Of a family's heavier configurations, which are made by the same statements, only the first is drawn."""


def test_every_family_is_drawn() -> None:
    assert {name.partition(":")[0] for name in families()} == {name.partition(":")[0] for name in ORACLES}


@pytest.mark.slow
@pytest.mark.parametrize("name", ORACLES)
def test_weights_start_as_the_reference_starts_them(name: str) -> None:
    program = archlang.compile(name).program
    if name not in families() and cost(program).parameters > LIGHT:
        pytest.skip("made by the same statements as the first of its family")
    torch.manual_seed(0)
    ours = build(program).state_dict()
    torch.manual_seed(1)
    theirs = ORACLES[name].make().state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        same_distribution(ours[key], value, key)
