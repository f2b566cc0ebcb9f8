"""Units that never fire: those that an activation sends to zero for every example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from archlang.compiler.source import Span
from torch import Tensor, nn

from ..recurrence import Recurrence
from .observer import Function, Observer

_CUT = ("relu", "relu_", "relu6", "hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min", "clamp_min_", "threshold")
"""Functions that are zero, and have no gradient, on one side. (`hardtanh` and `clamp` where their bound is zero.)"""
_CUT_IN_EQUATIONS = {"relu", "max"}
_CHANNELS = (
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    *("batch_norm", "group_norm", "instance_norm"),
)
_FEATURES = ("linear", "layer_norm", "rms_norm", "embedding", "matmul", "__matmul__")

LEAST = 10
"""Units are judged from so many values of each on."""


@dataclass
class Layer:
    """The units of one activation. alive: bool [units], on the device. seen: values of each unit. span: its place in
    the spec, where it has one."""

    alive: Tensor
    seen: int
    span: Span | None


class Units(Observer):
    """Watches which units fire, over as many forward passes as are run under it. Waits for the device only when it is
    read.

    A unit is a channel after a convolution or a norm of channels, and a feature (along the last axis) otherwise. A
    layer is called after the module with weights that ran last before it, or after itself where it has a label."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.layers: dict[tuple[str, Any], Layer] = {}
        self._axes: dict[torch.Size, int] = {}  # of values of a shape, the axis of their units
        self._last = ""

    def wants(self, function: Function) -> bool:
        name = getattr(function, "__name__", "")
        return name in _CUT or name in _CHANNELS or name in _FEATURES

    def ran(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = function(*args, **kwargs)
        name = getattr(function, "__name__", "")
        if not isinstance(result, Tensor) or not result.is_floating_point() or result.dim() < 2:
            return result
        if name in _CUT:
            if _from_zero(name, args, kwargs):
                self._count(function, result.detach())
        else:
            channels = name in _CHANNELS
            self._axes[result.shape] = 1 if channels else result.dim() - 1
            self._last = self.spot(function).layer or self._last
        return result

    def _count(self, function: Function, value: Tensor) -> None:
        spot = self.spot(function)
        axis = self._axes.get(value.shape, 1 if value.dim() in (2, 4, 5) else value.dim() - 1)
        others = [i for i in range(value.dim()) if i != axis]
        alive = value.ne(0).any(dim=others[0]) if len(others) == 1 else value.ne(0).movedim(axis, 0).flatten(1).any(1)
        name = spot.layer if _is_activation(spot.layer, self.paths) else self._last or spot.function
        key = (name, spot.step.span if spot.step is not None else spot.function)
        known = self.layers.get(key)
        seen = value.numel() // max(1, len(alive))
        if known is not None and len(known.alive) == len(alive):
            alive, seen = alive | known.alive, seen + known.seen
        self.layers[key] = Layer(alive, seen, spot.step.span if spot.step is not None else None)

    def read(self) -> dict[str, Dead]:
        """By layer, the share of its units that never fired, where enough was seen."""
        judged = {key: layer for key, layer in self.layers.items() if layer.seen >= LEAST}
        if not judged:
            return {}
        shares = torch.stack([1 - layer.alive.float().mean() for layer in judged.values()]).tolist()
        found: dict[str, Dead] = {}
        for ((name, _), layer), share in zip(judged.items(), shares, strict=True):
            again = sum(known == name or known.startswith(f"{name} (") for known in found)
            found[f"{name} ({again + 1})" if again else name] = Dead(share, len(layer.alive), layer.span)
        return found


def recurrences(module: nn.Module) -> list[Recurrence]:
    """The scans of a generated module that run as one function each, which is not seen into."""
    kinds = {kind for inner in module.modules() for kind in type(inner).__mro__}
    return [value for kind in kinds for value in vars(kind).values() if isinstance(value, Recurrence)]


def hidden(module: nn.Module) -> bool:
    """Do recurrences hold units to look for?"""
    return any(scan.functions & _CUT_IN_EQUATIONS for scan in recurrences(module))


@dataclass(frozen=True)
class Dead:
    """The share of a layer's `units` that never fired."""

    share: float
    units: int
    span: Span | None


def _from_zero(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Does the function cut off what is below zero?"""
    if name.startswith(("hardtanh", "clamp", "threshold")):
        given = args[1] if len(args) > 1 else kwargs.get("min", kwargs.get("min_val", kwargs.get("threshold")))
        return isinstance(given, (int, float)) and given == 0
    return True


def _is_activation(path: str, paths: dict[nn.Module, str]) -> bool:
    """Is it a module of its own, and nothing else?"""
    return any(known == path and isinstance(m, (nn.ReLU, nn.ReLU6, nn.Hardtanh)) for m, known in paths.items())
