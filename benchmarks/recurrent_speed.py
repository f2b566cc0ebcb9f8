"""Time of recurrences as C against PyTorch's layers: forward, and forward with all gradients.

LSTM and GRU are compared with nn.LSTM and nn.GRU of the same weights; all other cells with nn.LSTM, whose time is
scaled by the floating-point operations of their products. A ratio below 1 is faster. Both run in turns, three times
each round (theirs, ours, theirs), and the median of the rounds' ratios is shown. Usage:

    python benchmarks/recurrent_speed.py [--threads 1] [--quick] [--sizes 32x128x128x256 …] [--cells lstm gru …]

sizes: batch x steps x elements of an input x elements of a state.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time

import torch
from archlang.compiler.recurrent.equations import Equations, Product, read
from archlang.runtime.recurrence.compiled import run
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from recurrent_equations import KNOWN

SIZES = ("32x128x128x256", "16x512x64x128", "8x2048x32x64")
MORE = ("1x128x128x256", "4x128x128x256", "32x64x256x512", "32x32x512x1024")


def operations(eq: Equations) -> int:
    """Multiplications of one step."""
    widths = eq.widths
    products = [step for step in eq.steps if isinstance(step, Product)]
    return sum(widths[step.name] * sum(widths[n] for n in step.operands) for step in products)


def own_weights(layer: nn.Module) -> list[Tensor]:
    """The weights of nn.LSTM or nn.GRU, as the equations have them."""
    count = layer.hidden_size
    x, h, bx, bh = layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0
    rows = [slice(i * count, (i + 1) * count) for i in range(x.shape[0] // count)]
    joined = rows if len(rows) == 4 else rows[:2]
    found = [w for r in joined for w in (torch.cat([h[r], x[r]], 1), bx[r] + bh[r])]
    if len(rows) == 3:
        found += [x[rows[2]], h[rows[2]], bx[rows[2]], bh[rows[2]]]
    return [w.detach().clone().requires_grad_() for w in found]


class Pair:
    """One cell at one size, ours and theirs."""

    def __init__(self, name: str, size: tuple[int, ...]) -> None:
        batch, steps, width, inside = size
        self.text = KNOWN[name](inside, width)
        self.equations = read(self.text)
        made = nn.GRU if name == "gru" else nn.LSTM
        self.layer = made(width, inside, batch_first=True)
        if name in ("lstm", "gru"):
            self.weights, self.scale = own_weights(self.layer), 1.0
        else:
            shapes = self.equations.weights.values()
            self.weights = [(torch.randn(shape) / inside**0.5).requires_grad_() for shape in shapes]
            self.scale = operations(self.equations) / (4 * inside * (inside + width))
        self.states = [None] * len(self.equations.states)
        self.x = torch.randn(batch, steps, width, requires_grad=True)
        self.given = torch.randn(batch, steps, inside)

    def ours(self, gradients: bool) -> None:
        with torch.set_grad_enabled(gradients):
            y = run(self.text, [self.x], self.weights, self.states)[0]
        if gradients:
            torch.autograd.grad(y, [self.x, *self.weights], self.given)

    def theirs(self, gradients: bool) -> None:
        with torch.set_grad_enabled(gradients):
            y = self.layer(self.x)[0]
        if gradients:
            torch.autograd.grad(y, [self.x, *self.layer.parameters()], self.given)


def compared(
    ours: Callable[[], None], theirs: Callable[[], None], rounds: int, clock: Callable[[], float]
) -> tuple[float, float]:
    """The median ratio, and the median of our seconds."""

    def timed(job: Callable[[], None]) -> float:
        start = clock()
        job()
        return clock() - start

    for _ in range(2):
        theirs()
        ours()
    ratios, times = [], []
    for _ in range(rounds):
        before, mine, after = timed(theirs), timed(ours), timed(theirs)
        ratios.append(2 * mine / (before + after))
        times.append(mine)
    return median(ratios), median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="three rounds, not eleven")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help=f"B x T x D x H; more of interest: {' '.join(MORE)}")
    parser.add_argument("--cells", nargs="+", default=list(KNOWN), choices=list(KNOWN))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = thread_time if options.threads == 1 else perf_counter  # what else runs here takes time of the clock, too
    rounds = 3 if options.quick else 11
    print(f"{options.threads} threads         {'forward':>17}   {'and gradients':>17}")
    for size in options.sizes:
        for name in options.cells:
            pair = Pair(name, tuple(map(int, size.split("x"))))
            found = []
            for gradients in (False, True):
                ratio, seconds = compared(
                    lambda p=pair, g=gradients: p.ours(g), lambda p=pair, g=gradients: p.theirs(g), rounds, clock
                )
                found.append(f"{ratio / pair.scale:6.3f} {seconds * 1e3:8.2f} ms")
            print(f"{size:15} {name:11} {found[0]}   {found[1]}", flush=True)


if __name__ == "__main__":
    main()
