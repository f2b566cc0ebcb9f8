"""The backward pass of a compiled recurrence: the walk back in C, and gradients of many steps at once.

It goes piece by piece: the adjoints of a piece of steps are still in the cache when the gradients of inputs and weights
are computed from them, and there is never more of them than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from archlang.compiler.recurrent.plan import Plan
from torch import Tensor

from .arguments import PIECE, Arguments, joined, point, rows, vectors


def gradients(
    arguments: Arguments,
    states: dict[str, Tensor],
    tape: Tensor,
    given: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of inputs, weights, constants and given states, in this order; None where one is not needed.

    states: of all steps, [T + 1, B, n]. given: gradients of outputs and of last states; None: zero."""
    eq, flags = arguments.plan.equations, iter(needed)
    wanted = {name for name in (*eq.inputs, *eq.weights, *eq.constants) if next(flags)}
    back = Back(arguments, states, tape, given, wanted)
    back.walk()
    found = {**back.sources(), **back.weights()}
    first = (g for g, absent in zip(back.first, arguments.absent, strict=True) if not absent)
    ordered = [found.get(name) for name in (*eq.inputs, *eq.weights, *eq.constants)]
    return [*ordered, *(g if next(flags) else None for g in first)]


# --- Which products -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stretch:
    """Products whose adjoints lie beside each other, in columns start … stop, by name."""

    start: int
    stop: int
    products: tuple[str, ...]


@dataclass(frozen=True)
class Outer:
    """Adjoints of a stretch times vectors, summed over steps and examples: gradients of weights. vectors: inputs and
    constants by name, others by node; with the first column that each product has for it."""

    stretch: Stretch
    vectors: tuple[tuple[str | int, tuple[int, ...]], ...]


def stretches(plan: Plan, products: Iterable[str]) -> Iterator[Stretch]:
    """Products with adjoints, split where columns are between them."""
    start, end, part = 0, -1, list[str]()
    for product in sorted((p for p in products if p in plan.columns), key=lambda p: plan.columns[p]):
        if plan.columns[product] != end:
            if part:
                yield Stretch(start, end, tuple(part))
            start, part = plan.columns[product], []
        part.append(product)
        end = plan.columns[product] + plan.widths[product]
    if part:
        yield Stretch(start, end, tuple(part))


def outers(plan: Plan) -> list[Outer]:
    """All products that make gradients of weights. Those of the same adjoints are one."""
    found: dict[Stretch, list[tuple[str | int, tuple[int, ...]]]] = {}
    for hoisted in plan.hoisted:
        firsts = dict(hoisted.products)
        for stretch in stretches(plan, firsts):
            for at, name in enumerate(hoisted.operands):
                found.setdefault(stretch, []).append((name, tuple(firsts[p][at] for p in stretch.products)))
    for group in plan.groups:
        rounds: list[dict[str, int]] = []  # a product may read a vector twice
        for product, first in group.products:
            new = next((r for r in rounds if product not in r), None)
            if new is None:
                rounds.append(new := {})
            new[product] = first
        for firsts_of in rounds:
            for stretch in stretches(plan, firsts_of):
                found.setdefault(stretch, []).append((group.node, tuple(firsts_of[p] for p in stretch.products)))
    return [Outer(stretch, tuple(vectors)) for stretch, vectors in found.items()]


# --- The walk -----------------------------------------------------------------------------------------------------


class Back:
    def __init__(
        self,
        arguments: Arguments,
        states: dict[str, Tensor],
        tape: Tensor,
        given: Sequence[Tensor | None],
        wanted: set[str],
    ) -> None:
        self.arguments, self.plan, self.states, self.tape = arguments, arguments.plan, states, tape
        self.wanted = wanted
        plan, steps, batch, new = self.plan, arguments.steps, arguments.batch, arguments.new
        eq = plan.equations
        self.outputs = given[: len(eq.outputs)]
        self.first = [
            new(batch, width, zero=True) if g is None else g.clone(memory_format=torch.contiguous_format)
            for width, g in zip(eq.states.values(), given[len(eq.outputs) :], strict=True)
        ]
        self.totals = new(-(-batch // arguments.rows()), plan.totals_width, zero=True)
        pointwise = {name for name in (*eq.inputs, *eq.constants) if plan.values[name] in plan.adjoints}
        live = [h for h in plan.hoisted if any(product in plan.columns for product, _ in h.products)]
        pulled = {name for hoisted in live for name in hoisted.operands}
        self.pointwise = pointwise
        self.inputs = {
            name: new(steps, batch, width, zero=name not in pointwise and name not in pulled)
            for name, width in eq.inputs.items()
            if name in pointwise or name in wanted
        }
        self.constants = {name: new(batch, width, zero=True) for name, width in eq.constants.items()}
        self.outers = [
            outer for outer in outers(plan) if any(plan.products[p].weight in wanted for p in outer.stretch.products)
        ]
        self.sums = [
            new(outer.stretch.stop - outer.stretch.start, sum(self._width(v) for v, _ in outer.vectors), zero=True)
            for outer in self.outers
        ]

    def _width(self, vector: str | int) -> int:
        return self.plan.widths[vector] if isinstance(vector, str) else self.plan.flat.widths[vector]

    def walk(self) -> None:
        """Fills all sums, piece by piece."""
        arguments, made = self.arguments, self.arguments.kernel
        steps, batch, width = arguments.steps, arguments.batch, self.plan.columns_width
        if not steps or not batch:
            return
        holder: list[Tensor] = []
        fields = made.backward_type()
        self._fill(fields, holder)
        pulls = list(self._pulls())
        piece = max(1, min(steps, PIECE // max(1, batch * width * arguments.like.element_size())))
        adjoints = arguments.new(piece * batch, width)
        for stop in range(steps, 0, -piece):
            start = max(0, stop - piece)
            low = (steps - stop if arguments.reverse else start) * batch
            high = low + (stop - start) * batch
            fields.start, fields.stop = start, stop
            fields.adjoints = adjoints.data_ptr() - low * width * adjoints.element_size()
            made.call("back", fields, batch, arguments.rows())
            self._gather(adjoints[: high - low], low, high, pulls)

    def _fill(self, fields: Any, holder: list[Tensor]) -> None:
        arguments, plan = self.arguments, self.plan
        eq = plan.equations
        arguments.fill(fields, holder)
        point(fields, holder, "tape", self.tape)
        fields.tape_row = plan.tape_width
        for at, sequence in enumerate(self.states.values()):
            point(fields, holder, f"state{at}", sequence)
        for at, run in enumerate(plan.runs):
            packed = arguments.packed_rows(run.products, plan.flat.widths[run.node])
            point(fields, holder, f"packed{at}", packed)
        for at, (name, gradient) in enumerate(zip(eq.outputs, self.outputs, strict=True)):
            rows(fields, holder, f"given{at}", self._sequence(gradient, plan.widths[name]))
        for at, first in enumerate(self.first):  # a tile reads all that it needs of them before it writes
            point(fields, holder, f"last{at}", first)
            point(fields, holder, f"first{at}", first)
        point(fields, holder, "totals", self.totals)
        for at, name in enumerate(eq.inputs):
            if name in self.pointwise:
                point(fields, holder, f"to_input{at}", self.inputs[name])
        for at, name in enumerate(eq.constants):
            point(fields, holder, f"to_constant{at}", self.constants[name])

    def _sequence(self, gradient: Tensor | None, width: int) -> Tensor:
        """[T, B, n] with the elements of each vector beside each other."""
        if gradient is None:
            return self.arguments.new(1, 1, width, zero=True).expand(self.arguments.steps, self.arguments.batch, width)
        return vectors(gradient.transpose(0, 1))

    # --- Pieces ---------------------------------------------------------------------------------------------------

    def _pulls(self) -> Iterator[tuple[Stretch, tuple[str, ...], Tensor]]:
        """Products that make gradients of inputs and constants: adjoints of a stretch times a matrix."""
        for hoisted in self.plan.hoisted:
            if self.wanted & {*hoisted.operands}:
                for stretch in stretches(self.plan, (p for p, _ in hoisted.products)):
                    yield stretch, hoisted.operands, self.arguments.hoisted_weight(hoisted, stretch.products)

    def _gather(self, adjoints: Tensor, low: int, high: int, pulls: list) -> None:
        begun = {name for name in self.inputs if name in self.pointwise}
        for stretch, names, weight in pulls:
            part = adjoints[:, stretch.start : stretch.stop]
            if len(names) == 1 and names[0] in self.inputs:
                into = self.inputs[names[0]].flatten(0, 1)[low:high]
                torch.addmm(into, part, weight, beta=float(names[0] in begun), out=into)
                begun.add(names[0])
                continue
            pieces = (part @ weight).split([self.plan.widths[n] for n in names], 1)
            for name, piece in zip(names, pieces, strict=True):
                self._join(name, piece, low, high, begun)
        for outer, total in zip(self.outers, self.sums, strict=True):
            vectors = joined([self._vector(v, low, high) for v, _ in outer.vectors], 1)
            total.addmm_(adjoints[:, outer.stretch.start : outer.stretch.stop].t(), vectors)

    def _join(self, name: str, piece: Tensor, low: int, high: int, begun: set[str]) -> None:
        if name in self.constants:
            self.constants[name] += piece.view(-1, self.arguments.batch, piece.shape[1]).sum(0)
        elif name in self.inputs:
            into = self.inputs[name].flatten(0, 1)[low:high]
            if name in begun:
                into += piece
            else:
                into.copy_(piece)
            begun.add(name)

    def _vector(self, vector: str | int, low: int, high: int) -> Tensor:
        """[steps · B, n]: what products read, at the steps of a piece."""
        plan, flat, batch = self.plan, self.plan.flat, self.arguments.batch
        if isinstance(vector, str):
            if vector in self.arguments.inputs:
                x = self.arguments.inputs[vector][low // batch : high // batch]
                return x.reshape(high - low, x.shape[-1])
            return self.arguments.constants[vector].repeat((high - low) // batch, 1)
        if flat.kinds[vector] == "state":
            sequence, before = self.states[flat.names[vector]], not self.arguments.reverse
        elif vector in plan.following:
            sequence, before = self.states[plan.following[vector]], self.arguments.reverse
        else:
            first = plan.tape[vector]
            return self.tape.flatten(0, 1)[low:high, first : first + flat.widths[vector]]
        shift = 0 if before else batch
        return sequence.flatten(0, 1)[low + shift : high + shift]

    # --- Results --------------------------------------------------------------------------------------------------

    def sources(self) -> dict[str, Tensor]:
        """Gradients of inputs [B, T, n] and constants [B, n]."""
        found = {name: x.transpose(0, 1) for name, x in self.inputs.items()} | self.constants
        return {name: found[name] for name in found if name in self.wanted}

    def weights(self) -> dict[str, Tensor]:
        """Gradients of weights."""
        plan, shapes = self.plan, self.plan.equations.weights
        found = {name: self.arguments.new(*shape, zero=True) for name, shape in shapes.items() if name in self.wanted}
        for outer, total in zip(self.outers, self.sums, strict=True):
            column = 0
            for vector, firsts in outer.vectors:
                width = self._width(vector)
                self._add(found, outer.stretch.products, firsts, total[:, column : column + width])
                column += width
        sums = self.totals.sum(0)
        for name, at in plan.totals.items():
            product = plan.products.get(name)
            of = name if product is None else product.bias
            if of in found:
                part = slice(*product.rows) if product is not None and product.rows else slice(None)
                found[of][part] += sums[at : at + plan.widths[name]]
        return found

    def _add(self, found: dict[str, Tensor], products: Sequence[str], firsts: Sequence[int], whole: Tensor) -> None:
        """Adds rows [of all products, n] to columns of the gradients of weights."""
        row = 0
        for name, first in zip(products, firsts, strict=True):
            step, width = self.plan.products[name], self.plan.widths[name]
            if step.weight in found:
                part = slice(*step.rows) if step.rows else slice(None)
                found[step.weight][part, first : first + whole.shape[1]] += whole[row : row + width]
            row += width
