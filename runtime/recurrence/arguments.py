"""The arguments of a compiled recurrence: its kernel, its tensors sorted out, and how they lie in memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from archlang.compiler.recurrent.c import is_number, source, whole
from archlang.compiler.recurrent.equations import Equations, Product, read
from archlang.compiler.recurrent.plan import Hoisted, Plan
from torch import Tensor

from .build import NoCompiler, library

TILE = 64
"""The largest number of rows of a batch that are walked together."""

PIECE = 1 << 21
"""How many bytes of adjoints are made before they are read: about what the second cache holds."""


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

    def pack(self, place: int, strides: Sequence[int], shape: Sequence[int], to: Tensor, row: int, column: int) -> None:
        """The part [K, N] of a matrix at an address into its panels [N / panel, rows, panel], from a row and a column
        on."""
        rows, panel = to.shape[1:]
        into = ctypes.c_void_p(to.data_ptr() + row * panel * to.element_size())
        numbers = map(ctypes.c_long, (*strides, *shape))
        self.library.pack(ctypes.c_void_p(place), *numbers, into, ctypes.c_long(rows), ctypes.c_long(column))


def kernel(text: str, double: bool, extra: tuple[str, ...] = ()) -> Kernel:
    """The kernel of equations, which is made once in a process, as is what went wrong. Raises NoCompiler."""
    found = _made(text, double, extra)
    if isinstance(found, NoCompiler):
        raise found
    return found


@cache
def _made(text: str, double: bool, extra: tuple[str, ...]) -> Kernel | NoCompiler:
    try:
        return Kernel(read(text), double, extra)
    except NoCompiler as failure:
        return NoCompiler(str(failure))


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
        return vectors(x.transpose(0, 1))

    @property
    def like(self) -> Tensor:
        return next(iter([*self.inputs.values(), *self.weights.values()]))

    def new(self, *shape: int, zero: bool = False) -> Tensor:
        found = torch.empty(shape, dtype=self.like.dtype)
        _in_large_pages(found)
        return found.zero_() if zero else found

    def rows(self) -> int:
        """How many rows of the batch are walked together."""
        threads = max(1, torch.get_num_threads())
        return max(1, min(TILE, -(-self.batch // threads)))

    def parts(self, products: Sequence[tuple[str, int]], width: int) -> Tensor:
        """[rows of all products, width]: the columns of their weights from the given ones on."""
        steps = [(self.plan.products[name], first) for name, first in products]
        (one, first), (last, _) = steps[0], steps[-1]
        adjacent = all(
            a.weight == b.weight and i == j and a.rows and b.rows and a.rows[1] == b.rows[0]
            for (a, i), (b, j) in pairwise(steps)
        )
        if adjacent and one.rows and last.rows:
            return self.weights[one.weight][one.rows[0] : last.rows[1], first : first + width]
        return joined([self._part(step, first, width) for step, first in steps], 0)

    def _part(self, step: Product, first: int, width: int) -> Tensor:
        weight = self.weights[step.weight]
        return weight[slice(*step.rows) if step.rows else slice(None), first : first + width]

    def packed(self, operands: Sequence[Sequence[tuple[str, int]]], widths: Sequence[int]) -> Tensor:
        """The weights of products of vectors that are joined, as panels of columns [N / panel, K, panel].

        operands: for each vector, all products with the first column of it in their weights. widths: of the vectors."""
        found, row = self._panels(sum(widths), sum(self.plan.widths[name] for name, _ in operands[0])), 0
        for products, width in zip(operands, widths, strict=True):
            column = 0
            for name, first in products:
                place, down, along = self._place(name, first)
                self.kernel.pack(place, (along, down), (width, self.plan.widths[name]), found, row, column)
                column += self.plan.widths[name]
            row += width
        return found

    def packed_rows(self, products: Sequence[tuple[str, int]], width: int) -> Tensor:
        """The transposed weights of products of one vector, as panels as well."""
        found, row = self._panels(sum(self.plan.widths[name] for name, _ in products), width), 0
        for name, first in products:
            place, *strides = self._place(name, first)
            self.kernel.pack(place, strides, (self.plan.widths[name], width), found, row, 0)
            row += self.plan.widths[name]
        return found

    def _panels(self, rows: int, columns: int) -> Tensor:
        panel = self.kernel.panel
        return self.new(-(-columns // panel), rows, panel, zero=columns % panel != 0)

    def _place(self, product: str, first: int) -> tuple[int, int, int]:
        """The address of a product's weights from a column on, and their strides."""
        step = self.plan.products[product]
        weight = self.weights[step.weight]
        down, along = weight.stride()
        start = step.rows[0] if step.rows else 0
        return weight.data_ptr() + (start * down + first * along) * weight.element_size(), down, along

    def joined_inputs(self, names: Iterable[str]) -> Tensor:
        """[T · B, n] of inputs and constants beside each other."""
        found = [self.inputs[n] if n in self.inputs else self._at_all_steps(n) for n in names]
        whole = found[0] if len(found) == 1 else torch.cat(found, -1)
        return whole.reshape(self.steps * self.batch, whole.shape[-1])

    def _at_all_steps(self, name: str) -> Tensor:
        return self.constants[name].expand(self.steps, -1, -1)

    def hoisted_weight(self, hoisted: Hoisted, products: Iterable[str] | None = None) -> Tensor:
        """[rows, columns] of products before the loop, all or some in an order of their own."""
        firsts = dict(hoisted.products)
        order = list(firsts) if products is None else list(products)
        columns = [
            self.parts([(p, firsts[p][at]) for p in order], self.plan.widths[name])
            for at, name in enumerate(hoisted.operands)
        ]
        return joined(columns, 1)

    def fill(self, fields: Any, holder: list[Tensor]) -> None:
        """The fields that both passes have. holder: keeps what they point to."""
        eq = self.plan.equations
        fields.T, fields.B = self.steps, self.batch
        fields.reverse = int(self.reverse)
        point(fields, holder, "mask", self.mask)
        for at, x in enumerate(self.inputs.values()):
            rows(fields, holder, f"input{at}", x)
        for at, x in enumerate(self.constants.values()):
            point(fields, holder, f"constant{at}", x)
        for at, (name, shape) in enumerate(eq.weights.items()):
            if len(shape) == 1:
                point(fields, holder, f"weight{at}", self.weights[name].contiguous())


@cache
def _advise() -> Any:
    """The system's `madvise`, or None."""
    try:
        return ctypes.CDLL(None).madvise if sys.platform == "linux" else None
    except (AttributeError, OSError, TypeError):
        return None


def _in_large_pages(tensor: Tensor) -> None:
    """Asks for pages of 2 MiB, where a tensor has some: the system gives them out one by one, which takes its time."""
    page = 1 << 21
    start, size = tensor.data_ptr(), tensor.numel() * tensor.element_size()
    first, end = -(-start // page) * page, (start + size) // page * page
    if end > first and (advise := _advise()) is not None:
        advise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), 14)  # MADV_HUGEPAGE; what it says is no matter


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


def vectors(x: Tensor) -> Tensor:
    """A sequence with the elements of each vector beside each other."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()
