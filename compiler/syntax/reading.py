"""Files to sources: `read_source`."""

from __future__ import annotations

from pathlib import Path

from ..diagnostics import error
from ..source import Source, Span

LARGEST_FILE = 4_000_000
"""Most bytes of one file."""


def read_source(path: str | Path, name: str | None = None) -> Source:
    """The text of an `.arch` file; `name` is what messages call it (the path as given).

    Raises ArchError: A0150 not UTF-8, A0151 a NUL byte, A0152 no such file, A0153 a folder, A0154 unreadable, A0155 too
    large. A byte-order mark is dropped; line ends are kept as they are.
    """
    shown = name or str(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise error("A0152", f"there is no file {shown}", help="check the path; specs end in `.arch`") from None
    except IsADirectoryError:
        raise error("A0153", f"{shown} is a folder, not a file", help="name one `.arch` file in it") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise error("A0154", f"{shown} cannot be read: {reason}", help="check its permissions") from None
    if len(data) > LARGEST_FILE:
        message = f"{shown} is larger than {LARGEST_FILE:_} bytes"
        raise error("A0155", message, help="split it into several files and `import` them")
    return _decoded(data.removeprefix(b"\xef\xbb\xbf"), shown)


def _decoded(data: bytes, shown: str) -> Source:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        before = data[: problem.start].decode("utf-8")
        source = Source(before + data[problem.start :].decode("utf-8", "replace"), shown)
        at = Span(source, len(before), len(before) + 1)
        found = f"byte 0x{data[problem.start]:02x}"
        raise error("A0150", f"{shown} is not UTF-8 text: found {found}", at, help="save it as UTF-8") from None
    source = Source(text, shown)
    nul = text.find("\0")
    if nul >= 0:
        at = Span(source, nul, nul + 1)
        raise error("A0151", f"{shown} holds a NUL byte", at, help="this looks like a binary file, not a spec")
    return source
