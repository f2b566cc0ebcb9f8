"""Changing the resolution of [B, C, *spatial] without weights, and padding it."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from ..declared import Field
from ..relations import Relation, Relations, everything, window
from ..sizes import Dim
from ..types import TensorType
from .base import Code, Example, Glyph, Interval, Need, Op, Refusal, Unless, call, pointwise
from .shared import (
    Amount,
    Border,
    Count,
    CountPerAxis,
    Pads,
    border_window,
    brief,
    pad_arguments,
    require_border,
    require_rank,
    require_spatial,
    spread,
    torch_mode,
    with_channels,
)

SMOOTH = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}  # the spatial axes that a mode is made for
BY_AXES = {1: '"linear"', 2: '"bilinear" or "bicubic"', 3: '"trilinear"'}


class Upsample(Op):
    """Raises the resolution by a whole factor: by repeating (nearest), or by interpolating between neighbours."""

    name = "upsample"
    glyph = Glyph.SHAPE
    examples = (
        Example({"scale": 2}, ("B C H=4 W=3",), ("B C H=8 W=6",)),
        Example({"scale": [3, 2], "mode": "nearest-exact"}, ("B C=2 4 3",), ("B C=2 12 6",)),
        Example({"scale": 2, "mode": "bilinear"}, ("B C=2 H=6 W=5",), ("B C=2 H=12 W=10",)),
        Example({"scale": 3, "mode": "bilinear"}, ("B C=2 H=4 W=5",), ("B C=2 H=12 W=15",)),
        Example({"scale": 2, "mode": "bilinear", "align_corners": True}, ("B C=2 H=4 W=5",), ("B C=2 H=8 W=10",)),
        Example({"scale": 2, "mode": "bicubic"}, ("B C=2 H=7 W=6",), ("B C=2 H=14 W=12",)),
        Example({"scale": 4, "mode": "linear"}, ("B C=2 L=5",), ("B C=2 L=20",)),
        Example({"scale": 2, "mode": "trilinear"}, ("B C=2 3 4 3",), ("B C=2 6 8 6",)),
    )

    scale: CountPerAxis = Field(description="factor, or a list with one an axis")
    mode: Literal["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear"] = Field(
        "nearest", description="how new positions are filled"
    )
    align_corners: bool = Field(
        False, description="the outermost positions keep their values, and the factor between the others becomes uneven"
    )

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        axes = require_spatial(x, "upsample")
        if SMOOTH.get(self.mode, axes) != axes:
            raise Refusal(
                f'"{self.mode}" is for {SMOOTH[self.mode]} spatial axes, but {x} has {axes}',
                help=f'use {BY_AXES[axes]}, or "nearest"',
                operand=0,
                setting="mode",
                code="A0310",
            )
        if self.align_corners and self.mode not in SMOOTH:
            raise Refusal(
                f'"{self.mode}" has no corners to align',
                help="`align_corners` is for the modes that interpolate",
                setting="align_corners",
                code="A0313",
            )
        sizes = (n * s for n, s in zip(x.shape[2:], spread(self.scale, axes, "scale"), strict=True))
        return (with_channels(x, x.shape[1], tuple(sizes)),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        scales = spread(self.scale, x.rank - 2, "scale")
        return pointwise(x, changed={a: self._window(x.shape[a], s) for a, s in enumerate(scales, 2)})

    def _window(self, size: int | Dim, scale: int) -> Relation:
        if self.mode not in SMOOTH:
            return window(Fraction(1, scale), -Fraction(scale - 1, scale), 0)
        taps = 2 if self.mode == "bicubic" else 1  # on each side of where a position falls
        if self.align_corners:
            if not isinstance(size, int):
                return everything(loose=True, covers=True)
            last = max(1, size * scale - 1)
            inside = taps - Fraction(1, last)
            return window(Fraction(size - 1, last), -inside, inside, uniform=False, padded=taps == 2)
        # Position o falls at (o + 1/2) / scale - 1/2, a multiple of 1/q; what is `taps` away or more has no weight.
        q = scale if scale % 2 else 2 * scale
        centre, inside = (Fraction(1, scale) - 1) / 2, taps - Fraction(1, q)
        return window(Fraction(1, scale), centre - inside, centre + inside, padded=scale > 1)

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return (Interval(),) if self.mode == "bicubic" else ranges  # cubic weights can be negative

    def _options(self, axes: int) -> dict[str, object]:
        return {
            "scale_factor": brief(spread(self.scale, axes, "scale")),
            "mode": Unless(self.mode, "nearest"),
            "align_corners": Unless(self.align_corners, False),
        }

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        return call("nn.Upsample", **self._options(inputs[0].rank - 2))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.interpolate", "{0}", **self._options(inputs[0].rank - 2))


Pair = tuple[Amount, Amount]


class Pad(Op):
    """Adds positions around the spatial axes. `amount` is one number for all sides, or a list with an entry an axis: a
    number (both sides alike) or a pair (before, after)."""

    name = "pad"
    glyph = Glyph.SHAPE
    examples = (
        Example({"amount": 1}, ("B C H=4 W=3",), ("B C H=6 W=5",), ("positive",)),
        Example({"amount": [[0, 1], 2], "value": -1.5}, ("B C=2 4 3",), ("B C=2 5 7",)),
        Example({"amount": [[3, 0]]}, ("B C=2 L=5",), ("B C=2 L=8",)),
        Example({"amount": 2, "mode": "reflect"}, ("B C=2 H=4 W=5",), ("B C=2 H=8 W=9",)),
        Example({"amount": [[2, 1]], "mode": "replicate"}, ("B C=2 L=5",), ("B C=2 L=8",)),
        Example({"amount": 1, "mode": "circular"}, ("B C=2 H=4 W=5",), ("B C=2 H=6 W=7",)),
        Example({"amount": [1, 0, 2]}, ("B C=2 2 3 2",), ("B C=2 4 3 6",)),
    )

    amount: Amount | tuple[Amount | Pair, ...] = Field(
        description="positions added: a number, or a list with a number or a pair an axis"
    )
    mode: Border = Field("zeros", description="what is added: `value`, or positions of the operand")
    value: Annotated[float, Field(allow_inf_nan=False)] = Field(0.0, description='what "zeros" adds')

    def _pads(self, axes: int) -> Pads:
        amounts = (self.amount,) * axes if isinstance(self.amount, int) else self.amount
        if len(amounts) != axes:
            there = "is 1 spatial axis" if axes == 1 else f"are {axes} spatial axes"
            raise Refusal(
                f"`amount` lists {len(amounts)} entries, but there {there}",
                help="give one number for all sides, or a list with a number or a pair an axis: `pad([[0, 1], 2])`",
                setting="amount",
                code="A0314",
            )
        return tuple((a, a) if isinstance(a, int) else a for a in amounts)

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        axes = require_spatial(x, "pad")
        if self.value != 0 and self.mode != "zeros":
            raise Refusal(
                f'`value` is what "zeros" adds; "{self.mode}" takes it from the operand', setting="value", code="A0313"
            )
        pads = self._pads(axes)
        for a, pair in enumerate(pads, 2):
            require_border(x, a, self.mode, pair, need)
        return (with_channels(x, x.shape[1], tuple(n + sum(p) for n, p in zip(x.shape[2:], pads, strict=True))),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        pads = self._pads(x.rank - 2)
        return pointwise(x, changed={a: border_window(self.mode, 1, -p[0], -p[0], p) for a, p in enumerate(pads, 2)})

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        (x,) = ranges
        if self.mode != "zeros":
            return ranges
        return (Interval(min(x.lo, self.value), max(x.hi, self.value)),)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call(
            "F.pad",
            "{0}",
            pad_arguments(self._pads(inputs[0].rank - 2)),
            mode=Unless(torch_mode(self.mode), "constant"),
            value=Unless(self.value, 0.0),
        )


def require_image(x: TensorType, layer: str) -> None:
    require_rank(x, layer, 4, 4, "[B, C, H, W]")


class PixelShuffle(Op):
    """Moves channels into space: [B, C·r², H, W] becomes [B, C, H·r, W·r] (Shi et al., 2016)."""

    name = "pixel_shuffle"
    regroups = True
    glyph = Glyph.SHAPE
    examples = (
        Example({"factor": 2}, ("B C=8 H W",), ("B C=2 H=2*H W=2*W",)),
        Example({"factor": 3}, ("B 9 3 2",), ("B C=1 9 6",)),
    )

    factor: Count = Field(description="factor r by which both spatial axes grow")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_image(x, "pixel_shuffle")
        area = self.factor**2
        need.divides(
            area,
            x.shape[1],
            f"{x.shape[1]} channels do not fall into squares of {self.factor} × {self.factor}",
            help=f"let the layer before make a multiple of {area} channels",
            operand=0,
            setting="factor",
            code="A0311",
        )
        return (with_channels(x, x.shape[1] // area, tuple(n * self.factor for n in x.shape[2:])),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        r = self.factor
        spread_out = window(Fraction(1, r), -Fraction(r - 1, r), 0)
        return pointwise(inputs[0], changed={1: window(r * r, 0, r * r - 1), 2: spread_out, 3: spread_out})

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        return call("nn.PixelShuffle", self.factor)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.pixel_shuffle", "{0}", self.factor)


class PixelUnshuffle(Op):
    """Moves space into channels: [B, C, H·r, W·r] becomes [B, C·r², H, W], the inverse of `pixel_shuffle`."""

    name = "pixel_unshuffle"
    regroups = True
    glyph = Glyph.SHAPE
    examples = (
        Example({"factor": 2}, ("B C=3 H=6 W=8",), ("B C=12 H=3 W=4",)),
        Example({"factor": 3}, ("B 1 6 9",), ("B C=9 2 3",)),
    )

    factor: Count = Field(description="factor r by which both spatial axes shrink")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_image(x, "pixel_unshuffle")
        for size in x.shape[2:]:
            need.divides(
                self.factor,
                size,
                f"a resolution of {size} does not fall into blocks of {self.factor}",
                help=f"pad or crop to a multiple of {self.factor} before",
                operand=0,
                setting="factor",
                code="A0311",
            )
        return (with_channels(x, x.shape[1] * self.factor**2, tuple(n // self.factor for n in x.shape[2:])),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        r = self.factor
        area, gathered = r * r, window(r, 0, r - 1)
        channels = window(Fraction(1, area), -Fraction(area - 1, area), 0)
        return pointwise(inputs[0], changed={1: channels, 2: gathered, 3: gathered})

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        return call("nn.PixelUnshuffle", self.factor)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.pixel_unshuffle", "{0}", self.factor)
