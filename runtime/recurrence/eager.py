"""Recurrences as loops of tensor operations, with a backward pass that was derived: no compiler, any device.

Compared with what autograd records of a loop: products of inputs leave it, all gates of a vector are one product,
nothing is recorded step by step, gradients of weights are one product after the loop, and each operation writes where
its result is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise, repeat
from typing import Any

import torch
from archlang.compiler.recurrent.equations import Equations, read
from archlang.compiler.recurrent.loop_text import Loop, loop
from archlang.compiler.recurrent.merge import Part, Run, Unsupported, merge
from torch import Tensor

from .plain import above, differentiable, starts

__all__ = ["Unsupported", "run"]


def run(
    text: str,
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    states: Sequence[Tensor | None] = (),
    constants: Sequence[Tensor] = (),
    mask: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """As `plain`, of equations in their text form. Raises Unsupported."""
    program = prepared(text, mask is not None)
    begun = starts(program.equations, inputs, states)
    tensors = (*inputs, *begun, *constants, *weights)
    graded = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return _Recurrence.apply(program, mask, reverse, graded, *tensors)


class Program:
    """Equations made ready: the loop's source as two functions."""

    def __init__(self, equations: Equations, masked: bool) -> None:
        self.equations = equations
        self.loop: Loop = loop(merge(equations), masked)
        self.merged = self.loop.merged
        names: dict[str, Any] = {"torch": torch, "aten": torch.ops.aten}
        names |= {"above": above, "positive": _positive, "inverse": _inverse}
        # Names in the text are identifiers, numbers are printed floats: `read` lets nothing else through.
        exec(compile(self.loop.text, "<recurrence>", "exec", dont_inherit=True), names)  # noqa: S102
        self.forward: Callable[..., None] = names["forward"]
        self.backward: Callable[..., tuple[Tensor, ...]] = names["backward"]


@lru_cache(256)
def prepared(text: str, masked: bool) -> Program:
    """Raises Unsupported, ValueError."""
    return Program(read(text), masked)


def _positive(a: Tensor) -> Tensor:
    return (a > 0).to(a.dtype)


def _inverse(a: Tensor, by: float) -> Tensor:
    return by / a


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, program: Program, mask: Tensor | None, reverse: bool, graded: bool, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        walk = _Walk(program, tensors, mask, reverse)
        outputs, kept = walk.forward(graded)
        if graded:
            # Saved, not set on ctx: so memory is free after the backward pass, and what is changed before is noticed.
            ctx.save_for_backward(mask, *tensors, *walk.buffers, *(value for values in kept for value in values))
            ctx.program, ctx.reverse, ctx.kept = program, reverse, len(kept[0])
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        mask, *saved = ctx.saved_tensors
        needed = ctx.needs_input_grad[4:]
        tensors, rest = saved[: len(needed)], saved[len(needed) :]
        if torch.is_grad_enabled():  # derivatives of these derivatives are wanted
            found = again(ctx.program.equations, tensors, needed, mask, ctx.reverse, grads)
        else:
            walk = _Walk(ctx.program, tensors, mask, ctx.reverse, rest)
            flat, size = rest[len(walk.buffers) :], ctx.kept
            ends = range(0, len(flat), size) if size else ()
            kept = [tuple(flat[i : i + size]) for i in ends] or [()] * walk.length
            found = walk.backward(kept, grads, needed)
        return (None, None, None, None, *found)


def again(
    equations: Equations,
    tensors: Sequence[Tensor],
    needed: Sequence[bool],
    mask: Tensor | None,
    reverse: bool,
    grads: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Gradients that can be derived again, of those tensors that need one, by a loop that autograd follows. tensors:
    inputs, states, constants and weights."""
    eq, rest = equations, iter(tensors)
    inputs, states, constants = ([next(rest) for _ in table] for table in (eq.inputs, eq.states, eq.constants))
    wanted = [t for t, need in zip(tensors, needed, strict=True) if need]
    found = iter(differentiable(eq, inputs, list(rest), states, constants, mask, reverse, grads, wanted))
    return [next(found) if need else None for need in needed]


class _Walk:
    """One walk along the steps. Tensors of all steps are [T, B, n]."""

    def __init__(
        self,
        program: Program,
        tensors: Sequence[Tensor],
        mask: Tensor | None,
        reverse: bool,
        buffers: Sequence[Tensor] | None = None,
    ) -> None:
        eq = program.equations
        self.program, self.loop, self.merged, self.reverse = program, program.loop, program.merged, reverse
        given = iter(tensors)
        inputs = {name: next(given) for name in eq.inputs}
        self.states = {name: next(given) for name in eq.states}
        self.constants = {name: next(given) for name in eq.constants}
        self.weights = dict(zip(eq.weights, given, strict=True))
        self.like = tensors[0]
        self.examples, self.length = tensors[0].shape[:2]
        self.mask = None if mask is None else mask.t().unsqueeze(-1)
        self.widths = self.merged.equations.widths
        made = iter(self._made(inputs, mask) if buffers is None else buffers)
        self.inputs = {name: next(made) for name in eq.inputs}
        self.gates = next(made)
        self.walked = {name: next(made) for name in eq.states}
        self.tracked = {name: next(made) for name in self.loop.tracked}

    @property
    def buffers(self) -> tuple[Tensor, ...]:
        """What the backward pass reads and was not given."""
        return (*self.inputs.values(), self.gates, *self.walked.values(), *self.tracked.values())

    def _made(self, inputs: dict[str, Tensor], mask: Tensor | None) -> Iterator[Tensor]:
        """The buffers of a new walk."""
        for x in inputs.values():
            # Not a number times zero is not zero: what is masked must not matter even then.
            x = x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0)
            yield x.transpose(0, 1).contiguous()
        yield self._all(self.merged.width)
        for width in self.program.equations.states.values():
            yield self._all(width, 1)
        for name in self.loop.tracked:
            yield self._all(self.widths[name])

    def _all(self, width: int, more: int = 0) -> Tensor:
        return self.like.new_empty(self.length + more, self.examples, width)

    def _before(self, state: str) -> Tensor:
        """A state before each step."""
        return self.walked[state][1:] if self.reverse else self.walked[state][:-1]

    def _after(self, state: str) -> Tensor:
        return self.walked[state][:-1] if self.reverse else self.walked[state][1:]

    def _steps(self, streams: Iterable[Tensor], backward: bool = False) -> list[Sequence[Tensor]]:
        turned = self.reverse != backward
        return [stream.unbind(0)[::-1] if turned else stream.unbind(0) for stream in streams]

    def _columns(self, whole: Tensor) -> list[Tensor]:
        """Columns of the gates that each run within the loop adds to."""
        return [whole[..., slice(*one.at)] for one in self.merged.within]

    def _gate(self, whole: Tensor) -> dict[str, Tensor]:
        return {gate.name: whole[..., slice(*gate.at)] for gate in self.merged.gates}

    def _sources(self) -> list[Tensor]:
        return [{**self.constants, **self.weights}[name] for name in self.loop.sources]

    # --- Forward ------------------------------------------------------------------------------------------------

    def forward(self, graded: bool) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, ...]]]:
        """Outputs [B, T, n] and last states, and what the backward pass needs of each step."""
        self._ahead()
        last = 0 if self.reverse else -1
        for name, first in self.states.items():
            self.walked[name][-1 - last].copy_(first)
        copies = {i: self._all(self.widths[self.merged.equations.outputs[i]]) for i in self.loop.copies}
        gates = self._gate(self.gates)
        streams = [*self._columns(self.gates), *(gates[name] for name in self.loop.gates)]
        streams += [self.inputs[name] for name in self.loop.inputs]
        streams += [*self.tracked.values(), *map(self._after, self.states), *copies.values()]
        streams += [] if self.mask is None else [self.mask]
        kept: list[tuple[Tensor, ...]] = []
        matrices = [_matrix(one, self.weights).t().contiguous() for one in self.merged.within]
        begun = [self.walked[name][-1 - last] for name in self.states]
        keep = kept.append if graded else _forget
        self.program.forward(_rows(self._steps(streams), self.length), keep, *begun, *self._sources(), *matrices)
        outputs = [self._output(i, copies) for i in range(len(self.merged.equations.outputs))]
        return (*outputs, *(walked[last].clone() for walked in self.walked.values())), kept

    def _output(self, i: int, copies: dict[int, Tensor]) -> Tensor:
        if i in copies:
            found = copies[i] if self.mask is None else copies[i].masked_fill_(~self.mask, 0)
        else:
            name, following = self.merged.equations.outputs[i], self.merged.equations.next
            found = self._after(next(state for state, value in following.items() if value == name))
        return found.transpose(0, 1)

    def _ahead(self) -> None:
        """What gates take from inputs and constants, and their biases."""
        flat, bias = self.gates.flatten(0, 1), self._bias()
        runs = [
            (one, self.inputs[one.operand].flatten(0, 1)) for one in self.merged.ahead if one.operand in self.inputs
        ]
        free = set(range(self.merged.width))
        later = []
        for one, x in runs:
            if free >= set(range(*one.at)):
                free -= set(range(*one.at))
                torch.addmm(bias[slice(*one.at)], x, _matrix(one, self.weights).t(), out=flat[:, slice(*one.at)])
            else:
                later.append((one, x))
        for gate in self.merged.gates:  # a run covers whole gates
            if gate.at[0] in free:
                flat[:, slice(*gate.at)] = bias[slice(*gate.at)]
        for one, x in later:
            flat[:, slice(*one.at)].addmm_(x, _matrix(one, self.weights).t())
        for one in self.merged.ahead:
            if one.operand in self.constants:
                self.gates[..., slice(*one.at)] += self.constants[one.operand] @ _matrix(one, self.weights).t()

    def _bias(self) -> Tensor:
        bias = self.like.new_zeros(self.merged.width)
        for gate in self.merged.gates:
            bias[slice(*gate.at)] = gate.shift
            for name, rows in gate.biases:
                bias[slice(*gate.at)] += self.weights[name][slice(*rows)]
        return bias

    # --- Backward -----------------------------------------------------------------------------------------------

    def backward(
        self, kept: list[tuple[Tensor, ...]], grads: Sequence[Tensor], needed: Sequence[bool]
    ) -> list[Tensor | None]:
        """Gradients of inputs, states, constants and weights, as far as they are needed."""
        eq = self.merged.equations
        outputs = [d.transpose(0, 1).contiguous() for d in grads[: len(eq.outputs)]]
        outputs = outputs if self.mask is None else [d.masked_fill(~self.mask, 0) for d in outputs]
        adjoints = self._all(self.merged.width)
        if self.loop.idle:
            adjoints.zero_()
        inputs = {name: self._all(x.shape[-1]) for name, x in self.inputs.items() if name in self.loop.moved}
        places = self._gate(adjoints) | inputs
        streams = [*self._columns(adjoints), *(places[name] for name in self.loop.moved), *outputs]
        streams += [] if self.mask is None else [self.mask]
        sums = {name: self.like.new_zeros(self.examples, self.widths[name]) for name in self.loop.summed}
        steps = zip(reversed(kept), _rows(self._steps(streams, True), self.length), strict=True)
        matrices = [_matrix(one, self.weights).contiguous() for one in self.merged.within]
        states = self.program.backward(
            ((one, *rest) for one, rest in steps),
            self._full,
            *grads[len(eq.outputs) :],
            *sums.values(),
            *self._sources(),
            *matrices,
        )
        wanted = dict(zip((*self.inputs, *self.states, *self.constants, *self.weights), needed, strict=True))
        found: dict[str, Tensor | None] = {**inputs, **dict(zip(self.states, states, strict=True))}
        found |= {name: total if name in self.constants else total.sum(0) for name, total in sums.items()}
        self._products(adjoints, found, wanted)
        moved = {name: d.transpose(0, 1) for name in self.inputs if (d := found.get(name)) is not None}
        return [(found | moved).get(name) if need else None for name, need in wanted.items()]

    def _full(self, width: int, number: float) -> Tensor:
        return self.like.new_full((self.examples, width), number)

    def _products(self, adjoints: Tensor, found: dict[str, Tensor | None], wanted: dict[str, bool]) -> None:
        """Adds the gradients that pass through products outside the loop, and those of their weights."""
        flat = adjoints.flatten(0, 1)
        sums = flat.sum(0) if any(wanted[name] for gate in self.merged.gates for name, _ in gate.biases) else None
        for gate in self.merged.gates:
            for name, rows in gate.biases:
                if wanted[name] and sums is not None:
                    self._grown(name, found)[slice(*rows)] += sums[slice(*gate.at)]
        for one in (*self.merged.within, *self.merged.ahead):
            mine = flat[:, slice(*one.at)]
            if one.operand in self.constants:
                mine = adjoints[..., slice(*one.at)].sum(0)
            if one in self.merged.ahead and wanted[one.operand]:
                self._through(one, mine, found)
            if any(wanted[part.weight] for block in one.blocks for part in block):
                self._weigh(one, mine.t() @ self._vectors(one.operand), found)

    def _through(self, one: Run, mine: Tensor, found: dict[str, Tensor | None]) -> None:
        d = found.get(one.operand)
        product = (
            mine @ _matrix(one, self.weights)
            if d is None
            else d.flatten(0, -2).addmm_(mine, _matrix(one, self.weights))
        )
        found[one.operand] = product.view(*(self.inputs | self.constants)[one.operand].shape)

    def _vectors(self, name: str) -> Tensor:
        """What gates took from one vector, at all steps and examples."""
        eq = self.merged.equations
        if name in self.constants:
            return self.constants[name]
        if name in self.states:
            found = self._before(name)
        elif name in self.tracked:
            found = self.tracked[name]
        elif name in self.inputs:
            found = self.inputs[name]
        elif name in eq.next.values():
            found = self._after(next(state for state, value in eq.next.items() if value == name))
        else:
            found = self._gate(self.gates)[name]
        return found.flatten(0, 1)

    def _weigh(self, one: Run, whole: Tensor, found: dict[str, Tensor | None]) -> None:
        first = 0
        for block in one.blocks:
            height = block[0].rows[1] - block[0].rows[0]
            for part in block:
                self._grown(part.weight, found)[slice(*part.rows), slice(*part.columns)] += whole[
                    first : first + height
                ]
            first += height

    def _grown(self, name: str, found: dict[str, Tensor | None]) -> Tensor:
        """The gradient of a weight so far."""
        grown = found.get(name)
        if grown is None:
            grown = found[name] = torch.zeros_like(self.weights[name])
        return grown


def _forget(values: tuple[Tensor, ...]) -> None:
    """Keeps nothing: no gradients are wanted."""


def _rows(streams: list[Sequence[Tensor]], count: int) -> Iterable[tuple[Tensor, ...]]:
    return zip(*streams, strict=True) if streams else repeat((), count)


def _matrix(one: Run, weights: dict[str, Tensor]) -> Tensor:
    """The matrix of a run: rows of gates, columns of the vector."""
    parts = [block[0] for block in one.blocks]
    if all(len(block) == 1 for block in one.blocks) and _follow(parts):
        return weights[parts[0].weight][parts[0].rows[0] : parts[-1].rows[1], slice(*parts[0].columns)]
    return torch.cat([sum((_piece(p, weights) for p in rest), _piece(first, weights)) for first, *rest in one.blocks])


def _follow(parts: Sequence[Part]) -> bool:
    """Do these parts lie one below the other in one weight?"""
    return all(a.weight == b.weight and a.columns == b.columns and a.rows[1] == b.rows[0] for a, b in pairwise(parts))


def _piece(part: Part, weights: dict[str, Tensor]) -> Tensor:
    return weights[part.weight][slice(*part.rows), slice(*part.columns)]
