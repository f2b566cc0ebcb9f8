"""Sources of pictures that may stand after `on` in a `train` block, and their settings. The runtime reads them."""

from __future__ import annotations

from typing import Annotated, Literal

from .data_base import DataSet, Nature
from .declared import Field

Folder = Annotated[str, Field(min_length=1)]
Side = Annotated[int, Field(ge=1, le=4096)]
Shorter = Annotated[int, Field(ge=1, le=8192)]
Corrupt = Literal["refuse", "skip"]

_DIGITS = "Height and width in pixels; by default those of the network's input, or 8, as the originals have."
_SIZE = "Height and width in pixels; by default what the network's input has."
_GREY = "One channel instead of three; by default what the network's input has."
_RESIZE = (
    "What the shorter side is brought to before the middle is cut out; by default `size`. ImageNet's custom is 256 for "
    "a size of 224. What varies images cuts from all of it."
)
_CORRUPT = (
    '"refuse": an image that can\'t be read is an error that names it; "skip": every image is read once before '
    "training, and those that can't be are left out, with a warning."
)


class Digits(DataSet):
    """1,797 handwritten digits of ten classes that come with scikit-learn, grey, resized bilinearly to a square."""

    nature = Nature.IMAGES

    size: Annotated[int, Field(ge=4, le=512)] | None = Field(None, description=_DIGITS)
    kind: Literal["digits"] = "digits"


class InvertedDigits(DataSet):
    """The digits, and digits whose values v are 1 - v: two domains for a network of two inputs, with a mapping between
    them that is known. In the training part they are two halves of it, which no digit is in both of; in the parts that
    are held out every digit stands beside its own inverse, so that what was found can be compared with it."""

    nature = Nature.IMAGES
    usual = "symmetric"

    size: Annotated[int, Field(ge=4, le=512)] | None = Field(None, description=_DIGITS)
    kind: Literal["inverted_digits"] = "inverted_digits"


class Images(DataSet):
    """A folder with one subfolder of pictures a class; classes are numbered in the order of their names. For a network
    that takes no class, all pictures in a folder, whether they lie in subfolders or not."""

    nature = Nature.IMAGES

    folder: Folder = Field(description="The folder, relative to the spec's.")
    size: Side | None = Field(None, description=_SIZE)
    grey: bool | None = Field(None, description=_GREY)
    resize: Shorter | None = Field(None, description=_RESIZE)
    corrupt: Corrupt = Field("refuse", description=_CORRUPT)
    kind: Literal["images"] = "images"


class Unpaired(DataSet):
    """Two folders of pictures, for a network of two inputs: the first input gets one of the first folder, the second
    one of the second, drawn independently of each other. The larger folder decides how long an epoch is, and the
    smaller one is shuffled anew as often as it is used up. Shares are held out of both."""

    nature = Nature.IMAGES
    usual = "symmetric"

    first: Folder = Field(description="The folder of the first input, relative to the spec's.")
    second: Folder = Field(description="The folder of the second input.")
    size: Side | None = Field(None, description=_SIZE)
    grey: bool | None = Field(None, description=_GREY)
    resize: Shorter | None = Field(None, description=_RESIZE)
    corrupt: Corrupt = Field("refuse", description=_CORRUPT)
    kind: Literal["unpaired"] = "unpaired"

    def problem(self) -> str | None:
        return "needs two folders, one for each domain" if self.first == self.second else None

    @property
    def folders(self) -> tuple[str, str]:
        return self.first, self.second
