"""A program as a module: generated source, compiled and instantiated."""

from __future__ import annotations

import hashlib
import linecache
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import wraps
from itertools import islice
from types import CodeType, FrameType, ModuleType
from typing import Any

import torch
from archlang.compiler.emit.body import Step
from archlang.compiler.emit.games import LOSSES, PLAY
from archlang.compiler.emit.python import Emitted, emit
from archlang.compiler.graph import Program
from torch import nn
from torch.overrides import TorchFunctionMode

_EMITTED = "__emitted__"  # the global of a generated module that says where its lines came from


def build(program: Program, *, started: bool = True, standalone: bool = False) -> nn.Module:
    """The module of a program, its weights started as the spec says.

    It carries `.program` and `.source` (the generated text). An error while it runs says where in the spec it arose.
    started: false leaves its parameters as memory happens to be, for a caller who overwrites them all; on the meta
    device, where there is nothing to fill, they never start. standalone: its scans are loops, which anything that
    follows a module step by step sees through.
    """
    made = module_class(program, emit(program, standalone=standalone))
    with nullcontext() if started and torch.get_default_device().type != "meta" else _Unstarted():
        return made()


class _Unstarted(TorchFunctionMode):
    """While modules are made: what would fill a parameter does nothing. Buffers are computed all the same."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.__name__.endswith("_") and not func.__name__.endswith("__") and func.__name__ != "requires_grad_":
            filled = args[0] if args else kwargs.get("tensor")  # in `Tensor.uniform_`, in `nn.init.uniform_`
            if isinstance(filled, nn.Parameter):
                return filled
        return func(*args, **kwargs)


def module_class(program: Program, emitted: Emitted) -> type[nn.Module]:
    """The network's class, from generated source."""
    digest = hashlib.sha256(emitted.text.encode()).hexdigest()[:12]
    filename = f"<archlang {emitted.network} {digest}>"
    code = compile(emitted.text, filename, "exec", dont_inherit=True)
    linecache.cache[filename] = (len(emitted.text), None, emitted.text.splitlines(keepends=True), filename)
    module = ModuleType(f"archlang_generated_{digest}")  # torch.compile finds globals through sys.modules
    vars(module)[_EMITTED] = emitted
    sys.modules[module.__name__] = module
    exec(code, vars(module))  # noqa: S102  (text that the compiler wrote: names and strings of a spec are literals in it)
    made = _annotating(getattr(module, emitted.network), program, emitted)
    setattr(module, emitted.network, made)  # pickle asks whether a class is what its module calls so
    return made


IN_SPEC = "in_spec"
"""Attribute of an exception that a network's module raised: the Span in the spec of what could not be computed."""


def _annotating(base: type[nn.Module], program: Program, emitted: Emitted) -> type[nn.Module]:
    """The class, with its entry points saying where in the spec an error arose. Nothing changes while torch traces
    it."""
    ways = ("objective", PLAY, *LOSSES.values(), *emitted.entries.values())
    methods = ["__call__", *(m for m in ways if m in vars(base))]
    namespace: dict[str, Any] = {m: _annotated(getattr(base, m)) for m in methods}
    namespace |= {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), {**namespace, "program": program, "source": emitted.text})


def _annotated(method: Callable) -> Callable:
    @wraps(method)
    def run(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return method(self, *args, **kwargs)
        return _run(method, self, args, kwargs)

    return run


def _run(method: Callable, self: nn.Module, args: tuple, kwargs: dict) -> Any:
    try:
        return method(self, *args, **kwargs)
    except Exception as failure:
        found = _places(failure)
        if found:
            vars(failure).setdefault(IN_SPEC, found[0][0].span)
        for note in map(_note, found):
            if note not in getattr(failure, "__notes__", ()):
                failure.add_note(note)
        raise


def _places(failure: BaseException) -> list[tuple[Step, ...]]:
    """What in the spec the innermost generated line came from, then what called it."""
    found: list[tuple[Step, ...]] = []
    traceback = failure.__traceback__
    while traceback is not None:
        found.append(place(traceback.tb_frame, traceback.tb_lineno, traceback.tb_lasti))
        traceback = traceback.tb_next
    return [steps for steps in reversed(found) if steps]


def place(frame: FrameType, line: int, instruction: int) -> tuple[Step, ...]:
    """What in the spec a frame of generated code is at; nothing for other frames.

    line, instruction: where the frame stands (`f_lineno` and `f_lasti`, or a traceback's `tb_lineno` and `tb_lasti`).
    Of a line's steps it is the one that runs, as far as Python can tell, and otherwise all."""
    if frame.f_code is nn.Sequential.forward.__code__:
        return _element(frame.f_locals)
    emitted: Emitted | None = frame.f_globals.get(_EMITTED)
    steps = emitted.lines.get(line, ()) if emitted is not None else ()
    return _running(frame.f_code, instruction, steps)


def _element(frame: Mapping[str, Any]) -> tuple[Step, ...]:
    """Of a generated class that is an nn.Sequential, the element that is running."""
    owner = frame.get("self")
    kind: Any = type(owner)
    emitted: Emitted | None = getattr(kind.__init__, "__globals__", {}).get(_EMITTED)
    if owner is None or emitted is None:
        return ()
    running = [i for i, module in enumerate(owner) if module is frame.get("module")]
    places = emitted.elements.get(type(owner).__name__, [])
    return places[running[0]] if running and running[0] < len(places) else ()


def _running(code: CodeType, instruction: int, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Of a line's steps the one that an instruction belongs to."""
    if len(steps) < 2:
        return steps
    line, last, start, end = next(islice(code.co_positions(), instruction // 2, None))
    if line is None or line != last:
        return steps
    # Columns count bytes of UTF-8.
    piece = linecache.getline(code.co_filename, line).encode()[start:end].decode()
    exact = tuple(step for step in steps if step.text == piece)
    return exact or steps


def _note(steps: tuple[Step, ...]) -> str:
    """`in lenet5.arch:14: c1: conv(6, kernel=5)`."""
    first, last = steps[0].span, steps[-1].span
    shown = []
    for step in steps:
        text = " ".join(step.span.text.split())
        text = f"{step.label}: {text}" if step.label else text
        shown.append(text if len(text) <= 60 else text[:59] + "…")
    where = f"{first.source.name}:{first.line}" + (f"-{last.line}" if last.line > first.line else "")
    return f"in {where}: {' -> '.join(dict.fromkeys(shown))}"
