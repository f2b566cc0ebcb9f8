"""What may stand after `on` in a `train` block: sources of data and their settings. The runtime reads them."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Annotated, Literal

from .data_base import DataSet, Nature, Normalization
from .declared import Field
from .picture_sources import Digits, Images, InvertedDigits, Unpaired
from .sequence_sources import AddingProblem, Co2, Pairs, Series, Sunspots, Tagged, Text

if TYPE_CHECKING:
    from .graph import Program
    from .ops.base import Interval
    from .training_plan import TrainPlan

__all__ = ["SOURCES", "DataSource", "Digits", "Images", "InvertedDigits", "Nature", "Unpaired"]


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


class Csv(DataSet):
    """A table with a header: one example a row. Text in the target column names classes, sorted by name."""

    file: str = Field(min_length=1, description="The file, relative to the spec's folder.")
    target: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The column to predict; a network without a target needs none."
    )
    features: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="The columns to predict from, in order; by default all others."
    )
    separator: str = Field(",", min_length=1, max_length=1, description="What stands between columns.")
    kind: Literal["csv"] = "csv"


class Npz(DataSet):
    """A NumPy archive with one array for the inputs and one for the targets, examples along the first axis. For a
    network without a target, only the first is read."""

    nature = Nature.ARRAYS
    usual = "none"

    file: str = Field(min_length=1, description="The file, relative to the spec's folder.")
    input: str = Field("x", min_length=1, description="Name of the array of inputs.")
    target: str = Field("y", min_length=1, description="Name of the array of targets.")
    kind: Literal["npz"] = "npz"


class Gaussians(DataSet):
    """Points in the plane, drawn from a mixture of Gaussians of equal weight, by the seed of the split: on a ring, as
    Metz et al. (2017) have it, or on a square grid. Which Gaussian a point is from is its class. With it one sees which
    modes of its data a generator has lost."""

    usual = "none"

    modes: int = Field(8, ge=1, le=10_000, description="How many Gaussians; a grid takes a square number, such as 25.")
    radius: float = Field(
        2.0, gt=0.0, le=1e6, description="Of the ring, or half the side of the grid (4 for 5 by 5 in steps of 2)."
    )
    deviation: float = Field(0.02, gt=0.0, le=1e6, description="Standard deviation of each Gaussian, both ways.")
    layout: Literal["ring", "grid"] = Field("ring", description='"ring" or "grid".')
    examples: int = Field(10_000, ge=10, le=10_000_000, description="Points in all.")
    kind: Literal["gaussians"] = "gaussians"

    def problem(self) -> str | None:
        if self.layout == "grid" and isqrt(self.modes) ** 2 != self.modes:
            return f"lays a square number of modes on a grid, such as 25, not {self.modes}"
        return None


Sequences = Text | Series | Sunspots | Co2 | Tagged | Pairs | AddingProblem
Pictures = Digits | InvertedDigits | Images | Unpaired
DataSource = Pictures | Iris | Wine | BreastCancer | Diabetes | Csv | Npz | Gaussians | Sequences

SOURCES: dict[str, type[DataSet]] = {
    model.kind: model
    for model in (
        *(Digits, InvertedDigits, Iris, Wine, BreastCancer, Diabetes, Images, Unpaired, Csv, Npz, Gaussians),
        *(Text, Series, Sunspots, Co2, Tagged, Pairs, AddingProblem),
    )
}


def normalization(plan: TrainPlan) -> Normalization:
    """How a plan's data are scaled: as it says, or else as is usual for them."""
    return plan.normalize or plan.data.usual


def value_range(plan: TrainPlan, program: Program) -> Interval | None:
    """What the data's values lie between as the network's first input gets them, where that is known before they are
    read: for `symmetric`, and for pictures that are left as they are. None where it is not, or they are no floats."""
    from .ops.base import Interval

    nodes, how = program.data_nodes(), normalization(plan)
    if not nodes or program.graph[nodes[0]].types[0].dtype != "float":
        return None
    if how == "symmetric":
        return Interval(-1.0, 1.0)
    return Interval(0.0, 1.0) if how == "none" and plan.data.nature is Nature.IMAGES else None
