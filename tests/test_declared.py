"""Declared settings: the quick checks agree with pydantic, and pydantic is not needed where nothing is wrong."""

from __future__ import annotations

import pickle
import subprocess
import sys
from copy import deepcopy
from enum import StrEnum
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from archlang.compiler import data_sources, training_plan
from archlang.compiler.declared import Declared, Field, Invalid, Rule, pydantic_model
from archlang.compiler.ops import registry
from archlang.compiler.ops.base import Init
from archlang.compiler.sizes import symbol
from archlang.compiler.source import Source, Span
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic import Field as Limits


class Word(StrEnum):
    SAME = "same"


class Inner(Declared):
    depth: int = Field(1, ge=1)


Count = Annotated[int, Field(ge=1, le=9)]


class Sample(Declared):
    """Every form of declaration."""

    count: Count
    share: float = Field(0.5, ge=0, lt=1)
    finite: float | None = Field(None, allow_inf_nan=False)
    on: bool = False
    word: Literal["same", "valid"] = "same"
    either: Count | tuple[Count, ...] | Literal["same"] = 1
    pair: tuple[int, float] = (0, 0.0)
    some: Annotated[tuple[int | str, ...], Field(min_length=1, max_length=3)] | None = Field(None)
    names: list[str] = Field(default_factory=list)
    sizes: dict[str, int | float] = Field(default_factory=dict)
    letter: str = Field("a", min_length=1, max_length=1)
    start: Init | None = None
    inner: Inner = Field(default_factory=Inner)
    anything: Any = None
    loose: tuple = ()
    style: Word = Word.SAME
    workers: int | None = Field(None, ge=0, le=4)
    note: str = Field("", internal=True)


def listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Small = Annotated[int, Limits(ge=1, le=9)]
AsTuple = BeforeValidator(listed)


class Twin(BaseModel):
    """The same, by hand."""

    model_config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)

    count: Small
    share: float = Limits(0.5, ge=0, lt=1)
    finite: float | None = Limits(None, allow_inf_nan=False)
    on: bool = False
    word: Literal["same", "valid"] = "same"
    either: Annotated[Small | tuple[Small, ...] | Literal["same"], AsTuple] = 1
    pair: Annotated[tuple[int, float], AsTuple] = (0, 0.0)
    some: Annotated[Annotated[tuple[int | str, ...], Limits(min_length=1, max_length=3)] | None, AsTuple] = None
    names: list[str] = []
    sizes: dict[str, int | float] = {}
    letter: str = Limits("a", min_length=1, max_length=1)
    start: Init | None = None
    inner: Inner = Inner()
    anything: Any = None
    loose: Annotated[tuple, AsTuple] = ()
    style: Word = Word.SAME
    workers: int | None = Limits(None, ge=0, le=4)
    note: str = ""


PLAN = [
    kind
    for module in (data_sources, training_plan)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Declared) and kind is not Declared
]
CLASSES = [kind for kind in dict.fromkeys([*registry().values(), *PLAN, Sample]) if kind.model_fields]

EDGES = [-(2**63), -2, -1, 0, 1, 2, 3, 9, 10, 32, 33, 4096, 4097, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63, 10**400]
LEAVES = st.one_of(
    st.sampled_from(EDGES),
    st.booleans(),
    st.none(),
    st.sampled_from([-0.5, 0.0, 1e-9, 0.5, 1.0, 1.5, 2.0, 100.5, 1e300, float("nan"), float("inf"), -float("inf")]),
    st.sampled_from(["", "a", "same", "mean", "T", "é", "two words", "\ud800", Word.SAME, b"a"]),
    st.sampled_from([symbol("T"), Init("normal", (0.0, 1.0)), Init(), Inner(), Source("text"), 1j]),
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.sampled_from(["a", "b", "é", 1]), inner, max_size=2),
    ),
    max_leaves=6,
)


def near(limits: dict[str, Any]) -> list[Any]:
    return [limits[k] + step for k in ("ge", "gt", "le", "lt") if k in limits for step in (-1, 0, 1)]


def plausible(annotation: Any, metadata: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Values of about the right form: most are accepted, those near a limit may not be."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return plausible(inside[0], (*inside[1:], *metadata))
    if origin in (Union, UnionType):
        return st.one_of([plausible(member, metadata) for member in inside])
    if origin is Literal:
        return st.sampled_from(inside)
    if origin is dict:
        return st.dictionaries(*map(plausible, inside), max_size=2)
    if origin in (tuple, list):
        items = [plausible(item) for item in inside if item is not ...]
        many = len(items) == 1
        made = st.lists(items[0], max_size=4) if many else st.tuples(*items)
        return st.one_of(made.map(tuple), made.map(list))
    edges = [edge for item in metadata if isinstance(item, Rule) for edge in near(item.limits)]
    leaves: dict[Any, st.SearchStrategy[Any]] = {
        int: st.one_of(st.integers(-3, 12), st.sampled_from([1, *edges])),
        float: st.one_of(st.floats(), st.integers(-1, 2), st.sampled_from([0.5, *edges])),
        bool: st.booleans(),
        str: st.text("abÉ", max_size=2),
        NoneType: st.none(),
        tuple: st.lists(LEAVES, max_size=2).map(tuple),
        Span: st.just(Span(Source("text"), 0, 1)),
    }
    if isinstance(annotation, type) and issubclass(annotation, Declared):
        return drawn(annotation).map(partial(built, annotation)).filter(bool)
    return leaves.get(annotation, LEAVES)


def built(kind: type[Declared], values: dict[str, Any]) -> Declared | None:
    try:
        return kind(**values)
    except Invalid:
        return None


def drawn(kind: type[Declared]) -> st.SearchStrategy[dict[str, Any]]:
    required = {n: plausible(s.annotation, s.metadata) for n, s in kind.model_fields.items() if s.is_required()}
    flat = {n: s for n, s in kind.model_fields.items() if kind not in get_args(s.annotation)}  # plans hold plans
    optional = {n: plausible(s.annotation, s.metadata) for n, s in flat.items() if not s.is_required()}
    return st.fixed_dictionaries(required, optional=optional)


def spoilt(kind: type[Declared]) -> st.SearchStrategy[dict[str, Any]]:
    """Settings of which one may be replaced by anything, may be missing, or has an unknown name."""
    names = [*kind.model_fields, "unknown"]
    changes = st.one_of(
        st.just({}), st.dictionaries(st.sampled_from(names), ANYTHING, min_size=1, max_size=1), st.sampled_from(names)
    )

    def change(values: dict[str, Any], how: Any) -> dict[str, Any]:
        return {k: v for k, v in values.items() if k != how} if isinstance(how, str) else {**values, **how}

    return st.builds(change, drawn(kind), changes)


def exact(value: Any) -> Any:
    """The value with the types of all its parts, so that 1, True and 1.0 differ and nan equals nan."""
    if isinstance(value, (tuple, list)):
        return type(value), [exact(item) for item in value]
    if isinstance(value, dict):
        return [(exact(k), exact(v)) for k, v in value.items()]
    return type(value), repr(value)


def outcome(kind: Any, names: list[str], values: dict[str, Any]) -> Any:
    """The given settings as they were taken, or what was wrong with them."""
    try:
        found = kind(**values)
    except (Invalid, ValidationError) as failure:
        return [(e["type"], e["loc"][:1], e["msg"]) for e in failure.errors()]
    return {name: exact(getattr(found, name)) for name in names if name in values}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}")
def test_the_quick_checks_agree_with_pydantic(kind: type[Declared]) -> None:
    names = list(kind.model_fields)

    @settings(max_examples=40, derandomize=True, deadline=None, database=None)
    @given(spoilt(kind))
    def agree(values: dict[str, Any]) -> None:
        assert outcome(kind, names, values) == outcome(pydantic_model(kind), names, values)

    agree()


@settings(max_examples=250, derandomize=True, deadline=None, database=None)
@given(spoilt(Sample))
def test_pydantic_is_told_what_was_declared(values: dict[str, Any]) -> None:
    assert outcome(Sample, list(Sample.model_fields), values) == outcome(Twin, list(Sample.model_fields), values)


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("share", 0, 0.0),
        ("either", [1, 2], (1, 2)),
        ("some", ["a", 1], ("a", 1)),
        ("sizes", {"a": 1}, {"a": 1}),
        ("inner", Inner(depth=2), Inner(depth=2)),
        ("note", "é", "é"),
    ],
)
def test_values_are_taken_as_their_type(name: str, value: Any, taken: Any) -> None:
    assert exact(getattr(Sample(count=1, **{name: value}), name)) == exact(taken)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "missing"),
        ({"count": 0}, "greater_than_equal"),
        ({"count": True}, "int_type"),
        ({"count": 1, "cuont": 1}, "extra_forbidden"),
        ({"count": 1, "word": "other"}, "literal_error"),
        ({"count": 1, "some": ()}, "too_short"),
        ({"count": 1, "finite": float("nan")}, "finite_number"),
    ],
)
def test_refusals_are_pydantics(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(Invalid) as caught:
        Sample(**values)
    assert caught.value.errors()[0]["type"] == problem


def test_made_once() -> None:
    one = Sample(count=1, names=["a"], note="hidden")
    assert one != Sample(count=2, names=["a"], note="hidden")
    assert one != Inner()
    assert one == one.replace() == deepcopy(one) == pickle.loads(pickle.dumps(one))  # noqa: S301 - our own
    assert hash(Inner(depth=3)) == hash(Inner(depth=3))
    assert len({Inner(depth=3), Inner(depth=3), Inner()}) == 2
    with pytest.raises(AttributeError, match="cannot be changed"):
        one.count = 2
    with pytest.raises(AttributeError, match="cannot be changed"):
        del one.count
    with pytest.raises(Invalid):
        one.replace(count=0)
    assert repr(Inner(depth=3)) == "Inner(depth=3)"
    assert "hidden" not in repr(one) and "note" not in one.as_dict()
    told = one.replace(anything=(Inner(depth=2), [Inner(depth=3)])).as_dict()
    assert (told["inner"], told["anything"]) == ({"depth": 1}, ({"depth": 2}, [{"depth": 3}]))


def test_defaults_are_not_shared() -> None:
    Sample(count=1).names.append("a")
    assert Sample(count=1).names == []


def test_a_subclass_may_declare_anew() -> None:
    class Deeper(Inner):
        """Keeps the place of the setting."""

        width: int = 1
        depth: float = Field(2.0, le=4, description="how deep")

    assert list(Deeper.model_fields) == ["depth", "width"]
    assert Deeper().depth == 2.0
    assert Deeper.model_fields["depth"].description == "how deep"
    assert Inner.model_fields["depth"].default == 1


RIGHT = """
import sys
from pathlib import Path
from archlang.compiler.frontend import check_source
from archlang.compiler.ops import registry
from archlang.compiler.source import Source
from archlang.targets import specs_folder

sys.modules["pydantic"] = sys.modules["pydantic_core"] = None
for op in registry().values():
    for example in op.examples:
        try:
            op(**example.settings)
        except ImportError:
            sys.exit(f"{op.name}: {example.settings}")
paths = sorted(specs_folder().glob("*/*.arch"))
for path in paths:
    name = path.relative_to(specs_folder()).as_posix()
    assert check_source(Source(path.read_text(encoding="utf-8"), path.name), base=path.parent).ok, name
print(len(paths))
"""


def test_what_is_right_needs_no_pydantic() -> None:
    done = subprocess.run([sys.executable, "-c", RIGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
