"""Recurrences as Triton against the plain loop: what tests run in a process whose Triton is interpreted.

Run as a program: `python triton_harness.py interpret FORM` or `compile CELL`.
"""

from __future__ import annotations

import re
import sys
import warnings

import torch
from archlang.compiler.recurrent import triton as text_of
from archlang.compiler.recurrent.equations import Equations, read
from archlang.compiler.recurrent.plan import Plan
from archlang.runtime.recurrence import Recurrence, fused, launch, using
from archlang.runtime.recurrence.plain import plain
from recurrent_cells import TEXTS, gru_text, lstm_text
from test_recurrent_derive import equations as drawn
from torch import Tensor

EXAMPLES, STEPS = 3, 4
MASK = torch.arange(STEPS)[None] < torch.tensor([4, 1, 3])[:, None]
CELLS = {
    "lstm": lstm_text(3, 5),
    "gru": gru_text(3, 5),
    "wide": lstm_text(5, 17),
    "minimal": """input x: 3
state h: 17
weight w: 17 20
weight u: 17 20
weight b: 17
a = linear(h, x; w, b)
f = sigmoid(a)
v = f * h
n = linear(v, x; u)
h1 = (1.0 - f) * h + f * tanh(n)
next h = h1
output h1""",
    "one": """input x: 1
state h: 1
state k: 5
weight w: 1 7
weight u: 5 6
weight b: 1
a = linear(h, x, k; w, b)
h1 = tanh(a)
n = linear(h1, k; u)
k1 = softplus(n) * h1 + relu(k) * b
next h = h1
next k = k1
output k1
output h1""",
    **{name.split(" ")[0]: TEXTS[name] for name in TEXTS if " " in name},
}
"""By one word: `reset`, `no`, `two`, `peepholes`, `a` and `states` are those of other tests."""


def tensors(eq: Equations, dtype: torch.dtype, examples: int = EXAMPLES) -> list[list[Tensor]]:
    """Inputs, weights, states and constants."""
    made = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        scale = shape[-1] ** -0.5 if len(shape) == 2 else 1
        return (torch.randn(shape, generator=made, dtype=torch.float64) * scale).to(dtype).requires_grad_()

    inputs = [draw(examples, STEPS, width) for width in eq.inputs.values()]
    weights = [draw(*shape) for shape in eq.weights.values()]
    states = [draw(examples, width) for width in eq.states.values()]
    return [inputs, weights, states, [draw(examples, width) for width in eq.constants.values()]]


def compare(
    text: str, form: str, masked: bool, reverse: bool, dtype=torch.float32, close: float = 1e-4, times: int = 1
) -> None:
    """Outputs, last states and all gradients, and outputs of a pass that keeps nothing. One output gets no gradient."""
    eq, mask = read(text), MASK.repeat(times, 1) if masked else None
    given = tensors(eq, dtype, EXAMPLES * times)
    exact = [[t.detach().double().requires_grad_() for t in group] for group in given]
    found, want = fused.run(text, *given, mask, reverse, form), plain(eq, *exact, mask, reverse)
    with torch.no_grad():
        again = fused.run(text, *given, mask, reverse, form)
    ends = [torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64) for y in want]
    for mine, other, wanted in zip(found, again, want, strict=True):
        torch.testing.assert_close(mine.double(), wanted, rtol=close, atol=close)
        torch.testing.assert_close(other, mine, rtol=close, atol=close)
    first = len(eq.outputs) > 1  # left out
    grads = [
        torch.autograd.grad(
            ys[first:],
            [t for group in groups for t in group],
            [e.to(ys[0].dtype) for e in ends[first:]],
            allow_unused=True,
            materialize_grads=True,
        )
        for ys, groups in ((found, given), (want, exact))
    ]
    for mine, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(mine.double(), wanted, rtol=10 * close, atol=10 * close)


def interpret(form: str) -> None:
    """Cells of every kind, random ones, half precision, and as modules run them."""
    for name in ("lstm", "peepholes", "two"):
        for masked, reverse in ((False, False), (True, True)):
            compare(CELLS[name], form, masked, reverse)
    for at, name in enumerate(["gru", "wide", "minimal", "one", "reset", "no", "a", "states"]):
        compare(CELLS[name], form, bool(at & 1), bool(at & 2))
    for seed in (3, 8, 17):
        compare(str(drawn(seed)), form, bool(seed % 2), seed % 3 == 0, close=1e-3)
    compare(CELLS["peepholes"], form, True, True, times=7)  # several programs share the batch
    compare(lstm_text(3, 150), "steps", True, False, close=1e-3)  # and the columns
    half(form)
    if form == "fused":
        module()


def half(form: str) -> None:
    """Products of tiles of bfloat16 are beyond Triton's interpreter."""
    compare(CELLS["lstm"], form, True, False, torch.float16, 5e-3)
    if form == "steps":
        compare(CELLS["lstm"], form, True, False, torch.bfloat16, 5e-2)


def module() -> None:
    """As generated modules run it: no states given, and derivatives of derivatives."""
    text = CELLS["gru"]
    inputs, weights, _, _ = tensors(read(text), torch.float32)
    found: dict[str, list[Tensor]] = {}
    for way in ("fused", "plain"):
        with using(way):
            y, h = Recurrence(text)(inputs, weights)
        (d,) = torch.autograd.grad(y.sum() + h.sum(), inputs, create_graph=True)
        found[way] = [y, h, d, *torch.autograd.grad(d.square().sum(), [*inputs, *weights])]
    for mine, wanted in zip(*found.values(), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-3, atol=1e-3)


def compiled(name: str) -> None:
    """The kernels of a cell by the compiler itself, for a GPU that need not be here."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    plan = Plan(read(CELLS[name]))
    for source in (text_of.fused(plan, True, False), text_of.steps(plan, True, False)):
        functions = launch._functions(source)
        for spec in source.kernels.values():
            types = {t: "*u8" if t == "mask" else "*fp32" for t in spec.tensors} | dict.fromkeys(spec.numbers, "i32")
            chosen = {"BB": 16, "PRECISION": "ieee"}
            function = functions[spec.name]
            constants = {n: chosen[n] for n in function.arg_names if n in chosen}
            signature = types | dict.fromkeys(constants, "constexpr")
            made = ASTSource(function, signature, {(function.arg_names.index(n),): v for n, v in constants.items()})
            assert re.search(r"\.entry", triton.compile(made, target=GPUTarget("cuda", 80, 32)).asm["ptx"])


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # exp of what is masked, in numpy
    what, argument = sys.argv[1:]
    {"interpret": interpret, "compile": compiled}[what](argument)
