"""Every page of `archc explain`: its example triggers exactly its code, and its correction nothing."""

from __future__ import annotations

import re

import pytest
from archlang.compiler.diagnostics import codes, explain
from archlang.compiler.frontend import check_source
from archlang.compiler.source import Source

EXAMPLES = [
    (code, fixed, text)
    for code in codes()
    for fixed, text in re.findall(r"^```arch( fixed)?\n(.*?)^```$", explain(code) or "", re.M | re.S)
]


@pytest.mark.parametrize(("code", "fixed", "text"), EXAMPLES, ids=[f"{c}{f.replace(' ', '-')}" for c, f, _ in EXAMPLES])
def test_example(code: str, fixed: str, text: str, tmp_path) -> None:
    found = {d.code for d in check_source(Source(text, "example.arch"), base=tmp_path).diagnostics}
    assert found == (set() if fixed else {code})


@pytest.mark.parametrize("code", codes())
def test_page(code: str) -> None:
    page = explain(code)
    assert page is not None
    title, blank, text = page.split("\n", 2)
    assert title.startswith(f"# {code}: ")
    assert blank == ""
    assert len(text) > 60


def test_no_page_outside_the_folder() -> None:
    assert explain("A0301/../../x") is None
    assert explain("B0301") is None
    assert explain("A9999") is None
