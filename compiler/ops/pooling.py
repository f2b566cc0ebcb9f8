"""Pooling over the spatial axes of [B, C, *spatial]."""

from __future__ import annotations

from fractions import Fraction
from math import gcd
from typing import TYPE_CHECKING

from ..declared import Field
from ..relations import Relation, Relations, everything, window
from ..sizes import Dim, Verdict, divides
from ..types import TensorType
from .base import Code, Example, Glyph, Interval, Need, Op, Refusal, Unless, call, pointwise
from .shared import (
    AmountPerAxis,
    CountPerAxis,
    brief,
    kept,
    reduced,
    require_fit,
    require_rank,
    require_spatial,
    spread,
    windows,
    with_channels,
)

STRIDE = "step from one window to the next; none: the kernel's size"


def pooled_size(size: int | Dim, *, extent: int, stride: int, pad: int, ceil: bool) -> int | Dim:
    """Number of windows along an axis; a window's last position is `extent` after its first. With `ceil` the last
    window may reach past the end, but must start inside the operand or its left padding: both conditions have the form
    ⌈(size + constant) / stride⌉, so the smaller constant decides."""
    if not ceil:
        return windows(size, 2 * pad - extent - 1, stride)
    reach = min(2 * pad - extent - 1 + stride, pad)
    return (size + (reach + stride - 1)) // stride


class _Pool(Op):
    """A window moved over every spatial axis."""

    if TYPE_CHECKING:
        kernel: CountPerAxis
        stride: CountPerAxis | None
        pad: AmountPerAxis
        ceil: bool

    def _per_axis(self, axes: int) -> list[tuple[int, int, int, int]]:
        """Kernel, stride, pad and dilation of each spatial axis."""
        kernel = spread(self.kernel, axes, "kernel")
        stride = kernel if self.stride is None else spread(self.stride, axes, "stride")
        dilation = spread(getattr(self, "dilation", 1), axes, "dilation")
        return list(zip(kernel, stride, spread(self.pad, axes, "pad"), dilation, strict=True))

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        axes = require_spatial(x, self.name)
        sizes = []
        for a, (kernel, stride, pad, dilation) in enumerate(self._per_axis(axes), 2):
            if 2 * pad > kernel:
                raise Refusal(
                    f"a padding of {pad} is more than half the kernel, which is {kernel}",
                    help="some windows would see nothing but padding",
                    setting="pad",
                    code="A0313",
                )
            extent = dilation * (kernel - 1)
            over = stride - 1 if self.ceil else 0
            require_fit(x, a, need, reach=extent + 1, pads=(pad, pad), over=over)
            sizes.append(pooled_size(x.shape[a], extent=extent, stride=stride, pad=pad, ceil=self.ceil))
        return (with_channels(x, x.shape[1], tuple(sizes)),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        changed: dict[int, Relation] = {}
        for a, (kernel, stride, pad, dilation) in enumerate(self._per_axis(x.rank - 2), 2):
            extent = dilation * (kernel - 1)
            over = self.ceil and divides(stride, x.shape[a] + 2 * pad - extent - 1) is not Verdict.PROVED
            changed[a] = window(stride, -pad, extent - pad, padded=pad > 0 or over)
        return pointwise(x, changed=changed)

    def _options(self, axes: int) -> dict[str, Unless]:
        kernel, stride, pad, dilation = (brief(v) for v in zip(*self._per_axis(axes), strict=True))
        return {
            "stride": Unless(stride, kernel),
            "padding": Unless(pad, 0),
            "dilation": Unless(dilation, 1),
            "ceil_mode": Unless(self.ceil, False),
        }

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        axes = inputs[0].rank - 2
        kind = self.name.replace("pool", "").capitalize()
        kernel = brief(spread(self.kernel, axes, "kernel"))
        return call(f"nn.{kind}Pool{axes}d", kernel, **self._options(axes))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        axes = inputs[0].rank - 2
        kernel = brief(spread(self.kernel, axes, "kernel"))
        return call(f"F.{self.name.replace('pool', '_pool')}{axes}d", "{0}", kernel, **self._options(axes))


class MaxPool(_Pool):
    """The largest value of every window, channel by channel."""

    name = "maxpool"
    glyph = Glyph.POOL
    examples = (
        Example({"kernel": 2}, ("B C H=8 W=6",), ("B C H=4 W=3",)),
        Example({"kernel": 3, "stride": 2, "pad": 1}, ("B C=3 H=9 W=8",), ("B C=3 H=5 W=4",)),
        Example({"kernel": [2, 3], "stride": 1, "dilation": 2}, ("B C=2 H=6 W=9",), ("B C=2 H=4 W=5",)),
        Example({"kernel": 2, "ceil": True}, ("B C=2 L=7",), ("B C=2 L=4",)),
        Example({"kernel": 2, "stride": 2}, ("B C=2 4 4 6",), ("B C=2 2 2 3",)),
    )

    kernel: CountPerAxis = Field(description="size of the window: a number, or a list with one an axis")
    stride: CountPerAxis | None = Field(None, description=STRIDE)
    pad: AmountPerAxis = Field(0, description="positions added on both sides, which never win; at most half the kernel")
    dilation: CountPerAxis = Field(1, description="distance between neighbouring positions of a window")
    ceil: bool = Field(False, description="keep a last window that reaches past the end")

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges


class AvgPool(_Pool):
    """The mean of every window, channel by channel."""

    name = "avgpool"
    glyph = Glyph.POOL
    examples = (
        Example({"kernel": 2}, ("B 3 H=8 W=6",), ("B C=3 H=4 W=3",)),
        Example({"kernel": 3, "stride": 1, "pad": 1}, ("B C=2 H=5 W=6",), ("B C=2 H=5 W=6",), ("positive",)),
        Example({"kernel": 3, "stride": 2, "pad": 1, "count_pad": False}, ("B C=2 L=9",), ("B C=2 L=5",)),
        Example({"kernel": 3, "stride": 2, "ceil": True}, ("B C=2 L=8",), ("B C=2 L=4",)),
        Example({"kernel": [1, 2, 2]}, ("B C=2 3 4 4",), ("B C=2 3 2 2",)),
    )

    kernel: CountPerAxis = Field(description="size of the window: a number, or a list with one an axis")
    stride: CountPerAxis | None = Field(None, description=STRIDE)
    pad: AmountPerAxis = Field(0, description="zeros added on both sides; at most half the kernel")
    ceil: bool = Field(False, description="keep a last window that reaches past the end")
    count_pad: bool = Field(True, description="padding counts as positions of the mean")

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        (x,) = ranges
        zeros = self.count_pad and self.pad != 0
        return (Interval(min(x.lo, 0.0), max(x.hi, 0.0)) if zeros else x,)

    def _options(self, axes: int) -> dict[str, Unless]:
        return super()._options(axes) | {"count_include_pad": Unless(self.count_pad, True)}


class _AdaptivePool(Op):
    """Windows chosen so that the result has a given size: position o sees ⌊o·n/size⌋ up to ⌈(o+1)·n/size⌉."""

    size: CountPerAxis = Field(description="size of every spatial axis of the result, or a list with one an axis")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        axes = require_spatial(x, self.name)
        return (with_channels(x, x.shape[1], spread(self.size, axes, "size")),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        table = kept(x, 2)
        for a, size in enumerate(spread(self.size, x.rank - 2, "size"), 2):
            if size == 1:
                table |= reduced(x, range(a, a + 1))
            else:
                table[0, a, 0, a] = _adaptive_window(x.shape[a], size)
        return table

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        axes = inputs[0].rank - 2
        kind = self.name.removeprefix("adaptive_").removesuffix("pool").capitalize()
        return call(f"nn.Adaptive{kind}Pool{axes}d", brief(spread(self.size, axes, "size")))

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        axes = inputs[0].rank - 2
        function = self.name.replace("pool", "_pool")
        return call(f"F.{function}{axes}d", "{0}", brief(spread(self.size, axes, "size")))


def _adaptive_window(size: int | Dim, result: int) -> Relation:
    """Rounding moves the borders of a window by at most (q − 1)/q, q being the reduced denominator of size/result."""
    if not isinstance(size, int):
        return everything(loose=True, covers=True)
    q = result // gcd(size, result)
    slack = Fraction(q - 1, q)
    stride = Fraction(size, result)
    return window(stride, -slack, stride - 1 + slack, uniform=q == 1)


class AdaptiveAvgPool(_AdaptivePool):
    """Means over windows chosen so that the result has a given size, whatever the operand's."""

    name = "adaptive_avgpool"
    glyph = Glyph.POOL
    examples = (
        Example({"size": 1}, ("B C H W",), ("B C H=1 W=1",)),
        Example({"size": 4}, ("B C=2 H=8 W=6",), ("B C=2 H=4 W=4",)),
        Example({"size": [3, 7]}, ("B C=2 H=7 W=3",), ("B C=2 H=3 W=7",)),
        Example({"size": 5}, ("B C=2 L=12",), ("B C=2 L=5",)),
        Example({"size": 2}, ("B C=2 4 5 6",), ("B C=2 2 2 2",)),
    )


class AdaptiveMaxPool(_AdaptivePool):
    """Maxima over windows chosen so that the result has a given size, whatever the operand's."""

    name = "adaptive_maxpool"
    glyph = Glyph.POOL
    examples = (
        Example({"size": 1}, ("B C L=9",), ("B C L=1",)),
        Example({"size": [3, 4]}, ("B C=2 H=9 W=6",), ("B C=2 H=3 W=4",)),
        Example({"size": 2}, ("B C=2 4 5 6",), ("B C=2 2 2 2",)),
    )


class _GlobalPool(Op):
    """A reduction of all spatial axes, which stay with size 1."""

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        axes = require_rank(x, self.name, 3, 64, "[B, C, *spatial]")
        return (with_channels(x, x.shape[1], (1,) * axes),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        return kept(x, 2) | reduced(x, range(2, x.rank))

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return ranges

    def _axes(self, inputs: tuple[TensorType, ...]) -> tuple[int, ...]:
        return tuple(range(2 - inputs[0].rank, 0))


class GlobalAvgPool(_GlobalPool):
    """The mean over all spatial axes, which stay with size 1 ("Network in Network", Lin et al., 2013)."""

    name = "global_avgpool"
    glyph = Glyph.POOL
    examples = (
        Example({}, ("B C H W",), ("B C H=1 W=1",)),
        Example({}, ("B C=3 L=5",), ("B C=3 L=1",)),
        Example({}, ("B C=2 2 3 2 2",), ("B C=2 1 1 1 1",)),
    )

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        axes = inputs[0].rank - 2
        return call(f"nn.AdaptiveAvgPool{axes}d", 1) if axes <= 3 else None

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("torch.mean", "{0}", dim=self._axes(inputs), keepdim=True)


class GlobalMaxPool(_GlobalPool):
    """The maximum over all spatial axes, which stay with size 1."""

    name = "global_maxpool"
    glyph = Glyph.POOL
    examples = (
        Example({}, ("B C H W",), ("B C H=1 W=1",)),
        Example({}, ("B C=3 2 3 2",), ("B C=3 1 1 1",)),
    )

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        axes = inputs[0].rank - 2
        return call(f"nn.AdaptiveMaxPool{axes}d", 1) if axes <= 3 else None

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("torch.amax", "{0}", dim=self._axes(inputs), keepdim=True)
