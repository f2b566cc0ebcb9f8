"""check, compile, render and fmt: what they write, and what they say when something is wrong."""

from __future__ import annotations

import ast
import json
from xml.etree import ElementTree

import pytest
from cli_harness import NET, needs_dot

TWO = NET + NET.replace("network Net(", "network Other(")
UNTIDY = NET.replace("  hidden = x", "  hidden   =   x # why")
BROKEN = NET.replace("-> relu", "-> relu relu")


@pytest.fixture(autouse=True)
def specs(tmp_path):
    for name, text in {"net": NET, "two": TWO, "untidy": UNTIDY, "broken": BROKEN}.items():
        (tmp_path / f"{name}.arch").write_text(text)


# ---------------------------------------------------------------- check


def test_check_names_the_networks(run):
    done = run("check", "net.arch", "two.arch")
    assert done.code == 0
    assert done.out == ("net.arch: ok: Net (67 parameters)\ntwo.arch: ok: Net (67 parameters), Other (67 parameters)\n")
    assert run("check", "two.arch:Other").out == "two.arch: ok: Other (67 parameters)\n"


def test_check_takes_folders_and_shows_everything(run, tmp_path):
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.arch").write_text("nonsense")
    done = run("check", ".")
    assert done.code == 1
    assert "net.arch: ok" in done.out
    assert "broken.arch:3:43" in done.err
    assert ".hidden" not in done.err
    (tmp_path / "empty").mkdir()
    assert "error[A1205]" in run("check", "empty").err


def test_check_json(run):
    done = run("check", "net.arch", "broken.arch", "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert found["ok"] is False
    right, wrong = found["files"]
    assert right == {
        "file": "net.arch",
        "ok": True,
        "networks": [{"name": "Net", "parameters": 67, "contracts": 0, "claims": []}],
        "diagnostics": [],
    }
    (diagnostic,) = wrong["diagnostics"]
    assert diagnostic["severity"] == "error"
    assert diagnostic["place"]["line"] == 3
    assert set(diagnostic) == {"code", "severity", "message", "place", "labels", "help"}
    assert done.err == ""


def test_check_reads_stdin(archc):
    assert archc("check", "-", input=NET).stdout == "<stdin>: ok: Net (67 parameters)\n"
    done = archc("check", "-", input=BROKEN)
    assert done.returncode == 1
    assert "<stdin>:3:43" in done.stderr


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"\xff\xfe\x00", "A0150"), (b"network N {\0}", "A0151"), (b"", None), (b"\xef\xbb\xbf", None)],
)
def test_check_of_what_is_hardly_text(run, tmp_path, content, code):
    (tmp_path / "odd.arch").write_bytes(content)
    done = run("check", "odd.arch")
    assert done.code == (0 if code is None else 1)
    assert code is None or f"error[{code}]" in done.err


def test_an_unknown_network_is_usage(run):
    done = run("compile", "net.arch:Nett")
    assert done.code == 2
    assert "did you mean `Net`?" in done.err
    done = run("compile", "two.arch")
    assert done.code == 2
    assert "`two.arch:Net`" in done.err


# ---------------------------------------------------------------- compile


def test_compile_writes_python_that_runs_alone(run, tmp_path):
    done = run("compile", "net.arch", "-o", "out/net.py")
    assert (done.code, done.out, done.err) == (0, "", "")
    text = (tmp_path / "out" / "net.py").read_text()
    imported = {n.split(".")[0] for n in _imports(text)}
    assert imported == {"torch"}
    assert run("compile", "net.arch").out == text
    import torch

    namespace: dict = {}
    exec(text, namespace)
    assert namespace["Net"]()(torch.zeros(2, 4)).shape == (2, 3)


def _imports(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_compile_takes_parameters(run):
    assert "nn.Linear(8, 5)" in run("compile", "net.arch", "-p", "classes=5").out
    done = run("compile", "net.arch", "-p", "clases=5")
    assert done.code == 1
    assert "did you mean `classes`?" in done.err
    assert run("compile", "net.arch", "-p", "classes").code == 2
    assert "given twice" in run("compile", "net.arch", "-p", "classes=5", "-p", "classes=6").err
    assert run("compile", "net.arch", "-p", "classes=-1").code == 1
    assert run("compile", "net.arch", "-p", "classes=[").code == 2
    assert run("compile", "net.arch", "-p", "classes=__import__").code != 0


def test_compile_to_json_and_graph(run):
    found = json.loads(run("compile", "net.arch", "--emit", "json").out)
    assert found["name"] == "Net"
    assert "fc" in run("compile", "net.arch", "--emit", "graph").out


def test_compile_never_writes_over_the_spec(run, tmp_path):
    done = run("compile", "net.arch", "-o", "./net.arch")
    assert done.code == 2
    assert "error[A1212]" in done.err
    assert (tmp_path / "net.arch").read_text() == NET


def test_compile_to_a_place_that_cannot_be(run, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (".", "file/net.py"):
        done = run("compile", "net.arch", "-o", place)
        assert done.code == 2
        assert "error[A1203]" in done.err


# ---------------------------------------------------------------- render


@needs_dot
def test_render_by_default_writes_svg_named_after_the_network(run, tmp_path):
    done = run("render", "net.arch")
    assert done.code == 0
    assert done.err == "wrote net.svg\n"
    root = ElementTree.parse(tmp_path / "net.svg").getroot()
    assert root.tag.endswith("svg")


@needs_dot
@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("html", b"<!")])
def test_render_other_formats(run, tmp_path, ending, start):
    assert run("render", "net.arch", "-o", f"out.{ending}", "--depth", "2", "--theme", "dark").code == 0
    assert (tmp_path / f"out.{ending}").read_bytes().lower().startswith(start.lower())


def test_render_text_formats_need_no_graphviz(run, tmp_path):
    assert "digraph" in run("render", "net.arch", "--format", "dot", "-o", "-").out
    assert run("render", "net.arch", "-o", "net.mmd").code == 0
    assert "flowchart" in (tmp_path / "net.mmd").read_text()


def test_render_says_what_is_wrong(run):
    assert "error[A1231]" in run("render", "net.arch", "-o", "net.xyz").err
    assert "error[A1235]" in run("render", "net.arch", "--entry", "generat", "--format", "dot", "-o", "-").err
    assert run("render", "net.arch", "--depth", "-1").code == 2


# ---------------------------------------------------------------- fmt


def test_fmt_rewrites_once(run, tmp_path):
    done = run("fmt", "untidy.arch")
    assert done.code == 0
    assert done.out == "reformatted untidy.arch\n"
    text = (tmp_path / "untidy.arch").read_text()
    assert "hidden = x" in text
    assert "# why" in text
    assert run("fmt", "untidy.arch").out == ""
    assert (tmp_path / "untidy.arch").read_text() == text


def test_fmt_check_and_diff_write_nothing(run, tmp_path):
    done = run("fmt", "--check", "net.arch", "untidy.arch")
    assert done.code == 1
    assert done.out == "would reformat untidy.arch\n"
    done = run("fmt", "--diff", "untidy.arch")
    assert done.code == 1
    assert "-  hidden   =   x # why" in done.out
    assert (tmp_path / "untidy.arch").read_text() == UNTIDY
    assert run("fmt", "--check", "net.arch").code == 0


def test_fmt_goes_on_after_a_broken_file(run, tmp_path):
    done = run("fmt", "broken.arch", "untidy.arch")
    assert done.code == 1
    assert "error[A01" in done.err
    assert (tmp_path / "broken.arch").read_text() == BROKEN
    assert "reformatted untidy.arch" in done.out


def test_fmt_of_stdin(archc):
    done = archc("fmt", "-", input=UNTIDY)
    assert done.returncode == 0
    assert "hidden = x" in done.stdout
    again = archc("fmt", "-", "--check", input=done.stdout)
    assert (again.returncode, again.stdout) == (0, "")
    assert archc("fmt", "-", "--check", input=UNTIDY).returncode == 1
    assert archc("fmt", "-", "net.arch", input="").returncode == 2
    assert archc("fmt", "-", input=BROKEN).returncode == 1


def test_fmt_without_a_file(run):
    done = run("fmt", "none.arch")
    assert done.code == 1
    assert "error[A0152]" in done.err


def test_a_narrow_terminal_loses_no_column(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    done = run("show", "lenet5")
    assert done.code == 0
    assert all(said in done.out for said in (" image ", " conv(6,", "61,706", "18.8 kB", " sees "))
