"""What every test shares: one thread a worker, reproducible examples, and a way to run `archc`."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from processes import Done, finished

settings.register_profile("archlang", deadline=None, derandomize=True)
settings.load_profile("archlang")

Archc = Callable[..., Done[str]]
PLAIN = {"NO_COLOR": "1", "COLUMNS": "100", "PYTHONHASHSEED": "0"}


@dataclass
class Outcome:
    """What a command did, run inside this process."""

    code: int
    out: str
    err: str


@pytest.fixture
def archc(tmp_path: Path) -> Archc:
    """Runs `archc` in a process of its own, in the test's folder: `archc("check", "net.arch", input=…)`."""

    def run(
        *arguments: str, input: str | None = None, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> Done[str]:
        command = [sys.executable, "-m", "archlang", *arguments]
        return finished(command, input=input, cwd=cwd or tmp_path, env={**os.environ, **PLAIN, **(env or {})})

    return run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs `archc` inside this process, which is quicker: `run("explain", "A0301")`."""
    from archlang.cli.main import run as main

    monkeypatch.chdir(tmp_path)
    for name, value in PLAIN.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> Outcome:
        code = main(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def pytest_collection_finish() -> None:
    """What imports and collection left behind stays to the end: the collector of cycles need not go through it with
    every test's garbage, which took longer than tests that make many small objects."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", help="rewrite the Markdown cases with what came; never in CI")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--accept") and os.environ.get("CI"):
        raise pytest.UsageError("--accept rewrites expectations, which CI must not do")
