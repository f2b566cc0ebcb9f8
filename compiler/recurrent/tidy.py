"""Steps of equations without what is not needed."""

from __future__ import annotations

from collections.abc import Collection

from .derive import COSTLY
from .equations import Apply, Assign, Expr, Name, Product
from .expressions import names, replace


def reads(step: Product | Assign) -> list[str]:
    """The names that a step reads, weights among them."""
    if isinstance(step, Assign):
        return names(step.value)
    return [*step.operands, step.weight, *([] if step.bias is None else [step.bias])]


def tidy(steps: tuple[Product | Assign, ...], leaving: Collection[str]) -> tuple[Product | Assign, ...]:
    """Without steps that nothing reads, and with cheap values put in where they are used once."""
    needed, kept = set(leaving), []
    for step in reversed(steps):
        if step.name in needed:
            kept.append(step)
            needed |= set(reads(step))
    fixed = {*leaving, *(n for step in kept if isinstance(step, Product) for n in step.operands)}
    uses: dict[str, int] = {}
    for step in kept:
        for name in _occurrences(step):
            uses[name] = uses.get(name, 0) + 1
    by: dict[str, Expr] = {}
    found: list[Product | Assign] = []
    for step in reversed(kept):
        if isinstance(step, Assign):
            value = replace(step.value, by)
            costly = isinstance(value, Apply) and value.function in COSTLY
            if step.name not in fixed and uses[step.name] == 1 and not costly:
                by[step.name] = value
                continue
            step = Assign(step.name, value)
        found.append(step)
    return tuple(found)


def _occurrences(step: Product | Assign) -> list[str]:
    if isinstance(step, Product):
        return list(step.operands)

    def inside(value: Expr) -> list[str]:
        if isinstance(value, Name):
            return [value.text]
        return [n for v in value.operands for n in inside(v)] if isinstance(value, Apply) else []

    return inside(step.value)
