"""The backward pass of equations: the adjoint of every value of one step, as equations again.

The adjoint of a value is the gradient of the loss with respect to it. `backward` walks a step from its end: where a
value is assigned, all that reads it has been seen, so that its adjoint is a sum of known parts.

- A part from a pointwise expression is pointwise: an `Assign`.
- All parts from products together are one `Pull`: Σ weight[rows, columns]ᵀ · adjoint of the product. One product of a
  joined matrix with joined adjoints does it.
- What was broadcast from one element collects its adjoint by a `Sum`.

Gradients of weights sum over steps and examples, so that a kernel leaves them to one product after its loop: `outer`
says of which vectors.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from .equations import Apply, Assign, Equations, Expr, Name, Number, Product
from .expressions import add, apply, div, is_number, mul, names, neg, parts, replace, sub, total

COSTLY = ("sigmoid", "tanh", "exp", "log", "sqrt", "softplus")
"""Functions that are worth storing for the backward pass; all others are computed again."""

Known = Mapping[Expr, Name]


@dataclass(frozen=True)
class Term:
    """One summand of a `Pull`: weight[rows, columns]ᵀ · adjoint. rows, columns: first and past-the-last."""

    weight: str
    rows: tuple[int, int]
    columns: tuple[int, int]
    adjoint: str


@dataclass(frozen=True)
class Pull:
    """`name` = the sum of the terms."""

    name: str
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Sum:
    """`name` (of width 1) = the sum of the elements of `of`."""

    name: str
    of: str


@dataclass(frozen=True)
class Outer:
    """What a product adds to the gradients of its weight and bias, at every step and example:
    weight[rows] += adjoint ⊗ [operands, joined], bias[rows] += adjoint. `operands` are names of the forward step."""

    weight: str
    rows: tuple[int, int]
    adjoint: str
    operands: tuple[str, ...]
    bias: str | None


@dataclass(frozen=True)
class Backward:
    """One step of the backward pass. It reads names of the forward step and names of its own, which are all new.

    outputs: names of the adjoints of the outputs, in order; the caller gives them (zeros, where nothing came).
    next: by state, the name of the adjoint of its next value; the caller gives it (the step after computed it).
    steps: in order; each name is assigned once, after what it reads. Everything in them is needed.
    adjoints: of inputs, constants, states (the value before the step) and weights of one axis (as far as pointwise
    functions read them; of a bias see `outer`), by their name: the name of the adjoint, None where it is zero. Those of
    constants and weights sum over steps; those of weights over examples too.
    outer: gradients of matrices and of the biases of products. A weight may stand in several.
    kept: values of the forward step that `steps` and `outer` read, without weights: inputs, constants and states
    (before the step) among them.
    """

    outputs: tuple[str, ...]
    next: Mapping[str, str]
    steps: tuple[Assign | Pull | Sum, ...]
    adjoints: Mapping[str, str | None]
    outer: tuple[Outer, ...]
    kept: tuple[str, ...]
    widths: Mapping[str, int]


# --- Derivatives --------------------------------------------------------------------------------------------------


def gradient(value: Expr, name: str, known: Known | None = None) -> Expr:
    """∂value/∂name, all other names held. `known`: expressions that have a name, which stands for them in the result
    (`{sigmoid(a): s}` makes the derivative of sigmoid(a) s * (1 - s))."""
    total: Expr = Number(0.0)
    for leaf, part in _pulled(value, Number(1.0), known or {}):
        total = add(total, part) if leaf == name else total
    return total


def _pulled(value: Expr, adjoint: Expr, known: Known) -> Iterable[tuple[str, Expr]]:
    """What an expression with this adjoint adds to the adjoints of its names."""
    if isinstance(value, Name):
        yield value.text, adjoint
    if isinstance(value, Apply):
        for operand, part in zip(value.operands, _partial(value, adjoint, known), strict=True):
            if not isinstance(operand, Number) and not is_number(part, 0):
                yield from _pulled(operand, part, known)


def _partial(value: Apply, adjoint: Expr, known: Known) -> tuple[Expr, ...]:
    """The adjoints of the operands."""
    given = [known.get(v, v) for v in value.operands]
    a, b = given[0], given[-1]
    result = known.get(value, value)
    match value.function:
        case "neg":
            return (neg(adjoint),)
        case "add":
            return adjoint, adjoint
        case "sub":
            return adjoint, neg(adjoint)
        case "mul":
            return mul(adjoint, b), mul(adjoint, a)
        case "div":
            return div(adjoint, b), neg(mul(adjoint, div(result, b)))
        case "max":
            return mul(adjoint, Apply("above", (a, b))), mul(adjoint, Apply("above", (b, a)))
        case "min":
            return mul(adjoint, Apply("above", (b, a))), mul(adjoint, Apply("above", (a, b)))
        case "positive" | "sign" | "above":
            return tuple(Number(0.0) for _ in given)
    return (_unary(value.function, adjoint, a, result),)


def _unary(function: str, adjoint: Expr, a: Expr, result: Expr) -> Expr:
    one = Number(1.0)
    match function:
        case "sigmoid":
            return mul(adjoint, mul(result, sub(one, result)))
        case "tanh":
            return mul(adjoint, sub(one, mul(result, result)))
        case "relu":
            return mul(adjoint, Apply("positive", (result if isinstance(result, Name) else a,)))
        case "exp":
            return mul(adjoint, result)
        case "log":
            return div(adjoint, a)
        case "sqrt":
            return div(adjoint, mul(Number(2.0), result))
        case "abs":
            return mul(adjoint, Apply("sign", (a,)))
        case "softplus":
            return mul(adjoint, Apply("sigmoid", (a,)))
    raise ValueError(f"`{function}` has no derivative here")


# --- The backward step --------------------------------------------------------------------------------------------


def named(equations: Equations) -> Equations:
    """The same with a name for every value of a costly function, so that the backward pass need not compute it
    again: `h = o * tanh(c)` becomes two steps."""
    fresh = _Fresh(equations)
    known: dict[Expr, Name] = {}
    steps: list[Product | Assign] = []

    def inner(value: Expr) -> Expr:
        if not isinstance(value, Apply):
            return value
        plain = apply(value.function, *(inner(v) for v in value.operands))
        if not isinstance(plain, Apply) or plain.function not in COSTLY:
            return plain
        if plain not in known:
            known[plain] = Name(fresh(f"{step.name}_{plain.function}"))
            steps.append(Assign(known[plain].text, plain))
        return known[plain]

    for step in equations.steps:
        if isinstance(step, Assign) and isinstance(step.value, Apply):
            value = apply(step.value.function, *(inner(v) for v in step.value.operands))
            step = Assign(step.name, known.get(value, value))
            if isinstance(value, Apply) and value.function in COSTLY:
                known.setdefault(value, Name(step.name))
        steps.append(step)
    return Equations(
        equations.inputs,
        equations.states,
        equations.weights,
        tuple(steps),
        equations.next,
        equations.outputs,
        equations.constants,
    )


class _Fresh:
    """Names that nothing has yet."""

    def __init__(self, equations: Equations) -> None:
        self.taken = {*equations.widths, *equations.weights}

    def __call__(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self.taken:
            count += 1
            name = f"{wanted}{count}"
        self.taken.add(name)
        return name


def backward(equations: Equations, wanted: Collection[str] | None = None) -> Backward:
    """The adjoint of one step. wanted: inputs, constants, states and weights whose gradients are (None: all); states
    always are, as the step before needs them."""
    return _Backward(equations, wanted).whole()


@dataclass
class _Parts:
    """What has been added to the adjoint of a value so far: as wide as it, wider, and by products."""

    plain: list[Expr] = field(default_factory=list)
    wide: list[Expr] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)


class _Backward:
    def __init__(self, equations: Equations, wanted: Collection[str] | None) -> None:
        self.equations, self.wanted = equations, wanted
        self.fresh, self.widths = _Fresh(equations), dict(equations.widths)
        self.known: dict[Expr, Name] = {}
        for step in equations.steps:
            if isinstance(step, Assign) and isinstance(step.value, Apply):
                self.known.setdefault(step.value, Name(step.name))
        self.parts: dict[str, _Parts] = {}
        self.steps: list[Assign | Pull | Sum] = []
        self.outer: list[Outer] = []

    def whole(self) -> Backward:
        eq = self.equations
        outputs = tuple(self._given(f"d_{name}", name) for name in eq.outputs)
        following = {state: self._given(f"d_next_{state}", value) for state, value in eq.next.items()}
        for step in reversed(eq.steps):
            if isinstance(step, Product):
                self._product(step)
            else:
                self._assign(step)
        vectors = [name for name, shape in eq.weights.items() if len(shape) == 1 and self._wants(name)]
        sources = [name for name in (*eq.inputs, *eq.constants) if self._wants(name)]
        adjoints = {name: self._adjoint(name) for name in (*eq.states, *sources, *vectors)}
        self._forget(adjoints)
        self._again()
        one = self._share()
        adjoints = {name: one.get(adjoint, adjoint) if adjoint else None for name, adjoint in adjoints.items()}
        self.outer = [dataclasses.replace(o, adjoint=one.get(o.adjoint, o.adjoint)) for o in reversed(self.outer)]
        there = {*outputs, *following.values(), *(step.name for step in self.steps)}
        widths = {name: width for name, width in self.widths.items() if name in there}
        return Backward(outputs, following, tuple(self.steps), adjoints, tuple(self.outer), self._kept(), widths)

    def _wants(self, name: str) -> bool:
        return self.wanted is None or name in self.wanted

    def _given(self, wanted: str, value: str) -> str:
        name = self.fresh(wanted)
        self.widths[name] = self.widths[value]
        self._of(value).plain.append(Name(name))
        return name

    def _of(self, name: str) -> _Parts:
        return self.parts.setdefault(name, _Parts())

    def _product(self, step: Product) -> None:
        adjoint = self._adjoint(step.name)
        if adjoint is None:
            return
        rows = step.rows or (0, self.equations.weights[step.weight][0])
        first = 0
        for name in step.operands:
            columns = (first, first + self.widths[name])
            self._of(name).terms.append(Term(step.weight, rows, columns, adjoint))
            first = columns[1]
        if self._wants(step.weight) or (step.bias is not None and self._wants(step.bias)):
            self.outer.append(Outer(step.weight, rows, adjoint, step.operands, step.bias))

    def _assign(self, step: Assign) -> None:
        # Of `y = sigmoid(a)` the value is known as y; but y itself must not be replaced where it is pulled apart.
        adjoint = self._adjoint(step.name)
        if adjoint is None:
            return
        for name, part in _pulled(step.value, Name(adjoint), self.known):
            wide = self.widths[name] == 1 and self._width(part) > 1
            (self._of(name).wide if wide else self._of(name).plain).append(part)

    def _width(self, value: Expr) -> int:
        return max((self.widths[name] for name in names(value)), default=1)

    def _adjoint(self, name: str) -> str | None:
        """Assigns the adjoint of a value; everything that reads it has been seen."""
        found = self.parts.pop(name, _Parts())
        if found.wide:
            summed = self._new(f"w_{name}", self._width(total(found.wide)))
            whole = self._new(f"s_{name}", 1)
            self.steps += [Assign(summed, total(found.wide)), Sum(whole, summed)]
            found.plain.append(Name(whole))
        if found.terms:
            pulled = self._new(f"p_{name}" if found.plain else f"d_{name}", self.widths[name])
            self.steps.append(Pull(pulled, tuple(found.terms)))
            found.plain.append(Name(pulled))
        if not found.plain:
            return None
        value = total(found.plain)
        if isinstance(value, Name) and self._width(value) == self.widths[name]:
            return value.text
        result = self._new(f"d_{name}", self.widths[name])
        self.steps.append(Assign(result, value))
        return result

    def _new(self, wanted: str, width: int) -> str:
        name = self.fresh(wanted)
        self.widths[name] = width
        return name

    def _forget(self, adjoints: Mapping[str, str | None]) -> None:
        """Leaves out the steps that nothing reads."""
        needed = {*adjoints.values(), *(outer.adjoint for outer in self.outer)}
        kept = []
        for step in reversed(self.steps):
            if step.name in needed:
                kept.append(step)
                needed |= set(reads(step))
        self.steps = kept[::-1]

    def _again(self) -> None:
        """Computes again what is cheap and follows from what is there anyway, in place of storing it."""
        eq = self.equations
        cheap = {step.name: step.value for step in eq.steps if isinstance(step, Assign) and _cheap(step.value)}
        there = {*eq.inputs, *eq.constants, *eq.states, *eq.weights, *eq.next.values(), *eq.outputs}
        there |= {name for outer in self.outer for name in outer.operands}
        while True:
            read = {name for step in self.steps for name in reads(step)}
            free = there | (read - set(cheap))
            by = {name: value for name, value in cheap.items() if name in read - there and set(names(value)) <= free}
            if not by:
                return
            self.steps = [Assign(s.name, replace(s.value, by)) if isinstance(s, Assign) else s for s in self.steps]

    def _share(self) -> dict[str, str]:
        """Computes once what several steps compute. By name of a step that is left out: the name that has its value."""
        count: Counter[Expr] = Counter()
        for step in self.steps:
            if isinstance(step, Assign):
                _tally(step.value, count)
        shared: list[Assign | Pull | Sum] = []
        found: dict[Expr, Name] = {}
        same: dict[str, str] = {}

        def short(value: Expr, name: str | None = None) -> Expr:
            if isinstance(value, Name):
                return Name(same.get(value.text, value.text))
            if isinstance(value, Number) or value in found:
                return found.get(value, value)
            made = Apply(value.function, tuple(short(v) for v in value.operands))
            if count[value] == 1 and name is None:
                return made
            found[value] = Name(name or self._new(f"e{len(found)}", self._width(value)))
            shared.append(Assign(found[value].text, made))
            return found[value]

        for step in self.steps:
            if isinstance(step, Pull):
                terms = (dataclasses.replace(t, adjoint=same.get(t.adjoint, t.adjoint)) for t in step.terms)
                shared.append(Pull(step.name, tuple(terms)))
            elif isinstance(step, Sum):
                shared.append(Sum(step.name, same.get(step.of, step.of)))
            elif self._width(step.value) < self.widths[step.name]:
                shared.append(Assign(step.name, short(step.value)))  # a narrower value stretched: not the same
            else:
                value = short(step.value, step.name)
                if isinstance(value, Number):
                    shared.append(Assign(step.name, value))
                elif isinstance(value, Name) and value.text != step.name:
                    same[step.name] = value.text
        self.steps = shared
        return same

    def _kept(self) -> tuple[str, ...]:
        read = {name for step in self.steps for name in reads(step)}
        read |= {name for outer in self.outer for name in outer.operands}
        eq = self.equations
        return tuple(name for name in eq.widths if name in read and name not in eq.weights)


def _tally(value: Expr, count: Counter[Expr]) -> None:
    count[value] += 1
    if count[value] == 1:
        for part in parts(value):
            _tally(part, count)


def _cheap(value: Expr) -> bool:
    return not isinstance(value, Apply) or (value.function not in COSTLY and all(map(_cheap, value.operands)))


def reads(step: Assign | Pull | Sum) -> list[str]:
    """The names that a step of a backward pass reads, weights of products left out."""
    if isinstance(step, Assign):
        return names(step.value)
    return [term.adjoint for term in step.terms] if isinstance(step, Pull) else [step.of]
