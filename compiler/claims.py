"""The inductive biases that a spec can claim: their names and settings. `analysis.biases` proves them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from .declared import Called, Field

Positive = Annotated[int, Field(ge=1)]

CLAIMS: dict[str, type[Claim]] = {}
"""Every claim, by name."""


class Claim(Called):
    """Base of every claim: its fields are its settings, in positional order; its docstring says when it holds.

    about: what it is said of: a `value` over `axes` of the inputs, a `value` alone, the whole `program`, or `either`
    of these two. order: does it suppose that the order of an axis' positions means something (True), or nothing
    (False)? learned: does it rest on what is minimised, so that it says nothing of a program that only evaluates?"""

    about: ClassVar[str] = "axes"
    order: ClassVar[bool | None] = None
    learned: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        CLAIMS[cls.name] = cls

    def __str__(self) -> str:
        given = [f"{k}={v}" for k, v in self.as_dict().items() if v is not None and v != self._default(k)]
        return f"{self.name}({', '.join(given)})" if given else self.name

    @classmethod
    def _default(cls, setting: str) -> Any:
        return cls.model_fields[setting].default


class Locality(Claim):
    """A place of the value sees one window of each axis, no wider than `window` positions where that is given."""

    name = "locality"
    order = True
    window: Positive | None = Field(None, description="the widest window allowed, in positions of the input")


class TranslationEquivariance(Claim):
    """When the input moves along the axis, the value moves with it, borders aside: by `stride` positions of the input
    or a multiple of that."""

    name = "translation_equivariance"
    order = True
    stride: Positive | None = Field(None, description="the smallest move of the input that the value follows")


class TranslationInvariance(Claim):
    """When the input moves along the axis, the value stays as it is, borders aside."""

    name = "translation_invariance"
    order = True
    stride: Positive | None = Field(None, description="the smallest move of the input that leaves the value as it is")


class WeightSharing(Claim):
    """The number of parameters does not depend on the size of the axis."""

    name = "weight_sharing"


class Causality(Claim):
    """Nothing sees beyond its own position along the axis."""

    name = "causality"
    order = True


class Sequential(Claim):
    """A recurrence runs along the axis."""

    name = "sequential"
    order = True


class PermutationEquivariance(Claim):
    """When the positions of the axis change places, those of the value do so too, and nothing else changes."""

    name = "permutation_equivariance"
    order = False


class PermutationInvariance(Claim):
    """The value is the same in whatever order the positions of the axis come."""

    name = "permutation_invariance"
    order = False


class GlobalContext(Claim):
    """A place of the value sees all of the axis, through at most `layers` layers with weights where that is given."""

    name = "global_context"
    layers: Positive | None = Field(None, description="layers with weights on the shortest way")


class Hierarchy(Claim):
    """From stage to stage on the way to the value the resolution falls and the receptive field grows, through at least
    `stages` resolutions."""

    name = "hierarchy"
    order = True
    stages: Positive = Field(2, description="different resolutions on the way, at least")


class Bottleneck(Claim):
    """All that the value knows of an input's example passes through at most `n` elements."""

    name = "bottleneck"
    about = "value"
    n: Positive = Field(description="elements per example, at most")


class Residual(Claim):
    """A path leads from an input to the value past all layers with weights but `projections`: sums, and what moves or
    keeps elements. The gradient has a way that no weight scales."""

    name = "residual"
    about = "value"
    projections: Annotated[int, Field(ge=0)] = Field(0, description="layers with weights that the path may cross")


class Gating(Claim):
    """A value computed from the input and proved to lie in [0, 1] multiplies what leads to the value."""

    name = "gating"
    about = "value"


class SmoothLatent(Claim):
    """A value is drawn around what the network computes, mean + deviation · noise, and a loss holds the divergence of
    that distribution from a prior. On the way to the value; of all of the body where no value is named."""

    name = "smooth_latent"
    about = "either"
    learned = True


class Adversarial(Claim):
    """Two players are trained against each other."""

    name = "adversarial"
    about = "program"
    learned = True
