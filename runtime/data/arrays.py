"""NumPy archives."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from archlang.compiler.diagnostics import did_you_mean, error
from archlang.compiler.source import Span
from torch import Tensor

from .base import Data, Preprocessing, columns


def load_npz(path: Path, input: str, target: str | None, span: Span | None) -> Data:
    """One array of inputs and, where they are asked for, one of targets, examples along the first axis. Nothing in the
    file can run."""
    names = (input,) if target is None else (input, target)
    arrays = read_arrays(path, names, span)
    tensors = tuple(as_tensor(arrays[name], name, path, span) for name in names)
    if len({len(t) for t in tensors}) > 1:
        raise error(
            "A1021", f'"{path.name}": `{input}` has {len(tensors[0])} examples and `{target}` has {len(tensors[1])}',
            span, help="both run along the first axis and must be equally long",
        )  # fmt: skip
    if len(tensors[0]) == 0:
        raise error("A1029", f'"{path.name}" holds no examples', span)
    classes = [t.numpy() for t in tensors[1:] if t.ndim == 1 and not t.is_floating_point()]
    named = columns(names, tensors)
    return Data(
        origin=f'npz("{path.name}")',
        inputs=named[:1],
        targets=named[1:],
        size=len(tensors[0]),
        tensors=tensors,
        labels=classes[0] if classes else None,
        preprocessing=Preprocessing(array=input),
    )


def read_arrays(path: Path, names: tuple[str, ...], span: Span | None) -> dict[str, np.ndarray]:
    """The named arrays of an archive; a coded error for whatever is wrong with it."""
    if not path.is_file():
        raise error("A1012", f'"{path.name}" is a folder, not an npz file', span)
    found: dict[str, np.ndarray] = {}
    try:
        archive = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as failure:
        raise error("A1020", f'"{path.name}" is not an npz archive: {_first(failure)}', span, help=_MAKE) from None
    if not hasattr(archive, "files"):
        raise error("A1020", f'"{path.name}" holds a single array, not an archive of named ones', span, help=_MAKE)
    with archive:
        for name in names:
            if name not in archive.files:
                help = did_you_mean(name, archive.files) or f"it has {', '.join(f'`{n}`' for n in archive.files[:20])}"
                raise error("A1021", f'"{path.name}" has no array `{name}`', span, help=help)
            try:
                found[name] = archive[name]
            except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as failure:
                raise error("A1020", f'"{path.name}": `{name}` can\'t be read: {_first(failure)}', span) from None
    return found


def as_tensor(array: np.ndarray, name: str, path: Path, span: Span | None) -> Tensor:
    """float32, int64 or bool; every number finite; at least one axis."""
    if array.ndim == 0:
        raise error("A1021", f'"{path.name}": `{name}` is a single number; examples run along the first axis', span)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
        bad = ~np.isfinite(array)
        if bad.any():
            place = ", ".join(str(int(i)) for i in np.unravel_index(int(np.argmax(bad)), array.shape))
            raise error(
                "A1022",
                f'"{path.name}": `{name}[{place}]` is not a finite number ({int(bad.sum())} such in all)',
                span,
                help="leave those examples out or fill the gaps before training",
            )
    elif array.dtype.kind in "iu":
        array = array.astype(np.int64)
    elif array.dtype.kind != "b":
        raise error("A1020", f'"{path.name}": `{name}` holds {array.dtype}, not numbers', span, help=_MAKE)
    return torch.from_numpy(np.ascontiguousarray(array))


def _first(failure: Exception) -> str:
    return (str(failure).splitlines() or [type(failure).__name__])[0][:200]


_MAKE = "make one with numpy.savez(file, x=inputs, y=targets), of plain numbers"
