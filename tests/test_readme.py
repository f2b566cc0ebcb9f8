"""The README tells the truth: its specs check, its commands run, and what it shows is what they print.

In a ```console block a line that starts with `$ ` is a command, and the lines below are what it prints, stdout and
stderr together; `…` stands for anything."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def docs():
    """The module that writes the generated pages."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_commands_print_what_the_page_shows(docs, tmp_path):
    for name, body in docs.files(page("README.md")):
        (tmp_path / name).write_text(body)
    listed = docs.commands(page("README.md"))
    assert len(listed) >= 8
    for command, expected in listed:
        printed = docs.run(command, tmp_path)
        assert docs.matches(expected, printed), f"`make docs` refreshes the README. $ {command}\n{printed}"


def test_codes_in_the_readme_exist():
    from archlang.compiler.diagnostics import codes

    found = re.findall(r"A\d{4}", page("README.md"))
    assert found
    assert set(found) <= set(codes())


@pytest.mark.parametrize(
    "name",
    ["README.md", "docs/language.md", "docs/training.md", "docs/figures.md", "docs/latents.md", "docs/generate.md"],
)
def test_specs_in_the_docs_check(docs, name):
    import archlang

    bodies = [body for _, body in docs.fences("arch", page(name))]
    assert bodies
    for body in bodies:
        report = archlang.check(body)
        assert report, report


def test_python_in_the_readme_runs(docs, tmp_path, monkeypatch):
    import archlang

    monkeypatch.chdir(tmp_path)
    archlang.compile("lenet5")  # the name that the page uses is bundled
    subprocess.run([sys.executable, "-m", "archlang", "new", "net.arch"], check=True, capture_output=True)
    ((_, script),) = docs.fences("python", page("README.md"))
    script = script.replace('program.fit("runs/net")', "program.fit('runs/net', epochs=1, progress=False)")
    exec(script, {})
    assert Path("runs/net/best.safetensors").exists()


PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for link in re.findall(r"\]\(([\w./-]+\.\w+)\)|src=\"([^\"]+)\"", page(name)):
        target = link[0] or link[1]
        assert (ROOT / name).parent.joinpath(target).exists(), target


def test_generated_pages_are_fresh(docs):
    for name, write in docs.PAGES.items():
        assert page(f"docs/{name}") == write(), f"{name} is old: run `make docs`"


def test_every_code_belongs_to_a_range_of_the_docs():
    from archlang.compiler.diagnostics import codes

    for code in codes():
        assert f"### {code}: " in page("docs/errors.md")
