"""Values, chains and braces on several lines, and where comments go."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import Any

from ..source import Span
from . import ast
from .unparse import (
    ARITH,
    OPERAND,
    POSTFIX,
    TEST,
    apply_head,
    at,
    closed,
    header,
    level,
    sides,
    supplies,
    unparse,
)

WIDTH = 100
INDENT = 2
ARROW = 3
"""How far the stages of a broken sequence stand behind their arrows."""

_BLANK = re.compile(r"(?:\s|#[^\n]*+)*+")
_BRACED = ast.Sequence | ast.RepeatStage | ast.ForStage | ast.IfStage | ast.Skip


class Layout:
    """Lines for what does not fit on one. Lists of lines: the first follows what is already on its line, the others
    bring their indentation."""

    def __init__(self, file: ast.File) -> None:
        self.width = WIDTH
        self.source = file.span.source
        self.comments = sorted(file.comments, key=lambda c: c.span.start)
        self.starts = [c.span.start for c in self.comments]
        self.next = 0
        self.last = 0  # where the last thing printed ended in the source

    # ------------------------------------------------------------ comments and blank lines

    def gap(self, start: int, end: int) -> bool:
        """Whether a blank line stood there."""
        return self.source.text.count("\n", start, end) > 1 and "\n\n" in _unindented(self.source.text[start:end])

    def flush(self, before: int, indent: int, lines: list[str]) -> None:
        """Print the comments up to a place, each on a line of its own."""
        while self.next < len(self.comments) and self.starts[self.next] < before:
            comment = self.comments[self.next]
            if lines and lines[-1] and self.gap(self.last, comment.span.start):
                lines.append("")
            lines.append(" " * indent + comment.text)
            self.last = comment.span.end
            self.next += 1

    def trailing(self, end: int, lines: list[str]) -> None:
        """Print the comment that stands behind what was just printed, on its line."""
        if self.next < len(self.comments):
            comment = self.comments[self.next]
            text = self.source.text
            if end <= comment.span.start and not comment.own_line and "\n" not in text[end : comment.span.start]:
                lines[-1] += "  " + comment.text
                self.last = comment.span.end
                self.next += 1

    def comments_in(self, span: Span) -> bool:
        """Whether comments that are still to be printed stand in the span."""
        first = max(self.next, bisect_left(self.starts, span.start))
        return first < len(self.starts) and self.starts[first] < span.end

    def brace(self, first: ast.Node) -> int:
        """Where the brace stands that opens what `first` is the first of."""
        return max(self.source.text.rfind("{", 0, first.span.start) + 1, 0)

    def closing(self, end: int) -> int:
        """Where the brace stands that closes a body whose last part ends at `end`."""
        found = _BLANK.match(self.source.text, end)
        return found.end() if found else end

    def broken(self, inside: tuple[Any, ...], node: ast.Node) -> bool:
        """Whether the author wrote what stands in the node's braces on several lines."""
        if not inside:
            return self.comments_in(node.span)
        return "\n" in self.source.text[self.brace(inside[0]) : node.span.end]

    def written_on_lines(self, node: ast.Node) -> bool:
        return "\n" in node.span.text

    # ------------------------------------------------------------ values

    def value(self, prefix: str, node: ast.Expr, indent: int, tail: int = 0) -> list[str]:
        """A statement's value behind its prefix."""
        lines = self.lay(node, indent + len(prefix), indent, tail)
        return [prefix + lines[0], *lines[1:]]

    def must_break(self, node: ast.Node) -> bool:
        """Whether the node holds braces that were written on several lines, or a comment."""
        return self.comments_in(node.span) or any(self._breaks(part) for part in _nested(node))

    def _breaks(self, node: ast.Node) -> bool:
        if isinstance(node, _BRACED):
            stages = node.yes if isinstance(node, ast.IfStage) else node.stages
            return self.broken(stages, node)
        return False

    def fits(self, node: ast.Node, text: str, column: int, tail: int) -> bool:
        return column + len(text) + tail <= self.width and not self.must_break(node)

    def lay(self, node: Any, column: int, indent: int, tail: int = 0) -> list[str]:
        """The lines of a value whose first line starts at `column`; further lines stand behind `indent`."""
        text = unparse(node)
        if isinstance(node, ast.Pipe):
            rows = self.rows(node.value, node.stages)
            if len(rows) == 1 and self.fits(node, text, column, tail):
                return [text]
            return self.pipe(node, rows, column, indent, tail)
        if self.fits(node, text, column, tail):
            return [text]
        match node:
            case ast.IfExpr():
                return self.choice(node, column, indent, tail)
            case ast.TupleExpr() | ast.ListExpr():
                left, right = ("(", ")") if isinstance(node, ast.TupleExpr) else ("[", "]")
                return self.bracketed(left, node.items, right, indent)
            case ast.Call() | ast.Apply() if node.arguments:
                head = apply_head(node) if isinstance(node, ast.Apply) else at(node.function, POSTFIX)
                row = " " * (indent + INDENT) + ", ".join(map(unparse, node.arguments))
                if len(row) <= self.width and not self.must_break(node):
                    return [f"{head}(", row, " " * indent + ")"]
                return self.bracketed(f"{head}(", node.arguments, ")", indent)
            case ast.Argument():
                name = f"{node.name}=" if node.name is not None else ""
                lines = self.lay(node.value, column + len(name), indent, tail)
                return [name + lines[0], *lines[1:]]
            case ast.Binary():
                return self.binary(node, column, indent, tail)
        return [text]

    def bracketed(self, left: str, items: tuple[Any, ...], right: str, indent: int) -> list[str]:
        """Items between brackets: numbers and the like fill lines, others take one each."""
        inner = indent + INDENT
        lines = [left]
        if items and all(isinstance(i, ast.Number | ast.String | ast.Unary | ast.Name) for i in items):
            row = " " * inner
            for item in items:
                text = unparse(item) + ","
                if len(row) + len(text) > self.width and row.strip():
                    lines.append(row.rstrip())
                    row = " " * inner
                row += text + " "
            lines.append(row.rstrip())
        else:
            for item in items:
                self.flush(item.span.start, inner, lines)
                printed = self.lay(item, inner, inner, 1)
                lines += [" " * inner + printed[0], *printed[1:]]
                lines[-1] += ","
                self.trailing(_past_comma(item), lines)
        return [*lines, " " * indent + right]

    def choice(self, node: ast.IfExpr, column: int, indent: int, tail: int) -> list[str]:
        """`if … then …` and, below it, `else …`."""
        condition = f"if {at(node.condition, TEST)}"
        inner = indent + INDENT
        text = unparse(node.yes) if closed(node.yes) else f"({unparse(node.yes)})"
        no = [" " * inner + "else ", *self.lay(node.no, inner + 5, inner, tail)]
        otherwise = [no[0] + no[1], *no[2:]]
        if self.fits(node.yes, text, column + len(condition) + 6, 0):
            return [f"{condition} then {text}", *otherwise]
        yes = self.lay(node.yes, inner + 5, inner) if closed(node.yes) else self.parens(node.yes, inner)
        return [condition, " " * inner + "then " + yes[0], *yes[1:], *otherwise]

    def parens(self, node: ast.Expr, indent: int) -> list[str]:
        """A value in parentheses, inside them where it takes several lines."""
        text = unparse(node)
        if not self.must_break(node) and indent + len(text) + 2 <= self.width:
            return [f"({text})"]
        inner = indent + INDENT
        lines = self.lay(node, inner, inner)
        return ["(", " " * inner + lines[0], *lines[1:], " " * indent + ")"]

    def operand(self, node: ast.Expr, least: int, column: int, indent: int, tail: int = 0) -> list[str]:
        """An operand, in parentheses where it binds too loosely."""
        if level(node) >= least:
            return self.lay(node, column, indent, tail)
        text = f"({unparse(node)})"
        return [text] if self.fits(node, text, column, tail) else self.parens(node, indent)

    def binary(self, node: ast.Binary, column: int, indent: int, tail: int) -> list[str]:
        """Operands of one operator level, each on a line behind its operator."""
        least_left, least_right = sides(node.op)
        parts: list[tuple[str, ast.Expr]] = []
        left: ast.Expr = node
        while isinstance(left, ast.Binary) and sides(left.op) == (least_left, least_right):
            parts.append((left.op, left.right))
            left = left.left
            if least_left == ARITH and least_right == ARITH:
                break  # comparisons do not chain
        inner = indent + INDENT
        lines = self.operand(left, least_left, column, inner)
        for op, part in reversed(parts):
            printed = self.operand(part, least_right, inner + len(op) + 1, inner, tail)
            lines += [" " * inner + f"{op} {printed[0]}", *printed[1:]]
        return lines

    # ------------------------------------------------------------ chains

    def rows(self, value: ast.Expr | None, stages: tuple[ast.Stage, ...]) -> list[list[ast.Stage]]:
        """The stages line by line, as the author broke them before arrows; the first row may be empty after a value."""
        rows: list[list[ast.Stage]] = [[]]
        before: ast.Node | None = value
        for stage in stages:
            if before is not None and "\n" in self.source.text[before.span.end : stage.span.start]:
                rows.append([])
            rows[-1].append(stage)
            before = stage
        return rows

    def pipe(self, node: ast.Pipe, rows: list[list[ast.Stage]], column: int, indent: int, tail: int) -> list[str]:
        """A value and its arrows: on the rows that the author made, if they fit, or one stage a row."""
        inner = indent + INDENT
        lines = self.operand(node.value, OPERAND, column, indent)
        end = node.value.span.end
        first, *rest = rows
        if first:
            alone = len(lines) == 1 and not rest
            hugged = self.hug(first, column + len(lines[0]) + 4, indent, tail) if alone else None
            if hugged:
                return [f"{lines[0]} -> {hugged[0]}", *hugged[1:]]
            flat = " -> ".join([lines[0], *map(unparse, first)])
            if len(lines) == 1 and column + len(flat) <= self.width and not any(map(self.must_break, first)):
                lines, end = [flat], first[-1].span.end
            else:
                rest = [*([stage] for stage in first), *rest]
        self.trailing(end, lines)
        return lines + self.arrows(rest, inner, tail)

    def arrows(self, rows: list[list[ast.Stage]], indent: int, tail: int) -> list[str]:
        """Rows that start with an arrow."""
        lines: list[str] = []
        for i, row in enumerate(rows):
            self.flush(row[0].span.start, indent, lines)
            last = tail if i == len(rows) - 1 else 0
            printed = self.row(row, indent + ARROW, indent, last, " " * indent + "-> ")
            lines += printed
            self.trailing(row[-1].span.end, lines)
        return lines

    def row(self, row: list[ast.Stage], column: int, indent: int, tail: int, lead: str) -> list[str]:
        """One row behind its lead; where it does not fit, one stage a line."""
        flat = " -> ".join(map(unparse, row))
        if column + len(flat) + tail <= self.width and not any(map(self.must_break, row)):
            return [lead + flat]
        lines: list[str] = []
        for i, stage in enumerate(row):
            self.flush(stage.span.start, indent, lines)
            printed = self.stage(stage, column, indent, tail, column - indent)
            lines += [(lead if i == 0 else " " * (column - ARROW) + "-> ") + printed[0], *printed[1:]]
            if i < len(row) - 1:
                self.trailing(stage.span.end, lines)
        return lines

    def hug(self, row: list[ast.Stage], column: int, indent: int, tail: int) -> list[str] | None:
        """The row on one line, or all but what stands in its last stage's braces; None where that cannot be."""
        *front, last = row
        if any(self.must_break(stage) for stage in front):
            return None
        text = "".join(f"{unparse(stage)} -> " for stage in front)
        flat = text + unparse(last)
        if not self.must_break(last) and column + len(flat) + tail <= self.width:
            return [flat]
        inner = last.stage if isinstance(last, ast.Labelled) else last
        if not isinstance(inner, _BRACED) or len(row) > 3:
            return None
        printed = self.stage(last, column + len(text), indent, tail)
        return [text + printed[0], *printed[1:]] if column + len(text) + len(printed[0]) <= self.width else None

    # ------------------------------------------------------------ stages

    def stage(self, node: ast.Stage, column: int, indent: int, tail: int, pad: int = 0) -> list[str]:
        """The lines of a stage; braces close at `indent`, and what stands in them leaves `pad` for an arrow before."""
        text = unparse(node)
        if self.fits(node, text, column, tail):
            return [text]
        match node:
            case ast.Labelled():
                label = f"{unparse(node.label)}: "
                lines = self.stage(node.stage, column + len(label), indent, tail, pad)
                return [label + lines[0], *lines[1:]]
            case ast.IfStage():
                return self.if_stage(node, indent, pad)
            case ast.Sequence() | ast.RepeatStage() | ast.ForStage() | ast.Skip():
                return self.braces(header(node), node.stages, indent, node.span.end, pad)
            case ast.Apply():
                return self.lay(node, column, indent, tail)
            case ast.Supplied() if not isinstance(node.stage, ast.Scan):
                more = supplies(node)
                lines = self.stage(node.stage, column, indent, tail + len(more), pad)
                return [*lines[:-1], lines[-1] + more]
        return [text]

    def braces(self, head: str, stages: tuple[ast.Stage, ...], indent: int, end: int, pad: int) -> list[str]:
        """A head, `{`, the stages on rows, `}`."""
        lines = [head + "{"]
        if stages:
            self.trailing(self.brace(stages[0]), lines)
        rows = self.rows(None, stages)
        if len(rows) == 1 and len(stages) > 1:
            flat = " -> ".join(map(unparse, stages))
            if indent + INDENT + pad + len(flat) > self.width or any(map(self.must_break, stages)):
                rows = [[stage] for stage in stages]
        arrow = indent + INDENT
        column = arrow + (ARROW if len(rows) > 1 else pad)
        if stages:
            self.flush(stages[0].span.start, column, lines)
            lines += self.row(rows[0], column, column, 0, " " * column)
            self.trailing(rows[0][-1].span.end, lines)
            lines += self.arrows(rows[1:], arrow, 0)
        self.flush(end, column, lines)
        return [*lines, " " * indent + "}"]

    def if_stage(self, node: ast.IfStage, indent: int, pad: int) -> list[str]:
        end = self.closing(node.yes[-1].span.end) if node.yes else node.condition.span.end
        lines = self.braces(header(node), node.yes, indent, end, pad)
        if not node.no:
            return lines
        if len(node.no) == 1 and isinstance(node.no[0], ast.IfStage):
            rest = self.if_stage(node.no[0], indent, pad)
            return [*lines[:-1], lines[-1] + " else " + rest[0], *rest[1:]]
        rest = self.braces("", node.no, indent, node.span.end, pad)
        return [*lines[:-1], lines[-1] + " else " + rest[0], *rest[1:]]


def _past_comma(item: ast.Node) -> int:
    """Behind the comma that follows the item, if one does."""
    text, end = item.span.source.text, item.span.end
    rest = text[end : end + 2].lstrip(" ")
    return text.index(",", end) + 1 if rest.startswith(",") else end


def _unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.split("\n"))


def _nested(node: Any) -> list[ast.Node]:
    """The node and every node below it."""
    found = [node]
    for part in found:  # grows as it is read
        for name in part.__match_args__:
            value = getattr(part, name)
            if isinstance(value, ast.Node):
                found.append(value)
            elif isinstance(value, tuple):
                found.extend(v for v in value if isinstance(v, ast.Node))
    return found
