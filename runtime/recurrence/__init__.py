"""Recurrences that run: the equations of a cell, walked along an axis.

Generated modules hold a `Recurrence` for each scan whose cell has equations. The ways in which it can run compute the
same, up to rounding:

- `compiled`: C made for the equations and built where it runs, on a CPU in single or double precision;
- `layer`: the layer of PyTorch that has the same equations (LSTM, GRU, a plain one), on a GPU;
- `fused`: kernels made for the equations, on a GPU;
- `eager`: a loop of tensor operations with a derived backward pass, anywhere;
- `plain`: a loop that PyTorch's autograd, tracers and transforms follow: what export, `torch.compile`, `vmap` and
  forward-mode derivatives get.

Gradients of gradients go through `plain` as well. Only cuDNN's layers have none: where those are needed on a GPU, ask
for another way by `using`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import torch
from archlang.compiler.diagnostics import Notice
from archlang.compiler.recurrent.equations import Assign, Equations, read
from archlang.compiler.recurrent.expressions import functions
from torch import Tensor

from . import eager, layers
from .plain import plain

__all__ = ["WAYS", "Recurrence", "using"]

WAYS = ("compiled", "layer", "fused", "eager", "plain")
VARIABLE = "ARCHLANG_RECURRENCE"  # in the environment: a way for the whole process

_chosen: ContextVar[str | None] = ContextVar("recurrence", default=None)


@contextmanager
def using(way: str | None) -> Iterator[None]:
    """Recurrences inside run in one of `WAYS`, and fail where they can't; None: in the one that fits best."""
    if way is not None and way not in WAYS:
        raise ValueError(f"recurrences run in one of the ways {', '.join(WAYS)}, not `{way}`")
    token = _chosen.set(way)
    try:
        yield
    finally:
        _chosen.reset(token)


class _Call(NamedTuple):
    """What a recurrence is called with, in the order in which every way takes it."""

    inputs: Sequence[Tensor]
    weights: Sequence[Tensor]
    states: Sequence[Tensor | None]
    constants: Sequence[Tensor]
    mask: Tensor | None
    reverse: bool


class Recurrence:
    """A recurrence, from the text form of its equations. Raises ValueError where they don't fit together."""

    def __init__(self, text: str) -> None:
        self.equations = read(text)
        self.text = str(self.equations)

    @property
    def functions(self) -> frozenset[str]:
        """The pointwise functions in it, by the names of `compiler.recurrent.equations`."""
        return frozenset(f for step in self.equations.steps if isinstance(step, Assign) for f in functions(step.value))

    def __repr__(self) -> str:
        eq = self.equations
        return f"Recurrence({', '.join(eq.inputs)} -> {', '.join(eq.outputs)}; {', '.join(eq.states)})"

    def __reduce__(self) -> tuple[type[Recurrence], tuple[str]]:
        return Recurrence, (self.text,)

    def __call__(
        self,
        inputs: Sequence[Tensor],
        weights: Sequence[Tensor],
        states: Sequence[Tensor | None] = (),
        constants: Sequence[Tensor] = (),
        *,
        mask: Tensor | None = None,
        reverse: bool = False,
    ) -> tuple[Tensor, ...]:
        """Outputs [B, T, n] in order, then last states [B, n].

        inputs: [B, T, n] each. weights, states [B, n] and constants [B, n]: in the order of the equations. A state that
        is None (or all, where none are given) starts at zero. mask: bool [B, T]; where it is false the states stay as
        they are and the outputs are zero. reverse: from the last step to the first; outputs stand where their inputs
        stood."""
        states = tuple(states) or (None,) * len(self.equations.states)
        call = _Call(inputs, weights, states, constants, mask, reverse)
        if _traced((*inputs, *weights)) or inputs[0].numel() == 0:
            return plain(self.equations, *call)
        kind = inputs[0].device.type
        if not torch.is_autocast_enabled(kind):
            return self._run(call)
        dtype = torch.get_autocast_dtype(kind)
        inputs, weights, constants = ([t.to(dtype) for t in group] for group in (inputs, weights, constants))
        states = [None if s is None else s.to(dtype) for s in states]
        with torch.autocast(kind, enabled=False):
            return self._run(_Call(inputs, weights, states, constants, mask, reverse))

    def _run(self, call: _Call) -> tuple[Tensor, ...]:
        _check(self.equations, call)
        asked = _chosen.get() or os.environ.get(VARIABLE)
        if asked is not None:
            return _WAYS[asked](self, call)
        for way in _ways(call.inputs[0], call.mask):
            try:
                return _WAYS[way](self, call)
            except Unfit:
                continue
        return plain(self.equations, *call)


def _check(equations: Equations, call: _Call) -> None:
    """Are the tensors what the equations say? Kernels read them as such, and look no further. Raises RuntimeError."""
    like, eq = call.inputs[0], equations
    batch, steps = like.shape[:2]
    wanted: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
        *((f"input `{n}`", t, (batch, steps, w)) for (n, w), t in zip(eq.inputs.items(), call.inputs, strict=True)),
        *((f"weight `{n}`", t, s) for (n, s), t in zip(eq.weights.items(), call.weights, strict=True)),
        *((f"state `{n}`", t, (batch, w)) for (n, w), t in zip(eq.states.items(), call.states, strict=True)),
        *((f"`{n}`", t, (batch, w)) for (n, w), t in zip(eq.constants.items(), call.constants, strict=True)),
    ]
    for what, tensor, shape in wanted:
        if tensor is None:
            continue
        if tensor.shape != shape:
            raise RuntimeError(f"{what} should have the shape {list(shape)}, found {list(tensor.shape)}")
        if tensor.dtype != like.dtype or tensor.device != like.device:
            found = f"{tensor.dtype} on {tensor.device}"
            raise RuntimeError(f"{what} should be {like.dtype} on {like.device}, as the first input is, found {found}")
    if call.mask is not None and call.mask.shape != (batch, steps):
        raise RuntimeError(f"the mask should have the shape {[batch, steps]}, found {list(call.mask.shape)}")


class Unfit(Exception):
    """This way can't run this recurrence; another can."""


def _ways(like: Tensor, mask: Tensor | None) -> list[str]:
    """What fits, best first. `plain` always does."""
    if like.device.type == "cpu":
        return ["compiled", "eager"] if like.dtype in (torch.float32, torch.float64) else ["eager"]
    if like.device.type == "cuda":
        return [*(["layer"] if mask is None else []), "fused", "eager"]
    return ["eager"]


def _traced(tensors: Sequence[Tensor]) -> bool:
    """Does something watch each operation, which would not see into ours?"""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or any(type(t) not in (Tensor, torch.nn.Parameter) for t in tensors)
        or any(t.device.type == "meta" for t in tensors)
        or torch._C._len_torch_dispatch_stack() > 0
    )


_Way = Callable[[Recurrence, _Call], tuple[Tensor, ...]]


def _compiled(of: Recurrence, call: _Call) -> tuple[Tensor, ...]:
    from .build import NoCompiler
    from .compiled import run

    try:
        return run(of.text, *call)
    except NoCompiler as reason:
        if _chosen.get() == "compiled":
            raise
        _say(f"recurrences run as loops of tensor operations, which takes longer: {reason}")
        raise Unfit from reason


@cache
def _say(text: str) -> None:
    """A notice, once."""
    warnings.warn(text, Notice, stacklevel=2)


def _fused(of: Recurrence, call: _Call) -> tuple[Tensor, ...]:
    made = _fused_kernels()
    if made is None or call.inputs[0].dtype not in made.TYPES:
        raise Unfit("there are no kernels for this type of number here")
    try:
        return made.run(of.text, *call)
    except made.NoTriton as reason:
        raise Unfit(str(reason)) from reason


@cache
def _fused_kernels() -> Any:
    """The module that has them, where there is one."""
    try:
        return import_module(f"{__name__}.fused")
    except ImportError:
        return None


def _eager(of: Recurrence, call: _Call) -> tuple[Tensor, ...]:
    try:
        return eager.run(of.text, *call)
    except eager.Unsupported as reason:
        raise Unfit(str(reason)) from reason


def _layer(of: Recurrence, call: _Call) -> tuple[Tensor, ...]:
    found = layers.layer(of.text)
    if found is None or call.mask is not None:
        raise Unfit("no layer of PyTorch computes this")
    return layers.run(found, of.equations, call.inputs, call.weights, call.states, call.reverse)


def _plain(of: Recurrence, call: _Call) -> tuple[Tensor, ...]:
    return plain(of.equations, *call)


_WAYS: dict[str, _Way] = {"compiled": _compiled, "layer": _layer, "fused": _fused, "eager": _eager, "plain": _plain}
