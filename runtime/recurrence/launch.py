"""Kernels in Triton: made from the text of a recurrence, kept, launched.

Triton reads the source of a function that it compiles, as a traceback would: the text is given to `linecache`, so that
no file is needed. What it compiles it keeps in a cache of its own.
"""

from __future__ import annotations

import hashlib
import linecache
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from archlang.compiler.recurrent.equations import read
from archlang.compiler.recurrent.plan import Plan
from archlang.compiler.recurrent.triton import Kernel as Spec
from archlang.compiler.recurrent.triton import Source, fused, steps
from torch import Tensor

from .arguments import Kernel

SPILLED = 64
"""How many registers of a thread may lie in memory before a kernel counts as one that does not fit."""


class NoTriton(Exception):
    """Triton is not there, or can't compile here; the message says what happened."""


class TooLarge(Exception):
    """A kernel needs more of the chip than there is."""


def interpreted() -> bool:
    """Does Triton run kernels in Python, on any device? Tests do so."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def unavailable() -> str:
    """Why there is no Triton here, or nothing."""
    try:
        from triton.runtime import driver

        if not interpreted():
            driver.active.get_current_target()  # builds what it needs for that: fails where there is no C compiler
    except ImportError:
        return "triton is not installed"
    except Exception as failure:  # drivers raise what they like
        return str(failure) or type(failure).__name__
    return ""


def precision() -> str:
    """How products of float32 are to be computed: as PyTorch's own."""
    matmul = torch.backends.cuda.matmul
    chosen = getattr(matmul, "fp32_precision", None)
    if chosen == "none":
        chosen = getattr(torch.backends, "fp32_precision", None)
    allowed = matmul.allow_tf32 if chosen is None else chosen == "tf32"
    return "tf32" if allowed else "ieee"


class Kernels(Kernel):
    """The kernels of a recurrence in one form, `fused` or `steps`. Raises NoTriton."""

    def __init__(self, text: str, form: str, masked: bool, reverse: bool) -> None:
        if reason := unavailable():
            raise NoTriton(reason)
        self.plan = Plan(read(text))
        self.equations = self.plan.equations
        source = (fused if form == "fused" else steps)(self.plan, masked, reverse)
        self.functions = _functions(source)
        self.specs: dict[str, Spec] = source.kernels

    def launch(
        self, name: str, tensors: Mapping[str, Tensor], numbers: Mapping[str, int], rows: int, **more: Any
    ) -> bool:
        """Runs a kernel on all rows of the batch; rows: of one program. False: it did, but much of it lies in memory
        that should lie in registers. Raises TooLarge, NoTriton; then it did not run."""
        spec = self.specs[name]
        given: list[Any] = [*(tensors[t] for t in spec.tensors), *(numbers[n] for n in spec.numbers)]
        grid = (-(-numbers["B"] // rows), spec.columns)
        try:
            with _on(given[0]):
                made = self.functions[name][grid](*given, BB=rows, **more)
        except Exception as failure:
            raise _known(failure) from failure
        return (getattr(made, "n_spills", 0) or 0) <= SPILLED


def _known(failure: Exception) -> Exception:
    """What went wrong, as what those who call know."""
    from triton.errors import TritonError
    from triton.runtime.errors import OutOfResources

    if isinstance(failure, OutOfResources):
        return TooLarge(str(failure))
    return NoTriton(str(failure)) if isinstance(failure, TritonError) else failure


def _on(tensor: Tensor) -> AbstractContextManager:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _functions(source: Source) -> dict[str, Any]:
    name = f"<recurrence {hashlib.sha256(source.text.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(source.text), None, source.text.splitlines(keepends=True), name)
    found: dict[str, Any] = {"__name__": "archlang_recurrence"}
    # Names in the text are ours, with numbers: of the equations it has only those and what functions they apply.
    exec(compile(source.text, name, "exec", dont_inherit=True), found)  # noqa: S102
    return {kernel: found[kernel] for kernel in source.kernels}


@cache
def kernels(text: str, form: str, masked: bool, reverse: bool) -> Kernels:
    """The kernels of equations, which are made once in a process. Raises NoTriton."""
    return Kernels(text, form, masked, reverse)
