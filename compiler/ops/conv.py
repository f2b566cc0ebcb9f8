"""Convolutions over [B, C, *spatial], and their transposes."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Literal

from ..declared import Field
from ..relations import Relations, window
from ..sizes import Dim
from ..types import TensorType
from .base import Code, Example, Glyph, Init, Need, Op, Refusal, Unless, WeightSpec, call, pointwise
from .shared import (
    AmountPerAxis,
    Bias,
    BiasStart,
    Border,
    Count,
    CountPerAxis,
    Pads,
    Spectral,
    Start,
    border_window,
    brief,
    fan_in_init,
    grouped,
    pad_arguments,
    require_border,
    require_fit,
    require_groups,
    require_module,
    require_spatial,
    spectral,
    spectral_weights,
    spread,
    torch_mode,
    windows,
    with_channels,
)


class Conv(Op):
    """Convolution (cross-correlation) along 1, 2 or 3 spatial axes: y[o] = Σ_k W[k] x[stride·o + dilation·k − pad] + b,
    summed over the channels of a group.

    The operand is [B, C, *spatial]; its rank chooses between one, two and three dimensions. `pad` is a number, a list
    with one number an axis (both sides alike), "valid" (none), "same" (the size stays; stride 1 only), or "causal" (one
    spatial axis, padded on the left only, so that no position sees a later one)."""

    name = "conv"
    glyph = Glyph.CONV
    examples = (
        Example({"out": 6, "kernel": 3}, ("B 3 H=9 W=8",), ("B C=6 H=7 W=6",)),
        Example({"out": 4, "kernel": 3, "stride": 2, "pad": 1, "bias": False}, ("B C=2 H=9 W=12",), ("B C=4 H=5 W=6",)),
        Example({"out": 4, "kernel": [3, 5], "pad": [1, 2], "groups": 2}, ("B C=6 8 9",), ("B C=4 8 9",)),
        Example({"out": 6, "kernel": 3, "pad": 1, "groups": 3}, ("B C=3 H=6 W=6",), ("B C=6 H=6 W=6",)),
        Example({"out": 5, "kernel": 3, "pad": "same", "dilation": 2}, ("B C=2 L=16",), ("B C=5 L=16",)),
        Example({"out": 5, "kernel": 4, "pad": "same"}, ("B C=2 L=12",), ("B C=5 L=12",)),
        Example({"out": 3, "kernel": 2, "pad": "causal", "dilation": 4}, ("B C=2 T=14",), ("B C=3 T=14",)),
        Example({"out": 3, "kernel": 3, "pad": "causal", "stride": 2, "bias": False}, ("B C=2 T=9",), ("B C=3 T=5",)),
        Example({"out": 2, "kernel": 3, "pad": 1}, ("B C=2 D=4 H=5 W=3",), ("B C=2 D=4 H=5 W=3",)),
        Example({"out": 2, "kernel": 3, "pad": 1, "padding_mode": "reflect"}, ("B C=2 H=8 W=7",), ("B C=2 H=8 W=7",)),
        Example({"out": 2, "kernel": 3, "pad": 2, "padding_mode": "replicate"}, ("B C=2 L=8",), ("B C=2 L=10",)),
        Example({"out": 2, "kernel": 3, "pad": "same", "padding_mode": "circular"}, ("B C=2 L=3",), ("B C=2 L=3",)),
        Example(
            {"out": 6, "kernel": 3, "groups": 2, "spectral_norm": True, "bias": False}, ("B C=4 5 6",), ("B C=6 3 4",)
        ),
        Example(
            {"out": 2, "kernel": 1, "pad": "valid", "init": Init("normal", (0.0, 0.02))}, ("B C=3 4",), ("B C=2 4",)
        ),
    )

    out: Count = Field(description="number of channels of the result")
    kernel: CountPerAxis = Field(description="size of the kernel: a number, or a list with one an axis")
    stride: CountPerAxis = Field(1, description="step from one position of the result to the next")
    pad: AmountPerAxis | Literal["same", "valid", "causal"] = Field(0, description="positions added around the operand")
    dilation: CountPerAxis = Field(1, description="distance between neighbouring taps of the kernel")
    groups: Count = Field(1, description="independent groups of channels; as many as channels: depthwise")
    bias: Bias = True
    padding_mode: Border = Field("zeros", description="what padding consists of")
    init: Start = None
    bias_init: BiasStart = None
    spectral_norm: Spectral = False

    def _per_axis(self, axes: int) -> list[tuple[int, int, int]]:
        """Kernel, stride and dilation of each spatial axis."""
        settings = (spread(getattr(self, s), axes, s) for s in ("kernel", "stride", "dilation"))
        return list(zip(*settings, strict=True))

    def _pads(self, axes: int) -> Pads:
        if not isinstance(self.pad, str):
            return tuple((amount, amount) for amount in spread(self.pad, axes, "pad"))
        if self.pad == "valid":
            return ((0, 0),) * axes
        extents = [d * (k - 1) for k, _, d in self._per_axis(axes)]
        if self.pad == "causal":
            return tuple((extent, 0) for extent in extents)
        return tuple((extent // 2, extent - extent // 2) for extent in extents)

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        axes = require_spatial(x, "conv")
        channels = Need.known(x.shape[1], "the number of channels that enter `conv`", operand=0)
        require_groups(self.groups, channels, "channels that enter", need)
        require_groups(self.groups, self.out, "channels that leave", need)
        if self.pad == "causal" and axes != 1:
            raise Refusal(
                f'`pad="causal"` is for one spatial axis, but {x} has {axes}', operand=0, setting="pad", code="A0310"
            )
        require_module(self.spectral_norm, self.pad == "causal", '`pad="causal"`')
        per_axis = self._per_axis(axes)
        if self.pad == "same" and any(stride != 1 for _, stride, _ in per_axis):
            raise Refusal(
                f'`pad="same"` keeps the size, but a stride of {brief(tuple(s for _, s, _ in per_axis))} reduces it',
                help="give the padding as a number: `pad=kernel // 2` for an odd kernel",
                setting="pad",
                code="A0313",
            )
        sizes = []
        for a, ((kernel, stride, dilation), pads) in enumerate(zip(per_axis, self._pads(axes), strict=True), 2):
            extent = dilation * (kernel - 1)
            require_border(x, a, self.padding_mode, pads, need)
            require_fit(x, a, need, reach=extent + 1, pads=pads)
            sizes.append(windows(x.shape[a], sum(pads) - extent - 1, stride))
        return (with_channels(x, self.out, tuple(sizes)),)

    def weights(self, inputs: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        (x,) = inputs
        channels = Need.known(x.shape[1], "the number of channels that enter `conv`", operand=0)
        shape = (self.out, channels // self.groups, *spread(self.kernel, x.rank - 2, "kernel"))
        start = fan_in_init(prod(shape[1:])) if self.pad == "causal" else Init()
        weight = WeightSpec("weight", shape, init=self.init or start)
        made = (weight, WeightSpec("bias", (self.out,), init=self.bias_init or start)) if self.bias else (weight,)
        return spectral_weights(made) if self.spectral_norm else made

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        channels = Need.known(x.shape[1], "the number of channels that enter `conv`", operand=0)
        changed = {1: grouped(channels, self.out, self.groups)}
        axes = x.rank - 2
        for a, ((k, stride, d), pads) in enumerate(zip(self._per_axis(axes), self._pads(axes), strict=True), 2):
            changed[a] = border_window(self.padding_mode, stride, -pads[0], d * (k - 1) - pads[0], pads)
        return pointwise(x, changed=changed)

    def flops(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> int | Dim:
        channels = Need.known(inputs[0].shape[1], "the number of channels that enter `conv`", operand=0)
        window = prod(spread(self.kernel, inputs[0].rank - 2, "kernel"))
        return 2 * outputs[0].elements * (channels // self.groups) * window

    def _options(self, axes: int, *, padding: bool = True) -> dict[str, Unless]:
        """What nn.Conv2d and F.conv2d call by the same names."""
        pads: str | int | tuple[int, ...] = 0
        if padding:
            pads = "same" if self.pad == "same" else brief(tuple(before for before, _ in self._pads(axes)))
        return {
            "stride": Unless(brief(spread(self.stride, axes, "stride")), 1),
            "padding": Unless(pads, 0),
            "dilation": Unless(brief(spread(self.dilation, axes, "dilation")), 1),
            "groups": Unless(self.groups, 1),
        }

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        if self.pad == "causal":
            return None  # no nn.Module pads one side only
        axes = inputs[0].rank - 2
        made = call(
            f"nn.Conv{axes}d",
            inputs[0].shape[1],
            self.out,
            kernel_size=brief(spread(self.kernel, axes, "kernel")),
            **self._options(axes),
            bias=Unless(self.bias, True),
            padding_mode=Unless(self.padding_mode, "zeros"),
        )
        return spectral(made) if self.spectral_norm else made

    def forgets_result(self, inputs: tuple[TensorType, ...]) -> bool:
        return True

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        axes = inputs[0].rank - 2
        tensors = ("{0}", "{weight}", "{bias}") if self.bias else ("{0}", "{weight}")
        pads = pad_arguments(self._pads(axes))
        if not any(pads) or (self.pad != "causal" and self.padding_mode == "zeros"):
            return call(f"F.conv{axes}d", *tensors, **self._options(axes))
        padded = call("F.pad", "{0}", pads, mode=Unless(torch_mode(self.padding_mode), "constant"))
        conv = call(f"F.conv{axes}d", *tensors[1:], **self._options(axes, padding=False))
        return Code(conv.template.replace("(", f"({padded.template}, ", 1), conv.values | padded.values)


class ConvTranspose(Op):
    """Transposed convolution: the gradient of a convolution with respect to its operand, used to raise the resolution
    ("deconvolution", Zeiler et al., 2010). An axis of size n becomes (n − 1)·stride − 2·pad + dilation·(kernel − 1) +
    output_pad + 1."""

    name = "conv_transpose"
    glyph = Glyph.CONV
    examples = (
        Example({"out": 3, "kernel": 4, "stride": 2, "pad": 1}, ("B C=5 H=6 W=5",), ("B C=3 H=12 W=10",)),
        Example({"out": 4, "kernel": 3, "bias": False}, ("B 2 L=7",), ("B C=4 L=9",)),
        Example({"out": 4, "kernel": 3, "stride": 2, "pad": 1, "output_pad": 1}, ("B C=4 6 7",), ("B C=4 12 14",)),
        Example({"out": 4, "kernel": 3, "dilation": 2, "groups": 2}, ("B C=6 L=8",), ("B C=4 L=12",)),
        Example({"out": 3, "kernel": 3, "stride": 2, "spectral_norm": True}, ("B C=4 3 2",), ("B C=3 7 5",)),
        Example({"out": 2, "kernel": [1, 2, 3], "stride": [1, 2, 1]}, ("B C=2 2 3 4",), ("B C=2 2 6 6",)),
    )

    out: Count = Field(description="number of channels of the result")
    kernel: CountPerAxis = Field(description="size of the kernel: a number, or a list with one an axis")
    stride: CountPerAxis = Field(1, description="factor by which the resolution grows")
    pad: AmountPerAxis = Field(0, description="positions taken off each side of the result")
    output_pad: AmountPerAxis = Field(0, description="positions added at the end of the result, less than the stride")
    dilation: CountPerAxis = Field(1, description="distance between neighbouring taps of the kernel")
    groups: Count = Field(1, description="independent groups of channels")
    bias: Bias = True
    init: Start = None
    bias_init: BiasStart = None
    spectral_norm: Spectral = False

    def _per_axis(self, axes: int) -> list[tuple[int, int, int, int, int]]:
        """Kernel, stride, pad, output_pad and dilation of each spatial axis."""
        names = ("kernel", "stride", "pad", "output_pad", "dilation")
        return list(zip(*(spread(getattr(self, s), axes, s) for s in names), strict=True))

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        axes = require_spatial(x, "conv_transpose")
        channels = Need.known(x.shape[1], "the number of channels that enter `conv_transpose`", operand=0)
        require_groups(self.groups, channels, "channels that enter", need)
        require_groups(self.groups, self.out, "channels that leave", need)
        sizes = []
        for a, (kernel, stride, pad, extra, dilation) in enumerate(self._per_axis(axes), 2):
            if extra >= max(stride, dilation):
                raise Refusal(
                    f"`output_pad` of {extra} must be less than the stride ({stride}) or the dilation ({dilation})",
                    help="it only chooses among the sizes that a convolution of this stride would reduce to the same",
                    setting="output_pad",
                    code="A0313",
                )
            size = (x.shape[a] - 1) * stride - 2 * pad + dilation * (kernel - 1) + extra + 1
            need.at_least(
                size, 1, f"padding by {pad} leaves nothing of axis {a}", setting="pad", operand=0, code="A0312"
            )
            sizes.append(size)
        return (with_channels(x, self.out, tuple(sizes)),)

    def weights(self, inputs: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        (x,) = inputs
        channels = Need.known(x.shape[1], "the number of channels that enter `conv_transpose`", operand=0)
        shape = (channels, self.out // self.groups, *spread(self.kernel, x.rank - 2, "kernel"))
        weight = WeightSpec("weight", shape, init=self.init or Init())
        made = (weight, WeightSpec("bias", (self.out,), init=self.bias_init or Init())) if self.bias else (weight,)
        return spectral_weights(made, axis=1) if self.spectral_norm else made

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        channels = Need.known(x.shape[1], "the number of channels that enter `conv_transpose`", operand=0)
        changed = {1: grouped(channels, self.out, self.groups)}
        for a, (kernel, stride, pad, extra, dilation) in enumerate(self._per_axis(x.rank - 2), 2):
            extent = dilation * (kernel - 1)
            lo, hi = Fraction(pad - extent, stride), Fraction(pad, stride)
            changed[a] = window(Fraction(1, stride), lo, hi, padded=extent + extra > pad)
        return pointwise(x, changed=changed)

    def flops(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> int | Dim:
        window = prod(spread(self.kernel, inputs[0].rank - 2, "kernel"))
        return 2 * inputs[0].elements * (self.out // self.groups) * window

    def _options(self, axes: int) -> dict[str, Unless]:
        _, stride, pad, extra, dilation = (brief(v) for v in zip(*self._per_axis(axes), strict=True))
        return {
            "stride": Unless(stride, 1),
            "padding": Unless(pad, 0),
            "output_padding": Unless(extra, 0),
            "groups": Unless(self.groups, 1),
            "dilation": Unless(dilation, 1),
        }

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        axes = inputs[0].rank - 2
        kernel = brief(spread(self.kernel, axes, "kernel"))
        options = self._options(axes) | {"bias": Unless(self.bias, True)}
        made = call(f"nn.ConvTranspose{axes}d", inputs[0].shape[1], self.out, kernel_size=kernel, **options)
        return spectral(made) if self.spectral_norm else made

    def forgets_result(self, inputs: tuple[TensorType, ...]) -> bool:
        return True

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        axes = inputs[0].rank - 2
        tensors = ("{0}", "{weight}", "{bias}") if self.bias else ("{0}", "{weight}")
        return call(f"F.conv_transpose{axes}d", *tensors, **self._options(axes))
