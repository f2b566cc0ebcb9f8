"""Images varied while a network learns from them: on the device, a batch at a time.

Every function takes and gives images [B, C, H, W], in [0, 1] where colours matter. What is random is drawn here, from
PyTorch's generators; `colours.py` and the functions below with explicit boxes and angles do the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from archlang.compiler.augmentations import (
    Augmentation,
    ColorJitter,
    Crop,
    CutMix,
    Erase,
    Flip,
    Mixup,
    RandomResizedCrop,
    Rotate,
    Shift,
)
from torch import Tensor
from torch.nn import functional as F

from .base import Preprocessing
from .colours import jitter
from .images import center

_TRIES = 10  # pieces that are tried before the middle is taken


class Augmenter:
    """What a plan's `augment` does to batches.

    size: height and width that images should have in the end, where they come larger. classes: how many there are, for
    blended targets. target: which tensor of a batch holds them. images: how many of a batch's first tensors are images
    to be varied, each by itself."""

    def __init__(
        self,
        how: Sequence[Augmentation],
        prep: Preprocessing,
        *,
        size: int | None,
        classes: int = 0,
        target: int = 1,
        images: int = 1,
    ) -> None:
        self.how = [one for one in how if not isinstance(one, (Mixup, CutMix))]
        self.blends = [one for one in how if isinstance(one, (Mixup, CutMix))]
        self.prep, self.size, self.classes, self.target, self.images = prep, size, classes, target, images
        self.cuts = any(isinstance(one, RandomResizedCrop) for one in how)
        self.coloured = any(not isinstance(one, (Shift, Flip)) for one in self.how)

    def __call__(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        batch = (*map(self._varied, batch[: self.images]), *batch[self.images :])
        if not self.blends:
            return batch
        x = batch[0]
        blend = self.blends[int(torch.randint(len(self.blends), ())) if len(self.blends) > 1 else 0]
        shares = F.one_hot(batch[self.target], self.classes).to(x.dtype)
        lam = _beta(blend.alpha)
        x, shares = mix(x, shares, lam) if isinstance(blend, Mixup) else paste(x, shares, *_rectangle(x, lam))
        return (x, *batch[1 : self.target], shares, *batch[self.target + 1 :])

    def _varied(self, x: Tensor) -> Tensor:
        if self.size is not None and not self.cuts:
            x = center(x, self.size)
        if self.coloured:
            x = self.prep.undo(x)
        for one in self.how:
            x = self._vary(x, one)
        return self.prep.redo(x) if self.coloured else x

    def _vary(self, x: Tensor, one: Augmentation) -> Tensor:
        match one:
            case Shift():
                return shift(x, one.pixels)
            case Flip():
                return flip(x)
            case Crop():
                return crop(x, one.pad)
            case RandomResizedCrop():
                boxes = random_boxes(len(x), x.shape[-2:], one.scale, one.ratio, device=x.device)
                return resized(x, boxes, self.size or x.shape[-2], self.size or x.shape[-1])
            case Rotate():
                return rotate(x, (torch.rand(len(x), device=x.device) * 2 - 1) * one.degrees)
            case ColorJitter():
                return jitter(x, one)
            case Erase():
                mean = self.prep.mean or (0.0,) * x.shape[1]
                fill = torch.tensor(mean, device=x.device, dtype=x.dtype).view(1, -1, 1, 1)
                ratio = (1 / one.ratio[1], 1 / one.ratio[0])  # theirs is height to width
                boxes = random_boxes(len(x), x.shape[-2:], one.scale, ratio, device=x.device)
                return erase(x, boxes, torch.rand(len(x), device=x.device) < one.p, fill)
        raise AssertionError(one)


def shift(x: Tensor, pixels: int) -> Tensor:
    """Moves every image by up to `pixels` each way; what comes into view repeats the border."""
    batch, _, height, width = x.shape
    by = torch.randint(-pixels, pixels + 1, (2, batch, 1), device=x.device)
    rows = (by[0] + torch.arange(height, device=x.device)).clamp(0, height - 1)
    columns = (by[1] + torch.arange(width, device=x.device)).clamp(0, width - 1)
    return _picked(x, rows, columns)


def crop(x: Tensor, pad: int) -> Tensor:
    """Pads every image with black and cuts a piece of its size out of that, anywhere."""
    batch, _, height, width = x.shape
    at = torch.randint(0, 2 * pad + 1, (2, batch, 1), device=x.device)
    rows, columns = at[0] + torch.arange(height, device=x.device), at[1] + torch.arange(width, device=x.device)
    return _picked(F.pad(x, (pad,) * 4), rows, columns)


def _picked(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Of each image the rows [B, h] and columns [B, w]."""
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return x.movedim(1, -1)[image, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def flip(x: Tensor) -> Tensor:
    """Mirrors each image left to right with a chance of one half."""
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(mirrored, x.flip(-1), x)


def random_boxes(
    count: int, size: Sequence[int], scale: tuple[float, float], ratio: tuple[float, float], *, device: torch.device
) -> Tensor:
    """Random pieces (top, left, height, width), int [count, 4]: the area is uniform in `scale`, the logarithm of width
    to height in `ratio`. Where none of several tries lies inside, the middle is taken, its shape as near as can be."""
    rows, columns = size
    draw = torch.rand(count, _TRIES, 2, device=device)
    area = rows * columns * (scale[0] + draw[..., 0] * (scale[1] - scale[0]))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + draw[..., 1] * (high - low))
    width, height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (width > 0) & (width <= columns) & (height > 0) & (height <= rows)
    first = fits.to(torch.int8).argmax(1, keepdim=True)
    found = fits.any(1)
    middle_width = float(columns if columns / rows <= ratio[1] else round(rows * ratio[1]))
    middle_height = float(rows if columns / rows >= ratio[0] else round(columns / ratio[0]))
    w = torch.where(found, width.gather(1, first)[:, 0], middle_width)
    h = torch.where(found, height.gather(1, first)[:, 0], middle_height)
    where = torch.rand(2, count, device=device)
    top = torch.where(found, (where[0] * (rows - h + 1)).floor(), ((rows - h) / 2).floor())
    left = torch.where(found, (where[1] * (columns - w + 1)).floor(), ((columns - w) / 2).floor())
    return torch.stack([top, left, h, w], 1).long()


def resized(x: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Of each image its piece (top, left, height, width), stretched bilinearly to [B, C, height, width]."""
    rows, columns = x.shape[-2:]
    top, left, tall, wide = (boxes[:, i, None].to(x.dtype) for i in range(4))
    y = _sampled(top, tall, height, x) * 2 / rows - 1
    z = _sampled(left, wide, width, x) * 2 / columns - 1
    grid = torch.stack([z[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _sampled(start: Tensor, length: Tensor, count: int, x: Tensor) -> Tensor:
    """Where along an axis `count` points of a piece lie, [B, count], no nearer to its border than half a pixel."""
    steps = (torch.arange(count, device=x.device, dtype=x.dtype) + 0.5) / count
    return start + torch.minimum((steps * length).clamp(min=0.5), length - 0.5)


def rotate(x: Tensor, degrees: Tensor) -> Tensor:
    """Turns each image about its middle by its angle [B], counter-clockwise; what comes into view is black."""
    height, width = x.shape[-2:]
    angle = torch.deg2rad(degrees.to(x.dtype))
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrix = torch.stack(
        [torch.stack([cos, -sin * height / width, zero], 1), torch.stack([sin * width / height, cos, zero], 1)], 1
    )
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def erase(x: Tensor, boxes: Tensor, chosen: Tensor, fill: Tensor) -> Tensor:
    """Covers the box (top, left, height, width) of each chosen image with a colour."""
    return torch.where(_inside(x, boxes) & chosen.view(-1, 1, 1, 1), fill, x)


def _inside(x: Tensor, boxes: Tensor) -> Tensor:
    """A mask [B, 1, H, W] of what lies in the boxes."""
    rows = torch.arange(x.shape[-2], device=x.device).view(1, 1, -1, 1)
    columns = torch.arange(x.shape[-1], device=x.device).view(1, 1, 1, -1)
    top, left, height, width = (boxes[:, i].view(-1, 1, 1, 1) for i in range(4))
    return (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)


def mix(x: Tensor, shares: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    """lam of every image and target, and the rest of the one before it in the batch."""
    return lam * x + (1 - lam) * x.roll(1, 0), lam * shares + (1 - lam) * shares.roll(1, 0)


def paste(x: Tensor, shares: Tensor, top: int, left: int, bottom: int, right: int) -> tuple[Tensor, Tensor]:
    """A rectangle of the image before it in the batch on every image; targets are blended by area."""
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = x.roll(1, 0)[..., top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (x.shape[-2] * x.shape[-1])
    return mixed, kept * shares + (1 - kept) * shares.roll(1, 0)


def _rectangle(x: Tensor, lam: float) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of 1 - lam of an image about a random point, cut off at its border."""
    height, width = x.shape[-2:]
    row, column = (int(v) for v in (torch.rand(2) * torch.tensor([height, width])).floor())
    half = 0.5 * math.sqrt(1 - lam)
    tall, wide = int(half * height), int(half * width)
    return max(0, row - tall), max(0, column - wide), min(height, row + tall), min(width, column + wide)


def _beta(alpha: float) -> float:
    """A number of the beta distribution with both parameters `alpha`."""
    return float(torch.distributions.Beta(torch.tensor(alpha), torch.tensor(alpha)).sample())
