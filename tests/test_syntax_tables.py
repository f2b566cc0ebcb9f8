"""The tables that the parser runs on: fresh, and equal in effect to Lark's own parser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from archlang.compiler.source import Source
from archlang.compiler.syntax import build
from archlang.compiler.syntax.complaints import Complaints
from archlang.compiler.syntax.machine import Machine, Tables
from lark import Lark, Token, Tree

DATA = Path(__file__).parent / "syntax_data"
SPECS = sorted(DATA.glob("*.arch"))


@pytest.fixture(scope="module")
def lark() -> Lark:
    return build.lark_parser()


@pytest.fixture(scope="module")
def generic() -> Tables:
    """The tables with functions that keep rule and children, as Lark's trees do."""
    data = json.loads(build.TABLES.read_text(encoding="utf-8"))
    names = {action for _, _, action, _ in data["rules"]} - {"", "^"}

    def keep(name: str) -> Any:
        return lambda nodes, at, *children: (name, *children)

    functions = type("Functions", (), {f"on_{name}": keep(name) for name in names})
    return Tables(data, functions, frozenset())


def plain(tree: Any) -> Any:
    if isinstance(tree, Tree):
        return (str(tree.data), *map(plain, tree.children))
    return str(tree) if isinstance(tree, Token) else tree


def test_the_tables_are_those_of_the_grammar() -> None:
    """If this fails: python -m archlang.compiler.syntax.build"""
    assert build.build() == build.TABLES.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_tables_do_not_depend_on_the_hash_seed(seed: str) -> None:
    code = "from archlang.compiler.syntax.build import build; print(build(), end='')"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, env={"PYTHONHASHSEED": seed}, check=True)
    assert made.stdout.decode() == build.TABLES.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_lark_builds_the_same_tree(path: Path, lark: Lark, generic: Tables) -> None:
    text = path.read_text(encoding="utf-8")
    machine = Machine(Complaints(Source(text)), "file", 0, len(text))
    machine.tables = generic
    assert machine.run() == plain(lark.parse(text, start="file"))


SOFT = [
    "block = x",
    "output = x -> output: linear(1) -> input: relu",
    "y = x -> linear(1, bias=false, in=3, state=4, true=5)",
    "over, by = from",
    "skip: [B] = x",
    "y = weight -> gate",
    "state' = state",
    "bias causality on bias over over",
    "loss loss weight weight over over = over",
]


@pytest.mark.parametrize("statement", SOFT)
def test_lark_agrees_on_soft_keywords(statement: str, lark: Lark, generic: Tables) -> None:
    text = f"cell N {{ {statement}\n output x }}"
    machine = Machine(Complaints(Source(text)), "file", 0, len(text))
    machine.tables = generic
    assert machine.run() == plain(lark.parse(text, start="file"))


def test_parsing_needs_neither_lark_nor_interegular() -> None:
    code = (
        "import sys; sys.modules['lark'] = sys.modules['interegular'] = sys.modules['torch'] = None\n"
        "from archlang.compiler.source import Source\n"
        "from archlang.compiler.syntax.parser import parse\n"
        "print(len(parse(Source('block A { output x -> relu }')).items))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout == "1\n"


def test_the_editors_know_every_keyword() -> None:
    known = (Path(__file__).parents[1] / "editors" / "arch.tmLanguage.json").read_text(encoding="utf-8")
    words = json.loads(build.TABLES.read_text(encoding="utf-8"))["keywords"]
    assert [w for w in words if not re.search(rf"[(|]{w}[|)]", known)] == []
