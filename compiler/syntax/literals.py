"""Numbers, strings and names with holes: what is inside one token."""

from __future__ import annotations

import re
from decimal import Decimal

from ..diagnostics import Diagnostic, Label
from ..source import Source, Span
from . import ast

LARGEST = 2**63 - 1
_SUFFIXES = {"K": 3, "M": 6, "G": 9, "T": 12}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"'}
_ESCAPE = re.compile(r"\\(.)")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")

MOST = 20
"""After so many errors in a file the rest is not read."""


class TooMany(Exception):
    """So much is wrong with the text that reading on helps nobody."""


class Literals:
    """Reads tokens into values and keeps what is wrong with them."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: list[Diagnostic] = []
        self.comments: list[ast.Comment] = []
        self.excused = -1  # an error behind a token that starts before this follows from one that has been reported

    def span(self, start: int, end: int) -> Span:
        return Span(self.source, start, end)

    def report(
        self,
        code: str,
        message: str,
        at: Span,
        help: str | None = None,
        *,
        labels: tuple[Label, ...] = (),
        note: str = "",
    ) -> None:
        """Keep a complaint; parsing goes on, until there are MOST of them."""
        self.found.append(Diagnostic(code, message, at, labels, help, underline=note))
        if len(self.found) >= MOST:
            raise TooMany

    def comment(self, start: int, end: int) -> None:
        """Keep a comment."""
        text = self.source.text
        line = text.rfind("\n", 0, start) + 1
        own_line = not text[line:start].strip()
        self.comments.append(ast.Comment(text[start:end].rstrip(), own_line, span=self.span(start, end)))

    def number(self, text: str, at: Span) -> int | float:
        """The value of a number: exact, and an int unless it was written with a point or an exponent."""
        digits = text.replace("_", "")
        if len(digits) > 40:
            self.report("A0106", "this number has more than 40 digits", at, "write fewer digits, or use an exponent")
            return 0
        suffix = _SUFFIXES.get(digits[-1]) if _NUMBER.fullmatch(digits[:-1]) else None
        if suffix:
            digits = digits[:-1]
            value: int | float = _scaled(digits, suffix)
        else:
            value = int(digits) if digits.isdigit() else float(digits) if _NUMBER.fullmatch(digits) else 0
        if value > LARGEST and isinstance(value, int):
            self.report("A0106", f"`{text}` is too large for a whole number", at, f"the largest is {LARGEST:_}")
            return 0
        if value == float("inf"):
            self.report("A0106", f"`{text}` is too large for a number", at, "for infinity write `inf`")
            return 0
        return value

    def unescape(self, text: str, at: Span) -> str:
        """The text of a string literal."""
        if "\\" not in text:
            return text[1:-1]

        def meaning(escape: re.Match[str]) -> str:
            if escape[1] not in _ESCAPES:
                place = at.start + 1 + escape.start()
                self.report(
                    "A0107",
                    f"`\\{escape[1]}` means nothing in a string",
                    self.span(place, place + 2),
                    'a string knows `\\n`, `\\t`, `\\r`, `\\"` and `\\\\`; for a backslash write `\\\\`',
                )
            return _ESCAPES.get(escape[1], escape[1])

        return _ESCAPE.sub(meaning, text[1:-1])

    def on_template(self, at: Span, text: str) -> ast.Template:
        if text[0] != "`":
            return ast.Template((text,), span=at)
        return ast.Template(self._parts(at.start + 1, at.end - 1), True, span=at)

    def plain(self, text: str, start: int) -> str:
        """The text of a quoted name that stands where holes have no meaning."""
        if "{" in text or "}" in text or len(text) == 2:
            self.report(
                "A0108",
                f"{text} is used as a plain name" if len(text) > 2 else "a quoted name is empty",
                self.span(start, start + len(text)),
                "holes belong in labels and in the names of modules and params; a list is indexed: `nets[i]`",
            )
        return text[1:-1]

    def _parts(self, start: int, end: int) -> tuple[str | ast.Expr, ...]:
        text = self.source.text
        parts: list[str | ast.Expr] = []
        at = start
        while at < end:
            opening = text.find("{", at, end)
            stop = end if opening < 0 else opening
            stray = text.find("}", at, stop)
            if stray >= 0:
                self.report("A0108", "this `}` closes no hole", self.span(stray, stray + 1), "a hole is `{i + 1}`")
                return ("?",)
            if stop > at:
                parts.append(text[at:stop])
            if opening < 0:
                break
            closing = text.find("}", opening, end)
            if closing < 0:
                self.report("A0108", "this hole is not closed", self.span(opening, end), "close it with `}`")
                return ("?",)
            parts.append(self._hole(opening, closing))
            at = closing + 1
        if not parts:
            self.report("A0108", "a quoted name is empty", self.span(start - 1, end + 1), "write a name in it")
        return tuple(parts)

    def _hole(self, opening: int, closing: int) -> ast.Expr:
        from .machine import Machine

        at = self.span(opening, closing + 1)
        if not self.source.text[opening + 1 : closing].strip():
            self.report("A0108", "a hole is empty", at, "write a value in it: `{i + 1}`")
            return ast.NoneLit(span=at)
        value = Machine(self, "test", opening + 1, closing).run()
        return ast.NoneLit(span=at) if value is None else value


def _scaled(digits: str, power: int) -> int | float:
    """`25.6` and 6 → 25_600_000, exactly; a float where it is no whole number."""
    exact = Decimal(digits).scaleb(power) if abs(_exponent(digits)) < 40 else Decimal(float(digits))
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def _exponent(digits: str) -> int:
    return int(digits.lower().partition("e")[2] or 0)
