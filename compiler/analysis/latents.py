"""Latents: values that are drawn around what the network computes, and the divergences that pull them to a prior.

A value is followed through calls, from the results of a block to what makes them there and from a block's inputs to
what is handed to them: a latent may be drawn in one block, and its mean computed in another. Means and log-variances
are compared as sums of multiples of values, so that it does not matter how the deviation is written: `0.5 * s -> exp`
and `s -> exp -> sqrt` are the deviation of a log-variance `s`, and `d` is that of `2 * (d -> log)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..graph import Graph, Kind, Program, Ref
from ..ops.arithmetic import Scalar
from ..ops.losses import KLNormal, KLStandardNormal
from ..ops.noise import Noise
from ..sizes import Dim
from ..source import Span
from .gates import Dependence
from .labels import label

_DEEPEST = 40  # operations of a formula
_MOST_FRAMES = 256  # uses of a block that a claim in it is proved for
_MOST_STEPS = 200_000  # of a search for a way from one value to another
_IN_ORDER = frozenset({"reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "cast", "identity"})


@dataclass(frozen=True)
class Frame:
    """A use of a graph: `path` are the calls that lead to it, from the program's own graph."""

    path: tuple[int, ...]
    graph: Graph = field(compare=False)
    parent: Frame | None = field(compare=False, default=None)


class Value(NamedTuple):
    """A result of a node, in one use of its graph."""

    frame: Frame
    ref: Ref

    @property
    def span(self) -> Span | None:
        return self.frame.graph[self.ref.node].span

    @property
    def numbers(self) -> int | Dim:
        """How many it holds of an example: sizes behind the first axis, which is the batch's."""
        return self.frame.graph.type(self.ref).drop(0).elements

    @property
    def call(self) -> Span | None:
        """Where the outermost call stands that leads here; None in the graph itself."""
        frame = self.frame
        while frame.parent is not None and frame.parent.parent is not None:
            frame = frame.parent
        return None if frame.parent is None else frame.parent.graph[frame.path[-1]].span

    def __str__(self) -> str:
        names = {ref: name for name, ref in self.frame.graph.values.items()}
        parts, frame = [names.get(self.ref) or label(self.frame.graph, self.ref.node)], self.frame
        while frame.parent is not None:
            parts.insert(0, label(frame.parent.graph, frame.path[-1]))
            frame = frame.parent
        return ".".join(parts)


# A sum of multiples: of values, of logarithms of values (marked), and of 1.
Term = tuple[str, Value | None]
Form = dict[Term, float]
ONE: Term = ("one", None)


def same(left: Form, right: Form) -> bool:
    """Are two sums the same?"""
    return all(math.isclose(left.get(t, 0.0), right.get(t, 0.0), abs_tol=1e-9) for t in left.keys() | right.keys())


@dataclass(frozen=True)
class Latent:
    """A value that is mean + deviation · noise. variance: the logarithm of the deviation's square. deviation: its
    factors and their powers. draws: the noise, from the standard normal distribution or a multiple of it, which is part
    of the deviation."""

    value: Value
    draws: Value
    mean: Form
    variance: Form
    deviation: tuple[tuple[Value, float], ...]


@dataclass(frozen=True)
class Divergence:
    """One that a loss holds. loss: the loss' name. weight: in the objective; None where that is no fixed number."""

    loss: str
    weight: float | None
    value: Value
    mean: Value
    variance: Value


class Search:
    """What is asked of the latents of one graph, which stands for itself: a network or an entry."""

    def __init__(self, graph: Graph) -> None:
        self.root = Frame((), graph)
        self._depends = Dependence()
        self._noisy: dict[int, tuple[Graph, bool]] = {}

    # -- values

    def origin(self, value: Value) -> Value:
        """Where a value is made: through calls, and what only moves or casts it."""
        while True:
            frame, ref = value
            node = frame.graph[ref.node]
            if node.kind is Kind.CALL and node.graph is not None:
                inner = Frame((*frame.path, ref.node), node.graph, frame)
                value = Value(inner, Ref(node.graph.outputs[ref.result]))
            elif node.kind is Kind.INPUT and frame.parent is not None and frame.path[-1] not in _scans(frame):
                fed = frame.parent.graph.operands(frame.path[-1])
                value = Value(frame.parent, fed[frame.graph.inputs.index(ref.node)])
            elif node.kind in (Kind.OUTPUT, Kind.LOSS) or (node.op is not None and node.op.name in _IN_ORDER):
                value = Value(frame, frame.graph.operands(ref.node)[0])
            else:
                return value

    def operands(self, value: Value) -> list[Value]:
        return [Value(value.frame, ref) for ref in value.frame.graph.operands(value.ref.node)]

    def depends(self, value: Value) -> bool:
        """Does it depend on an input?"""
        found = self._depends.of(value.frame.graph)[value.ref]
        frame = value.frame
        if frame.parent is None:
            return any(frame.graph[frame.graph.inputs[at]].kind is Kind.INPUT for at in found)
        fed = [Value(frame.parent, ref) for ref in frame.parent.graph.operands(frame.path[-1])]
        return any(self.depends(x) for x in (fed if _scans(frame) else [fed[at] for at in found]))

    def frames(self, graph: Graph) -> list[Frame] | None:
        """The uses of a graph; None where there are too many to look at."""
        found: list[Frame] = []
        todo = [self.root]
        while todo:
            frame = todo.pop()
            if frame.graph.structure is graph.structure:
                found.append(frame)
            for number in frame.graph:
                callee = frame.graph[number].graph
                if callee is not None and any(g.structure is graph.structure for g in callee.graphs()):
                    todo.append(Frame((*frame.path, number), callee, frame))
            if len(found) + len(todo) > _MOST_FRAMES:
                return None
        return sorted(found, key=lambda frame: frame.path)

    # -- formulas

    def total(self, value: Value, depth: int = 0) -> Form:
        """A value as a sum of multiples."""
        value = self.origin(value)
        name, operands = _op(value), self.operands(value)
        if depth < _DEEPEST:
            match name:
                case "scalar" if (number := constant(value)) is not None:
                    return {ONE: number}
                case "add" | "sub":
                    sign = 1.0 if name == "add" else -1.0
                    left, right = (self.total(x, depth + 1) for x in operands)
                    return {t: left.get(t, 0.0) + sign * right.get(t, 0.0) for t in left | right}
                case "neg":
                    return _scaled(self.total(operands[0], depth + 1), -1.0)
                case "mul" | "div":
                    for x, other in (operands, reversed(operands)):
                        number = constant(self.origin(other))
                        if number is not None and (name == "mul" or (number and other is operands[1])):
                            return _scaled(self.total(x, depth + 1), number if name == "mul" else 1 / number)
                case "log":
                    return self.logarithm(operands[0], depth + 1)
        return {("value", value): 1.0}

    def logarithm(self, value: Value, depth: int = 0) -> Form:
        """The logarithm of a value's magnitude as a sum of multiples."""
        value = self.origin(value)
        name, operands = _op(value), self.operands(value)
        if depth < _DEEPEST:
            match name:
                case "scalar" if number := constant(value):
                    return {ONE: math.log(abs(number))}
                case "exp":
                    return self.total(operands[0], depth + 1)
                case "neg" | "sqrt" | "rsqrt" | "square" | "reciprocal":
                    factor = {"neg": 1.0, "sqrt": 0.5, "rsqrt": -0.5, "square": 2.0, "reciprocal": -1.0}[name]
                    return _scaled(self.logarithm(operands[0], depth + 1), factor)
                case "pow" if (number := constant(self.origin(operands[1]))) is not None:
                    return _scaled(self.logarithm(operands[0], depth + 1), number)
                case "mul" | "div":
                    sign = 1.0 if name == "mul" else -1.0
                    left, right = (self.logarithm(x, depth + 1) for x in operands)
                    return {t: left.get(t, 0.0) + sign * right.get(t, 0.0) for t in left | right}
        return {("log", value): 1.0}

    # -- draws and what is drawn with them

    def draws(self, start: Value | None, frame: Frame) -> list[Value]:
        """The noise on the way to a value, or all noise of a use of a graph, in the order of the text."""
        goals = list(frame.graph) if start is None else sorted(frame.graph.needed([start.ref.node]))
        found: list[Value] = []
        for number in goals:
            node = frame.graph[number]
            if isinstance(node.op, Noise):
                found.append(Value(frame, Ref(number)))
            elif node.graph is not None and self._draws_inside(node.graph):
                inner = Frame((*frame.path, number), node.graph, frame)
                if start is None:
                    found += self.draws(None, inner)
                    continue
                for result in sorted({ref.result for ref in self._used(frame.graph, number, start, set(goals))}):
                    more = self.draws(Value(inner, Ref(node.graph.outputs[result])), inner)
                    found += [draw for draw in more if draw not in found]
        return found

    @staticmethod
    def _used(graph: Graph, number: int, goal: Value, needed: set[int]) -> Iterator[Ref]:
        if goal.ref.node == number:
            yield goal.ref
        for result, user, _ in graph.users(number):
            if user in needed:
                yield Ref(number, result)

    def _draws_inside(self, graph: Graph) -> bool:
        key = id(graph.structure)
        if key not in self._noisy:
            nodes = (inner[n] for inner in graph.graphs() for n in inner)
            self._noisy[key] = graph, any(isinstance(node.op, Noise) for node in nodes)
        return self._noisy[key][1]

    def latents(self, draw: Value, goal: Value | None) -> list[Latent]:
        """What is mean + deviation · this noise on the way to a value, the innermost sum first."""
        sums = [total for total in self._sums_of(draw) if goal is None or _leads_to(total, goal)]
        return [latent for total in sums for latent in [self._latent(total, draw)] if latent is not None]

    def _sums_of(self, draw: Value) -> list[Value]:
        """Sums in which a term leads to the noise by products alone."""
        found: list[Value] = []
        todo, seen = [draw], {draw}
        while todo:
            for user in self._users(todo.pop()):
                name = _op(user)
                if user in seen or name not in ("add", "sub", "mul", "div", "neg", *_IN_ORDER, ""):
                    continue
                seen.add(user)
                todo.append(user)
                if name in ("add", "sub"):
                    found.append(user)
        return found

    def _users(self, value: Value) -> Iterator[Value]:
        """What consumes a value, inside blocks and behind them too."""
        frame, ref = value
        for result, user, position in frame.graph.users(ref.node):
            if result != ref.result:
                continue
            node = frame.graph[user]
            if node.kind is Kind.CALL and node.graph is not None:
                inner = Frame((*frame.path, user), node.graph, frame)
                yield from self._users(Value(inner, Ref(node.graph.inputs[position])))
            elif node.kind is Kind.OUTPUT and frame.parent is not None and frame.path[-1] not in _scans(frame):
                at = frame.graph.outputs.index(user)
                yield from self._users(Value(frame.parent, Ref(frame.path[-1], at)))
            elif node.kind is Kind.OP:
                yield from (Value(frame, Ref(user, i)) for i in range(len(node.types)))

    def _latent(self, total: Value, draw: Value) -> Latent | None:
        terms = [(sign, x, self._factors(x, 1.0, 0)) for sign, x in self._terms(total, 1.0, 0)]
        noisy = [factors for _, _, factors in terms if any(x == draw for x, _ in factors)]
        if len(noisy) != 1 or [power for x, power in noisy[0] if x == draw] != [1.0]:
            return None
        rest = [(sign, x) for sign, x, factors in terms if factors is not noisy[0]]
        factors = [(x, power) for x, power in noisy[0] if x != draw]
        if not (any(self.depends(x) for _, x in rest) and any(self.depends(x) for x, _ in factors)):
            return None
        mean: Form = {}
        for sign, x in rest:
            mean = _plus(mean, self.total(x), sign)
        op = draw.frame.graph[draw.ref.node].op
        assert isinstance(op, Noise)
        spread: Form = {ONE: math.log(op.values[1])} if op.values[1] != 1 else {}
        for x, power in factors:
            spread = _plus(spread, self.logarithm(x), power)
        return Latent(total, draw, mean, _scaled(spread, 2.0), tuple(factors))

    def _terms(self, value: Value, sign: float, depth: int) -> list[tuple[float, Value]]:
        value = self.origin(value)
        name, operands = _op(value), self.operands(value)
        if name in ("add", "sub") and depth < _DEEPEST:
            second = sign if name == "add" else -sign
            return self._terms(operands[0], sign, depth + 1) + self._terms(operands[1], second, depth + 1)
        if name == "neg" and depth < _DEEPEST:
            return self._terms(operands[0], -sign, depth + 1)
        return [(sign, value)]

    def _factors(self, value: Value, power: float, depth: int) -> list[tuple[Value, float]]:
        """A value as a product of powers, of 1 and −1; signs are left out."""
        value = self.origin(value)
        name, operands = _op(value), self.operands(value)
        if name in ("mul", "div") and depth < _DEEPEST:
            second = power if name == "mul" else -power
            return self._factors(operands[0], power, depth + 1) + self._factors(operands[1], second, depth + 1)
        if name == "neg" and depth < _DEEPEST:
            return self._factors(operands[0], power, depth + 1)
        return [(value, power)]

    # -- losses

    def divergences(self) -> list[Divergence]:
        """Those that the losses hold."""
        found: list[Divergence] = []
        for number in self.root.graph.losses:
            node = self.root.graph[number]
            held: dict[Value, Divergence] = {}
            for weight, value in self._parts(Value(self.root, Ref(number)), node.loss_weight, 0):
                op = value.frame.graph[value.ref.node].op
                if isinstance(op, (KLStandardNormal, KLNormal)):
                    mean, variance = self.operands(value)[:2]
                    before = held[value].weight if value in held else 0.0
                    known = None if weight is None or before is None else weight + before
                    held[value] = Divergence(node.name, known, value, mean, variance)
            found += held.values()
        return found

    def _parts(self, value: Value, weight: float | None, depth: int) -> Iterator[tuple[float | None, Value]]:
        """The terms of a loss and their weights; None for one that something else is done to."""
        value = self.origin(value)
        name, operands = _op(value), self.operands(value)
        if depth >= _DEEPEST:
            return
        if name in ("add", "sub"):
            yield from self._parts(operands[0], weight, depth + 1)
            second = weight if weight is None or name == "add" else -weight
            yield from self._parts(operands[1], second, depth + 1)
        elif name in ("mean", "sum"):
            yield from self._parts(operands[0], weight, depth + 1)
        elif name == "neg":
            yield from self._parts(operands[0], None if weight is None else -weight, depth + 1)
        elif name in ("mul", "div"):
            for x, other in (operands, reversed(operands)):
                number = constant(self.origin(other))
                scaled = None
                if number is not None and weight is not None:
                    scaled = weight * number if name == "mul" else weight / number if number else None
                if number is not None and (name == "mul" or other is operands[1]):
                    yield from self._parts(x, scaled, depth + 1)
                    return
            for x in operands:
                yield from self._parts(x, None, depth + 1)
        elif name in ("kl_standard_normal", "kl_normal"):
            yield weight, value
        elif name in ("clamp", "max", "min", "where", "relu", "stack", "concat"):
            for x in operands:
                yield from self._parts(x, None, depth + 1)

    def fits(self, latent: Latent, divergence: Divergence) -> bool:
        """Is the divergence of the very distribution that the latent is drawn from?"""
        fits = same(self.total(divergence.mean), latent.mean)
        return fits and same(self.total(divergence.variance), latent.variance)

    def vain(self, divergence: Divergence) -> bool:
        """Is it that of a distribution from itself, which is 0 whatever the weights are?"""
        given = [_unstopped(self.origin(x), self) for x in self.operands(divergence.value)]
        return len(given) == 4 and all(same(self.total(given[i]), self.total(given[i + 2])) for i in (0, 1))

    def reaches(self, value: Value, around: Value, goals: Iterable[Value] | None = None) -> bool:
        """Does a way lead from a value to a loss, or to one of these values, past another value? True where that takes
        too long to find out."""
        goal, blocked = self.origin(value), self.origin(around)
        todo = [Value(self.root, Ref(number)) for number in self.root.graph.losses] if goals is None else list(goals)
        seen: set[Value] = set()
        while todo:
            at = self.origin(todo.pop())
            if at == goal or len(seen) > _MOST_STEPS:
                return True
            if at in seen or at == blocked:
                continue
            seen.add(at)
            frame = at.frame
            if frame.graph[at.ref.node].kind is Kind.INPUT and frame.parent is not None:  # of a step: whatever enters
                todo += self.operands(Value(frame.parent, Ref(frame.path[-1])))
            todo += self.operands(at)
        return False


def _scans(frame: Frame) -> tuple[int, ...]:
    """The last call of a frame, where that is a scan: what enters and leaves a step is no value outside."""
    assert frame.parent is not None
    number = frame.path[-1]
    return (number,) if frame.parent.graph[number].scan is not None else ()


def _leads_to(value: Value, goal: Value) -> bool:
    """Is a value on the way to another, of the same use of a graph or one around it?"""
    depth = len(goal.frame.path)
    if value.frame.path[:depth] != goal.frame.path:
        return False
    number = value.frame.path[depth] if len(value.frame.path) > depth else value.ref.node
    return number in goal.frame.graph.needed([goal.ref.node])


def _unstopped(value: Value, search: Search) -> Value:
    """A value, past what only stops its gradient."""
    while _op(value) == "stop_gradient":
        value = search.origin(search.operands(value)[0])
    return value


def _op(value: Value) -> str:
    op = value.frame.graph[value.ref.node].op
    return op.name if op is not None else ""


def constant(value: Value) -> float | None:
    """The number that a value is; None where it is none that is known."""
    op = value.frame.graph[value.ref.node].op
    if isinstance(op, Scalar) and isinstance(op.value, (int, float)):
        return float(op.value)
    return None


def _scaled(form: Form, factor: float) -> Form:
    return {term: factor * number for term, number in form.items()}


def _plus(left: Form, right: Form, factor: float) -> Form:
    return {t: left.get(t, 0.0) + factor * right.get(t, 0.0) for t in left | right}


def search_for(program: Program, graph: Graph) -> Search:
    """The search for a claim of a graph: in the entry that it is, or in the network."""
    entry = next((e for e in program.entries.values() if e is graph), None)
    return Search(entry if entry is not None else program.graph)
