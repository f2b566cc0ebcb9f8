"""Pictures made of pictures: a folder through an entry that takes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from archlang.compiler.diagnostics import error
from archlang.compiler.files import write_atomically
from archlang.compiler.given_noise import picture_input
from archlang.compiler.graph import Graph, Program
from torch import Tensor, nn

from ..data import Preprocessing
from ..data.images import SUFFIXES, Form, Unreadable, center, read_image, unreadable
from ..data.scanning import find_images, scan
from .entries import Maker, choose
from .files import fresh_folder
from .pictures import levels, png

_TOGETHER = 16  # pictures that are translated at a time


def translator(program: Program, name: str | None) -> Graph:
    """The entry that makes pictures of pictures. Raises A1090."""
    known = program.entries
    fitting = [n for n, entry in known.items() if picture_input(entry) is not None]
    if name is not None:
        entry = choose(program, name)
        if name in fitting:
            return entry
        message = f"the entry `{name}` does not make pictures of pictures alone"
        raise error("A1090", message, entry.span, help="it reads one input [B, 1 or 3, H, W], and makes pictures")
    if len(fitting) == 1:
        return known[fitting[0]]
    listed = " or ".join(f"`--entry {n}`" for n in fitting)
    message = f"`{program.name}` has {len(fitting) or 'no'} entries that make pictures of pictures"
    raise error("A1090", message, program.span, help=f"say {listed}" if fitting else None)


def translate(
    program: Program,
    module: nn.Module,
    prep: Preprocessing,
    source: Path,
    target: Path,
    name: str | None = None,
    given: Mapping[str, float] | None = None,
    *,
    seed: int = 0,
    force: bool = False,
) -> int:
    """Writes for every picture below a folder what the entry makes of it, under the same name with the ending `.png`;
    returns how many. Pictures are made as large as the network takes them, as in training.

    Raises A1010 and A1013 where there are none, A1015 with the files that can't be read before anything is written,
    A1090, A1093, A1094."""
    entry = translator(program, name)
    made = Maker(program, entry, module, given)
    files = _files(source)
    names = _names(files, source)
    number = picture_input(entry)
    assert number is not None
    form = _form(entry, number, prep)
    scan(files, f'"{source}"', form, "refuse", None)
    fresh_folder(target, names, force)
    for start in range(0, len(files), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        values = made.draws(len(files[part]), seed + start)
        values[entry[number].name] = _read(files[part], form, prep)
        found = torch.cat([levels(x, prep) for x in made.run(values, seed + start)])
        for file, picture in zip(names[part], found, strict=True):
            write_atomically(target / file, png(picture))
    return len(files)


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        raise error("A1010", f'there is no folder "{source}"')
    files = find_images(source)
    if not files:
        raise error("A1013", f'"{source}" has no images', help=f"they end in {', '.join(SUFFIXES)}")
    return files


def _names(files: list[Path], source: Path) -> list[str]:
    """Names of the results, from the folder. Raises A1093 where two would be one."""
    found: dict[str, Path] = {}
    for file in files:
        name = file.relative_to(source).with_suffix(".png").as_posix()
        if name in found:
            message = f'"{found[name].name}" and "{file.name}" would both become "{name}"'
            raise error("A1093", message, help="rename one of them")
        found[name] = file
    return list(found)


def _form(entry: Graph, number: int, prep: Preprocessing) -> Form:
    """What pictures are made before the network sees them."""
    shape = [entry.nominal.get(str(s), s) for s in entry[number].types[0].shape]
    size = shape[2] if isinstance(shape[2], int) else prep.size or 224
    return Form(size, shape[1] == 1, prep.resize)


def _read(files: list[Path], form: Form, prep: Preprocessing) -> Tensor:
    """Pictures as the network takes them, float32 [B, C, size, size]. Raises A1015."""
    pixels = []
    for file in files:
        try:
            pixels.append(read_image(file, form.resize or form.size, form.grey))
        except Exception as failure:  # Pillow raises what it likes on a broken file
            unreadable([Unreadable(str(file), str(failure))], None)
    batch = center(torch.from_numpy(np.stack(pixels)), form.size)
    return prep.apply(batch) if prep.scale != 1.0 else prep.apply(batch.to(torch.float32) / 255)
