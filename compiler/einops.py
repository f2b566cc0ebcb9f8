"""The notation of `rearrange` and `einsum`: `"b t (h d) -> b h t d"`. Parses text; knows nothing of tensors.

A pattern is untrusted text: its length and number of names are bounded, and nothing of it ever becomes code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

MOST_CHARACTERS = 1000
MOST_NAMES = 64

_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|\.\.\.|…|[0-9]+|\S")


class PatternError(Exception):
    """What is wrong with a pattern, and where: characters [start, end) of its text."""

    def __init__(self, code: str, message: str, start: int, end: int, help: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.start, self.end, self.help = code, message, start, end, help


@dataclass(frozen=True, slots=True)
class Name:
    """A name, `1` or `...`, and where it stands in the pattern."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


Group = tuple[Name, ...]  # one axis: the names that it is composed of, outermost first; the axis `1` has none


@dataclass(frozen=True, slots=True)
class Side:
    """One tensor of a pattern: its axes. `...` is the group that holds only that name."""

    axes: tuple[Group, ...]
    start: int
    end: int
    composed: bool = False  # it has parentheses

    def names(self) -> Iterator[Name]:
        for group in self.axes:
            yield from group


ELLIPSIS = "..."


@lru_cache(maxsize=1024)
def parse(pattern: str) -> tuple[tuple[Side, ...], Side]:
    """The operands' sides and the result's. Raises PatternError (A0323 for the form, A0324 for the names)."""
    if len(pattern) > MOST_CHARACTERS:
        raise PatternError("A0323", f"a pattern has at most {MOST_CHARACTERS} characters", 0, MOST_CHARACTERS)
    left, arrow, right = pattern.partition("->")
    if not arrow:
        raise PatternError(
            "A0323",
            "a pattern needs an arrow",
            0,
            len(pattern),
            'write what enters, `->`, what leaves: "b c h w -> b h w c"',
        )
    again = right.find("->")
    if again >= 0:
        at = len(left) + 2 + again
        raise PatternError("A0323", "a pattern has one arrow", at, at + 2)
    sides, at = [], 0
    for part in left.split(","):
        sides.append(_side(part, at))
        at += len(part) + 1
    comma = right.find(",")
    if comma >= 0:
        at = len(left) + 2 + comma
        raise PatternError("A0323", "one tensor leaves a pattern", at, at + 1)
    result = _side(right, len(left) + 2)
    count = sum(1 for side in (*sides, result) for _ in side.names())
    if count > MOST_NAMES:
        raise PatternError("A0323", f"a pattern has at most {MOST_NAMES} names, found {count}", 0, len(pattern))
    return tuple(sides), result


def _side(text: str, offset: int) -> Side:
    axes: list[Group] = []
    inside: list[Name] | None = None  # the names since an open parenthesis
    opened, composed = 0, False
    seen: dict[str, Name] = {}
    for found in _TOKEN.finditer(text):
        token, start = found.group(), offset + found.start()
        if token == "(":
            if inside is not None:
                raise PatternError("A0323", "parentheses do not stand within parentheses", start, start + 1)
            inside, opened, composed = [], start, True
        elif token == ")":
            if inside is None:
                raise PatternError("A0323", "this parenthesis closes nothing", start, start + 1)
            axes.append(tuple(inside))
            inside = None
        else:
            group = _names(token, start, inside is not None)
            for name in group:
                if name.text in seen:
                    raise PatternError(
                        "A0324",
                        f"`{name.text}` stands twice on one side",
                        name.start,
                        name.end,
                        "every axis has a name of its own there",
                    )
                seen[name.text] = name
            if inside is None:
                axes.append(group)
            else:
                inside += group
    if inside is not None:
        raise PatternError("A0323", "this parenthesis is never closed", opened, opened + 1)
    return Side(tuple(axes), offset, offset + len(text), composed)


def _names(token: str, start: int, inside: bool) -> Group:
    """The names that a token stands for: none for `1`."""
    if token in (ELLIPSIS, "…"):
        if inside:
            raise PatternError("A0323", "`...` does not stand within parentheses", start, start + len(token))
        return (Name(ELLIPSIS, start),)
    if token == "1":
        return ()
    if token.isdigit():
        raise PatternError(
            "A0323",
            f"the only number in a pattern is 1, found {token}",
            start,
            start + len(token),
            f'name the axis and give its size: rearrange("… (h d) …", h={token})',
        )
    if not (token[0].isalpha() or token[0] == "_"):
        raise PatternError(
            "A0323",
            f"`{token}` has no meaning in a pattern",
            start,
            start + len(token),
            "a pattern has names, `1`, `...`, parentheses, one `->`, and commas between the operands of einsum",
        )
    return (Name(token, start),)


def expand_ellipsis(side: Side, rank: int) -> Side:
    """`...` replaced by as many names as make the side have so many axes; unchanged where that cannot be."""
    places = [i for i, group in enumerate(side.axes) if any(n.text == ELLIPSIS for n in group)]
    missing = rank - (len(side.axes) - 1)
    if not places or missing < 0:
        return side
    return fill_ellipsis(side, missing)


def fill_ellipsis(side: Side, count: int) -> Side:
    """`...` replaced by so many names, numbered from the right so that operands of different rank align."""
    axes: list[Group] = []
    for group in side.axes:
        if group and group[0].text == ELLIPSIS:
            axes += [(Name(f"...{back}", group[0].start),) for back in range(count, 0, -1)]
        else:
            axes.append(group)
    return Side(tuple(axes), side.start, side.end, side.composed)
