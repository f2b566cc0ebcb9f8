"""The slips that people make, each found by a function that reports it and returns True."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..diagnostics import Label
from .machine import CLOSERS, END, OPENERS
from .scene import ARROW, DECLARATIONS, NAMED, OPERATORS, STATEMENTS, Scene

_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
_BRACKETS = {"LPAR": "(", "LSQB": "[", "LBRACE": "{", "RPAR": ")", "RSQB": "]", "RBRACE": "}"}
_FOREIGN = {
    "def": "a block is `block Name(width: int) { … }`, a static function `func f(a: int) = a + 1`",
    "fn": "a static function is `func f(a: int) = a + 1`",
    "function": "a static function is `func f(a: int) = a + 1`",
    "class": "a piece of a network is `block Name(width: int) { … }`, a whole one `network Name { … }`",
    "model": "a model is `network Name { … }`",
    "layer": "a reusable piece is `block Name(width: int) { … }`",
    "struct": "a reusable piece is `block Name(width: int) { … }`",
    "from": 'names come from a file with `import "std/attention" use MultiHeadAttention`',
    "let": "a name is given its value by `name = value` alone",
    "var": "a name is given its value by `name = value` alone",
    "return": "what leaves is `output value`",
    "elif": "write `else if`",
    "elseif": "write `else if`",
    "while": "there is no unbounded loop: write `for i in 0..n { … }`",
    "loop": "write `for i in 0..n { … }`",
    "print": "a spec prints nothing: `archc check --shapes` shows what each value is",
    "pass": "an empty body is `{}`",
    "lambda": "a static function is declared at the top: `func f(a: int) = a + 1`",
}


def _unclosed_before_declaration(scene: Scene) -> bool:
    """A declaration at the left margin while brackets are open."""
    recent, opens, text = scene.machine.recent, scene.machine.opens, scene.machine.text
    word = recent[-1] if recent and scene.recent(1) in DECLARATIONS else None
    if not opens or (word is None and scene.token.kind != END):
        return False
    if word is not None and text[word.start - 1 : word.start] != "\n":
        return False
    kind, offset, _ = opens[-1]
    labels = () if word is None else (Label(scene.recent_span(1), "before this declaration"),)
    where = "" if word is not None else " by the end of the file"
    scene.nodes.report(
        "A0102",
        f"this `{_BRACKETS[kind]}` is not closed{where}",
        scene.nodes.span(offset, offset + 1),
        f"close it with `{_BRACKETS[OPENERS[kind]]}`",
        labels=labels,
        note="opened here",
    )
    return True


def _wrong_closer(scene: Scene) -> bool:
    """A closing bracket of another kind than the open one, or one that closes nothing."""
    kind = scene.token.kind
    if kind not in CLOSERS:
        return False
    opens = scene.machine.opens
    matched = any(opener == CLOSERS[kind] for opener, _, _ in opens)
    if not matched and (not opens or opens[-1][0] == "LBRACE"):
        scene.nodes.report(
            "A0109", f"this `{scene.text}` closes nothing", scene.at, "delete it, or open what it closes"
        )
        return True
    opener, offset, _ = opens[-1]
    if opener == CLOSERS[kind]:
        return False
    place = scene.nodes.span(offset, offset + 1)
    missing = _BRACKETS[OPENERS[opener]]
    scene.nodes.report(
        "A0102",
        f"this `{_BRACKETS[opener]}` is not closed before `{scene.text}`",
        place,
        f"put the missing `{missing}` before the `{scene.text}`",
        labels=(Label(scene.at, f"expected `{missing}` before this"),),
        note="opened here",
    )
    return True


def _foreign_word(scene: Scene) -> bool:
    """A keyword of another language."""
    if len(scene.here) > 1:
        return False
    for back, word in ((0, scene.text), (1, scene.recent(1))):
        if word in _FOREIGN and (back == 0 or scene.here in NAMED):
            if back == 0 and word == "from" and "_FUNC" not in scene.accepted:
                continue
            at = scene.at if back == 0 else scene.recent_span(1)
            scene.nodes.report("A0111", f"there is no `{word}` here", at, _FOREIGN[word])
            return True
    return False


def _comment_mark(scene: Scene) -> bool:
    """`//` or `/*` where a statement would start."""
    text, start = scene.machine.text, scene.token.start
    if scene.text in ("//", "/") and scene.first_on_line(start) and text[start : start + 2] in ("//", "/*"):
        scene.nodes.report(
            "A0110", f"`{text[start : start + 2]}` starts no comment", scene.at, "a comment starts with `#`"
        )
        return True
    return False


def _unfinished_before(scene: Scene) -> bool:
    """A statement's keyword where the statement before still wants something."""
    recent = scene.machine.recent
    for back in range(1, min(len(recent), 3)):
        last = scene.recent(back + 1)
        if scene.recent(back) not in STATEMENTS or not scene.first_on_line(recent[-back].start):
            continue
        keyword = recent[-back - 1].kind.startswith("_") and last.isalpha()
        if not (keyword or last in ("->", "=", ",", "(", "[") or last in OPERATORS):
            continue
        wanted = "a stage" if last == "->" else "a name" if last in ("over", "vs", "use") else "a value"
        scene.nodes.report(
            "A0101",
            f"expected {wanted} after `{last}`, found the next statement",
            scene.recent_span(back + 1),
            f"finish this statement, or delete the `{last}`",
            labels=(Label(scene.recent_span(back), "the next statement starts here"),),
        )
        return True
    return False


def _unclosed_before_statement(scene: Scene) -> bool:
    """A new statement while a bracket of the one before is open."""
    opens = scene.machine.opens
    if not opens or not scene.next_line or not scene.text.isidentifier():
        return False
    kind, offset, _ = opens[-1]
    if OPENERS[kind] not in scene.accepted or (kind == "LBRACE" and "sequence" not in scene.bracket()):
        return False
    text, end = scene.machine.text, scene.token.end
    bound = text[end : end + 3].lstrip(" ").startswith("=") and not scene.bracket().startswith("the settings")
    if scene.text not in STATEMENTS and not bound:
        return False
    scene.nodes.report(
        "A0102",
        f"this `{_BRACKETS[kind]}` is not closed",
        scene.nodes.span(offset, offset + 1),
        f"close it with `{_BRACKETS[OPENERS[kind]]}`",
        labels=(Label(scene.at, "before this statement"),),
        note="opened here",
    )
    return True


def _arithmetic_after_stage(scene: Scene) -> bool:
    """`x -> relu + y`."""
    here = scene.here
    if scene.text not in OPERATORS or ARROW not in here or here[-1] == ARROW:
        return False
    machine = scene.machine
    arrow = scene.base + len(here) - 1 - here[::-1].index(ARROW)
    first = scene.base
    for symbol in ("EQUAL", "_OUTPUT", "NAME"):
        if symbol in here[: arrow - scene.base]:
            first = scene.base + len(here[: arrow - scene.base]) - here[: arrow - scene.base][::-1].index(symbol)
            break
    pipe = machine.text[machine.starts[first] : machine.ends[-1]] if first < len(machine.starts) else "x -> relu"
    shown = (
        " ".join(pipe.split())
        if len(pipe) <= 50
        else "… -> " + machine.text[machine.starts[arrow + 1] : machine.ends[-1]]
    )
    scene.nodes.report(
        "A0112",
        f"`{scene.text}` stands after a stage",
        scene.at,
        f"the arrow binds loosest: put the chain in parentheses, `({shown}) {scene.text} …`",
    )
    return True


def _tensors_in_parentheses(scene: Scene) -> bool:
    """`x -> conv(64)(y)`."""
    if scene.token.kind != "LPAR" or ARROW not in scene.here or scene.symbols[-1] not in ("settings", "applied"):
        return False
    scene.nodes.report(
        "A0114",
        "a stage has its settings once",
        scene.at,
        "parentheses configure, arrows carry data: send several tensors as a tuple, `(x, y) -> stage`",
    )
    return True


def _chained_comparison(scene: Scene) -> bool:
    """`0 < x < n`."""
    if scene.text not in _COMPARISONS or "compared" not in scene.here:
        return False
    scene.nodes.report("A0116", "comparisons do not chain", scene.at, "write `a < b and b < c`")
    return True


def _incomplete_choice(scene: Scene) -> bool:
    """`if c then a` without `else`, `if c a`."""
    if "_ELSE" in scene.accepted and scene.since("_THEN"):
        scene.nodes.report(
            "A0115",
            f"this `if … then …` has no `else`: found {scene.shown}",
            scene.gap,
            "as a value it needs both: `if condition then a else b`",
        )
        return True
    if "_THEN" in scene.accepted and "LBRACE" not in scene.accepted:
        help = "as a value it is written `if condition then a else b`"
        scene.nodes.report("A0115", f"expected `then` after the condition, found {scene.shown}", scene.gap, help)
        return True
    return False


def _no_in(scene: Scene) -> bool:
    if scene.accepted and "_IN" in scene.accepted and scene.since("_FOR"):
        scene.nodes.report(
            "A0122",
            f"expected `in` after the names of this `for`, found {scene.shown}",
            scene.at,
            "write `for i in 0..n { … }` or `for i, n in enumerate(layers) { … }`",
        )
        return True
    return False


def _bare_value(scene: Scene) -> bool:
    """`x -> relu` as a statement; `x.y = 3`."""
    if "_stmt" not in scene.machine.tables.gotos(scene.machine.states[scene.base]):
        return False
    if scene.here and scene.here not in NAMED:
        return False
    if scene.text == "->" and scene.here:
        name = scene.recent(1)
        scene.nodes.report(
            "A0123",
            "the result of this chain has no name",
            scene.at,
            f"write `y = {name} -> …`, or `output {name} -> …` where it leaves",
        )
        return True
    if (
        scene.text in ("+", "-", "*", "/")
        and scene.here
        and scene.machine.text[scene.token.end : scene.token.end + 1] == "="
    ):
        name = scene.recent(1)
        help = f"write `{name} = {name} {scene.text} …`"
        scene.nodes.report("A0110", f"`{scene.text}=` is not part of the language", scene.at, help)
        return True
    if (scene.here and (scene.text in OPERATORS or scene.text in (".", "(", "[", "~="))) or (
        not scene.here and scene.token.kind in ("LPAR", "LSQB", "NUMBER", "STRING")
    ):
        scene.nodes.report(
            "A0123",
            f"a statement starts with a keyword or with the name that it gives, found {scene.shown}",
            scene.at,
            "write `name = value`; a name may not have dots or indices",
        )
        return True
    return False


def _train_setting(scene: Scene) -> bool:
    """`lr = 3` in a train block, or a key without a value."""
    if "_setting" not in scene.machine.tables.gotos(scene.machine.states[scene.base]):
        return False
    if scene.text in ("=", ":") and scene.here in NAMED:
        key = scene.recent(1)
        scene.nodes.report("A0117", f"a setting is written without `{scene.text}`", scene.at, f"write `{key} value`")
        return True
    if scene.here in NAMED and scene.token.kind in ("RBRACE", "LBRACE"):
        scene.nodes.report(
            "A0117",
            f"the setting `{scene.recent(1)}` has no value",
            scene.recent_span(1),
            "every setting has one: `epochs 20`, `shuffle true`",
        )
        return True
    if scene.token.kind in ("NUMBER", "STRING") and "RBRACE" in scene.accepted:
        scene.nodes.report(
            "A0117",
            f"expected the name of a setting, found {scene.shown}",
            scene.at,
            "every setting is a name and its value; does the one before lack its value?",
        )
        return True
    return False


def _tolerance(scene: Scene) -> bool:
    """`~= 1 within 1`, `~= 1`, `== 1 within 1%`."""
    if "PERCENT" in scene.accepted and scene.since("_WITHIN"):
        scene.nodes.report("A0118", f"a tolerance is a percentage, found {scene.shown}", scene.gap, "write `within 1%`")
        return True
    if "_WITHIN" in scene.accepted and scene.since("__ANON_4"):
        help = "write `~= 25.6M within 1%`, or `==` for an exact figure"
        scene.nodes.report("A0118", f"`~=` needs a tolerance, found {scene.shown}", scene.gap, help)
        return True
    if scene.recent(1) == "within" and scene.here in NAMED:
        at = scene.recent_span(1)
        scene.nodes.report("A0118", "only `~=` in an `expect` has a tolerance", at, "write `~= 25.6M within 1%`")
        return True
    return False


def _label(scene: Scene) -> bool:
    """`a: b: conv`."""
    if (
        scene.text == ":"
        and ARROW in scene.here
        and scene.since("template")
        and scene.symbols[-1] in ("layer_name", "NAME")
    ):
        scene.nodes.report("A0121", "a stage has one label", scene.at, "for a path write `` `a.b`: stage ``")
        return True
    return False


def _number_dot(scene: Scene) -> bool:
    """`1.` and `.5`."""
    recent, text = scene.machine.recent, scene.machine.text
    if len(recent) > 1 and recent[-1].kind == "DOT" and recent[-2].kind == "NUMBER":
        number = scene.recent(2)
        at = scene.recent_span(2).to(scene.recent_span(1))
        scene.nodes.report("A0106", f"`{number}.` lacks its decimals", at, f"write `{number}.0` or `{number}`")
        return True
    if (
        scene.token.kind == "DOT"
        and text[scene.token.end : scene.token.end + 1].isdigit()
        and "NUMBER" in scene.accepted
    ):
        scene.nodes.report("A0106", "a number starts with a digit", scene.at, "write `0.5`, not `.5`")
        return True
    return False


def _untyped_param(scene: Scene) -> bool:
    """`block A(width = 3)`, `block A(width)`."""
    if "COLON" not in scene.accepted or not scene.machine.opens or scene.here[-1:] != ["NAME"]:
        return False
    if not scene.bracket().startswith("the parameters"):
        return False
    name = scene.recent(1)
    scene.nodes.report(
        "A0124",
        f"the parameter `{name}` has no type, found {scene.shown}",
        scene.at,
        f"write `{name}: int`; types are int, float, bool, str, list[…], block, cell and module",
    )
    return True


def _reverse_scan(scene: Scene) -> bool:
    """`reverse scan LSTM over T`."""
    if scene.recent(1) != "scan" or scene.recent(2) not in ("reverse", "bidirectional"):
        return False
    way = scene.recent(2)
    scene.nodes.report(
        "A0101", f"`{way}` takes the place of `scan`", scene.recent_span(1), f"write `{way} LSTM(256) over T`"
    )
    return True


def _parens_for_if(scene: Scene) -> bool:
    """`a + if c then x else y`, `-> (f)`."""
    if scene.token.kind == "LPAR" and "_SKIP" in scene.accepted:
        scene.nodes.report(
            "A0101",
            f"expected a stage after `->`, found {scene.shown}",
            scene.at,
            "a stage is a name with its settings; to choose one, name it first: "
            "`act = if c then relu else gelu`, then `x -> act`",
        )
        return True
    before = [scene.text, *(scene.recent(back) for back in range(1, 7))]
    if "if" in before[:5] and before[before.index("if") + 1] in OPERATORS:
        help = "put the choice in parentheses: `(if condition then a else b)`"
        scene.nodes.report("A0112", "`if` stands in an operation", scene.at, help)
        return True
    return False


SLIPS: tuple[Callable[[Scene], Any], ...] = (
    _unclosed_before_declaration,
    _number_dot,
    _wrong_closer,
    _reverse_scan,
    _unfinished_before,
    _parens_for_if,
    _unclosed_before_statement,
    _foreign_word,
    _comment_mark,
    _train_setting,
    _tolerance,
    _label,
    _tensors_in_parentheses,
    _incomplete_choice,
    _no_in,
    _untyped_param,
    _bare_value,
    _chained_comparison,
    _arithmetic_after_stage,
)
