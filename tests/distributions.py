"""Do two tensors of random numbers come from one distribution?"""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch import Tensor

CHANCE = 6.0
"""How many standard errors apart two samples of one distribution never are, with the seeds that tests set."""
_ENOUGH = 20_000


def same_distribution(ours: Tensor, theirs: Tensor, what: str = "") -> None:
    """Means, standard deviations and distribution functions agree up to what chance does to so many numbers; constants
    are equal."""
    ours, theirs = ours.detach().flatten(), theirs.detach().flatten()
    assert len(ours) == len(theirs), what
    low, high = theirs.aminmax()
    if low == high:
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0, msg=what or None)
        return
    error, spread = CHANCE / sqrt(len(theirs)), theirs.std().item()
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=error * spread), what
    assert ours.std().item() == pytest.approx(spread, rel=error), what
    assert kolmogorov_smirnov(ours[:_ENOUGH], theirs[:_ENOUGH]) <= 2.5 * sqrt(2 / min(len(theirs), _ENOUGH)), what


def kolmogorov_smirnov(first: Tensor, second: Tensor) -> float:
    """The largest difference of two samples' distribution functions."""
    first, second = first.sort().values, second.sort().values
    points = torch.cat([first, second])
    below = [torch.searchsorted(s, points, right=True) / len(s) for s in (first, second)]
    return (below[0] - below[1]).abs().max().item()
