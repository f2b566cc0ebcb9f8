"""Pointwise expressions that simplify as they are built."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from .equations import Apply, Expr, Name, Number


def is_number(value: Expr, number: float) -> bool:
    """Is it this constant?"""
    return isinstance(value, Number) and value.value == number


def neg(value: Expr) -> Expr:
    """-value."""
    if isinstance(value, Number):
        return Number(-value.value)
    if isinstance(value, Apply) and value.function == "neg":
        return value.operands[0]
    if isinstance(value, Apply) and value.function == "sub":
        return sub(value.operands[1], value.operands[0])
    return Apply("neg", (value,))


def add(left: Expr, right: Expr) -> Expr:
    """left + right."""
    if isinstance(left, Number) and isinstance(right, Number):
        return Number(left.value + right.value)
    if is_number(left, 0):
        return right
    if is_number(right, 0):
        return left
    if isinstance(right, Apply) and right.function == "neg":
        return sub(left, right.operands[0])
    if isinstance(left, Apply) and left.function == "neg":
        return sub(right, left.operands[0])
    return Apply("add", (left, right))


def sub(left: Expr, right: Expr) -> Expr:
    """left - right."""
    if isinstance(left, Number) and isinstance(right, Number):
        return Number(left.value - right.value)
    if is_number(right, 0):
        return left
    if left == right:
        return Number(0.0)
    if is_number(left, 0):
        return neg(right)
    if isinstance(right, Apply) and right.function == "neg":
        return add(left, right.operands[0])
    if isinstance(right, Apply) and right.function == "sub" and right.operands[0] == left:
        return right.operands[1]  # 1 - (1 - z)
    return Apply("sub", (left, right))


def mul(left: Expr, right: Expr) -> Expr:
    """left * right."""
    if isinstance(left, Number) and isinstance(right, Number):
        return Number(left.value * right.value)
    for one, other in ((left, right), (right, left)):
        if is_number(one, 0):
            return Number(0.0)
        if is_number(one, 1):
            return other
        if is_number(one, -1):
            return neg(other)
        if isinstance(one, Apply) and one.function == "neg":
            return neg(mul(*((one.operands[0], right) if one is left else (left, one.operands[0]))))
    return Apply("mul", (left, right))


def div(left: Expr, right: Expr) -> Expr:
    """left / right."""
    if is_number(right, 1) or is_number(left, 0):
        return left
    if isinstance(left, Number) and isinstance(right, Number) and right.value:
        return Number(left.value / right.value)
    if isinstance(left, Apply) and left.function == "neg":
        return neg(div(left.operands[0], right))
    return Apply("div", (left, right))


_NUMBERS: Mapping[str, Callable[..., float]] = {
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "tanh": math.tanh,
    "relu": lambda a: max(a, 0.0),
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "abs": abs,
    "softplus": lambda a: a if a > 20 else math.log1p(math.exp(a)),
    "positive": lambda a: float(a > 0),
    "sign": lambda a: float(a > 0) - float(a < 0),
    "max": max,
    "min": min,
    "above": lambda a, b: (float(a > b) + float(a >= b)) / 2,
}

MAKE: Mapping[str, Callable[..., Expr]] = {"neg": neg, "add": add, "sub": sub, "mul": mul, "div": div}


def apply(function: str, *operands: Expr) -> Expr:
    """A function of its operands, simplified where numbers, zeros, ones and double negations allow."""
    if function in MAKE:
        return MAKE[function](*operands)
    numbers = [v.value for v in operands if isinstance(v, Number)]
    if len(numbers) == len(operands):
        with suppress(ValueError, OverflowError):
            return Number(_NUMBERS[function](*numbers))
    return Apply(function, operands)


def names(value: Expr) -> list[str]:
    """The names in an expression, each once, in order."""
    if isinstance(value, Name):
        return [value.text]
    return list(dict.fromkeys(n for part in parts(value) for n in names(part)))


def functions(value: Expr) -> list[str]:
    """The functions in an expression, as often as it has them."""
    own = [value.function] if isinstance(value, Apply) else []
    return [*own, *(f for part in parts(value) for f in functions(part))]


def replace(value: Expr, by: Mapping[str, Expr]) -> Expr:
    """The expression with names replaced, simplified."""
    if isinstance(value, Name):
        return by.get(value.text, value)
    return apply(value.function, *(replace(v, by) for v in value.operands)) if isinstance(value, Apply) else value


def parts(value: Expr) -> tuple[Expr, ...]:
    """The operands, where there are any."""
    return value.operands if isinstance(value, Apply) else ()


def total(values: Iterable[Expr]) -> Expr:
    """The sum."""
    found: Expr = Number(0.0)
    for value in values:
        found = add(found, value)
    return found
