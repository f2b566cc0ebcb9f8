"""Examples drawn from an entry, and what becomes of them: one file of all, or a picture each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from archlang.compiler.diagnostics import error
from archlang.compiler.files import write_atomically
from archlang.compiler.given_noise import draws_only, pictures, points
from archlang.compiler.graph import Program
from torch import Tensor, nn

from ..data import Preprocessing
from .entries import Maker, bounded, choose, needs_data
from .files import fresh_folder, numbered
from .pictures import columns_for, csv, enlarged, grid, levels, npz, png, scatter

FORMS = {"pictures": (".png", ".npz"), "points": (".png", ".csv", ".npz"), "numbers": (".npz", ".csv")}
"""Endings of files that can hold each kind of thing; numbers are written to CSV only as a table."""


def maker(
    program: Program, module: nn.Module, name: str | None = None, given: Mapping[str, float] | None = None
) -> Maker:
    """The entry that is meant, ready to be run on noise alone. Raises A1090, A1094."""
    entry = choose(program, name)
    if not draws_only(entry):
        raise needs_data(entry)
    return Maker(program, entry, module, given)


def kind_of(made: Maker) -> str:
    """What an entry makes: `pictures`, `points` or `numbers`."""
    return "pictures" if pictures(made.type) else "points" if points(made.type) else "numbers"


def drawn(made: Maker, count: int, seed: int) -> Tensor:
    """So many examples, as the network makes them, float32 [count, …] on the CPU. Raises A1092."""
    bounded(made.shape(count), f"what `{made.entry.name}` makes")
    return torch.cat(list(made.run(made.draws(count, seed), seed)))


def as_read(made: Maker, x: Tensor, prep: Preprocessing) -> Tensor:
    """What was made, in the units of the data: pictures in [0, 1]; rows whose features were scaled as they were."""
    if pictures(made.type):
        return prep.as_pictures(x)
    return prep.undo(x) if x.ndim == 2 and len(prep.mean) == x.shape[1] else x


def check_form(made: Maker, output: Path) -> None:
    """Raises A1091 where a file with this ending can't hold what the entry makes."""
    kind, ending = kind_of(made), output.suffix.lower()
    if ending not in FORMS[kind] or (ending == ".csv" and made.type.rank > 2):
        forms = [form for form in FORMS[kind] if form != ".csv" or made.type.rank <= 2]
        listed = ", ".join(f"`{form}`" for form in forms)
        also = ", or a folder (`-o out/`) for a picture each" if kind == "pictures" else ""
        what = f"`{made.entry.name}` makes {kind} {made.type}, which don't go into `{output.name}`"
        raise error("A1091", what, made.entry.span, help=f"endings: {listed}{also}")


def write_one(made: Maker, prep: Preprocessing, output: Path, count: int, seed: int) -> None:
    """All in one file: pictures as a grid, points as a plot or a table, anything in an archive. Raises A1091, A1092,
    A1203."""
    check_form(made, output)
    ending = output.suffix.lower()
    if ending == ".png" and pictures(made.type):
        check_grid(made, count, columns_for(count))
        found = torch.cat([levels(x, prep) for x in made.run(made.draws(count, seed), seed)])
        write_atomically(output, png(grid(found, columns_for(len(found)))))
        return
    x = as_read(made, drawn(made, count, seed), prep)
    if ending == ".png":
        write_atomically(output, scatter(x, f"{made.program.name}: {len(x):,} points"))
    elif ending == ".npz":
        write_atomically(output, npz({made.entry[made.entry.outputs[0]].name or "made": x.numpy()}))
    else:
        write_atomically(output, table(made, x))


def check_grid(made: Maker, count: int, columns: int) -> None:
    """Raises A1092 where a grid of so many pictures would be too large."""
    _, channels, height, width = made.shape(1)
    factor = enlarged(height, width)
    rows = -(-count // columns)
    bounded((rows * height * factor, columns * width * factor, channels), "the grid")


def table(made: Maker, x: Tensor) -> str:
    """Rows [N] or [N, D] as CSV."""
    rows = x.reshape(len(x), -1).numpy().astype(np.float64)
    names = ["x", "y"] if points(made.type) else [f"v{i}" for i in range(rows.shape[1])]
    return csv(names, rows)


def write_each(made: Maker, prep: Preprocessing, folder: Path, count: int, seed: int, force: bool) -> None:
    """A picture a file, `0000.png` and so on. Raises A1091 where the entry makes no pictures, A1093, A1203."""
    if not pictures(made.type):
        what = f"`{made.entry.name}` makes {made.type}, which are no pictures: a folder can't hold them"
        raise error("A1091", what, made.entry.span, help="name a file: `-o made.npz`")
    names = numbered(count)
    fresh_folder(folder, names, force)
    for name, picture in zip(names, _one_by_one(made, prep, count, seed), strict=False):
        write_atomically(folder / name, png(picture))


def _one_by_one(made: Maker, prep: Preprocessing, count: int, seed: int) -> Iterator[Tensor]:
    for x in made.run(made.draws(count, seed), seed):
        yield from levels(x, prep)
