"""Published files, fetched once: over https only, to a size limit, checked, and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from archlang.compiler.diagnostics import ArchError, error

from .files import write_atomically

LARGEST = 64 * 2**30
"""No file of weights that is fetched may have more bytes."""

_CHUNK = 1 << 20
_PATIENCE = 30.0  # seconds without a byte


def cache_folder() -> Path:
    """Where fetched files are kept: `archlang` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "archlang"


def fetch(link: str, sha256: str | None, *, progress: bool = True, limit: int = LARGEST) -> Path:
    """The file behind a link, from the cache if it is there and right.

    sha256: its checksum, or the first digits; None: it is not checked. A file that is too large or another than was
    published is refused, and nothing of it is kept. Raises A1104, A1108 and A1109."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", urlsplit(link).path.rpartition("/")[2])[-100:] or "weights"
    place = cache_folder() / "weights" / f"{hashlib.sha256(link.encode()).hexdigest()[:16]}-{name}"
    if place.is_file() and (sha256 is None or digest(place).startswith(sha256.lower())):
        return place

    def write(beside: Path) -> None:
        _download(link, beside, limit, progress)
        if sha256 is not None:
            verify(beside, sha256, link)

    write_atomically(place, write)
    return place


def verify(path: Path, sha256: str, shown: str) -> None:
    """Raises A1109 when the file has another checksum."""
    found = digest(path)
    if not found.startswith(sha256.lower()):
        raise error(
            "A1109",
            f"what came from {shown} is not what was published: its SHA-256 is {found[: max(len(sha256), 8)]}…, "
            f"not {sha256.lower()}",
            help="nothing of it is loaded; check the checksum where the file is published",
        )


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- the transfer


class _OnlyHttps(HTTPRedirectHandler):
    """Follows redirects, but none that leads away from https."""

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://"):
            raise URLError(f"it redirects to {newurl[:100]}, and only https is followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_link(link: str) -> Any:
    """A response to read from. Knows https and nothing else: no files, no plain http. Raises OSError."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        UnknownHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        _OnlyHttps(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener.open(Request(link, headers={"User-Agent": "archlang"}), timeout=_PATIENCE)


def _download(link: str, place: Path, limit: int, progress: bool) -> None:
    try:
        response = open_link(link)
    except OSError as failure:
        raise _unreachable(link, failure) from None
    with response, place.open("wb") as file:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        if total is not None and total > limit:
            raise too_large(link, limit)
        done = 0
        with _bar(link, total, progress) as advance:
            while True:
                try:
                    chunk = response.read(_CHUNK)
                except OSError as failure:
                    raise _unreachable(link, failure) from None
                if not chunk:
                    break
                done += len(chunk)
                if done > limit:
                    raise too_large(link, limit)
                file.write(chunk)
                advance(len(chunk))
        if total is not None and done < total:
            raise _unreachable(link, OSError(f"it ended after {done:,} of {total:,} bytes"))


def _bar(link: str, total: int | None, on: bool) -> AbstractContextManager[Callable[[int], None]]:
    """A bar in a terminal; nothing elsewhere."""
    from contextlib import contextmanager

    from rich.console import Console

    console = Console(stderr=True)
    if not on or not console.is_terminal:
        return nullcontext(lambda _: None)

    @contextmanager
    def shown() -> Any:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(link.rpartition("/")[2][:60], total=total)
            yield lambda amount: progress.advance(task, amount)

    return shown()


def _unreachable(link: str, failure: OSError) -> ArchError:
    if isinstance(failure, HTTPError):
        reason = f"the server says {failure.code} {failure.reason}"
    else:
        reason = str(getattr(failure, "reason", "") or failure) or type(failure).__name__
    return error(
        "A1108",
        f"{link} can't be fetched: {reason[:300]}",
        help="try again, or fetch the file where there is a network and give its path",
    )


def too_large(link: str, limit: int) -> ArchError:
    """A1109 for a file over the limit."""
    return error("A1109", f"{link} has more than {limit:,} bytes, and that is refused", help="give the file's own path")
