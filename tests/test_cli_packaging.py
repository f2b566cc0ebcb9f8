"""The wheel: everything that is needed is in it, and nothing lands outside the package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import archlang
import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOLDERS = {"api": "", "compiler": "compiler/", "grammar": "grammar/", "runtime": "runtime/", "specs": "specs/"}
KINDS = {".py", ".lark", ".arch", ".md", ".json", ".html", ".typed"}


@pytest.mark.slow
def test_the_wheel_holds_everything(tmp_path):
    source = tmp_path / "source"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("archlang-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in KINDS or path.name == "py.typed":
                assert f"archlang/{inside}{path.relative_to(ROOT / folder).as_posix()}" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"archlang"}
    assert any(name.endswith("LICENSE") for name in names)


def test_the_version_is_the_projects():
    assert archlang.__version__ == PROJECT["version"]


def test_the_pins_cover_what_is_required():
    pinned = {
        re.split(r"[=<>]", line)[0]
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert {re.split(r"[=<>]", requirement)[0] for requirement in wanted} <= pinned
