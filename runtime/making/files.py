"""Where what was made goes: one file, or a folder of pictures."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from archlang.compiler.diagnostics import error
from archlang.compiler.files import unwritable, write_atomically

_NAMED = 3


def fresh_folder(folder: Path, names: Iterable[str], force: bool) -> None:
    """Makes a folder that these files are going into. Raises A1093 where one is there already, unless they are to be
    replaced, and A1203 where the folder can't be written to: before anything is made."""
    if folder.exists() and not folder.is_dir():
        raise unwritable(folder, FileExistsError(errno.EEXIST, "there is a file of that name"))
    there = [name for name in names if (folder / name).exists()] if not force and folder.exists() else []
    if there:
        more = f", and {len(there) - _NAMED:,} more" if len(there) > _NAMED else ""
        listed = ", ".join(f'"{name}"' for name in there[:_NAMED])
        help = "name another folder with `-o`, or replace them with `--force`"
        raise error("A1093", f'"{folder}" holds {listed}{more} already', help=help)
    probe = folder / ".writable"
    write_atomically(probe, "")
    probe.unlink(missing_ok=True)


def numbered(count: int) -> list[str]:
    """Names of so many pictures, in order: `0000.png`, `0001.png` …"""
    width = max(4, len(str(count - 1)))
    return [f"{number:0{width}}.png" for number in range(count)]
