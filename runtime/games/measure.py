"""How a game stands on examples that it does not learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.fading import examples
from ..data.feed import Feed
from ..seeding import fixed_noise
from .loop import DISCRIMINATOR, GENERATOR

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def measure_game(module: Any, feed: Feed, fabric: Fabric) -> dict[str, float]:
    """The mean losses of both sides over a part of the data, the generators' first. What is made for them is the same
    each time, and training goes on as if nobody had measured."""
    was_training = module.training
    module.eval()
    sums: dict[str, Tensor] = {}
    seen = 0
    with fabric.autocast(), fixed_noise(feed.device):
        for batch in feed.epoch(0):
            with torch.no_grad():
                made = module.play(*batch)
                fooled = module.generator_losses(*batch, *made)
            judged, _ = module.discriminator_losses(*batch, *made)  # penalties take gradients
            size = len(examples(batch))
            seen += size
            for name, terms in ((GENERATOR, fooled), (DISCRIMINATOR, judged)):
                total = sum(module.loss_weights[key] * term.detach().float() for key, term in terms.items())
                sums[name] = sums.get(name, torch.zeros((), device=feed.device)) + total * size
    module.train(was_training)
    if fabric.world_size > 1:
        counted = fabric.all_reduce(torch.tensor(float(seen), device=feed.device), reduce_op="sum")
        sums = {name: fabric.all_reduce(value, reduce_op="sum") for name, value in sums.items()}  # type: ignore[misc]
        seen = int(counted)  # type: ignore[arg-type]
    return {name: float(value) / max(1, seen) for name, value in sums.items()}
