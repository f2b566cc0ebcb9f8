"""Recurrences without a compiler, against loops as one writes them by hand when one takes care.

The loops by hand multiply all inputs before the loop, all gates at once in it, and take sequences apart once. Run:
`python benchmarks/recurrent_fallback.py [threads]`. Each figure is the median over rounds of the ratio of two
neighbouring runs, so that what else the machine does weighs on both; below 1 the derived loop is the faster one.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from archlang.runtime.recurrence import Recurrence, using
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from recurrent_cells import gru_text, lstm_text

SIZES = [(32, 128, 128, 256), (16, 512, 64, 128), (8, 2048, 32, 64)]  # examples, steps, inputs, states
ROUNDS = 7


def lstm_by_hand(x: Tensor, w: Tensor, u: Tensor, b: Tensor, v: Tensor) -> Tensor:
    h = c = x.new_zeros(len(x), u.shape[1])
    found, matrix = [], u.t()
    for products in F.linear(x, w, b + v).unbind(1):
        i, f, g, o = torch.addmm(products, h, matrix).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        found.append(h)
    return torch.stack(found, 1)


def gru_by_hand(x: Tensor, w: Tensor, u: Tensor, b: Tensor, v: Tensor) -> Tensor:
    h = x.new_zeros(len(x), u.shape[1])
    found, matrix = [], u.t()
    for products in F.linear(x, w, b).unbind(1):
        xr, xz, xn = products.chunk(3, 1)
        hr, hz, hn = torch.addmm(v, h, matrix).chunk(3, 1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        n = torch.tanh(xn + r * hn)
        h = torch.lerp(n, h, z)
        found.append(h)
    return torch.stack(found, 1)


def _seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _compare(mine: Callable[[], object], hand: Callable[[], object]) -> tuple[float, float, float]:
    """Median ratio of neighbouring runs, and the best time of each."""
    mine(), hand()  # warm
    ratios, times = [], ([], [])
    for _ in range(ROUNDS):
        before, between, after = _seconds(hand), _seconds(mine), _seconds(hand)
        ratios.append(2 * between / (before + after))
        times[0].append(between)
        times[1].extend((before, after))
    return statistics.median(ratios), min(times[0]), min(times[1])


def measure(kind: str, sizes: tuple[int, int, int, int]) -> None:
    examples, steps, width, inside = sizes
    count = 4 if kind == "lstm" else 3
    torch.manual_seed(0)
    shapes = [(examples, steps, width), (count * inside, width), (count * inside, inside)]
    x, w, u, b, v = (torch.randn(s).mul(0.1).requires_grad_() for s in (*shapes, (count * inside,), (count * inside,)))
    recurrence = Recurrence(lstm_text(width, inside) if kind == "lstm" else gru_text(width, inside))
    by_hand = lstm_by_hand if kind == "lstm" else gru_by_hand

    def mine() -> Tensor:
        with using("eager"):
            return recurrence((x,), (w, u, b, v))[0]

    def hand() -> Tensor:
        return by_hand(x, w, u, b, v)

    torch.testing.assert_close(mine(), hand(), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        forward = _compare(mine, hand)
    both = _compare(lambda: mine().sum().backward(), lambda: hand().sum().backward())
    for name, (ratio, own, other) in (("forward", forward), ("forward and backward", both)):
        print(f"{kind} {sizes!s:22} {name:21} {own * 1e3:8.1f} ms, by hand {other * 1e3:8.1f} ms, ratio {ratio:.2f}")


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    for one in SIZES:
        for what in ("lstm", "gru"):
            measure(what, one)
