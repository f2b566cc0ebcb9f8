"""Equations with their products merged, as a loop of tensor operations wants them.

Sums of products become one product: a *gate*, the terms and biases that it adds up. What gates take from inputs and
constants leaves the loop. All gates of a step lie side by side, in an order in which those that read one vector are
next to each other as far as that goes: a product with a joined matrix then does for all of them at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .derive import named
from .equations import Apply, Assign, Equations, Expr, Name, Number, Product
from .expressions import names, total
from .expressions import replace as put


class Unsupported(Exception):
    """These equations can't be merged; they run as they are."""


@dataclass(frozen=True)
class Part:
    """What a gate takes from one vector: weight[rows, columns] · operand."""

    operand: str
    weight: str
    rows: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True)
class Gate:
    """A sum of products, biases and a number (`shift`), at columns `at` of all gates."""

    name: str
    parts: tuple[Part, ...]
    biases: tuple[tuple[str, tuple[int, int]], ...]
    shift: float
    at: tuple[int, int]


@dataclass(frozen=True)
class Run:
    """One vector and gates side by side that read it, at columns `at` of all gates. blocks: of each gate what it takes
    from the vector, to be added up."""

    operand: str
    at: tuple[int, int]
    blocks: tuple[tuple[Part, ...], ...]


@dataclass(frozen=True)
class Merged:
    """equations: those of the loop. In them gates that read nothing of the loop are inputs, and all others products
    of what they read there with a matrix of their own, named after the gate. gates: in the order of their columns.
    ahead: of inputs and constants, before the loop. within: of values in the loop. width: of all gates together."""

    equations: Equations
    gates: tuple[Gate, ...]
    ahead: tuple[Run, ...]
    within: tuple[Run, ...]
    width: int


def merge(equations: Equations) -> Merged:
    """Raises Unsupported."""
    eq = _plain(named(equations))
    widths = eq.widths
    steps, parts = _sums(eq, widths)
    still = {*eq.inputs, *eq.constants}
    order = _ordered(parts, still)
    gates, first = [], 0
    for name in order:
        gates.append(Gate(name, *parts[name], (first, first + widths[name])))
        first += widths[name]
    ahead = _runs([*eq.inputs, *eq.constants], gates)
    inside = dict.fromkeys(part.operand for gate in gates for part in gate.parts if part.operand not in still)
    return Merged(_loop(eq, steps, gates, still, widths), tuple(gates), ahead, _runs(inside, gates), first)


def _plain(eq: Equations) -> Equations:
    """Without values that are other values, or numbers."""
    by: dict[str, Expr] = {}
    steps: list[Product | Assign] = []
    varying = {*eq.inputs, *eq.constants, *eq.states}
    for step in eq.steps:
        if isinstance(step, Assign):
            value = put(step.value, by)
            if isinstance(value, Apply):
                steps.append(Assign(step.name, value))
                varying |= {step.name} if varying & set(names(value)) else set()
            else:
                by[step.name] = value
        else:
            operands = tuple(_text(name, by) for name in step.operands)
            if not varying.issuperset(operands):
                raise Unsupported("a weight that is multiplied by another")
            steps.append(replace(step, operands=operands))
            varying.add(step.name)
    following = {state: _text(name, by) for state, name in eq.next.items()}
    outputs = tuple(_text(name, by) for name in eq.outputs)
    made = replace(eq, steps=tuple(steps), next=following, outputs=outputs)
    told = {*following.values(), *outputs}
    if not told <= varying:
        raise Unsupported("a value is the same for all examples")
    return made


def _text(name: str, by: Mapping[str, Expr]) -> str:
    value = by.get(name, Name(name))
    if isinstance(value, Name):
        return value.text
    raise Unsupported(f"`{name}` is a number")


# --- Sums ---------------------------------------------------------------------------------------------------------

_Terms = tuple[tuple[Part, ...], tuple[tuple[str, tuple[int, int]], ...], float]


def _sums(eq: Equations, widths: Mapping[str, int]) -> tuple[list[Assign], dict[str, _Terms]]:
    """The pointwise steps, sums of products in them being one value, and of each such value what it adds up."""
    products = {step.name: step for step in eq.steps if isinstance(step, Product)}
    parts = {name: _terms(step, eq, widths) for name, step in products.items()}
    uses: Counter[str] = Counter([*eq.outputs, *eq.next.values()])
    for step in eq.steps:
        uses.update(step.operands if isinstance(step, Product) else _occurrences(step.value))

    def summed(value: Expr) -> Expr:
        if not isinstance(value, Apply):
            return value
        if value.function != "add":
            return Apply(value.function, tuple(summed(v) for v in value.operands))
        leaves = list(_leaves(value))
        free = [v.text for v in leaves if isinstance(v, Name) and v.text in parts and uses[v.text] == 1]
        width = max((widths[name] for name in free), default=0)
        free = [name for name in free if widths[name] == width]
        biases = [v.text for v in leaves if isinstance(v, Name) and eq.weights.get(v.text) == (width,)]
        shift = sum(v.value for v in leaves if isinstance(v, Number))
        if len(free) + len(biases) + bool(shift) < 2 or not free:
            return total(summed(v) for v in leaves)
        gate, gone = free[0], {*free[1:], *biases}
        added = [parts.pop(name) for name in free]
        own = [(name, (0, width)) for name in biases]
        parts[gate] = (tuple(p for t in added for p in t[0]), (*(b for t in added for b in t[1]), *own), shift)
        rest = (v for v in leaves if not isinstance(v, Number) and not (isinstance(v, Name) and v.text in gone))
        return total(summed(v) for v in rest)

    steps = [Assign(step.name, summed(step.value)) for step in eq.steps if isinstance(step, Assign)]
    return steps, parts


def _leaves(value: Expr) -> Iterable[Expr]:
    if isinstance(value, Apply) and value.function == "add":
        for operand in value.operands:
            yield from _leaves(operand)
    else:
        yield value


def _occurrences(value: Expr) -> list[str]:
    if isinstance(value, Name):
        return [value.text]
    return [n for v in value.operands for n in _occurrences(v)] if isinstance(value, Apply) else []


def _terms(step: Product, eq: Equations, widths: Mapping[str, int]) -> _Terms:
    rows = step.rows or (0, eq.weights[step.weight][0])
    parts, first = [], 0
    for name in step.operands:
        parts.append(Part(name, step.weight, rows, (first, first + widths[name])))
        first += widths[name]
    return tuple(parts), () if step.bias is None else ((step.bias, rows),), 0.0


# --- Columns ------------------------------------------------------------------------------------------------------


def _ordered(parts: Mapping[str, _Terms], still: set[str]) -> list[str]:
    """Gates that read nothing from before the loop, then those that read both, then those that read nothing else; in
    each of the three those next to each other that read the same."""
    reads = {name: tuple(dict.fromkeys(p.operand for p in terms[0])) for name, terms in parts.items()}
    inner = {name: tuple(n for n in found if n not in still) for name, found in reads.items()}
    outer = {name: tuple(n for n in found if n in still) for name, found in reads.items()}
    kinds: dict[tuple, int] = {}
    for name in parts:
        kinds.setdefault((inner[name], outer[name]), len(kinds))
    return sorted(parts, key=lambda name: (1 + (not inner[name]) - (not outer[name]), kinds[inner[name], outer[name]]))


def _runs(operands: Iterable[str], gates: Sequence[Gate]) -> tuple[Run, ...]:
    found = []
    for operand in operands:
        blocks: list[tuple[Part, ...]] = []
        first = 0
        for gate in gates:
            mine = tuple(part for part in gate.parts if part.operand == operand)
            if blocks and not mine:
                found.append(Run(operand, (first, gate.at[0]), tuple(blocks)))
                blocks = []
            elif mine and not blocks:
                first = gate.at[0]
            blocks += [mine] if mine else []
        if blocks:
            found.append(Run(operand, (first, gates[-1].at[1]), tuple(blocks)))
    return tuple(found)


def _loop(
    eq: Equations, steps: Sequence[Assign], gates: Sequence[Gate], still: set[str], widths: Mapping[str, int]
) -> Equations:
    """The equations of the loop, each step after what it reads."""
    inputs, products = dict(eq.inputs), []
    matrices: dict[str, tuple[int, ...]] = {}
    for gate in gates:
        inside = tuple(dict.fromkeys(p.operand for p in gate.parts if p.operand not in still))
        if inside:
            products.append(Product(gate.name, inside, f"{gate.name} weight"))
            matrices[f"{gate.name} weight"] = (widths[gate.name], sum(widths[name] for name in inside))
        else:
            inputs[gate.name] = widths[gate.name]
    read = {name for step in steps for name in names(step.value)}
    vectors = {name: shape for name, shape in eq.weights.items() if len(shape) == 1 and name in read}
    known = {*inputs, *eq.constants, *eq.states, *vectors}
    ordered: list[Product | Assign] = []
    left: list[Product | Assign] = [*products, *steps]
    while left:
        step = next(s for s in left if known >= set(s.operands if isinstance(s, Product) else names(s.value)))
        left.remove(step)
        known.add(step.name)
        ordered.append(step)
    return Equations(inputs, eq.states, matrices | vectors, tuple(ordered), eq.next, eq.outputs, eq.constants)


def is_one_minus(value: Expr) -> Expr | None:
    """z, of 1 - z."""
    if isinstance(value, Apply) and value.function == "sub" and value.operands[0] == Number(1.0):
        return value.operands[1]
    return None
