"""What the tree's classes are made of: frozen data classes that cost nothing to define.

`dataclasses.dataclass` compiles several methods a class; for a tree of sixty classes that is most of the time that a
check of a small file takes. The methods here are written once and read the fields of the class at hand.
`dataclasses.fields`, `replace` and `is_dataclass` work on them, and so do type checkers.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, field
from typing import Any, ClassVar, dataclass_transform


class _Fields:
    """`__dataclass_fields__`, made when asked for."""

    def __get__(self, instance: Any, owner: type[Record]) -> dict[str, Field]:
        made: dict[str, Field] = {}
        for name in (*owner.__match_args__, *owner._named_only):
            found = owner._specs.get(name)
            one: Any = field(  # a Field, whose name, type and kind dataclasses sets afterwards too
                default=getattr(owner, name, MISSING) if found is None else found.default,
                compare=name in owner._compared,
                repr=found is None or found.repr,
                kw_only=name in owner._named_only,
            )
            one.name, one.type, one._field_type = name, owner._types[name], _PLAIN
            made[name] = one
        return made


def _plain_field_type() -> Any:
    """The mark that dataclasses puts on an ordinary field; it has no public name."""
    from dataclasses import _FIELD  # type: ignore[attr-defined]

    return _FIELD


_PLAIN = _plain_field_type()


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record:
    """A frozen data class: annotate the fields. Of `field(…)` it knows default, compare, repr and kw_only."""

    __match_args__: ClassVar[tuple[str, ...]] = ()
    _named_only: ClassVar[tuple[str, ...]] = ()
    _required: ClassVar[int] = 0
    _compared: ClassVar[tuple[str, ...]] = ()
    _specs: ClassVar[dict[str, Field]] = {}
    _types: ClassVar[dict[str, Any]] = {}
    __dataclass_fields__: ClassVar[Any] = _Fields()

    def __init_subclass__(cls) -> None:
        own = cls.__dict__.get("__annotations__", {})  # noqa: RUF063 (inspect is slow to import)
        cls._specs, cls._types = dict(cls._specs), {**cls._types, **own}
        for name in own:
            spec = cls.__dict__.get(name)
            if isinstance(spec, Field):
                cls._specs[name] = spec
                if spec.default is MISSING:
                    delattr(cls, name)
                else:
                    setattr(cls, name, spec.default)
            named_only = isinstance(spec, Field) and spec.kw_only is True
            if named_only:
                cls._named_only = (*cls._named_only, name)
            else:
                cls.__match_args__ = (*cls.__match_args__, name)  # type: ignore[misc]  # fixed once the class is made
            if not isinstance(spec, Field) or spec.compare:
                cls._compared = (*cls._compared, name)
        every = (*cls.__match_args__, *cls._named_only)
        cls._required = sum(not hasattr(cls, name) for name in every)

    def __init__(self, *values: Any, **named: Any) -> None:
        own = self.__dict__
        own.update(zip(self.__match_args__, values, strict=False))
        own.update(named)
        given = len(values) + len(named)
        if given != len(own) or given < self._required or not named.keys() <= self._types.keys():
            raise TypeError(f"{type(self).__name__} takes {self.__match_args__ + self._named_only}, got {sorted(own)}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def _key(self) -> tuple:
        return tuple([getattr(self, name) for name in self._compared])

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        names = [n for n in (*self.__match_args__, *self._named_only) if n not in self._specs or self._specs[n].repr]
        return f"{type(self).__qualname__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"
