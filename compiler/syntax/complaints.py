"""Nodes, and what to say and do about text that is no program."""

from __future__ import annotations

from .machine import SLIPS, Machine, Token
from .nodes import Nodes


class Complaints(Nodes):
    """Builds nodes; explains errors and finds where to go on after one."""

    def stray(self, text: str, pos: int, end: int) -> Token:
        self.report("A0103", f"stray `{text[pos]}`", self.span(pos, pos + 1))
        return Token("", pos, pos + 1)

    def slip(self, text: str, start: int, end: int) -> str | None:
        self.report("A0110", f"`{text}` means nothing here", self.span(start, end), f"write `{SLIPS[text]}`")
        return None

    def recover(self, machine: Machine, token: Token) -> Token | None:
        self.report("A0101", f"unexpected {token.kind}", self.span(token.start, token.end))
        return None
