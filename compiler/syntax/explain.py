"""Why a token has no place: what was being written, what was found, what to do.

The parser's stack says what was being written; the state on top of it, what may follow. The slips that people make are
looked for first, each by a function that reports and returns True; what is left is said in general words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..diagnostics import Label, suggest
from ..source import Span
from .machine import CLOSERS, END, OPENERS, Machine, Token

if TYPE_CHECKING:
    from .nodes import Nodes

ARROW = "__ANON_8"
_OPERATORS = frozenset("+ - * / // % ** == != < <= > >= and or".split(" "))
_NAMED = (["NAME"], ["ident"], ["PRIMED"], ["target"])
_COMPARISONS = frozenset("== != < <= > >=".split(" "))
_BRACKETS = {"LPAR": "(", "LSQB": "[", "LBRACE": "{", "RPAR": ")", "RSQB": "]", "RBRACE": "}"}
_DECLARATIONS = ("network", "block", "cell", "adversarial", "func", "train", "import")
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
_STATEMENTS = (
    "input target param const buffer sample module gate state for if output loss entry bias expect names generator "
    "discriminator pair"
).split(" ")


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

    @property
    def shown(self) -> str:
        """The token in words."""
        if self.token.kind == END:
            return "the end of the file" if self.machine.end == len(self.machine.text) else "the end of the hole"
        text = self.text if len(self.text) <= 40 else self.text[:37] + "…"
        shown = f"the string {text}" if self.token.kind == "STRING" else f"`{text}`"
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
            return f" after `{self.recent(1)}`"
        return f" in {self.bracket()}" if opens else ""

    @property
    def word(self) -> str:
        """The keyword of the statement or stage that was being written."""
        values = self.machine.values[self.base :]
        for symbol, value in zip(reversed(self.here), reversed(values), strict=True):
            if isinstance(value, str) and value.isalpha() and symbol not in ("NAME", "ident", *_CONNECTIVES):
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
            elif text and (text not in _OPERATORS) and not (general and (text.isalpha() or text in "([{-+..")):
                parts.append(f"`{text}`")
        parts = _sorted(list(dict.fromkeys(parts)))
        if not parts:
            return "something else"
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


_CONNECTIVES = ("_THEN", "_ELSE", "AND", "OR", "NOT", "_IN", "TRUE", "FALSE", "NONE", "_OVER", "_WITH", "_FROM", "_BY")
_FORMS = {
    "input": "input x: [B, C, H, W]",
    "target": "target y: int[B]",
    "param": "param scale: [C] = 1",
    "const": "const past: bool[q=T, k=T] = k <= q",
    "buffer": "buffer index: int[n=16] = n",
    "sample": "sample z ~ normal(0, 1): [B, latent]",
    "module": "module E = Encoder(64)",
    "gate": "gate f = (h, x) -> linear(hidden) -> sigmoid",
    "state": "state h: [B, hidden]",
    "for": "for i in 0..n { … }",
    "if": "if condition { … } else { … }",
    "output": "output y",
    "loss": "loss nll = (logits, label) -> cross_entropy",
    "entry": "entry generate { … }",
    "bias": "bias locality(window=16) on features over H, W",
    "expect": "expect params == 61_706",
    "names": 'names "transformers" { "ours" = "theirs" }',
    "generator": "generator G = Generator(latent)",
    "discriminator": "discriminator D = Critic()",
    "pair": "pair G vs D on (real, fake) by hinge",
    "skip": "skip { … } or skip from other by concat { … }",
    "repeat": "repeat 3 { … }",
    "scan": "scan LSTM(256) over T",
    "reverse": "reverse LSTM(256) over T",
    "bidirectional": "bidirectional LSTM(256) over T",
    "phase": "phase head { freeze all  epochs 3 }",
    "train": "train Name on data(…) { epochs 20 }",
    "func": "func f(a: float, b: int = 8) = a * b",
    "import": 'import "std/attention" use MultiHeadAttention',
    "block": "block Name(width: int) { … }",
    "cell": "cell Name(hidden: int) { … }",
    "network": "network Name(classes: int = 10) { … } or network Name = Base(setting=value)",
    "adversarial": "adversarial Name(latent: int = 100) { … }",
}
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


def _sorted(parts: list[str]) -> list[str]:
    """The most telling first, and no more than five."""
    dull = {"`.`", "`(`", "`[`", "`..`"}
    kept = [p for p in parts if p not in dull] or parts
    return sorted(kept, key=lambda p: (p in _LATER, _LATER.index(p) if p in _LATER else 0))[:5]


def explain(nodes: Nodes, machine: Machine, token: Token) -> None:
    """Report the error at a token that the parser cannot read."""
    scene = Scene(nodes, machine, token)
    for slip in SLIPS:
        if slip(scene):
            return
    separator = _missing_separator(scene)
    help = separator or _general_help(scene)
    message = f"expected {scene.expected()}{scene.context()}, found {scene.shown}"
    nodes.report("A0113" if separator else "A0101", message, scene.gap, help)


def _missing_separator(scene: Scene) -> str | None:
    """The help where two things stand side by side that need a comma or an arrow between them."""
    starts_value = scene.token.kind in ("NAME", "NUMBER", "STRING", "QUOTED", "PRIMED", "LSQB", "LPAR")
    opens = scene.machine.opens
    if starts_value and "COMMA" in scene.accepted and opens and opens[-1][0] != "LBRACE":
        return f"put a `,` before {scene.shown}"
    if starts_value and ARROW in scene.accepted and opens and "sequence" in scene.bracket():
        return f"stages are joined by arrows: put a `->` before {scene.shown}"
    return None


def _general_help(scene: Scene) -> str | None:
    if "_FUNC" in scene.accepted:
        close = suggest(scene.text, _DECLARATIONS)
        return f"did you mean `{close}`?" if close else f"a file holds {', '.join(f'`{d}`' for d in _DECLARATIONS)}"
    previous = scene.recent(1)
    if previous.isidentifier() and previous not in _STATEMENTS and scene.here in _NAMED:
        close = suggest(previous, _STATEMENTS)
        if close:
            return f"did you mean `{close}`, not `{previous}`?"
    keyword = scene.machine.tables.keywords.get(scene.text)
    if keyword and scene.token.kind == "NAME" and keyword[0] in scene.accepted:
        return f"before `=`, `,` or `:` the word `{scene.text}` is an ordinary name"
    if scene.text == "{" and "NUMBER" in scene.accepted:
        return "braces hold stages, and stages stand behind an arrow: `y = x -> { conv(8) -> relu }`"
    if scene.text == "then":
        return "a statement is `if condition { … }`, a value `y = if condition then a else b`"
    form = _FORMS.get(scene.word)
    return f"it is written `{form}`" if form else None


# ---------------------------------------------------------------- the slips


def _unclosed_before_declaration(scene: Scene) -> bool:
    """A declaration at the left margin while brackets are open."""
    recent, opens, text = scene.machine.recent, scene.machine.opens, scene.machine.text
    word = recent[-1] if recent and scene.recent(1) in _DECLARATIONS else None
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
    if not any(opener == CLOSERS[kind] for opener, _, _ in opens):
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
        if word in _FOREIGN and (back == 0 or scene.here in _NAMED):
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
        if scene.recent(back) not in _STATEMENTS or not scene.first_on_line(recent[-back].start):
            continue
        if not (last in ("->", "=", ",", "(", "[", "then", "else", "output") or last in _OPERATORS):
            continue
        wanted = "a stage" if last == "->" else "a value"
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
    if not opens or not scene.next_line or scene.token.kind not in ("NAME", "PRIMED"):
        return False
    kind, offset, _ = opens[-1]
    if OPENERS[kind] not in scene.accepted or (kind == "LBRACE" and "sequence" not in scene.bracket()):
        return False
    text, end = scene.machine.text, scene.token.end
    if scene.text not in _STATEMENTS and not (text[end : end + 3].lstrip(" ").startswith("=") and kind == "LBRACE"):
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
    if scene.text not in _OPERATORS or ARROW not in here or here[-1] == ARROW:
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
    if scene.here and scene.here not in _NAMED:
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
    if (scene.here and (scene.text in _OPERATORS or scene.text in (".", "(", "[", "~="))) or (
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
    if scene.text in ("=", ":") and scene.here in _NAMED:
        key = scene.recent(1)
        scene.nodes.report("A0117", f"a setting is written without `{scene.text}`", scene.at, f"write `{key} value`")
        return True
    if scene.here in _NAMED and scene.token.kind in ("RBRACE", "LBRACE"):
        scene.nodes.report(
            "A0117",
            f"the setting `{scene.recent(1)}` has no value",
            scene.recent_span(1),
            "every setting has one: `epochs 20`, `shuffle true`",
        )
        return True
    if not scene.here and scene.token.kind in ("NUMBER", "STRING"):
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
    if scene.text == "within" and scene.since("_EXPECT"):
        scene.nodes.report("A0118", "only `~=` has a tolerance", scene.at, "write `~= 25.6M within 1%`")
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
    if "if" in (scene.text, scene.recent(1)) and scene.recent(1 + (scene.text != "if")) in _OPERATORS:
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
