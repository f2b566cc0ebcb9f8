"""C source compiled with the machine's own compiler, once: what was built is kept in the user's cache.

The name of a file in the cache is a digest of the source, the compiler, its flags and what the processor can do. At its
end stands a digest of what comes before, so that half a file is never loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from archlang.compiler.files import replace_file

FLAGS = (
    "-O2",
    "-std=gnu11",
    "-fPIC",
    "-shared",
    "-pthread",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-w",
)
_PATIENCE = 120.0  # seconds for one compilation
_DIGEST = hashlib.sha256().digest_size


class NoCompiler(Exception):
    """There is no C compiler that works; the message says what happened."""


def library(source: str, extra: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The library of a source, from the cache where it is. extra: further flags. Raises NoCompiler."""
    command = compiler()
    name = f"{_key(source, command, extra)}.so"
    folder = _folder()
    if folder is not None:
        place = folder / name
        if not _whole(place):
            try:
                replace_file(place, lambda path: _build(source, command, extra, path))
            except OSError:
                folder = None  # the cache can't be written to
        if folder is not None:
            return _load(place)
    with tempfile.TemporaryDirectory(prefix="archlang-") as temporary:
        place = Path(temporary) / name
        _build(source, command, extra, place)
        return _load(place)


def compiler() -> tuple[str, ...]:
    """The command of the C compiler: what `CC` says, or cc, gcc or clang. Raises NoCompiler."""
    given = shlex.split(os.environ.get("CC", ""))
    if given:
        path = shutil.which(given[0])
        if path is None:
            raise NoCompiler(f"CC names `{given[0]}`, which is no program")
        return (path, *given[1:])
    path = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if path is None:
        raise NoCompiler("there is no C compiler (cc, gcc or clang)")
    return (path,)


def _folder() -> Path | None:
    from archlang.runtime.download import cache_folder

    folder = cache_folder() / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = folder.stat()
    except (OSError, RuntimeError):
        return None
    # Libraries are code: one that somebody else may have put there is not loaded.
    return folder if not hasattr(os, "getuid") or (owner.st_uid == os.getuid() and not owner.st_mode & 0o022) else None


def _key(source: str, command: tuple[str, ...], extra: tuple[str, ...]) -> str:
    real = Path(command[0]).resolve()
    stat = real.stat()
    parts = (source, *command, str(real), str(stat.st_size), str(stat.st_mtime_ns), *FLAGS, *extra, _processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@cache
def _processor() -> str:
    """What the processor can do, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = sorted({line for line in lines if line.startswith(("flags", "Features", "model name", "CPU part"))})
    return "\n".join([platform.machine(), platform.processor(), *told])


def _whole(place: Path) -> bool:
    try:
        data = place.read_bytes()
    except OSError:
        return False
    return len(data) > _DIGEST and hashlib.sha256(data[:-_DIGEST]).digest() == data[-_DIGEST:]


def _build(source: str, command: tuple[str, ...], extra: tuple[str, ...], place: Path) -> None:
    """Compiles to `place`. Raises NoCompiler, and OSError where `place` can't be written."""
    with tempfile.TemporaryDirectory(prefix="archlang-") as temporary:
        made, text = Path(temporary) / "kernel.so", Path(temporary) / "kernel.c"
        text.write_text(source, encoding="utf-8")
        failure = "it makes nothing"
        for native in (("-march=native",), ("-mcpu=native",), ()):
            failure = _compile((*command, *FLAGS, *native, *extra, "-o", str(made), str(text), "-lm"))
            if not failure:
                break
        if failure or not made.is_file():
            raise NoCompiler(f"`{command[0]}` can't compile a recurrence: {failure}")
        data = made.read_bytes()
    place.write_bytes(data + hashlib.sha256(data).digest())


def _compile(command: tuple[str, ...]) -> str:
    """What went wrong, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise NoCompiler(f"`{command[0]}` takes longer than {_PATIENCE:.0f} seconds for a recurrence") from None
    except OSError as failure:
        return str(failure)
    if done.returncode == 0:
        return ""
    return done.stderr.decode(errors="replace").strip()[:2000] or f"exit code {done.returncode}"


def _load(place: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(place))
    except OSError as failure:
        raise NoCompiler(f"what the C compiler made can't be loaded: {failure}") from None
