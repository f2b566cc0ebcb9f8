"""Arithmetic, comparison and logic between tensors: what `+`, `<` and `and` mean there. Numbers that meet tensors."""

from __future__ import annotations

from typing import ClassVar

from .. import sizes
from ..declared import Field
from ..masks import NOTHING, Known
from ..relations import Relations
from ..sizes import Dim
from ..types import TensorType
from .base import ANY, Code, Example, Glyph, Interval, Need, Op, aligned, pointwise
from .elementwise import add_bounds, broadcast, divide, multiply, negate, promote, raise_to, refuse_bool, require_bool


class Scalar(Op):
    """A number that meets tensors: `0.5 * x` multiplies by a tensor without axes that holds 0.5."""

    name = "scalar"
    glyph = Glyph.CONSTANT
    operands = ()
    hidden = True
    examples = (
        Example({"value": 0.5}, (), ("",)),
        Example({"value": -3}, (), ("int ",)),
        Example({"value": True}, (), ("bool ",)),
    )

    value: bool | int | float | Dim = Field(description="the number, the truth value or the size")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scalar) and type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value).__name__, self.value))

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        kinds: dict[type, str] = {bool: "bool", float: "float"}
        return (TensorType((), kinds.get(type(self.value), "int")),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return {}

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        ends = sizes.bounds(self.value) if isinstance(self.value, Dim) else (self.value, self.value)
        return (Interval(*ends),)

    def known(self) -> Known:
        return NOTHING if isinstance(self.value, Dim) else Known(float(self.value))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return Code("{value}", {"value": self.value})


_COMMUTING = {"+": "add_", "*": "mul_"}


class _Binary(Op):
    """Two tensors, element by element, broadcast from the right."""

    glyph = Glyph.ARITHMETIC
    operands = ("a", "b")
    hidden = True
    numbers = True
    symbol: ClassVar[str]

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        dtype = self.kind(inputs)
        return (TensorType(broadcast(inputs, need, self.symbol), dtype),)

    def kind(self, inputs: tuple[TensorType, ...]) -> str:
        """The kind of number of the result; refuses operands that have no such operation."""
        refuse_bool(inputs, self.symbol)
        return promote(inputs)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return aligned(inputs, outputs[0])

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        operator = {"and": "&", "or": "|"}.get(self.symbol, self.symbol)
        return Code(f"{{0}} {operator} {{1}}")

    def overwrite(self, operand: int, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code | None:
        whole = inputs[operand].shape == outputs[0].shape and inputs[operand].dtype == outputs[0].dtype
        if not whole or self.symbol not in _COMMUTING:
            return None
        return Code(f"{{{operand}}}.{_COMMUTING[self.symbol]}({{{1 - operand}}})")


class Add(_Binary):
    """The sum, `a + b`."""

    name, symbol = "add", "+"
    examples = (
        Example({}, ("B C=4 H=3 W=3", "B C=4 H=3 W=3"), ("B C=4 H=3 W=3",)),
        Example({}, ("B T 4", "4"), ("B T 4",)),
        Example({}, ("B C=4 H=3", "B C=4 1"), ("B C=4 H=3",)),
        Example({}, ("N 1", "1 N"), ("N _=N",)),
        Example({}, ("int B", ""), ("B",)),
        Example({}, ("1 C=3", "N C=3"), ("N C=3",)),
    )

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (add_bounds(*ranges),)

    def forgets_result(self, inputs: tuple[TensorType, ...]) -> bool:
        return True


class Sub(_Binary):
    """The difference, `a - b`."""

    name, symbol = "sub", "-"
    examples = (Example({}, ("B T", "B T"), ("B T",)), Example({}, ("", "B T"), ("B T",)))

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (add_bounds(ranges[0], negate(ranges[1])),)


class Mul(_Binary):
    """The product element by element, `a * b`."""

    name, symbol = "mul", "*"
    examples = (
        Example({}, ("B C=4 H=3 W=2", "B C=4 1 1"), ("B C=4 H=3 W=2",)),
        Example({}, ("int B", "int B"), ("int B",)),
    )

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (multiply(*ranges),)


class Div(_Binary):
    """The quotient, `a / b`: always a float."""

    name, symbol = "div", "/"
    examples = (
        Example({}, ("B T", "B 1"), ("B T",), ("", "positive")),
        Example({}, ("int B", ""), ("B",), ("", "positive")),
    )

    def kind(self, inputs: tuple[TensorType, ...]) -> str:
        refuse_bool(inputs, self.symbol)
        return "float"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (divide(*ranges),)


class FloorDiv(_Binary):
    """The quotient rounded down, `a // b`."""

    name, symbol = "floordiv", "//"
    examples = (Example({}, ("B T", ""), ("B T",), ("", "positive")),)


class Mod(_Binary):
    """The remainder, `a % b`, with the sign of the divisor as in Python."""

    name, symbol = "mod", "%"
    examples = (Example({}, ("B T", ""), ("B T",), ("", "positive")),)

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        divisor = ranges[1]
        return (Interval(0, divisor.hi) if divisor.lo > 0 else ANY,)


class Pow(_Binary):
    """The power, `a ** b`."""

    name, symbol = "pow", "**"
    examples = (
        Example({}, ("B T", ""), ("B T",), ("positive", "positive")),
        Example({}, ("B T", "B 1"), ("B T",), ("probability", "positive")),
    )

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (raise_to(*ranges),)


class _Comparison(_Binary):
    """A comparison: truth values come out."""

    ordered: ClassVar[bool] = True

    def kind(self, inputs: tuple[TensorType, ...]) -> str:
        if self.ordered or {t.dtype for t in inputs} != {"bool"}:
            refuse_bool(inputs, self.symbol)
        return "bool"

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (_truth(*self.answer(*ranges)),)

    def answer(self, a: Interval, b: Interval) -> tuple[bool, bool]:
        """Whether it surely holds, and whether it surely does not."""
        raise NotImplementedError


def _truth(yes: bool, no: bool) -> Interval:
    return Interval(1, 1) if yes else Interval(0, 0) if no else Interval(0, 1)


class Less(_Comparison):
    """`a < b`, element by element."""

    name, symbol = "less", "<"
    examples = (Example({}, ("B T", "B T"), ("bool B T",)), Example({}, ("int B 1", "int "), ("bool B 1",)))

    def answer(self, a: Interval, b: Interval) -> tuple[bool, bool]:
        return a.hi < b.lo, a.lo >= b.hi


class LessEqual(_Comparison):
    """`a <= b`, element by element."""

    name, symbol = "less_equal", "<="
    examples = (Example({}, ("B T", "B 1"), ("bool B T",)),)

    def answer(self, a: Interval, b: Interval) -> tuple[bool, bool]:
        return a.hi <= b.lo, a.lo > b.hi


class Greater(_Comparison):
    """`a > b`, element by element."""

    name, symbol = "greater", ">"
    examples = (Example({}, ("B T", "T"), ("bool B T",)),)

    def answer(self, a: Interval, b: Interval) -> tuple[bool, bool]:
        return a.lo > b.hi, a.hi <= b.lo


class GreaterEqual(_Comparison):
    """`a >= b`, element by element."""

    name, symbol = "greater_equal", ">="
    examples = (Example({}, ("B T", ""), ("bool B T",)),)

    def answer(self, a: Interval, b: Interval) -> tuple[bool, bool]:
        return a.lo >= b.hi, a.hi < b.lo


class Equal(_Comparison):
    """`a == b`, element by element."""

    name, symbol, ordered = "equal", "==", False
    examples = (Example({}, ("int B T", "int "), ("bool B T",)), Example({}, ("bool B", "bool B"), ("bool B",)))

    def answer(self, a: Interval, b: Interval) -> tuple[bool, bool]:
        return a.lo == a.hi == b.lo == b.hi, a.hi < b.lo or a.lo > b.hi


class NotEqual(_Comparison):
    """`a != b`, element by element."""

    name, symbol, ordered = "not_equal", "!=", False
    examples = (Example({}, ("int n=2 1 3", "int n=2 3 1"), ("bool n=2 3 3",)),)

    def answer(self, a: Interval, b: Interval) -> tuple[bool, bool]:
        return a.hi < b.lo or a.lo > b.hi, a.lo == a.hi == b.lo == b.hi


class _Logic(_Binary):
    """Logic between truth values."""

    def kind(self, inputs: tuple[TensorType, ...]) -> str:
        require_bool(inputs, self.symbol)
        return "bool"


class LogicalAnd(_Logic):
    """`a and b`, element by element."""

    name, symbol = "logical_and", "and"
    examples = (Example({}, ("bool B 1 T", "bool S T"), ("bool B S T",)),)

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        a, b = (x.clipped(0, 1) for x in ranges)
        return (Interval(min(a.lo, b.lo), min(a.hi, b.hi)),)


class LogicalOr(_Logic):
    """`a or b`, element by element."""

    name, symbol = "logical_or", "or"
    examples = (Example({}, ("bool B T", "bool B T"), ("bool B T",)),)

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        a, b = (x.clipped(0, 1) for x in ranges)
        return (Interval(max(a.lo, b.lo), max(a.hi, b.hi)),)


class _Unary(Op):
    """One tensor, element by element, by a prefix operator."""

    glyph = Glyph.ARITHMETIC
    hidden = True
    text: ClassVar[str]

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0])

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return Code(self.text)


class Neg(_Unary):
    """The negative, `-x`."""

    name, text = "neg", "-{0}"
    examples = (Example({}, ("B T",), ("B T",)), Example({}, ("int B",), ("int B",)))

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        refuse_bool(inputs, "-")
        return inputs

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (negate(ranges[0]),)


class LogicalNot(_Unary):
    """The opposite, `not x`."""

    name, text = "logical_not", "~{0}"
    examples = (Example({}, ("bool B T",), ("bool B T",)),)

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        require_bool(inputs, "not")
        return inputs

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        x = ranges[0].clipped(0, 1)
        return (Interval(1 - x.hi, 1 - x.lo),)
