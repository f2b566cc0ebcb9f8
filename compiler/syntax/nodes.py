"""From rules to nodes: one function a rule of the grammar, `on_` and its name, with the rule's children in order."""

from __future__ import annotations

from typing import Any

from ..source import Span
from . import ast
from .literals import Literals

_DEEPER = """
unary binary call attribute index list tuple comprehension choice pipe type supplied supplied_with scan braces repeat
for_stage if_stage skip labelled for_stmt if_stmt else_if entry
"""
DEEPER = frozenset(_DEEPER.split())
"""The rules whose nodes count towards the depth of a tree."""

_DIRECTIONS = {"scan": "forward", "reverse": "reverse", "bidirectional": "bidirectional"}
_FOREIGN_VALUES = {"True": "true", "False": "false", "None": "none", "null": "none", "nil": "none"}
_DTYPES = ("float", "int", "bool")


class _Doc:
    """A docstring on its way to what it documents."""

    def __init__(self, text: str, span: Span) -> None:
        self.text, self.span = text, span


class Nodes(Literals):
    """Builds the tree of one source and collects what is wrong with it."""

    # ------------------------------------------------------------ files

    def on_doc(self, at: Span, text: str) -> _Doc:
        return _Doc(text[3:-3], at)

    def on_file(self, at: Span, *parts: Any) -> ast.File:
        from dataclasses import replace

        doc: str | None = None
        waiting: _Doc | None = None
        items: list[Any] = []
        for i, part in enumerate(parts):
            if isinstance(part, _Doc):
                if i == 0:
                    doc = part.text or None
                    continue
                self._lonely_doc(waiting)
                waiting = part
            elif waiting and isinstance(part, ast.Definition | ast.Configuration):
                items.append(replace(part, doc=waiting.text, span=waiting.span.to(part.span)))
                waiting = None
            else:
                self._lonely_doc(waiting)
                waiting = None
                items.append(part)
        self._lonely_doc(waiting)
        whole = self.span(0, len(self.source.text))
        return ast.File(tuple(items), doc, tuple(self.comments), span=whole)

    def _lonely_doc(self, doc: _Doc | None) -> None:
        if doc:
            self.report(
                "A0120",
                "this docstring documents nothing",
                doc.span,
                "a docstring stands at the top of the file, or right before a block, cell, network or adversarial; "
                "elsewhere write a comment with `#`",
            )

    def on_import(self, at: Span, path: ast.String, *names: ast.Ident) -> ast.Import:
        return ast.Import(path, names, span=at)

    def on_func(self, at: Span, name: ast.Ident, params: tuple, value: ast.Expr) -> ast.Func:
        return ast.Func(name, params, value, span=at)

    def on_definition(self, at: Span, kind: str, name: ast.Ident, params: tuple | None, body: tuple) -> ast.Definition:
        return ast.Definition(kind, name, params or (), body, span=at)

    def on_configuration(
        self, at: Span, kind: str, name: ast.Ident, value: ast.Expr, body: tuple | None
    ) -> ast.Configuration:
        if isinstance(value, ast.Name):
            value = ast.Call(value, (), span=value.span)
        if not isinstance(value, ast.Call):
            self.report(
                "A0101",
                f"`{kind} {name.text} = …` takes a {kind} with its settings, found `{value.span.text}`",
                value.span,
                f"write `{kind} {name.text} = Base(setting=value)`",
            )
            value = ast.Call(value, (), span=value.span)
        return ast.Configuration(kind, name, value, body or (), span=at)

    def on_train(self, at: Span, target: ast.Expr, data: ast.Expr, *body: Any) -> ast.Train:
        return ast.Train(target, data, body, span=at)

    def on_reference(self, at: Span, value: ast.Expr) -> ast.Expr:
        return value

    def on_params(self, at: Span, *params: ast.Param) -> tuple:
        return params

    def on_param(self, at: Span, name: str, type: ast.TypeRef, default: ast.Expr | None) -> ast.Param:
        return ast.Param(name, type, default, span=at)

    def on_type(self, at: Span, name: str, argument: ast.TypeRef | None) -> ast.TypeRef:
        return ast.TypeRef(name, argument, span=at)

    def on_ident(self, at: Span, text: str) -> ast.Ident:
        return ast.Ident(text, span=at)

    def on_primed(self, at: Span, text: str) -> ast.Ident:
        return ast.Ident(text[:-1], True, span=at)

    def on_names(self, at: Span, *names: ast.Ident) -> tuple:
        return names

    # ------------------------------------------------------------ statements

    def on_body(self, at: Span, *body: ast.Stmt) -> tuple:
        return body

    def on_input(self, at: Span, role: str, name: ast.Ident, shape: ast.Shape) -> ast.InputStmt:
        return ast.InputStmt(name, shape, role, span=at)

    def on_param_stmt(self, at: Span, name: ast.Template, shape: ast.Shape, init: ast.Expr | None) -> ast.ParamStmt:
        return ast.ParamStmt(name, shape, init, span=at)

    def on_const(self, at: Span, kind: str, name: ast.Ident, shape: ast.Shape, value: ast.Expr) -> ast.ConstStmt:
        return ast.ConstStmt(name, shape, value, kind == "buffer", span=at)

    def on_sample(self, at: Span, name: ast.Ident, distribution: ast.Expr, shape: ast.Shape) -> ast.SampleStmt:
        return ast.SampleStmt(name, distribution, shape, span=at)

    def on_bind(self, at: Span, *parts: Any) -> ast.BindStmt:
        *targets, value = parts
        for target in targets:
            if target.primed and len(targets) > 1:
                self.report(
                    "A0119",
                    f"`{target.text}'` is bound together with other names",
                    target.span,
                    f"give the next value of a state a line of its own: `{target.text}' = …`",
                )
        return ast.BindStmt(tuple(targets), value, span=at)

    def on_shaped_bind(self, at: Span, target: ast.Ident, shape: ast.Shape, value: ast.Expr) -> ast.BindStmt:
        return ast.BindStmt((target,), value, shape, span=at)

    def on_module(self, at: Span, name: ast.Template, value: ast.Expr) -> ast.ModuleStmt:
        return ast.ModuleStmt(name, value, span=at)

    def on_gate(self, at: Span, name: ast.Ident, bounds: ast.ListExpr | None, value: ast.Expr) -> ast.GateStmt:
        return ast.GateStmt(name, value, bounds, span=at)

    def on_state(self, at: Span, name: ast.Ident, shape: ast.Shape) -> ast.StateStmt:
        return ast.StateStmt(name, shape, span=at)

    def on_for_stmt(self, at: Span, targets: tuple, iterable: ast.Expr, body: tuple) -> ast.ForStmt:
        return ast.ForStmt(targets, iterable, body, span=at)

    def on_if_stmt(self, at: Span, condition: ast.Expr, yes: tuple, no: tuple | None) -> ast.IfStmt:
        return ast.IfStmt(condition, yes, no or (), span=at)

    def on_else_if(self, at: Span, chained: Any) -> tuple:
        return (chained,)

    def on_output(self, at: Span, value: ast.Expr) -> ast.OutputStmt:
        return ast.OutputStmt(None, value, span=at)

    def on_output_named(self, at: Span, name: ast.Ident, value: ast.Expr) -> ast.OutputStmt:
        return ast.OutputStmt(name, value, span=at)

    def on_loss(
        self, at: Span, name: ast.Ident, weight: ast.Expr | None, over: tuple | None, value: ast.Expr
    ) -> ast.LossStmt:
        return ast.LossStmt(name, value, weight, over or (), span=at)

    def on_entry(self, at: Span, name: ast.Ident, body: tuple) -> ast.EntryStmt:
        return ast.EntryStmt(name, body, span=at)

    def on_bias(
        self,
        at: Span,
        claim: ast.Ident,
        arguments: tuple | None,
        value: ast.Expr | None,
        axes: tuple | None,
        assumed: str | None,
    ) -> ast.BiasStmt:
        called = arguments is not None
        return ast.BiasStmt(claim, arguments or (), value, axes or (), assumed is not None, called, span=at)

    def on_expect(self, at: Span, left: ast.Expr, relation: str, right: ast.Expr) -> ast.ExpectStmt:
        return ast.ExpectStmt(left, relation, right, span=at)

    def on_expect_near(self, at: Span, left: ast.Expr, right: ast.Expr, tolerance: ast.Expr) -> ast.ExpectStmt:
        return ast.ExpectStmt(left, "~=", right, tolerance, True, span=at)

    def on_init_rule(self, at: Span, layer: ast.Ident, weight: ast.Ident, value: ast.Expr) -> ast.InitStmt:
        return ast.InitStmt(layer, weight, value, span=at)

    def on_pretrained(self, at: Span, name: ast.Ident, value: ast.Expr) -> ast.PretrainedStmt:
        return ast.PretrainedStmt(name, value, span=at)

    def on_names_table(self, at: Span, scheme: ast.String, *rules: ast.KeyRule) -> ast.NamesStmt:
        return ast.NamesStmt(scheme, rules, span=at)

    def on_key_rule(self, at: Span, theirs: ast.String, ours: ast.String, *options: ast.Expr) -> ast.KeyRule:
        return ast.KeyRule(theirs, ours, options, span=at)

    def on_option_name(self, at: Span, name: str) -> ast.Name:
        return ast.Name(name, span=at)

    def on_option_call(self, at: Span, name: ast.Name, arguments: tuple) -> ast.Call:
        return ast.Call(name, arguments, span=at)

    def on_player(self, at: Span, role: str, name: ast.Ident, value: ast.Expr) -> ast.PlayerStmt:
        return ast.PlayerStmt(role, name, value, span=at)

    def on_pair(
        self, at: Span, first: ast.Ident, second: ast.Ident, on: tuple, extra: tuple | None, objective: ast.Expr
    ) -> ast.PairStmt:
        return ast.PairStmt(first, second, on, extra or (), objective, span=at)

    def on_setting(self, at: Span, key: ast.Ident, values: tuple, excepted: tuple | None) -> ast.Setting:
        return ast.Setting(key, values, (), excepted or (), span=at)

    def on_setting_assigns(self, at: Span, key: ast.Ident, *assignments: ast.Argument) -> ast.Setting:
        return ast.Setting(key, (), assignments, span=at)

    def on_assign(self, at: Span, name: ast.Expr, value: ast.Expr) -> ast.Argument:
        return ast.Argument(self._path(name), value, span=at)

    def _path(self, e: ast.Expr) -> str:
        """A setting's name, or a module's path: `patience`, `layer4.0`, a quoted name."""
        if isinstance(e, ast.Name):
            return e.text
        if isinstance(e, ast.Attribute):
            return f"{self._path(e.value)}.{e.name}"
        self.report("A0125", "only a name can be set", e.span, "such as `patience=3`, or a module's: `layer4.0=1e-4`")
        return ""

    def on_phase(self, at: Span, name: ast.Ident, *body: Any) -> ast.Phase:
        for part in body:
            if isinstance(part, ast.Phase):
                self.report("A0117", "a phase cannot hold another phase", part.span, "let them follow one another")
        return ast.Phase(name, tuple(p for p in body if not isinstance(p, ast.Phase)), span=at)

    def on_tests(self, at: Span, *values: ast.Expr) -> tuple:
        return values

    # ------------------------------------------------------------ values

    def on_pipe(self, at: Span, value: ast.Expr, *stages: ast.Stage) -> ast.Pipe:
        return ast.Pipe(value, stages, span=at)

    def on_choice(self, at: Span, condition: ast.Expr, yes: ast.Expr, no: ast.Expr) -> ast.IfExpr:
        return ast.IfExpr(condition, yes, no, span=at)

    def on_range(self, at: Span, low: ast.Expr, high: ast.Expr) -> ast.Range:
        return ast.Range(low, high, span=at)

    def on_range_from(self, at: Span, low: ast.Expr) -> ast.Range:
        return ast.Range(low, None, span=at)

    def on_range_to(self, at: Span, high: ast.Expr) -> ast.Range:
        return ast.Range(None, high, span=at)

    def on_range_all(self, at: Span) -> ast.Range:
        return ast.Range(None, None, span=at)

    def on_binary(self, at: Span, left: ast.Expr, op: str, right: ast.Expr) -> ast.Binary:
        return ast.Binary(op, left, right, span=at)

    def on_unary(self, at: Span, op: str, operand: ast.Expr) -> ast.Unary:
        return ast.Unary(op, operand, span=at)

    def on_call(self, at: Span, function: ast.Expr, arguments: tuple) -> ast.Call:
        return ast.Call(function, arguments, span=at)

    def on_attribute(self, at: Span, value: ast.Expr, member: str) -> ast.Expr:
        if isinstance(value, ast.Number):
            dot = self.span(value.span.start, value.span.end + 1)
            self.report("A0106", f"`{dot.text}` lacks its decimals", dot, f"write `{value.text}.0` or `{value.text}`")
            line_end = self.source.text.find("\n", at.end)
            self.excused = line_end if line_end >= 0 else len(self.source.text)
        if member[0] == "`":
            return ast.Attribute(value, self.plain(member, at.end - len(member)), span=at)
        if not member[0].isdigit():
            return ast.Attribute(value, member, span=at)
        first, _, second = member.partition(".")  # `a.0.1` is read as `a` `.` `0.1`
        if not (first.isdigit() and (second.isdigit() or "." not in member)):
            self.report("A0106", f"`{member}` is not a place in a sequence", self.span(at.end - len(member), at.end))
        inner = ast.Attribute(value, first, span=self.span(at.start, at.end - len(member) + len(first)))
        return ast.Attribute(inner, second, span=at) if second else inner

    def on_index(self, at: Span, value: ast.Expr, arguments: tuple) -> ast.Index:
        return ast.Index(value, arguments, span=at)

    def on_name(self, at: Span, text: str) -> ast.Name:
        if text[0] == "`":
            return ast.Name(self.plain(text, at.start), span=at)
        if text[-1] == "'":
            return ast.Name(text[:-1], True, span=at)
        if text in _FOREIGN_VALUES:
            meant = _FOREIGN_VALUES[text]
            self.report("A0111", f"there is no `{text}` here", at, f"write `{meant}`", note=f"this is `{meant}`")
        return ast.Name(text, span=at)

    def on_number(self, at: Span, text: str) -> ast.Number:
        return ast.Number(self.number(text, at), text, span=at)

    def on_string(self, at: Span, text: str) -> ast.String:
        return ast.String(self.unescape(text, at), span=at)

    on_text = on_string

    def on_literal(self, at: Span, text: str) -> ast.Expr:
        return ast.NoneLit(span=at) if text == "none" else ast.Bool(text == "true", span=at)

    def on_list(self, at: Span, *items: ast.Expr) -> ast.ListExpr:
        return ast.ListExpr(items, span=at)

    def on_comprehension(
        self, at: Span, value: ast.Expr, targets: tuple, iterable: ast.Expr, condition: ast.Expr | None
    ) -> ast.Comprehension:
        return ast.Comprehension(value, targets, iterable, condition, span=at)

    def on_parens(self, at: Span, value: ast.Expr) -> ast.Expr:
        return value

    def on_tuple(self, at: Span, *items: ast.Expr) -> ast.TupleExpr:
        return ast.TupleExpr(items, span=at)

    def on_values(self, at: Span, *values: ast.Expr) -> tuple:
        return values

    on_settings = on_indices = on_chain = on_values

    def on_argument(self, at: Span, name: str | None, value: ast.Expr) -> ast.Argument:
        return ast.Argument(name, value, span=at)

    on_index_argument = on_argument

    # ------------------------------------------------------------ stages

    def on_labelled(self, at: Span, label: ast.Template, stage: ast.Stage) -> ast.Labelled:
        return ast.Labelled(label, stage, span=at)

    def on_applied(self, at: Span, function: ast.Expr, arguments: tuple | None) -> ast.Apply:
        for argument in arguments or ():
            if isinstance(argument.value, ast.Pipe):
                self.report(
                    "A0114",
                    f"a tensor stands in the settings of `{function.span.text}`",
                    argument.value.span,
                    "parentheses configure, arrows carry data: send tensors along the arrow, several as a tuple "
                    f"`(x, y) -> {function.span.text}`, or by name `{function.span.text} with (name=…)`",
                    note="an arrow makes a tensor",
                )
        return ast.Apply(function, arguments or (), arguments is not None, span=at)

    def on_supplied(self, at: Span, stage: ast.Stage, start: tuple, extra: tuple | None) -> ast.Supplied:
        return ast.Supplied(stage, start, extra or (), span=at)

    def on_supplied_with(self, at: Span, stage: ast.Stage, extra: tuple) -> ast.Supplied:
        return ast.Supplied(stage, (), extra, span=at)

    def on_scan(self, at: Span, direction: str, cell: ast.Stage, axis: ast.Ident) -> ast.Scan:
        return ast.Scan(cell, axis, _DIRECTIONS[direction], span=at)

    def on_braces(self, at: Span, stages: tuple) -> ast.Sequence:
        return ast.Sequence(stages, span=at)

    def on_repeat(self, at: Span, count: ast.Expr, stages: tuple) -> ast.RepeatStage:
        return ast.RepeatStage(count, stages, span=at)

    def on_for_stage(self, at: Span, targets: tuple, iterable: ast.Expr, stages: tuple) -> ast.ForStage:
        return ast.ForStage(targets, iterable, stages, span=at)

    def on_if_stage(self, at: Span, condition: ast.Expr, yes: tuple, no: tuple | None) -> ast.IfStage:
        return ast.IfStage(condition, yes, no or (), span=at)

    def on_skip(self, at: Span, other: ast.Expr | None, by: str | None, stages: tuple) -> ast.Skip:
        if by not in (None, "add", "concat", "mul"):
            self.report("A0101", f"a skip joins by `add`, `concat` or `mul`, found `{by}`", at)
        return ast.Skip(stages, other, by or "add", span=at)

    # ------------------------------------------------------------ shapes

    def on_shape(self, at: Span, dtype: str | None, *axes: ast.AxisDecl) -> ast.Shape:
        if dtype is not None and dtype not in _DTYPES:
            self.report(
                "A0101",
                f"a tensor holds `float`, `int` or `bool`, found `{dtype}`",
                self.span(at.start, at.start + len(dtype)),
                "write `[B, T]`, `int[B, T]` or `bool[B, T]`",
            )
        return ast.Shape(axes, dtype or "float", span=at)

    def on_axis(self, at: Span, size: ast.Expr) -> ast.AxisDecl:
        if isinstance(size, ast.Name) and not size.primed:
            return ast.AxisDecl(size.text, span=at)
        return ast.AxisDecl(None, size, span=at)

    def on_axis_named(self, at: Span, name: str, size: ast.Expr) -> ast.AxisDecl:
        return ast.AxisDecl(name, size, span=at)

    def on_axis_nominal(self, at: Span, name: str, nominal: ast.Expr) -> ast.AxisDecl:
        return ast.AxisDecl(name, None, nominal, span=at)
