"""What elementwise ops, shapes, patterns, selection and reductions refuse, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from archlang.compiler.diagnostics import explain
from archlang.compiler.einops import MOST_CHARACTERS, PatternError, parse
from archlang.compiler.ops.base import Need
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_harness import infer, refusal

quick = settings(max_examples=60, deadline=None, derandomize=True)


REFUSALS = [
    ("add", ["B 4", "B 5"], {}, "A0320", "`+` cannot join [B, 4] and [B, 5]: axis 1 has size 4, but axis 1 has 5"),
    ("mul", ["B C=4 H=3", "B C=4"], {}, "A0321", "axis `B` stands at different places"),
    ("add", ["B H=8 W=8", "B W=8 H=8"], {}, "A0321", "axis `H` stands at different places"),
    ("add", ["B", "B 1"], {}, "A0321", "axis `B` stands at different places of [B] and [B, 1]"),
    ("add", ["bool B", "B"], {}, "A0322", "`+` takes numbers, but this is bool[B]"),
    ("less", ["bool B", "bool B"], {}, "A0322", "`<` takes numbers"),
    ("equal", ["bool B", "B"], {}, "A0322", "`==` takes numbers, but this is bool[B]"),
    ("logical_and", ["bool B", "B"], {}, "A0322", "`and` takes truth values, but this is [B]"),
    ("logical_not", ["int B"], {}, "A0322", "`not` takes truth values"),
    ("neg", ["bool B"], {}, "A0322", "`-` takes numbers"),
    ("gelu", ["int B"], {}, "A0322", "`gelu` takes floating-point numbers"),
    ("where", ["B", "B", "B"], {}, "A0322", "`where` takes truth values"),
    ("mean", ["int B"], {}, "A0322", "`mean` takes floating-point numbers"),
    ("gather", ["9 D=3", "B"], {}, "A0322", "the index is [B]"),
    ("one_hot", ["B"], {"count": 3}, "A0322", "`one_hot` takes indices"),
    ("softmax", ["B T"], {"axis": "K"}, "A0302", "[B, T] has no axis `K`"),
    ("softmax", [""], {}, "A0302", "no axis -1"),
    ("glu", ["B 5"], {}, "A0327", "its size 5 is odd"),
    ("clamp", ["B"], {}, "A0334", "needs a bound"),
    ("clamp", ["B"], {"lo": 1, "hi": 0}, "A0334", "1 is not below 0"),
    ("pixel_norm", ["B"], {}, "A0333", "needs a channel axis"),
    ("prelu", ["B"], {"channels": True}, "A0333", "needs a channel axis"),
    ("flatten", ["B C=4 H=3"], {"start": "H", "end": "C"}, "A0334", "axis `C` comes before axis `H`"),
    ("unflatten", ["B D=12"], {"axis": 1, "sizes": (5, -1)}, "A0327", "12 elements, which 5 does not divide"),
    ("unflatten", ["B D=12"], {"axis": 1, "sizes": (-1, -1)}, "A0327", "only one size"),
    ("unflatten", ["B D=12"], {"axis": 1, "sizes": (0, -1)}, "A0327", "at least 1"),
    ("reshape", ["4 3"], {"sizes": (5, 2)}, "A0327", "[4, 3] has 12 elements, but 5 · 2 = 10"),
    ("squeeze", ["B T=5"], {"axis": "T"}, "A0331", "axis `T` of [B, T=5] has size 5"),
    ("expand", ["B 4"], {"size": 3, "axis": 1}, "A0331", "axis 1 of [B, 4] has size 4"),
    ("unsqueeze", ["B"], {"axis": 3}, "A0302", "no place 3"),
    ("concat", ["B 4 8", "B 2 4"], {"axis": 1}, "A0330", "axis 2 has size 8, but axis 2 has 4"),
    ("concat", ["B 4", "B 4 1"], {}, "A0330", "[B, 4] has 2 and [B, 4, 1] has 3"),
    ("stack", ["B 4", "B 5"], {}, "A0330", "axis 1 has size 4, but axis 1 has 5"),
    ("split", ["B 10"], {"parts": 3}, "A0329", "does not fall into 3 equal parts"),
    ("split", ["B 10"], {"parts": (4, 4)}, "A0329", "the parts add up to 8"),
    ("unstack", ["4 B"], {"count": 3}, "A0407", "3 names take [4, B] apart"),
    ("index", ["B T=6"], {"items": ((1, 6, None, True),)}, "A0328", "position 6 of axis `T` is out of range"),
    ("index", ["B T=6"], {"items": ((1, -7, None, True),)}, "A0328", "out of range"),
    ("index", ["B T=6"], {"items": ((1, 2, 7, False),)}, "A0328", "positions 2..7 of axis `T` are out of range"),
    ("index", ["B T=6"], {"items": ((1, 4, 4, False),)}, "A0328", "none at all"),
    ("topk", ["B 3"], {"k": 4}, "A0328", "takes 4 values"),
    ("sum", ["B T"], {"axis": ("T", 1)}, "A0302", "listed twice"),
]


@pytest.mark.parametrize(("name", "inputs", "values", "code", "message"), REFUSALS)
def test_refusals(name: str, inputs: list[str], values: dict, code: str, message: str) -> None:
    found = refusal(name, *inputs, **values)
    assert (found.code, message in found.message) == (code, True), found.message
    assert explain(code) is not None


PATTERNS = [  # op, operands, pattern, sizes, code, the characters to blame
    ("rearrange", ["B T 6"], "b t d", {}, "A0323", "b t d"),
    ("rearrange", ["B T 6"], "b t d -> b d t -> t", {}, "A0323", "->"),
    ("rearrange", ["B T 6"], "b t (h d -> b t h d", {}, "A0323", "("),
    ("rearrange", ["B T 6"], "b t h) -> b t h", {}, "A0323", ")"),
    ("rearrange", ["B T 6"], "b t ((h) d) -> b t h d", {}, "A0323", "("),
    ("rearrange", ["B T 6"], "b t (2 d) -> b t 2 d", {}, "A0323", "2"),
    ("rearrange", ["B T 6"], "b t d; -> b t d", {}, "A0323", ";"),
    ("rearrange", ["B T 6"], "(... t) d -> t d", {}, "A0323", "..."),
    ("rearrange", ["B T 6"], "b t d, b -> b t d", {}, "A0323", " b "),
    ("rearrange", ["B T 6"], "b t d -> b d", {}, "A0324", "t"),
    ("rearrange", ["B T 6"], "b t d -> b t d e", {}, "A0324", "e"),
    ("rearrange", ["B T 6"], "b t t -> b t", {}, "A0324", "t"),
    ("rearrange", ["B T 6"], "b t d -> b t t d", {}, "A0324", "t"),
    ("rearrange", ["B T 6"], "b d -> d b", {}, "A0325", "b d "),
    ("rearrange", ["B T 6"], "b t (h d) -> b t h d", {}, "A0326", "h d"),
    ("rearrange", ["B T 6"], "b t (h d) -> b t h d", {"h": 4}, "A0326", "h d"),
    ("rearrange", ["B T 6"], "b t d -> b d t", {"d": 7}, "A0326", "d"),
    ("rearrange", ["B T 6"], "b 1 d -> b d", {}, None, ""),
    ("rearrange", ["B 4 6"], "b 1 d -> b d", {}, "A0326", None),
    ("einsum", ["B 4", "B 4"], "b i, b j -> b k", {}, "A0324", "k"),
    ("einsum", ["B 4", "B 4"], "b i, (b j) -> b i", {}, "A0323", " (b j) "),
    ("einsum", ["B 4", "B 5"], "b i, b i -> b", {}, "A0326", "i"),
    ("einsum", ["B 4", "B 4"], "b i j, b i -> b", {}, "A0325", "b i j"),
    ("einsum", ["B 4", "B 4"], "b i -> b", {}, "A0325", None),
    ("einsum", ["B 4", "B 1"], "b i, b 1 -> b i", {}, "A0323", " b 1 "),
]


@pytest.mark.parametrize(("name", "inputs", "pattern", "sizes", "code", "blamed"), PATTERNS)
def test_patterns_are_refused_at_the_character(
    name: str, inputs: list[str], pattern: str, sizes: dict, code: str | None, blamed: str | None
) -> None:
    values: dict[str, Any] = {"pattern": pattern, **({"sizes": sizes} if sizes else {})}
    if code is None:  # left open: asked at run time
        need = Need()
        infer(name, *inputs, need=need, **values)
        assert len(need.open) == 1
        return
    found = refusal(name, *inputs, **values)
    assert found.code == code, found.message
    where = pattern[slice(*found.within)] if found.within else None
    assert where == blamed
    assert found.setting == "pattern"


def test_a_size_for_no_axis() -> None:
    found = refusal("rearrange", "B T 6", pattern="b t (h d) -> b t h d", sizes={"heads": 2, "h": 2})
    assert (found.code, found.setting) == ("A0324", "heads")


@given(st.text(alphabet="abc()1 .,->\u2026é\n{}", max_size=40))
@quick
def test_any_text_is_a_pattern_or_refused(pattern: str) -> None:
    try:
        sides, _ = parse(pattern)
    except PatternError as error:
        assert 0 <= error.start < error.end <= max(1, len(pattern)) or error.start == error.end == len(pattern)
    else:
        assert pattern.count("->") == 1
        assert len(sides) == pattern.partition("->")[0].count(",") + 1


def test_long_patterns_are_refused() -> None:
    with pytest.raises(PatternError):
        parse("a" * MOST_CHARACTERS + " -> b")
    with pytest.raises(PatternError):
        parse(" ".join(f"a{i}" for i in range(80)) + " -> b")
