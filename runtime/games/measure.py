"""How a game stands on examples that it does not learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.fading import examples
from ..data.feed import Feed
from ..measure import Means
from ..seeding import fixed_noise
from .loop import DISCRIMINATOR, GENERATOR

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ..steps import Batch


def measure_game(module: Any, feed: Feed, fabric: Fabric) -> dict[str, float]:
    """The mean losses of both sides over a part of the data, the generators' first. What is made for them is the same
    each time, and training goes on as if nobody had measured."""
    was_training = module.training
    module.eval()
    means = Means(feed.device)
    with fabric.autocast(), fixed_noise(feed.device):
        for batch in feed.epoch(0):
            means.add(both_sides(module, batch), len(examples(batch)))
    module.train(was_training)
    return means.over(fabric)


def both_sides(module: Any, batch: Batch) -> dict[str, Tensor]:
    """The losses of both sides on a batch: scalars without gradients."""
    with torch.no_grad():
        made = module.play(*batch)
        fooled = module.generator_losses(*batch, *made)
    judged, _ = module.discriminator_losses(*batch, *made)  # penalties take gradients
    return {GENERATOR: _whole(module, fooled), DISCRIMINATOR: _whole(module, judged)}


def _whole(module: Any, terms: dict[str, Tensor]) -> Tensor:
    """A side's loss: its terms, weighed."""
    return torch.stack([module.loss_weights[key] * term.detach().float() for key, term in terms.items()]).sum()
