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

from .base import Column, Data, Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Unreadable:
    """What a worker hands back for a picture that it could not read (exceptions do not travel well)."""

    path: str
    reason: str


@dataclass
class Pictures:
    """A data set for DataLoader: row numbers to uint8 [B, C, side, side] and int64 [B].

    side: `resize` where that is given, so that what varies images has more to cut from; `center` gives the rest."""

    paths: list[str]
    labels: Tensor
    size: int
    grey: bool
    resize: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor] | Unreadable:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> tuple[Tensor, Tensor] | Unreadable:
        side = self.resize or self.size
        batch = np.empty((len(rows), 1 if self.grey else 3, side, side), dtype=np.uint8)
        for i, row in enumerate(rows):
            try:
                batch[i] = read_image(Path(self.paths[row]), side, self.grey)
            except Exception as failure:  # Pillow raises what it likes on a broken file
                return Unreadable(self.paths[row], str(failure)[:200])
        return torch.from_numpy(batch), self.labels[torch.as_tensor(rows)]


def read_image(path: Path, size: int, grey: bool) -> np.ndarray:
    """A picture as uint8 [C, size, size]: upright, one or three channels, the shorter side fitted, the middle cut."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        image.draft("L" if grey else "RGB", (size, size))
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
            upright = _deep(upright)
        if "A" in upright.mode or "transparency" in upright.info:  # what can't be seen is white
            with_alpha = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", with_alpha.size, "white"), with_alpha)
        upright = upright.convert("L" if grey else "RGB")
        short = min(upright.size)
        width, height = (max(size, size * side // short) for side in upright.size)
        fitted = upright.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - size) / 2), round((height - size) / 2)
        pixels = np.asarray(fitted.crop((left, top, left + size, top + size)))
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


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


def load_images(path: Path, size: int, grey: bool, span: Span | None, resize: int | None = None) -> Data:
    """One subfolder a class, in the order of their names. Only headers are read here."""
    if not path.is_dir():
        raise error("A1012", f'"{path.name}" is a file; images come in a folder with a subfolder for each class', span)
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise error(
            "A1013", f'"{path.name}" has no subfolders', span, help="put each class's images into a folder of its name"
        )
    paths: list[str] = []
    labels: list[int] = []
    for number, folder in enumerate(folders):
        found = sorted(
            p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and not p.name.startswith(".")
        )
        if not found:
            raise error(
                "A1014", f'class "{folder.name}" has no images', span, help=f"they end in {', '.join(SUFFIXES)}"
            )
        paths += [str(p) for p in found]
        labels += [number] * len(found)
    _check_headers(paths, path, span)
    classes = np.asarray(labels, dtype=np.int64)
    return Data(
        origin=f'images("{path.name}/")',
        inputs=(Column("image", (1 if grey else 3, size, size), "float"),),
        targets=(Column("class", (), "int"),),
        size=len(paths),
        pictures=Pictures(paths, torch.from_numpy(classes), size, grey, resize),
        labels=classes,
        preprocessing=Preprocessing(
            classes=tuple(f.name for f in folders), size=size, resize=resize, grey=grey, scale=1 / 255
        ),
    )


def _check_headers(paths: list[str], folder: Path, span: Span | None) -> None:
    """Finds files that are no pictures before hours of training do."""
    from PIL import Image

    for path in paths:
        try:
            with Image.open(path):
                pass
        except Exception as failure:  # Pillow raises what it likes on a broken file
            unreadable(Unreadable(path, str(failure)), span)


def unreadable(bad: Unreadable, span: Span | None) -> NoReturn:
    """Raises the error that names a picture."""
    place = "/".join(Path(bad.path).parts[-2:])
    reason = bad.reason.replace(bad.path, place)
    raise error("A1015", f'"{place}" can\'t be read as an image: {reason[:200]}', span, help="repair it or take it out")
