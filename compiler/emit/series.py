"""Entries of a dict that follow a rule: `{f"layer{i}": Layer(32 + 32 * i) for i in range(1, 7)}`."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Sequence
from itertools import pairwise

from .expr import call, constant, name, show

_FEWEST = 3
_LONGEST = 72  # a longer comprehension reads no better than its entries


def series(labels: Sequence[str], values: Sequence[ast.expr]) -> ast.expr | None:
    """The entries as a comprehension over `i`: labels that count, values equal but for whole numbers that step evenly.
    None where no such rule holds."""
    found = [re.fullmatch(r"([A-Za-z_]+)(0|[1-9]\d*)", label) for label in labels]
    if len(labels) < _FEWEST or not all(found):
        return None
    stems = {match[1] for match in found if match}
    counts = [int(match[2]) for match in found if match]
    if len(stems) != 1 or counts != list(range(counts[0], counts[0] + len(counts))):
        return None
    value = _general([copy.deepcopy(v) for v in values], counts[0])
    if value is None:
        return None
    key = ast.JoinedStr([ast.Constant(stems.pop()), ast.FormattedValue(name("i"), -1)])
    bounds = [constant(n) for n in ([counts[0]] if counts[0] else []) + [counts[-1] + 1]]
    loop = ast.comprehension(target=name("i"), iter=call("range", *bounds), ifs=[], is_async=0)
    made = ast.DictComp(key, value, [loop])
    return made if len(show(made)) <= _LONGEST else None


def _general(values: list[ast.expr], first: int) -> ast.expr | None:
    """What all are, in terms of `i`, which counts from `first`."""
    if len({show(v) for v in values}) == 1:
        return values[0]
    if all(isinstance(v, ast.Constant) and type(v.value) is int for v in values):
        numbers = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, int)]
        step = numbers[1] - numbers[0]
        if step <= 0 or any(b - a != step for a, b in pairwise(numbers)):
            return None
        start = numbers[0] - first * step
        product = ast.BinOp(constant(step), ast.Mult(), name("i")) if step > 1 else name("i")
        if start < 0:
            return ast.BinOp(product, ast.Sub(), constant(-start))
        return ast.BinOp(constant(start), ast.Add(), product) if start else product
    if not all(isinstance(v, ast.Call) for v in values):
        return None
    calls = [v for v in values if isinstance(v, ast.Call)]
    keywords = {tuple(k.arg for k in c.keywords) for c in calls}
    if len({show(c.func) for c in calls}) != 1 or len({len(c.args) for c in calls}) != 1 or len(keywords) != 1:
        return None
    args = [_general(list(column), first) for column in zip(*(c.args for c in calls), strict=True)]
    given = [_general([k.value for k in column], first) for column in zip(*(c.keywords for c in calls), strict=True)]
    if any(part is None for part in (*args, *given)):
        return None
    pairs = zip(calls[0].keywords, given, strict=True)
    return ast.Call(calls[0].func, [a for a in args if a], [ast.keyword(k.arg, v) for k, v in pairs if v])
