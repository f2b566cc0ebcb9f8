"""How a weight can start: the initialisers of torch.nn.init, with settings called and assumed as there."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod, sqrt
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from .declared import Called, Field, Invalid
from .ops.base import Init

Number = Annotated[float, Field(allow_inf_nan=False)]
Spread = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fan = Literal["fan_in", "fan_out"]
Nonlinearity = Literal["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]

INITIALISERS: dict[str, type[Initialiser]] = {}
"""Every initialiser that has settings, by name."""

CONSTANTS = {"zeros": 0.0, "ones": 1.0}


class Initialiser(Called):
    """Base of every initialiser: its fields are its settings, in positional order."""

    fans: ClassVar[bool] = False  # it counts what enters or leaves, so the weight needs two axes

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "name"):
            INITIALISERS[cls.name] = cls

    def problem(self) -> str | None:
        """What is wrong with the settings taken together."""
        return None

    def init(self) -> Init:
        return Init(self.name, tuple(self._values().values()))


class Normal(Initialiser):
    """Normally distributed numbers."""

    name = "normal"

    mean: Number = 0.0
    std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0


class Uniform(Initialiser):
    """Numbers from a to b, all alike."""

    name = "uniform"

    a: Number = 0.0
    b: Number = 1.0

    def problem(self) -> str | None:
        return None if self.a <= self.b else "`a` must not exceed `b`"


class TruncNormal(Initialiser):
    """Normally distributed numbers of which those outside [a, b] are drawn again."""

    name = "trunc_normal"

    mean: Number = 0.0
    std: Spread = 1.0
    a: Number = -2.0
    b: Number = 2.0

    def problem(self) -> str | None:
        return None if self.a < self.b else "`a` must be less than `b`"


class Constant(Initialiser):
    """One number throughout."""

    name = "constant"

    val: Number


class _Kaiming(Initialiser):
    fans = True

    a: Number = 0.0
    mode: Fan = "fan_in"
    nonlinearity: Nonlinearity = "leaky_relu"


class KaimingNormal(_Kaiming):
    """N(0, gain² / fan), the gain of the nonlinearity that follows (He et al., 2015)."""

    name = "kaiming_normal"


class KaimingUniform(_Kaiming):
    """U(-b, b) with the variance gain² / fan (He et al., 2015)."""

    name = "kaiming_uniform"


class _Gain(Initialiser):
    fans = True

    gain: Spread = 1.0


class XavierNormal(_Gain):
    """N(0, 2 · gain² / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""

    name = "xavier_normal"


class XavierUniform(_Gain):
    """U(-b, b) with the variance 2 · gain² / (fan_in + fan_out) (Glorot and Bengio, 2010)."""

    name = "xavier_uniform"


class Orthogonal(_Gain):
    """A (semi-)orthogonal matrix (Saxe, McClelland and Ganguli, 2013)."""

    name = "orthogonal"


class VarianceScaling(Initialiser):
    """The variance scale / fan, from a distribution of choice: `variance_scaling(1 / 3, "fan_out", "uniform")` is
    U(-1/√fan_out, 1/√fan_out). "fan_out_per_group" counts what leaves one group of a grouped convolution."""

    name = "variance_scaling"
    fans = True

    scale: Spread = 1.0
    mode: Literal["fan_in", "fan_out", "fan_avg", "fan_out_per_group"] = "fan_in"
    distribution: Literal["normal", "truncated_normal", "uniform"] = "normal"


TRUNCATED = 0.87962566103423978
"""The standard deviation of a standard normal distribution cut off at ±2."""


class Fans(NamedTuple):
    """How much enters and leaves, as torch.nn.init counts it for a weight [out, in, …]."""

    fan_in: int
    fan_out: int


def fans(shape: tuple[int, ...]) -> Fans:
    """The fans of a weight of at least two axes."""
    return Fans(prod(shape[1:]), shape[0] * prod(shape[2:]))


def scaled(init: Init, shape: tuple[int, ...], groups: int = 1) -> Init:
    """What `variance_scaling` is for a weight of this shape: a distribution with its numbers."""
    scale, mode, distribution = init.values
    assert isinstance(scale, float)
    entering, leaving = fans(shape)
    fan = {
        "fan_in": entering,
        "fan_out": leaving,
        "fan_avg": (entering + leaving) / 2,
        "fan_out_per_group": leaving // groups,
    }[str(mode)]
    fan = max(1, fan)
    if distribution == "uniform":
        bound = 1 / sqrt(fan / (3 * scale))  # exactly 1/√fan for the scale 1/3
        return Init("uniform", (-bound, bound))
    std = sqrt(scale / fan)
    if distribution == "normal":
        return Init("normal", (0.0, std))
    std /= TRUNCATED
    return Init("trunc_normal", (0.0, std, -2 * std, 2 * std))


def needs_axes(init: Init) -> bool:
    """Does it count what enters or leaves? Then the weight needs two axes at least."""
    return init.kind in INITIALISERS and INITIALISERS[init.kind].fans


def read(kind: str, values: Iterable[Any]) -> Init:
    """A start from plain data. Raises ValueError when there is no such start."""
    found = tuple(values)
    if kind == "default" and not found:
        return Init()
    known = INITIALISERS.get(kind)
    if known is None:
        raise ValueError(f"there is no initialiser `{kind[:80]}`")
    if len(found) != len(known.fields()):
        raise ValueError(f"`{kind}` has {len(known.fields())} settings, not {len(found)}")
    try:
        made = known(**dict(zip(known.fields(), found, strict=True)))
    except Invalid as failure:
        raise ValueError(str(failure)) from failure
    if made.problem():
        raise ValueError(made.problem())
    return made.init()


def forms() -> str:
    """Every initialiser as one writes it: `normal(mean, std)`, `zeros` …"""
    calls = [f"{kind.name}({', '.join(kind.fields())})" for kind in INITIALISERS.values()]
    return ", ".join(f"`{form}`" for form in (*CONSTANTS, *calls))
