"""Diagnostics: what went wrong, where, and what to do about it.

A code's page is `explain/<code>.md`; a code without a page does not exist (a test holds this).
Ranges: A01 text and syntax, A02 names, A03 shapes and axes, A04 static values and types, A05 structure, labels and
modules, A06 contracts, A07 imports and targets, A08 limits, A09 not supported yet, A10 training and data,
A11 checkpoints, A12 command line and files, A13 claims of inductive biases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources

from .source import Span


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Label:
    """A secondary place: where one side of a disagreement came from."""

    span: Span
    message: str


@dataclass(frozen=True)
class Diagnostic:
    """One message. `span` is None only where no text is to blame (a missing file, a data folder)."""

    code: str
    message: str
    span: Span | None = None
    labels: tuple[Label, ...] = ()
    help: str | None = None
    severity: Severity = Severity.ERROR
    underline: str = ""

    def sort_key(self) -> tuple:
        if self.span is None:
            return ("", -1, -1, self.code, self.message)
        return (self.span.source.name, self.span.start, self.span.end, self.code, self.message)

    def as_json(self) -> dict:
        """A plain mapping for programs: lines and columns are 1-based."""
        return {
            "code": self.code,
            "severity": str(self.severity),
            "message": self.message,
            "place": place_of(self.span),
            "labels": [{"message": label.message, "place": place_of(label.span)} for label in self.labels],
            "help": self.help,
        }


def place_of(span: Span | None) -> dict | None:
    if span is None:
        return None
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    return {"file": span.source.name, "line": line, "column": column, "end_line": end_line, "end_column": end_column}


class Notice(UserWarning):
    """Nothing is wrong, and the user may want to know: a warning in a program, a line of `archc` on stderr."""


class ArchError(Exception):
    """One or more errors that end the work. Carries every diagnostic found, warnings included."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        self.diagnostics = tuple(sorted(set(diagnostics), key=Diagnostic.sort_key))
        super().__init__("\n".join(plain(d) for d in self.diagnostics))


def error(
    code: str,
    message: str,
    span: Span | None = None,
    *,
    labels: Iterable[Label] = (),
    help: str | None = None,
    underline: str = "",
) -> ArchError:
    """An ArchError with one diagnostic, ready to raise."""
    return ArchError(Diagnostic(code, message, span, tuple(labels), help, underline=underline))


@dataclass
class Sink:
    """Collects diagnostics, so that all of a file's are shown at once."""

    found: list[Diagnostic] = field(default_factory=list)

    def add(self, diagnostic: Diagnostic) -> None:
        if diagnostic not in self.found:
            self.found.append(diagnostic)

    def extend(self, failure: ArchError) -> None:
        for diagnostic in failure.diagnostics:
            self.add(diagnostic)

    @property
    def failed(self) -> bool:
        return any(d.severity is Severity.ERROR for d in self.found)

    def raise_if_failed(self) -> None:
        if self.failed:
            raise ArchError(*self.found)


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The closest known word, when it is close enough to be a slip."""
    from difflib import get_close_matches  # most runs have nothing to suggest

    names = sorted(set(known))
    folded = {name.lower(): name for name in reversed(names)}
    if word.lower() in folded:
        return folded[word.lower()]
    close = get_close_matches(word, names, n=1, cutoff=0.75 if len(word) > 3 else 0.6)
    return close[0] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """`did you mean `conv`?` or None."""
    close = suggest(word, known)
    return f"did you mean `{close}`?" if close else None


def explain(code: str) -> str | None:
    """The Markdown page of a code, or None when there is no such code."""
    if not (len(code) == 5 and code[0] == "A" and code[1:].isdigit()):
        return None
    page = resources.files("archlang.compiler") / "explain" / f"{code}.md"
    return page.read_text(encoding="utf-8") if page.is_file() else None


def codes() -> list[str]:
    """Every code that has a page, sorted."""
    folder = resources.files("archlang.compiler") / "explain"
    return sorted(p.name.removesuffix(".md") for p in folder.iterdir() if p.name.endswith(".md"))


def plain(diagnostic: Diagnostic) -> str:
    """The diagnostic as text: message, place, the source line underlined, the secondary places, the help."""
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"]
    if diagnostic.span is not None:
        lines += _excerpt(diagnostic.span, diagnostic.underline, "^", "-->")
    for label in diagnostic.labels:
        lines += _excerpt(label.span, label.message, "-", ":::")
    if diagnostic.help:
        lines.append(f"  = help: {diagnostic.help}")
    return "\n".join(lines)


_WIDEST = 160


def _excerpt(span: Span, note: str, mark: str, arrow: str) -> list[str]:
    line, column = span.source.position(span.start)
    text = span.source.line(line)
    width = max(1, min(span.end - span.start, len(text) - column + 1))
    if len(text) > _WIDEST:  # a generated or hostile line: show the part that matters
        begin = max(0, column - 1 - _WIDEST // 2)
        text, column = text[begin : begin + _WIDEST], column - begin
        width = max(1, min(width, len(text) - column + 1))
    text = "".join(c if c.isprintable() else " " for c in text)  # tabs and control characters take one cell
    gutter = " " * len(str(line))
    under = " " * (column - 1) + mark * width + (f" {note}" if note else "")
    return [f"{gutter}{arrow} {span}", f"{gutter} |", f"{line} | {text}", f"{gutter} | {under}"]
