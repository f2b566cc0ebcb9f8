"""Moving axes by a pattern: `rearrange("b t (h d) -> b h t d", h=8)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..declared import Field
from ..diagnostics import did_you_mean
from ..einops import ELLIPSIS, Group, Name, PatternError, Side, expand_ellipsis, parse
from ..relations import Relations
from ..sizes import Dim
from ..types import Axis, TensorType, unique_names
from .base import Code, Example, Glyph, Interval, Need, Op, Refusal, SizeSetting
from .elementwise import axis_name
from .regroup import Part, regroup_code, regroup_relations


@dataclass(frozen=True)
class Plan:
    """A pattern solved for one operand: its axes in parts, and how the result's axes are made of parts."""

    parts: tuple[tuple[Part, ...], ...]  # for each operand axis; none for an axis of size 1 that is dropped
    result: tuple[tuple[str, ...], ...]  # for each result axis, the names of its parts; none for a new axis of size 1

    def axes(self, x: TensorType) -> tuple[Axis, ...]:
        """Axes of the result: a whole axis keeps its name, a new one has the pattern's, a composed one has none."""
        sizes = {part.name: part.size for axis in self.parts for part in axis}
        own = {axis[0].name: x.names[i] for i, axis in enumerate(self.parts) if len(axis) == 1}
        axes = []
        for names in self.result:
            size: int | Dim = 1
            for name in names:
                size = size * sizes[name]
            axes.append(Axis((own.get(names[0]) or _shown(names[0])) if len(names) == 1 else None, size))
        return unique_names(axes, lambda i: _shown(self.result[i][0]) if self.result[i] else None)


def _shown(name: str) -> str | None:
    return None if name.startswith(ELLIPSIS) else name


def refuse_pattern(error: PatternError) -> Refusal:
    """A pattern's fault as a refusal that blames the characters."""
    return Refusal(error.message, help=error.help, setting="pattern", within=(error.start, error.end), code=error.code)


def wrong_rank(pattern: str, side: Side, x: TensorType, operand: int) -> Refusal:
    """The pattern lists another number of axes than the operand has (A0325)."""
    listed = len(side.axes)
    return Refusal(
        f"the pattern has {listed} {'axis' if listed == 1 else 'axes'} (`{pattern[side.start : side.end].strip()}`), "
        f"but {x} has {x.rank}",
        help="name every axis once; `...` stands for any number of axes",
        operand=operand,
        setting="pattern",
        within=(side.start, side.end),
        code="A0325",
    )


class Rearrange(Op):
    """Moves, splits and joins axes, in einops' notation (Rogozhnikov, 2022).

    Left of the arrow every axis of the tensor is named, right of it every axis of the result. `(h d)` is an axis made
    of two, h the outer one; `1` is an axis of size 1, dropped or made; `...` is any number of axes, kept together. The
    sizes of parts are given by name, `h=8`; one size in each pair of parentheses follows from the rest. An axis that
    stays whole keeps its own name, a new one is called what the pattern calls it, a composed one has no name."""

    name = "rearrange"
    glyph = Glyph.SHAPE
    extra = "sizes"
    regroups = True
    examples = (
        Example({"pattern": "b c h w -> b (h w) c"}, ("B C=4 H=3 W=2",), ("B _=6 C=4",)),
        Example({"pattern": "b t (h d) -> b h t d", "sizes": {"h": 2}}, ("B T D=6",), ("B h=2 T d=3",)),
        Example({"pattern": "b h q d -> b q (h d)"}, ("B h=2 T d=3",), ("B T 6",)),
        Example({"pattern": "b t (n h d) -> n b h t d", "sizes": {"n": 3, "h": 2}}, ("B T 12",), ("n=3 B h=2 T d=2",)),
        Example({"pattern": "b c -> b c 1 1"}, ("B C=4",), ("B C=4 1 1",)),
        Example({"pattern": "b s 1 -> b s"}, ("B S 1",), ("B S",)),
        Example(
            {"pattern": "b (h i) (v j) c -> b (h v) (i j) c", "sizes": {"i": 2, "j": 3}},
            ("B H=4 W=6 C=2",),
            ("B 4 6 C=2",),
        ),
        Example(
            {"pattern": "b c (h p) (w q) -> b h w (p q c)", "sizes": {"p": 2, "q": 2}},
            ("B C=3 H=4 W=6",),
            ("B h=2 w=3 12",),
        ),
        Example({"pattern": "... (h w) -> ... h w", "sizes": {"h": 2}}, ("B T 6",), ("B T h=2 w=3",)),
        Example({"pattern": "a b -> b a"}, ("int N T",), ("int T N",)),
        Example({"pattern": "(a b) -> (b a)", "sizes": {"a": 2}}, ("6",), ("6",)),
        Example({"pattern": "b (a c) d -> b a (c d)", "sizes": {"c": 2}}, ("B C=4 D=3",), ("B a=2 6",)),
        Example({"pattern": "b c h w -> b c h w"}, ("B C=4 H=3 W=2",), ("B C=4 H=3 W=2",)),
    )

    pattern: str = Field(description="the axes before and after, as in `b c h w -> b (h w) c`")
    sizes: dict[str, SizeSetting] = Field(default_factory=dict, description="sizes of parts, by name")

    def __hash__(self) -> int:
        return hash((self.pattern, tuple(sorted(self.sizes.items(), key=lambda item: item[0]))))

    def plan(self, x: TensorType, need: Need) -> Plan:
        """The pattern solved for an operand. Asks `need`, raises Refusal."""
        try:
            return self._plan(x, need)
        except PatternError as error:
            raise refuse_pattern(error) from None

    def _plan(self, x: TensorType, need: Need) -> Plan:
        sides, right = parse(self.pattern)
        if len(sides) != 1:
            raise PatternError(
                "A0323", "one tensor enters `rearrange`", sides[1].start, sides[1].end, "`einsum` joins several tensors"
            )
        left = expand_ellipsis(sides[0], x.rank)
        count = len(left.axes) - len(sides[0].axes) + 1
        if len(left.axes) != x.rank:
            raise wrong_rank(self.pattern, sides[0], x, 0)
        names = {n.text: n for n in sides[0].names()}
        self._check_names(names, right)
        if ELLIPSIS in names:
            right = expand_ellipsis(right, len(right.axes) - 1 + count)
        parts = tuple(self._split(x, i, group, need) for i, group in enumerate(left.axes))
        return Plan(parts, tuple(tuple(n.text for n in group) for group in right.axes))

    def _check_names(self, left: dict[str, Name], right: Side) -> None:
        there = {n.text for n in right.names()}
        for name in right.names():
            if name.text not in left:
                close = did_you_mean(name.text, left)
                raise PatternError(
                    "A0324",
                    f"`{name.text}` is not on the left of the arrow",
                    name.start,
                    name.end,
                    close or "`rearrange` makes no data: a new axis is `1`, and `expand` stretches it",
                )
        for text, name in left.items():
            if text not in there:
                raise PatternError(
                    "A0324",
                    f"`{text}` is missing on the right of the arrow",
                    name.start,
                    name.end,
                    "`rearrange` drops no data: reduce the axis first, as in `mean(axis=…)`, or split it off",
                )
        for text in self.sizes:
            if text not in left:
                raise Refusal(
                    f"the pattern has no axis `{text}`",
                    help=did_you_mean(text, left) or "a size is given for a name of the pattern",
                    setting=text,
                    code="A0324",
                )

    def _split(self, x: TensorType, axis: int, group: Group, need: Need) -> tuple[Part, ...]:
        """An axis of the operand in parts, the one size that is not given solved."""
        size = x.shape[axis]
        what = f"{axis_name(x, axis)} of {x} has size {size}"
        blame: dict[str, Any] = {"operand": 0, "setting": "pattern", "code": "A0326"}
        if group:
            blame["within"] = (group[0].start, group[-1].end)
        known: int | Dim = 1
        for name in group:
            given = self.sizes.get(name.text)
            if given is not None:
                need.at_least(
                    given, 1, f"`{name.text}` must be at least 1, found {given}", setting=name.text, code="A0326"
                )
                known = known * given
        free = [n for n in group if n.text not in self.sizes]
        if len(free) > 1:
            raise PatternError(
                "A0326",
                f"the sizes of `{free[0].text}` and `{free[1].text}` cannot both be found from {size}",
                free[0].start,
                free[1].end,
                f'give one of them: rearrange("…", {free[0].text}=…)',
            )
        if not free:
            product = " · ".join(f"{n.text}={self.sizes[n.text]}" for n in group) or "1"
            need.equal(size, known, f"{what}, but the pattern says {product}", help="correct the sizes", **blame)
            return tuple(Part(n.text, self.sizes[n.text]) for n in group)
        if len(group) > 1:
            shown = " · ".join(f"{n.text}={self.sizes[n.text]}" for n in group if n.text in self.sizes)
            need.divides(
                known, size, f"{what}, which {shown} does not divide", help="the given sizes must divide it", **blame
            )
        return tuple(
            Part(n.text, self.sizes[n.text]) if n.text in self.sizes else Part(n.text, size // known, solved=True)
            for n in group
        )

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        return (TensorType(self.plan(x, need).axes(x), x.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        plan = self.plan(inputs[0], Need())
        return regroup_relations(plan.parts, plan.result)

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        plan = self.plan(inputs[0], Need())
        return regroup_code(plan.parts, plan.result)
