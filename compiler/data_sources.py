"""What may stand after `on` in a `train` block: sources of data and their settings. The runtime reads them."""

from __future__ import annotations

from typing import Annotated, Literal

from .data_base import DataSet, Nature
from .declared import Field
from .sequence_sources import AddingProblem, Co2, Pairs, Series, Sunspots, Tagged, Text

__all__ = ["SOURCES", "DataSource", "Nature"]


class Digits(DataSet):
    """1,797 handwritten digits of ten classes that come with scikit-learn, grey, resized bilinearly to a square."""

    nature = Nature.IMAGES

    size: int = Field(8, ge=4, le=512, description="Height and width in pixels; the originals are 8 by 8.")
    kind: Literal["digits"] = "digits"


class Iris(DataSet):
    """150 iris flowers: four lengths in centimetres, three species."""

    kind: Literal["iris"] = "iris"


class Wine(DataSet):
    """178 wines: thirteen chemical measurements, three growers."""

    kind: Literal["wine"] = "wine"


class BreastCancer(DataSet):
    """569 biopsies: thirty measurements of cell nuclei, malignant (0) or benign (1)."""

    kind: Literal["breast_cancer"] = "breast_cancer"


class Diabetes(DataSet):
    """442 patients: ten measurements, and how far the disease had come a year later (25 to 346)."""

    kind: Literal["diabetes"] = "diabetes"


class Images(DataSet):
    """A folder with one subfolder of pictures a class; classes are numbered in the order of their names."""

    nature = Nature.IMAGES

    folder: str = Field(min_length=1, description="The folder, relative to the spec's.")
    size: int | None = Field(
        None, ge=1, le=4096, description="Height and width in pixels; by default what the network's input has."
    )
    grey: bool | None = Field(
        None, description="One channel instead of three; by default what the network's input has."
    )
    resize: int | None = Field(
        None,
        ge=1,
        le=8192,
        description="What the shorter side is brought to before the middle is cut out; by default `size`. ImageNet's "
        "custom is 256 for a size of 224. What varies images cuts from all of it.",
    )
    kind: Literal["images"] = "images"


class Csv(DataSet):
    """A table with a header: one example a row. Text in the target column names classes, sorted by name."""

    file: str = Field(min_length=1, description="The file, relative to the spec's folder.")
    target: str = Field(min_length=1, description="The column to predict.")
    features: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="The columns to predict from, in order; by default all others."
    )
    separator: str = Field(",", min_length=1, max_length=1, description="What stands between columns.")
    kind: Literal["csv"] = "csv"


class Npz(DataSet):
    """A NumPy archive with one array for the inputs and one for the targets, examples along the first axis."""

    nature = Nature.ARRAYS

    file: str = Field(min_length=1, description="The file, relative to the spec's folder.")
    input: str = Field("x", min_length=1, description="Name of the array of inputs.")
    target: str = Field("y", min_length=1, description="Name of the array of targets.")
    kind: Literal["npz"] = "npz"


Sequences = Text | Series | Sunspots | Co2 | Tagged | Pairs | AddingProblem
DataSource = Digits | Iris | Wine | BreastCancer | Diabetes | Images | Csv | Npz | Sequences

SOURCES: dict[str, type[DataSet]] = {
    model.kind: model
    for model in (
        *(Digits, Iris, Wine, BreastCancer, Diabetes, Images, Csv, Npz),
        *(Text, Series, Sunspots, Co2, Tagged, Pairs, AddingProblem),
    )
}
