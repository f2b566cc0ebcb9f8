"""Time of a training step: generated module against the same network written by hand.

Runs A/B/B/A … in one process, so that both meet the same weather, and prints medians and their ratio. A second copy of
the hand-written network says how far the ratio can be trusted. On a CPU the time is the process's own, which
other processes disturb less. Usage:

    python benchmarks/step_speed.py [--rounds 40] [--device cpu] [--threads 1]
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time

import torch
from archlang.compiler.frontend import compile_program
from archlang.compiler.source import Source
from archlang.runtime.module import build
from by_hand import LENET, RESNET, LeNet5, SmallResNet
from torch import nn


def stepper(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """One training step: objective, gradients, update."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        net.objective(x, y)[1]["nll"].backward()
        optimizer.step()
        if x.is_cuda:
            torch.cuda.synchronize()

    return step


def compare(steps: list[Callable[[], None]], rounds: int, clock: Callable[[], float]) -> list[float]:
    """Median seconds of a step of each, taken in turns."""
    times: list[list[float]] = [[] for _ in steps]
    for step in steps * 3:
        step()
    for i in range(rounds):
        order = range(len(steps)) if i % 2 else reversed(range(len(steps)))
        for k in order:
            start = clock()
            steps[k]()
            times[k].append(clock() - start)
    return [median(t) for t in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    nets = [(LENET, LeNet5(), (64, 1, 32, 32)), (RESNET, SmallResNet(), (16, 3, 32, 32))]
    for text, written, shape in nets:
        made = build(compile_program(Source(text))).to(options.device)
        written.to(options.device)
        made.load_state_dict(written.state_dict())
        x = torch.randn(shape, device=options.device)
        y = torch.randint(0, 10, shape[:1], device=options.device)
        steps = [stepper(net, x, y) for net in (made, written, copy.deepcopy(written))]
        a, b, again = compare(steps, options.rounds, process_time if options.device == "cpu" else perf_counter)
        print(
            f"{type(written).__name__:12} generated {a * 1e3:7.2f} ms   by hand {b * 1e3:7.2f} ms   "
            f"ratio {a / b:.3f}   by hand against itself {again / b:.3f}"
        )


if __name__ == "__main__":
    main()
