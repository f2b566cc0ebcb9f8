"""Cells that are layers of PyTorch, however they are spelt: the LSTM, the GRU, the plain recurrent layer.

What gates add up of inputs and states is read off the merged equations. What is done with the gates is decided by
numbers: the functions of both sides are analytic, and such functions that agree at random places agree everywhere. So
it does not matter which gate comes first, whether z keeps the old state or takes the new one (σ(-a) = 1 - σ(a): the
rows of that gate change sign), or how sums and products are arranged.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations, product

from .equations import Apply, Assign, Equations, Expr, Name, Number
from .merge import Gate, Merged, Part, Unsupported, merge

Rows = tuple[int, int]


@dataclass(frozen=True)
class Share:
    """What one gate takes from inputs, or from the hidden state: `sign` times the sum of parts, biases and `shift`."""

    sign: int
    parts: tuple[Part, ...]
    biases: tuple[tuple[str, Rows], ...]
    shift: float


@dataclass(frozen=True)
class Layer:
    """A layer of PyTorch. kind: lstm, gru, tanh or relu. inputs: those that enter it, joined. hidden, cell: its states.
    of_inputs, of_hidden: the rows of weight_ih and bias_ih, of weight_hh and bias_hh, gate by gate in PyTorch's order
    (i f g o; r z n). Every output is the next hidden state."""

    kind: str
    inputs: tuple[str, ...]
    hidden: str
    cell: str | None
    of_inputs: tuple[Share, ...]
    of_hidden: tuple[Share, ...]


def recognise(equations: Equations) -> Layer | None:
    """The layer that computes the same; None where there is none."""
    try:
        merged = merge(equations)
    except Unsupported:
        return None
    eq = merged.equations
    read = {part.operand for gate in merged.gates for part in gate.parts}
    hidden = read & set(eq.states)
    widths = {gate.at[1] - gate.at[0] for gate in merged.gates} | set(eq.states.values())
    if len(hidden) != 1 or len(widths) != 1 or read & set(eq.constants):
        return None
    (h,) = hidden
    if any(name != eq.next[h] for name in eq.outputs) or not _only(merged, h):
        return None
    functions = {f for step in eq.steps if isinstance(step, Assign) for f in _functions(step.value)}
    for kind, form in _FORMS.items():
        if len(merged.gates) == form.gates and len(eq.states) == form.states and functions <= form.functions:
            found = _matched(kind, form, merged, h)
            if found is not None:
                return found
    return None


def _only(merged: Merged, hidden: str) -> bool:
    """Do values read gates and states only, and gates nothing but inputs and the hidden state?"""
    eq, columns = merged.equations, {gate.name for gate in merged.gates}
    known = columns | set(eq.states) | {step.name for step in eq.steps}
    read = {name for step in eq.steps if isinstance(step, Assign) for name in _leaves(step.value)}
    entering = {hidden, *eq.inputs} - columns
    return read <= known and all(part.operand in entering for gate in merged.gates for part in gate.parts)


def _leaves(value: Expr) -> Iterator[str]:
    if isinstance(value, Name):
        yield value.text
    elif isinstance(value, Apply):
        for operand in value.operands:
            yield from _leaves(operand)


def _functions(value: Expr) -> Iterator[str]:
    if isinstance(value, Apply):
        yield value.function
        for operand in value.operands:
            yield from _functions(operand)


# --- The layers ---------------------------------------------------------------------------------------------------


def _sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a)) if a >= 0 else math.exp(a) / (1 + math.exp(a))


def _lstm(gates: tuple[float, ...], h: float, c: float) -> tuple[float, ...]:
    i, f, g, o = gates
    after = _sigmoid(f) * c + _sigmoid(i) * math.tanh(g)
    return _sigmoid(o) * math.tanh(after), after


def _gru(gates: tuple[float, ...], h: float) -> tuple[float, ...]:
    r, z, xn, hn = gates
    n, keep = math.tanh(xn + _sigmoid(r) * hn), _sigmoid(z)
    return ((1 - keep) * n + keep * h,)


def _tanh(gates: tuple[float, ...], h: float) -> tuple[float, ...]:
    return (math.tanh(gates[0]),)


def _relu(gates: tuple[float, ...], h: float) -> tuple[float, ...]:
    return (max(gates[0], 0.0),)


@dataclass(frozen=True)
class _Form:
    """gates, states: how many. next: next values of the hidden state, then of the cell. functions: that values may
    hold; all are analytic but relu, which stands alone. parted: the gates that read inputs only, and the state only."""

    gates: int
    states: int
    next: Callable[..., tuple[float, ...]]
    functions: frozenset[str]
    parted: tuple[int, int] | None = None


_ANALYTIC = frozenset({"neg", "sigmoid", "tanh", "add", "sub", "mul", "div"})
_FORMS: Mapping[str, _Form] = {
    "lstm": _Form(4, 2, _lstm, _ANALYTIC),
    "gru": _Form(4, 1, _gru, _ANALYTIC, (2, 3)),
    "tanh": _Form(1, 1, _tanh, _ANALYTIC),
    "relu": _Form(1, 1, _relu, frozenset({"relu"})),
}


def _matched(kind: str, form: _Form, merged: Merged, h: str) -> Layer | None:
    eq = merged.equations
    cell = next((state for state in eq.states if state != h), None)
    order = [h] if cell is None else [h, cell]
    places = [_Place(merged, order, seed) for seed in range(12)]
    for gates in permutations(merged.gates):
        if form.parted is not None and not _parted(gates, form.parted, h):
            continue
        for signs in product((1, -1), repeat=len(gates)):
            if all(place.agrees(form, gates, signs) for place in places):
                return _layer(kind, form, merged, (h, cell), list(zip(gates, signs, strict=True)))
    return None


def _parted(gates: tuple[Gate, ...], at: tuple[int, int], h: str) -> bool:
    outer, inner = gates[at[0]], gates[at[1]]
    return all(part.operand != h for part in outer.parts) and all(part.operand == h for part in inner.parts)


class _Place:
    """Values of the gates and states, and what the equations make of them."""

    def __init__(self, merged: Merged, states: list[str], seed: int) -> None:
        drawn = random.Random(seed)
        self.gates = {gate.name: drawn.gauss(0, 1.5) for gate in merged.gates}
        self.states = [drawn.gauss(0, 1.5) for _ in states]
        table = {**self.gates, **dict(zip(states, self.states, strict=True))}
        for step in merged.equations.steps:
            if isinstance(step, Assign):
                table[step.name] = _value(step.value, table)
        self.next = [table[merged.equations.next[state]] for state in states]

    def agrees(self, form: _Form, gates: tuple[Gate, ...], signs: tuple[int, ...]) -> bool:
        given = tuple(sign * self.gates[gate.name] for gate, sign in zip(gates, signs, strict=True))
        found = form.next(given, *self.states)
        return all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-11) for a, b in zip(found, self.next, strict=True))


_EVALUATE: Mapping[str, Callable[..., float]] = {
    "neg": lambda a: -a,
    "sigmoid": _sigmoid,
    "tanh": math.tanh,
    "relu": lambda a: max(a, 0.0),
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b if b else math.nan,
}


def _value(value: Expr, table: Mapping[str, float]) -> float:
    if isinstance(value, Number):
        return value.value
    if isinstance(value, Name):
        return table[value.text]
    return _EVALUATE[value.function](*(_value(v, table) for v in value.operands))


# --- Weights ------------------------------------------------------------------------------------------------------


def _layer(
    kind: str, form: _Form, merged: Merged, states: tuple[str, str | None], gates: list[tuple[Gate, int]]
) -> Layer:
    h, cell = states
    read = {part.operand for gate in merged.gates for part in gate.parts}
    inputs = tuple(name for name in merged.equations.inputs if name in read)
    outer, inner = list(gates), list(gates)
    if form.parted is not None:
        n, last = gates[form.parted[0]], gates[form.parted[1]]
        outer, inner = [*gates[: form.parted[0]], n], [*gates[: form.parted[0]], last]
    shared = {gate.name for gate, _ in outer}  # their biases stand with the inputs

    def share(gate: Gate, sign: int, hidden: bool) -> Share:
        parts = tuple(part for part in gate.parts if (part.operand == h) == hidden)
        own = not hidden or gate.name not in shared
        return Share(sign, parts, gate.biases if own else (), gate.shift if own else 0.0)

    of_inputs = tuple(share(gate, sign, False) for gate, sign in outer)
    of_hidden = tuple(share(gate, sign, True) for gate, sign in inner)
    return Layer(kind, inputs, h, cell, of_inputs, of_hidden)
