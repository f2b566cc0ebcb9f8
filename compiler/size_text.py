"""Sizes read from text, as their `str` writes them."""

from __future__ import annotations

import re

from .sizes import Dim, SizeLimit, symbol

_MOST_BITS = 4096  # no size that anybody wrote is a number as long as this
_DEEPEST = 100
_TOKEN = re.compile(r"\s*(?:(?P<number>\d+)|(?P<name>[^\W\d]\w*)|(?P<sign>//|\*\*|[-+*%()]))")


def parse_size(text: str) -> int | Dim:
    """Reads what `str` of a size wrote. Raises ValueError."""
    if len(text) > 10_000:
        raise ValueError("a size expression is too long")
    try:
        return _Reader(text).whole()
    except ZeroDivisionError as failure:
        raise ValueError(f"not a size: {text[:80]!r}") from failure


class _Reader:
    """Recursive descent over the tokens of a size: sums of products of powers of atoms."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text.rstrip(), 0, 0
        self.kind: str | None = None
        self.token = ""
        self.advance()

    def advance(self) -> None:
        found = _TOKEN.match(self.text, self.at)
        if found is None and self.at < len(self.text):
            raise self.wrong()
        self.kind = found.lastgroup if found else None
        self.token = found[found.lastgroup] if found and found.lastgroup else ""
        self.at = found.end() if found else self.at

    def wrong(self) -> ValueError:
        return ValueError(f"not a size: {self.text[:80]!r}")

    def whole(self) -> int | Dim:
        size = self.sum()
        if self.kind is not None:
            raise self.wrong()
        return size

    def takes(self, *signs: str) -> str | None:
        if self.kind != "sign" or self.token not in signs:
            return None
        sign = self.token
        self.advance()
        return sign

    def sum(self) -> int | Dim:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise SizeLimit("a size expression is nested too deeply")
        size = self.product()
        while sign := self.takes("+", "-"):
            size = size + self.product() if sign == "+" else size - self.product()
        self.depth -= 1
        return size

    def product(self) -> int | Dim:
        negative = self.takes("-")
        size = self.power()
        if negative:
            size = -size
        while sign := self.takes("*", "//", "%"):
            right = self.power()
            size = size * right if sign == "*" else size // right if sign == "//" else size % right
            if isinstance(size, int) and size.bit_length() > _MOST_BITS:
                raise SizeLimit("a size is too large a number")
        return size

    def power(self) -> int | Dim:
        size = self.atom()
        if self.takes("**") is None:
            return size
        if self.kind != "number" or len(self.token) > 4:
            raise self.wrong()
        exponent = int(self.token)
        self.advance()
        if isinstance(size, int) and size.bit_length() * exponent > _MOST_BITS:
            raise SizeLimit("a size is too large a number")
        return size**exponent

    def atom(self) -> int | Dim:
        kind, token = self.kind, self.token
        if kind == "number":
            self.advance()
            return int(token)
        if kind == "name":
            self.advance()
            return symbol(token)
        if self.takes("(") is None:
            raise self.wrong()
        size = self.sum()
        if self.takes(")") is None:
            raise self.wrong()
        return size
