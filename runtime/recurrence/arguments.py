"""The arguments of a compiled recurrence: its kernel, its tensors sorted out, and how they lie in memory."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import torch
from archlang.compiler.recurrent.c import is_number, source, whole
from archlang.compiler.recurrent.equations import Equations, read
from archlang.compiler.recurrent.plan import Plan
from torch import Tensor

from .build import library

TILE = 64
"""The largest number of rows of a batch that are walked together."""


class Kernel:
    """A recurrence of one type of number, compiled. Raises NoCompiler."""

    def __init__(self, equations: Equations, double: bool, extra: tuple[str, ...] = ()) -> None:
        self.plan = plan = Plan(equations)
        self.equations = plan.equations
        text = source(plan, double)
        self.library = library(text.text, extra)
        self.forward_type, self.backward_type = _structure(text.forward), _structure(text.backward)
        self.panel: int = self.library.panel()
        self.full = whole(plan, False)

    def call(self, name: str, fields: ctypes.Structure, batch: int, rows: int) -> None:
        function = getattr(self.library, name)
        integer = ctypes.c_long
        failed = function(
            ctypes.byref(fields), integer(batch), integer(rows), integer(torch.get_num_threads()), _openmp()
        )
        if failed:
            raise MemoryError("there is no memory for a step of a recurrence")


@cache
def kernel(text: str, double: bool, extra: tuple[str, ...] = ()) -> Kernel:
    """The kernel of equations, which is made once in a process."""
    return Kernel(read(text), double, extra)


@cache
def _openmp() -> ctypes.c_void_p:
    """The function that starts PyTorch's own threads, so that ours need no others. None: there is none."""
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p)
    except (AttributeError, OSError, TypeError):
        return ctypes.c_void_p(None)


def _structure(fields: Sequence[str]) -> type[ctypes.Structure]:
    kinds = [(name, ctypes.c_int64 if is_number(name) else ctypes.c_void_p) for name in fields]
    return type("Fields", (ctypes.Structure,), {"_fields_": kinds})


class Arguments:
    """The tensors of a call, sorted out, and what both passes make of them."""

    def __init__(self, made: Kernel, mask: Tensor | None, reverse: bool, absent: tuple[bool, ...], tensors: Sequence):
        eq = made.equations
        self.kernel, self.plan, self.reverse, self.absent = made, made.plan, reverse, absent
        rest = iter(tensors)
        inputs = [next(rest) for _ in eq.inputs]
        self.weights = dict(zip(eq.weights, rest, strict=False))
        constants = [next(rest) for _ in eq.constants]
        given = list(rest)
        self.batch, self.steps = inputs[0].shape[:2]
        self.mask = None if mask is None else mask.to(torch.bool).contiguous()
        self.inputs = {name: self._sequence(x) for name, x in zip(eq.inputs, inputs, strict=True)}
        self.constants = {name: x.contiguous() for name, x in zip(eq.constants, constants, strict=True)}
        first, self.states = iter(given), {}
        for (name, width), missing in zip(eq.states.items(), absent, strict=True):
            self.states[name] = self.new(self.batch, width, zero=True) if missing else next(first)

    def _sequence(self, x: Tensor) -> Tensor:
        if self.mask is not None:
            x = x.masked_fill(~self.mask.unsqueeze(-1), 0.0)  # not a number times zero is not zero
        return x.transpose(0, 1).contiguous()

    @property
    def like(self) -> Tensor:
        return next(iter([*self.inputs.values(), *self.weights.values()]))

    def new(self, *shape: int, zero: bool = False) -> Tensor:
        make = torch.zeros if zero else torch.empty
        return make(shape, dtype=self.like.dtype)

    def rows(self) -> int:
        """How many rows of the batch are walked together."""
        threads = max(1, torch.get_num_threads())
        return max(1, min(TILE, -(-self.batch // threads)))

    def part(self, product: str, first: int, width: int) -> Tensor:
        """Columns of the weight of a product."""
        step = self.plan.products[product]
        weight = self.weights[step.weight]
        if step.rows is not None:
            weight = weight[slice(*step.rows)]
        return weight if weight.shape[1] == width else weight[:, first : first + width]

    def joined_inputs(self, names: Iterable[str]) -> Tensor:
        """[T · B, n] of inputs and constants beside each other."""
        found = [self.inputs[n] if n in self.inputs else self._at_all_steps(n) for n in names]
        whole = found[0] if len(found) == 1 else torch.cat(found, -1)
        return whole.reshape(self.steps * self.batch, whole.shape[-1])

    def _at_all_steps(self, name: str) -> Tensor:
        return self.constants[name].expand(self.steps, -1, -1)

    def hoisted_weight(self, at: int) -> Tensor:
        """[rows, columns] of the products before the loop."""
        hoisted, widths = self.plan.hoisted[at], self.plan.widths
        rows = [
            joined(
                [self.part(product, first, widths[name]) for name, first in zip(hoisted.operands, firsts, strict=True)],
                1,
            )
            for product, firsts in hoisted.products
        ]
        return joined(rows, 0)

    def fill(self, fields: Any, holder: list[Tensor]) -> None:
        """The fields that both passes have. holder: keeps what they point to."""
        eq = self.plan.equations
        fields.T, fields.B, fields.start, fields.stop = self.steps, self.batch, 0, self.steps
        fields.reverse = int(self.reverse)
        point(fields, holder, "mask", self.mask)
        for at, x in enumerate(self.inputs.values()):
            point(fields, holder, f"input{at}", x)
        for at, x in enumerate(self.constants.values()):
            point(fields, holder, f"constant{at}", x)
        for at, (name, shape) in enumerate(eq.weights.items()):
            if len(shape) == 1:
                point(fields, holder, f"weight{at}", self.weights[name].contiguous())


def joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def point(fields: Any, holder: list[Tensor], name: str, tensor: Tensor | None) -> None:
    if tensor is not None:
        holder.append(tensor)
        setattr(fields, name, tensor.data_ptr())


def rows(fields: Any, holder: list[Tensor], name: str, tensor: Tensor) -> None:
    """A sequence [T, B, n] with its steps in memory."""
    point(fields, holder, name, tensor)
    setattr(fields, f"{name}_t", tensor.stride(0))
    setattr(fields, f"{name}_b", tensor.stride(1))


def panels(weight: Tensor, panel: int) -> Tensor:
    """[K, N] as panels of columns [N / panel, K, panel]."""
    short = -weight.shape[1] % panel
    if short:
        weight = torch.nn.functional.pad(weight, (0, short))
    return weight.unflatten(1, (-1, panel)).transpose(0, 1).contiguous()
