"""Reading and writing files so that a failure is a message and never half a file."""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .diagnostics import ArchError, error

_COUNTER = itertools.count()
_PROCESS = os.urandom(4).hex()  # a number of a process comes again: in a container it is often 1
_PART = re.compile(r"\.archc-(\d+)-([0-9a-f]{8})-\d+\.part")


def write_atomically(path: str | os.PathLike[str], data: str | bytes) -> None:
    """Writes a whole file or leaves what was there. Folders on the way are made; text is UTF-8 with `\\n` line ends.

    What is no ordinary file (`/dev/stdout`, a pipe) is written to directly. Raises ArchError A1203."""
    target = Path(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    try:
        if target.exists() and not target.is_file() and not target.is_dir():
            with target.open("wb") as stream:
                stream.write(content)
        else:
            replace_file(target, lambda place: place.write_bytes(content))
    except BrokenPipeError:
        raise
    except OSError as failure:
        raise unwritable(path, failure) from failure


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a new file beside `path`, then puts it in place at once; whatever goes wrong on the way, `path`
    keeps what it held. Folders are made, a link is written through, permissions of a file that exists are kept. Raises
    OSError, and what `write` raises."""
    target = path.resolve() if path.is_symlink() else path
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    beside = target.parent / f".archc-{os.getpid()}-{_PROCESS}-{next(_COUNTER)}.part"
    try:
        beside.touch(exist_ok=False)
        mode = (target if target.exists() else beside).stat().st_mode & 0o7777
        write(beside)
        beside.chmod(mode)  # whatever `write` made of the file
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(beside, target)
        _sync_folder(target.parent)
    finally:
        beside.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes from a folder what processes left that were killed in `replace_file`. What a process of this machine
    still writes stays, and so does everything where a system can't tell, or doesn't let us."""
    if os.name != "posix":
        return
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            found = _PART.fullmatch(path.name)
            if found and not _writes(int(found[1]), found[2]):
                path.unlink(missing_ok=True)


def _writes(number: int, process: str) -> bool:
    """Is the process that began a file still there?"""
    if number == os.getpid():
        return process == _PROCESS
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself last, where the system lets one."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as failure:
        if failure.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def unwritable(path: str | os.PathLike[str], failure: OSError) -> ArchError:
    """A1203 for a file that the system would not let us write."""
    helps = {
        errno.ENOSPC: "the disk is full: free some space, or write elsewhere with `-o`",
        errno.EDQUOT: "your disk quota is used up: free some space, or write elsewhere with `-o`",
        errno.EACCES: "you may not write there: choose another place with `-o`",
        errno.EROFS: "that file system is read-only: choose another place with `-o`",
        errno.EISDIR: "that is a folder: name a file in it",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
        errno.EEXIST: "a part of the path is a file, not a folder",
    }
    reason = failure.strerror or str(failure)
    return error("A1203", f"cannot write `{os.fspath(path)}`: {reason}", help=helps.get(failure.errno or 0))


def unreadable(path: str | os.PathLike[str], failure: OSError) -> ArchError:
    """A1204 for a file that the system would not let us read."""
    return error("A1204", f"cannot read `{os.fspath(path)}`: {failure.strerror or failure}", help="check the path")
