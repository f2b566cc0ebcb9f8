"""The classes of the tree behave as frozen data classes do."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
from archlang.compiler.source import Source, Span
from archlang.compiler.syntax import ast

HERE, THERE = Span(Source("a b"), 0, 1), Span(Source("a b"), 2, 3)


def test_equality_hash_and_repr_leave_spans_out() -> None:
    one, two = ast.Number(1, "1", span=HERE), ast.Number(1, "0_1", span=THERE)
    assert one == two
    assert hash(one) == hash(two)
    assert one != ast.Number(2, "1", span=HERE)
    assert ast.Unary("-", one, span=HERE) != ast.Call(one, (), span=HERE)
    assert repr(one) == "Number(value=1, text='1')"


def test_defaults_keywords_and_matching() -> None:
    call = ast.Apply(function=ast.Name("f", span=HERE), span=HERE)
    assert (call.arguments, call.called) == ((), False)
    match ast.Binary("+", 1, right=2, span=HERE):  # type: ignore[arg-type]
        case ast.Binary(op, left, right):
            assert (op, left, right) == ("+", 1, 2)


def test_frozen() -> None:
    name = ast.Name("f", span=HERE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        name.text = "g"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del name.text


@pytest.mark.parametrize(
    ("values", "named"),
    [(("f",), {}), ((), {"span": HERE}), (("f", True, 1), {"span": HERE}), (("f",), {"text": "g", "span": HERE}),
     (("f",), {"span": HERE, "spam": 1})],
)  # fmt: skip
def test_wrong_arguments(values: tuple, named: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        ast.Name(*values, **named)


def test_dataclasses_functions_and_copies() -> None:
    name = ast.Name("f", True, span=HERE)
    assert dataclasses.is_dataclass(ast.Name)
    assert [(f.name, f.compare, f.kw_only) for f in dataclasses.fields(name)] == [
        ("text", True, False), ("primed", True, False), ("span", False, True),
    ]  # fmt: skip
    assert dataclasses.replace(name, text="g", span=THERE) == ast.Name("g", True, span=HERE)
    assert copy.deepcopy(name) == name
