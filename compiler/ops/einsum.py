"""Products and sums over named axes: `einsum("b h q d, b h k d -> b h q k")`."""

from __future__ import annotations

import string
from collections.abc import Sequence

from ..declared import Field
from ..einops import ELLIPSIS, PatternError, Side, fill_ellipsis, parse
from ..relations import POINTWISE, Relations, everything
from ..sizes import Dim
from ..types import Axis, TensorType, unique_names
from .base import Code, Example, Glyph, Interval, Need, Op, Refusal
from .einops_notation import refuse_pattern, wrong_rank
from .elementwise import multiply, promote, refuse_bool

Labels = tuple[str, ...]


class Einsum(Op):
    """Einstein summation, written with words: every name that is missing on the right is multiplied and summed over.

    `einsum("b h q d, b h k d -> b h q k")` is the product of queries and keys. One name is one size in all operands.
    Axes of the result keep their own names, as in `rearrange`."""

    name = "einsum"
    neutral = 0.0
    glyph = Glyph.LINEAR
    operands = ("xs*",)
    examples = (
        Example({"pattern": "b h q d, b h k d -> b h q k"}, ("B h=2 T d=3", "B h=2 S d=3"), ("B h=2 T S",)),
        Example({"pattern": "b h q d, b h k d -> b h q k"}, ("B h=2 T d=3", "B h=2 T d=3"), ("B h=2 q=T k=T",)),
        Example({"pattern": "b h q k, b h k d -> b h q d"}, ("B h=2 T 5", "B h=2 5 d=3"), ("B h=2 T d=3",)),
        Example({"pattern": "b h q k, b h k d -> b q h d"}, ("B h=2 T 5", "B h=2 5 d=3"), ("B T h=2 d=3",)),
        Example({"pattern": "b s, b s e -> b e"}, ("B S", "B S 3"), ("B e=3",)),
        Example({"pattern": "i d, j d -> i j"}, ("B D=4", "N D=4"), ("B N",)),
        Example({"pattern": "b n i, i j -> b n j"}, ("B N 4", "4 K=3"), ("B N K=3",)),
        Example({"pattern": "b d, b n -> b d n"}, ("B D=4", "B N"), ("B D=4 N",)),
        Example({"pattern": "b i j -> b j"}, ("B 3 J=4",), ("B J=4",)),
        Example({"pattern": "a b, b c, c d -> a d"}, ("N 3", "3 5", "5 M=2"), ("N M=2",)),
        Example({"pattern": "... d, d e -> ... e"}, ("B T 4", "4 5"), ("B T e=5",)),
        Example({"pattern": "b i d, b j d, d -> b i j"}, ("B N 4", "B T 4", "4"), ("B N T",)),
    )

    pattern: str = Field(description="the axes of each operand and of the result, as in `b i d, b j d -> b i j`")

    def _sides(self, inputs: Sequence[TensorType]) -> tuple[list[Side], Side]:
        """The pattern with `...` written out. Raises PatternError, Refusal."""
        sides, right = parse(self.pattern)
        for side in (*sides, right):
            if side.composed:
                raise PatternError(
                    "A0323",
                    "`einsum` neither splits nor joins axes",
                    side.start,
                    side.end,
                    "use `rearrange` before or after it",
                )
            if () in side.axes:
                raise PatternError(
                    "A0323",
                    "`einsum` gives every axis a name",
                    side.start,
                    side.end,
                    "add axes of size 1 by `rearrange`",
                )
        if len(sides) != len(inputs):
            raise Refusal(
                f"the pattern has {len(sides)} operands, but {len(inputs)} tensors enter",
                help="separate the operands by commas, left of the arrow",
                setting="pattern",
                code="A0325",
            )
        filled, counts = [], [0]
        for i, (side, x) in enumerate(zip(sides, inputs, strict=True)):
            open_ = any(n.text == ELLIPSIS for n in side.names())
            count = x.rank - len(side.axes) + open_
            if count < 0 or (count and not open_):
                raise wrong_rank(self.pattern, side, x, i)
            counts += [count] if open_ else []
            filled.append(fill_ellipsis(side, count) if open_ else side)
        if any(n.text == ELLIPSIS for n in right.names()):
            right = fill_ellipsis(right, max(counts))
        known = {n.text for side in filled for n in side.names()}
        for name in right.names():
            if name.text not in known:
                raise PatternError(
                    "A0324",
                    f"no operand has an axis `{name.text}`",
                    name.start,
                    name.end,
                    "name it on the left as well",
                )
        return filled, right

    def solve(self, inputs: Sequence[TensorType], need: Need) -> tuple[list[Labels], Labels, dict[str, int | Dim]]:
        """Names of the operands' axes and of the result's, and the size of each. Asks `need`, raises Refusal."""
        try:
            sides, right = self._sides(inputs)
        except PatternError as error:
            raise refuse_pattern(error) from None
        sizes: dict[str, int | Dim] = {}
        first: dict[str, int] = {}
        for i, (side, x) in enumerate(zip(sides, inputs, strict=True)):
            for axis, name in enumerate(side.names()):
                size = x.shape[axis]
                known = sizes.setdefault(name.text, size)
                j = first.setdefault(name.text, i)
                shown = name.text.removeprefix(ELLIPSIS)
                need.equal(
                    known,
                    size,
                    f"`{shown}` has size {known} in operand {j + 1}, {inputs[j]}, but {size} in operand {i + 1}, {x}",
                    help="one name is one size; give different axes different names",
                    operand=i,
                    others=(j,),
                    setting="pattern",
                    within=(name.start, name.end),
                    code="A0326",
                )
                if isinstance(size, int):
                    sizes[name.text] = size
        return [tuple(n.text for n in s.names()) for s in sides], tuple(n.text for n in right.names()), sizes

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        refuse_bool(inputs, self.name)
        sides, right, sizes = self.solve(inputs, need)
        axes = []
        for label in right:
            own = next((x.names[s.index(label)] for s, x in zip(sides, inputs, strict=True) if label in s), None)
            axes.append(Axis(own or _shown(label), sizes[label]))
        return (TensorType(unique_names(axes, lambda i: _shown(right[i])), promote(inputs)),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        sides, right, _ = self.solve(inputs, Need())
        table: Relations = {}
        for i, side in enumerate(sides):
            for axis, label in enumerate(side):
                if label in right:
                    table[0, right.index(label), i, axis] = POINTWISE
                else:
                    table[0, None, i, axis] = everything(uniform=True, symmetric=True)
        return table

    def contracted(self, inputs: tuple[TensorType, ...]) -> tuple[frozenset[tuple[int, int]], ...]:
        sides, right, _ = self.solve(inputs, Need())
        places: dict[str, set[tuple[int, int]]] = {}
        for i, side in enumerate(sides):
            for axis, label in enumerate(side):
                if label not in right:
                    places.setdefault(label, set()).add((i, axis))
        return tuple(frozenset(group) for group in places.values() if len(group) > 1)

    def flops(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> int | Dim:
        sides, right, sizes = self.solve(inputs, Need())
        total: int | Dim = 0
        done = sides[0]
        for i, side in enumerate(sides[1:], 1):
            kept = _kept(done, side, sides[i + 1 :], right)
            both = set(done) & set(side)
            if any(label in both and label not in kept and sizes[label] != 1 for label in done):
                product: int | Dim = 2
                for label in dict.fromkeys((*done, *side)):
                    alone = label not in kept and label not in both  # summed before the product
                    product = product if alone else product * sizes[label]
                total = total + product
            done = kept
        return total

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        product = Interval(1, 1)
        for x in ranges:
            product = multiply(product, x)
        _, right = parse(self.pattern)
        summed = {n.text for s in parse(self.pattern)[0] for n in s.names()} - {n.text for n in right.names()}
        if not summed:
            return (product,)
        return (Interval(0 if product.lo >= 0 else Interval().lo, 0 if product.hi <= 0 else Interval().hi),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        sides, right, _ = self.solve(inputs, Need())
        if len(sides) == 1:
            return self._written(sides, right, ["{0}"], {})
        text, done = "{0}", sides[0]
        values: dict[str, str] = {}
        for i, side in enumerate(sides[1:], 1):
            last = i == len(sides) - 1
            kept = right if last else _kept(done, side, sides[i + 1 :], right)
            product = _matmul(done, side, kept)
            if product is not None:
                left = f"({text})" if " @ " in text and product[0] else text
                text = f"{left}{product[0]} @ {{{i}}}{product[1]}"
            else:
                code = self._written([done, side], kept, [text, f"{{{i}}}"], values)
                text = code.template
            done = kept
        return Code(text, values)

    @staticmethod
    def _written(sides: Sequence[Labels], right: Labels, operands: Sequence[str], values: dict[str, str]) -> Code:
        letters = _letters([*sides, right])
        equation = ",".join("".join(letters[n] for n in s) for s in sides) + "->" + "".join(letters[n] for n in right)
        key = f"equation{len(values)}" if values else "equation"
        values[key] = equation
        return Code(f"torch.einsum({{{key}}}, {', '.join(operands)})", values)


def _shown(label: str) -> str | None:
    return None if label.startswith(ELLIPSIS) else label


def _kept(left: Labels, side: Labels, later: Sequence[Labels], right: Labels) -> Labels:
    """Names that a product of two must keep for what follows, the left operand's first."""
    needed = {*right, *(n for s in later for n in s)}
    return tuple(n for n in dict.fromkeys((*left, *side)) if n in needed)


def _matmul(left: Labels, side: Labels, right: Labels) -> tuple[str, str] | None:
    """What to write after each operand so that `@` computes exactly this; None when it does not."""
    if len(left) < 2 or len(side) < 2 or len(right) < 2:
        return None
    batch, (m, n) = right[:-2], right[-2:]
    plain = len(side) == 2  # a matrix for all of the batch
    if left[:-2] != batch or (side[:-2] != batch and not plain) or m == n:
        return None
    for first, rows in (("", left[-2:]), (".mT", left[:-3:-1])):
        for second, columns in (("", side[-2:]), (".mT", side[:-3:-1])):
            contracted = rows[1] == columns[0] and rows[1] not in right
            if rows[0] == m and columns[1] == n and contracted and not (plain and first and batch):
                return first, second
    return None


def _letters(sides: Sequence[Labels]) -> dict[str, str]:
    """A letter for each name: its own where it is one, else its first one, else any that is free."""
    names = list(dict.fromkeys(n for s in sides for n in s))
    letters = {n: n for n in names if len(n) == 1 and n in string.ascii_letters}
    for name in names:
        if name not in letters:
            options = [c for c in name if c in string.ascii_letters][:1] + list(string.ascii_letters)
            letters[name] = next(c for c in options if c not in letters.values())
    return letters
