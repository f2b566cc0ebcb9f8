"""What the parser's stack tells of an error: what was being written, and what may follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..source import Span
from .machine import END, Machine, Token

if TYPE_CHECKING:
    from .nodes import Nodes

ARROW = "__ANON_8"
OPERATORS = frozenset(("+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "and", "or"))
NAMED = (["NAME"], ["ident"], ["PRIMED"], ["target"])
"""What stands on the stack behind the first name of a statement."""

DECLARATIONS = ("network", "block", "cell", "adversarial", "func", "train", "import")
STATEMENTS = (
    "input", "target", "param", "const", "buffer", "sample", "module", "gate", "state", "for", "if", "output", "loss",
    "entry", "bias", "expect", "init", "pretrained", "names", "generator", "discriminator", "pair",
)  # fmt: skip
_CONNECTIVES = frozenset((
    "NAME", "ident", "_THEN", "_ELSE", "AND", "OR", "NOT", "_IN", "TRUE", "FALSE", "NONE", "_OVER", "_WITH", "_FROM",
    "_BY", "_USE", "_ON", "_VS", "_EXCEPT", "_WITHIN", "_WEIGHT",
))  # fmt: skip
_GROUPS: list[tuple[set[str], str]] = [
    ({"NUMBER", "LPAR", "LSQB", "NOT"}, "a value"),
    ({"NUMBER", "LPAR", "LSQB"}, "a value"),
    ({"_SKIP", "LBRACE", "NAME"}, "a stage"),
    ({"_OUTPUT", "INPUT"}, "a statement"),
    ({"_FUNC", "_IMPORT"}, "a declaration"),
    ({"_PHASE", "NAME"}, "a setting"),
    ({"NAME", "QUOTED", "NUMBER"}, "a name"),
]
_LATER = ("`->`", "`,`", "`.`", "`(`", "`[`", "`)`", "`]`", "`}`")


class Scene:
    """What the parser's stack tells of an error."""

    def __init__(self, nodes: Nodes, machine: Machine, token: Token) -> None:
        self.nodes, self.machine, self.token = nodes, machine, token
        self.text = machine.text[token.start : token.end]
        self.at = nodes.span(token.start, token.end)
        self.next_line = token.kind == END or (token.start > 0 and self.first_on_line(token.start))
        access = machine.tables.access
        self.symbols = [access[state] for state in machine.states[1:]]
        self.base = machine.opens[-1][2] + 1 if machine.opens else 0
        for i in range(len(self.symbols) - 1, self.base - 1, -1):
            if self.symbols[i].startswith("__") and "star" in self.symbols[i]:
                self.base = i + 1
                break
        self.here = self.symbols[self.base :]
        self.gap = self.at  # where something is missing: behind what was read last, if a new line has begun
        if self.next_line and machine.recent:
            self.gap = self.recent_span(1)
        elif token.kind == END:
            self.gap = self.at = nodes.span(max(token.start - 1, 0), token.start)
        row = machine.tables.actions(machine.states[-1])
        self.accepted = [t for t in row if machine.tables.accepts(machine.states, t)]
        if token.kind != END and any(start in self.accepted for start in ("_FUNC", "_OUTPUT", "_PHASE")):
            self.gap = self.at  # nothing is missing before it

    @property
    def shown(self) -> str:
        """The token in words."""
        if self.token.kind == END:
            return "the end of the file" if self.machine.end == len(self.machine.text) else "the end of the hole"
        text = self.text if len(self.text) <= 40 else self.text[:37] + "…"
        shown = f"the string {text}" if self.token.kind == "STRING" else code(text)
        return f"{shown} on a new line" if self.next_line and self.gap != self.at else shown

    def recent(self, back: int) -> str:
        """The text of a token read before: 1 is the last."""
        recent = self.machine.recent
        return self.machine.text[recent[-back].start : recent[-back].end] if len(recent) >= back else ""

    def recent_span(self, back: int) -> Span:
        token = self.machine.recent[-back]
        return self.nodes.span(token.start, token.end)

    def since(self, symbol: str) -> bool:
        """Whether the symbol stands at this level of brackets, in this statement."""
        return symbol in self.here

    def first_on_line(self, start: int) -> bool:
        line = self.machine.text.rfind("\n", 0, start) + 1
        return not self.machine.text[line:start].strip()

    def context(self) -> str:
        """What was being written, as ` in the settings of `conv``."""
        opens = self.machine.opens
        if opens and self.base == opens[-1][2] + 1 and opens[-1][0] != "LBRACE":
            return f" in {self.bracket()}"
        if self.word:
            return f" in this `{self.word}`"
        if self.here and self.machine.recent:
            return f" after {code(self.recent(1))}"
        return f" in {self.bracket()}" if opens else ""

    @property
    def word(self) -> str:
        """The keyword of the statement or stage that was being written."""
        values = self.machine.values[self.base :]
        for symbol, value in zip(reversed(self.here), reversed(values), strict=True):
            if isinstance(value, str) and value.isalpha() and symbol not in _CONNECTIVES:
                return value
        return ""

    def bracket(self) -> str:
        """What stands in the innermost open bracket."""
        kind, _, index = self.machine.opens[-1]
        gotos = self.machine.tables.gotos(self.machine.states[index + 1])
        before = self.symbols[index - 1] if index else ""
        owner = self.machine.text[self.machine.starts[index - 1] : self.machine.ends[index - 1]] if index else ""
        owner = owner if len(owner) <= 30 else owner[:29] + "…"
        if kind == "LPAR":
            if "params" in gotos:
                return f"the parameters of `{owner}`"
            if "_arguments" in gotos:
                named = {"_FROM": "what `from` supplies", "_WITH": "what `with` supplies"}
                return named.get(before, f"the settings of `{owner}`")
            return "these parentheses"
        if kind == "LSQB":
            if "_axes" in gotos:
                return "a shape"
            return f"the index of `{owner}`" if "_indices" in gotos else "a list"
        if "chain" in gotos:
            return "a sequence of stages"
        for rule, words in (
            ("_setting", "settings of training"),
            ("key_rule", "a table of names"),
            ("_stmt", "a body"),
        ):
            if rule in gotos:
                return words
        return "these braces"

    def expected(self) -> str:
        """What may stand here, in words."""
        accepted = set(self.accepted)
        parts: list[str] = []
        if accepted == {"LSQB"} and self.symbols and self.symbols[-1] == "_IN":
            return "two bounds such as `[-1, 1]`"
        if accepted in ({"NAME", "LSQB"}, {"LSQB"}):
            return "a shape such as `[B, C]`"
        for needs, words in _GROUPS:
            if needs <= accepted:
                parts.append(words)
                break
        else:
            if "NAME" in accepted:
                parts.append("a name")
        general = bool(parts)
        for kind in self.accepted:
            text = self.machine.tables.shown.get(kind)
            if kind in ("STRING", "PERCENT") and not general:
                parts.append("a string" if kind == "STRING" else "`%`")
            elif text and (text not in OPERATORS) and not (general and (text.isalpha() or text in "([{-+..")):
                parts.append(f"`{text}`")
        parts = _sorted(list(dict.fromkeys(parts)))
        if not parts:
            return "something else"
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def code(text: str) -> str:
    """Source text as a message shows it."""
    return text if "`" in text else f"`{text}`"


def _sorted(parts: list[str]) -> list[str]:
    """The most telling first, and no more than five."""
    dull = {"`.`", "`(`", "`[`", "`..`"}
    kept = [p for p in parts if p not in dull] or parts
    return sorted(kept, key=lambda p: (p in _LATER, _LATER.index(p) if p in _LATER else 0))[:5]
