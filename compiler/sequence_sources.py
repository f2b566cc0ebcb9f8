"""Sources of sequences that may stand after `on` in a `train` block, and their settings. The runtime reads them."""

from __future__ import annotations

from typing import Annotated, Literal

from .data_base import DataSet, Nature
from .declared import Field

Name = Annotated[str, Field(min_length=1)]
Names = Annotated[list[Name], Field(min_length=1)]
Length = Annotated[int, Field(ge=1, le=1_000_000)]
Separator = Annotated[str, Field(min_length=1, max_length=1)]
Missing = Literal["refuse", "previous", "interpolate"]

_WINDOW = "Time points that an example shows; by default what the network's input has."
_HORIZON = "Time points after them to predict; by default what the network's target has, or 1."
_STRIDE = "Time points from one example to the next."
_SEASON = "Time points in a season, for `metric skill`: how much better than repeating the last season."
_MISSING = (
    '"refuse": a gap is an error; "previous": filled with the value before it; "interpolate": on a line between its '
    "neighbours, of which a forecaster would not know the later one."
)
_LEAST = "Tokens that the training part has less often than this become `<unk>`."
_VOCABULARY = "At most so many tokens, the most frequent ones of the training part; all others become `<unk>`."
_LONGEST = "A sequence of more tokens than this is an error that names its line."
_BUCKETS = "Whether batches are made of sequences of like lengths, so that there is little padding."


class _Sequences(DataSet):
    nature = Nature.SEQUENCES


class Text(_Sequences):
    """Text in UTF-8 and what comes next in it: windows of tokens, and the same windows one token later. The three parts
    follow one another in the text. `by` says what a token is: a character; a word, a punctuation mark or the end of a
    line; or what a vocabulary saved by the package `tokenizers` makes of the text."""

    streams = True

    file: Name | Names = Field(description="The file, relative to the spec's folder, or several, laid end to end.")
    by: Name = Field("characters", description='"characters", "words", or a saved vocabulary such as "bpe.json".')
    length: Length | None = Field(None, description="Tokens a window; by default what the network's input has, or 128.")
    lower: bool = Field(False, description="Whether capital letters become small ones.")
    least: Length = Field(1, description=_LEAST)
    vocabulary: Annotated[int, Field(ge=2, le=10_000_000)] | None = Field(None, description=_VOCABULARY)
    kind: Literal["text"] = "text"

    def problem(self) -> str | None:
        saved = self.by not in ("characters", "words")
        if saved and not self.by.endswith(".json"):
            return f'cuts text by "characters", by "words" or by a saved vocabulary (a .json file), not by "{self.by}"'
        if saved and (self.lower or self.least > 1 or self.vocabulary is not None):
            return "takes `lower`, `least` and `vocabulary` only where it makes the vocabulary itself"
        return None

    @property
    def files(self) -> list[str]:
        return [self.file] if isinstance(self.file, str) else list(self.file)


class Series(_Sequences):
    """Columns of a table, one row a time point, oldest first: windows of them, and what follows. The three parts
    follow one another in time, and values are scaled by the training part's mean and deviation. Metrics are in the
    units of the file. With `carry`, windows follow one another, whatever `stride` says."""

    streams = True

    file: Name = Field(description="The file, relative to the spec's folder.")
    columns: Names = Field(description="The columns that the network sees.")
    window: Length | None = Field(None, description=_WINDOW)
    horizon: Length | None = Field(None, description=_HORIZON)
    targets: Names | None = Field(None, description="The columns to predict; by default those that it sees.")
    stride: Length = Field(1, description=_STRIDE)
    season: Length | None = Field(None, description=_SEASON)
    missing: Missing = Field("refuse", description=_MISSING)
    time: Name | None = Field(None, description="A column of numbers or dates that must increase from row to row.")
    separator: Separator = Field(",", description="What stands between columns.")
    kind: Literal["series"] = "series"

    def problem(self) -> str | None:
        for names in (self.columns, self.targets or []):
            doubled = next((name for name in names if names.count(name) > 1), None)
            if doubled is not None:
                return f"names the column `{doubled}` twice"
        if self.season is not None and self.targets is not None and not set(self.targets) <= set(self.columns):
            return "knows the last season only of columns that the network sees: add the targets to `columns`"
        return _season(self.season, self.window)


class Sunspots(_Sequences):
    """The mean number of sunspots of every year from 1700 to 2008, from the package statsmodels."""

    streams = True

    window: Length | None = Field(None, description=_WINDOW)
    horizon: Length | None = Field(None, description=_HORIZON)
    stride: Length = Field(1, description=_STRIDE)
    season: Length | None = Field(None, description=_SEASON)
    kind: Literal["sunspots"] = "sunspots"

    def problem(self) -> str | None:
        return _season(self.season, self.window)


class Co2(_Sequences):
    """Carbon dioxide in the air over Mauna Loa, parts per million, every week from 1958 to 2001, from the package
    statsmodels. 59 of the 2,284 weeks are missing."""

    streams = True

    window: Length | None = Field(None, description=_WINDOW)
    horizon: Length | None = Field(None, description=_HORIZON)
    stride: Length = Field(1, description=_STRIDE)
    season: Length | None = Field(None, description=_SEASON)
    missing: Missing = Field("previous", description=_MISSING)
    kind: Literal["co2"] = "co2"

    def problem(self) -> str | None:
        return _season(self.season, self.window)


class Tagged(_Sequences):
    """Sentences with a tag for every token (CoNLL): a line a token, its columns separated by white space, and a blank
    line after each sentence. Tags are numbered in the order of their names; padding counts in no loss that ignores it.
    """

    file: Name = Field(description="The file, relative to the spec's folder.")
    token: int = Field(0, ge=-64, le=63, description="The column of tokens, counted from 0; -1 is the last.")
    tag: int = Field(-1, ge=-64, le=63, description="The column of tags, counted in the same way.")
    lower: bool = Field(False, description="Whether capital letters become small ones.")
    least: Length = Field(1, description=_LEAST)
    vocabulary: Annotated[int, Field(ge=3, le=10_000_000)] | None = Field(None, description=_VOCABULARY)
    longest: Length = Field(512, description=_LONGEST)
    buckets: bool = Field(True, description=_BUCKETS)
    kind: Literal["tagged"] = "tagged"

    def problem(self) -> str | None:
        return "needs two columns: one of tokens and one of tags" if self.token == self.tag else None


class Pairs(_Sequences):
    """A sequence and what it becomes: a line a pair, the two separated by a tab. The network gets the source, and the
    target as far as it is known at each step, `<bos>` first; it predicts the target, `<eos>` last."""

    file: Name = Field(description="The file, relative to the spec's folder.")
    by: Literal["characters", "words"] = Field("characters", description="What a token is, as in `text`.")
    shared: bool = Field(False, description="One vocabulary for both sides.")
    lower: bool = Field(False, description="Whether capital letters become small ones.")
    least: Length = Field(1, description=_LEAST)
    vocabulary: Annotated[int, Field(ge=5, le=10_000_000)] | None = Field(None, description=_VOCABULARY)
    longest: Length = Field(512, description=_LONGEST)
    buckets: bool = Field(True, description=_BUCKETS)
    kind: Literal["pairs"] = "pairs"


class AddingProblem(_Sequences):
    """The adding problem (Hochreiter and Schmidhuber, 1997; as in Arjovsky, Shah and Bengio, 2016): of a sequence of
    numbers in [0, 1] two are marked, one in each half, and their sum is asked for. Drawn by the seed of the split. Who
    always says 1 has a mean squared error of 1/6."""

    length: Annotated[int, Field(ge=10, le=100_000)] | None = Field(
        None, description="Numbers a sequence; by default what the network's input has, or 100."
    )
    examples: int = Field(10_000, ge=10, le=1_000_000, description="Sequences in all.")
    kind: Literal["adding_problem"] = "adding_problem"


def _season(season: int | None, window: int | None) -> str | None:
    if season is not None and window is not None and season > window:
        return f"can't repeat a season of {season} from a window of {window}"
    return None
