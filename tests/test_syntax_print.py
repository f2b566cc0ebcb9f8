"""Trees to text: the same tree again, the same text again, every comment kept."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from random import Random

import pytest
from archlang.compiler.source import Source
from archlang.compiler.syntax.parser import parse
from archlang.compiler.syntax.printer import format_source, print_file, unparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_found = importlib.util.spec_from_file_location("syntax_trees", Path(__file__).with_name("syntax_trees.py"))
assert _found is not None
assert _found.loader is not None
_module = importlib.util.module_from_spec(_found)
_found.loader.exec_module(_module)
Trees = _module.Trees

SPECS = sorted((Path(__file__).parent / "syntax_data").glob("*.arch"))


def formatted(text: str) -> str:
    return format_source(Source(text))


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_real_files(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    once = formatted(text)
    before, after = parse(Source(text)), parse(Source(once))
    assert after == before
    assert [c.text for c in after.comments] == [c.text for c in before.comments]
    assert [c.own_line for c in after.comments] == [c.own_line for c in before.comments]
    assert formatted(once) == once


def test_everything_looks_as_it_should() -> None:
    folder = Path(__file__).parent / "syntax_data"
    expected = (folder / "everything.formatted").read_text(encoding="utf-8")
    assert formatted((folder / "everything.arch").read_text(encoding="utf-8")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y=((x))->relu", "y = x -> relu"),
        ("y = (a->relu)+b", "y = (a -> relu) + b"),
        ("y=a+(b+c)", "y = a + (b + c)"),
        ("y=(a**b)**c", "y = (a ** b) ** c"),
        ("y=-(a+b)", "y = -(a + b)"),
        ("y=(-a)**2", "y = (-a) ** 2"),
        ("y = x->E()->`c`:conv( 8,)", "y = x -> E -> c: conv(8)"),
        ("y = x->`0`:f", "y = x -> `0`: f"),
        ("y = (if a then b else c)+1", "y = (if a then b else c) + 1"),
        ("const p:bool[q=T,k=S]=k<=q", "const p: bool[q=T, k=S] = k <= q"),
        ("expect flops~=4.1G within 1 %", "expect flops ~= 4.1G within 1%"),
        ("output y  =x", "output y = x"),
    ],
)
def test_one_line(text: str, expected: str) -> None:
    assert formatted(f"block N {{\n{text}\n}}") == f"block N {{\n  {expected}\n}}\n"


def test_a_long_chain_takes_a_line_a_stage() -> None:
    stages = [f"layer_number_{i}: linear(1000)" for i in range(5)]
    assert formatted("block N { y = x -> " + " -> ".join(stages) + " }") == "\n".join(
        ["block N {", "  y = x", *(f"    -> {s}" for s in stages), "}\n"]
    )


def test_the_author_s_rows_are_kept() -> None:
    text = "block N {\n  y = x\n    -> conv(8) -> relu\n    -> conv(16) -> relu\n}\n"
    assert formatted(text) == text


def test_short_bodies_stay_on_one_line_if_so_written() -> None:
    text = "block N {\n  entry a { output x }\n  entry b {\n    output x\n  }\n  if a { b = c } else { b = d }\n}\n"
    assert formatted(text) == text


def test_at_most_one_blank_line() -> None:
    text = "block N {\n\n\n  y = x\n\n\n\n  z = x\n}\nnetwork A = N()\nnetwork B = N()\n"
    expected = "block N {\n  y = x\n\n  z = x\n}\n\nnetwork A = N()\nnetwork B = N()\n"
    assert formatted(text) == expected


def test_empty_files() -> None:
    assert formatted("") == ""
    assert formatted(" \n# a\n") == "# a\n"


def test_comments_in_odd_places_are_kept() -> None:
    text = (
        "block N(a: int # in a head\n) { y = conv(1, # in settings\n 2) # behind\n z = ( # in parentheses\n x ->\n"
        "# behind an arrow\n relu) + 1\n if a { # opens\n } else { # other\n } # closes\n# last\n}"
    )
    once = formatted(text)
    assert sorted(c.text for c in parse(Source(once)).comments) == sorted(c.text for c in parse(Source(text)).comments)
    assert parse(Source(once)) == parse(Source(text))
    assert formatted(once) == once


# ---------------------------------------------------------------- generated trees

EFFORT = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
RANDOM = st.randoms(use_true_random=False)


@EFFORT
@given(RANDOM)
def test_an_expression_comes_back(random: Random) -> None:
    tree = Trees(random).value()
    text = unparse(tree)
    (item,) = parse(Source(f"func f() = {text}")).items
    assert item.value == tree, text  # type: ignore[union-attr]


@EFFORT
@given(RANDOM)
def test_a_file_comes_back(random: Random) -> None:
    tree = Trees(random).file()
    text = print_file(tree)
    again = parse(Source(text))
    assert again == tree, text
    assert format_source(Source(print_file(again))) == print_file(again)
