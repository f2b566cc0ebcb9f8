"""Loss and metrics of one part of the data, without learning from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from archlang.compiler.task import Task
from torch import Tensor, nn

from .carry import Carried
from .data.fading import examples
from .data.feed import Feed
from .metrics import Meter
from .seeding import fixed_noise

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from .health import Watched


class Trainee(nn.Module):
    """A generated module's objective as a forward pass: what gets compiled, wrapped and differentiated.

    The batch goes in as inputs, then targets; out come the outputs (a tuple), the named losses, and their weighted sum.
    """

    def __init__(self, module: nn.Module, objective: Callable | None = None) -> None:
        """objective: another one of the same module's, in place of its own."""
        super().__init__()
        self.module = module
        self.objective: Callable = objective or getattr(module, "objective", None)  # type: ignore[assignment]
        self.weights: dict[str, float] = dict(getattr(module, "loss_weights", {}))

    def forward(self, *batch: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor], Tensor]:
        outputs, losses = self.objective(*batch)
        total: Tensor | None = None
        for name, loss in losses.items():
            weight = self.weights.get(name, 1.0)
            term = loss if weight == 1.0 else weight * loss
            total = term if total is None else total + term
        assert total is not None
        return outputs if isinstance(outputs, tuple) else (outputs,), losses, total


class Means:
    """Means of named values over batches, and over the processes that each measure some of them."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seen = device, 0
        self.sums: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor], size: int) -> None:
        """The means of a batch of so many."""
        self.seen += size
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=self.device)) + value.detach().float() * size

    def over(self, fabric: Fabric) -> dict[str, float]:
        """The means over all that was added in any process."""
        sums, seen = self.sums, self.seen
        if fabric.world_size > 1:
            counted = fabric.all_reduce(torch.tensor(float(seen), device=self.device), reduce_op="sum")
            sums = {name: fabric.all_reduce(value, reduce_op="sum") for name, value in sums.items()}  # type: ignore[misc]
            seen = int(counted)  # type: ignore[arg-type]
        return {name: float(value) / max(1, seen) for name, value in sums.items()}


def measure(
    trainee: nn.Module,
    feed: Feed,
    task: Task,
    names: Sequence[str],
    *,
    inputs: int,
    fabric: Fabric,
    watched: Watched | None = None,
) -> dict[str, float]:
    """The mean loss (each term too, when there are several) and the metrics. `inputs`: how many tensors come first.

    Noise that the network draws is the same each time: epochs can be compared, and training goes on as if nobody had
    measured."""
    was_training = trainee.training
    trainee.eval()
    season = feed.data.season if "skill" in names else None
    meter = Meter(task, names, feed.device, feed.data.preprocessing)
    carried = Carried(feed.data.carry)
    means = Means(feed.device)
    with torch.no_grad(), fabric.autocast(), fixed_noise(feed.device):
        for batch in feed.epoch(0):
            batch = carried.into(batch)
            with nullcontext() if watched is None else watched.batch(batch):
                outputs, losses, total = trainee(*batch)
            carried.keep(outputs)
            size = counted(batch, inputs, task)
            if size == 0:
                continue  # nothing in it counts, and a mean over nothing is no number
            terms = {"loss": total, **losses} if len(losses) > 1 else {"loss": total}
            means.add(terms, size)
            naive = season.forecast(batch) if season is not None else None
            meter.update(outputs, batch[:inputs] if task.reconstructs else batch[inputs:], naive)
    trainee.train(was_training)
    return {**means.over(fabric), **meter.compute()}


def counted(batch: tuple[Tensor, ...], inputs: int, task: Task) -> int:
    """What the mean loss of a batch is a mean over: examples, or targets where the loss passes over some."""
    if task.ignore is None or len(batch) == inputs:
        return len(examples(batch))
    return int((batch[inputs + task.target] != task.ignore).sum())
