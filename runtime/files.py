"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from archlang.compiler.diagnostics import ArchError, error
from archlang.compiler.files import replace_file


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, then puts it in place at once.

    Whatever goes wrong on the way, `path` keeps what it held. Raises A1104 when the disk is full or the folder closed.
    """
    try:
        replace_file(path, write)
    except OSError as failure:
        raise _cannot(path, failure) from None
    except Exception as failure:
        if _is_io(failure):
            raise _cannot(path, OSError(_number(failure), str(failure))) from None
        raise


def write_text(path: Path, text: str) -> None:
    """Text in UTF-8, atomically."""
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def check_writable(folder: Path) -> None:
    """Makes the folder and tries to write there, so that hours of work are not lost at the end. Raises A1104."""
    probe = folder / ".writable"
    write_text(probe, "")
    probe.unlink(missing_ok=True)


def _cannot(path: Path, failure: OSError) -> ArchError:
    reasons = {
        errno.ENOSPC: "there is no space left on the disk",
        errno.EDQUOT: "the quota of this disk is used up",
        errno.EACCES: "this folder can't be written to",
        errno.EPERM: "this folder can't be written to",
        errno.EROFS: "this disk can only be read",
        errno.ENOTDIR: "a part of its path is a file",
        errno.EEXIST: "a part of its path is a file",
    }
    reason = reasons.get(failure.errno or 0, failure.strerror or str(failure))
    return error(
        "A1104",
        f'"{path}" can\'t be written: {reason}',
        help="what was saved before is untouched",
    )


def _is_io(failure: Exception) -> bool:
    """safetensors wraps what the operating system says in an error of its own."""
    return type(failure).__name__ == "SafetensorError" and "I/O" in str(failure)


def _number(failure: Exception) -> int:
    text = str(failure)
    return next((n for n in (errno.ENOSPC, errno.EDQUOT, errno.EACCES) if f"os error {n}" in text), 0)
