"""How a game stands on examples that it does not learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..data.feed import Feed

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def measure_game(module: Any, feed: Feed, fabric: Fabric) -> dict[str, float]:
    """The mean losses of both sides over a part of the data: the generators' as `loss`."""
    was_training = module.training
    module.eval()
    sums: dict[str, torch.Tensor] = {}
    seen = 0
    for batch in feed.epoch(0):
        with fabric.autocast():
            with torch.no_grad():
                made = module.play(*batch)
            judged, _ = module.discriminator_losses(*batch, *made)  # penalties take gradients
            with torch.no_grad():
                fooled = module.generator_losses(*batch, *made)
        seen += len(batch[0])
        for name, terms in (("loss", fooled), ("discriminator loss", judged)):
            total = sum(module.loss_weights[key] * term.detach().float() for key, term in terms.items())
            sums[name] = sums.get(name, torch.zeros((), device=feed.device)) + total * len(batch[0])
    module.train(was_training)
    return {name: float(value) / max(1, seen) for name, value in sums.items()}
