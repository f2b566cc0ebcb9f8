"""Derivatives of equations against autograd."""

import random

import pytest
import torch
from archlang.compiler.recurrent.derive import Assign, Backward, Pull, backward, gradient, named
from archlang.compiler.recurrent.equations import (
    Apply,
    Equations,
    Expr,
    Name,
    Number,
    Product,
    read,
    show,
)
from archlang.compiler.recurrent.expressions import names
from archlang.runtime.recurrence.plain import evaluate, step

UNARY = ("neg", "sigmoid", "tanh", "relu", "abs", "softplus")
BINARY = ("add", "sub", "mul", "max", "min", "add", "sub", "mul")

LSTM = """input x: 3
state h: 2
state c: 2
weight w: 8 5
weight b: 8
i = linear(x, h; w, b)[0:2]
f = linear(x, h; w, b)[2:4]
g = linear(x, h; w, b)[4:6]
o = linear(x, h; w, b)[6:8]
si = sigmoid(i)
sf = sigmoid(f)
tg = tanh(g)
so = sigmoid(o)
c1 = sf * c + si * tg
h1 = so * tanh(c1)
next h = h1
next c = c1
output h1"""


def drawn(rng: random.Random, leaves: list[str], depth: int) -> Expr:
    if depth == 0 or rng.random() < 0.15:
        return Number(rng.choice([0.0, 1.0, -1.0, 0.5, 2.0])) if rng.random() < 0.2 else Name(rng.choice(leaves))
    inner = lambda: drawn(rng, leaves, depth - 1)  # noqa: E731
    kind = rng.random()
    if kind < 0.4:
        return Apply(rng.choice(UNARY), (inner(),))
    if kind < 0.5:  # what must stay in bounds
        safe = Apply("add", (Number(1.5), Apply("mul", (inner(),) * 2)))
        return Apply(
            *rng.choice([("log", (safe,)), ("sqrt", (safe,)), ("div", (inner(), safe)), ("exp", (_small(safe),))])
        )
    return Apply(rng.choice(BINARY), (inner(), inner()))


def _small(value: Expr) -> Expr:
    return Apply("tanh", (value,))


def table(widths: dict[str, int], batch: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return {n: torch.randn(batch, w, generator=made, dtype=torch.float64).requires_grad_() for n, w in widths.items()}


@pytest.mark.parametrize("seed", range(60))
def test_gradient_of_random_expressions(seed):
    value = drawn(random.Random(seed), ["a", "b"], 4)
    vectors = table({"a": 3, "b": 3}, seed=seed)
    result = evaluate(value, vectors, vectors["a"]) * torch.ones(4, 3, dtype=torch.float64)
    found = torch.autograd.grad(result.sum() + 0 * sum(v.sum() for v in vectors.values()), [*vectors.values()])
    for name, want in zip(vectors, found, strict=True):
        mine = evaluate(gradient(value, name), vectors, vectors["a"])
        torch.testing.assert_close(mine.expand(4, 3), want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("function", "point", "slope"),
    [("relu", 0.0, 0.0), ("abs", 0.0, 0.0), ("max", 1.0, 0.5), ("min", 1.0, 0.5), ("positive", 1.0, 0.0)],
)
def test_gradient_where_functions_have_corners(function, point, slope):
    value = Apply(function, (Name("a"), Number(point)) if function in ("max", "min") else (Name("a"),))
    at = {"a": torch.tensor([point], dtype=torch.float64)}
    assert evaluate(gradient(value, "a"), at, at["a"]).item() == slope


def test_gradient_in_terms_of_what_has_a_name():
    a, s = Name("a"), Name("s")
    assert show(gradient(Apply("sigmoid", (a,)), "a", {Apply("sigmoid", (a,)): s})) == "s * (1.0 - s)"
    assert show(gradient(Apply("tanh", (a,)), "a", {Apply("tanh", (a,)): s})) == "1.0 - s * s"
    assert gradient(Apply("add", (a, Number(2.0))), "a") == Number(1.0)
    assert gradient(Name("b"), "a") == Number(0.0)


def equations(seed: int, multiplied: bool = True) -> Equations:
    """Some system with everything in it: shared weights, split products, broadcasts, constants, peepholes.
    multiplied: products of weights with vectors that are weights as well."""
    rng = random.Random(seed)
    weights = {"w": (6, 8), "u": (3, 4), "b": (6,), "p": (3,), "q": (1,)}
    wide, narrow = ["x", "h", "c", "k", "p"], ["s", "q"]
    steps: list[Product | Assign] = []
    for n in range(6):
        if rng.random() < 0.5:
            pair = (rng.choice(["x", "h", "c"]), rng.choice([n for n in wide if multiplied or n != "p"]))
            joined = (*pair, *(rng.sample(narrow, 2) if multiplied else ("s", "s")))
            rows = rng.choice([(0, 3), (3, 6), (2, 5)])
            one = Product(f"v{n}", joined, "w", rng.choice(["b", None]), rows)
            steps.append(one if rng.random() < 0.7 else Product(f"v{n}", (pair[0], "s"), "u", "p"))
        else:
            first = Name(rng.choice([name for name in wide if multiplied or name != "p"]))
            steps.append(Assign(f"v{n}", Apply("add", (first, drawn(rng, wide + narrow, 3)))))
        wide.append(f"v{n}")
    steps.append(Assign("t", drawn(rng, narrow, 2)))
    steps.append(Assign("y", Apply("mul", (Name("t"), Name("v5")))))
    told = steps[-2]
    assert isinstance(told, Assign)
    still = "q" if multiplied else "s"
    following = {"h": "v5", "c": rng.choice(["v4", "h", "x"]), "s": "t" if "s" in names(told.value) else still}
    made = Equations({"x": 3}, {"h": 3, "c": 3, "s": 1}, weights, tuple(steps), following, ("y", "v3", "y"), {"k": 3})
    assert str(read(str(made))) == str(made)
    return made


def pull(back: Backward, values: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One step of the backward pass, from what it says that it needs."""
    known = {**values, **given}
    like = next(iter(given.values()))
    for one in back.steps:
        width = back.widths[one.name]
        if isinstance(one, Assign):
            known[one.name] = evaluate(one.value, known, like).expand(4, width)
        elif isinstance(one, Pull):
            parts = [known[t.adjoint] @ values[t.weight][slice(*t.rows), slice(*t.columns)] for t in one.terms]
            known[one.name] = torch.stack(parts).sum(0)
        else:
            known[one.name] = known[one.of].sum(-1, keepdim=True)
    return known


@pytest.mark.parametrize("seed", range(40))
def test_backward_of_random_systems(seed):
    eq = named(equations(seed)) if seed % 2 else equations(seed)
    vectors = table({**eq.inputs, **eq.constants, **eq.states}, seed=seed)
    made = torch.Generator().manual_seed(seed)
    weights = {n: torch.randn(s, generator=made, dtype=torch.float64).requires_grad_() for n, s in eq.weights.items()}
    values = step(eq, {**vectors, **weights})
    back = backward(eq)
    ends = [*zip(back.outputs, eq.outputs, strict=True), *((back.next[s], v) for s, v in eq.next.items())]
    given = {d: torch.randn(4, eq.widths[v], generator=made, dtype=torch.float64) for d, v in ends}
    loss = sum((given[d] * values[v]).sum() for d, v in ends)
    sources = {**vectors, **weights}
    want = dict(zip(sources, torch.autograd.grad(loss, [*sources.values()], allow_unused=True), strict=True))
    kept = {name: values[name].detach() for name in (*back.kept, *eq.weights)}
    found = pull(back, kept, given)
    for name in vectors:
        mine = 0 if back.adjoints[name] is None else found[back.adjoints[name]]
        _same(mine, want[name], sources[name])
    mine = {name: torch.zeros_like(w) for name, w in weights.items()}
    for outer in back.outer:
        adjoint = found[outer.adjoint]
        mine[outer.weight][slice(*outer.rows)] += adjoint.T @ torch.cat(
            [kept[n].expand(4, -1) for n in outer.operands], -1
        )
        if outer.bias is not None:
            mine[outer.bias][slice(*outer.rows)] += adjoint.sum(0)
    for name, shape in eq.weights.items():
        if len(shape) == 1 and back.adjoints[name] is not None:
            mine[name] += found[back.adjoints[name]].sum(0)
        _same(mine[name], want[name], weights[name])


def _same(mine, want, like):
    want = torch.zeros_like(like) if want is None else want
    torch.testing.assert_close(torch.zeros_like(like) + mine, want, rtol=1e-9, atol=1e-9)


def test_backward_of_an_lstm_keeps_what_it_must():
    back = backward(named(read(LSTM)))
    assert back.kept == ("x", "h", "c", "si", "sf", "tg", "so", "h1_tanh")
    assert [one.name for one in back.steps if isinstance(one, Pull)] == ["d_h", "d_x"]
    assert all(len(one.terms) == 4 for one in back.steps if isinstance(one, Pull))
    assert back.adjoints == {"h": "d_h", "c": "d_c", "x": "d_x", "b": None}


def test_backward_leaves_out_what_nobody_wants():
    back = backward(named(read(LSTM)), wanted=())
    assert [one.name for one in back.steps if isinstance(one, Pull)] == ["d_h"] and not back.outer
