"""What is said about text that is no program: one row a slip, recovery, and hostile text."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest
from archlang.compiler import diagnostics
from archlang.compiler.diagnostics import ArchError, Diagnostic
from archlang.compiler.source import Source
from archlang.compiler.syntax.parser import LARGEST_TEXT, parse


def block(statement: str) -> str:
    return f"block N {{\n  input x: [B, C]\n  {statement}\n  output x\n}}\n"


def errors(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(ArchError) as caught:
        parse(Source(text))
    return caught.value.diagnostics


# In a block: the statement, the code, the text that is underlined, and words of the message or the help.
STATEMENTS = [
    ("y = x => relu", "A0110", "=>", ["`->`", "`>=`"]),
    ("y = x |> relu", "A0110", "|>", ["write `->`"]),
    ("y = x → relu", "A0110", "→", ["write `->`"]),
    ("y := x", "A0110", ":=", ["with `=`"]),
    ("y = a && b", "A0110", "&&", ["write `and`"]),
    ("y = a || b", "A0110", "||", ["write `or`"]),
    ("y = !a", "A0110", "!", ["write `not`"]),
    ("y = a ^ b", "A0110", "^", ["write `**`"]),
    ("y = x;", "A0110", ";", ["delete it"]),
    ("y = 'abc'", "A0110", "'abc'", ['write `"abc"`']),
    ("y = “abc”", "A0110", "“abc”", ['write `"abc"`']),
    ("// note", "A0110", "//", ["comment", "#"]),
    ("x += 3", "A0110", "+", ["x = x + …"]),
    ("y = True", "A0111", "True", ["write `true`"]),
    ("y = x -> linear(8, bias=None)", "A0111", "None", ["write `none`"]),
    ("return x", "A0111", "return", ["output"]),
    ("while true { }", "A0111", "while", ["for i in 0..n"]),
    ("y = x -> relu + x", "A0112", "+", ["loosest", "(x -> relu) + …"]),
    ("y = x -> linear(8) == x", "A0112", "==", ["parentheses"]),
    ("y = 1 + if a then b else c", "A0112", "then", ["(if condition then a else b)"]),
    ("y = x -> conv(64 kernel=3)", "A0113", "kernel", ["settings of `conv`", "put a `,`"]),
    ("y = [1 2]", "A0113", "2", ["a list", "put a `,`"]),
    ("y = x -> { conv(3) relu }", "A0113", "relu", ["put a `->`"]),
    ("y = x -> conv(x -> relu, 3)", "A0114", "x -> relu", ["arrows carry data", "settings of `conv`"]),
    ("y = x -> conv(64)(x)", "A0114", "(", ["arrows carry data"]),
    ("y = if a then b", "A0115", "b", ["no `else`", "if condition then a else b"]),
    ("y = if a b else c", "A0115", "b", ["expected `then`"]),
    ("y = 1 < x < 3", "A0116", "<", ["a < b and b < c"]),
    ("expect params ~= 3 within 1", "A0118", "1", ["percentage", "within 1%"]),
    ("expect params ~= 3", "A0118", "3", ["tolerance"]),
    ("expect params == 3 within 1%", "A0118", "within", ["only `~=`"]),
    ("a, b' = x", "A0119", "b'", ["line of its own"]),
    ("y = x -> a: b: conv(3)", "A0121", ":", ["one label"]),
    ("for i 0..3 { y = x }", "A0122", "0", ["expected `in`"]),
    ("y = [i for i xs]", "A0122", "xs", ["expected `in`"]),
    ("x -> relu", "A0123", "->", ["has no name", "y = x -> …"]),
    ("x.y = 3", "A0123", ".", ["name = value"]),
    ("y = (x, a", "A0102", "(", ["not closed"]),
    ("y = x -> seq: { conv(3)", "A0102", "{", ["not closed"]),
    ("y = (x]", "A0102", "(", ["before `]`", "`)`"]),
    ("y = x)", "A0109", ")", ["closes nothing"]),
    ("y = a @ b", "A0103", "@", ["stray character `@`"]),
    ("y = x \\", "A0103", "\\", ["newlines mean nothing"]),
    ("y = α", "A0103", "α", ["a to z"]),
    ('y = "abc', "A0104", '"abc', ["not closed"]),
    ("y = x -> `abc: conv(3)", "A0104", "`abc: conv(3)", ["backtick"]),
    ("y = 12abc", "A0106", "12abc", ["no number"]),
    ("y = 64k", "A0106", "64k", ["K, M, G"]),
    ("y = 1.", "A0106", "1.", ["1.0"]),
    ("y = .5", "A0106", ".", ["0.5"]),
    ("y = 1e999", "A0106", "1e999", ["inf"]),
    ("y = 9223372036854775808", "A0106", "9223372036854775808", ["too large"]),
    ('y = "a\\q"', "A0107", "\\q", ["`\\n`"]),
    ("y = x -> `a{i`: conv", "A0108", "{i", ["not closed"]),
    ("y = x -> `a{}`: conv", "A0108", "{}", ["empty"]),
    ("y = x -> `a}`: conv", "A0108", "}", ["closes no hole"]),
    ("y = `a{i}`", "A0108", "`a{i}`", ["nets[i]"]),
    ("y = x ->", "A0101", "->", ["a stage after `->`", "next statement"]),
    ("y = x -> (relu)", "A0101", "(", ["a stage after `->`", "act = if"]),
    ("y = x -> scan LSTM(3)", "A0101", ")", ["expected `over`", "scan LSTM(256) over T"]),
    ("y = x -> reverse scan LSTM(3) over T", "A0101", "scan", ["`reverse` takes the place of `scan`"]),
    ("y = x -> skip F", "A0101", "F", ["expected `{`", "skip { … }"]),
    ("y = x -> skip by sum { F }", "A0101", "skip by sum { F }", ["`add`, `concat` or `mul`"]),
    ("gate g x -> relu", "A0101", "x", ["expected `=` or `in` in this `gate`"]),
    ("input y [B]", "A0101", "[", ["expected `:` in this `input`", "input x: [B, C, H, W]"]),
    ("input y: B", "A0101", "B", ["a shape such as `[B, C]`"]),
    ("input y: long[B]", "A0101", "long", ["`float`, `int` or `bool`"]),
    ("inpt z: [B]", "A0101", "z", ["did you mean `input`"]),
    ("y = {1}", "A0101", "{", ["a value after `=`", "braces hold stages"]),
    ("y = x -> conv(kernel=)", "A0101", ")", ["expected a value in the settings of `conv`"]),
    ("if x then y", "A0101", "then", ["if condition { … }"]),
    ("pair G D on (a, b) by hinge", "A0101", "D", ["expected `vs`"]),
    ("loss kl weight = x", "A0101", "weight", ["ordinary name"]),
    ("names \"t\" { \"a\" -> \"b\" }", "A0101", "->", ["expected `=`"]),
]  # fmt: skip

FILES = [
    ("def f(x) {}", "A0111", "def", ["func f"]),
    ("class A {}", "A0111", "class", ["block Name"]),
    ("from a import b", "A0111", "from", ["import"]),
    ("netwrk N {}", "A0101", "netwrk", ["did you mean `network`?"]),
    ("x = 3", "A0101", "x", ["expected a declaration", "`network`"]),
    ("block {}", "A0101", "{", ["expected a name", "block Name(width: int)"]),
    ("network N(x) {}", "A0124", ")", ["`x` has no type", "x: int"]),
    ("network N(x = 3) {}", "A0124", "=", ["x: int"]),
    ("block A(x: int y: int) {}", "A0113", "y", ["parameters of `A`"]),
    ("network A = 3", "A0101", "3", ["Base(setting=value)"]),
    ("import std use A", "A0101", "std", ["expected a string"]),
    ('import "a"', "A0101", '"a"', ["expected `use`", "end of the file"]),
    ("train N on d { lr = 3 }", "A0117", "=", ["without `=`", "lr value"]),
    ("train N on d { shuffle }", "A0117", "shuffle", ["no value"]),
    ("train N on d { shuffle epochs 3 }", "A0117", "3", ["its value"]),
    ("train N on d { phase a { phase b { epochs 1 } } }", "A0117", "phase b { epochs 1 }", ["another phase"]),
    ("block A { input x: [B]\nblock C { }", "A0102", "{", ["not closed", "`}`"]),
    ("block A { output x", "A0102", "{", ["end of the file"]),
    ("block A { } }", "A0109", "}", ["closes nothing"]),
    ('"""abc', "A0104", '"""', ["docstring"]),
    ('func f() = 1\n"""Doc."""\nfunc g() = 2', "A0120", '"""Doc."""', ["documents nothing"]),
]


def check(text: str, code: str, underlined: str, words: list[str]) -> None:
    (found,) = errors(text)
    assert found.span is not None
    said = "\n".join([found.message, found.help or "", found.underline])
    assert (found.code, found.span.text) == (code, underlined), said
    for word in words:
        assert word in said


@pytest.mark.parametrize(("statement", "code", "underlined", "words"), STATEMENTS, ids=lambda v: str(v)[:30])
def test_statements(statement: str, code: str, underlined: str, words: list[str]) -> None:
    check(block(statement), code, underlined, words)


@pytest.mark.parametrize(("text", "code", "underlined", "words"), FILES, ids=lambda v: str(v)[:30])
def test_files(text: str, code: str, underlined: str, words: list[str]) -> None:
    check(text, code, underlined, words)


def test_an_unclosed_brace_names_both_places() -> None:
    (found,) = errors("block A {\n  input x: [B]\n\nblock C {\n  output x\n}\n")
    assert found.span is not None
    assert (found.span.line, found.span.column) == (1, 9)
    assert [(label.span.line, label.span.text) for label in found.labels] == [(4, "block")]


def test_several_errors_in_one_run() -> None:
    text = (
        "block A {\n  input x [B]\n  y = x -> conv(3 4)\n  z = x -> relu\n  for i 0..3 { z = z => relu }\n"
        "  output z\n}\n"
        "train A on d {\n  epochs = 3\n  lr 1e-3\n  batch\n}\nnetwrk B {}\n"
        "block C { output (x }\nfunc f(a: int) = a a\n"
    )
    places = [(d.span.line, d.code) for d in errors(text) if d.span]
    assert places == [
        (2, "A0101"), (3, "A0113"), (5, "A0122"), (9, "A0117"), (11, "A0117"), (13, "A0101"), (14, "A0102"),
        (15, "A0101"),
    ]  # fmt: skip


def test_one_error_causes_no_others() -> None:
    sequence = "y = x -> seq: {\n    conv(3 4) -> relu\n    -> { a -> b }\n  }"
    text = f"block A {{\n  {sequence}\n  for i in xs {{ z = y }}\n  output z\n}}\nblock B {{}}\n"
    assert [d.code for d in errors(text)] == ["A0113"]


def test_the_end_of_the_file_is_no_column_past_the_end() -> None:
    (found,) = errors("func f() =")
    assert found.span is not None
    assert found.span.text == "="


def test_no_more_than_twenty_errors() -> None:
    assert len(errors("block A {\n" + "  y = = x\n" * 100 + "}\n")) == 20


def test_every_code_has_a_page() -> None:
    pages = set(diagnostics.codes())
    assert {code for _, code, _, _ in STATEMENTS + FILES} <= pages
    assert {"A0105", "A0150", "A0151", "A0152", "A0153", "A0154", "A0155"} <= pages


def test_a_text_too_large() -> None:
    (found,) = errors(" " * (LARGEST_TEXT + 1))
    assert found.code == "A0155"


# ---------------------------------------------------------------- hostile text

DEEP = {
    "parentheses": lambda n: "y = " + "(" * n + "x" + ")" * n,
    "open parentheses": lambda n: "y = " + "(" * n,
    "lists": lambda n: "y = " + "[" * n + "]" * n,
    "minus": lambda n: "y = " + "-" * n + "x",
    "not": lambda n: "y = " + "not " * n + "x",
    "sum": lambda n: "y = " + "+".join("x" * n),
    "powers": lambda n: "y = " + "**".join("x" * n),
    "attributes": lambda n: "y = x" + ".x" * n,
    "calls": lambda n: "y = f" + "(1)" * n,
    "choices": lambda n: "y = " + "if a then b else " * n + "c",
    "sequences": lambda n: "y = x -> " + "{ " * n + "f" + " }" * n,
    "skips": lambda n: "y = x -> " + "a: skip { " * n,
    "bodies": lambda n: "if a { " * n + "y = x" + " }" * n,
    "else if": lambda n: "if a { y = x }" + " else if a { y = x }" * n,
}


@pytest.mark.parametrize("depth", [1_000, 50_000])
@pytest.mark.parametrize("form", DEEP)
def test_depth_is_refused(form: str, depth: int) -> None:
    (found,) = errors(block(DEEP[form](depth)))
    assert found.code == "A0105"


@pytest.mark.parametrize("form", [f for f in DEEP if f not in ("open parentheses", "skips")])
def test_depth_that_is_allowed(form: str) -> None:
    tree = parse(Source(block(DEEP[form](45))))
    assert hash(tree) == hash(parse(Source(tree.span.source.text)))


def test_a_megabyte_of_brackets() -> None:
    start = time.process_time()
    assert errors("(" * 1_000_000)[0].code == "A0101"
    assert errors("block A { y = " + "(" * 1_000_000)[0].code == "A0105"
    assert time.process_time() - start < 10


GROWING = {
    "long list": lambda n: "y = [" + "1, " * n + "]",
    "long chain": lambda n: "y = x" + " -> relu" * n,
    "many statements": lambda n: "y = x\n" * n,
    "one long name": lambda n: "y = " + "a" * 20 * n,
    "one bad word": lambda n: "= " + "a" * 20 * n + "é",
    "open string": lambda n: '= = "' + '\\"' * 5 * n,
    "words on a line": lambda n: "= = " + "a " * 5 * n,
    "spaces behind keywords": lambda n: ("state" + " " * 20) * n,
    "braces in a name": lambda n: "y = x -> `" + "{a}" * n + "`: f",
    "quotes": lambda n: "'" * 5 * n,
}


@pytest.mark.slow
@pytest.mark.parametrize("form", GROWING)
def test_time_grows_with_length(form: str) -> None:
    """Eight times the text takes about eight times as long; quadratic work would take sixty-four times."""

    def seconds(n: int) -> float:
        source = Source("block A {\n" + GROWING[form](n) + "\n}")
        start = time.process_time()
        with suppress(ArchError):
            parse(source)
        return time.process_time() - start

    seconds(10)
    small = max(min(seconds(500) for _ in range(3)), 2e-3)
    assert min(seconds(4_000) for _ in range(2)) < 24 * small


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "syntax_data").glob("*.arch")), ids=lambda p: p.stem)
def test_damaged_files_end_in_messages(path: Path) -> None:
    """Whatever is cut out of a real file, the answer is a tree or a coded message."""
    text = path.read_text(encoding="utf-8")
    for start in range(0, len(text), 97):
        damaged = text[:start] + text[start + 1 + start % 13 :]
        try:
            parse(Source(damaged))
        except ArchError as failure:
            assert all(d.code.startswith("A01") and d.span and d.message for d in failure.diagnostics)
