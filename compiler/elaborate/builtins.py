"""Functions of static values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..sizes import Dim
from . import limits
from .values import Recipe


def _plain(*values: Any) -> None:
    for value in values:
        if isinstance(value, (bool, str, tuple, range)) or value is None or isinstance(value, Recipe):
            raise TypeError


def _least(pick: Callable) -> Callable:
    def choose(*values: Any) -> Any:
        items = values[0] if len(values) == 1 and isinstance(values[0], (tuple, range)) else values
        if not items:
            raise ValueError("the list is empty")
        if not all(isinstance(v, (int, float)) for v in items):
            raise TypeError
        return pick(items)

    return choose


def _real(function: Callable) -> Callable:
    def compute(value: Any) -> float:
        _plain(value)
        if isinstance(value, Dim):
            raise ValueError(f"the size {value} is not known")
        return function(value)

    return compute


def _length(value: Any) -> int:
    if isinstance(value, (tuple, range, str)):
        return len(value)
    raise TypeError


def _listed(value: Any) -> tuple:
    if isinstance(value, range) and len(value) > limits.ITEMS:
        raise ValueError(f"a range of {len(value):,} is too long")
    if isinstance(value, (tuple, range)):
        return tuple(value)
    raise TypeError


def _sum(value: Any) -> Any:
    total: Any = 0
    for item in _listed(value):
        _plain(item)
        total = total + item
    return total


# name → fewest and most values, function
BUILTINS: Mapping[str, tuple[int, int, Callable]] = {
    "len": (1, 1, _length),
    "min": (1, 99, _least(min)),
    "max": (1, 99, _least(max)),
    "abs": (1, 1, _real(abs)),
    "round": (1, 1, _real(round)),
    "ceil": (1, 1, _real(math.ceil)),
    "floor": (1, 1, _real(math.floor)),
    "int": (1, 1, _real(int)),
    "float": (1, 1, _real(float)),
    "sum": (1, 1, _sum),
    "log": (1, 1, _real(math.log)),
    "log2": (1, 1, _real(math.log2)),
    "exp": (1, 1, _real(math.exp)),
    "sqrt": (1, 1, _real(math.sqrt)),
    "sin": (1, 1, _real(math.sin)),
    "cos": (1, 1, _real(math.cos)),
    "enumerate": (1, 1, lambda v: tuple(enumerate(_listed(v)))),
    "reversed": (1, 1, lambda v: tuple(reversed(_listed(v)))),
    "zip": (2, 9, lambda *vs: tuple(zip(*map(_listed, vs), strict=True))),
}
