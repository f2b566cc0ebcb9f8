"""Trees to text: the same tree again, the same text again, every comment kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from archlang.compiler.source import Source, Span
from archlang.compiler.syntax import ast
from archlang.compiler.syntax.parser import parse
from archlang.compiler.syntax.printer import format_source, print_file, unparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SPECS = sorted((Path(__file__).parent / "syntax_data").glob("*.arch"))
NOWHERE = Span(Source(""), 0, 0)


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

WORDS = (
    "x",
    "h2",
    "conv",
    "input",
    "output",
    "state",
    "skip",
    "scan",
    "repeat",
    "over",
    "weight",
    "by",
    "from",
    "if",
    "not",
)
FREE = st.sampled_from([w for w in WORDS if w not in ("if", "not")])


def make(cls: type, **parts: st.SearchStrategy) -> st.SearchStrategy[Any]:
    return st.builds(cls, span=st.just(NOWHERE), **parts)


def several(strategy: st.SearchStrategy, least: int = 0, most: int = 2) -> st.SearchStrategy[tuple]:
    return st.lists(strategy, min_size=least, max_size=most).map(tuple)


def number(text: str) -> ast.Number:
    (item,) = parse(Source(f"func f() = {text}")).items
    return item.value  # type: ignore[union-attr,return-value]


NAMES = make(ast.Name, text=st.sampled_from([*WORDS, "a.b", "0", "true"]))
PRIMED = make(ast.Name, text=FREE, primed=st.just(True))
NUMBERS = st.sampled_from(["0", "61_706", "25.6M", "2e-4", "1.5"]).map(number)
STRINGS = make(ast.String, value=st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12))
ATOMS = st.one_of(NAMES, PRIMED, NUMBERS, STRINGS, make(ast.Bool, value=st.booleans()), make(ast.NoneLit))
IDENTS = make(ast.Ident, text=FREE)
CALLED = make(ast.Call, function=NAMES, arguments=st.just(()))
OPERATORS = st.sampled_from(["or", "and", "<", "<=", "==", "!=", ">", ">=", "+", "-", "*", "/", "//", "%", "**"])


def arguments(values: st.SearchStrategy, least: int = 0) -> st.SearchStrategy[tuple]:
    return several(make(ast.Argument, name=st.none() | FREE, value=values), least)


def templates(values: st.SearchStrategy) -> st.SearchStrategy[Any]:
    holes = st.sampled_from([("conv1",), ("0.x",), ("state",), ("true",), ("a b",)]) | values.map(
        lambda v: ("layer.", v, ".w", v)
    )
    return make(ast.Template, parts=holes)


def expressions(inner: st.SearchStrategy) -> st.SearchStrategy[Any]:
    settings_ = arguments(inner.filter(lambda v: not isinstance(v, ast.Pipe)))
    root = make(ast.Name, text=st.sampled_from([*WORDS, "a.b"]))
    path = st.one_of(
        root,
        make(ast.Attribute, value=root, name=st.sampled_from(["w", "0", "a b", "if"])),
        make(ast.Index, value=root, arguments=arguments(inner, 1)),
    )
    apply_ = make(ast.Apply, function=path, arguments=settings_)
    simple = templates(NAMES | NUMBERS)
    scan = make(
        ast.Scan,
        cell=apply_ | make(ast.Labelled, label=simple, stage=apply_),
        axis=IDENTS,
        direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    )
    supplied = make(ast.Supplied, stage=apply_ | scan, start=arguments(inner), extra=arguments(inner, 1))
    bare = st.one_of(apply_, scan, supplied)
    chain = several(bare)
    braces = st.one_of(
        bare,
        make(ast.Sequence, stages=chain),
        make(ast.RepeatStage, count=inner, stages=chain),
        make(ast.ForStage, targets=several(IDENTS, 1), iterable=inner, stages=chain),
        make(ast.IfStage, condition=inner, yes=chain, no=chain),
        make(ast.Skip, stages=chain, other=st.none() | inner, by=st.sampled_from(["add", "concat", "mul"])),
    )
    stages = braces | make(ast.Labelled, label=simple, stage=braces)
    places = inner | make(ast.Range, low=st.none() | inner, high=st.none() | inner)
    return st.one_of(
        make(ast.ListExpr, items=several(inner)),
        make(ast.TupleExpr, items=several(inner, 1)),
        make(ast.Comprehension, value=inner, targets=several(IDENTS, 1), iterable=inner, condition=st.none() | inner),
        make(ast.Unary, op=st.sampled_from(["-", "+", "not"]), operand=inner),
        make(ast.Binary, op=OPERATORS, left=inner, right=inner),
        make(ast.IfExpr, condition=inner, yes=inner, no=inner),
        make(ast.Range, low=inner, high=inner),
        make(ast.Call, function=inner, arguments=arguments(inner)),
        make(
            ast.Attribute,
            value=inner.filter(lambda v: not isinstance(v, ast.Number)),
            name=st.sampled_from(["C", "0", "a b"]),
        ),
        make(ast.Index, value=inner, arguments=arguments(places, 1)),
        make(ast.Pipe, value=inner, stages=several(stages, 1)),
    )


EXPRESSIONS = st.recursive(ATOMS, expressions, max_leaves=6)
AXES = st.one_of(
    make(ast.AxisDecl, name=st.sampled_from(["B", "T"])),
    make(ast.AxisDecl, size=NUMBERS),
    make(ast.AxisDecl, name=FREE, size=NAMES | NUMBERS),
    make(ast.AxisDecl, name=FREE, nominal=NUMBERS),
)
SHAPES = make(ast.Shape, axes=several(AXES), dtype=st.sampled_from(["float", "int", "bool"]))


def statements(inner: st.SearchStrategy) -> st.SearchStrategy[Any]:
    bodies = several(inner)
    return st.one_of(
        make(ast.ForStmt, targets=several(IDENTS, 1), iterable=EXPRESSIONS, body=bodies),
        make(ast.IfStmt, condition=EXPRESSIONS, yes=bodies, no=bodies),
        make(ast.EntryStmt, name=IDENTS, body=bodies),
    )


CALLS = make(ast.Call, function=NAMES, arguments=arguments(EXPRESSIONS))
SIMPLE = st.one_of(
    make(ast.InputStmt, name=IDENTS, shape=SHAPES, role=st.sampled_from(["input", "target"])),
    make(ast.ParamStmt, name=templates(NUMBERS), shape=SHAPES, init=st.none() | EXPRESSIONS),
    make(ast.ConstStmt, name=IDENTS, shape=SHAPES, value=EXPRESSIONS, buffer=st.booleans()),
    make(ast.SampleStmt, name=IDENTS, distribution=CALLS, shape=SHAPES),
    make(ast.BindStmt, targets=several(IDENTS, 1), value=EXPRESSIONS),
    make(ast.BindStmt, targets=several(make(ast.Ident, text=FREE, primed=st.just(True)), 1, 1), value=EXPRESSIONS),
    make(ast.BindStmt, targets=several(IDENTS, 1, 1), value=EXPRESSIONS, shape=SHAPES),
    make(ast.ModuleStmt, name=templates(NAMES), value=EXPRESSIONS),
    make(ast.GateStmt, name=IDENTS, value=EXPRESSIONS, bounds=st.none() | make(ast.ListExpr, items=several(NUMBERS))),
    make(ast.StateStmt, name=IDENTS, shape=SHAPES),
    make(ast.OutputStmt, name=st.none() | IDENTS, value=EXPRESSIONS),
    make(ast.LossStmt, name=IDENTS, value=EXPRESSIONS, weight=st.none() | EXPRESSIONS, over=several(IDENTS)),
    make(
        ast.BiasStmt,
        claim=IDENTS,
        arguments=arguments(EXPRESSIONS),
        value=st.none() | EXPRESSIONS,
        axes=several(IDENTS),
        assumed=st.booleans(),
    ),
    make(ast.ExpectStmt, left=EXPRESSIONS, relation=st.sampled_from(["==", "<", ">="]), right=EXPRESSIONS),
    make(
        ast.ExpectStmt,
        left=EXPRESSIONS,
        relation=st.just("~="),
        right=EXPRESSIONS,
        tolerance=EXPRESSIONS,
        percent=st.just(True),
    ),
    make(
        ast.NamesStmt,
        scheme=STRINGS,
        rules=several(make(ast.KeyRule, ours=STRINGS, theirs=STRINGS, options=several(make(ast.Name, text=FREE)))),
    ),
    make(ast.PlayerStmt, role=st.sampled_from(["generator", "discriminator"]), name=IDENTS, value=EXPRESSIONS),
    make(
        ast.PairStmt,
        first=IDENTS,
        second=IDENTS,
        on=several(EXPRESSIONS, 1),
        extra=arguments(EXPRESSIONS),
        objective=CALLS,
    ),
)
STATEMENTS = st.recursive(SIMPLE, statements, max_leaves=4)
PARAMS = make(
    ast.Param,
    name=FREE,
    type=make(ast.TypeRef, name=st.just("list"), argument=make(ast.TypeRef, name=st.just("int"))),
    default=st.none() | EXPRESSIONS,
)
SETTINGS = make(ast.Setting, key=IDENTS, values=several(EXPRESSIONS, 1), excepted=several(EXPRESSIONS)) | make(
    ast.Setting,
    key=IDENTS,
    assignments=several(make(ast.Argument, name=FREE, value=EXPRESSIONS), 1),
)
ITEMS = st.one_of(
    make(ast.Import, path=STRINGS, names=several(IDENTS, 1)),
    make(ast.Func, name=IDENTS, params=several(PARAMS), value=EXPRESSIONS),
    make(
        ast.Definition,
        kind=st.sampled_from(["block", "cell", "network", "adversarial"]),
        name=IDENTS,
        params=several(PARAMS),
        body=several(STATEMENTS),
    ),
    make(ast.Configuration, kind=st.just("network"), name=IDENTS, value=CALLS, body=several(SIMPLE, most=1)),
    make(
        ast.Train,
        target=NAMES,
        data=CALLS,
        body=several(SETTINGS | make(ast.Phase, name=IDENTS, body=several(SETTINGS))),
    ),
)
FILES = make(ast.File, items=several(ITEMS), doc=st.none() | st.sampled_from(["A doc.", "two\n  lines"]))
EFFORT = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@EFFORT
@given(EXPRESSIONS)
def test_an_expression_comes_back(tree: Any) -> None:
    text = unparse(tree)
    (item,) = parse(Source(f"func f() = {text}")).items
    assert item.value == tree, text  # type: ignore[union-attr]


@EFFORT
@given(FILES)
def test_a_file_comes_back(tree: ast.File) -> None:
    text = print_file(tree)
    again = parse(Source(text))
    assert again == tree, text
    assert print_file(again) == format_source(Source(print_file(again)))
