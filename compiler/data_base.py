"""What every source of data has in common."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from .declared import Declared

Normalization = Literal["standard", "imagenet", "symmetric", "none"]


class Nature(StrEnum):
    """What the axes of an example mean, as far as the source tells."""

    TABLE = "table"
    IMAGES = "images"
    ARRAYS = "arrays"
    SEQUENCES = "sequences"


class DataSet(Declared):
    """Base of the data sources. A subclass's fields, `kind` left out, are its settings in positional order."""

    nature: ClassVar[Nature] = Nature.TABLE
    streams: ClassVar[bool] = False  # can its batches continue one another, so that a state may be carried over?
    usual: ClassVar[Normalization] = "standard"  # how values are scaled where `normalize` does not say

    kind: str

    def problem(self) -> str | None:
        """What is wrong with the settings together, as the end of a sentence that starts with the source."""
        return None
