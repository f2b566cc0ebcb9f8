"""Elementwise ops of a cell, as expressions of the functions that equations have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..ops.base import Op
from .equations import Apply, Expr, Number
from .expressions import add, apply, div, mul, neg, sub

ONE = Number(1.0)
_ROOT = Number(math.sqrt(2 / math.pi))
_SCALE, _ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717  # of selu, as PyTorch has them


def _named(function: str) -> Callable[[Any, Expr], Expr]:
    return lambda op, x: Apply(function, (x,))


def _above_zero(x: Expr) -> Expr:
    return Apply("positive", (x,))


def _clamped(x: Expr, lo: float | None, hi: float | None) -> Expr:
    # The gradient where x equals a bound is a half, between the two that PyTorch's functions choose from.
    x = x if lo is None else Apply("max", (x, Number(float(lo))))
    return x if hi is None else Apply("min", (x, Number(float(hi))))


def _leaky(slope: Expr, x: Expr) -> Expr:
    return mul(x, add(slope, mul(sub(ONE, slope), _above_zero(x))))  # its gradient at 0 is the slope, as PyTorch's


def prelu(slope: Expr, x: Expr) -> Expr:
    """x where it is above zero, slope · x elsewhere."""
    return _leaky(slope, x)


def _elu(x: Expr, alpha: float, scale: float = 1.0) -> Expr:
    below = mul(x, sub(ONE, _above_zero(x)))  # not min(x, 0), whose gradient at 0 would be another
    bent = mul(Number(alpha), sub(Apply("exp", (below,)), ONE))
    return mul(Number(scale), add(Apply("relu", (x,)), bent))


def _gelu(op: Any, x: Expr) -> Expr | None:
    if not op.tanh:
        return None  # needs the error function
    inner = mul(_ROOT, add(x, mul(Number(0.044715), mul(x, mul(x, x)))))
    return mul(mul(Number(0.5), x), add(ONE, Apply("tanh", (inner,))))


def _hard(x: Expr) -> Expr:
    return div(_clamped(add(x, Number(3.0)), 0, 6), Number(6.0))


def _same(op: Any, x: Expr) -> Expr:
    return x


_POINTWISE: Mapping[str, Callable[[Any, Expr], Expr | None]] = {
    **{name: _named(name) for name in ("sigmoid", "tanh", "relu", "exp", "log", "sqrt", "abs", "softplus", "sign")},
    "identity": _same,
    "neg": lambda op, x: neg(x),
    "square": lambda op, x: mul(x, x),
    "reciprocal": lambda op, x: div(ONE, x),
    "rsqrt": lambda op, x: div(ONE, Apply("sqrt", (x,))),
    "silu": lambda op, x: mul(x, Apply("sigmoid", (x,))),
    "swish": lambda op, x: mul(x, Apply("sigmoid", (mul(Number(op.beta), x),))),
    "mish": lambda op, x: mul(x, Apply("tanh", (Apply("softplus", (x,)),))),
    "gelu": _gelu,
    "relu6": lambda op, x: Apply("min", (Apply("relu", (x,)), Number(6.0))),
    "leaky_relu": lambda op, x: _leaky(Number(op.slope), x),
    "elu": lambda op, x: _elu(x, op.alpha),
    "selu": lambda op, x: _elu(x, _ALPHA, _SCALE),
    "hardtanh": lambda op, x: _clamped(x, op.lo, op.hi),
    "hardsigmoid": lambda op, x: _hard(x),
    "hardswish": lambda op, x: mul(x, _hard(x)),
    "clamp": lambda op, x: _clamped(x, op.lo, op.hi),
}
_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "div": "div"}


def unary(op: Op, x: Expr) -> Expr | None:
    """An op of one operand; None where it is no function of equations."""
    found = _POINTWISE.get(op.name)
    return None if found is None else found(op, x)


def binary(op: Op, left: Expr, right: Expr) -> Expr | None:
    """An op of two operands; None where it is no function of equations."""
    if op.name in _BINARY:
        return apply(op.name, left, right)
    if op.name != "pow" or not isinstance(right, Number):
        return None
    powers = {1.0: left, 2.0: mul(left, left), 3.0: mul(left, mul(left, left)), 0.5: Apply("sqrt", (left,))}
    powers[-1.0] = div(ONE, left)
    return powers.get(right.value)
