"""What the layers over [B, C, *spatial] share: settings per axis, checks, windows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from math import prod, sqrt
from typing import Annotated, Literal

from ..declared import Field
from ..relations import POINTWISE, Relation, Relations, everything, window
from ..sizes import Dim
from ..types import Axis, TensorType
from .base import Code, Init, Need, Refusal, WeightSpec

MOST = 2**31 - 1
Count = Annotated[int, Field(ge=1, le=MOST)]
Amount = Annotated[int, Field(ge=0, le=MOST)]
CountPerAxis = Count | tuple[Count, ...]
AmountPerAxis = Amount | tuple[Amount, ...]
Border = Literal["zeros", "reflect", "replicate", "circular"]
Pads = tuple[tuple[int, int], ...]  # before and after, for each spatial axis

Bias = Annotated[bool, Field(description="add a trained offset")]
Affine = Annotated[bool, Field(description="scale and shift by trained weights")]
Epsilon = Annotated[float, Field(gt=0, lt=1, description="added to the variance, so that nothing is divided by zero")]
Start = Annotated[
    Init | None,
    Field(description="how the weight starts; none: by an `init` statement, else as PyTorch's module"),
]
Spectral = Annotated[
    bool,
    Field(
        description="divide the weight by its largest singular value, which one step of power iteration follows at "
        "each run in training (Miyato et al., 2018)"
    ),
]
BiasStart = Annotated[Init | None, Field(description="how the bias starts, likewise")]


def require_float(x: TensorType, layer: str, *, operand: int = 0) -> None:
    """Refuses ints and bools (A0315)."""
    if x.dtype != "float":
        raise Refusal(
            f"`{layer}` takes floating-point numbers, but this is {x}",
            help="turn indices into vectors with `embedding`, or numbers into floats with `cast`",
            operand=operand,
            code="A0315",
        )


def require_rank(x: TensorType, layer: str, least: int, most: int, shape: str) -> int:
    """Refuses a rank outside [least, most] (A0310); returns the number of axes after the first two."""
    require_float(x, layer)
    if not least <= x.rank <= most:
        axes = "axis" if x.rank == 1 else "axes"
        raise Refusal(
            f"`{layer}` takes {shape}, but this is {x}, which has {x.rank} {axes}",
            help="bring it to that form with `rearrange`; the channels are the second axis",
            operand=0,
            code="A0310",
        )
    return x.rank - 2


def require_spatial(x: TensorType, layer: str) -> int:
    """Refuses what is not [B, C, *spatial] with one to three spatial axes; returns how many there are."""
    return require_rank(x, layer, 3, 5, "[B, C, L], [B, C, H, W] or [B, C, D, H, W]")


def require_groups(groups: int, channels: int | Dim, what: str, need: Need) -> None:
    """Refuses channels that do not fall into so many equal groups (A0311)."""
    need.divides(
        groups,
        channels,
        f"{channels} {what} do not fall into {groups} equal groups",
        help=f"`groups` must divide the {what}",
        setting="groups",
        code="A0311",
    )


def spread(value: int | tuple[int, ...], axes: int, setting: str) -> tuple[int, ...]:
    """One number for each spatial axis, from a setting that may give one for all (A0314 when the count is wrong)."""
    if isinstance(value, int):
        return (value,) * axes
    if len(value) != axes:
        there = "is 1 spatial axis" if axes == 1 else f"are {axes} spatial axes"
        raise Refusal(
            f"`{setting}` lists {len(value)} numbers, but there {there}",
            help=f"give one number for all, or a list of {axes}",
            setting=setting,
            code="A0314",
        )
    return value


def brief(values: tuple[int, ...]) -> int | tuple[int, ...]:
    """One number where all are equal, as people write it."""
    return values[0] if len(set(values)) == 1 else values


def axis_text(x: TensorType, axis: int) -> str:
    """An axis as messages call it."""
    name = x.names[axis]
    return f"axis `{name}`" if name else f"axis {axis}"


def require_fit(
    x: TensorType, axis: int, need: Need, *, reach: int, pads: tuple[int, int] = (0, 0), over: int = 0
) -> None:
    """Refuses a kernel that spans more than the padded axis (A0312); it may reach `over` positions past the end."""
    size, added = x.shape[axis], sum(pads)
    padded = size + added
    padding = f" with {pads[0]} + {pads[1]} of padding" if any(pads) else ""
    need.at_least(
        size + (added + over - reach + 1),
        1,
        f"the kernel spans {reach} positions of {axis_text(x, axis)}, which has size {padded}{padding}",
        help="use a smaller kernel or dilation, pad more, or reduce the resolution less before",
        operand=0,
        setting="kernel",
        code="A0312",
    )


def windows(size: int | Dim, room: int, stride: int) -> int | Dim:
    """How many windows fit: ⌊(size + room) / stride⌋ + 1."""
    return size + (room + 1) if stride == 1 else (size + room) // stride + 1


def require_border(x: TensorType, axis: int, mode: str, pads: tuple[int, int], need: Need) -> None:
    """Refuses padding taken from the data that is more than the data gives (A0317)."""
    most = max(pads)
    if most and mode in ("reflect", "circular"):
        least = most + 1 if mode == "reflect" else most
        need.at_least(
            x.shape[axis],
            least,
            f'"{mode}" padding by {most} needs at least {least} positions; {axis_text(x, axis)} has {x.shape[axis]}',
            help='pad less, or use "replicate" or "zeros"',
            operand=0,
            code="A0317",
        )


def torch_mode(mode: str) -> str:
    """What `F.pad` calls a kind of padding."""
    return "constant" if mode == "zeros" else mode


def pad_arguments(pads: Pads) -> tuple[int, ...]:
    """Pads in the order of `F.pad`: the last axis first."""
    return tuple(amount for pair in reversed(pads) for amount in pair)


@lru_cache(maxsize=4096)
def border_window(mode: str, stride: int, lo: int, hi: int, pads: tuple[int, int]) -> Relation:
    """The window [lo, hi] over an axis padded like this: what padding copies from the data widens it."""
    left, right = pads
    if mode == "circular" and (left or right):
        around = everything(uniform=True, steady=True, loose=True, covers=stride == 1)
        return replace(around, stride=Fraction(stride), period=stride)
    low, high = lo, hi
    if mode == "reflect":
        low, high = min(lo, hi - 2 * right), max(hi, left) if left else hi
    elif mode == "replicate":
        low, high = min(lo, hi - right), max(hi, 0) if left else hi
    return window(stride, low, high, padded=left > 0 or right > 0)


def grouped(inside: int, outside: int, groups: int) -> Relation:
    """The channel relation of a layer in groups: every group of results sees its own group of operands."""
    if groups == 1:
        return everything()
    each, made = inside // groups, outside // groups
    return window(Fraction(each, made), -Fraction(each * (made - 1), made), each - 1, uniform=False)


def name_channels(x: TensorType) -> str | None:
    """The name of the channel axis of a result: as before, or `C` where it had none and no other axis has it."""
    return x.names[1] or (None if "C" in x.names else "C")


def with_channels(x: TensorType, channels: int | Dim, spatial: tuple[int | Dim, ...]) -> TensorType:
    """The type of a result with other channels and spatial sizes."""
    names = (name_channels(x), *x.names[2:])
    sizes = (channels, *spatial)
    return TensorType((x.axes[0], *(Axis(n, s) for n, s in zip(names, sizes, strict=True))), x.dtype)


def fan_in_init(fan_in: int) -> Init:
    """How torch.nn starts the weights and biases of linear and convolutional layers: U(-1/√fan_in, 1/√fan_in)."""
    bound = 1 / sqrt(max(1, fan_in))
    return Init("uniform", (-bound, bound))


def reduced(x: TensorType, axes: range, *, symmetric: bool = True) -> Relations:
    """Relations of axes that are pooled away."""
    return {(0, None, 0, a): everything(uniform=True, symmetric=symmetric) for a in axes}


def kept(x: TensorType, axes: int) -> Relations:
    """Relations of the first axes, each in its place."""
    return {(0, a, 0, a): POINTWISE for a in range(axes)}


def require_module(spectral: bool, made_here: bool, what: str) -> None:
    """Refuses spectral normalisation of a layer for which torch.nn has no module (A0313)."""
    if spectral and made_here:
        raise Refusal(
            f"`spectral_norm` is for layers that torch.nn has, and it has none with {what}",
            help="leave one of the two out",
            setting="spectral_norm",
            code="A0313",
        )


def spectral_weights(specs: tuple[WeightSpec, ...], axis: int = 0) -> tuple[WeightSpec, ...]:
    """The tensors of a spectrally normalised layer as PyTorch's parametrization keeps them: the weight before it is
    divided, and its first singular vectors, [size of `axis`] and [all other sizes]."""
    weight, *others = specs
    rows, key = weight.shape[axis], "parametrizations.weight"
    return (
        *others,
        replace(weight, name=f"{key}.original"),
        WeightSpec(f"{key}.0._u", (rows,), "buffer"),
        WeightSpec(f"{key}.0._v", (prod(weight.shape) // rows,), "buffer"),
    )


def spectral(module: Code) -> Code:
    """The module with its weight normalised."""
    return Code(f"nn.utils.parametrizations.spectral_norm({module.template})", module.values)
