"""Text files, read piece by piece. Every complaint names the file and the line."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from archlang.compiler.diagnostics import ArchError, error
from archlang.compiler.source import Span

MOST = 1 << 30  # bytes of text that are read; the numbers made of it take up to four times as much memory
_LINE = 1 << 20  # characters of a line, for files where a line is an example
_PIECE = 1 << 20


def pieces(path: Path, span: Span | None) -> Iterator[str]:
    """The text of a file in UTF-8, some characters at a time. Line ends become `\\n`. Raises A1012, A1049."""
    check_file(path, span)
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line, held = 1, ""
    try:
        with path.open("rb") as file:
            while data := file.read(_PIECE):
                try:
                    text = decoder.decode(data)
                except UnicodeDecodeError as failure:
                    raise undecodable(
                        path, line + failure.object[: failure.start].count(b"\n"), failure, span
                    ) from None
                line += data.count(b"\n")
                text, held = held + text, ""
                if text.endswith("\r"):  # perhaps the first half of a line end
                    text, held = text[:-1], "\r"
                if text:
                    yield text.replace("\r\n", "\n")
        held += decoder.decode(b"", final=True)
    except UnicodeDecodeError as failure:
        raise undecodable(path, line, failure, span) from None
    except OSError as failure:
        raise error("A1049", f'"{path.name}" can\'t be read: {failure.strerror}', span) from None
    if held:
        yield held


def lines(path: Path, span: Span | None) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, without what ends them. Raises A1012, A1049."""
    check_file(path, span)
    number = 0
    try:
        with path.open("rb") as file:
            while raw := file.readline(4 * _LINE + 1):
                number += 1
                if len(raw) > 4 * _LINE:
                    message = f'"{path.name}", line {number} has more than {_LINE:,} characters'
                    raise error("A1049", message, span, help="is each example on a line of its own?")
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                yield number, text.rstrip("\r\n")
    except UnicodeDecodeError as failure:
        raise undecodable(path, number, failure, span) from None
    except OSError as failure:
        raise error("A1049", f'"{path.name}" can\'t be read: {failure.strerror}', span) from None


def check_file(path: Path, span: Span | None, most: int = MOST) -> None:
    """Raises A1012 for a folder and A1049 for what is too large."""
    if not path.is_file():
        raise error("A1012", f'"{path.name}" is a folder, not a file', span)
    size = path.stat().st_size
    if size > most:
        message = f'"{path.name}" has {size / 2**20:,.0f} MiB, and up to {most / 2**20:,.0f} MiB are read'
        raise error("A1049", message, span, help="train on a part of it")


def undecodable(path: Path, line: int, failure: UnicodeDecodeError, span: Span | None) -> ArchError:
    byte = failure.object[failure.start]
    message = f'"{path.name}", line {line}: the byte {byte:#04x} is not UTF-8'
    return error("A1049", message, span, help="save the file as UTF-8")
