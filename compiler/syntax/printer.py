"""Trees to canonical text: `print_file`, `format_source` and, for one node, `unparse`.

Two spaces of indentation, lines of 100 characters. A chain keeps the line breaks that its author gave it, if every line
fits, and otherwise takes one line a stage. Braces stay on one line where they fit and were so written. Blank lines
are kept, one at most; comments stay with what they stand at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..source import Source
from . import ast
from .layout import INDENT, Layout
from .parser import parse
from .unparse import ARITH, OPERAND, POSTFIX, TEST, at, commas, settings, string, unparse

__all__ = ["format_source", "print_file", "unparse"]


def format_source(source: Source) -> str:
    """The source in canonical form; ArchError where it does not parse."""
    return print_file(parse(source))


def print_file(file: ast.File) -> str:
    """The text of a file: parsing it gives an equal tree."""
    printer = _Printer(file)
    return printer.file(file)


class _Printer(Layout):
    """Prints declarations and statements; Layout prints what stands in them."""

    def file(self, file: ast.File) -> str:
        lines: list[str] = []
        documented = any(getattr(item, "doc", None) is not None for item in file.items[:1])
        if file.doc is not None or documented:
            self.flush(self.source.text.find('"""'), 0, lines)
            lines += f'"""{file.doc or ""}"""'.split("\n")
            self.trailing(self._doc_end(file), lines)
            self.last = self._doc_end(file)
        self.sequence(file.items, 0, lines, self.item)
        self.flush(len(self.source.text) + 1, 0, lines)
        return "\n".join(line.rstrip() if not line.endswith('"""') else line for line in lines) + "\n" if lines else ""

    def _doc_end(self, file: ast.File) -> int:
        start = self.source.text.find('"""')
        return start + len(file.doc or "") + 6 if start >= 0 else 0

    def sequence(
        self, nodes: Sequence[Any], indent: int, lines: list[str], printed: Callable[[Any, int], list[str]]
    ) -> None:
        """Nodes one below the other, with the comments and the blank lines between them."""
        long = False
        for i, node in enumerate(nodes):
            if long and lines[-1] and self.next < len(self.starts) and self.starts[self.next] < node.span.start:
                lines.append("")
                long = False
            self.flush(node.span.start, indent, lines)
            gap = self.gap(self.last, node.span.start)
            self.last = node.span.start
            text = printed(node, indent)
            hoisted: list[str] = []
            self.flush(node.span.end, indent, hoisted)
            large = indent == 0 and len(text) > 1
            if lines and (gap or (i and (large or long) and not _comment(lines[-1]))) and lines[-1]:
                lines.append("")
            long = large
            lines += hoisted + text
            self.trailing(node.span.end, lines)
            self.last = max(self.last, node.span.end)

    # ------------------------------------------------------------ declarations

    def item(self, node: ast.Item, indent: int) -> list[str]:
        doc = getattr(node, "doc", None)
        lines = f'"""{doc}"""'.split("\n") if doc is not None else []
        match node:
            case ast.Import():
                return [f"import {unparse(node.path)} use {commas(node.names)}"]
            case ast.Func():
                head = self.head(f"func {node.name.text}", node.params, " =", always=True)
                return [*head[:-1], *self.value(head[-1] + " ", node.value, 0)]
            case ast.Definition():
                head = self.head(f"{node.kind} {node.name.text}", node.params, " {")
                return [*lines, *self.body(head, node.body, 0, node)]
            case ast.Configuration():
                text = f"{node.kind} {node.name.text} = "
                if not node.body:
                    return [*lines, *self.value(text, node.value, 0)]
                head = self.value(text, node.value, 0, tail=2)
                head[-1] += " {"
                return [*lines, *self.body(head, node.body, 0, node)]
            case ast.Train():
                head = [f"train {at(node.target, POSTFIX)} on {at(node.data, POSTFIX)} {{"]
                return self.body(head, node.body, 0, node)
        raise TypeError(f"not a declaration: {type(node).__name__}")

    def head(self, start: str, params: tuple[ast.Param, ...], end: str, always: bool = False) -> list[str]:
        """`network Name(a: int, b: int) {`, one parameter a line where it is too long."""
        if not params and not always:
            return [start + end]
        flat = f"{start}({commas(params)}){end}"
        if len(flat) <= self.width or not params:
            return [flat]
        inner = [" " * INDENT + unparse(p) + "," for p in params]
        return [start + "(", *inner, ")" + end]

    def body(self, head: list[str], body: tuple[Any, ...], indent: int, node: ast.Node) -> list[str]:
        """A head that ends in `{`, the statements, and `}`; on one line where it fits and was so written."""
        if not body and not self.comments_in(node.span):
            return [*head[:-1], head[-1] + "}"]
        if len(head) == 1 and not self.broken(body, node) and all(map(_short, body)):
            flat = f"{head[0]} {'  '.join(self.flat(s) for s in body)} }}"
            if indent + len(flat) <= self.width:
                return [flat]
        lines = list(head)
        if body:
            self.trailing(self.brace(body[0]), lines)
        inside: list[str] = []
        self.last = body[0].span.start if body else node.span.end
        self.sequence(body, indent + INDENT, inside, self.statement)
        self.flush(node.span.end, indent + INDENT, inside)
        return [*lines, *inside, " " * indent + "}"]

    def flat(self, node: ast.Node) -> str:
        """A statement that is known to be short, on one line."""
        return "\n".join(self.statement(node, 0)).strip()

    # ------------------------------------------------------------ statements

    def statement(self, node: Any, indent: int) -> list[str]:
        lines = self._statement(node, indent)
        return [" " * indent + lines[0], *lines[1:]]

    def _statement(self, node: Any, indent: int) -> list[str]:
        """The lines; the first lacks its indentation."""
        match node:
            case ast.InputStmt():
                return [f"{node.role} {node.name.text}: {unparse(node.shape)}"]
            case ast.ParamStmt():
                head = f"param {unparse(node.name)}: {unparse(node.shape)}"
                return self.value(f"{head} = ", node.init, indent) if node.init else [head]
            case ast.ConstStmt():
                kind = "buffer" if node.buffer else "const"
                return self.value(f"{kind} {node.name.text}: {unparse(node.shape)} = ", node.value, indent)
            case ast.SampleStmt():
                return [f"sample {node.name.text} ~ {at(node.distribution, POSTFIX)}: {unparse(node.shape)}"]
            case ast.BindStmt():
                shape = f": {unparse(node.shape)}" if node.shape else ""
                return self.value(f"{commas(node.targets)}{shape} = ", node.value, indent)
            case ast.ModuleStmt():
                return self.value(f"module {unparse(node.name)} = ", node.value, indent)
            case ast.GateStmt():
                bounds = f" in {unparse(node.bounds)}" if node.bounds else ""
                return self.value(f"gate {node.name.text}{bounds} = ", node.value, indent)
            case ast.StateStmt():
                return [f"state {node.name.text}: {unparse(node.shape)}"]
            case ast.OutputStmt():
                name = f"{node.name.text} = " if node.name else ""
                return self.value(f"output {name}", node.value, indent)
            case ast.LossStmt():
                weight = f" weight {at(node.weight, TEST)}" if node.weight else ""
                over = f" over {commas(node.over)}" if node.over else ""
                return self.value(f"loss {node.name.text}{weight}{over} = ", node.value, indent)
            case ast.PlayerStmt():
                return self.value(f"{node.role} {node.name.text} = ", node.value, indent)
            case ast.ForStmt():
                head = f"for {commas(node.targets)} in {at(node.iterable, OPERAND)} {{"
                return self.body([head], node.body, indent, node)
            case ast.IfStmt():
                return self.conditional(node, indent)
            case ast.EntryStmt():
                return self.body([f"entry {node.name.text} {{"], node.body, indent, node)
            case ast.Phase():
                return self.body([f"phase {node.name.text} {{"], node.body, indent, node)
            case ast.InitStmt():
                return self.value(f"init {node.layer.text}.{node.weight.text} = ", node.value, indent)
            case ast.PretrainedStmt():
                return self.value(f"pretrained {node.name.text} = ", node.value, indent)
            case ast.NamesStmt():
                return self.table(node, indent)
            case ast.Setting():
                return [unparse(node)]
            case ast.BiasStmt() | ast.ExpectStmt() | ast.PairStmt():
                return [_claim(node)]
        raise TypeError(f"not a statement: {type(node).__name__}")

    def conditional(self, node: ast.IfStmt, indent: int) -> list[str]:
        """`if … { … } else { … }`: on one line only where all of it is."""
        head = f"if {at(node.condition, TEST)} {{"
        if not node.no:
            return self.body([head], node.yes, indent, node)
        chained = len(node.no) == 1 and isinstance(node.no[0], ast.IfStmt)
        if not self.written_on_lines(node) and not chained and all(map(_short, node.yes + node.no)):
            bodies = ["  ".join(self.flat(s) for s in body) for body in (node.yes, node.no)]
            flat = f"{head} {bodies[0]} }} else {{ {bodies[1]} }}"
            if indent + len(flat) <= self.width:
                return [flat]
        return self._on_lines(node, indent)

    def _on_lines(self, node: ast.IfStmt, indent: int) -> list[str]:
        """A conditional on several lines, and so every `else if` of it."""
        lines = [f"if {at(node.condition, TEST)} {{", *self._block(node.yes, indent)]
        if not node.no:
            return [*lines, " " * indent + "}"]
        if len(node.no) == 1 and isinstance(node.no[0], ast.IfStmt):
            rest = self._on_lines(node.no[0], indent)
            return [*lines, " " * indent + "} else " + rest[0], *rest[1:]]
        return [*lines, " " * indent + "} else {", *self._block(node.no, indent), " " * indent + "}"]

    def _block(self, body: tuple[Any, ...], indent: int) -> list[str]:
        lines: list[str] = []
        if body:
            self.last = body[0].span.start
            self.sequence(body, indent + INDENT, lines, self.statement)
            self.flush(self.closing(body[-1].span.end), indent + INDENT, lines)
        return lines

    def table(self, node: ast.NamesStmt, indent: int) -> list[str]:
        """A table of names, its columns aligned."""
        wide = max((len(string(rule.theirs.value)) for rule in node.rules), default=0)

        def rule_line(rule: ast.KeyRule, inner: int) -> list[str]:
            theirs = string(rule.theirs.value).ljust(min(wide, 48))
            return [" " * inner + " ".join([theirs, "=", string(rule.ours.value), *map(unparse, rule.options)])]

        lines = [f"names {unparse(node.scheme)} {{"]
        inside: list[str] = []
        self.last = node.rules[0].span.start if node.rules else node.span.end
        self.sequence(node.rules, indent + INDENT, inside, rule_line)
        self.flush(node.span.end, indent + INDENT, inside)
        return [*lines, *inside, " " * indent + "}"] if inside else [lines[0] + "}"]


def _comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _short(node: Any) -> bool:
    """Whether the statement is one line's worth: it holds no statements of its own."""
    return not isinstance(node, ast.ForStmt | ast.IfStmt | ast.EntryStmt | ast.NamesStmt | ast.Phase)


def _claim(node: ast.BiasStmt | ast.ExpectStmt | ast.PairStmt) -> str:
    match node:
        case ast.BiasStmt():
            text = f"bias {node.claim.text}{settings(node.arguments) if node.arguments else ''}"
            text += f" on {at(node.value, TEST)}" if node.value else ""
            text += f" over {commas(node.axes)}" if node.axes else ""
            return text + " assumed" * node.assumed
        case ast.ExpectStmt():
            text = f"expect {at(node.left, ARITH)} {node.relation} {at(node.right, ARITH)}"
            return text + (f" within {at(node.tolerance, POSTFIX)}%" if node.tolerance else "")
    extra = f" with {settings(node.extra)}" if node.extra else ""
    on = ", ".join(map(unparse, node.on))
    return f"pair {node.first.text} vs {node.second.text} on ({on}){extra} by {at(node.objective, POSTFIX)}"
