"""How large gradients are: of the whole, by module, and through the depth of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


class Gradients:
    """Norms of the gradient of each parameter as one update had them, kept on the device until they are read."""

    def __init__(self, named: Mapping[str, nn.Parameter]) -> None:
        self._keys = {id(parameter): key for key, parameter in named.items()}
        self._sizes = {key: parameter.numel() for key, parameter in named.items()}
        self._kept: dict[str, Tensor] = {}

    def keep(self, learning: Iterable[nn.Parameter]) -> None:
        """Takes the gradients that these parameters have now. Does not wait for the device."""
        for parameter in learning:
            if parameter.grad is not None:
                # In single precision the squares of what explodes would overflow.
                wide = torch.float32 if parameter.device.type == "mps" else torch.float64
                norm = torch.linalg.vector_norm(parameter.grad.detach(), dtype=wide)
                self._kept[self._keys[id(parameter)]] = norm

    def read(self, scale: float = 1.0) -> dict[str, float]:
        """The norm of each parameter's gradient, divided by `scale`; then forgets them."""
        if not self._kept:
            return {}
        values = torch.stack(list(self._kept.values())).tolist()
        found = {key: value / scale for key, value in zip(self._kept, values, strict=True)}
        self._kept = {}
        return found

    def even(self, norms: Mapping[str, float]) -> dict[str, float]:
        """The root mean square of the gradient in each layer: of all numbers of the module that owns them."""
        squares: dict[str, float] = {}
        sizes: dict[str, int] = {}
        for key, norm in norms.items():
            layer = _owner(key)
            squares[layer] = squares.get(layer, 0.0) + norm * norm
            sizes[layer] = sizes.get(layer, 0) + self._sizes[key]
        return {layer: (square / sizes[layer]) ** 0.5 for layer, square in squares.items()}


def _owner(key: str) -> str:
    """The layer of a parameter: a spectral norm keeps what it divides one module further in."""
    layer, normed, _ = key.partition(".parametrizations.")
    return layer if normed else key.rpartition(".")[0] or key


def whole(norms: Iterable[float]) -> float:
    """The norm of what consists of parts with these norms."""
    return sum(norm * norm for norm in norms) ** 0.5


def by_module(norms: Mapping[str, float]) -> dict[str, float]:
    """The norms of top-level modules, and of weights that stand by themselves."""
    groups: dict[str, list[float]] = {}
    for key, norm in norms.items():
        groups.setdefault(key.partition(".")[0], []).append(norm)
    return {module: whole(parts) for module, parts in groups.items()}
