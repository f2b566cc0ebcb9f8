"""Text to tree: what each form means, and where its nodes stand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archlang.compiler.source import Source
from archlang.compiler.syntax import ast
from archlang.compiler.syntax.parser import parse
from archlang.compiler.syntax.unparse import unparse

SPECS = sorted((Path(__file__).parent / "syntax_data").glob("*.arch"))


def file(text: str) -> ast.File:
    return parse(Source(text))


def body(text: str) -> tuple[Any, ...]:
    (item,) = file(f"block N {{ {text}\n }}").items
    assert isinstance(item, ast.Definition)
    return item.body


def value(text: str) -> Any:
    (statement,) = body(f"v = {text}")
    return statement.value


def shape_of(node: Any) -> str:
    """The tree in brackets, for what binds tighter than what."""
    match node:
        case ast.Binary(op, left, right):
            return f"({shape_of(left)} {op} {shape_of(right)})"
        case ast.Unary(op, operand):
            return f"({op} {shape_of(operand)})"
        case ast.Pipe(first, stages):
            return f"<{shape_of(first)}{''.join(' > ' + unparse(s) for s in stages)}>"
        case ast.IfExpr(condition, yes, no):
            return f"[{shape_of(condition)} ? {shape_of(yes)} : {shape_of(no)}]"
        case ast.Range(low, high):
            return f"{{{shape_of(low)} to {shape_of(high)}}}"
    return unparse(node)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("a + b -> relu", "<(a + b) > relu>"),
        ("a + (b -> relu) * c", "(a + (<b > relu> * c))"),
        ("1 - a -> sqrt -> exp", "<(1 - a) > sqrt > exp>"),
        ("a - b - c", "((a - b) - c)"),
        ("a ** b ** c", "(a ** (b ** c))"),
        ("-a ** b", "(- (a ** b))"),
        ("a ** -b", "(a ** (- b))"),
        ("a * -b % c // d", "(((a * (- b)) % c) // d)"),
        ("not a == b and c or d", "(((not (a == b)) and c) or d)"),
        ("a or b and c", "(a or (b and c))"),
        ("if a then b else c -> f", "[a ? b : <c > f>]"),
        ("if a then b -> f else if c then d else e + 1", "[a ? <b > f> : [c ? d : (e + 1)]]"),
        ("if a then if b then c else d else e", "[a ? [b ? c : d] : e]"),
        ("(if a then b else c) + 1", "([a ? b : c] + 1)"),
        ("0..n + 1", "{0 to (n + 1)}"),
        ("a < b + 1", "(a < (b + 1))"),
    ],
)
def test_precedence(text: str, shape: str) -> None:
    assert shape_of(value(text)) == shape


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("61_706", 61706), ("25.6M", 25_600_000), ("4.1G", 4_100_000_000), ("2K", 2000), ("1T", 10**12), ("0", 0),
        ("2e-4", 2e-4), ("1.0", 1.0), ("1e3", 1e3), ("0.0001K", 0.1), ("1.5e3K", 1_500_000), ("007", 7),
    ],
)  # fmt: skip
def test_numbers(text: str, number: float) -> None:
    found = value(text)
    assert (found.value, type(found.value), found.text) == (number, type(number), text)


def test_strings_and_literals() -> None:
    assert value(r'"a\n\t\"\\ # {x}"').value == 'a\n\t"\\ # {x}'
    assert value("[true, false, none]").items[0].value is True
    assert isinstance(value("none"), ast.NoneLit)
    assert value("(1,)") != value("1")
    assert value("[]").items == ()


def test_names_primes_and_quotes() -> None:
    assert (value("h'").text, value("h'").primed) == ("h", True)
    assert value("`a.b`").text == "a.b"
    assert value("E.0.1.`x y`.w") == value("E.`0`.`1`.`x y`.w")
    (statement,) = body("h' = x")
    assert statement.targets[0].primed
    assert statement.targets[0].text == "h"


def test_templates() -> None:
    (module,) = body("module `nets.{i + 1}.{j}` = MLP()")
    text, i, dot, j = module.name.parts
    assert (text, dot, unparse(i), unparse(j)) == ("nets.", ".", "i + 1", "j")
    assert module.name.plain is None
    (stage,) = value("x -> `0.weight`: relu").stages
    assert (stage.label.plain, stage.label.quoted) == ("0.weight", True)


def test_stages() -> None:
    pipe = value(
        "x -> a: conv(1) with (w=y) -> { relu -> { } } -> repeat n { f } -> for i, j in z { f }"
        " -> skip from s by mul { f } -> if a { f } else if b { g } else { h }"
        " -> reverse E.cell[0](2) over T from (h=y) with (m=z) -> q"
    )
    labelled, braces, repeat, loop, skip, choice, scan, last = pipe.stages
    assert isinstance(labelled.stage, ast.Supplied)
    assert labelled.stage.extra[0].name == "w"
    assert braces.stages[1] == ast.Sequence((), span=braces.span)
    assert unparse(repeat.count) == "n"
    assert [t.text for t in loop.targets] == ["i", "j"]
    assert (unparse(skip.other), skip.by) == ("s", "mul")
    assert unparse(choice.no[0].no[0]) == "h"
    assert (scan.stage.direction, scan.stage.axis.text, len(scan.start), len(scan.extra)) == ("reverse", "T", 1, 1)
    assert unparse(scan.stage.cell) == "E.cell[0](2)"
    assert (last.called, pipe.stages[0].stage.stage.called) == (False, True)


def test_else_may_not_be_taken_by_a_stage() -> None:
    choice = value("if a then (x -> if b { relu }) else y")
    assert isinstance(choice, ast.IfExpr)
    assert unparse(choice.no) == "y"
    stage = value("x -> if b { relu } else { tanh }").stages[0]
    assert unparse(stage.no[0]) == "tanh"


def test_shapes() -> None:
    (statement,) = body("input x: int[B, 3, H=32, W~224, (n + 1) // 2, d=D]")
    assert statement.shape.dtype == "int"
    described = [(a.name, a.size and unparse(a.size), a.nominal and unparse(a.nominal)) for a in statement.shape.axes]
    assert described == [
        ("B", None, None), (None, "3", None), ("H", "32", None), ("W", None, "224"), (None, "(n + 1) // 2", None),
        ("d", "D", None),
    ]  # fmt: skip
    assert body("input x: []")[0].shape.axes == ()


def test_statements() -> None:
    kinds = [type(s).__name__ for s in body(Path(__file__).with_name("syntax_data").joinpath("all.txt").read_text())]
    assert kinds == [
        "InputStmt", "InputStmt", "ParamStmt", "ConstStmt", "ConstStmt", "SampleStmt", "BindStmt", "BindStmt",
        "ModuleStmt", "GateStmt", "StateStmt", "ForStmt", "IfStmt", "OutputStmt", "OutputStmt", "LossStmt", "EntryStmt",
        "BiasStmt", "ExpectStmt", "InitStmt", "PretrainedStmt", "NamesStmt", "PlayerStmt", "PlayerStmt", "PairStmt",
    ]  # fmt: skip


def test_outputs() -> None:
    plain, named, other = body("output y output z = y -> f output y -> f")
    assert (plain.name, plain.value.text) == (None, "y")
    assert named.name.text == "z"
    assert (other.name, type(other.value)) == (None, ast.Pipe)


def test_contracts_and_claims() -> None:
    near, exact, claim, bare = body(
        "expect flops ~= 4.1G within 1.5% expect shape(x)[0] <= 3 bias a(n=1) on (x -> f) over H, W assumed bias b"
    )
    assert (near.relation, near.tolerance.value, near.percent) == ("~=", 1.5, True)
    assert (exact.relation, exact.tolerance) == ("<=", None)
    assert ([a.text for a in claim.axes], claim.assumed, claim.called) == (["H", "W"], True, True)
    assert (bare.value, bare.axes, bare.assumed, bare.called) == (None, (), False, False)


def test_training() -> None:
    (train,) = file('train N(d=1) on data("x") { a 1, 2 init "w" except fc, x set r=8, s=2 phase p { b none } }').items
    assert isinstance(train, ast.Train)
    first, init, set_, phase = train.body
    assert [v.value for v in first.values] == [1, 2]  # type: ignore[union-attr]
    assert [unparse(v) for v in init.excepted] == ["fc", "x"]  # type: ignore[union-attr]
    assert [(a.name, unparse(a.value)) for a in set_.assignments] == [("r", "8"), ("s", "2")]  # type: ignore[union-attr]
    assert isinstance(phase, ast.Phase)
    assert isinstance(phase.body[0].values[0], ast.NoneLit)


def test_settings_may_be_called_as_statements_are() -> None:
    (train,) = file(
        "train N on d { metric loss, output freeze state input x except loss target y phase p { loss z } }"
    ).items
    assert isinstance(train, ast.Train)
    described = [(s.key.text, [unparse(v) for v in s.values]) for s in train.body if isinstance(s, ast.Setting)]
    assert described == [("metric", ["loss", "output"]), ("freeze", ["state"]), ("input", ["x"]), ("target", ["y"])]


def test_declarations_and_docstrings() -> None:
    tree = file(
        '"""File."""\nimport "std/a" use A, B\nfunc f(a: list[int] = [1],) = a\n"""Doc."""\nblock C(p: module) {}\n'
        "network N = C(1) network M = C { output x }"
    )
    imported, func, block, short, long = tree.items
    assert tree.doc == "File."
    assert isinstance(imported, ast.Import)
    assert [n.text for n in imported.names] == ["A", "B"]
    assert isinstance(func, ast.Func)
    assert func.params[0].type == ast.TypeRef("list", ast.TypeRef("int", span=tree.span), span=tree.span)
    assert isinstance(block, ast.Definition)
    assert (block.doc, block.params[0].name, block.body) == ("Doc.", "p", ())
    assert isinstance(short, ast.Configuration)
    assert isinstance(long, ast.Configuration)
    assert (short.body, len(long.body), type(long.value)) == ((), 1, ast.Call)


def test_soft_keywords() -> None:
    statements = body(
        "output = x -> output: linear(1, bias=false) -> state: relu\ngate: [B] = target\nfor, if = over\n"
        "y = input + cell - weight * from\nskip = scan[within=1]"
    )
    assert [type(s).__name__ for s in statements] == ["BindStmt"] * 5
    assert [t.text for t in statements[2].targets] == ["for", "if"]


def test_comments_and_blank_text() -> None:
    tree = file("# one\nblock A { # two\r\n\toutput x # three \n}\n#four")
    assert [(c.text, c.own_line) for c in tree.comments] == [
        ("# one", True),
        ("# two", False),
        ("# three", False),
        ("#four", True),
    ]
    assert file("").items == ()
    assert file("\n# only\n").items == ()


def nodes(node: Any) -> Iterator[ast.Node]:
    """Every node of a tree."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Node):
            yield part
            waiting += [getattr(part, f.name) for f in dataclasses.fields(part) if f.name != "span"]
        elif isinstance(part, tuple):
            waiting += part


def parents(tree: ast.Node) -> Iterator[tuple[ast.Node, ast.Node]]:
    for node in nodes(tree):
        for f in dataclasses.fields(node):
            inner = getattr(node, f.name)
            for child in inner if isinstance(inner, tuple) else (inner,):
                if isinstance(child, ast.Node):
                    yield node, child


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_spans(path: Path) -> None:
    """A node's text is its own: it starts and ends with a token, holds its parts, and reads as the node alone does."""
    tree = file(path.read_text(encoding="utf-8"))
    for parent, child in parents(tree):
        assert parent.span.start <= child.span.start <= child.span.end <= parent.span.end, (parent, child)
    for node in nodes(tree):
        text = node.span.text
        if isinstance(node, ast.Ident):
            assert text == node.text + "'" * node.primed
        elif isinstance(node, ast.Number):
            assert text == node.text
        elif isinstance(node, ast.Name):
            assert text.strip("`'") == node.text
        elif isinstance(node, ast.String):
            assert text[0] == text[-1] == '"'
        elif isinstance(node, ast.Expr) and not isinstance(node, ast.Range) and "#" not in text:
            assert value(text) == node
        elif isinstance(node, ast.Stage) and "#" not in text:
            assert value(f"x -> {{ {text} }}").stages[0].stages[0] == node
        elif isinstance(node, ast.Stmt) and not isinstance(node, ast.Setting | ast.Phase):
            assert body(text)[0] == node
        elif not isinstance(node, ast.File | ast.Comment):
            assert text == text.strip() != ""
