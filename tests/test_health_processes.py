"""Runs of two processes that diverge: both stop together, and name the layer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from processes import finished

LOG = "`log` made the first value that is not finite"
TOLD = {  # of what only one process had in its batch
    "values": (f"the loss became nan in epoch 1, batch 3: {LOG}", "log", "took values from -9 to -9"),
    "gradients": (
        "the loss became nan in epoch 1, batch 4: the derivative of `sqrt` made the first gradient that is not finite",
        "sqrt",
        "took values from 0 to 0",
    ),
    "measured": (f"the validation loss became nan after epoch 1: {LOG}", "log", "took values from -9 to "),
    "game": (f"the discriminators' loss became nan in epoch 1, batch 4: {LOG}", "log", "took values from -3 to -3"),
    "measured game": (
        f"the validation discriminators' loss became nan after epoch 1: {LOG}",
        "log",
        "took values from -3 to ",
    ),
}


@pytest.mark.slow
def test_two_processes_name_the_layer_together(tmp_path):
    """A row that one of them gets is no number to its network, or has no gradient. One reads its losses all the time,
    the other at the end of the epoch only."""
    script = Path(__file__).parent / "diverging.py"
    done = finished([sys.executable, str(script), str(tmp_path)], timeout=120)
    assert done.returncode == 0, done.stderr
    left, right = (json.loads((tmp_path / f"told{rank}.json").read_text()) for rank in range(2))
    for name, (message, text, evidence) in TOLD.items():
        for found, _ in (left[name], right[name]):
            assert found[:3] == ["A1040", message, text], name
            assert found[3].startswith(evidence), name
    # The game draws noise in every second step: both steps of its first group met the same when they were run again.
    assert left["game"][1] == right["game"][1] == 4
