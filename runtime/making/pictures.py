"""What was made, as files: a grid of pictures, a picture each, points as a plot, tables and arrays."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..data import Preprocessing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GAP = 2  # white pixels between two pictures
_LEAST = 32  # pixels: smaller pictures are enlarged in a grid, by a whole factor
_POINT, _MUTED = "#2f6fb0", "#6b7280"


def levels(x: Tensor, prep: Preprocessing) -> Tensor:
    """What a network made, [B, C, H, W] in the form of its inputs, as uint8: what training did to pictures is undone.
    A value that is no number is black."""
    return (prep.as_pictures(torch.nan_to_num(x)) * 255).round().to(torch.uint8)


def png(picture: Tensor) -> bytes:
    """A PNG file of uint8 [C, H, W], of one channel or three."""
    from PIL import Image

    pixels = picture[0].numpy() if len(picture) == 1 else picture.permute(1, 2, 0).contiguous().numpy()
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def pixels_of(data: bytes) -> Tensor:
    """The pixels of a PNG file, uint8 [3, H, W]."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)


def columns_for(count: int) -> int:
    """How many pictures stand side by side in a grid that is about square."""
    return max(1, math.ceil(math.sqrt(count)))


def enlarged(height: int, width: int) -> int:
    """By how much pictures of so many pixels are enlarged in a grid."""
    return max(1, math.ceil(_LEAST / max(height, width, 1)))


def grid(pictures: Tensor, columns: int) -> Tensor:
    """Pictures, uint8 [N, C, H, W], row by row in one, uint8 [C, H', W'], with white between them."""
    count, channels, height, width = pictures.shape
    factor = enlarged(height, width)
    height, width = height * factor, width * factor
    rows = math.ceil(count / columns)
    whole = torch.full((channels, rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP), 255).to(torch.uint8)
    for number, picture in enumerate(pictures):
        top = _GAP + number // columns * (height + _GAP)
        left = _GAP + number % columns * (width + _GAP)
        large = picture.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        whole[:, top : top + height, left : left + width] = large
    return whole


def scatter(points: Tensor, title: str) -> bytes:
    """A PNG file with points [N, 2] in the plane, both axes to one scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes: Axes = figure.subplots()
    x, y = (points[:, axis].numpy() for axis in (0, 1))
    axes.scatter(x, y, s=min(24.0, max(2.0, 4000 / max(1, len(points)))), alpha=0.6, color=_POINT, linewidths=0)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_aspect("equal", adjustable="datalim")
    axes.tick_params(colors=_MUTED, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120, metadata={"Software": ""})
    return out.getvalue()


def csv(names: Sequence[str], rows: np.ndarray, first: Sequence[str] = (), heading: str = "input") -> str:
    """A table of numbers [N, D], a line each, under the names of its columns; `first`: a column of texts before it."""
    import csv as writing

    out = io.StringIO()
    writer = writing.writer(out, lineterminator="\n")
    writer.writerow([*([heading] if len(first) else []), *names])
    for number, row in enumerate(rows):
        writer.writerow([*([first[number]] if len(first) else []), *(f"{value:.9g}" for value in row)])
    return out.getvalue()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """A NumPy archive, compressed; the same bytes for the same arrays."""
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            held = io.BytesIO()
            np.lib.format.write_array(held, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), held.getvalue(), zipfile.ZIP_DEFLATED)
    return out.getvalue()
