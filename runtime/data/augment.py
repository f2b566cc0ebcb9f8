"""Images varied while a network learns from them: on the device, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from archlang.compiler.training_plan import Augmentation, Shift
from torch import Tensor


def augment(x: Tensor, how: Sequence[Augmentation]) -> Tensor:
    """Images [B, C, H, W], each varied on its own. Draws from PyTorch's generator of the device."""
    for one in how:
        x = shift(x, one.pixels) if isinstance(one, Shift) else flip(x)
    return x


def shift(x: Tensor, pixels: int) -> Tensor:
    """Moves every image by up to `pixels` each way; what comes into view repeats the border."""
    batch, _, height, width = x.shape
    by = torch.randint(-pixels, pixels + 1, (2, batch, 1), device=x.device)
    rows = (by[0] + torch.arange(height, device=x.device)).clamp(0, height - 1)
    columns = (by[1] + torch.arange(width, device=x.device)).clamp(0, width - 1)
    image = torch.arange(batch, device=x.device)[:, None, None]
    return x.movedim(1, -1)[image, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def flip(x: Tensor) -> Tensor:
    """Mirrors each image left to right with a chance of one half."""
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(mirrored, x.flip(-1), x)
