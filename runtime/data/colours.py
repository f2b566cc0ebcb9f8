"""Colours of images [B, C, H, W] in [0, 1], changed by a factor for each image [B]."""

from __future__ import annotations

import torch
from archlang.compiler.augmentations import ColorJitter
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601-2: how bright the eye finds red, green and blue


def jitter(x: Tensor, how: ColorJitter) -> Tensor:
    """Brightness, contrast, saturation and hue changed at random, in an order that is random for each batch."""
    steps = [(brightness, how.brightness), (contrast, how.contrast), (saturation, how.saturation), (turn_hue, how.hue)]
    for index in torch.randperm(len(steps)).tolist():
        change, strength = steps[index]
        if strength:
            by = (torch.rand(len(x), device=x.device) * 2 - 1) * strength
            x = change(x, by if change is turn_hue else 1 + by)
    return x


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """0 is black, 1 the image itself."""
    return _blend(x, torch.zeros_like(x), factor)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """0 is the image's mean grey, 1 the image itself."""
    return _blend(x, _grey(x).mean((1, 2, 3), keepdim=True), factor)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """0 is grey, 1 the image itself. An image of one channel stays as it is."""
    return x if x.shape[1] != 3 else _blend(x, _grey(x), factor)


def turn_hue(x: Tensor, turn: Tensor) -> Tensor:
    """Turns the hue by a part of the full circle. An image of one channel stays as it is."""
    if x.shape[1] != 3:
        return x
    high = x.amax(1)
    spread = high - x.amin(1)
    r, g, b = x.unbind(1)
    safe = torch.where(spread == 0, torch.ones_like(spread), spread)
    sixth = torch.where(high == r, (g - b) / safe, torch.where(high == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    sixth = (sixth / 6 + turn.to(x.dtype).view(-1, 1, 1)).remainder(1.0) * 6
    shades = []
    for n in (5, 3, 1):  # red, green, blue: each a trapezium over the circle, a third of it apart
        k = (sixth + n).remainder(6)
        shades.append(high - spread * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(shades, 1)


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] != 3:
        return x
    weights = torch.tensor(_LUMA, device=x.device, dtype=x.dtype).view(1, 3, 1, 1)
    return (x * weights).sum(1, keepdim=True)


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    share = factor.to(x.dtype).view(-1, 1, 1, 1)
    return (share * x + (1 - share) * other).clamp(0, 1)
