"""Seeing what a network computes as it runs: each torch function, and where in the spec it came from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from archlang.compiler.emit.body import Step
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..module import place

Function = Callable[..., Any]


@dataclass(frozen=True)
class Spot:
    """Where a function ran. layer: path of the innermost module that was running, "" for the network itself. places:
    what in the spec that was, the innermost first; none of a module that is not generated."""

    function: str
    layer: str
    places: tuple[tuple[Step, ...], ...] = ()

    @property
    def step(self) -> Step | None:
        """The innermost step, the last of a line whose steps can't be told apart."""
        return self.places[0][-1] if self.places else None


class Observer(TorchFunctionMode):
    """Sees every torch function that a module calls, while it is entered as a context; it costs nothing otherwise.

    Functions that others consist of are seen as one, and code that torch compiled is not seen into."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.paths = {inner: path for path, inner in module.named_modules()}

    def wants(self, function: Function) -> bool:
        """Is this a function to be seen?"""
        raise NotImplementedError

    def ran(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a function that is wanted, and returns what it does. Nothing called here is seen in turn."""
        raise NotImplementedError

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return self.ran(func, args, kwargs) if self.wants(func) else func(*args, **kwargs)

    def spot(self, function: Function) -> Spot:
        """Where the function that is being run was called."""
        layer: str | None = None
        places = []
        for frame in _stack():
            if layer is None:
                layer = self._layer(frame)
            steps = place(frame, frame.f_lineno, frame.f_lasti)
            if steps:
                places.append(steps)
        return Spot(getattr(function, "__name__", str(function)), layer or "", tuple(places))

    def _layer(self, frame: FrameType) -> str | None:
        code = frame.f_code
        if not code.co_argcount or code.co_varnames[0] != "self":
            return None
        owner = frame.f_locals.get("self")
        return self.paths.get(owner) if isinstance(owner, nn.Module) else None


def _stack() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def tensors(value: object) -> Iterator[Tensor]:
    """The tensors of real numbers in what a function takes or returns."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors(part)


@dataclass(frozen=True)
class Range:
    """What a tensor holds: its least and greatest finite value (NaN where there are none), and how many of its `size`
    values are NaN and infinite."""

    low: float
    high: float
    nan: int
    infinite: int
    size: int

    @staticmethod
    def of(value: Tensor) -> Range:
        value = value.detach()
        finite = torch.isfinite(value)
        nan = torch.isnan(value)
        big = torch.tensor(float("inf"), dtype=value.dtype, device=value.device)
        known = bool(finite.any())
        low = float(torch.where(finite, value, big).min()) if known else float("nan")
        high = float(torch.where(finite, value, -big).max()) if known else float("nan")
        nans = int(nan.sum())
        return Range(low, high, nans, value.numel() - int(finite.sum()) - nans, value.numel())

    @property
    def finite(self) -> bool:
        return not self.nan and not self.infinite

    def __str__(self) -> str:
        known = "" if self.low != self.low else f"from {self.low:.4g} to {self.high:.4g}"
        odd = [f"{n} of {self.size} {what}" for n, what in ((self.nan, "NaN"), (self.infinite, "infinite")) if n]
        return ", ".join([*([known] if known else []), *odd]) or "nothing"
