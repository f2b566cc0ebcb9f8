"""Recurrences on the CPU: C that is made for their equations, compiled where it runs.

Gradients of weights and inputs, products over many steps, are left to PyTorch. Sequences lie as [T, B, n]; what comes
and goes as [B, T, n] is a view of that, and inputs may lie as they like.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from archlang.compiler.recurrent.equations import Equations
from archlang.compiler.recurrent.plan import Hoisted
from torch import Tensor

from .arguments import Arguments, Kernel, kernel, point, rows
from .build import NoCompiler
from .gradients import gradients
from .plain import plain

__all__ = ["NoCompiler", "run"]


def run(
    equations: Equations | str,
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    states: Sequence[Tensor | None],
    constants: Sequence[Tensor] = (),
    mask: Tensor | None = None,
    reverse: bool = False,
    extra: tuple[str, ...] = (),
) -> tuple[Tensor, ...]:
    """The outputs [B, T, n] and then the last states [B, n] of a recurrence.

    inputs: [B, T, n] each. weights, states [B, n] (None: zeros) and constants [B, n]: in the order of the equations.
    mask: bool [B, T]; where it is False, states stay and outputs are 0. reverse: walks from the last step to the first.
    All of one type, float32 or float64, on the CPU. extra: flags for the compiler. Raises NoCompiler."""
    like = next(iter([*inputs, *weights, *(s for s in states if s is not None)]))
    given = [s for s in states if s is not None]
    made = kernel(equations if isinstance(equations, str) else str(equations), like.dtype == torch.float64, extra)
    graded = torch.is_grad_enabled() and any(t.requires_grad for t in (*inputs, *weights, *constants, *given))
    absent = tuple(s is None for s in states)
    result = _Walk.apply(made, mask, reverse, absent, graded, *inputs, *weights, *constants, *given)
    return cast(tuple[Tensor, ...], result)


# --- Forward ------------------------------------------------------------------------------------------------------


class _Walk(torch.autograd.Function):
    """The walk over all steps."""

    @staticmethod
    def forward(
        ctx: Any,
        made: Kernel,
        mask: Tensor | None,
        reverse: bool,
        absent: tuple[bool, ...],
        graded: bool,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        arguments = Arguments(made, mask, reverse, absent, tensors)
        outputs, sequences, tape = _forward(arguments, graded)
        last = -1 if not reverse else 0
        final = []
        for name, sequence in sequences.items():
            full = graded or made.full[list(made.equations.states).index(name)]
            at = last if full else arguments.steps & 1
            final.append(sequence[at].clone())
        if graded:
            ctx.made, ctx.mask, ctx.reverse, ctx.absent = made, mask, reverse, absent
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(*tensors, *sequences.values(), tape)
        return (*outputs, *final)

    @staticmethod
    def backward(ctx: Any, *given: Tensor):
        saved, count = ctx.saved_tensors, len(ctx.made.equations.states)
        tensors, sequences, tape = saved[: -count - 1], saved[-count - 1 : -1], saved[-1]
        if torch.is_grad_enabled():  # derivatives of these derivatives are wanted
            return (None, None, None, None, None, *_again(ctx, tensors, given))
        arguments = Arguments(ctx.made, ctx.mask, ctx.reverse, ctx.absent, tensors)
        states = dict(zip(ctx.made.equations.states, sequences, strict=True))
        return (None, None, None, None, None, *gradients(arguments, states, tape, given, ctx.needs_input_grad[5:]))


def _forward(arguments: Arguments, training: bool) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
    """Outputs [B, T, n]; states of all steps [T + 1, B, n] (or of two); the tape [T, B, columns]."""
    plan, made = arguments.plan, arguments.kernel
    steps, batch = arguments.steps, arguments.batch
    tape = arguments.new(steps if training else 0, batch, plan.tape_width)
    sequences = _state_sequences(arguments, training)
    holder: list[Tensor] = []
    fields = made.forward_type()
    arguments.fill(fields, holder)
    fields.tape_row = plan.tape_width
    point(fields, holder, "tape", tape)
    for at, sequence in enumerate(sequences.values()):
        point(fields, holder, f"state{at}", sequence)
    for at, hoisted in enumerate(plan.hoisted):
        point(fields, holder, f"hoisted{at}", _hoisted(arguments, hoisted))
    for at, group in enumerate(plan.groups):
        point(fields, holder, f"packed{at}", arguments.packed([group.products], [plan.flat.widths[group.node]]))
    outputs = _outputs(arguments, fields, holder, sequences)
    if batch and steps:
        made.call("train" if training else "infer", fields, batch, arguments.rows())
    return [_masked(arguments, y.transpose(0, 1), at) for at, y in enumerate(outputs)], sequences, tape


def _hoisted(arguments: Arguments, hoisted: Hoisted) -> Tensor:
    """The packed weights of products of inputs."""
    operands = [[(name, firsts[at]) for name, firsts in hoisted.products] for at in range(len(hoisted.operands))]
    return arguments.packed(operands, [arguments.plan.widths[name] for name in hoisted.operands])


def _state_sequences(arguments: Arguments, training: bool) -> dict[str, Tensor]:
    found = {}
    for at, (name, width) in enumerate(arguments.plan.equations.states.items()):
        full = training or arguments.kernel.full[at]
        sequence = arguments.new(arguments.steps + 1 if full else 2, arguments.batch, width)
        sequence[arguments.steps if full and arguments.reverse else 0] = arguments.states[name]
        found[name] = sequence
    return found


def _outputs(arguments: Arguments, fields: Any, holder: list[Tensor], sequences: dict[str, Tensor]) -> list[Tensor]:
    """[T, B, n] each; what is the next value of a state lies where the state does."""
    found = []
    for at, name in enumerate(arguments.plan.equations.outputs):
        state = arguments.plan.shared_outputs.get(at)
        if state is not None:
            found.append(sequences[state][:-1] if arguments.reverse else sequences[state][1:])
        else:
            found.append(arguments.new(arguments.steps, arguments.batch, arguments.plan.widths[name]))
            rows(fields, holder, f"output{at}", found[-1])
    return found


def _masked(arguments: Arguments, output: Tensor, at: int) -> Tensor:
    if arguments.mask is None or at not in arguments.plan.shared_outputs:
        return output
    return output.masked_fill(~arguments.mask.unsqueeze(-1), 0.0)


def _again(ctx: Any, tensors: Sequence[Tensor], given: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Gradients that can be derived again: those of the plain loop."""
    eq = ctx.made.equations
    rest = iter(tensors)
    inputs, weights, constants = ([next(rest) for _ in names] for names in (eq.inputs, eq.weights, eq.constants))
    states = [None if absent else next(rest) for absent in ctx.absent]
    ends = plain(eq, inputs, weights, states, constants, ctx.mask, ctx.reverse)
    pairs = [(y, d) for y, d in zip(ends, given, strict=True) if d is not None and y.requires_grad]
    needed = ctx.needs_input_grad[5:]
    wanted = [t for t, need in zip(tensors, needed, strict=True) if need]
    found = iter(
        torch.autograd.grad([y for y, _ in pairs], wanted, [d for _, d in pairs], create_graph=True, allow_unused=True)
    )
    return [next(found) if need else None for need in needed]
