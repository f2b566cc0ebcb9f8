"""Noise: tensors that are drawn anew each time (`sample z ~ normal(0, 1): [B, latent]`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..declared import Field
from ..relations import Relations
from ..types import Axis, TensorType
from .base import ANY, Code, Example, Glyph, Interval, Need, Op, Refusal, SizeSetting

_EXACT = 2**53  # whole numbers that a float holds


@dataclass(frozen=True)
class Distribution:
    """One that `sample` can draw from. parameters: names, with defaults. dtypes: what its values can be held in, the
    first by default. problem: what is wrong with values, or None. whole: parameters are whole numbers."""

    name: str
    parameters: dict[str, float]
    dtypes: tuple[str, ...] = ("float",)
    whole: bool = False

    def problem(self, values: tuple[float, ...]) -> str | None:
        """What is wrong with these parameters."""
        if not all(math.isfinite(v) for v in values):
            return "takes finite numbers"
        if self.whole and max(map(abs, values)) > _EXACT:
            return f"takes numbers up to {_EXACT:,}"
        match self.name, values:
            case "normal", (_, deviation) if deviation < 0:
                return f"has a deviation of at least 0, found {deviation:g}"
            case "uniform" | "uniform_int", (lo, hi) if lo >= hi:
                return f"draws from {lo:g} up to {hi:g}, which holds nothing"
            case "bernoulli", (p,) if not 0 <= p <= 1:
                return f"has a probability between 0 and 1, found {p:g}"
        return None


DISTRIBUTIONS = {
    d.name: d
    for d in (
        Distribution("normal", {"mean": 0.0, "deviation": 1.0}),
        Distribution("uniform", {"low": 0.0, "high": 1.0}),
        Distribution("uniform_int", {"low": math.nan, "high": math.nan}, ("int",), whole=True),
        Distribution("bernoulli", {"p": 0.5}, ("float", "bool", "int")),
        Distribution("gumbel", {}),
    )
}
"""By name. A parameter that is not a number by default must be given."""


class Noise(Op):
    """A tensor of independent draws from a distribution, made anew at each call (`sample`)."""

    name: ClassVar[str] = "noise"
    glyph: ClassVar[Glyph] = Glyph.SAMPLE
    operands: ClassVar[tuple[str, ...]] = ()
    hidden: ClassVar[bool] = True
    random: ClassVar[bool] = True
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            {"distribution": "normal", "values": (0.0, 1.0), "names": ("b", "d"), "sizes": (4, 3)}, (), ("b=4 d=3",)
        ),
        Example({"distribution": "normal", "values": (1.0, 0.5), "names": ("d",), "sizes": (3,)}, (), ("d=3",)),
        Example({"distribution": "uniform", "values": (0.0, 1.0), "names": ("d",), "sizes": (3,)}, (), ("d=3",)),
        Example({"distribution": "uniform", "values": (-1.0, 2.0), "names": ("d",), "sizes": (3,)}, (), ("d=3",)),
        Example(
            {"distribution": "uniform_int", "values": (1, 18), "names": ("b",), "sizes": (5,), "dtype": "int"},
            (),
            ("int b=5",),
        ),
        Example({"distribution": "bernoulli", "values": (0.3,), "names": ("d",), "sizes": (3,)}, (), ("d=3",)),
        Example(
            {"distribution": "bernoulli", "values": (0.3,), "names": ("d",), "sizes": (3,), "dtype": "bool"},
            (),
            ("bool d=3",),
        ),
        Example({"distribution": "gumbel", "names": ("d",), "sizes": (3,)}, (), ("d=3",)),
    )

    distribution: Literal["normal", "uniform", "uniform_int", "bernoulli", "gumbel"] = Field(description="its name")
    values: tuple[float, ...] = Field((), description="its parameters, in order")
    names: tuple[str | None, ...] = Field((), description="names of the axes")
    sizes: tuple[SizeSetting, ...] = Field((), description="sizes of the axes")
    dtype: Literal["float", "int", "bool"] = Field("float", description="what the numbers are held in")

    def infer(self, inputs: tuple[TensorType, ...], need: Need) -> tuple[TensorType, ...]:
        drawn = DISTRIBUTIONS[self.distribution]
        counts = len(self.values) == len(drawn.parameters), len(self.names) == len(self.sizes)
        problem = drawn.problem(self.values) if all(counts) else "has other parameters, or a size without an axis"
        if problem or self.dtype not in drawn.dtypes:
            raise Refusal(f"`{drawn.name}` {problem or f'draws no {self.dtype}'}", code="A0544")
        axes = tuple(Axis(name, size) for name, size in zip(self.names, self.sizes, strict=True))
        return (TensorType(axes, self.dtype),)

    def relations(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Relations:
        return {}

    def bounds(self, ranges: tuple[Interval, ...]) -> tuple[Interval, ...]:
        match self.distribution:
            case "uniform":
                return (Interval(*self.values),)
            case "uniform_int":
                return (Interval(self.values[0], self.values[1] - 1),)
            case "bernoulli":
                return (Interval(0, 1),)
        return (ANY,)

    def call(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Code:
        sizes = {f"s{i}": size for i, size in enumerate(self.sizes)}
        shape = f"({', '.join(f'{{{key}}}' for key in sizes)}{',' * (len(sizes) == 1)})"
        where = "device={device}"
        real = f"{where}, dtype={{dtype}}"
        values = {f"v{i}": value for i, value in enumerate(self.values)}
        match self.distribution:
            case "normal":
                text = _affine(f"torch.randn({shape}, {real})", *self.values)
            case "uniform":
                low, high = self.values
                values["v1"] = high - low
                text = _affine(f"torch.rand({shape}, {real})", low, high - low)
            case "uniform_int":
                values = {key: int(value) for key, value in values.items()}
                text = f"torch.randint({{v0}}, {{v1}}, {shape}, {where})"
            case "bernoulli" if self.dtype == "float":
                text = f"torch.empty({shape}, {real}).bernoulli_({{v0}})"
            case "bernoulli":
                text = f"(torch.rand({shape}, {where}) < {{v0}}){'.long()' if self.dtype == 'int' else ''}"
            case _:  # −log of an exponential variable
                text = f"-torch.empty({shape}, {real}).exponential_().log()"
        return Code(text, {**sizes, **{key: v for key, v in values.items() if f"{{{key}}}" in text}})


def _affine(text: str, shift: float, scale: float) -> str:
    """Drawn numbers scaled by `v1` and shifted by `v0`, where that does something."""
    text = text if scale == 1 else f"{{v1}} * {text}"
    return text if shift == 0 else f"{{v0}} + {text}"
