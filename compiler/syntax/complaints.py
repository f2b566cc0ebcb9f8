"""Text that is no program: what is said about it, and where reading goes on.

After an error the parser falls back to the body that it was in, and skips to the next statement of it, to the brace
that closes it, or to the next declaration. So one run shows several errors, and one error does not cause others.
"""

from __future__ import annotations

import re

from ..source import Source
from .machine import CLOSERS, DEEPEST, END, OPENERS, SLIPS, Machine, Token
from .nodes import Nodes
from .scene import DECLARATIONS, STATEMENTS

_BAD_NUMBER = re.compile(r"[0-9][\w.]*")
_WORD = re.compile(r"\w+")
_QUOTES = {"'": "'", "‘": "’", "’": "’", "“": "”", "”": "”", "„": "“", "«": "»", "´": "´"}
_NAME_NEXT = re.compile(r"\s+[A-Za-z_`\"(]")
_INDENTED = re.compile(r"[ \t]*(?:[\r\n]|$)")
_BIND = re.compile(r"[A-Za-z_]\w*'?(?:[ \t]*,[ \t]*[A-Za-z_]\w*)*[ \t]*(?:=(?!=)|:[ \t]*\w*\[)")


class Complaints(Nodes):
    """Builds nodes; explains errors and finds where to go on after one."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.last_error = -1

    # ------------------------------------------------------------ characters

    def stray(self, text: str, pos: int, end: int) -> Token:
        """Report what no token starts with; the token to read in its place, without a kind where it is skipped."""
        char = text[pos]
        line_end = text.find("\n", pos, end)
        line_end = end if line_end < 0 else line_end
        if text.startswith('"""', pos):
            self.report("A0104", "this docstring is not closed", self.span(pos, pos + 3), 'close it with `"""`')
            return Token(END, end, end)
        if char in '"`':
            return self._unterminated(text, pos, line_end)
        if char in _QUOTES:
            closing = text.find(_QUOTES[char], pos + 1, line_end)
            if closing > 0:
                at = self.span(pos, closing + 1)
                self.report("A0110", "a string stands in double quotes", at, f'write `"{text[pos + 1 : closing]}"`')
                return Token("STRING", pos, closing + 1)
        number = _BAD_NUMBER.match(text, pos, end)
        if number:
            self._bad_number(number[0], pos)
            return Token("NUMBER", pos, number.end())
        word = _WORD.match(text, pos, end)
        if word:
            at = self.span(pos, word.end())
            self.report(
                "A0103",
                f"`{word[0]}` is no name",
                at,
                "names are made of the letters a to z and A to Z, digits and `_`",
            )
            return Token("NAME", pos, word.end())
        shown = f"`{char}`" if char.isprintable() and not char.isspace() else f"U+{ord(char):04X}"
        help = "newlines mean nothing, so a line needs no mark to go on" if char == "\\" else "delete it"
        self.excused = line_end
        self.report("A0103", f"stray character {shown}", self.span(pos, pos + 1), help)
        return Token("", pos, pos + 1)

    def _unterminated(self, text: str, pos: int, line_end: int) -> Token:
        what, kind = ("string", "STRING") if text[pos] == '"' else ("quoted name", "QUOTED")
        last = pos + len(text[pos:line_end].rstrip())
        self.report(
            "A0104",
            f"this {what} is not closed",
            self.span(pos, max(last, pos + 1)),
            f"close it with `{text[pos]}` on the same line" if what == "string" else "close it with a backtick",
        )
        self.excused = line_end
        if kind == "QUOTED":
            return Token("NAME", pos + 1, line_end)
        return Token(kind, pos, max(last, pos + 1))

    def _bad_number(self, number: str, pos: int) -> None:
        help = "a number is written `61_706`, `0.5`, `2e-4`, or with K, M, G or T for thousands to trillions: `25.6M`"
        self.report("A0106", f"`{number[:40]}` is no number", self.span(pos, pos + len(number)), help)

    def slip(self, text: str, start: int, end: int) -> str | None:
        """Report what another language writes; the terminal that it stands for, None for nothing."""
        at, meant = self.span(start, end), SLIPS[text]
        if not meant:
            self.report("A0110", "nothing ends with `;` here", at, "delete it: a statement ends where the next begins")
            return None
        help = f"write `{meant}`"
        if text == "=>":
            help = "an arrow is `->`; the comparison is `>=`"
        elif text == ":=":
            help = "a name is given its value with `=`"
        self.report("A0110", f"`{text}` is not part of the language", at, help)
        return machine_kind(meant)

    # ------------------------------------------------------------ going on

    def recover(self, machine: Machine, token: Token) -> Token | None:
        """Report that the token has no place; the token from which reading goes on, None where it does not."""
        before = machine.recent[-1].start if machine.recent else -1
        if token.start != self.last_error and before >= self.excused:
            from .explain import explain  # long, and most texts are right

            explain(self, machine, token)
        if token.kind == END:
            return None
        start = token.end if token.start == self.last_error else token.start
        self.last_error = token.start
        return _resume(machine, start)


def machine_kind(text: str) -> str:
    """The terminal written so."""
    from .machine import tables

    return tables().kind_of[text]


def _level(machine: Machine, *rules: str) -> tuple[int, str] | None:
    """How many values stand below the innermost open body of statements of these kinds, and the kind."""
    bodies = [index + 1 for kind, _, index in machine.opens if kind == "LBRACE"]
    for size in [*reversed(bodies), 0]:
        gotos = machine.tables.gotos(machine.states[size])
        for rule in rules:
            if rule in gotos:
                listed = len(machine.states) > size + 1 and "_star_" in machine.tables.access[machine.states[size + 1]]
                return size + listed, rule
    return None


def _resume(machine: Machine, pos: int) -> Token | None:
    level = _level(machine, "_stmt", "_setting", "_item")
    if level is None:
        return None
    size, place = level
    inner = [kind for kind, _, index in machine.opens if index >= size]
    match, text, end = machine.tables.match, machine.text, machine.end
    while pos < end:
        found = match(text, pos, end)
        if found is None:
            pos = _past_stray(text, pos, end)
            continue
        kind, start, pos = found.lastgroup or "", pos, found.end()
        if kind in OPENERS:
            inner.append(kind)
            if len(inner) > DEEPEST:
                return None
        elif kind in CLOSERS:
            if CLOSERS[kind] in inner:
                while inner.pop() != CLOSERS[kind]:
                    pass
            elif kind == "RBRACE" and place != "_item":
                return _from(machine, size, start)
        elif kind in ("NAME", "PRIMED"):
            word = found[0]
            if word in DECLARATIONS and text[start - 1 : start] in ("", "\n") and _NAME_NEXT.match(text, pos):
                level = _level(machine, "_item")
                return _from(machine, level[0], start) if level else None
            if _starts(machine, place, inner, word, start, pos):
                return _from(machine, size, start)
    return None


def _past_stray(text: str, pos: int, end: int) -> int:
    """Behind what no token starts with: all of it, or a hostile text would be searched again from every character."""
    if text.startswith('"""', pos):
        return end
    if text[pos] in '"`':
        line_end = text.find("\n", pos, end)
        return end if line_end < 0 else line_end
    word = _WORD.match(text, pos, end)
    return word.end() if word else pos + 1


def _starts(machine: Machine, place: str, inner: list[str], word: str, start: int, end: int) -> bool:
    """Whether a statement or setting seems to start with the word."""
    text = machine.text
    first = _INDENTED.match(text[max(0, start - 200) : start][::-1]) is not None
    if place == "_stmt":
        if word in ("for", "if"):
            return first and not inner
        if word in STATEMENTS and (first or not inner):
            return bool(_NAME_NEXT.match(text, end))
        return first and not inner and bool(_BIND.match(text, start))
    return place == "_setting" and first and not inner


def _from(machine: Machine, size: int, start: int) -> Token:
    machine.pop_to(size)
    machine.pos = start
    return machine.next_token()
