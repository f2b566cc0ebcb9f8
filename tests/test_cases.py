"""Every Markdown case in `cases/`. `pytest --accept` rewrites them; read what you accept."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from archlang.compiler.diagnostics import codes

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("cases_harness", HERE / "cases_harness.py")
assert _spec is not None and _spec.loader is not None
harness = importlib.util.module_from_spec(_spec)
sys.modules["cases_harness"] = harness
_spec.loader.exec_module(harness)

FILES = sorted((HERE / "cases").glob("*.md"))
CASES = [case for file in FILES for case in harness.read_cases(file)]


@pytest.mark.parametrize("case", CASES, ids=[c.id for c in CASES])
def test_case(case, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    results = harness.run_case(case, tmp_path)
    if request.config.getoption("--accept") and results != case.expected:
        harness.accept(case, results)
        pytest.skip("accepted: run again")
    assert results == case.expected


def test_titles_differ() -> None:
    ids = [c.id for c in CASES]
    assert len(ids) == len(set(ids))


def test_there_are_enough_refusals() -> None:
    assert sum("diagnostic" in c.expected for c in CASES) >= 60


@pytest.mark.parametrize(
    "text", ["## a\n```arch\n```\n", "## a\n```arch\nx\n```\n```shape\n```\n", "## a\n```arch\nx\n"]
)
def test_a_malformed_case_fails(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.md"
    file.write_text(text)
    with pytest.raises(ValueError):
        harness.read_cases(file)


def test_every_code_in_the_source_has_a_page() -> None:
    root = HERE.parent
    used = set()
    for folder in ("compiler", "api", "runtime"):
        for file in (root / folder).rglob("*.py"):
            used |= set(re.findall(r"\b(A\d{4})\b", file.read_text(encoding="utf-8")))
    assert sorted(used - set(codes())) == []
    assert sorted(set(codes()) - used) == []
