"""Recurrences on a GPU: kernels made for their equations, against cuDNN and against loops of tensor operations.

Run where a GPU is: `python benchmarks/recurrent_gpu.py [float32|bfloat16|float16]`. Cells that cuDNN has are compared
with its layers. Other cells are compared with what cuDNN's LSTM would take for as many products in the loop: its time,
by what the cell multiplies per step over what the LSTM does. `form` tells whether one kernel walked all steps. Each
time is the median of several, after as many to warm up.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from archlang.compiler.recurrent.equations import read
from archlang.compiler.recurrent.plan import Plan
from archlang.runtime.recurrence import Recurrence, fused, using
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from recurrent_cells import gru_text, lstm_text
from recurrent_equations import KNOWN

SIZES = [(32, 256, 64), (32, 256, 128), (64, 512, 256), (128, 256, 512)]  # examples, steps, inputs and states
ROUNDS = 10


NOVEL = {name: KNOWN[name] for name in ("minimal", "peephole")}


def multiplied(text: str) -> int:
    """How many elements the matrices of products in the loop have."""
    plan = Plan(read(text))
    return sum(plan.flat.widths[g.node] * sum(plan.widths[name] for name, _ in g.products) for g in plan.groups)


def milliseconds(run: Callable[[], object]) -> float:
    for _ in range(ROUNDS):
        run()
    times = []
    for _ in range(ROUNDS):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        run()
        ended.record()
        torch.cuda.synchronize()
        times.append(begun.elapsed_time(ended))
    return statistics.median(times)


def both(run: Callable[[], Tensor]) -> tuple[float, float]:
    """Of a pass that keeps nothing, and of one forward and back."""
    with torch.no_grad():
        forward = milliseconds(run)
    return forward, milliseconds(lambda: run().sum().backward())


def by_layer(made: type[nn.Module], sizes: tuple[int, int, int], dtype: torch.dtype) -> tuple[float, float]:
    examples, steps, width = sizes
    layer = made(width, width, batch_first=True).to("cuda", dtype)
    x = torch.randn(examples, steps, width, device="cuda", dtype=dtype, requires_grad=True)
    return both(lambda: layer(x)[0])


def by_way(text: str, way: str, sizes: tuple[int, int, int], dtype: torch.dtype) -> tuple[float, float]:
    examples, steps, width = sizes
    drawn = torch.Generator("cuda").manual_seed(0)

    def draw(*shape: int) -> Tensor:
        made = torch.randn(shape, generator=drawn, device="cuda") * shape[-1] ** -0.5
        return made.to(dtype).requires_grad_()

    weights = [draw(*shape) for shape in read(text).weights.values()]
    recurrence, x = Recurrence(text), draw(examples, steps, width)

    def run() -> Tensor:
        with using(way):
            return recurrence((x,), weights)[0]

    return both(run)


def forms(text: str) -> str:
    """How the passes of a cell were walked."""
    found = {key[1]: bool(options) for key, options in fused._options.items() if key[0] == text}
    return ", ".join(f"{name} {'fused' if one else 'steps'}" for name, one in found.items())


def show(name: str, sizes: tuple[int, int, int], text: str, dtype: torch.dtype, wanted: tuple[float, float]) -> None:
    mine, eager = (by_way(text, way, sizes, dtype) for way in ("fused", "eager"))
    for kind, *times in zip(("forward", "forward and backward"), mine, wanted, eager, strict=True):
        own, layer, loop = times
        figures = f"{own:8.3f} ms, cuDNN {layer:8.3f} ms ({own / layer:5.2f}), loop {loop:8.3f} ms ({own / loop:5.2f})"
        print(f"{name:9} {sizes!s:16} {kind:21} {figures}")
    print(f"{'':9} {forms(str(read(text)))}")


def main(dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        print("no GPU here")
        return
    if reason := fused.unavailable():
        print(f"no Triton here: {reason}")
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32  # products as cuDNN's layers compute theirs
    print(f"{torch.cuda.get_device_name()}, {dtype}; examples, steps, width; ratios below 1: the kernels are faster")
    for sizes in SIZES:
        lstm = by_layer(nn.LSTM, sizes, dtype)
        show("lstm", sizes, lstm_text(sizes[2], sizes[2]), dtype, lstm)
        show("gru", sizes, gru_text(sizes[2], sizes[2]), dtype, by_layer(nn.GRU, sizes, dtype))
    for (name, text_of), sizes in product(NOVEL.items(), (s for s in SIZES if s[2] <= 256)):
        text = text_of(sizes[2], sizes[2])
        share = multiplied(text) / multiplied(lstm_text(sizes[2], sizes[2]))
        forward, whole = by_layer(nn.LSTM, sizes, dtype)
        show(name, sizes, text, dtype, (forward * share, whole * share))


if __name__ == "__main__":
    main(getattr(torch, sys.argv[1]) if len(sys.argv) > 1 else torch.float32)
