"""Diagnostics on a terminal: colour where it is wanted, and nothing that could steer the terminal."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from archlang.compiler.diagnostics import Diagnostic, Notice, Severity, plain

_HEAD = re.compile(r"(error|warning|note)(\[A\d{4}\]|)(: .*)")
_GUTTER = re.compile(r"( *\d* \|)(.*)")
_MARKS = re.compile(r"( *)([\^]+|-+)(?=\s|$)(.*)")
_COLOURS = {"error": "1;31", "warning": "1;33", "note": "1;36"}


def coloured(stream: TextIO) -> bool:
    """Whether to colour: a terminal that is not dumb, and NO_COLOR is not set. FORCE_COLOR wins over not being one."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def harmless(text: str) -> str:
    """The text without control characters: what a file says must not move the cursor."""
    return "".join(c if c == "\n" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def draw(diagnostic: Diagnostic, colour: bool) -> str:
    """One diagnostic as it is shown."""
    text = harmless(plain(diagnostic))
    return "\n".join(_paint(line) for line in text.split("\n")) if colour else text


def _paint(line: str) -> str:
    if match := _HEAD.fullmatch(line):
        kind, code, message = match.groups()
        return f"\033[{_COLOURS[kind]}m{kind}{code}\033[0m\033[1m{message}\033[0m"
    if line.startswith("  = help:"):
        return f"\033[1;32m  = help:\033[0m{line.removeprefix('  = help:')}"
    if match := _GUTTER.fullmatch(line):
        gutter, rest = match.groups()
        if marks := _MARKS.fullmatch(rest):
            space, under, note = marks.groups()
            shade = "1;31" if under.startswith("^") else "1;34"
            rest = f"{space}\033[{shade}m{under}{note}\033[0m"
        return f"\033[1;34m{gutter}\033[0m{rest}"
    stripped = line.lstrip()
    if stripped.startswith(("-->", ":::")):
        indent = line[: len(line) - len(stripped)]
        return f"{indent}\033[1;34m{stripped[:3]}\033[0m{stripped[3:]}"
    return line


def show(diagnostics: Iterable[Diagnostic], stream: TextIO | None = None) -> None:
    """Writes diagnostics to stderr (or another stream), a blank line between them, a count below several errors."""
    out = stream if stream is not None else sys.stderr
    found = list(diagnostics)
    if not found:
        return
    colour = coloured(out)
    print("\n\n".join(draw(d, colour) for d in found), file=out)
    if summary := count(found):
        print(f"\n{summary}", file=out)


@contextmanager
def notices() -> Iterator[None]:
    """Inside, a `Notice` becomes one line on stderr, each once; other warnings stay what they are."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def say(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, Notice):
                shown(message, category, filename, lineno, file, line)
                return
            text = harmless(f"note: {' '.join(str(message).split())}")
            print(_paint(text) if coloured(sys.stderr) else text, file=sys.stderr)

        warnings.showwarning = say
        warnings.simplefilter("default", Notice)
        yield


def quiet() -> None:
    """No notices for the rest of the command."""
    warnings.simplefilter("ignore", Notice)


def count(found: list[Diagnostic]) -> str:
    """`3 errors, 1 warning`, or nothing for a single message."""
    if len(found) < 2:
        return ""
    parts = []
    for severity in (Severity.ERROR, Severity.WARNING):
        number = sum(d.severity is severity for d in found)
        if number:
            parts.append(f"{number} {severity}{'s' if number > 1 else ''}")
    return ", ".join(parts)
