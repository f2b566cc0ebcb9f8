"""Statements laid out at 88 columns, as `ruff format` does."""

from __future__ import annotations

import ast
import textwrap
import unicodedata

from .expr import arguments, escape, show, subscript, text

WIDTH = 88
_INDENT = 4


def statement(value: ast.expr, indent: int, target: str = "", comment: tuple[str, ...] = ()) -> list[str]:
    """The lines of `target = value` (or `return value`, or `value` alone; `target` includes the sign), with as much of
    the
    comment as fits."""
    flat = " " * indent + target + _bare(value, target)
    if len(flat) <= WIDTH:
        return [commented(flat, comment)]
    lines = _broken(value, indent, target, "", top=True)
    lines[-1] = commented(lines[-1], comment)
    return [line if len(line) <= WIDTH else f"{line}  # noqa: E501" for line in lines]  # a word too long to break


def header(before: str, value: ast.expr, indent: int) -> list[str]:
    """The lines of `for x in xs:`; `before` goes up to the value."""
    return _lines(value, indent, before, ":")


def _bare(value: ast.expr, target: str) -> str:
    """On one line; the outermost tuple of a return or assignment needs no parentheses."""
    if target and isinstance(value, ast.Tuple) and len(value.elts) > 1:
        return ", ".join(show(e) for e in value.elts)
    return show(value)


def commented(line: str, comment: tuple[str, ...]) -> str:
    """The line with those parts of the comment that fit, the last parts first."""
    kept: list[str] = []
    for part in reversed(comment):
        if part and len(line) + len("  # ") + len("  ".join([part, *kept])) <= WIDTH:
            kept.insert(0, part)
    return f"{line}  # {'  '.join(kept)}" if kept else line


def _lines(value: ast.expr, indent: int, before: str, after: str) -> list[str]:
    """An expression within brackets, on one line if it fits, else broken."""
    flat = " " * indent + before + show(value) + after
    return [flat] if len(flat) <= WIDTH else _broken(value, indent, before, after)


def _broken(value: ast.expr, indent: int, before: str, after: str, *, top: bool = False) -> list[str]:
    pad = " " * indent
    match value:
        case ast.Call() if value.args or value.keywords:
            head = before + show(value.func, 15)
            fits = len(pad + head) + 1 <= WIDTH and not _dangling(value, indent, head)
            if not top or fits or indent + _INDENT + len(show(value)) > WIDTH:
                items: list[tuple[str, ast.expr]] = [("", a) for a in value.args]
                items += [(f"{k.arg}=", k.value) for k in value.keywords]
                one = len(items) == 1 and isinstance(items[0][1], ast.Starred) is False
                return _bracketed(items, ", ".join(arguments(value)), indent, f"{head}(", ")" + after, comma=not one)
        case ast.Subscript():
            head = before + show(value.value, 15)
            if len(pad + head) + 1 <= WIDTH and not (top and isinstance(value.slice, ast.Constant)):
                return [f"{pad}{head}[", f"{pad}    {subscript(value.slice)}", f"{pad}]{after}"]
        case ast.List() | ast.Tuple():
            left, right = ("[", "]") if isinstance(value, ast.List) else ("(", ")")
            items = [("", e) for e in value.elts]
            flat = "\0" * WIDTH  # a list that does not fit goes one element a line
            return _bracketed(items, flat, indent, before + left, right + after)
        case ast.Dict():
            pairs = zip(value.keys, value.values, strict=True)
            items = [(f"{show(k)}: ", v) for k, v in pairs if k is not None]
            return _bracketed(items, "\0" * WIDTH, indent, before + "{", "}" + after)
        case ast.ListComp():
            loop = value.generators[0]
            tail = f"{pad}    for {show(loop.target)} in {show(loop.iter)}"
            return [f"{pad}{before}[", *_lines(value.elt, indent + _INDENT, "", ""), tail, f"{pad}]{after}"]
        case ast.DictComp():
            loop = value.generators[0]
            tail = f"{pad}    for {show(loop.target)} in {show(loop.iter)}"
            entry = _lines(value.value, indent + _INDENT, f"{show(value.key)}: ", "")
            return [f"{pad}{before}{{", *entry, tail, f"{pad}}}{after}"]
        case ast.Starred():
            return _broken(value.value, indent, before + "*", after)
        case ast.Lambda(body=ast.Constant(value=str() as message)):
            return [f"{pad}{before}lambda: (", *_pieces(message, indent + _INDENT), f"{pad}){after}"]
        case ast.BinOp() | ast.Compare() | ast.BoolOp() if not top:
            return _operators(value, indent, before, after)
    if top and before:
        inner = indent + _INDENT
        flat = " " * inner + show(value)
        body = [flat] if len(flat) <= WIDTH else _broken(value, inner, "", "")
        return [f"{pad}{before}(", *body, f"{pad}){after}"]
    return [pad + before + show(value) + after]


def _dangling(value: ast.Call, indent: int, head: str) -> bool:
    """Whether ruff would rather put the whole call in parentheses: it fits there, and its own would hold next to
    nothing."""
    inside = ", ".join(arguments(value))
    return (
        len(value.args) + len(value.keywords) == 1
        and len(inside) <= _INDENT * 2
        and (indent + _INDENT + len(show(value)) <= WIDTH)
        and " = " in head
    )


def _bracketed(
    items: list[tuple[str, ast.expr]], flat: str, indent: int, head: str, tail: str, *, comma: bool = True
) -> list[str]:
    pad = " " * indent
    inner = indent + _INDENT
    if inner + len(flat) <= WIDTH:
        return [pad + head, " " * inner + flat, pad + tail]
    lines = [pad + head]
    for before, item in items:
        lines += _lines(item, inner, before, "," if comma else "")
    return [*lines, pad + tail]


def _operators(value: ast.BinOp | ast.Compare | ast.BoolOp, indent: int, before: str, after: str) -> list[str]:
    """One operand a line, the operator in front."""
    pad = " " * indent
    parts = _operands(value)
    return [pad + before + parts[0], *(pad + part for part in parts[1:-1]), pad + parts[-1] + after]


def _operands(value: ast.expr) -> list[str]:
    flat = show(value)
    match value:
        case ast.BinOp():
            left, right = value.left, value.right
        case ast.Compare() if len(value.comparators) == 1:
            left, right = value.left, value.comparators[0]
        case _:
            return [flat]
    first = show(left)
    first = first if flat.startswith(first) else f"({first})"
    same = isinstance(left, ast.BinOp) and isinstance(value, ast.BinOp) and not first.startswith("(")
    tail = flat[len(first) + 1 :]
    del right
    return [*(_operands(left) if same else [first]), tail]


def _pieces(message: str, indent: int) -> list[str]:
    """A long string as several that follow one another."""
    room = WIDTH - indent - 2
    words = message.split(" ")
    pieces, line = [], ""
    for i, word in enumerate(words):
        word += " " if i < len(words) - 1 else ""
        while word:
            if line and len(text(line + word)) - 2 > room:
                pieces.append(line)
                line = ""
            cut = len(word)
            while cut > 1 and len(text(word[:cut])) - 2 > room:
                cut -= 1
            if cut < len(word):
                pieces.append(word[:cut])
            else:
                line += word
            word = word[cut:]
    return [" " * indent + text(piece) for piece in [*pieces, *([line] if line else [])]]


def signature(head: str, parameters: list[str], tail: str, indent: int) -> list[str]:
    """The lines of a `def`."""
    pad = " " * indent
    flat = f"{pad}{head}({', '.join(parameters)}){tail}"
    if len(flat) <= WIDTH:
        return [flat]
    inner = " " * (indent + _INDENT)
    one = f"{inner}{', '.join(parameters)}"
    if len(one) <= WIDTH:
        return [f"{pad}{head}(", one, f"{pad}){tail}"]
    comma = "" if parameters == ["*"] else ","
    return [f"{pad}{head}(", *(f"{inner}{p}{comma}" for p in parameters), f"{pad}){tail}"]


def docstring(doc: str, indent: int) -> list[str]:
    """A docstring that says what the spec says, and can't end early."""
    paragraphs = [" ".join(p.split()) for p in doc.replace("\r", "\n").split("\n\n")]
    pad = " " * indent
    lines: list[str] = []
    for paragraph in filter(None, paragraphs):
        safe = escape(paragraph, "", _harmless).replace('"""', "'''")
        wrapped = textwrap.wrap(safe, WIDTH - indent - 3, break_on_hyphens=False)
        lines += ([""] if lines else []) + wrapped
    if not lines:
        return []
    if lines[0].startswith('"'):
        lines[0] = "'" + lines[0][1:]
    last = lines[-1]
    if last.endswith('"'):
        lines[-1] = last[:-1] + "'"
    lines = [f'{pad}"""{lines[0]}', *((pad + line).rstrip() for line in lines[1:])]
    if len(lines) == 1 and len(lines[0]) + 3 <= WIDTH:
        return [lines[0] + '"""']
    return [*lines, f'{pad}"""']


def _harmless(c: str) -> bool:
    return c.isprintable() and unicodedata.east_asian_width(c) not in "WF" and not unicodedata.combining(c)


def comment(value: str) -> str:
    """Text for a comment: one line, printable ASCII."""
    return escape(" ".join(value.split()), "")
