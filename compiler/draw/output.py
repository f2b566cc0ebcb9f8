"""Writes figures: checks what was asked, runs Graphviz, reports what goes wrong with a code."""

from __future__ import annotations

import re

from ..diagnostics import ArchError, did_you_mean, error
from ..graph import Graph, Kind, Program
from .dot import dot
from .figure import Figure
from .insets import automatic, of_depth
from .mermaid import mermaid
from .scope import TooLarge
from .style import THEMES, Theme

FORMATS = ("svg", "png", "pdf", "dot", "mermaid", "html")
TEXT_FORMATS = ("dot", "mermaid")
SUFFIXES = {".gv": "dot", ".mmd": "mermaid", ".htm": "html"} | {f".{name}": name for name in FORMATS}

MOST_ITEMS = 600
MOST_LINKS = 2_000
SECONDS = 60
_MANY_STEPS = 3
_PNG_DPI = 192


def render(
    program: Program,
    format: str = "svg",
    *,
    depth: int | None = None,
    theme: str = "light",
    parameters: bool = False,
    entry: str | None = None,
    unroll: int | None = None,
) -> str | bytes:
    """The figure of a program: text for svg, dot, mermaid and html, bytes for png and pdf.

    depth: how many levels and blocks are opened, one in another; None opens as many as stay readable. parameters: write
    the number of trained parameters under each layer. entry: an entry of the program to draw instead of its main body.
    unroll: draw the first so many steps of scans and the last, side by side, instead of a cell once with its loops.
    Raises ArchError: A1230 (no `dot`), A1231 (no such format, theme, depth or number of steps), A1232 (too large),
    A1233 (Graphviz failed or took too long), A1235 (no such entry), A1239 (nothing to unroll).
    """
    if format not in FORMATS:
        raise error("A1231", f"no format `{_short(format)}`", help=_choices(format, FORMATS))
    if theme not in THEMES:
        raise error("A1231", f"no theme `{_short(theme)}`", help=_choices(theme, tuple(THEMES)))
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise error("A1231", f"a depth of {_short(depth)} means nothing", help="give 0, 1, 2 … or leave it out")
    if unroll is not None and (isinstance(unroll, bool) or not isinstance(unroll, int) or unroll < 1):
        raise error("A1231", f"{_short(unroll)} steps mean nothing", help="give 1, 2, 3 … or leave it out")
    look = THEMES[theme]
    figure = _figure(program, _graph(program, entry), depth, parameters, unroll)
    match format:
        case "dot":
            return dot(figure, look)
        case "mermaid":
            return mermaid(figure, look)
        case "svg":
            return _svg(figure, look)
        case "html":
            from .page import page

            return page(figure, _svg(figure, look), look)
    return run_dot(dot(figure, look), format)


def run_dot(text: str, format: str) -> bytes:
    """What Graphviz makes of DOT text, within a bounded time. Raises ArchError (A1230, A1233)."""
    import subprocess

    from graphviz.backend import ExecutableNotFound, dot_command, execute

    command = [*dot_command.command("dot", format)]
    if format == "png":
        command.append(f"-Gdpi={_PNG_DPI}")
    try:
        done = execute.run_check(command, input=text.encode(), capture_output=True, quiet=True, timeout=SECONDS)
    except ExecutableNotFound as failure:
        raise error(
            "A1230",
            "the program `dot` of Graphviz was not found",
            help="install Graphviz (`apt install graphviz`, `brew install graphviz`, `conda install graphviz`); "
            "the formats `mermaid` and `dot` work without it",
        ) from failure
    except subprocess.TimeoutExpired as failure:
        raise error(
            "A1233", f"Graphviz took longer than {SECONDS} seconds", help="draw less with a smaller `--depth`"
        ) from failure
    except (subprocess.CalledProcessError, OSError) as failure:
        said = getattr(failure, "stderr", None) or b""
        reason = said.decode(errors="replace").strip().splitlines()
        raise error(
            "A1233",
            "Graphviz failed" + (f": {_short(reason[0], 200)}" if reason else ""),
            help="the formats `mermaid` and `dot` work without it",
        ) from failure
    return _without_dates(done.stdout) if format == "pdf" else done.stdout


def _without_dates(pdf: bytes) -> bytes:
    """The same PDF with its dates set to a fixed one of the same length, so that equal figures are equal files."""
    return re.sub(
        rb"(/(?:Creation|Mod)Date \(D:)([^)]*)\)",
        lambda m: m[1] + b"20000101000000Z"[: len(m[2])].ljust(len(m[2]), b"0") + b")",
        pdf,
    )


def _svg(figure: Figure, theme: Theme) -> str:
    """SVG whose elements carry the figure's own words as titles, without Graphviz' comments."""
    from xml.sax.saxutils import escape

    text = run_dot(dot(figure, theme), "svg").decode()
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    titles = {"figure": figure.title} | {item.id: item.text for item in figure.items.values()}
    titles |= {f"cluster_{group.id}": group.title or f"×{group.times}" for group in figure.groups.values()}

    def titled(found: re.Match[str]) -> str:
        title = titles.get(found[1], "")
        return f"<title>{escape(title)}</title>\n" if title else ""

    return re.sub(r"<title>(.*?)</title>\n", titled, text)


def _graph(program: Program, entry: str | None) -> Graph:
    if entry is None or (entry == program.name and entry not in program.entries):
        return program.graph
    if entry in program.entries:
        return program.entries[entry]
    known = ", ".join(f"`{name}`" for name in program.entries) or "it has none"
    raise error(
        "A1235",
        f"`{program.name}` has no entry `{_short(entry)}`",
        program.span,
        help=did_you_mean(entry, program.entries) or f"its entries: {known}",
    )


def _figure(program: Program, graph: Graph, depth: int | None, parameters: bool, unroll: int | None) -> Figure:
    try:
        if depth is None:
            figure = automatic(program, graph, parameters, MOST_ITEMS, unroll)
        else:
            figure = of_depth(program, graph, depth, parameters, MOST_ITEMS, unroll)
    except TooLarge:
        raise _too_large(program, f"more than {MOST_ITEMS} boxes", depth, unroll) from None
    if len(figure.links) > MOST_LINKS:
        raise _too_large(program, f"more than {MOST_LINKS} edges", depth, unroll)
    if unroll is not None and not figure.unrolled:
        raise _nothing_unrolled(graph, depth)
    return figure


def _nothing_unrolled(graph: Graph, depth: int | None) -> ArchError:
    inside = any(one[n].kind is Kind.SCAN for one in graph.graphs() for n in one)
    if not inside:
        text, help = f"`{graph.name}` runs no cell over an axis: there is nothing to unroll", "leave out `--unroll`"
    else:
        text = f"what could be unrolled of `{graph.name}` lies in closed blocks"
        help = f"open more, with `--depth {(depth or 0) + 1}`"
    return error("A1239", text, graph.span, help=help)


def _too_large(program: Program, what: str, depth: int | None, unroll: int | None) -> ArchError:
    less = f"open less, with `--depth {depth - 1}`" if depth else "put parts of it into blocks or labelled sequences"
    if unroll is not None and unroll > _MANY_STEPS:
        less = f"draw fewer steps: `--unroll {_MANY_STEPS}`"
    return error("A1232", f"the figure of `{program.name}` would have {what}", program.span, help=less)


def _choices(word: object, known: tuple[str, ...]) -> str:
    return did_you_mean(str(word), known) or "known: " + ", ".join(f"`{name}`" for name in known)


def _short(text: object, longest: int = 40) -> str:
    from .words import clean

    return clean(text, longest)
