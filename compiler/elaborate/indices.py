"""Tensors computed from their own indices: `const past: bool[q=T, k=S] = k <= q`.

The expression is evaluated once with its index variables left symbolic, which gives a tree of plain tuples:
`("index", axis)`, `("number", value)`, `("size", Dim)` or `(function, tree, …)`. The tree is data: it prints as torch
code, and its functions are the closed list below.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from ..declared import Field
from ..masks import Known, known_of
from ..ops.base import ANY, Code, Example, Glyph, Interval, Need, Op, SizeSetting
from ..relations import Relations
from ..sizes import Dim
from ..types import Axis, TensorType
from .values import Indexed

# function → torch text over its arguments
FUNCTIONS = {
    "+": "({0} + {1})",
    "-": "({0} - {1})",
    "*": "({0} * {1})",
    "/": "({0} / {1})",
    "//": "torch.div({0}, {1}, rounding_mode='floor')",
    "%": "torch.remainder({0}, {1})",
    "**": "torch.pow({0}, {1})",
    "<": "({0} < {1})",
    "<=": "({0} <= {1})",
    ">": "({0} > {1})",
    ">=": "({0} >= {1})",
    "==": "({0} == {1})",
    "!=": "({0} != {1})",
    "and": "({0} & {1})",
    "or": "({0} | {1})",
    "not": "(~{0})",
    "neg": "(-{0})",
    "min": "torch.minimum({0}, {1})",
    "max": "torch.maximum({0}, {1})",
    "abs": "torch.abs({0})",
    "exp": "torch.exp({0})",
    "log": "torch.log({0})",
    "log2": "torch.log2({0})",
    "sqrt": "torch.sqrt({0})",
    "sin": "torch.sin({0})",
    "cos": "torch.cos({0})",
    "floor": "torch.floor({0}).long()",
    "ceil": "torch.ceil({0}).long()",
    "round": "torch.round({0}).long()",
    "int": "torch.trunc({0}).long()",
    "if": "torch.where({0}, {1}, {2})",
}
_NEEDS_TENSORS = {"min", "max", "if", "//", "%", "**", "exp", "log", "log2", "sqrt", "sin", "cos", "abs"}
_LARGEST = 20_000  # nodes of one tree


class TreeLimit(ValueError):
    """An index expression grew past the limit."""


def combine(function: str, *arguments: Any) -> Indexed:
    """A function of values of which at least one depends on an index."""
    trees = tuple(_tree(a) for a in arguments)
    if sum(_count(t, _LARGEST) for t in trees) >= _LARGEST:
        raise TreeLimit("an expression over indices is too large")
    return Indexed((function, *trees))


def _tree(value: Any) -> tuple:
    if isinstance(value, Indexed):
        return value.tree
    return ("size", value) if isinstance(value, Dim) else ("number", value)


def _count(tree: tuple, limit: int) -> int:
    total = 1
    for part in tree[1:]:
        if isinstance(part, tuple):
            total += _count(part, limit)
            if total > limit:
                break
    return total


class IndexGrid(Op):
    """A tensor computed from its own indices (`const`): position [i, j, …] holds the value of `tree` there."""

    name: ClassVar[str] = "index_grid"
    glyph: ClassVar[Glyph] = Glyph.CONSTANT
    operands: ClassVar[tuple[str, ...]] = ()
    hidden: ClassVar[bool] = True
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            {"names": ("q", "k"), "sizes": (4, 4), "tree": ("<=", ("index", 1), ("index", 0)), "dtype": "bool"},
            (),
            ("bool q=4 k=4",),
        ),
        Example({"names": ("t",), "sizes": (5,), "tree": ("index", 0), "dtype": "int"}, (), ("int t=5",)),
        Example(
            {"names": ("f",), "sizes": (3,), "tree": ("exp", ("neg", ("index", 0))), "dtype": "float"}, (), ("f=3",)
        ),
    )

    names: tuple[str | None, ...] = Field(description="names of the axes")
    sizes: tuple[SizeSetting, ...] = Field(description="sizes of the axes")
    tree: Annotated[tuple, Field(description="the value at each position, as a tree of tuples")]
    dtype: str = Field("float", description="float, int or bool")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        axes = tuple(Axis(name, size) for name, size in zip(self.names, self.sizes, strict=True))
        return (TensorType(axes, self.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return {}

    def known(self) -> Known:
        return known_of(self.tree, len(self.sizes), self.dtype)

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        if self.tree[0] == "number":
            return (Interval(self.tree[1], self.tree[1]),)
        return (Interval(0, 1) if self.dtype == "bool" else ANY,)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return grid_code(self.sizes, self.tree, self.dtype)


def grid_code(sizes: tuple[int | Dim, ...], tree: tuple, dtype: str) -> Code:
    """Torch code for the tensor; `{device}` stands for the device to make it on."""
    writer = _Writer(sizes)
    body = writer.write(tree)
    shape = ", ".join(writer.value(size) for size in sizes)
    cast = "" if _kind(tree) == dtype else {"float": ".float()", "int": ".long()", "bool": ".bool()"}[dtype]
    if tree[0] in ("number", "size"):
        body = f"torch.tensor({body}, device={{device}})"
    if not writer.whole(tree):
        body = f"({body}).expand({shape})" if sizes else body
    return Code(body + cast, writer.values)


def _kind(tree: tuple) -> str:
    """What torch makes of a tree: float, int or bool."""
    function, *parts = tree
    if function in ("number", "size"):
        value = parts[0]
        return "bool" if isinstance(value, bool) else "float" if isinstance(value, float) else "int"
    if function in ("<", "<=", ">", ">=", "==", "!=", "and", "or", "not"):
        return "bool"
    if function in ("index", "floor", "ceil", "round", "int"):
        return "int"
    if function in ("/", "exp", "log", "log2", "sqrt", "sin", "cos"):
        return "float"
    kinds = {_kind(part) for part in (parts[1:] if function == "if" else parts)}
    return next((kind for kind in ("float", "int") if kind in kinds), "bool")


class _Writer:
    def __init__(self, sizes: tuple[int | Dim, ...]) -> None:
        self.sizes = sizes
        self.values: dict[str, Any] = {}

    def value(self, value: Any) -> str:
        for key, known in self.values.items():
            if type(known) is type(value) and known == value:
                return f"{{{key}}}"
        key = f"v{len(self.values)}"
        self.values[key] = value
        return f"{{{key}}}"

    def whole(self, tree: tuple) -> bool:
        """Does the tree mention every axis, so that its value already has the full shape?"""
        found: set[int] = set()

        def visit(t: tuple) -> None:
            if t[0] == "index":
                found.add(t[1])
            for part in t[1:]:
                if isinstance(part, tuple):
                    visit(part)

        visit(tree)
        return len(found) == len(self.sizes)

    def write(self, tree: tuple) -> str:
        kind = tree[0]
        if kind == "index":
            axis, rank = tree[1], len(self.sizes)
            text = f"torch.arange({self.value(self.sizes[axis])}, device={{device}})"
            after = rank - 1 - axis
            return text + (f"[{', '.join([':', *['None'] * after])}]" if after else "")
        if kind in ("number", "size"):
            return self.value(tree[1])
        parts = [self.write(t) for t in tree[1:]]
        if kind in _NEEDS_TENSORS:
            parts = [
                f"torch.tensor({p}, device={{device}})" if t[0] in ("number", "size") else p
                for p, t in zip(parts, tree[1:], strict=True)
            ]
        return FUNCTIONS[kind].format(*parts)
