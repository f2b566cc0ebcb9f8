"""The command itself: help, exit codes, colour, completion, and what happens when the world is against it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from archlang.cli import terminal
from archlang.cli.main import COMMANDS, cli, exit_code
from archlang.compiler.diagnostics import Diagnostic, Label, codes, error
from archlang.compiler.source import Source, Span

RIGHT = """\
network Net {
  input x: [B, D=4]
  output x -> linear(3)
}
"""
WRONG = RIGHT.replace("linear(3)", "lineer(3)")


def test_help_lists_every_command_without_importing_them(archc):
    done = archc("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name}\s+\S", done.stdout, re.MULTILINE), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(run, name):
    done = run(name, "--help")
    assert done.code == 0
    assert f"archc {name}" in done.out.split("Examples:")[1]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.name == name
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert all(option.help for option in options), "an option without help"


def test_no_arguments_show_help_and_are_wrong_usage(archc):
    done = archc()
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


def test_version(run):
    from importlib.metadata import version

    assert run("--version").out == f"archc {version('archlang')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chekc"], "Did you mean `check`?"),
        (["frobnicate"], "There is no command `frobnicate`."),
        (["net.arch"], "Did you mean `archc check net.arch`?"),
        (["check"], "Missing argument"),
        (["check", "--jsn", "x.arch"], "No such option"),
        (["compile", "x.arch", "--emit", "cobol"], "is not one of"),
        (["check", "nothing.arch"], "error[A0152]"),
        (["check", "lenet55"], "error[A1202]"),
        (["explain", "A9999"], "error[A1210]"),
        (["explain", "../../etc/passwd"], "error[A1210]"),
        (["ops", "convv"], "did you mean `conv`?"),
        (["specs", "nothing"], "error[A1213]"),
        (["new"], "Name the file to write"),
        (["new", "a.arch", "--template", "imag"], "did you mean `image`?"),
        (["completion", "tcsh"], "is not one of"),
        (["ops", "--ops", "no-such-package"], "error[A1214]"),
    ],
)
def test_wrong_usage_exits_2_with_a_message(run, arguments, said):
    done = run(*arguments)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""
    assert "Traceback" not in done.err


def test_a_wrong_spec_exits_1_and_a_right_one_0(run, tmp_path):
    (tmp_path / "right.arch").write_text(RIGHT)
    (tmp_path / "wrong.arch").write_text(WRONG)
    assert run("check", "right.arch").code == 0
    done = run("check", "wrong.arch")
    assert done.code == 1
    assert "wrong.arch:3:15" in done.err
    assert "did you mean `linear`?" in done.err


def test_exit_code_of_mixed_messages():
    source = Source("x")
    assert exit_code(error("A1203", "m")) == 2
    assert exit_code(error("A0152", "m")) == 2
    assert exit_code(error("A0152", "m", Span(source, 0, 1))) == 1
    assert exit_code(error("A0301", "m", Span(source, 0, 1))) == 1


def test_a_defect_is_reported_as_one_with_exit_70(run, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("boom\x1b[31m")

    monkeypatch.setattr("archlang.cli.explain.codes", broken)
    done = run("explain")
    assert done.code == 70
    assert "error[A1299]: this is a defect in archlang" in done.err
    assert "ZeroDivisionError: boom" in done.err
    assert "\x1b" not in done.err
    assert "Traceback" not in done.err
    monkeypatch.setenv("ARCHLANG_DEBUG", "1")
    done = run("explain")
    assert done.code == 70
    assert "Traceback" in done.err


def test_interrupt_exits_130():
    script = (
        "import os, signal, time\n"
        "from archlang import targets\n"
        "from archlang.cli.main import main\n"
        "targets.stdin_text = lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(60))\n"
        "main(['check', '-'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 130
    assert done.stderr.strip() == "interrupted"


def test_a_closed_pipe_ends_quietly():
    script = f"{sys.executable} -m archlang ops --json | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[0] == "["
    assert done.stdout.splitlines()[-1] in ("0", "141")
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_is_a_message():
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "archlang", "ops"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert "error[A1203]" in done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_colour_only_where_it_is_wanted(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert terminal.coloured(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.coloured(Terminal())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert terminal.coloured(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not terminal.coloured(Terminal())


def test_coloured_text_says_the_same():
    source = Source("first line\n  x -> conv\n", "net.arch")
    diagnostic = Diagnostic(
        "A0301", "no", Span(source, 13, 14), (Label(Span(source, 0, 5), "from here"),), "do this", underline="so"
    )
    plain, painted = terminal.draw(diagnostic, False), terminal.draw(diagnostic, True)
    assert re.sub(r"\033\[[\d;]*m", "", painted) == plain
    assert "\033[1;31merror[A0301]\033[0m" in painted
    assert "\033[1;31m^ so\033[0m" in painted


def test_a_file_cannot_steer_the_terminal(run, tmp_path):
    (tmp_path / "evil.arch").write_text("network N { input x: [B]\n output x -> `\x1b[2J\x07`: relu }\n")
    done = run("check", "evil.arch")
    assert "\x1b" not in done.out + done.err
    assert "\x07" not in done.out + done.err


def test_errors_are_counted():
    found = [Diagnostic("A0301", str(i)) for i in range(3)]
    assert terminal.count(found) == "3 errors"
    assert terminal.count(found[:1]) == ""


def test_explain(run):
    listed = run("explain")
    assert listed.code == 0
    assert [line.split()[0] for line in listed.out.splitlines()] == codes()
    for form in ("A1202", "a1202", "[A1202]"):
        assert run("explain", form).out.startswith("# A1202: no such bundled spec\n")
    assert json.loads(run("explain", "A1202", "--json").out)["code"] == "A1202"
    assert json.loads(run("explain", "--json").out)["A1202"] == "no such bundled spec"


def test_ops_agree_with_the_classes(run):
    from archlang.compiler import ops

    everything = json.loads(run("ops", "--json").out)
    assert sorted(op["name"] for op in everything) == ops.names()
    one = json.loads(run("ops", "conv", "--json").out)
    assert one == next(op for op in everything if op["name"] == "conv")
    assert [s["name"] for s in one["settings"]][:2] == ["out", "kernel"]
    assert one["weights"][:2] == ["weight", "bias"]
    page = run("ops", "conv").out
    assert "conv(out, kernel, stride=1" in page
    assert "| `groups` | int ≥ 1 | `1` |" in page


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_for_archc(run, shell):
    done = run("completion", shell)
    assert done.code == 0
    assert "_ARCHC_COMPLETE" in done.out


def _completed(archc, words: str) -> list[str]:
    done = archc(
        env={
            "_ARCHC_COMPLETE": "bash_complete",
            "COMP_WORDS": f"archc {words}",
            "COMP_CWORD": str(words.count(" ") + 1),
        }
    )
    return [line.split(",", 1)[1] for line in done.stdout.splitlines()]


def test_completion_completes(archc, tmp_path):
    (tmp_path / "mine.arch").write_text(RIGHT)
    (tmp_path / "mine.txt").write_text("")
    (tmp_path / "more").mkdir()
    assert _completed(archc, "che") == ["check"]
    assert _completed(archc, "explain A120")[:2] == ["A1202", "A1203"]
    assert _completed(archc, "ops conv")[0] == "conv"
    assert _completed(archc, "check m")[-2:] == ["mine.arch", "more/"]
    assert _completed(archc, "show LENE") == ["lenet5"]
    assert "mine.txt" not in _completed(archc, "check m")
    assert "--depth" in _completed(archc, "render x --de")


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="no bash")
def test_bash_accepts_its_script(run):
    script = run("completion", "bash").out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
