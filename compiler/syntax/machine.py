"""The tables that build.py made, and the LALR(1) machine that runs on them.

The lexer is contextual, as Lark's is: a word is a keyword only where the parser can take it. Lark asks the state on top
of the stack, whose lookaheads are those of every context that it occurs in; here the whole stack is asked, so that
`metric loss` and `freeze output` mean what they say.
Nothing here recurses, so no text can exhaust the stack; depth is counted and bounded instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..source import Span

DEEPEST = 100
"""Most brackets open at a time, and most nodes one above the other: what later stages may recurse on."""

TALLEST = 2000
"""Most symbols on the parser's stack: far more than DEEPEST brackets, each with operations around it, can need."""

END = "$END"
OPENERS = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
CLOSERS = {closer: opener for opener, closer in OPENERS.items()}

# What other languages write, and what it stands for here: reported, then read as meant.
SLIPS = {
    "=>": "->", "|>": "->", "→": "->", "⟶": "->", "⇒": "->",
    ":=": "=", "===": "==", "<>": "!=", "≠": "!=", "≤": "<=", "≥": ">=", "≈": "~=",
    "&&": "and", "||": "or", "&": "and", "|": "or", "!": "not", "^": "**",
    "−": "-", "–": "-", "×": "*", "·": "*", "÷": "/", "…": "..", ";": "",
}  # fmt: skip

_SOFT = re.compile(r"\s*(?:=(?!=)|,|:)")
_HARD = re.compile(r"\s*=(?!=)")

# How a rule's children become its value.
UNIT, CHILD, LIST, CALL = range(4)


@dataclass(slots=True)
class Rule:
    """A rule of the grammar, ready to reduce by."""

    origin: str
    length: int
    mode: int
    recipe: list[int | None]
    function: Callable[..., Any] | None
    deeper: bool


class Tables:
    """The built tables. Rows are decoded when first met: a text meets a fraction of them."""

    def __init__(self, data: dict[str, Any], functions: type, deeper: frozenset[str]) -> None:
        slips = "|".join(re.escape(s) + ("(?!=)" if s == "!" else "") for s in sorted(SLIPS, key=len, reverse=True))
        groups = [("SLIP", slips), *data["terminals"]]
        self.match = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in groups)).match
        self.shown: dict[str, str] = data["shown"]
        self.keywords: dict[str, tuple[str, bool]] = {word: (t, soft) for word, (t, soft) in data["keywords"].items()}
        self.kind_of = {text: name for name, text in self.shown.items()}
        self.access: list[str] = data["access"]
        self.starts: dict[str, list[int]] = data["starts"]
        self.rules = [_rule(row, functions, deeper) for row in data["rules"]]
        self.jumps: dict[tuple[int, int, str], int] = {}
        self._actions: list[Any] = data["actions"]
        self._gotos: list[Any] = data["gotos"]

    def actions(self, state: int) -> dict[str, int]:
        """Terminal → the next state, or -1 - rule to reduce by."""
        row = self._actions[state]
        if row.__class__ is str:
            row = self._actions[state] = _decode(row)
        return row

    def gotos(self, state: int) -> dict[str, int]:
        """Rule → the next state."""
        row = self._gotos[state]
        if row.__class__ is str:
            row = self._gotos[state] = _decode(row)
        return row

    def jump(self, below: int, state: int, kind: str) -> int:
        """The state that the rules of one child lead to from `state` over `below`, with `kind` next.

        From a number to a value it is a dozen such steps, each of which leaves the value as it is.
        """
        first = state
        while True:
            action = self.actions(state).get(kind, 0)
            if action >= 0 or self.rules[-1 - action].mode != UNIT:
                self.jumps[below, first, kind] = state
                return state
            state = self.gotos(below)[self.rules[-1 - action].origin]

    def accepts(self, states: list[int], terminal: str) -> bool:
        """Whether the parser, with these states on its stack, can read the terminal."""
        top, popped = states[-1], len(states)
        above: list[int] = []  # states pushed since, over states[:popped]
        while True:
            action = self.actions(top).get(terminal)
            if action is None:
                return top == self.starts["file"][1] and terminal == END
            if action >= 0:
                return True
            rule = self.rules[-1 - action]
            for _ in range(rule.length):
                if above:
                    above.pop()
                else:
                    popped -= 1
            top = self.gotos(above[-1] if above else states[popped - 1])[rule.origin]
            above.append(top)

    def keyword(self, text: str, start: int, end: int) -> str | None:
        """The terminal that the word would be as a keyword, unless what follows makes it a name."""
        found = self.keywords.get(text[start:end])
        if found is None or (_SOFT if found[1] else _HARD).match(text, end):
            return None
        return found[0]


def _decode(row: str) -> dict[str, int]:
    parts = row.split(" ") if row else []
    return dict(zip(parts[::2], map(int, parts[1::2]), strict=True))


def _rule(row: list[Any], functions: type, deeper: frozenset[str]) -> Rule:
    origin, length, action, recipe = row
    if action == "^":
        return Rule(origin, length, UNIT if length == 1 else CHILD, recipe, None, False)
    if action == "":
        return Rule(origin, length, LIST, recipe, None, False)
    return Rule(origin, length, CALL, recipe, getattr(functions, f"on_{action}"), action in deeper)


@cache
def tables() -> Tables:
    """The tables, read once."""
    from .nodes import DEEPER, Nodes

    text = Path(__file__).with_name("tables.json").read_text(encoding="utf-8")  # importlib.resources is slow to import
    return Tables(json.loads(text), Nodes, DEEPER)


@dataclass(frozen=True, slots=True)
class Token:
    """A terminal where it stands."""

    kind: str
    start: int
    end: int


class TooDeep(Exception):
    """The text nests deeper than DEEPEST; carries the place."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end


class Machine:
    """One run over part of a text. `nodes` builds the tree and takes the complaints."""

    def __init__(self, nodes: Any, start: str, begin: int, end: int) -> None:
        self.tables = tables()
        self.nodes = nodes
        self.source = nodes.source
        self.text: str = nodes.source.text
        self.begin, self.pos, self.end = begin, begin, end
        first, self.last_state = self.tables.starts[start]
        self.states = [first]
        self.values: list[Any] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.heights: list[int] = []
        self.opens: list[tuple[str, int, int]] = []  # kind, offset, index in `values`
        self.recent: list[Token] = []  # the last six tokens read

    def next_token(self) -> Token:
        """The next token, in the light of the state that the parser is in."""
        tables, text, pos = self.tables, self.text, self.pos
        match, end = tables.match, self.end
        while pos < end:
            found = match(text, pos, end)
            if found is None:
                token = self.nodes.stray(text, pos, end)
                pos = token.end
                if token.kind:
                    break
                continue
            kind, start, pos = found.lastgroup, pos, found.end()
            if kind == "SPACE":
                continue
            if kind == "COMMENT":
                self.nodes.comment(start, pos)
                continue
            if kind == "NAME":
                keyword = tables.keyword(text, start, pos)
                if keyword and tables.accepts(self.states, keyword):
                    kind = keyword
            elif kind == "SLIP":
                kind = self.nodes.slip(text[start:pos], start, pos)
            if kind is None:
                continue
            token = Token(kind, start, pos)
            break
        else:
            token = Token(END, end, end)
        self.pos = pos
        return token

    def run(self) -> Any:
        """The value of the start rule, or None where the text is wrong: `nodes` has heard why."""
        while True:
            token = self.next_token()
            while not self.feed(token):
                recovered = self.nodes.recover(self, token)
                if recovered is None:
                    return None
                token = recovered
            if token.kind == END:
                return self.values[-1]

    def feed(self, token: Token) -> bool:
        """Read one token; False where the grammar has no place for it."""
        tables, states, kind = self.tables, self.states, token.kind
        while True:
            state = states[-1]
            if kind == END and state == self.last_state:
                return True
            action = tables.actions(state).get(kind)
            if action is None:
                return False
            if action >= 0:
                break
            rule = tables.rules[-1 - action]
            if rule.mode == UNIT:
                below = states[-2]
                found = tables.jumps.get((below, state, kind))
                states[-1] = tables.jump(below, state, kind) if found is None else found
            else:
                self.reduce(rule)
        if len(states) > TALLEST:
            raise TooDeep(token.start, token.end)
        if kind in OPENERS:
            if len(self.opens) >= DEEPEST:
                raise TooDeep(token.start, token.end)
            self.opens.append((kind, token.start, len(self.values)))
        elif kind in CLOSERS:
            self.opens.pop()
        states.append(action)
        self.values.append(self.text[token.start : token.end])
        self.starts.append(token.start)
        self.ends.append(token.end)
        self.heights.append(0)
        self.recent = [*self.recent[-5:], token]
        return True

    def reduce(self, rule: Rule) -> None:
        """Replace a rule's children by its value."""
        states, values, length = self.states, self.values, rule.length
        starts, ends, heights = self.starts, self.ends, self.heights
        if length:
            children = values[-length:]
            start, end, height = starts[-length], ends[-1], max(heights[-length:])
            del states[-length:], values[-length:], starts[-length:], ends[-length:], heights[-length:]
        else:
            children, height = [], 0
            start = end = ends[-1] if ends else self.begin
        if rule.deeper:
            height += 1
            if height > DEEPEST:
                raise TooDeep(start, end)
        values.append(self._value(rule, children, start, end))
        starts.append(start)
        ends.append(end)
        heights.append(height)
        states.append(self.tables.gotos(states[-1])[rule.origin])

    def _value(self, rule: Rule, children: list[Any], start: int, end: int) -> Any:
        recipe = rule.recipe
        if rule.mode == CHILD:
            return children[recipe[0]]  # type: ignore[index]
        if rule.mode == LIST and recipe and recipe[0] == -1:
            taken, recipe = children[0], recipe[1:]  # a list that grows: extended in place
        else:
            taken = []
        for i in recipe:
            if i is None:
                taken.append(None)
            elif i >= 0:
                taken.append(children[i])
            else:
                taken.extend(children[-1 - i])
        if rule.mode == LIST:
            return taken
        return rule.function(self.nodes, Span(self.source, start, end), *taken)  # type: ignore[misc]

    def pop_to(self, size: int) -> None:
        """Drop what stands above the first `size` values."""
        del self.states[size + 1 :], self.values[size:], self.starts[size:], self.ends[size:], self.heights[size:]
        while self.opens and self.opens[-1][2] >= size:
            self.opens.pop()
