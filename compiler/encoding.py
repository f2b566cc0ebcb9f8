"""Static values as plain JSON data, and back: settings of ops, arguments of blocks, sizes, weights.

Numbers, strings, truth values and none stand for themselves and lists for the language's lists (tuples). What JSON
lacks is an object with one key that starts with `$`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from .declared import Declared
from .elaborate.indices import FUNCTIONS
from .elaborate.values import show
from .game import OBJECTIVES, Objective
from .initialisers import read as read_init
from .ops import get
from .ops.base import Code, Init, Op
from .size_text import parse_size
from .sizes import Dim


class Undecodable(ValueError):
    """Data that no value of ours looks like."""


@dataclass(frozen=True)
class Written:
    """A value of which only the text came along: a block or a module passed as an argument."""

    text: str

    def __str__(self) -> str:
        return self.text


def encode(value: Any) -> Any:
    """A static value as JSON data."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if isfinite(value) else {"$float": str(value)}
        case tuple() | list():
            return [encode(item) for item in value]
        case dict():
            return {"$dict": [[encode(k), encode(v)] for k, v in value.items()]}
        case Dim():
            return {"$size": str(value)}
        case Init():
            return {"$init": [value.kind, list(value.values)]}
        case range():
            return {"$range": [value.start, value.stop]}
    return {"$text": show(value)}


def decode(data: Any) -> Any:
    """What `encode` made this of. Raises Undecodable."""
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    if isinstance(data, list):
        return tuple(decode(item) for item in data)
    if isinstance(data, dict) and len(data) == 1:
        ((key, inner),) = data.items()
        try:
            return _TAGGED[key](inner)
        except (KeyError, ValueError, TypeError, AttributeError, ZeroDivisionError) as failure:
            raise Undecodable(f"this is no value: {str(data)[:80]}") from failure
    raise Undecodable(f"this is no value: {str(data)[:80]}")


def _dict(data: Any) -> dict[Any, Any]:
    if not isinstance(data, list):
        raise TypeError
    return {decode(key): decode(value) for key, value in data}


def _init(data: Any) -> Init:
    kind, values = data
    if not isinstance(kind, str):
        raise TypeError
    return read_init(kind, values)


def _range(data: Any) -> range:
    start, stop = data
    return range(start, stop)


_TAGGED: dict[str, Callable[[Any], Any]] = {
    "$float": lambda d: {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}[d],
    "$dict": _dict,
    "$size": parse_size,
    "$init": _init,
    "$range": _range,
    "$text": lambda d: Written(d[:10_000]),
}


def settings_of(made: Declared) -> dict[str, Any]:
    """The settings in which an op or an objective differs from its defaults, as JSON data."""
    found = {}
    for name, info in type(made).model_fields.items():
        value = getattr(made, name)
        default = info.default
        if info.is_required() or type(value) is not type(default) or value != default:
            found[name] = encode(value)
    return found


def make_op(name: str, settings: dict[str, Any]) -> Op:
    """The op of that name with these settings. Raises Undecodable."""
    kind = get(name)
    if kind is None:
        raise Undecodable(f"there is no op `{name[:80]}`")
    try:
        return kind(**{key: decode(value) for key, value in settings.items()})
    except Undecodable:
        raise
    except (ValueError, TypeError) as failure:
        raise Undecodable(f"op `{name}` refuses its settings: {str(failure)[:300]}") from failure


def make_objective(name: str, settings: dict[str, Any]) -> Objective:
    """The objective of that name with these settings. Raises Undecodable."""
    kind = OBJECTIVES.get(name)
    if kind is None:
        raise Undecodable(f"there is no objective `{name[:80]}`")
    try:
        made = kind(**{key: decode(value) for key, value in settings.items()})
    except Undecodable:
        raise
    except (ValueError, TypeError) as failure:
        raise Undecodable(f"objective `{name}` refuses its settings: {str(failure)[:300]}") from failure
    problem = made.problem()
    if problem:
        raise Undecodable(f"objective `{name}` {problem}")
    return made


# All that the code of a fixed tensor is ever made of: whoever writes another text into a file gets no code from it.
_TORCH = {"torch.arange", "torch.tensor", *re.findall(r"torch\.\w+", " ".join(FUNCTIONS.values()))}
_SAFE = re.compile(
    r"(?:"
    + "|".join(re.escape(name) + r"(?=\()" for name in sorted(_TORCH, key=len, reverse=True))
    + r"|\.(?:float|long|bool|contiguous)\(\)|\.expand\(|rounding_mode='floor'|device=|\{device\}|\{v\d{1,4}\}|None"
    + r"|[ :,()\[\]+\-*/%<>=!&|~])*"
)


def encode_code(code: Code) -> dict[str, Any]:
    """The code of a fixed tensor as JSON data."""
    return {"template": code.template, "values": encode(code.values)}


def decode_code(data: dict[str, Any]) -> Code:
    """Code from data, when it is made of nothing but arithmetic on index tensors. Raises Undecodable."""
    template = data.get("template")
    if not isinstance(template, str) or len(template) > 100_000 or _SAFE.fullmatch(template) is None:
        raise Undecodable("this is no code of a fixed tensor")
    values = decode(data.get("values"))
    numbers = isinstance(values, dict) and all(
        re.fullmatch(r"v\d{1,4}", str(k)) and isinstance(v, (bool, int, float)) for k, v in values.items()
    )
    if not numbers or data.keys() != {"template", "values"}:
        raise Undecodable("this is no code of a fixed tensor")
    return Code(template, values)
