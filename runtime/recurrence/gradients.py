"""The backward pass of a compiled recurrence: the walk back in C, then gradients of all steps at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from .arguments import Arguments, joined, panels, point, rows


def gradients(
    arguments: Arguments,
    states: dict[str, Tensor],
    tape: Tensor,
    given: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of inputs, weights, constants and given states, in this order; None where one is not needed.

    states: of all steps, [T + 1, B, n]. given: gradients of outputs and of last states; None: zero."""
    back = _Back(arguments, states, tape, given)
    if arguments.steps and arguments.batch:
        back.walk()
    eq, wanted = arguments.plan.equations, iter(needed)
    inputs = {name for name in eq.inputs if next(wanted)}
    weights = {name for name in eq.weights if next(wanted)}
    constants = {name for name in eq.constants if next(wanted)}
    by_source = back.sources(inputs, constants)
    by_weight = back.weights(weights)
    found: list[Tensor | None] = [by_source.get(name) for name in eq.inputs]
    found += [by_weight.get(name) for name in eq.weights]
    found += [by_source.get(name) for name in eq.constants]
    present = (g for g, absent in zip(back.first, arguments.absent, strict=True) if not absent)
    return [*found, *(g if next(wanted) else None for g in present)]


class _Back:
    def __init__(
        self, arguments: Arguments, states: dict[str, Tensor], tape: Tensor, given: Sequence[Tensor | None]
    ) -> None:
        self.arguments, self.plan, self.states, self.tape = arguments, arguments.plan, states, tape
        eq, steps, batch, new = self.plan.equations, arguments.steps, arguments.batch, arguments.new
        self.outputs = given[: len(eq.outputs)]
        self.last = given[len(eq.outputs) :]
        walked = bool(steps and batch)
        self.adjoints = new(steps, batch, self.plan.columns_width)
        self.totals = new(-(-batch // arguments.rows()), self.plan.totals_width, zero=True)
        self.first = [
            new(batch, width) if walked else new(batch, width, zero=True) if g is None else g
            for width, g in zip(eq.states.values(), self.last, strict=True)
        ]
        pointwise = {name for name in (*eq.inputs, *eq.constants) if self.plan.values[name] in self.plan.adjoints}
        self.inputs = {name: new(steps, batch, width) for name, width in eq.inputs.items() if name in pointwise}
        self.constants = {
            name: new(batch, width, zero=True) for name, width in eq.constants.items() if name in pointwise
        }

    def walk(self) -> None:
        """Fills adjoints, totals, first, inputs and constants."""
        arguments, plan, made = self.arguments, self.plan, self.arguments.kernel
        eq, fields = plan.equations, made.backward_type()
        holder: list[Tensor] = []
        arguments.fill(fields, holder)
        point(fields, holder, "tape", self.tape)
        fields.tape_row = plan.tape_width
        for at, sequence in enumerate(self.states.values()):
            point(fields, holder, f"state{at}", sequence)
        for at, run in enumerate(plan.runs):
            parts = [arguments.part(p, first, plan.flat.widths[run.node]) for p, first in run.products]
            point(fields, holder, f"packed{at}", panels(joined(parts, 0), made.panel))
        for at, (name, gradient) in enumerate(zip(eq.outputs, self.outputs, strict=True)):
            rows(fields, holder, f"given{at}", self._sequence(gradient, plan.widths[name]))
        for at, (width, gradient) in enumerate(zip(eq.states.values(), self.last, strict=True)):
            last = arguments.new(arguments.batch, width, zero=True) if gradient is None else gradient.contiguous()
            point(fields, holder, f"last{at}", last)
            point(fields, holder, f"first{at}", self.first[at])
        point(fields, holder, "adjoints", self.adjoints)
        point(fields, holder, "totals", self.totals)
        for at, name in enumerate(eq.inputs):
            point(fields, holder, f"to_input{at}", self.inputs.get(name))
        for at, name in enumerate(eq.constants):
            point(fields, holder, f"to_constant{at}", self.constants.get(name))
        made.call("back", fields, arguments.batch, arguments.rows())

    def _sequence(self, gradient: Tensor | None, width: int) -> Tensor:
        """[T, B, n] with the elements of each vector beside each other."""
        if gradient is None:
            return self.arguments.new(1, 1, width, zero=True).expand(self.arguments.steps, self.arguments.batch, width)
        gradient = gradient.transpose(0, 1)
        return gradient if gradient.stride(2) == 1 or width == 1 else gradient.contiguous()

    # --- After the walk -------------------------------------------------------------------------------------------

    def _stretches(self, products: Iterable[str]) -> Iterator[tuple[Tensor, list[str]]]:
        """Adjoints [T · B, n] of products that lie beside each other."""
        columns, widths = self.plan.columns, self.plan.widths
        flat = self.adjoints.flatten(0, 1)
        start, end, part = 0, -1, list[str]()
        for product in sorted((p for p in products if p in columns), key=lambda p: columns[p]):
            if columns[product] != end:
                if part:
                    yield flat[:, start:end], part
                start, part = columns[product], []
            part.append(product)
            end = columns[product] + widths[product]
        if part:
            yield flat[:, start:end], part

    def sources(self, inputs: set[str], constants: set[str]) -> dict[str, Tensor]:
        """Gradients of inputs [B, T, n] and constants [B, n]."""
        plan, arguments = self.plan, self.arguments
        found: dict[str, Tensor] = {}
        sums = {name: x.flatten(0, 1) for name, x in self.inputs.items() if name in inputs}
        for at, hoisted in enumerate(plan.hoisted):
            if not {*inputs, *constants} & {*hoisted.operands}:
                continue
            weight, starts, row = arguments.hoisted_weight(at), dict[str, int](), 0
            for product, _ in hoisted.products:
                starts[product], row = row, row + plan.widths[product]
            for adjoint, products in self._stretches(p for p, _ in hoisted.products):
                order = [weight[starts[p] : starts[p] + plan.widths[p]] for p in products]
                part = weight if len(order) == len(starts) and products == list(starts) else joined(order, 0)
                alone = sums.get(hoisted.operands[0]) if len(hoisted.operands) == 1 else None
                if alone is not None:
                    alone.addmm_(adjoint, part)
                    continue
                whole = adjoint @ part
                for name, piece in zip(
                    hoisted.operands, whole.split([plan.widths[n] for n in hoisted.operands], 1), strict=True
                ):
                    sums[name] = sums[name] + piece if name in sums else piece
        shape = (arguments.steps, arguments.batch, -1)
        for name in inputs:
            if name in sums:
                found[name] = sums[name].reshape(shape).transpose(0, 1)
            else:
                found[name] = torch.zeros_like(arguments.inputs[name]).transpose(0, 1)
        for name in constants:
            total = self.constants.get(name)
            if name in sums:
                part = sums[name].reshape(shape).sum(0)
                total = part if total is None else total + part
            found[name] = torch.zeros_like(arguments.constants[name]) if total is None else total
        return found

    def weights(self, wanted: set[str]) -> dict[str, Tensor]:
        """Gradients of weights."""
        plan, shapes = self.plan, self.plan.equations.weights
        found = {name: self.arguments.new(*shapes[name], zero=True) for name in wanted}
        for hoisted in plan.hoisted:
            firsts = dict(hoisted.products)
            for adjoint, products in self._stretches(p for p, _ in hoisted.products):
                if self._any(products, wanted):
                    whole = adjoint.t() @ self.arguments.joined_inputs(hoisted.operands)
                    column = 0
                    for at, name in enumerate(hoisted.operands):
                        piece = whole[:, column : column + plan.widths[name]]
                        self._add(found, {p: firsts[p][at] for p in products}, piece)
                        column += plan.widths[name]
        for group in plan.groups:
            firsts_of = dict(group.products)
            for adjoint, products in self._stretches(firsts_of):
                if self._any(products, wanted):
                    self._add(found, {p: firsts_of[p] for p in products}, adjoint.t() @ self._operand(group.node))
        sums = self.totals.sum(0)
        for name, at in plan.totals.items():
            product = plan.products.get(name)
            vector = name if product is None else product.bias
            if vector in found:
                rows = slice(*product.rows) if product is not None and product.rows else slice(None)
                found[vector][rows] += sums[at : at + plan.widths[name]]
        return found

    def _any(self, products: Iterable[str], wanted: set[str]) -> bool:
        return any(self.plan.products[p].weight in wanted for p in products)

    def _add(self, found: dict[str, Tensor], products: dict[str, int], whole: Tensor) -> None:
        """Adds rows [of all products, n] to columns of the gradients of weights."""
        row = 0
        for name, first in products.items():
            step, width = self.plan.products[name], self.plan.widths[name]
            if step.weight in found:
                rows = slice(*step.rows) if step.rows else slice(None)
                found[step.weight][rows, first : first + whole.shape[1]] += whole[row : row + width]
            row += width

    def _operand(self, node: int) -> Tensor:
        """[T · B, n]: what products in the loop read, at all steps."""
        plan, flat = self.plan, self.plan.flat
        if flat.kinds[node] == "state":
            sequence, before = self.states[flat.names[node]], not self.arguments.reverse
        elif node in plan.following:
            sequence, before = self.states[plan.following[node]], self.arguments.reverse
        else:
            return self.tape[:, :, plan.tape[node] : plan.tape[node] + flat.widths[node]].flatten(0, 1)
        return (sequence[:-1] if before else sequence[1:]).flatten(0, 1)
