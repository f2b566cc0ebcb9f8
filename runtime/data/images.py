"""Folders of pictures, read as they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch
from archlang.compiler.diagnostics import error
from archlang.compiler.source import Span
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_NAMED = 5  # files that a message names


@dataclass(frozen=True)
class Unreadable:
    """A picture that can't be read (from a worker: exceptions do not travel well)."""

    path: str
    reason: str

    @property
    def place(self) -> str:
        """The end of the path."""
        return "/".join(Path(self.path).parts[-2:])

    @property
    def short(self) -> str:
        """The reason, without this machine's folders."""
        return self.reason.replace(self.path, self.place)[:200]


@dataclass(frozen=True)
class Form:
    """What pictures are made: [channels, size, size]. resize: what the shorter side is brought to before the middle is
    cut out, where that is more than `size`."""

    size: int
    grey: bool
    resize: int | None = None

    @property
    def channels(self) -> int:
        return 1 if self.grey else 3


@dataclass
class Pictures:
    """A data set for DataLoader: row numbers to uint8 [B, C, side, side] and, where there are labels, int64 [B].

    side: `resize` where that is given, so that what varies images has more to cut from; `center` gives the rest."""

    paths: list[str]
    labels: Tensor | None
    form: Form

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, ...] | Unreadable:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> tuple[Tensor, ...] | Unreadable:
        found = self.read(rows)
        if isinstance(found, Unreadable) or self.labels is None:
            return found if isinstance(found, Unreadable) else (found,)
        return found, self.labels[torch.as_tensor(rows)]

    def read(self, rows: Sequence[int]) -> Tensor | Unreadable:
        """Some pictures, uint8 [B, C, side, side]."""
        side = self.form.resize or self.form.size
        batch = np.empty((len(rows), self.form.channels, side, side), dtype=np.uint8)
        for i, row in enumerate(rows):
            try:
                batch[i] = read_image(Path(self.paths[row]), side, self.form.grey)
            except Exception as failure:  # Pillow raises what it likes on a broken file
                return Unreadable(self.paths[row], str(failure))
        return torch.from_numpy(batch)


@dataclass
class Domains:
    """Two sets of pictures for DataLoader: pairs of row numbers, one of each set, to two batches of pictures."""

    sets: tuple[Pictures, Pictures]

    def __len__(self) -> int:
        return max(map(len, self.sets))

    def __getitems__(self, pairs: Sequence[Sequence[int]]) -> tuple[Tensor, ...] | Unreadable:
        found = [one.read([pair[side] for pair in pairs]) for side, one in enumerate(self.sets)]
        bad = next((part for part in found if isinstance(part, Unreadable)), None)
        return bad or tuple(part for part in found if isinstance(part, Tensor))

    def read(self, rows: Sequence[int]) -> Tensor | Unreadable:
        """Pictures of both sets, those of the second one numbered after those of the first."""
        border = len(self.sets[0])
        first = self.sets[0].read([row for row in rows if row < border])
        second = self.sets[1].read([row - border for row in rows if row >= border])
        if isinstance(first, Unreadable) or isinstance(second, Unreadable):
            return first if isinstance(first, Unreadable) else second
        return torch.cat([first, second])


def read_image(path: Path, size: int, grey: bool) -> np.ndarray:
    """A picture as uint8 [C, size, size]: upright, one or three channels, the shorter side fitted, the middle cut."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        image.draft("L" if grey else "RGB", (size, size))
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
            upright = _deep(upright)
        if transparent(upright):  # what can't be seen is white
            with_alpha = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", with_alpha.size, "white"), with_alpha)
        upright = upright.convert("L" if grey else "RGB")
        short = min(upright.size)
        width, height = (max(size, size * side // short) for side in upright.size)
        fitted = upright.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - size) / 2), round((height - size) / 2)
        pixels = np.asarray(fitted.crop((left, top, left + size, top + size)))
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def transparent(image: PILImage) -> bool:
    """Can one see through some of it?"""
    return image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info


def center(x: Tensor, size: int) -> Tensor:
    """The middle of images [B, C, H, W], [B, C, size, size]."""
    top, left = ((side - size) // 2 for side in x.shape[-2:])
    return x[..., top : top + size, left : left + size]


def _deep(image: PILImage) -> PILImage:
    """A picture of 16 or 32 bits, its range brought to 8."""
    from PIL import Image

    pixels = np.asarray(image, dtype=np.float64)
    top = 65535.0 if image.mode != "F" else max(1.0, float(pixels.max()))
    return Image.fromarray((pixels / top * 255).clip(0, 255).astype(np.uint8), "L")


def unreadable(bad: Sequence[Unreadable], span: Span | None, of: int | None = None) -> NoReturn:
    """Raises the error that names pictures; `of` so many, where all of a folder were looked at."""
    message = f'"{bad[0].place}" can\'t be read as an image: {bad[0].short}'
    if of is not None and len(bad) > 1:
        message = f"{len(bad):,} of {of:,} files can't be read as images: {named(bad)}"
    others = span is not None and len(bad) != of
    help = "repair it or take it out" + (', or write `corrupt="skip"`' if others else "")
    raise error("A1015", message, span, help=help)


def named(bad: Sequence[Unreadable]) -> str:
    """The first of some files, and what is wrong with each."""
    more = f", and {len(bad) - _NAMED:,} more" if len(bad) > _NAMED else ""
    return ", ".join(f'"{one.place}" ({one.short})' for one in bad[:_NAMED]) + more
