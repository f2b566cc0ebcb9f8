"""Figures as files: what a hostile name cannot do, each format, and what can go wrong. `dot` is really run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import draw_graphs as graphs
import pytest
from archlang.compiler.diagnostics import ArchError, explain
from archlang.compiler.draw import THEMES, output, render
from archlang.compiler.draw.style import ROLES, contrast
from archlang.compiler.graph import Graph, Kind, Node, Program, Ref
from archlang.compiler.types import tensor
from cli_harness import needs_dot
from draw_harness import PROGRAMS, by_class, figure, svg_of, written

# Hostile text

HOSTILE = (
    'a"b',
    "<script>alert(1)</script>",
    "</svg><img src=x onerror=alert(1)>",
    "a&amp;b&lt;",
    r"back\slash \N \G \l",
    "line\nbreak\r\ttab\x00nul\x1b[31m",
    "]]>--><!--",
    "end",
    "a];b[label=x]",
    'x"];evil -> node;"',
    "🙂 émoji ‖",
    "#quot; #35; %%{init}%%",
    "`1. list`",
    "{{svg}}",
    "'single'",
    "\u2028\ud7ff\ufffe",
)


def hostile_program(text: str) -> Program:
    inner = Graph(text, "block", {"argument": text, text: text})
    number = inner.add(Node(Kind.INPUT, (tensor("B 4"),), text))
    inner.add(Node(Kind.OUTPUT, (tensor("B 4"),), text), [Ref(number)])
    b = graphs.Builder(text, "network", size=text)
    x = b.input(text, "B 4")
    y = b.op("linear", x, label=text, level="plain", out=4)
    y = b.op("linear", y, label=text, level=text or "level", out=4)
    y = b.op("linear", y, label="c", level=text, out=4)
    y = b.call(inner, y, label=text)
    b.output(b.skip(y, x), text)
    return Program(text, b.graph, doc=text)


def elements(svg: ElementTree.Element) -> list[str]:
    """The tags of all that is drawn. A name of which nothing can be printed makes no title; text may fall into runs."""
    return sorted(e.tag for e in svg.iter() if not e.tag.endswith(("text", "path", "title")))


def shown(text: str) -> str:
    """What a reader should see of a name."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@needs_dot
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("depth", [0, 3])
def test_hostile_names_are_data_in_svg(text: str, depth: int) -> None:
    program = hostile_program(text)
    plain = svg_of(hostile_program("plain_name"), depth=depth)
    svg = svg_of(program, depth=depth)
    assert elements(svg) == elements(plain)
    assert {e.get("id") for e in by_class(svg, "node")} == set(figure(program, depth).items)
    assert shown(text)[:20].replace(" ", "") in written(svg).replace(" ", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_data_in_mermaid(text: str) -> None:
    check_mermaid(render(hostile_program(text), "mermaid"))


@needs_dot
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_data_in_html(text: str) -> None:
    made = render(hostile_program(text), "html", depth=3)
    assert len(re.findall(r"<script", made)) == 2 and made.count("</script>") == 2 and made.count("</svg>") == 1
    assert "onerror=alert(1)>" not in made
    details = json.loads(re.search(r'id="details">(.*?)</script>', made, re.DOTALL)[1])  # type: ignore[index]
    assert any(shown(text)[:20] in entry["title"] for entry in details.values())


# Formats


def check_mermaid(text: str) -> None:
    """Every line is one that Mermaid knows, what links name exists, frames are closed."""
    lines = text.splitlines()
    assert lines[0] == lines[2] == "---" and lines[3] == "flowchart TB"
    assert isinstance(json.loads(lines[1].removeprefix("title: ")), str)
    label = r'"(?:[A-Za-z0-9 ,/()=]|#\d+;|<br>|[^\x00-\x7f])+"'
    name = r"[a-z]\w*"
    defined: set[str] = set()
    open_frames = 0
    for line in lines[4:]:
        line = line.strip()
        if found := re.fullmatch(rf"subgraph ({name})\[{label}\]", line):
            open_frames += 1
        elif line == "end":
            open_frames -= 1
        elif found := re.fullmatch(rf"({name})(?:\[{label}\]|\(\[{label}\]\)|\(\({label}\)\))", line):
            defined.add(found[1])
        elif found := re.fullmatch(rf"({name}) (?:-->|==>|--o|-\.->)(?:\|{label}\|)? ({name})", line):
            assert {found[1], found[2]} <= defined
        elif found := re.fullmatch(rf"class ({name}(?:,{name})*) role_\w+", line):
            assert set(found[1].split(",")) <= defined
        else:
            assert re.fullmatch(r"classDef role_\w+ fill:#[0-9a-f]{6},stroke:#[0-9a-f]{6},color:#[0-9a-f]{6}", line), (
                line
            )
    assert open_frames == 0


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("depth", [None, 0, 1, 5])
def test_mermaid(name: str, depth: int | None) -> None:
    check_mermaid(render(PROGRAMS[name](), "mermaid", depth=depth))


@needs_dot
@pytest.mark.parametrize(("format", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_binary_formats_twice_the_same(format: str, magic: bytes) -> None:
    made = render(graphs.lenet(), format)
    assert isinstance(made, bytes) and made.startswith(magic)
    assert made == render(graphs.lenet(), format)


@needs_dot
def test_html_works_offline_in_both_schemes() -> None:
    made = render(graphs.lenet(), "html")
    assert '<meta charset="utf-8">' in made and "prefers-color-scheme: dark" in made
    assert set(re.findall(r"https?://[^\"' ]+", made)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.findall(r"\{\{\w+\}\}", made)
    assert "prefers-color-scheme" not in render(graphs.lenet(), "html", theme="print")


@needs_dot
def test_every_colour_of_the_page_has_a_dark_one() -> None:
    made = render(graphs.inception(), "html")
    drawn = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', made[made.index("<svg") :]))
    assert drawn and all(f'[fill="{colour}"]' in made for colour in drawn)


@pytest.mark.parametrize("name", THEMES)
def test_text_stands_out(name: str) -> None:
    theme = THEMES[name]
    assert set(theme.fills) == set(ROLES)
    for fill in (*theme.fills.values(), *theme.clusters, theme.background):
        assert contrast(theme.text, fill) >= 4.5
        assert contrast(theme.muted, fill) >= 4.5
    for line in theme.lines.values():
        assert contrast(line.colour, theme.background) >= 3


def test_light_colours_are_told_apart_by_the_page() -> None:
    light = THEMES["light"]
    colours = [*light.fills.values(), *light.clusters, light.background, light.text, light.muted]
    assert len(set(colours)) == len(colours)


# What can go wrong


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ArchError) as failure:
        call()
    (diagnostic,) = failure.value.diagnostics
    assert diagnostic.help and explain(diagnostic.code)
    return diagnostic.code


def test_unknown_format_theme_depth() -> None:
    program = graphs.lenet()
    assert code_of(lambda: render(program, "gif")) == "A1231"
    assert code_of(lambda: render(program, theme="drak")) == "A1231"
    assert code_of(lambda: render(program, "dot", depth=-1)) == "A1231"


def test_without_graphviz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_of(lambda: render(graphs.lenet(), "svg")) == "A1230"
    assert render(graphs.lenet(), "mermaid").startswith("---")
    assert render(graphs.lenet(), "dot").startswith("digraph")


def fake_dot(folder: Path, script: str) -> None:
    program = folder / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_graphviz_that_hangs_or_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_dot(tmp_path, "exec /bin/sleep 30")
    monkeypatch.setattr(output, "SECONDS", 0.2)
    assert code_of(lambda: render(graphs.lenet(), "svg")) == "A1233"
    monkeypatch.setattr(output, "SECONDS", 20)
    fake_dot(tmp_path, "echo broken >&2; exit 3")
    with pytest.raises(ArchError, match="broken"):
        render(graphs.lenet(), "svg")


def wide(count: int) -> Program:
    b = graphs.Builder("Wide", "network")
    x = b.input("x", "B 8")
    for i in range(count):
        b.output(b.op("linear", x, label=f"head{i}", out=i + 1), f"y{i}")
    return b.program()


def test_too_large() -> None:
    render(wide(output.MOST_ITEMS // 2 - 1), "dot")
    assert code_of(lambda: render(wide(output.MOST_ITEMS // 2), "dot")) == "A1232"
    program = graphs.resnet((1, 1))
    inner = graphs.Builder("Huge")
    x = inner.input("x", program.graph.type(Ref(0)))
    for i in range(output.MOST_ITEMS):
        inner.op("dropout", x, p=i / 1000)
    inner.output(x)
    b = graphs.Builder("Holder", "network")
    b.output(b.call(inner.graph, b.input("x", program.graph.type(Ref(0)))))
    with pytest.raises(ArchError) as failure:
        render(b.program(), "dot", depth=1)
    assert failure.value.diagnostics[0].help == "open less, with `--depth 0`"
    assert "Huge" in render(b.program(), "dot")


def test_no_torch_and_no_graphviz_until_used() -> None:
    program = (
        "import sys, archlang.compiler.draw; print([m for m in ('torch', 'graphviz', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@needs_dot
@pytest.mark.slow
def test_the_same_under_any_hash_seed() -> None:
    program = (
        "import hashlib, sys\nsys.path.insert(0, sys.argv[1])\nimport draw_graphs\n"
        "from archlang.compiler.draw import render\n"
        "made = [render(draw_graphs.inception(), f) for f in ('svg', 'html', 'mermaid', 'dot')]\n"
        "print(hashlib.sha256(''.join(made).encode()).hexdigest())"
    )
    hashes = set()
    for seed in ("1", "2"):
        run = [sys.executable, "-c", program, str(Path(__file__).parent)]
        environment = {"PYTHONHASHSEED": seed, "PATH": os.environ["PATH"]}
        done = subprocess.run(run, capture_output=True, text=True, check=True, env=environment)
        hashes.add(done.stdout)
    assert len(hashes) == 1
