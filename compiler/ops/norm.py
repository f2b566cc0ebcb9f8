"""Normalisation."""

from __future__ import annotations

from typing import Annotated

from ..declared import Field
from ..relations import POINTWISE, Relation, Relations, everything, window
from ..types import TensorType
from .base import Code, Example, Glyph, Init, Need, Op, Refusal, Unless, WeightSpec, call, pointwise
from .shared import (
    Affine,
    BiasStart,
    Count,
    Epsilon,
    Start,
    axis_text,
    require_float,
    require_groups,
    require_rank,
    require_spatial,
)

PER_CHANNEL = Relation(uniform=False)


def scale_and_shift(
    shape: tuple[int, ...], init: Init | None, bias_init: Init | None, *, bias: bool = True
) -> tuple[WeightSpec, ...]:
    """The two trained weights of a normalisation."""
    weight = WeightSpec("weight", shape, init=init or Init())
    return (weight, WeightSpec("bias", shape, init=bias_init or Init())) if bias else (weight,)


def known_channels(x: TensorType, layer: str) -> int:
    return Need.known(x.shape[1], f"the number of channels that enter `{layer}`", operand=0)


class BatchNorm(Op):
    """Batch normalisation: every channel is brought to mean 0 and variance 1 over the batch and all positions, then
    scaled and shifted (Ioffe and Szegedy, 2015). In evaluation it uses running statistics, unless `track` is off."""

    name = "batchnorm"
    glyph = Glyph.NORM
    stateful = True
    examples = (
        Example({}, ("B C=4 H W",), ("B C=4 H W",)),
        Example({"eps": 1e-3, "momentum": 0.01}, ("B C=4",), ("B C=4",)),
        Example({"affine": False}, ("B C=2 L=5",), ("B C=2 L=5",)),
        Example({"track": False}, ("B C=2 L=5",), ("B C=2 L=5",)),
        Example({"track": False, "affine": False}, ("B C=2 2 3 2",), ("B C=2 2 3 2",)),
    )

    eps: Epsilon = 1e-5
    momentum: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="share of a new batch in the running statistics"
    )
    affine: Affine = True
    track: bool = Field(True, description="keep running statistics and use them in evaluation")
    init: Start = None
    bias_init: BiasStart = None

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_rank(x, "batchnorm", 2, 5, "[B, C] or [B, C, *spatial] with up to three spatial axes")
        known_channels(x, "batchnorm")
        return (x,)

    def weights(self, inputs: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        shape = (known_channels(inputs[0], "batchnorm"),)
        trained = scale_and_shift(shape, self.init, self.bias_init) if self.affine else ()
        if not self.track:
            return trained
        count = WeightSpec("num_batches_tracked", (), "buffer", "int")
        return (
            *trained,
            WeightSpec("running_mean", shape, "buffer"),
            WeightSpec("running_var", shape, "buffer"),
            count,
        )

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        own = PER_CHANNEL if self.affine or self.track else POINTWISE
        if self.track:
            return pointwise(x, changed={1: own})
        over = everything(uniform=True, symmetric=True)
        return pointwise(x, changed={a: own if a == 1 else over for a in range(x.rank)})

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        (x,) = inputs
        return call(
            f"nn.BatchNorm{max(1, x.rank - 2)}d",
            x.shape[1],
            eps=Unless(self.eps, 1e-5),
            momentum=Unless(self.momentum, 0.1),
            affine=Unless(self.affine, True),
            track_running_stats=Unless(self.track, True),
        )

    def forgets_result(self, inputs: tuple[TensorType, ...]) -> bool:
        return True

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        options = {"momentum": Unless(self.momentum, 0.1), "eps": Unless(self.eps, 1e-5)}
        trained = ("{weight}", "{bias}") if self.affine else (None, None)
        if not self.track:
            return call("F.batch_norm", "{0}", None, None, *trained, True, **options)
        return call("F.batch_norm", "{0}", "{running_mean}", "{running_var}", *trained, "{training}", **options)


class LayerNorm(Op):
    """Layer normalisation: mean 0 and variance 1 over the last axes, at every other place by itself; then scaled and
    shifted (Ba et al., 2016)."""

    name = "layernorm"
    glyph = Glyph.NORM
    examples = (
        Example({}, ("B T D=6",), ("B T D=6",)),
        Example({"eps": 1e-6, "bias": False}, ("B D=6",), ("B D=6",)),
        Example({"axes": 2}, ("B C=3 H=4 W=5",), ("B C=3 H=4 W=5",)),
        Example({"affine": False}, ("B T D=6",), ("B T D=6",)),
        Example({"affine": False}, ("B T",), ("B T",)),
    )

    eps: Epsilon = 1e-5
    axes: Count = Field(1, description="how many of the last axes are normalised together")
    affine: Affine = True
    bias: bool = Field(True, description="shift as well as scale")
    init: Start = None
    bias_init: BiasStart = None

    def _shape(self, x: TensorType) -> tuple[int, ...]:
        what = "the size of an axis that `layernorm` scales"
        return tuple(Need.known(size, what, operand=0) for size in x.shape[-self.axes :])

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_float(x, "layernorm")
        if x.rank < self.axes:
            raise Refusal(
                f"`layernorm` over the last {self.axes} axes needs as many, but this is {x}",
                operand=0,
                setting="axes",
                code="A0310",
            )
        if self.affine:
            self._shape(x)
        return (x,)

    def weights(self, inputs: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        if not self.affine:
            return ()
        return scale_and_shift(self._shape(inputs[0]), self.init, self.bias_init, bias=self.bias)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        over = everything(uniform=not self.affine, symmetric=True)
        return pointwise(x, changed=dict.fromkeys(range(x.rank - self.axes, x.rank), over))

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        shape = inputs[0].shape[-self.axes :]
        if not all(isinstance(size, int) for size in shape):
            return None  # it has no weights, and its size is only known at a run
        return call(
            "nn.LayerNorm",
            shape[0] if len(shape) == 1 else shape,
            eps=Unless(self.eps, 1e-5),
            elementwise_affine=Unless(self.affine, True),
            bias=Unless(self.bias or not self.affine, True),
        )

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        trained = ("{weight}", *(("{bias}",) if self.bias else ())) if self.affine else ()
        return _over_last("F.layer_norm", inputs[0], self.axes, trained, Unless(self.eps, 1e-5))


def _over_last(function: str, x: TensorType, axes: int, trained: tuple[str, ...], eps: Unless) -> Code:
    """A call of a function that takes the sizes of the normalised axes as its second argument."""
    shape = x.shape[-axes:]
    if all(isinstance(size, int) for size in shape):
        return call(function, "{0}", shape, *trained, eps=eps)
    code = call(function, "{0}", -axes, *trained, eps=eps)
    return Code(code.template.replace("{arg1}", "{0}.shape[{arg1}:]"), code.values)


class RMSNorm(Op):
    """Root-mean-square normalisation of the last axis: x / √(mean(x²) + eps), scaled (Zhang and Sennrich, 2019)."""

    name = "rmsnorm"
    glyph = Glyph.NORM
    examples = (
        Example({}, ("B T D=6",), ("B T D=6",)),
        Example({"eps": 1e-5}, ("B D=4",), ("B D=4",)),
    )

    eps: Epsilon = 1e-6
    init: Start = None

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_float(x, "rmsnorm")
        if x.rank == 0:
            raise Refusal("`rmsnorm` needs an axis of features, but this is a scalar", operand=0, code="A0310")
        self._features(x)
        return (x,)

    def _features(self, x: TensorType) -> int:
        return Need.known(x.shape[-1], "the number of features that enter `rmsnorm`", operand=0)

    def weights(self, inputs: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        return (WeightSpec("weight", (self._features(inputs[0]),), init=self.init or Init()),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return pointwise(inputs[0], changed={inputs[0].rank - 1: everything(symmetric=True)})

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        return call("nn.RMSNorm", self._features(inputs[0]), eps=self.eps)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.rms_norm", "{0}", (self._features(inputs[0]),), "{weight}", eps=self.eps)


class GroupNorm(Op):
    """Group normalisation: mean 0 and variance 1 over all positions and the channels of a group, example by example;
    then scaled and shifted by channel (Wu and He, 2018)."""

    name = "groupnorm"
    glyph = Glyph.NORM
    examples = (
        Example({"groups": 2}, ("B C=6 H W",), ("B C=6 H W",)),
        Example({"groups": 1, "affine": False}, ("B C=3 L=5",), ("B C=3 L=5",)),
        Example({"groups": 4, "eps": 1e-6}, ("B C=4 2 3 2",), ("B C=4 2 3 2",)),
        Example({"groups": 2}, ("B C=8",), ("B C=8",)),
    )

    groups: Count = Field(description="groups of channels that are normalised together")
    eps: Epsilon = 1e-5
    affine: Affine = True
    init: Start = None
    bias_init: BiasStart = None

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_rank(x, "groupnorm", 2, 64, "[B, C, *spatial]")
        require_groups(self.groups, known_channels(x, "groupnorm"), "channels", need)
        return (x,)

    def weights(self, inputs: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        shape = (known_channels(inputs[0], "groupnorm"),)
        return scale_and_shift(shape, self.init, self.bias_init) if self.affine else ()

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        each = known_channels(x, "groupnorm") // self.groups
        channels = window(1, 1 - each, each - 1, uniform=not self.affine and each == 1)
        if self.groups == 1:
            channels = everything(uniform=not self.affine, symmetric=True)
        spatial = dict.fromkeys(range(2, x.rank), everything(uniform=True, symmetric=True))
        return pointwise(x, changed={1: channels, **spatial})

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        options = {"eps": Unless(self.eps, 1e-5), "affine": Unless(self.affine, True)}
        return call("nn.GroupNorm", self.groups, inputs[0].shape[1], **options)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        trained = ("{weight}", "{bias}") if self.affine else ()
        return call("F.group_norm", "{0}", self.groups, *trained, eps=Unless(self.eps, 1e-5))


class InstanceNorm(Op):
    """Instance normalisation: mean 0 and variance 1 over all positions, for every example and channel by itself
    (Ulyanov et al., 2016)."""

    name = "instancenorm"
    glyph = Glyph.NORM
    examples = (
        Example({}, ("B C=3 H W",), ("B C=3 H W",)),
        Example({"affine": True, "eps": 1e-3}, ("B C=3 L=6",), ("B C=3 L=6",)),
        Example({}, ("B C=2 2 3 2",), ("B C=2 2 3 2",)),
    )

    eps: Epsilon = 1e-5
    affine: Affine = False
    init: Start = None
    bias_init: BiasStart = None

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_spatial(x, "instancenorm")
        known_channels(x, "instancenorm")
        if all(size == 1 for size in x.shape[2:]):
            raise Refusal(
                f"`instancenorm` normalises over {axis_text(x, 2)} and what follows, but {x} has one position only",
                help="the result would be zero everywhere; normalise before the pooling, or use `groupnorm`",
                operand=0,
                code="A0312",
            )
        return (x,)

    def weights(self, inputs: tuple[TensorType, ...]) -> tuple[WeightSpec, ...]:
        shape = (known_channels(inputs[0], "instancenorm"),)
        return scale_and_shift(shape, self.init, self.bias_init) if self.affine else ()

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        (x,) = inputs
        spatial = dict.fromkeys(range(2, x.rank), everything(uniform=True, symmetric=True))
        return pointwise(x, changed={1: PER_CHANNEL if self.affine else POINTWISE, **spatial})

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        (x,) = inputs
        options = {"eps": Unless(self.eps, 1e-5), "affine": Unless(self.affine, False)}
        return call(f"nn.InstanceNorm{x.rank - 2}d", x.shape[1], **options)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        trained = {"weight": "{weight}", "bias": "{bias}"} if self.affine else {}
        return call("F.instance_norm", "{0}", **trained, eps=Unless(self.eps, 1e-5))


class LocalResponseNorm(Op):
    """Local response normalisation across channels: x / (k + alpha · mean of x² over `size` neighbours)^beta
    (Krizhevsky et al., 2012)."""

    name = "local_response_norm"
    glyph = Glyph.NORM
    examples = (
        Example({"size": 5, "alpha": 0.1, "k": 2.0}, ("B C=9 H W",), ("B C=9 H W",)),
        Example({"size": 2, "alpha": 0.5, "beta": 0.5}, ("B C L",), ("B C L",)),
    )

    size: Count = Field(description="how many neighbouring channels count")
    alpha: Annotated[float, Field(ge=0)] = Field(1e-4, description="weight of the neighbours")
    beta: Annotated[float, Field(ge=0)] = Field(0.75, description="exponent")
    k: Annotated[float, Field(ge=0)] = Field(1.0, description="added to the neighbours' share")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_rank(x, "local_response_norm", 3, 64, "[B, C, *spatial]")
        return (x,)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        lo, hi = -(self.size // 2), (self.size - 1) // 2
        return pointwise(inputs[0], changed={1: window(1, lo, hi, padded=self.size > 1)})

    def _options(self) -> dict[str, Unless]:
        return {"alpha": Unless(self.alpha, 1e-4), "beta": Unless(self.beta, 0.75), "k": Unless(self.k, 1.0)}

    def module(self, inputs: tuple[TensorType, ...]) -> Code | None:
        return call("nn.LocalResponseNorm", self.size, **self._options())

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        return call("F.local_response_norm", "{0}", self.size, **self._options())
