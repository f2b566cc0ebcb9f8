"""What the numbers of a class come from, where they differ between its instances."""

from __future__ import annotations

import ast
from typing import Any

from ..graph import Graph
from .expr import constant, name, show
from .names import Scope

_AXES = {"C": "channels", "D": "dim", "E": "dim", "H": "height", "W": "width", "T": "length", "S": "length"}


# Settings of layers, which calls name; those that layers of PyTorch assume, too, may be left out.
_DEFAULTS = {"stride": 1, "padding": 0, "pad": 0, "dilation": 1, "groups": 1}
SETTINGS = frozenset([*_DEFAULTS, "kernel", "kernel_size"])


def default(parameter: str) -> int | None:
    """What a constructor assumes for a parameter; None when it must be given."""
    return _DEFAULTS.get(parameter)


class Named(str):
    """The name of a class of torch.nn, as a value."""


class Finder:
    """Explains numbers that differ between the graphs of a class: by a static argument of the block, by the size of an
    input, by simple arithmetic on these, or else by a parameter of their own. What stands for a class or for a tuple
    of sizes is explained alike."""

    def __init__(self, graphs: list[Graph], taken: set[str]) -> None:
        self.scope = Scope(taken)
        self.graphs = graphs
        self.parameters: dict[str, tuple] = {}  # name → values, one a graph
        self._found: dict[tuple, ast.expr] = {}
        self._candidates: dict[str, tuple] = {}
        self._names: dict[str, str] = {}
        arguments = [key for key, value in graphs[0].arguments.items() if isinstance(value, int | float | tuple)]
        for key in arguments:
            self._candidate(key, tuple(as_setting(g.arguments.get(key)) for g in graphs))
        for position in range(len(graphs[0].inputs)):
            types = [g[g.inputs[position]].types[0] for g in graphs]
            for i, axis in enumerate(types[0].axes):
                if axis.name is not None:
                    nice = _AXES.get(axis.name, axis.name.lower())
                    wanted = (
                        nice if nice not in arguments and nice not in self._candidates else f"{axis.name.lower()}_in"
                    )
                    self._candidate(wanted, tuple(t.axes[i].size if i < t.rank else None for t in types))

    def _candidate(self, wanted: str, values: tuple) -> None:
        plain = all(isinstance(v, int | float) or _is_sizes(v) for v in values)
        if plain and len(set(values)) > 1 and wanted not in self._candidates:
            self._candidates[wanted] = values

    def find(self, vector: tuple, setting: str, wishes: list[str]) -> ast.expr:
        """An expression over parameters that has these values. setting: what they are given for. wishes: names for a
        parameter of their own, best first."""
        padding = setting.endswith("padding")
        key = (padding, *((type(v), v) for v in vector))
        if key not in self._found:
            found = (self._half(vector) if padding else None) or self._search(vector)
            self._found[key] = found or name(self._own(self._named_after(vector, wishes), vector))
        return self._found[key]

    def known(self, vector: tuple) -> str | None:
        """The text of an expression that was found before."""
        found = self._found.get((False, *((type(v), v) for v in vector)))
        return show(found) if found is not None else None

    def signature(self) -> dict[str, str]:
        """The parameters in a constructor's order, with their types and what they are when left out."""
        order = sorted(self.parameters, key=lambda p: (default(p) is not None, p in SETTINGS))
        shown = {parameter: _annotation(self.parameters[parameter]) for parameter in order}
        return {p: kind if default(p) is None else f"{kind} = {default(p)}" for p, kind in shown.items()}

    def _named_after(self, vector: tuple, wishes: list[str]) -> str:
        """The wish that is free; for a class, the argument of the block that tells the instances apart alike."""
        if all(isinstance(v, Named) for v in vector):
            for key in self.graphs[0].arguments:
                targets = [getattr(g.arguments.get(key), "target", None) for g in self.graphs]
                pairs = set(zip(vector, targets, strict=True))
                if None not in targets and len(pairs) == len(set(vector)) == len(set(targets)):
                    return key
        return next((wish for wish in wishes if wish not in self.scope.taken), wishes[-1])

    def _own(self, wish: str, vector: tuple) -> str:
        made = self.scope.new(wish, "value")
        self.parameters[made] = vector
        return made

    def _half(self, vector: tuple) -> ast.expr | None:
        """`kernel // 2`: what keeps a size where kernels are odd."""
        for candidate, values in self._candidates.items():
            if all(type(k) is int and k % 2 and k // 2 == v for k, v in zip(values, vector, strict=True)):
                return ast.BinOp(self._use(candidate), ast.FloorDiv(), ast.Constant(2))
        return None

    def _use(self, candidate: str) -> ast.expr:
        if candidate not in self._names:
            self._names[candidate] = self._own(candidate, self._candidates[candidate])
        return name(self._names[candidate])

    def _root(self, vector: tuple) -> ast.expr | None:
        """√n or 1/√n of whole numbers that can be explained: the scale of attention."""
        for exponent in (0.5, -0.5):
            squares = tuple(max(1, round(v ** (1 / exponent))) for v in vector)
            if all(n**exponent == v for n, v in zip(squares, vector, strict=True)):
                found = self._search(squares)
                return ast.BinOp(found, ast.Pow(), constant(exponent)) if found is not None else None
        return None

    def _search(self, vector: tuple) -> ast.expr | None:
        for candidate, values in self._candidates.items():
            if values == vector and all(type(a) is type(b) for a, b in zip(values, vector, strict=True)):
                return self._use(candidate)
        if all(type(v) is float and v > 0 for v in vector):
            return self._root(vector)
        if not all(type(v) is int and v > 0 for v in vector):
            return None
        usable = {c: v for c, v in self._candidates.items() if all(type(x) is int and x > 0 for x in v)}
        for candidate, values in usable.items():
            for factor in range(2, 9):
                if all(factor * a == b for a, b in zip(values, vector, strict=True)):
                    return ast.BinOp(ast.Constant(factor), ast.Mult(), self._use(candidate))
                if all(a == b * factor for a, b in zip(values, vector, strict=True)):
                    return ast.BinOp(self._use(candidate), ast.FloorDiv(), ast.Constant(factor))
        for i, (one, a) in enumerate(usable.items()):
            for two, b in list(usable.items())[i + 1 :]:
                rows = list(zip(a, b, vector, strict=True))
                if all(x * y == v for x, y, v in rows):
                    return ast.BinOp(self._use(one), ast.Mult(), self._use(two))
                if all(x + y == v for x, y, v in rows):
                    return ast.BinOp(self._use(one), ast.Add(), self._use(two))
                if all(x == v * y for x, y, v in rows):
                    return ast.BinOp(self._use(one), ast.FloorDiv(), self._use(two))
                if all(y == v * x for x, y, v in rows):
                    return ast.BinOp(self._use(two), ast.FloorDiv(), self._use(one))
        return None


def as_setting(value: Any) -> Any:
    """A size for each axis, as layers take it: one number where all are equal."""
    if isinstance(value, tuple | list) and value and all(type(v) is int for v in value):
        return value[0] if len(set(value)) == 1 else tuple(value)
    return value


def _is_sizes(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(type(v) is int for v in value)


def _annotation(vector: tuple) -> str:
    """`int`, `int | tuple[int, int]`, `type[nn.Module]`."""
    kinds: dict[str, None] = {}
    for value in vector:
        kind = type(value).__name__
        if isinstance(value, Named):
            kind = "type[nn.Module]"
        elif isinstance(value, tuple):
            kind = f"tuple[{', '.join(['int'] * len(value))}]"
        kinds[kind] = None
    return " | ".join(sorted(kinds))
