"""A cell as equations over vectors: what the kernels of recurrences are made from.

One step of a recurrence, for one example: every value is a vector. Products with weight matrices and pointwise
functions are all there is; a cell that holds more (a norm, attention, a convolution) has no equations and runs as a
plain loop. The text form stands in generated source, and is read again where it runs:

    input x: 128
    state h: 256
    state c: 256
    weight w0: 256 384
    weight b0: 256
    a = linear(h, x; w0, b0)
    f = sigmoid(a)
    g = linear(h, x; w1, b1)[0:256]
    c1 = f * c + ...
    next h = ...
    output h1

Each value is assigned once, after what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

UNARY = ("neg", "sigmoid", "tanh", "relu", "exp", "log", "sqrt", "abs", "softplus", "positive", "sign")
BINARY = ("add", "sub", "mul", "div", "max", "min", "above")


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Name:
    """A vector: an input, a state, a weight of one axis, a value assigned before. One of width 1 is broadcast."""

    text: str


@dataclass(frozen=True)
class Apply:
    """A pointwise function (`UNARY` or `BINARY`) of its operands. relu'(0) = 0 and |·|'(0) = 0, as in PyTorch; of
    equal operands max and min share the gradient.

    Derivatives need steps, whose own derivative is 0: positive(a) is 1 where a > 0 and 0 elsewhere, sign(a) is -1, 0 or
    1, above(a, b) is 1 where a > b, a half where they are equal and 0 elsewhere."""

    function: str
    operands: tuple[Expr, ...]


Expr = Number | Name | Apply


@dataclass(frozen=True)
class Product:
    """`name = weight · [operands, joined] + bias`. weight: [width of name, the operands' widths together].

    rows: first and past-the-last row of weight and bias that it takes (part of a product that is split); None: all."""

    name: str
    operands: tuple[str, ...]
    weight: str
    bias: str | None = None
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class Assign:
    """`name = value`, place by place."""

    name: str
    value: Expr


Step = Product | Assign


@dataclass(frozen=True)
class Equations:
    """One step of a recurrence.

    inputs: widths of what comes anew at each step. constants: of what is the same at every step. states: of what is
    passed on. weights: shapes, matrices [out, in] and vectors [n], in the order in which a kernel is given them.
    steps: in order. next: by state, the value that is its next one. outputs: what leaves each step.
    """

    inputs: Mapping[str, int]
    states: Mapping[str, int]
    weights: Mapping[str, tuple[int, ...]]
    steps: tuple[Step, ...]
    next: Mapping[str, str]
    outputs: tuple[str, ...]
    constants: Mapping[str, int] = field(default_factory=dict)

    @property
    def widths(self) -> dict[str, int]:
        """The width of every vector. Raises ValueError where widths do not fit, or a name is unknown or doubled."""
        found = {**self.inputs, **self.constants, **self.states}
        found |= {name: shape[0] for name, shape in self.weights.items() if len(shape) == 1}
        if len(found) != len(self.inputs) + len(self.constants) + len(self.states) + _vectors(self.weights):
            raise ValueError("two values have one name")
        for step in self.steps:
            if step.name in found or step.name in self.weights:
                raise ValueError(f"`{step.name}` is assigned twice")
            found[step.name] = self._product(step, found) if isinstance(step, Product) else _width(step.value, found)
        for state, value in self.next.items():
            if _known(found, value) != _known(self.states, state):
                raise ValueError(f"`{state}` has {self.states[state]} elements, its next value {found[value]}")
        if set(self.next) != set(self.states):
            raise ValueError("every state needs one next value")
        for output in self.outputs:
            _known(found, output)
        return found

    def _product(self, step: Product, widths: Mapping[str, int]) -> int:
        shape = _known(self.weights, step.weight)
        if len(shape) != 2 or shape[1] != sum(_known(widths, name) for name in step.operands):
            raise ValueError(f"`{step.weight}` of `{step.name}` is {shape}, which does not fit {step.operands}")
        if step.bias is not None and _known(self.weights, step.bias) != (shape[0],):
            raise ValueError(f"`{step.bias}` of `{step.name}` must be ({shape[0]},)")
        start, stop = step.rows or (0, shape[0])
        if not start < stop <= shape[0]:
            raise ValueError(f"`{step.weight}` of `{step.name}` has no rows {start}:{stop}, only {shape[0]}")
        return stop - start

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for kind, widths in (("input", self.inputs), ("constant", self.constants), ("state", self.states)):
            yield from (f"{kind} {name}: {width}" for name, width in widths.items())
        yield from (f"weight {name}: {' '.join(map(str, shape))}" for name, shape in self.weights.items())
        for step in self.steps:
            if isinstance(step, Product):
                bias = f", {step.bias}" if step.bias is not None else ""
                rows = f"[{step.rows[0]}:{step.rows[1]}]" if step.rows is not None else ""
                yield f"{step.name} = linear({', '.join(step.operands)}; {step.weight}{bias}){rows}"
            else:
                yield f"{step.name} = {show(step.value)}"
        yield from (f"next {state} = {value}" for state, value in self.next.items())
        yield from (f"output {name}" for name in self.outputs)


def _vectors(weights: Mapping[str, tuple[int, ...]]) -> int:
    return sum(len(shape) == 1 for shape in weights.values())


def _known(table: Mapping, name: str):
    if name not in table:
        raise ValueError(f"nothing before is called `{name}`")
    return table[name]


def _width(value: Expr, widths: Mapping[str, int]) -> int:
    if isinstance(value, Number):
        return 1
    if isinstance(value, Name):
        return _known(widths, value.text)
    found = {_width(operand, widths) for operand in value.operands}
    wide = found - {1}
    if len(wide) > 1:
        raise ValueError(f"`{value.function}` is given vectors of {' and '.join(map(str, sorted(wide)))} elements")
    return wide.pop() if wide else 1


_SIGNS = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2)}


def show(value: Expr) -> str:
    """An expression as text."""
    return _show(value, 0)


def _show(value: Expr, tight: int) -> str:
    if isinstance(value, Number):
        return repr(value.value) if value.value >= 0 else f"({value.value!r})"
    if isinstance(value, Name):
        return value.text
    if value.function in _SIGNS:
        sign, level = _SIGNS[value.function]
        left, right = value.operands
        text = f"{_show(left, level)} {sign} {_show(right, level + 1)}"
        return f"({text})" if level < tight else text
    return f"{value.function}({', '.join(_show(operand, 0) for operand in value.operands)})"


_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:e[+-]?\d+)?|inf|nan)(?![A-Za-z_])|([A-Za-z_]\w*)|(.))")


class _Reader:
    """Reads one expression. Raises ValueError."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [m.group(m.lastindex or 0) for m in _TOKEN.finditer(text.strip())]
        self.at = 0

    def whole(self) -> Expr:
        value = self.sum()
        if self.at < len(self.tokens):
            raise self.wrong()
        return value

    def wrong(self) -> ValueError:
        return ValueError(f"can't read `{self.text.strip()}` at `{''.join(self.tokens[self.at :])}`")

    def take(self, *wanted: str) -> str | None:
        if self.at < len(self.tokens) and self.tokens[self.at] in wanted:
            self.at += 1
            return self.tokens[self.at - 1]
        return None

    def need(self, wanted: str) -> None:
        if self.take(wanted) is None:
            raise self.wrong()

    def sum(self) -> Expr:
        value = self.term()
        while sign := self.take("+", "-"):
            value = Apply("add" if sign == "+" else "sub", (value, self.term()))
        return value

    def term(self) -> Expr:
        value = self.factor()
        while sign := self.take("*", "/"):
            value = Apply("mul" if sign == "*" else "div", (value, self.factor()))
        return value

    def factor(self) -> Expr:
        if self.take("("):
            negative = self.take("-")
            value = Number(-self.number()) if negative else self.sum()
            self.need(")")
            return value
        if self.at == len(self.tokens):
            raise self.wrong()
        token = self.tokens[self.at]
        if token[0].isdigit() or token in ("inf", "nan"):
            return Number(self.number())
        if not token.isidentifier():
            raise self.wrong()
        self.at += 1
        if not self.take("("):
            return Name(token)
        count = 1 if token in UNARY else 2 if token in BINARY else 0
        if not count:
            raise ValueError(f"`{token}` is no function of an equation")
        operands = [self.sum()]
        while self.take(","):
            operands.append(self.sum())
        self.need(")")
        if len(operands) != count:
            raise ValueError(f"`{token}` takes {count} operands, has {len(operands)}")
        return Apply(token, tuple(operands))

    def number(self) -> float:
        try:
            value = float(self.tokens[self.at])
        except (IndexError, ValueError):
            raise self.wrong() from None
        self.at += 1
        return value


_DECLARED = re.compile(r"(input|constant|state|weight) ([A-Za-z_]\w*): (\d+(?: \d+)*)")
_ASSIGNED = re.compile(r"(next )?([A-Za-z_]\w*) = (.+)")
_LINEAR = re.compile(r"linear\(([^;()]+);([^;()]+)\)(?:\[(\d+):(\d+)\])?")


def read(text: str) -> Equations:
    """Equations from their text form. Raises ValueError where it does not fit together."""
    tables: dict[str, dict[str, int]] = {"input": {}, "constant": {}, "state": {}}
    weights: dict[str, tuple[int, ...]] = {}
    steps: list[Step] = []
    following: dict[str, str] = {}
    outputs: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if found := _DECLARED.fullmatch(line):
            kind, name, sizes = found.groups()
            shape = tuple(map(int, sizes.split()))
            if kind == "weight":
                weights[name] = shape
            else:
                tables[kind][name] = shape[0]
        elif line.startswith("output "):
            outputs.append(line.removeprefix("output "))
        elif found := _ASSIGNED.fullmatch(line):
            later, name, value = found.groups()
            if later:
                following[name] = value
            else:
                steps.append(_step(name, value))
        else:
            raise ValueError(f"can't read `{line}`")
    read = Equations(
        tables["input"], tables["state"], weights, tuple(steps), following, tuple(outputs), tables["constant"]
    )
    read.widths  # noqa: B018  (asks whether it fits together)
    return read


def _step(name: str, value: str) -> Step:
    found = _LINEAR.fullmatch(value)
    if found is None:
        return Assign(name, _Reader(value).whole())
    operands, weights = ([part.strip() for part in group.split(",")] for group in found.groups()[:2])
    if len(weights) > 2:
        raise ValueError(f"`{name}` takes a weight and at most one bias")
    rows = (int(found[3]), int(found[4])) if found[3] else None
    return Product(name, tuple(operands), weights[0], weights[1] if len(weights) == 2 else None, rows)
