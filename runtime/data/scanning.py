"""A look at every file of a folder of pictures, before training reads them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from archlang.compiler.diagnostics import Diagnostic, Severity
from archlang.compiler.source import Span

from .images import SUFFIXES, Form, Unreadable, named, read_image, transparent, unreadable

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

_CHUNK = 1024  # files that are looked at before the next ones are begun
_WHOLE = 8  # pixels: a small size, for which JPEG need not be decoded in full detail
_TURN = 0x0112  # EXIF's orientation, 1 when a picture stands upright


@dataclass(frozen=True)
class Look:
    """What a file's header says. kind: what colours it has, in words. size: width and height. turned: it lies on its
    side or upside down. problem: why it can't be read, empty when it can."""

    path: Path
    kind: str = ""
    size: tuple[int, int] = (0, 0)
    turned: bool = False
    problem: str = ""


def find_images(folder: Path) -> list[Path]:
    """Every file below a folder that is called like a picture, in order, but names that begin with a dot. What lies at
    the top may be a link, as a class's folder often is, but for one that leads back to the folder or above it."""
    here_or_above = (folder.resolve(), *folder.resolve().parents)
    tops = [top for top in folder.iterdir() if not top.name.startswith(".") and top.resolve() not in here_or_above]
    found = [top for top in tops if _named_like_one(top.name) and top.is_file()]
    for top in tops:
        for here, below, names in os.walk(top):  # nothing, where the top is a file
            below[:] = [name for name in below if not name.startswith(".")]
            files = (Path(here, name) for name in names if _named_like_one(name))
            found += [file for file in files if file.is_file()]
    return sorted(found, key=lambda file: file.parts)


def _named_like_one(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def scan(
    paths: Sequence[Path], origin: str, form: Form, corrupt: str, span: Span | None
) -> tuple[list[Path], list[Diagnostic]]:
    """The files that are pictures, and what there is to say of them, once.

    corrupt: `refuse` looks at headers, and raises A1015 with all that can't be read; `skip` reads every file whole, and
    leaves those out (A1062, a warning), unless none are left. A1060 notes that pictures differ."""
    looks = list(_looks(paths, whole=corrupt == "skip"))
    bad = [Unreadable(str(look.path), look.problem) for look in looks if look.problem]
    notes: list[Diagnostic] = []
    if bad and (corrupt == "refuse" or len(bad) == len(looks)):
        unreadable(bad, span, of=len(paths))
    if bad:
        message = f"{len(bad):,} of the {len(paths):,} images of {origin} can't be read and are left out: {named(bad)}"
        notes.append(Diagnostic("A1062", message, span, severity=Severity.WARNING))
    good = [look for look in looks if not look.problem]
    notes += _mixed(good, origin, form, span)
    return [look.path for look in good], notes


def _looks(paths: Sequence[Path], *, whole: bool) -> Iterator[Look]:
    from PIL import Image

    Image.init()  # the formats are registered here, and not by several threads at once
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), _CHUNK):
            yield from pool.map(partial(_look, whole=whole), paths[start : start + _CHUNK])


def _look(path: Path, whole: bool) -> Look:
    from PIL import Image

    try:
        with Image.open(path) as image:
            found = Look(path, _kind(image), image.size, _turned(image))
        if whole:
            read_image(path, _WHOLE, grey=False)
    except Exception as failure:  # Pillow raises what it likes on a broken file
        return Look(path, problem=str(failure) or type(failure).__name__)
    return found


def _kind(image: PILImage) -> str:
    if transparent(image):
        return "with transparency"
    if image.mode.startswith("I") or image.mode == "F":
        return "of 16 bits or more"
    return {"1": "grey", "L": "grey", "RGB": "in colour", "P": "with a palette"}.get(image.mode, f"in {image.mode}")


def _turned(image: PILImage) -> bool:
    if image.format == "PNG" and "exif" not in image.info:
        return False  # Pillow would decode all of it to look further
    return image.getexif().get(_TURN, 1) in range(2, 9)


def _mixed(looks: Sequence[Look], origin: str, form: Form, span: Span | None) -> Iterator[Diagnostic]:
    """A note on pictures that are not all alike."""
    kinds, sizes = Counter(look.kind for look in looks), {look.size for look in looks}
    turned = sum(look.turned for look in looks)
    if len(kinds) < 2 and len(sizes) < 2 and not turned:
        return
    said = [", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items(), key=lambda k: (-k[1], k[0])))]
    if len(sizes) > 1:
        least, most = (f"{w:,}x{h:,}" for w, h in (min(sizes, key=_area), max(sizes, key=_area)))
        said.append(f"from {least} to {most} pixels")
    side = form.resize or form.size
    small = sum(min(look.size) < side for look in looks)
    said += [f"{turned:,} turned upright"] if turned else []
    said += [f"{small:,} enlarged"] if small else []
    help = f"each is made {'grey' if form.grey else 'RGB'}, and its shorter side {side} pixels; the middle is cut out"
    yield Diagnostic(
        "A1060", f"the images of {origin} differ: {', '.join(said)}", span, (), help, severity=Severity.NOTE
    )


def _area(size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    return size[0] * size[1], size
