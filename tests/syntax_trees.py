"""Random trees of every form, for tests of the printer."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from archlang.compiler.source import Source, Span
from archlang.compiler.syntax import ast
from archlang.compiler.syntax.parser import parse

NOWHERE = Span(Source(""), 0, 0)
FREE = ("x", "h2", "conv", "input", "output", "state", "skip", "scan", "repeat", "over", "weight", "by", "from")
QUOTED = ("if", "not", "a.b", "0", "true")
OPERATORS = ("or", "and", "<", "<=", "==", "!=", ">", ">=", "+", "-", "*", "/", "//", "%", "**")
NUMBERS = {text: parse(Source(f"func f() = {text}")).items[0].value for text in ("0", "61_706", "25.6M", "2e-4", "1.5")}  # type: ignore[union-attr]


def make(cls: type, *parts: Any) -> Any:
    return cls(*parts, span=NOWHERE)


class Trees:
    """Draws trees from a source of randomness; `depth` bounds how far they nest."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def one(self, *choices: Callable[[], Any]) -> Any:
        return self.random.choice(choices)()

    def some(self, draw: Callable[[], Any], least: int = 0, most: int = 3) -> tuple:
        return tuple(draw() for _ in range(self.random.randint(least, most)))

    def maybe(self, draw: Callable[[], Any]) -> Any:
        return draw() if self.random.random() < 0.5 else None

    def flag(self) -> bool:
        return self.random.random() < 0.5

    # ------------------------------------------------------------ values

    def word(self) -> str:
        return self.random.choice(FREE)

    def ident(self) -> ast.Ident:
        return make(ast.Ident, self.word())

    def idents(self) -> tuple:
        return self.some(self.ident, 1)

    def name(self) -> ast.Name:
        return make(ast.Name, self.random.choice(FREE + QUOTED))

    def number(self) -> ast.Number:
        return self.random.choice(list(NUMBERS.values()))

    def string(self) -> ast.String:
        return make(ast.String, "".join(self.random.choice('ab "\\\n\t{}#é') for _ in range(self.random.randint(0, 8))))

    def atom(self) -> ast.Expr:
        return self.one(
            self.name,
            self.number,
            self.string,
            lambda: make(ast.Name, self.word(), True),
            lambda: make(ast.Bool, self.flag()),
            lambda: make(ast.NoneLit),
        )

    def value(self, depth: int = 4) -> Any:
        if depth == 0 or self.random.random() < 0.2:
            return self.atom()

        def inner() -> Any:
            return self.value(depth - 1)

        return self.one(
            lambda: make(ast.ListExpr, self.some(inner)),
            lambda: make(ast.TupleExpr, self.some(inner, 1)),
            lambda: make(ast.Comprehension, inner(), self.idents(), inner(), self.maybe(inner)),
            lambda: make(ast.Unary, self.random.choice(("-", "+", "not")), inner()),
            lambda: make(ast.Binary, self.random.choice(OPERATORS), inner(), inner()),
            lambda: make(ast.Binary, self.random.choice(OPERATORS), inner(), inner()),
            lambda: make(ast.IfExpr, inner(), inner(), inner()),
            lambda: make(ast.Range, inner(), inner()),
            lambda: make(ast.Call, inner(), self.arguments(inner)),
            lambda: make(ast.Attribute, self.no_number(inner), self.random.choice(("C", "0", "a b"))),
            lambda: make(ast.Index, inner(), self.indices(inner)),
            lambda: make(ast.Pipe, inner(), self.some(lambda: self.stage(depth - 1), 1)),
        )

    def no_number(self, inner: Callable[[], Any]) -> Any:
        value = inner()
        return self.name() if isinstance(value, ast.Number) else value

    def arguments(self, inner: Callable[[], Any], least: int = 0) -> tuple:
        return self.some(lambda: make(ast.Argument, self.maybe(self.word), inner()), least)

    def indices(self, inner: Callable[[], Any]) -> tuple:
        part = lambda: make(ast.Range, self.maybe(inner), self.maybe(inner)) if self.flag() else inner()  # noqa: E731
        return self.some(lambda: make(ast.Argument, self.maybe(self.word), part()), 1)

    def template(self) -> ast.Template:
        hole = make(ast.Binary, "+", make(ast.Name, "i"), self.number())
        parts = self.random.choice(
            (("conv1",), ("0.x",), ("state",), ("true",), ("a b",), ("layer.", hole, ".w", hole))
        )
        return make(ast.Template, parts)

    # ------------------------------------------------------------ stages

    def apply(self, depth: int) -> ast.Apply:
        def inner() -> Any:
            return self.value(max(depth - 1, 0))

        def setting() -> Any:
            value = inner()
            return self.atom() if isinstance(value, ast.Pipe) else value

        function = self.name()
        if self.flag():
            step = make(ast.Attribute, function, self.random.choice(("w", "0", "a b", "if")))
            function = self.random.choice((step, make(ast.Index, function, self.indices(inner))))
        return make(ast.Apply, function, self.arguments(setting))

    def scan(self, depth: int) -> ast.Scan:
        cell = self.apply(depth)
        cell = make(ast.Labelled, self.template(), cell) if self.flag() else cell
        return make(ast.Scan, cell, self.ident(), self.random.choice(("forward", "reverse", "bidirectional")))

    def stage(self, depth: int) -> ast.Stage:
        bare = self.bare_stage(depth)
        return make(ast.Labelled, self.template(), bare) if self.flag() else bare

    def bare_stage(self, depth: int) -> Any:
        if depth <= 0:
            return self.apply(0)

        def inner() -> Any:
            return self.value(depth - 1)

        def chain() -> tuple:
            return self.some(lambda: self.stage(depth - 1))

        base = self.one(lambda: self.apply(depth), lambda: self.scan(depth))
        return self.one(
            lambda: base,
            lambda: make(ast.Supplied, base, self.arguments(inner), self.arguments(inner, 1)),
            lambda: make(ast.Sequence, chain()),
            lambda: make(ast.RepeatStage, inner(), chain()),
            lambda: make(ast.ForStage, self.idents(), inner(), chain()),
            lambda: make(ast.IfStage, inner(), chain(), chain()),
            lambda: make(ast.Skip, chain(), self.maybe(inner), self.random.choice(("add", "concat", "mul"))),
        )

    # ------------------------------------------------------------ statements

    def axis(self) -> ast.AxisDecl:
        return self.one(
            lambda: make(ast.AxisDecl, self.random.choice(("B", "T", "a.b"))),
            lambda: make(ast.AxisDecl, None, make(ast.Binary, "+", self.name(), self.number())),
            lambda: make(ast.AxisDecl, self.word(), self.value(1)),
            lambda: make(ast.AxisDecl, self.word(), None, self.number()),
        )

    def shape(self) -> ast.Shape:
        return make(ast.Shape, self.some(self.axis), self.random.choice(("float", "int", "bool")))

    def call(self) -> ast.Call:
        return make(ast.Call, self.name(), self.arguments(self.value))

    def key_rule(self) -> ast.KeyRule:
        options = self.some(lambda: self.one(lambda: make(ast.Name, self.word()), self.option), 0, 2)
        return make(ast.KeyRule, self.string(), self.string(), options)

    def option(self) -> ast.Call:
        return make(ast.Call, make(ast.Name, self.word()), self.arguments(self.atom))

    def statement(self, depth: int = 2) -> Any:
        v, i = self.value, self.ident

        def body() -> tuple:
            return self.some(lambda: self.statement(depth - 1))

        nested = (
            lambda: make(ast.ForStmt, self.idents(), v(), body()),
            lambda: make(ast.IfStmt, v(), body(), body()),
            lambda: make(ast.EntryStmt, i(), body()),
        )
        return self.one(
            *(nested if depth else ()),
            lambda: make(ast.InputStmt, i(), self.shape(), self.random.choice(("input", "target"))),
            lambda: make(ast.ParamStmt, self.template(), self.shape(), self.maybe(v)),
            lambda: make(ast.ConstStmt, i(), self.shape(), v(), self.flag()),
            lambda: make(ast.SampleStmt, i(), self.call(), self.shape()),
            lambda: make(ast.BindStmt, self.idents(), v()),
            lambda: make(ast.BindStmt, (make(ast.Ident, self.word(), True),), v()),
            lambda: make(ast.BindStmt, (i(),), v(), self.shape()),
            lambda: make(ast.ModuleStmt, self.template(), v()),
            lambda: make(ast.GateStmt, i(), v(), self.maybe(lambda: make(ast.ListExpr, self.some(v)))),
            lambda: make(ast.StateStmt, i(), self.shape()),
            lambda: make(ast.OutputStmt, self.maybe(i), v()),
            lambda: make(ast.LossStmt, i(), v(), self.maybe(v), self.some(i)),
            lambda: make(ast.BiasStmt, i(), self.arguments(v), self.maybe(v), self.some(i), self.flag()),
            lambda: make(ast.ExpectStmt, v(), self.random.choice(OPERATORS[2:8]), v()),
            lambda: make(ast.ExpectStmt, v(), "~=", v(), v(), True),
            lambda: make(ast.InitStmt, i(), i(), v()),
            lambda: make(ast.PretrainedStmt, i(), v()),
            lambda: make(ast.NamesStmt, self.string(), self.some(self.key_rule)),
            lambda: make(ast.PlayerStmt, self.random.choice(("generator", "discriminator")), i(), v()),
            lambda: make(ast.PairStmt, i(), i(), self.some(v, 1), self.arguments(v), self.call()),
        )

    # ------------------------------------------------------------ files

    def setting(self) -> ast.Setting:
        if self.flag():
            return make(ast.Setting, self.ident(), self.some(self.value, 1), (), self.some(self.value))
        named = self.some(lambda: make(ast.Argument, self.word(), self.value()), 1)
        return make(ast.Setting, self.ident(), (), named)

    def phase(self) -> ast.Phase:
        return make(ast.Phase, self.ident(), self.some(self.setting))

    def param(self) -> ast.Param:
        inner = self.maybe(lambda: make(ast.TypeRef, "int"))
        return make(ast.Param, self.word(), make(ast.TypeRef, "list", inner), self.maybe(self.value))

    def item(self) -> Any:
        kind = self.random.choice(("block", "cell", "network", "adversarial"))
        params = self.some(self.param)
        return self.one(
            lambda: make(ast.Import, self.string(), self.idents()),
            lambda: make(ast.Func, self.ident(), params, self.value()),
            lambda: make(ast.Definition, kind, self.ident(), params, self.some(self.statement), self.maybe(self.doc)),
            lambda: make(ast.Configuration, "network", self.ident(), self.call(), self.some(self.statement, 0, 1)),
            lambda: make(ast.Train, self.name(), self.call(), self.some(lambda: self.one(self.setting, self.phase))),
        )

    def doc(self) -> str:
        return self.random.choice(("A doc.", "two\n  lines"))

    def file(self) -> ast.File:
        return make(ast.File, self.some(self.item), self.maybe(self.doc))
