"""Recurrences on GPUs: Triton that is made for their equations, compiled where it runs.

Where the weights of a cell fit on the chip, one kernel walks all steps; elsewhere a step is its products, by PyTorch,
and kernels for what stands between them (`stepwise.py`). Both leave the same behind, so that each pass is walked in the
form that fits it. What leaves the loop over steps is left to PyTorch: products of all inputs before it, gradients of
weights after it. Sequences lie as [T, B, n].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from archlang.compiler.recurrent.triton import chip_bytes
from torch import Tensor

from . import stepwise
from .arguments import Arguments
from .eager import again
from .gradients import Back
from .launch import Kernels, NoTriton, TooLarge, interpreted, kernels, precision, unavailable

__all__ = ["TYPES", "NoTriton", "run", "unavailable"]

TYPES = (torch.float32, torch.bfloat16, torch.float16)
"""What inputs and weights may be of. Kernels compute in single precision."""

ROWS = 16
"""Rows of the batch that a fused program walks: as many as a product of tiles needs."""

CHIP = 96 << 10
"""How many bytes a kernel may hold on a chip that does not say."""

_options: dict[tuple, tuple[dict[str, Any], ...]] = {}  # of fused kernels: with what they fit, none where they don't


def run(
    text: str,
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    states: Sequence[Tensor | None] = (),
    constants: Sequence[Tensor] = (),
    mask: Tensor | None = None,
    reverse: bool = False,
    form: str | None = None,
) -> tuple[Tensor, ...]:
    """As `plain`, of equations in their text form, all tensors of one of `TYPES` on one GPU. form: `fused` or `steps`;
    None: what fits. Raises NoTriton."""
    if not inputs[0].is_cuda and not interpreted():
        raise NoTriton("there are kernels for GPUs of CUDA only")
    made = kernels(text, "steps", mask is not None, reverse)
    states = tuple(states) or (None,) * len(made.equations.states)
    given = [s for s in states if s is not None]
    graded = torch.is_grad_enabled() and any(t.requires_grad for t in (*inputs, *weights, *constants, *given))
    call = _Call(text, mask, reverse, tuple(s is None for s in states), form)
    return cast(tuple[Tensor, ...], _Walk.apply(call, graded, *inputs, *weights, *constants, *given))


class _Call:
    """What is no tensor of a call, and how its passes are walked."""

    def __init__(self, text: str, mask: Tensor | None, reverse: bool, absent: tuple[bool, ...], form: str | None):
        self.text, self.mask, self.reverse, self.absent, self.form = text, mask, reverse, absent, form

    def made(self, form: str) -> Kernels:
        return kernels(self.text, form, self.mask is not None, self.reverse)

    def arguments(self, tensors: Sequence[Tensor]) -> Arguments:
        return _Arguments(self.made("steps"), self.mask, self.reverse, self.absent, tensors)

    def walk_fused(self, name: str, arguments: Arguments, tensors: dict[str, Tensor], strides: dict[str, int]) -> bool:
        """Walks all steps in one kernel, if it fits on the chip."""
        if self.form == "steps":
            return False
        like, made = arguments.like, self.made("fused")
        key = (self.text, name, self.mask is not None, self.reverse, like.dtype, like.device, precision())
        numbers = {**strides, "T": arguments.steps, "B": arguments.batch}
        for more in _options[key] if key in _options else _tried(made, name, like, self.form is not None):
            try:
                _options[key] = (more,) if made.launch(name, tensors, numbers, ROWS, **more) else ()
            except TooLarge:
                continue
            return True
        _options[key] = ()
        return False


def _tried(made: Kernels, name: str, like: Tensor, forced: bool) -> tuple[dict[str, Any], ...]:
    """With what to compile a fused kernel, the best first: memory that is read ahead needs room on the chip."""
    if interpreted():
        return ({"PRECISION": precision()},)
    warps = 4 if made.specs[name].widest <= 32 else 8  # more threads have more registers, for weights that lie there
    options = tuple({"PRECISION": precision(), "num_warps": warps, "num_stages": n} for n in (3, 1))
    return options if forced or _fits(made, like) else ()


def _fits(made: Kernels, like: Tensor) -> bool:
    size = like.element_size()
    if size == 4 and precision() == "ieee":
        size *= 2  # without tensor cores each thread holds more of the operands
    limit = CHIP
    if like.is_cuda:
        told = torch.cuda.get_device_properties(like.device)
        limit = getattr(told, "shared_memory_per_block_optin", CHIP)
    return chip_bytes(made.plan, size, ROWS) <= limit


class _Arguments(Arguments):
    """The arguments on a GPU."""

    def new(self, *shape: int, zero: bool = False) -> Tensor:
        make = self.like.new_zeros if zero else self.like.new_empty
        return make(shape)

    def _sequence(self, x: Tensor) -> Tensor:
        return super()._sequence(x).contiguous()

    def common(self) -> dict[str, Tensor]:
        """The tensors that both passes read, by the names that kernels know."""
        found = {f"input{at}": x for at, x in enumerate(self.inputs.values())}
        found |= {f"constant{at}": x for at, x in enumerate(self.constants.values())}
        found |= {f"weight{at}": w.contiguous() for at, w in enumerate(self.weights.values())}
        if self.mask is not None:
            found["mask"] = self.mask.t().contiguous().view(torch.uint8)
        return found


class _Walk(torch.autograd.Function):
    """The walk over all steps."""

    @staticmethod
    def forward(ctx: Any, call: _Call, graded: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        arguments = call.arguments(tensors)
        outputs, sequences, tape = _forward(call, arguments, graded)
        last = 0 if call.reverse else -1
        if graded:
            ctx.call = call
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(*tensors, *sequences, tape)
        return (*outputs, *(sequence[last].clone() for sequence in sequences))

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None):
        call, saved = ctx.call, ctx.saved_tensors
        count = len(call.absent) + 1
        tensors, needed = saved[:-count], ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():  # derivatives of these derivatives are wanted
            return (None, None, *_again(call, tensors, needed, given))
        back = _Gradients(call, call.arguments(tensors), saved[-count:-1], saved[-1], given, needed)
        return (None, None, *back.whole())


def _forward(call: _Call, arguments: Any, training: bool) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Outputs [B, T, n]; states of all steps [T + 1, B, n]; the tape [T, B, columns]."""
    plan, steps, batch = arguments.plan, arguments.steps, arguments.batch
    eq = plan.equations
    tape = arguments.new(steps, batch, plan.tape_width if training else plan.before_width)
    for hoisted in plan.hoisted:
        weight = arguments.hoisted_weight(hoisted).t()
        part = tape.flatten(0, 1)[:, hoisted.column : hoisted.column + weight.shape[1]]
        torch.mm(arguments.joined_inputs(hoisted.operands), weight, out=part)
    sequences = [arguments.new(steps + 1, batch, width) for width in eq.states.values()]
    for sequence, first in zip(sequences, arguments.states.values(), strict=True):
        sequence[steps if call.reverse else 0] = first
    tensors = arguments.common() | {"tape": tape} | {f"state{at}": one for at, one in enumerate(sequences)}
    outputs = {at: arguments.new(steps, batch, plan.widths[name]) for at, name in enumerate(eq.outputs)}
    outputs = {at: y for at, y in outputs.items() if at not in plan.shared_outputs}
    tensors |= {f"output{at}": y for at, y in outputs.items()}
    kind = "train" if training else "infer"
    if not call.walk_fused(kind, arguments, tensors, {}):
        stepwise.forward(arguments, call.made("steps"), kind, tensors, call.text)
    for at, state in plan.shared_outputs.items():
        sequence = sequences[list(eq.states).index(state)]
        outputs[at] = sequence[:-1] if call.reverse else sequence[1:]
        if arguments.mask is not None:
            outputs[at] = outputs[at].masked_fill(~arguments.mask.t().unsqueeze(-1), 0.0)
    return [outputs[at].transpose(0, 1) for at in range(len(eq.outputs))], sequences, tape


class _Gradients(Back):
    """The backward pass: a walk back, then products of many steps at once, as of the compiled form."""

    def __init__(
        self,
        call: _Call,
        arguments: Arguments,
        sequences: Sequence[Tensor],
        tape: Tensor,
        given: Sequence[Tensor | None],
        needed: Sequence[bool],
    ) -> None:
        eq = arguments.plan.equations
        flags = iter(needed)
        wanted = {name for name in (*eq.inputs, *eq.weights, *eq.constants) if next(flags)}
        self.call, self.needed_states = call, tuple(flags)
        super().__init__(arguments, dict(zip(eq.states, sequences, strict=True)), tape, given, wanted)
        self.pulls = list(self._pulls())
        filled = {*self.pointwise, *(name for _, names, _ in self.pulls for name in names)}
        for name in self.inputs.keys() - filled:
            self.inputs[name].zero_()  # only products that nothing reads have read it
        # What is summed up over many steps is so in single precision.
        self.constants = {name: x.float() for name, x in self.constants.items()}
        self.totals = tape.new_zeros(arguments.batch, self.plan.totals_width, dtype=torch.float32)

    def whole(self) -> list[Tensor | None]:
        """Gradients of inputs, weights, constants and given states, in this order; None where one is not needed."""
        eq, flags = self.plan.equations, iter(self.needed_states)
        self.walk()
        found = {**self.sources(), **self.weights()}
        first = (g for g, absent in zip(self.first, self.arguments.absent, strict=True) if not absent)
        ordered = [found.get(name) for name in (*eq.inputs, *eq.weights, *eq.constants)]
        return [*ordered, *(g if next(flags) else None for g in first)]

    def walk(self) -> None:
        arguments, plan, call = self.arguments, self.plan, self.call
        adjoints = arguments.new(arguments.steps, arguments.batch, plan.columns_width)
        tensors, strides = self._tensors(adjoints)
        if not call.walk_fused("back", arguments, tensors, strides):
            stepwise.backward(arguments, call.made("steps"), tensors, strides)
        sums = self.totals.sum(0)
        for name, at in plan.totals.items():
            if name in plan.columns:
                column, width = plan.columns[name], plan.widths[name]
                sums[at : at + width] = adjoints[..., column : column + width].sum((0, 1), dtype=torch.float32)
        self.totals = sums[None]
        self._gather(adjoints.flatten(0, 1), 0, arguments.steps * arguments.batch, self.pulls)

    def _tensors(self, adjoints: Tensor) -> tuple[dict[str, Tensor], dict[str, int]]:
        """By the names that kernels know, and how far rows of gradients of outputs lie apart."""
        eq, strides = self.plan.equations, {}
        found = {**cast(_Arguments, self.arguments).common(), "tape": self.tape, "adjoints": adjoints}
        found |= {"totals": self.totals}
        found |= {f"state{at}": sequence for at, sequence in enumerate(self.states.values())}
        for at, (name, gradient) in enumerate(zip(eq.outputs, self.outputs, strict=True)):
            width = self.plan.widths[name]
            strides[f"given{at}_row"] = 0 if gradient is None else width
            rows = self.tape.new_zeros(width) if gradient is None else gradient.transpose(0, 1).contiguous()
            found[f"given{at}"] = rows
        for at, first in enumerate(self.first):  # the walk reads all that it needs of one before it writes the other
            found |= {f"last{at}": first, f"first{at}": first}
        for at, name in enumerate(eq.inputs):
            if name in self.pointwise:
                found[f"to_input{at}"] = self.inputs[name]
        found |= {f"to_constant{at}": self.constants[name] for at, name in enumerate(eq.constants)}
        return found, strides


def _again(
    call: _Call, tensors: Sequence[Tensor], needed: Sequence[bool], given: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Gradients that can be derived again."""
    eq = call.made("steps").equations
    counts = [len(eq.inputs), len(eq.weights), len(eq.constants)]
    at, places, begun = sum(counts), [], []
    for width, absent in zip(eq.states.values(), call.absent, strict=True):
        begun.append(tensors[0].new_zeros(tensors[0].shape[0], width) if absent else tensors[at])
        places.append(None if absent else at)
        at += not absent
    inputs, weights, constants = (range(sum(counts[:i]), sum(counts[: i + 1])) for i in range(3))
    order = [*inputs, *places, *constants, *weights]
    rest = iter(begun)
    sorted_ = [
        next(rest) if sum(counts[:1]) <= i < counts[0] + len(begun) else tensors[cast(int, p)]
        for i, p in enumerate(order)
    ]
    wanted = [p is not None and needed[p] for p in order]
    widths = [*((*tensors[0].shape[:2], eq.widths[name]) for name in eq.outputs)]
    widths += [(len(tensors[0]), width) for width in eq.states.values()]
    ends = [tensors[0].new_zeros(shape) if g is None else g for g, shape in zip(given, widths, strict=True)]
    found = again(eq, sorted_, wanted, call.mask, call.reverse, ends)
    by = {p: g for p, g in zip(order, found, strict=True) if p is not None}
    return [by.get(p) for p in range(len(tensors))]
