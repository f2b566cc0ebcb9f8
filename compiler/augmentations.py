"""How images may be varied while a network learns from them: what a plan can say. The runtime does it."""

from __future__ import annotations

from typing import Annotated, Literal

from .declared import Declared, Field

Chance = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=1.0)]
Area = Annotated[float, Field(gt=0.0, le=1.0)]
Aspect = Annotated[float, Field(ge=0.01, le=100.0)]
Alpha = Annotated[float, Field(gt=0.0, le=100.0)]


class _Variation(Declared):
    """Base of augmentations. Fields in order, `kind` left out, are the settings one can write."""

    def problem(self) -> str | None:
        """What is wrong with the settings together, as the end of a sentence that starts with the augmentation."""
        return None


class Shift(_Variation):
    """Moves every image by up to so many pixels each way, its border stretched."""

    pixels: int = Field(ge=1, le=512, description="The farthest that an image is moved, in pixels.")
    kind: Literal["shift"] = "shift"


class Flip(_Variation):
    """Mirrors every other image, left to right."""

    kind: Literal["flip"] = "flip"


class Crop(_Variation):
    """Surrounds every image with black and cuts a piece of its size out of that, anywhere."""

    pad: int = Field(4, ge=1, le=512, description="Pixels of black on every side.")
    kind: Literal["crop"] = "crop"


class RandomResizedCrop(_Variation):
    """Cuts a piece of random area and shape out of every image, and stretches it to the image's size (Szegedy et al.,
    2015)."""

    scale: tuple[Area, Area] = Field((0.08, 1.0), description="Least and greatest share of the area that is kept.")
    ratio: tuple[Aspect, Aspect] = Field((3 / 4, 4 / 3), description="Least and greatest width to height of the piece.")
    kind: Literal["random_resized_crop"] = "random_resized_crop"

    def problem(self) -> str | None:
        return _disordered(scale=self.scale, ratio=self.ratio)


class Rotate(_Variation):
    """Turns every image by a random angle about its middle; what comes into view is black."""

    degrees: Annotated[float, Field(gt=0.0, le=180.0)] = Field(description="The greatest angle, either way.")
    kind: Literal["rotate"] = "rotate"


class ColorJitter(_Variation):
    """Changes brightness, contrast and saturation by random factors in [1 - x, 1 + x], and hue by a random turn."""

    brightness: Strength = Field(0.0, description="How far the factor of brightness may lie from 1.")
    contrast: Strength = Field(0.0, description="How far the factor of contrast may lie from 1.")
    saturation: Strength = Field(0.0, description="How far the factor of saturation may lie from 1.")
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = Field(0.0, description="Greatest turn of the hue, in full circles.")
    kind: Literal["color_jitter"] = "color_jitter"

    def problem(self) -> str | None:
        still = not (self.brightness or self.contrast or self.saturation or self.hue)
        return "changes nothing: give `brightness`, `contrast`, `saturation` or `hue`" if still else None


class Erase(_Variation):
    """Covers a random rectangle of some images with the mean colour (Zhong et al., 2020)."""

    p: Chance = Field(0.5, description="Share of the images that lose a rectangle.")
    scale: tuple[Area, Area] = Field((0.02, 0.33), description="Least and greatest share of the area that is covered.")
    ratio: tuple[Aspect, Aspect] = Field((0.3, 3.3), description="Least and greatest height to width of the rectangle.")
    kind: Literal["erase"] = "erase"

    def problem(self) -> str | None:
        return _disordered(scale=self.scale, ratio=self.ratio)


class Mixup(_Variation):
    """Blends every image, and its target, with another of the batch (Zhang et al., 2018). With `cutmix` too, each batch
    gets one of the two."""

    alpha: Alpha = Field(0.2, description="Both parameters of the beta distribution that the share is drawn from.")
    kind: Literal["mixup"] = "mixup"


class CutMix(_Variation):
    """Pastes a rectangle of another image of the batch into every one, and blends the targets by area (Yun et al.,
    2019)."""

    alpha: Alpha = Field(1.0, description="Both parameters of the beta distribution that the share is drawn from.")
    kind: Literal["cutmix"] = "cutmix"


def _disordered(**pairs: tuple[float, float]) -> str | None:
    wrong = [name for name, (low, high) in pairs.items() if low > high]
    return f"has a `{wrong[0]}` whose first number is the greater one" if wrong else None


Augmentation = Shift | Flip | Crop | RandomResizedCrop | Rotate | ColorJitter | Erase | Mixup | CutMix

AUGMENTATIONS: dict[str, type[_Variation]] = {
    model.kind: model for model in (Shift, Flip, Crop, RandomResizedCrop, Rotate, ColorJitter, Erase, Mixup, CutMix)
}
