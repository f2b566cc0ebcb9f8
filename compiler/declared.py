"""Classes of declared settings: typed, bounded, documented, and fixed once made.

    class Window(Declared):
        size: int = Field(ge=1, description="positions that it spans")
        mode: Literal["same", "valid"] = Field("valid", description="what happens at the border")

pydantic decides what a value may be and words every refusal, in strict mode. It takes long to import and to prepare,
so values that are plainly right are let in by the short checks below, and pydantic is asked about all others only.
Where a tuple is declared a list is taken too, and becomes one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from inspect import get_annotations
from math import isfinite
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    Union,
    get_args,
    get_origin,
)

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_UNSURE: Any = object()  # the answer of a check that leaves a value to pydantic
_REQUIRED: Any = object()
_COMPARE = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
_EXACT = 2**53  # beyond it not every int is a float

Check = Callable[[Any], Any]  # a value → the value as it is taken, or _UNSURE


class Invalid(ValueError):
    """Values that a declaration does not allow."""

    def __init__(self, failure: ValidationError) -> None:
        super().__init__(str(failure))
        self._failure = failure

    def errors(self) -> list[Any]:
        """What is wrong with which setting, in the form of pydantic's `ValidationError.errors`."""
        return list(self._failure.errors(include_url=False))


class Mark:
    """Base of what annotates a setting without restricting its values."""


class Rule:
    """What `Field` says: a default, a description, limits."""

    def __init__(self, default: Any = _REQUIRED, factory: Any = None, internal: bool = False, **said: Any) -> None:
        self.default, self.factory, self.internal = default, factory, internal
        self.description: str | None = said.pop("description", None)
        self.limits: dict[str, Any] = {key: value for key, value in said.items() if value is not None}


def Field(
    default: Any = _REQUIRED,
    *,
    default_factory: Callable[[], Any] | None = None,
    description: str | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    allow_inf_nan: bool | None = None,
    internal: bool = False,
) -> Any:
    """Declares a setting, as its default or inside `Annotated`. One that is `internal` is neither shown nor dumped."""
    limits = {"ge": ge, "gt": gt, "le": le, "lt": lt, "min_length": min_length, "max_length": max_length}
    return Rule(default, default_factory, internal, description=description, allow_inf_nan=allow_inf_nan, **limits)


class Setting:
    """A declared setting. `annotation` is its type, `metadata` what annotates it and what its `Field` says."""

    def __init__(self, declared: Any, assigned: Any) -> None:
        self._rule = assigned if isinstance(assigned, Rule) else Rule(assigned)
        self.annotation, *metadata = get_args(declared) if get_origin(declared) is Annotated else (declared,)
        self.metadata: tuple[Any, ...] = (*metadata, self._rule)
        self.internal = self._rule.internal
        said = (item.description for item in reversed(self.metadata) if isinstance(item, Rule))
        self.description = next(filter(None, said), None)
        self.check = _check(self.annotation, self.metadata)

    @property
    def default(self) -> Any:
        """The default, None when the setting is required."""
        return self._rule.factory() if self._rule.factory else None if self.is_required() else self._rule.default

    def is_required(self) -> bool:
        return self._rule.factory is None and self._rule.default is _REQUIRED


class _Settings:
    """The settings of a class by name, in order, read from its annotations when first asked for."""

    def __get__(self, _: object, owner: type) -> dict[str, Setting]:
        found: dict[str, Setting] | None = owner.__dict__.get("_settings")
        if found is None:
            found = {}
            for part in reversed(owner.__mro__):
                for name, declared in get_annotations(part, eval_str=True).items():
                    if declared is not ClassVar and get_origin(declared) is not ClassVar:
                        found[name] = Setting(declared, part.__dict__.get(name, _REQUIRED))
            owner._settings = found  # type: ignore[attr-defined]
        return found


class Declared:
    """Base of classes of settings. Raises Invalid for values that the declarations do not allow."""

    model_fields: ClassVar[_Settings] = _Settings()

    def __init__(self, /, **given: Any) -> None:
        settings = type(self).model_fields
        values: dict[str, Any] = {}
        for name, setting in settings.items():
            if name in given:
                value = setting.check(given[name])
            else:
                value = _UNSURE if setting.is_required() else setting.default
            if value is _UNSURE:
                break
            values[name] = value
        if len(values) < len(settings) or not given.keys() <= settings.keys():
            values = _ask_pydantic(type(self), given)
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed; `replace` makes another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed; `replace` makes another")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            found = self.__dict__["_hash"] = hash((type(self), *self._values().values()))
        return found

    def __repr__(self) -> str:
        shown = [f"{k}={v!r}" for k, v in self._values().items() if not type(self).model_fields[k].internal]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _values(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in type(self).model_fields}

    def replace(self, **changes: Any) -> Self:
        """The same with other values, which are checked."""
        return type(self)(**{**self._values(), **changes})

    def as_dict(self) -> dict[str, Any]:
        """The settings by name, those of settings inside too."""
        return {k: _plain(v) for k, v in self._values().items() if not type(self).model_fields[k].internal}


class Called(Declared):
    """Base of settings that a spec gives in a call, `normal(0, std=0.02)`: its fields, in positional order."""

    name: ClassVar[str]
    extra: ClassVar[None] = None

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        return tuple(cls.model_fields)


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(map(_plain, value))
    return value.as_dict() if isinstance(value, Declared) else value


def _check(annotation: Any, metadata: Iterable[Any] = ()) -> Check:
    """The check of a type with what annotates it."""
    limits: list[tuple[str, Any]] = []
    for item in metadata:
        if isinstance(item, Rule):
            limits += item.limits.items()
        elif not isinstance(item, Mark):
            return _leave
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _check(inside[0], (*inside[1:], *metadata))
    if origin in (Union, UnionType):
        return _any_of(inside, [_check(member, metadata) for member in inside])
    names = {name for name, _ in limits}
    if annotation in (int, float) and names <= {*_COMPARE, *(["allow_inf_nan"] if annotation is float else [])}:
        bounds = [(_COMPARE[name], bound) for name, bound in limits if name in _COMPARE]
        finite = any(name == "allow_inf_nan" and not allowed for name, allowed in limits)
        return _int(bounds) if annotation is int else _float(bounds, finite)
    if annotation in (None, NoneType):
        return lambda value: value if value is None else _UNSURE
    if (annotation in (str, tuple) or origin in (tuple, list)) and names <= {"min_length", "max_length"}:
        least = max((bound for name, bound in limits if name == "min_length"), default=0)
        most = min((bound for name, bound in limits if name == "max_length"), default=None)
        if annotation is str:
            return lambda value: (
                value if type(value) is str and value.isascii() and _fits(value, least, most) else _UNSURE
            )
        return _sequence(origin or tuple, inside or (Any, ...), least, most)
    return _leave if limits else _unlimited(annotation, origin, inside)


def _unlimited(annotation: Any, origin: Any, inside: tuple[Any, ...]) -> Check:
    if annotation is Any:
        return lambda value: value
    if annotation is bool or (
        isinstance(annotation, type) and (is_dataclass(annotation) or issubclass(annotation, Declared))
    ):
        return lambda value: value if type(value) is annotation else _UNSURE
    if origin is Literal and all(type(word) is str for word in inside):
        return lambda value: value if type(value) is str and value in inside else _UNSURE
    return _mapping(*map(_check, inside)) if origin is dict else _leave


def _leave(_: Any) -> Any:
    """The check of what only pydantic knows."""
    return _UNSURE


def _fits(value: Any, least: int, most: int | None) -> bool:
    return least <= len(value) and (most is None or len(value) <= most)


def _int(bounds: list[tuple[Callable[[Any, Any], bool], Any]]) -> Check:
    def check(value: Any) -> Any:
        return value if type(value) is int and all(holds(value, bound) for holds, bound in bounds) else _UNSURE

    return check


def _float(bounds: list[tuple[Callable[[Any, Any], bool], Any]], finite: bool) -> Check:
    def check(value: Any) -> Any:
        if type(value) is int and -_EXACT < value < _EXACT:
            value = float(value)
        if type(value) is not float or (finite and not isfinite(value)):
            return _UNSURE
        return value if all(holds(value, bound) for holds, bound in bounds) else _UNSURE

    return check


def _sequence(kind: type, inside: tuple[Any, ...], least: int, most: int | None) -> Check:
    many = kind is list or inside[-1] is ...
    checks = [_check(item) for item in inside if item is not ...]

    def check(value: Any) -> Any:
        if type(value) not in (list, kind) or not _fits(value, least, most):
            return _UNSURE
        if not many and len(value) != len(checks):
            return _UNSURE
        items = [accept(item) for accept, item in zip(checks * len(value) if many else checks, value, strict=True)]
        if any(item is _UNSURE for item in items):
            return _UNSURE
        same = kind is tuple and type(value) is tuple and all(map(operator.is_, items, value))
        return value if same else kind(items)

    return check


def _mapping(key: Check, item: Check) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not dict:
            return _UNSURE
        found = {key(k): item(v) for k, v in value.items()}
        return _UNSURE if _UNSURE in found or any(v is _UNSURE for v in found.values()) else found

    return check


def _any_of(members: tuple[Any, ...], checks: list[Check]) -> Check:
    """pydantic prefers the member that takes a value as it is; what one converts is taken if no other can want it."""
    nested = sum(map(_nested, members))
    converts = nested <= 1 and _leave not in checks

    def check(value: Any) -> Any:
        taken = [found for accept in checks if (found := accept(value)) is not _UNSURE]
        if any(found is value for found in taken):
            return value
        return taken[0] if converts and len(taken) == 1 else _UNSURE

    return check


def _nested(annotation: Any) -> bool:
    base = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return base in (tuple, list, dict) or get_origin(base) not in (None, Literal)


def _ask_pydantic(kind: type[Declared], given: Mapping[str, Any]) -> dict[str, Any]:
    from pydantic import ValidationError

    try:
        made = pydantic_model(kind)(**given)
    except ValidationError as failure:
        raise Invalid(failure) from None
    return {n: getattr(made, n) if n in given else s.default for n, s in kind.model_fields.items()}


def pydantic_model(kind: type[Declared]) -> type[BaseModel]:
    """The pydantic model of the same settings, made when first asked for."""
    from pydantic import ConfigDict, create_model

    if "_model" not in kind.__dict__:
        config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
        fields: dict[str, Any] = {
            name: (
                _for_pydantic(Annotated[setting.annotation, *setting.metadata]),
                ... if setting.is_required() else None,
            )
            for name, setting in kind.model_fields.items()
        }
        kind._model = create_model(kind.__name__, __config__=config, **fields)  # type: ignore[attr-defined]
    model: type[BaseModel] = kind.__dict__["_model"]
    return model


def _for_pydantic(annotation: Any) -> Any:
    """The annotation in pydantic's words."""
    from pydantic import BeforeValidator
    from pydantic import Field as Limits

    origin, inside = get_origin(annotation), get_args(annotation)
    metadata: list[Any] = []
    if origin is Annotated:
        annotation, *said = inside
        origin, inside = get_origin(annotation), get_args(annotation)
        metadata = [Limits(**m.limits) if isinstance(m, Rule) else m for m in said if not isinstance(m, Mark)]
    if origin in (Union, UnionType):
        annotation = Union[tuple(map(_for_pydantic, inside))]  # noqa: UP007 - members are known only now
    elif origin in (tuple, list, dict):
        annotation = origin[tuple(item if item is ... else _for_pydantic(item) for item in inside)]
    if tuple in (annotation, origin):
        metadata.append(BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value))
    return Annotated[annotation, *metadata] if metadata else annotation
