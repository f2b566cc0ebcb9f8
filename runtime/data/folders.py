"""Folders of pictures as data: with a class for each subfolder, without classes, and two of them side by side."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from archlang.compiler.diagnostics import error
from archlang.compiler.source import Span

from .base import Column, Data, Preprocessing, side_by_side, split
from .images import SUFFIXES, Domains, Form, Pictures
from .scanning import find_images, scan

_ENDINGS = f"names end in {', '.join(SUFFIXES)}"


def load_images(path: Path, form: Form, corrupt: str, span: Span | None, *, classes: bool) -> Data:
    """A folder of pictures: float [C, size, size] in [0, 1]. Only headers are read here, unless `corrupt` is `skip`.

    classes: every subfolder is a class, in the order of their names. Else everything below the folder counts, and what
    subfolders there are say only of what a split should hold like shares. Raises A1012 to A1015."""
    _check_folder(path, span)
    found = find_images(path)
    if classes:
        _check_classes(path, found, span)
        found = [file for file in found if file.parent != path]
    elif not found:
        raise _no_images(path, span)
    origin = f'images("{path.name}/")'
    good, notes = scan(found, origin, form, corrupt, span)
    sorts = sorted({_top(file, path) for file in found})
    labels = None
    if classes or all(file.parent != path for file in found):
        numbers = {name: number for number, name in enumerate(sorts)}
        labels = np.asarray([numbers[_top(file, path)] for file in good], dtype=np.int64)
        if classes:
            _check_left(labels, sorts, span)
    known = torch.from_numpy(labels) if labels is not None else None
    return Data(
        origin=origin,
        inputs=(_column("image", form),),
        targets=(Column("class", (), "int"),) if classes else (),
        size=len(good),
        pictures=Pictures([str(file) for file in good], known if classes else None, form),
        labels=labels,
        preprocessing=_preprocessing(form, classes=tuple(sorts) if classes else ()),
        notes=notes,
    )


def load_unpaired(
    paths: tuple[Path, Path], form: Form, corrupt: str, shares: tuple[float, float], seed: int, span: Span | None
) -> Data:
    """Two folders of pictures, each float [C, size, size] in [0, 1]; `shares` of both go to validation and to the test.

    The rows of the second folder are numbered after those of the first. Raises A1012, A1013, A1015 and A1027."""
    sets: list[list[Path]] = []
    notes = []
    for path in paths:
        _check_folder(path, span)
        found = find_images(path)
        if not found:
            raise _no_images(path, span)
        good, said = scan(found, f'"{path.name}/"', form, corrupt, span)
        sets.append(good)
        notes += said
    names = [path.name for path in paths]
    first, second = (Pictures([str(file) for file in files], None, form) for files in sets)
    return Data(
        origin=f'unpaired("{names[0]}/", "{names[1]}/")',
        inputs=(_column("first", form), _column("second", form)),
        targets=(),
        size=len(first) + len(second),
        pictures=Domains((first, second)),
        border=len(first),
        parts=side_by_side(split(len(first), None, *shares, seed), split(len(second), None, *shares, seed), len(first)),
        preprocessing=_preprocessing(form),
        notes=notes,
    )


def _column(name: str, form: Form) -> Column:
    return Column(name, (form.channels, form.size, form.size), "float")


def _preprocessing(form: Form, **more: Any) -> Preprocessing:
    return Preprocessing(size=form.size, resize=form.resize, grey=form.grey, scale=1 / 255, **more)


def _top(file: Path, folder: Path) -> str:
    """The name at the top of a folder below which a file lies."""
    return file.parts[len(folder.parts)]


def _check_folder(path: Path, span: Span | None) -> None:
    if not path.is_dir():
        raise error("A1012", f'"{path.name}" is a file; images come in a folder', span)


def _check_classes(path: Path, found: list[Path], span: Span | None) -> None:
    """Every subfolder must hold images, and there must be one."""
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders and not found:
        raise _no_images(path, span)
    if not folders:
        message = f'"{path.name}" has no subfolders: its {len(found):,} images lie in the folder itself'
        raise error("A1013", message, span, help="put each class's images into a folder of its name")
    filled = {_top(file, path) for file in found}
    for folder in folders:
        if folder.name not in filled:
            help = f"{_ENDINGS}; {_holds(folder)}"
            raise error("A1014", f'class "{folder.name}" has no images', span, help=help)


def _check_left(labels: np.ndarray, names: list[str], span: Span | None) -> None:
    """A class whose images are all broken could never be learned."""
    gone = [name for number, name in enumerate(names) if not (labels == number).any()]
    if gone:
        raise error("A1014", f'class "{gone[0]}" has no images that can be read', span)


def _no_images(path: Path, span: Span | None) -> Exception:
    return error("A1013", f'"{path.name}" has no images', span, help=f"{_ENDINGS}; {_holds(path)}")


def _holds(folder: Path) -> str:
    """What there is in a folder without images."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    seen = [p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    hidden = len(files) - len(seen)
    endings = Counter(p.suffix.lower() or "no ending" for p in seen)
    others = ", ".join(f"{count:,} of {ending}" for ending, count in sorted(endings.items())[:5])
    told = [f"there are files {others}"] if others else []
    if hidden:
        told.append(f"{hidden:,} whose names, or those of their folders, begin with a dot are passed over")
    return "; ".join(told) or "it is empty"
