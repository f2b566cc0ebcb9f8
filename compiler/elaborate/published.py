"""The statements about published weights: `pretrained` and `names`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..diagnostics import ArchError, Diagnostic, Label, did_you_mean, error
from ..key_names import BadTemplate, KeyRule, KeyTable, Template, read_template
from ..pretrained import PLACES, Published
from ..source import Span
from ..syntax import ast
from .settings import read_call

if TYPE_CHECKING:
    from .static import Evaluator

LATER_OPTIONS = ("split", "alias")


class Publications:
    """What a program says about published weights. Its configuration may say again what its network says."""

    def __init__(self) -> None:
        self.places: dict[str, Published] = {}
        self.tables: dict[str, KeyTable] = {}
        self._here: dict[tuple[type, str], Span] = {}
        self._statements: dict[str, ast.PretrainedStmt] = {}

    def next_level(self) -> None:
        """From now on, what was declared may be declared anew."""
        self._here.clear()

    def declare(self, s: ast.PretrainedStmt | ast.NamesStmt, scope: Evaluator) -> None:
        """One statement. Raises ArchError."""
        name, what = (s.name, s.name.text) if isinstance(s, ast.PretrainedStmt) else (s.scheme, s.scheme.value)
        first = self._here.setdefault((type(s), what), name.span)
        if first != name.span:
            raise error("A0202", f"`{what}` is declared twice", name.span, labels=[Label(first, "first here")])
        if isinstance(s, ast.NamesStmt):
            self.tables[what] = read_names(s)
        else:
            self.places[what] = read_published(s, scope)
            self._statements[what] = s

    def problems(self) -> Iterator[Diagnostic]:
        """Places whose keys a table renames that is not there."""
        for name, place in self.places.items():
            table = place.names
            if table is not None and table not in self.tables:
                listing = ", ".join(f'"{known}"' for known in self.tables)
                help = did_you_mean(table, self.tables) or (f"the tables: {listing}" if listing else "there is none")
                span = self._statements[name].value.span
                yield Diagnostic("A0201", f'there is no table of names "{table}"', span, help=help)


def read_published(statement: ast.PretrainedStmt, scope: Evaluator) -> Published:
    """`url("https://…", sha256="…")` or `hub("org/name", file="…", sha256="…")`."""
    e = statement.value
    kind = PLACES.get(e.function.text) if isinstance(e, ast.Call) and isinstance(e.function, ast.Name) else None
    if kind is None or not isinstance(e, ast.Call):
        word = e.function.text if isinstance(e, ast.Call) and isinstance(e.function, ast.Name) else ""
        forms = 'write `url("https://…", sha256="…")` or `hub("organisation/name", file="…", sha256="…")`'
        what = "weights are published at a `url` or on a `hub`"
        raise error("A1107", what, e.span, help=did_you_mean(word, PLACES) or forms)
    made, spans = read_call(kind, e, scope)
    problem = made.problem()
    if problem:
        setting, reason = problem
        span = spans.get(setting) or spans.get(kind.fields().index(setting)) or e.span
        raise error("A1107", f"`{setting}` of `{kind.name}` {reason}", span)
    return made


def read_names(statement: ast.NamesStmt) -> KeyTable:
    """A table of names. Raises everything that is wrong with it."""
    found: list[Diagnostic] = []
    rules = []
    seen: dict[Template, Span] = {}
    for rule in statement.rules:
        try:
            rules.append(_rule(rule, seen))
        except ArchError as failure:
            found += failure.diagnostics
    if found:
        raise ArchError(*found)
    return KeyTable(statement.scheme.value, tuple(rules))


def _rule(rule: ast.KeyRule, seen: dict[Template, Span]) -> KeyRule:
    theirs, ours = _template(rule.theirs), _template(rule.ours)
    lost = [hole for hole in theirs.holes if hole not in ours.holes]
    if lost:
        why = "what it stands for must be told apart on both sides, or several keys would become one"
        raise error("A0522", f"`{{{lost[0]}}}` does not stand in the network's key", rule.ours.span, help=why)
    unknown = [hole for hole in ours.holes if hole not in theirs.holes]
    if unknown:
        close = did_you_mean(unknown[0], theirs.holes)
        raise error("A0522", f"`{{{unknown[0]}}}` does not stand in the published key", rule.ours.span, help=close)
    first = seen.setdefault(theirs, rule.theirs.span)
    if first != rule.theirs.span:
        raise error("A0202", "this key is renamed already", rule.theirs.span, labels=[Label(first, "here")])
    transposed = False
    for option in rule.options:
        word = option.function if isinstance(option, ast.Call) else option
        text = word.text if isinstance(word, ast.Name) else ""
        if text in LATER_OPTIONS:
            raise error("A0907", f"`{text}` is not supported yet", option.span, help="it comes with the transformers")
        if text != "transposed" or isinstance(option, ast.Call):
            help = did_you_mean(text, ("transposed",)) or 'options: `transposed`, as in `"w" = "fc.weight" transposed`'
            raise error("A0522", f"a key has no option `{option.span.text}`", option.span, help=help)
        transposed = True
    return KeyRule(theirs, ours, transposed)


def _template(text: ast.String) -> Template:
    try:
        return read_template(text.value)
    except BadTemplate as failure:
        raise error("A0522", str(failure), text.span) from None
