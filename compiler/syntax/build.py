"""Turns grammar/arch.lark into the tables that the parser runs on: `python -m archlang.compiler.syntax.build`.

Lark reads the grammar, proves it LALR(1) (strict: a conflict or two terminals that match the same text are errors, for
which it needs the package `interegular`) and computes the tables. What is written is plain JSON:

    terminals   [name, pattern] in the order in which they are tried
    keywords    word → [terminal, soft]
    shown       terminal → how a message writes it
    rules       [origin, length, action, recipe]
    actions     one row a state, "terminal number …": the next state, or -1 - rule to reduce by
    gotos       one row a state, "rule number …": the next state
    access      one symbol a state: what was read last when the parser is in it
    starts      start rule → [first state, last state]

`action` is the name of a function in nodes.py, "" for a list that is spliced into its parent, or "^" where the one
child passes through. A recipe picks the children: i is child i, -1 - i the elements of child i, null None.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

STARTS = ("file", "test")
TABLES = Path(__file__).with_name("tables.json")
_OFTEN = ("NAME", "SPACE")  # tried first
_KEYWORD = re.compile(r"(?P<word>[a-z]+)(?P<end>\(\?!.*)")


def grammar() -> str:
    """The text of the grammar."""
    return (resources.files("archlang.grammar") / "arch.lark").read_text(encoding="utf-8")


def lark_parser() -> Any:
    """Lark's own parser for the grammar: what the tables are made from, and what tests compare with."""
    from lark import Lark

    return Lark(grammar(), parser="lalr", lexer="contextual", strict=True, start=list(STARTS), maybe_placeholders=True)


def build() -> str:
    """The tables as JSON text."""
    lark = lark_parser()
    table = lark.parser.parser._parse_table
    order = _order(table)
    new = {old: i for i, old in enumerate(order)}
    rules = sorted(lark.rules, key=lambda r: (r.origin.name, [s.name for s in r.expansion], r.alias or ""))
    numbers = {rule: i for i, rule in enumerate(rules)}
    nonterminals = {rule.origin.name for rule in rules}
    access = [""] * len(order)
    actions: list[str] = []
    gotos: list[str] = []
    for old in order:
        on_terminal, on_rule = {}, {}
        for symbol, (action, argument) in sorted(table.states[old].items()):
            if _is_shift(action):
                access[new[argument]] = symbol
            if symbol in nonterminals:
                on_rule[symbol] = new[argument]
            else:
                on_terminal[symbol] = new[argument] if _is_shift(action) else -1 - numbers[argument]
        actions.append(_row(on_terminal))
        gotos.append(_row(on_rule))
    terminals, keywords, shown = _terminals(lark)
    tables = {
        "terminals": terminals,
        "keywords": keywords,
        "shown": shown,
        "rules": [_rule(rule) for rule in rules],
        "actions": actions,
        "gotos": gotos,
        "access": access,
        "starts": {name: [new[table.start_states[name]], new[table.end_states[name]]] for name in STARTS},
    }
    return "{\n" + ",\n".join(f'"{key}":{_lines(value)}' for key, value in tables.items()) + "\n}\n"


def _lines(value: Any) -> str:
    """JSON, one line an element, so that a change of the grammar reads as one."""
    parts = [json.dumps(v, separators=(",", ":")) for v in (value.values() if isinstance(value, dict) else value)]
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f"{json.dumps(k)}:{part}" for k, part in zip(value, parts, strict=True)) + "\n}"
    return "[\n" + ",\n".join(parts) + "\n]"


def _row(row: dict[str, int]) -> str:
    """A row as text, which a parser decodes only when it first comes to the state: most it never does."""
    return " ".join(f"{symbol} {number}" for symbol, number in row.items())


def _is_shift(action: Any) -> bool:
    return str(action) == "Shift"


def _order(table: Any) -> list[int]:
    """The states, breadth first from the starts: Lark's own numbers follow the hash seed."""
    order = [table.start_states[name] for name in STARTS]
    seen = set(order)
    for state in order:  # grows as it is read
        for _, (action, argument) in sorted(table.states[state].items(), key=lambda entry: entry[0]):
            if _is_shift(action) and argument not in seen:
                seen.add(argument)
                order.append(argument)
    return order


def _rule(rule: Any) -> list[Any]:
    options = rule.options
    marks = "".join(str(int(b)) for b in options.empty_indices) if options.empty_indices else "0" * len(rule.expansion)
    missing = [len(ones) for ones in marks.split("0")]
    recipe: list[int | None] = []
    for i, symbol in enumerate(rule.expansion):
        recipe += [None] * missing[i]
        if symbol.is_term:
            if options.keep_all_tokens or not symbol.filter_out:
                recipe.append(i)
        else:
            recipe.append(-1 - i if symbol.name.startswith("_") else i)
    recipe += [None] * missing[-1]
    single = len(recipe) == 1 and recipe[0] is not None and recipe[0] >= 0
    if rule.origin.name.startswith("_"):
        action = ""
    elif options.expand1 and not rule.alias and single:
        action = "^"
    else:
        action = rule.alias or str(rule.origin.name)
    return [str(rule.origin.name), len(rule.expansion), action, recipe]


def _terminals(lark: Any) -> tuple[list[list[str]], dict[str, list[Any]], dict[str, str]]:
    plain, keywords, shown = [], {}, {}
    for terminal in lark.terminals:
        pattern = terminal.pattern.to_regexp()
        keyword = _KEYWORD.fullmatch(re.sub(r"\(\?:([a-z]+)\)", r"\1", pattern))
        if keyword:
            keywords[keyword["word"]] = [terminal.name, ":" in keyword["end"]]
            shown[terminal.name] = keyword["word"]
        else:
            plain.append((terminal.priority, len(pattern), terminal.name, pattern))
            if terminal.pattern.type == "str":
                shown[terminal.name] = terminal.pattern.value
    fixed = sorted((t for t in plain if t[2] in shown), key=lambda t: (-len(shown[t[2]]), t[2]))
    regular = sorted((t for t in plain if t[2] not in shown), key=lambda t: (-t[0], t[2] not in _OFTEN, t[2]))
    return [[t[2], t[3]] for t in regular + fixed], dict(sorted(keywords.items())), dict(sorted(shown.items()))


def main() -> None:
    """Write the tables beside this file."""
    TABLES.write_text(build(), encoding="utf-8")


if __name__ == "__main__":
    main()
