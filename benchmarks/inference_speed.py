"""Time of evaluation: archlang's module at the level that prediction uses, against torchvision's in eager mode.

Both run in one process, in turns, under `torch.inference_mode`; the ratio is of medians. Usage:

    python benchmarks/inference_speed.py [--batch 8 32] [--rounds 7] [--threads 2] [--device cpu] [NETWORK …]
"""

from __future__ import annotations

from collections.abc import Callable

import archlang
import torch
from archlang.runtime.inference import for_inference
from archlang.runtime.module import build
from networks import NETWORKS, arguments, in_turn, reference
from torch import Tensor, nn


def runner(net: nn.Module, x: Tensor) -> Callable[[], None]:
    """One evaluation."""

    def run() -> None:
        with torch.inference_mode():
            net(x)
        if x.is_cuda:
            torch.cuda.synchronize()

    return run


def main() -> None:
    options = arguments(__doc__)
    for name in options.networks:
        theirs = reference(name).to(options.device).eval()
        program = archlang.compile(NETWORKS[name]).program
        plain = build(program).to(options.device).eval()
        plain.load_state_dict(theirs.state_dict())
        quick = for_inference(program, plain)
        for batch in options.batch:
            x = torch.randn((batch, 3, 224, 224), device=options.device)
            a, b, c = in_turn([runner(net, x) for net in (theirs, plain, quick)], options.rounds)
            print(
                f"{name:16} batch {batch:3}   torchvision {a * 1e3:8.1f} ms   "
                f"as written {b / a:.3f}   rewritten {c / a:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
