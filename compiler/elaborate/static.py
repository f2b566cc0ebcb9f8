"""Static evaluation: total, bounded, Python-like. Tensors are left to the class that extends this one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..diagnostics import ArchError, Label, did_you_mean, error
from ..sizes import Dim, SizeLimit, Verdict, bounds, compare, floordiv
from ..source import Span
from ..syntax import ast
from . import limits
from .builtins import BUILTINS
from .indices import TreeLimit, combine
from .limits import Budget, check_count, check_int
from .values import POISON, Global, Indexed, Poisoned, Tensor, Weight, describe

COMPARISONS = {"<", "<=", ">", ">=", "==", "!="}
_UNBOUND = object()
_UNKNOWN_SIZE = "give the axis a fixed size where it enters the network, as in `H=224`"


class Evaluator:
    """Evaluates expressions. Subclasses say what names mean (`lookup`) and what tensors do (`tensor_…`)."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self.names: dict[str, Any] = {}

    # -- what subclasses decide

    def lookup(self, name: str, span: Span) -> Any:
        """The value of a name; raises an A0201 error."""
        raise error("A0201", f"nothing here is called `{name}`", span)

    def has(self, name: str) -> bool:
        return False

    def known_names(self) -> list[str]:
        return []

    def bind_local(self, name: str, value: Any) -> Any:
        """Binds a comprehension's variable; returns what to hand to `restore_local`."""
        before = self.names.get(name, _UNBOUND)
        self.names[name] = value
        return before

    def restore_local(self, name: str, before: Any) -> None:
        if before is _UNBOUND:
            self.names.pop(name, None)
        else:
            self.names[name] = before

    def call_function(self, function: Global, call: ast.Call) -> Any:
        raise NotImplementedError

    def recipe(self, call: ast.Call | ast.Name) -> Any:
        """A layer or block standing as a value."""
        raise error("A0404", "a layer can't stand here", call.span)

    def pipe(self, e: ast.Pipe) -> Any:
        raise error(
            "A0404",
            "an arrow can't stand here: only static values can",
            e.span,
            help="data flows in the body of a block or network, not in settings",
        )

    def tensor_binary(self, op: str, left: Any, right: Any, e: ast.Binary) -> Any:
        raise error("A0404", "a tensor can't stand in a static expression", e.span)

    def tensor_unary(self, op: str, value: Any, e: ast.Unary) -> Any:
        raise error("A0404", "a tensor can't stand in a static expression", e.span)

    def tensor_attribute(self, value: Any, e: ast.Attribute) -> Any:
        raise error("A0405", f"{describe(value)} has no `.{e.name}`", e.span)

    def tensor_index(self, value: Any, e: ast.Index) -> Any:
        raise error("A0404", "a tensor can't stand in a static expression", e.span)

    # -- expressions

    def eval(self, e: ast.Expr) -> Any:
        """The value of an expression. Raises ArchError, or Poisoned when it rests on an error already reported."""
        self.budget.spend(1, e.span)
        value = _METHODS[type(e)](self, e)
        if value is POISON:
            raise Poisoned
        return value

    def _number(self, e: ast.Number) -> int | float:
        return check_int(e.value, e.span) if isinstance(e.value, int) else e.value

    def _name(self, e: ast.Name) -> Any:
        if e.text == "inf" and not self.has("inf"):
            return math.inf
        if e.text == "pi" and not self.has("pi"):
            return math.pi
        return self.lookup(f"{e.text}'" if e.primed else e.text, e.span)

    def _comprehension(self, e: ast.Comprehension) -> tuple:
        items = []
        before = [(t.text, self.bind_local(t.text, None)) for t in e.targets]
        try:
            for item in self.iterate(e.iterable):
                for target, value in zip(e.targets, self.take_apart(item, len(e.targets), e.span), strict=True):
                    self.bind_local(target.text, value)
                if e.condition is None or self.truth(e.condition):
                    items.append(self.eval(e.value))
        finally:
            for name, value in reversed(before):
                self.restore_local(name, value)
        return tuple(items)

    def iterate(self, e: ast.Expr) -> Any:
        """The elements of a list or range, bounded."""
        value = self.eval(e)
        if isinstance(value, (tuple, range)):
            check_count(len(value), "this loop would take this many turns:", e.span)
            return value
        raise error(
            "A0406",
            f"a loop needs a list or a range, found {describe(value)}",
            e.span,
            help="write `0..n` to count, or `[a, b, c]`",
        )

    def take_apart(self, value: Any, count: int, span: Span) -> tuple:
        """A value as `count` values; one stays whole."""
        if count == 1:
            return (value,)
        if isinstance(value, (tuple, range)) and len(value) == count:
            return tuple(value)
        raise error("A0407", f"{count} names need {count} values, found {describe(value)}", span)

    def truth(self, e: ast.Expr) -> bool:
        """A compile-time condition."""
        value = self.eval(e)
        if isinstance(value, bool):
            return value
        if isinstance(value, (Tensor, Weight)):
            raise error(
                "A0401",
                "a tensor can't decide what is compiled",
                e.span,
                help="its values are known only when the network runs: use `(condition, a, b) -> where`",
            )
        if isinstance(value, Indexed):
            raise error("A0408", "an index can't decide here", e.span, help="use `if … then … else …` as a value")
        raise error("A0408", f"a condition must be true or false, found {describe(value)}", e.span)

    def _unary(self, e: ast.Unary) -> Any:
        value = self.eval(e.operand)
        if isinstance(value, (Tensor, Weight)):
            return self.tensor_unary(e.op, value, e)
        if isinstance(value, Indexed):
            return combine("not" if e.op == "not" else "neg", value) if e.op != "+" else value
        if e.op == "not" and isinstance(value, bool):
            return not value
        if e.op in "+-" and isinstance(value, (int, float, Dim)) and not isinstance(value, bool):
            return -value if e.op == "-" else value
        raise error("A0402", f"`{e.op}` does not apply to {describe(value)}", e.span)

    def _if(self, e: ast.IfExpr) -> Any:
        condition = self.eval(e.condition)
        if isinstance(condition, Indexed):
            return self._combine("if", (condition, self.eval(e.yes), self.eval(e.no)), e.span)
        if not isinstance(condition, bool):
            return self.eval(e.yes if self.truth(e.condition) else e.no)
        return self.eval(e.yes if condition else e.no)

    def _range(self, e: ast.Range) -> range:
        ends = []
        for end in (e.low, e.high):
            if end is None:
                raise error("A0409", "this range needs both ends", e.span, help="write `0..n`")
            value = self.eval(end)
            if isinstance(value, Dim):
                raise error(
                    "A0303", f"a range needs a known end, but {value} is not known", end.span, help=_UNKNOWN_SIZE
                )
            if not isinstance(value, int) or isinstance(value, bool):
                raise error("A0409", f"the ends of a range are whole numbers, found {describe(value)}", end.span)
            ends.append(value)
        return range(ends[0], ends[1])

    def _binary(self, e: ast.Binary) -> Any:
        left = self.eval(e.left)
        if e.op in ("and", "or") and isinstance(left, bool):
            if left is (e.op == "or"):
                return left
            right = self.eval(e.right)
            if isinstance(right, (bool, Indexed)):
                return right
            if not isinstance(right, (Tensor, Weight)):
                raise error("A0402", f"`{e.op}` needs two truth values, found {describe(right)}", e.right.span)
        else:
            right = self.eval(e.right)
        if isinstance(left, (Tensor, Weight)) or isinstance(right, (Tensor, Weight)):
            if e.op in ("+", "==", "!=") and (isinstance(left, tuple) or isinstance(right, tuple)):
                return self.static_binary(e.op, left, right, e)
            return self.tensor_binary(e.op, left, right, e)
        if isinstance(left, Indexed) or isinstance(right, Indexed):
            return self._combine(e.op, (left, right), e.span)
        return self.static_binary(e.op, left, right, e)

    def _combine(self, function: str, arguments: tuple, span: Span) -> Indexed:
        for a in arguments:
            if not isinstance(a, (int, float, bool, Dim, Indexed)):
                raise error("A0402", f"{describe(a)} can't be combined with an index", span)
        try:
            return combine(function, *arguments)
        except TreeLimit as failure:
            raise error("A0801", str(failure), span) from None

    def static_binary(self, op: str, left: Any, right: Any, e: ast.Binary) -> Any:
        """A binary operation on static values."""
        if op in ("==", "!="):
            return self._equal(left, right, e) is (op == "==")
        if isinstance(left, tuple) and isinstance(right, tuple) and op == "+":
            check_count(len(left) + len(right), "this list would have this many elements:", e.span)
            return left + right
        if isinstance(left, str) and isinstance(right, str) and op == "+":
            return left + right
        if op == "*" and isinstance(left, (tuple, str)) and isinstance(right, int) and not isinstance(right, bool):
            check_count(len(left) * max(0, right), "this list would have this many elements:", e.span)
            return left * right
        numbers = (int, float, Dim)
        if not all(isinstance(v, numbers) and not isinstance(v, bool) for v in (left, right)):
            wrong, place = (
                (right, e.right) if isinstance(left, numbers) and not isinstance(left, bool) else (left, e.left)
            )
            raise error(
                "A0402",
                f"`{op}` does not apply to {describe(left)} and {describe(right)}",
                e.span,
                labels=[Label(place.span, f"this is {describe(wrong)}")],
            )
        if op in COMPARISONS:
            return self._ordered(op, left, right, e)
        try:
            return self._arithmetic(op, left, right, e)
        except ZeroDivisionError:
            raise error("A0410", "division by zero", e.span, labels=[Label(e.right.span, "this is 0")]) from None
        except (OverflowError, ValueError, SizeLimit) as failure:
            raise error("A0803", f"this can't be computed: {failure}", e.span) from None

    def _arithmetic(self, op: str, left: Any, right: Any, e: ast.Binary) -> Any:
        if isinstance(left, Dim) or isinstance(right, Dim):
            return self._size_arithmetic(op, left, right, e)
        if op == "**":
            return self._power(left, right, e.span)
        result = {
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "/": lambda: left / right,
            "//": lambda: left // right,
            "%": lambda: left % right,
        }[op]()
        return check_int(result, e.span) if isinstance(result, int) else result

    @staticmethod
    def _power(left: int | float, right: int | float, span: Span) -> int | float:
        if isinstance(left, int) and isinstance(right, int) and right >= 0:
            if abs(left) > 1 and right > limits.BITS:
                raise error("A0803", f"this number needs more than {limits.BITS} bits", span)
            return check_int(left**right, span)
        result = left**right
        if isinstance(result, complex):
            raise error("A0410", "a root of a negative number", span)
        return result

    @staticmethod
    def _size_arithmetic(op: str, left: Any, right: Any, e: ast.Binary) -> Any:
        if isinstance(left, float) or isinstance(right, float) or op == "/":
            size = left if isinstance(left, Dim) else right
            raise error(
                "A0303",
                f"`{op}` needs numbers that are known, but {size} is not",
                e.span,
                help=f"use `//` for sizes, or {_UNKNOWN_SIZE}" if op == "/" else _UNKNOWN_SIZE,
            )
        if op == "**":
            return left**right if isinstance(right, int) else _no_power(e)
        return {
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "//": lambda: floordiv(left, right),
            "%": lambda: left % right,
        }[op]()

    @staticmethod
    def _equal(left: Any, right: Any, e: ast.Expr) -> bool:
        if isinstance(left, Dim) or isinstance(right, Dim):
            if not all(isinstance(v, (int, Dim)) and not isinstance(v, bool) for v in (left, right)):
                return False
            verdict = compare(left, right)
            if verdict is Verdict.OPEN:
                raise error(
                    "A0303",
                    f"whether {left} equals {right} must be known when this is compiled",
                    e.span,
                    help=_UNKNOWN_SIZE,
                )
            return verdict is Verdict.PROVED
        if isinstance(left, bool) != isinstance(right, bool):
            return False
        return bool(left == right)

    @staticmethod
    def _ordered(op: str, left: Any, right: Any, e: ast.Binary) -> bool:
        if isinstance(left, Dim) or isinstance(right, Dim):
            if isinstance(left, float) or isinstance(right, float):
                raise error("A0303", f"`{op}` needs sizes that are known", e.span, help=_UNKNOWN_SIZE)
            low, high = bounds(left - right)
            decided = {
                "<": (high < 0, low >= 0),
                "<=": (high <= 0, low > 0),
                ">": (low > 0, high <= 0),
                ">=": (low >= 0, high < 0),
            }[op]
            if not any(decided):
                raise error(
                    "A0303",
                    f"whether {left} {op} {right} must be known when this is compiled",
                    e.span,
                    help=_UNKNOWN_SIZE,
                )
            return decided[0]
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[op]

    # -- calls, attributes, indices

    def _call(self, e: ast.Call) -> Any:
        if isinstance(e.function, ast.Name):
            name = e.function.text
            found = self.lookup(name, e.function.span) if self.has(name) else None
            if isinstance(found, Global) and isinstance(found.item, ast.Func):
                return self.call_function(found, e)
            if found is None and name in BUILTINS:
                return self._builtin(name, e)
            return self.recipe(e)
        raise error("A0411", "only a function, a layer or a block can be called", e.function.span)

    def _builtin(self, name: str, e: ast.Call) -> Any:
        low, high, function = BUILTINS[name]
        for a in e.arguments:
            if a.name is not None:
                raise error("A0412", f"`{name}` takes no setting `{a.name}`", a.span)
        if not low <= len(e.arguments) <= high:
            count = str(low) if low == high else f"{low} to {high}" if high < 99 else f"at least {low}"
            raise error("A0412", f"`{name}` takes {count} values, found {len(e.arguments)}", e.span)
        values = [self.eval(a.value) for a in e.arguments]
        for value, a in zip(values, e.arguments, strict=True):
            if isinstance(value, (Tensor, Weight)):
                raise error(
                    "A0404",
                    f"`{name}(…)` computes with static values, and this is {describe(value)}",
                    a.span,
                    help=f"data flows along arrows: `{a.value.span.text} -> {name}`",
                )
        if any(isinstance(v, Indexed) for v in values):
            if name not in (
                "min",
                "max",
                "abs",
                "exp",
                "log",
                "log2",
                "sqrt",
                "sin",
                "cos",
                "floor",
                "ceil",
                "round",
                "int",
            ):
                raise error("A0402", f"`{name}` can't be computed from an index", e.span)
            result = values[0]
            if len(values) == 1:
                return self._combine(name, (result,), e.span)
            for value in values[1:]:
                result = self._combine(name, (result, value), e.span)
            return result
        try:
            result = function(*values)
        except (Poisoned, ArchError):
            raise
        except ZeroDivisionError:
            raise error("A0410", "division by zero", e.span) from None
        except (TypeError, AttributeError):
            kinds = " and ".join(describe(v) for v in values)
            raise error("A0402", f"`{name}` does not apply to {kinds}", e.span) from None
        except (ValueError, OverflowError) as failure:
            raise error("A0410", f"`{name}` can't be computed here: {failure}", e.span) from None
        return check_int(result, e.span) if isinstance(result, int) and not isinstance(result, bool) else result

    def _attribute(self, e: ast.Attribute) -> Any:
        return self.tensor_attribute(self.eval(e.value), e)

    def _index(self, e: ast.Index) -> Any:
        value = self.eval(e.value)
        if isinstance(value, (Tensor, Weight)):
            return self.tensor_index(value, e)
        if not isinstance(value, (tuple, range, str)):
            raise error("A0413", f"{describe(value)} can't be indexed", e.span)
        if len(e.arguments) != 1 or e.arguments[0].name is not None:
            raise error("A0413", "a list takes one index", e.span, help="write `xs[0]`, `xs[-1]` or `xs[1..3]`")
        at = e.arguments[0].value
        if isinstance(at, ast.Range):
            low, high = (self._position(end) for end in (at.low, at.high))
            return tuple(value[low:high]) if not isinstance(value, str) else value[low:high]
        position = self._position(at)
        assert position is not None
        if not -len(value) <= position < len(value):
            raise error(
                "A0413",
                f"index {position} is outside a list of {len(value)}",
                at.span,
                labels=[Label(e.value.span, f"this has {len(value)} elements")],
            )
        return value[position]

    def _position(self, e: ast.Expr | None) -> int | None:
        if e is None:
            return None
        value = self.eval(e)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise error("A0413", f"an index must be a whole number, found {describe(value)}", e.span)


def _no_power(e: ast.Binary) -> Any:
    raise error("A0303", "a power needs a known exponent", e.right.span, help=_UNKNOWN_SIZE)


_METHODS: dict[type, Callable[[Evaluator, Any], Any]] = {
    ast.Number: Evaluator._number,
    ast.String: lambda _, e: e.value,
    ast.Bool: lambda _, e: e.value,
    ast.NoneLit: lambda _, e: None,
    ast.Name: Evaluator._name,
    ast.ListExpr: lambda self, e: tuple([self.eval(item) for item in e.items]),
    ast.TupleExpr: lambda self, e: tuple([self.eval(item) for item in e.items]),
    ast.Comprehension: Evaluator._comprehension,
    ast.Unary: Evaluator._unary,
    ast.Binary: Evaluator._binary,
    ast.IfExpr: Evaluator._if,
    ast.Range: Evaluator._range,
    ast.Call: Evaluator._call,
    ast.Attribute: Evaluator._attribute,
    ast.Index: Evaluator._index,
    ast.Pipe: lambda self, e: self.pipe(e),
}
"""What evaluates each kind of expression: one table, for evaluators are made for every block."""


class Scope(Evaluator):
    """An evaluator over a plain mapping of names: contracts, train blocks, command-line parameters."""

    def __init__(self, names: Mapping[str, Any], budget: Budget | None = None) -> None:
        super().__init__(budget)
        self.names.update(names)

    def lookup(self, name: str, span: Span) -> Any:
        if name in self.names:
            return self.names[name]
        raise error(
            "A0201", f"nothing here is called `{name}`", span, help=did_you_mean(name, [*self.names, *BUILTINS])
        )

    def has(self, name: str) -> bool:
        return name in self.names

    def known_names(self) -> list[str]:
        return list(self.names)


def evaluate(e: ast.Expr, names: Mapping[str, Any]) -> Any:
    """The static value of an expression over plain names. Raises ArchError."""
    return Scope(names).eval(e)
