"""Time of a training step: archlang's module as written against torchvision's, at equal settings.

Forward, backward and an update by SGD, in turns in one process; the ratio is of medians. A second copy of
torchvision's module says how far the ratio can be trusted. Usage:

    python benchmarks/train_step_speed.py [--batch 8 32] [--rounds 7] [--threads 2] [--device cpu] [NETWORK …]
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import archlang
import torch
from archlang.runtime.module import build
from networks import NETWORKS, arguments, in_turn, reference
from torch import Tensor, nn
from torch.nn import functional as F


def stepper(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """One training step."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        if x.is_cuda:
            torch.cuda.synchronize()

    return step


def main() -> None:
    options = arguments(__doc__)
    for name in options.networks:
        theirs = reference(name).to(options.device).train()
        ours = build(archlang.compile(NETWORKS[name]).program).to(options.device).train()
        ours.load_state_dict(theirs.state_dict())
        for batch in options.batch:
            x = torch.randn((batch, 3, 224, 224), device=options.device)
            y = torch.randint(0, 1000, (batch,), device=options.device)
            nets = (theirs, ours, copy.deepcopy(theirs))
            a, b, again = in_turn([stepper(net, x, y) for net in nets], options.rounds)
            print(
                f"{name:16} batch {batch:3}   torchvision {a * 1e3:8.1f} ms   archlang {b / a:.3f}   "
                f"torchvision against itself {again / a:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
