"""Time series: windows of what was, and what came next."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from archlang.compiler.data_sources import Co2, Series, Sunspots
from archlang.compiler.diagnostics import ArchError, Sink, error
from archlang.compiler.source import Span
from torch import Tensor

from .base import Column, Data, Preprocessing, Split
from .lines import check_file
from .season import Season
from .sequences import Window, Windows
from .tables import MISSING, need, read_table
from .texts import borders

if TYPE_CHECKING:
    import pandas as pd

_MOST = 1 << 28  # bytes of a table


@dataclass(frozen=True)
class Form:
    """How examples of a series are cut: time points that are seen and predicted, and what the network calls for.

    flat_input, target_rank: whether the input has no axis of columns, and how many axes the target has."""

    window: int
    horizon: int
    stride: int
    flat_input: bool
    target_rank: int
    scaled: bool


@dataclass(frozen=True)
class Table:
    """Columns by name, float64 [time points]; NaN where a value is missing. lines: where each row stands."""

    origin: str
    values: dict[str, np.ndarray]
    lines: np.ndarray
    place: str


def load_series(
    source: Series | Sunspots | Co2, path: Path | None, form: Form, shares: tuple[float, float], span: Span | None
) -> Data:
    """`shares` of the time points, the last ones, go to validation and to the test."""
    if isinstance(source, Series):
        assert path is not None
        table, columns, targets = _read(source, path, span), source.columns, source.targets or source.columns
    else:
        table = bundled(source.kind, span)
        columns = targets = list(table.values)
    missing = "refuse" if isinstance(source, Sunspots) else source.missing
    size = len(table.lines)
    first, second = borders(size, shares)
    values = _filled(table, list(dict.fromkeys([*columns, *targets])), missing, (first, second, size), span)
    if source.season is not None and source.season > form.window:
        message = f"a season of {source.season} can't be repeated from a window of {form.window}"
        raise error("A1056", message, span, help="make `window` as long as a season at least")
    prep = Preprocessing(features=tuple(columns), axis=-1)
    if form.scaled and first:
        mean, std = _moments(values, columns, first)
        answer_mean, answer_std = _moments(values, targets, first)
        update = {"mean": mean, "std": std, "answer_mean": answer_mean, "answer_std": answer_std}
        prep = prep.model_copy(update=update)
    parts = examples(size, (first, second), form)
    x, y = _column(values, columns, prep.mean, prep.std), _column(values, targets, prep.answer_mean, prep.answer_std)
    return _data(table.origin, x, y, form, parts, prep, _season(source.season, columns, targets, form))


def examples(size: int, cuts: tuple[int, int], form: Form) -> Split:
    """Where the window of each example begins. An example is of the part that holds all of its targets; what it sees
    may lie in the part before: that is the past."""
    spans = ((0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], size))
    starts = [np.arange(max(a, form.window), max(a, b - form.horizon + 1), form.stride) for a, b in spans]
    return Split(*((s - form.window).astype(np.int64) for s in starts))


def bundled(kind: str, span: Span | None) -> Table:
    """`sunspots` or `co2`. Raises A1055 without statsmodels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from statsmodels import datasets
    except ImportError:
        message = f"`{kind}` comes with the package `statsmodels`"
        raise error("A1055", message, span, help="`pip install statsmodels`") from None
    frame = (datasets.sunspots if kind == "sunspots" else datasets.co2).load_pandas().data
    name = "SUNACTIVITY" if kind == "sunspots" else "co2"
    values = np.asarray(frame[name], dtype=np.float64)
    return Table(kind, {kind: values}, np.arange(1, len(values) + 1), f"{kind}, row")


def _data(
    origin: str, x: Tensor, y: Tensor, form: Form, parts: Split, prep: Preprocessing, season: Season | None
) -> Data:
    seen = (form.window,) if form.flat_input else (form.window, x.shape[1])
    wanted = (form.horizon, y.shape[1])[: form.target_rank]
    return Data(
        origin=origin,
        inputs=(Column("values", seen, "float"),),
        targets=(Column("future", wanted, "float"),),
        size=len(parts.train) + len(parts.validation) + len(parts.test),
        sequences=Windows(
            {"values": Window(x, 0, form.window, seen), "future": Window(y, form.window, form.horizon, wanted)}
        ),
        parts=parts,
        preprocessing=prep,
        season=season,
    )


def _season(period: int | None, columns: list[str], targets: list[str], form: Form) -> Season | None:
    if period is None:
        return None
    return Season(period, tuple(columns.index(name) for name in targets), form.horizon)


def _read(source: Series, path: Path, span: Span | None) -> Table:
    check_file(path, span, _MOST)
    frame = read_table(path, source.separator, span)
    names = list(dict.fromkeys([*source.columns, *(source.targets or [])]))
    need(frame, [*names, *([source.time] if source.time else [])], path, span)
    sink = Sink()
    values = {}
    for name in names:
        try:
            values[name] = _parsed(frame, name, path, span)
        except ArchError as failure:  # one complaint a column, all columns at once
            sink.extend(failure)
    sink.raise_if_failed()
    if source.time is not None:
        _in_order(frame, source.time, path, span)
    return Table(f'series("{path.name}")', values, np.asarray(frame.index), f'"{path.name}", line')


def _parsed(frame: pd.DataFrame, name: str, path: Path, span: Span | None) -> np.ndarray:
    import pandas as pd

    text = frame[name].str.strip()
    values = np.array(pd.to_numeric(text, errors="coerce"), dtype=np.float64)
    gap = text.str.lower().isin(MISSING).to_numpy()
    bad = ~np.isfinite(values) & ~gap
    if bad.any():
        row = int(np.argmax(bad))
        where = f'"{path.name}", line {int(frame.index[row])}, column `{name}`'
        raise error("A1019", f"{where}: `{str(text.iloc[row])[:40]}` is not a finite number", span)
    values[gap] = np.nan
    return values


def _in_order(frame: pd.DataFrame, name: str, path: Path, span: Span | None) -> None:
    """Raises A1057 at the first row that is not later than the one before it."""
    import pandas as pd

    text = frame[name].str.strip()
    times = pd.to_numeric(text, errors="coerce")
    if times.isna().any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a guess at the format of dates is what is asked for
            times = pd.to_datetime(text, errors="coerce")
    unread, late = times.isna().to_numpy(), np.zeros(len(times), dtype=bool)
    late[1:] = (times.to_numpy()[1:] <= times.to_numpy()[:-1]) & ~unread[1:] & ~unread[:-1]
    if unread.any() or late.any():
        row = int(np.argmax(unread if unread.any() else late))
        said = (
            "is neither a number nor a date" if unread.any() else f"is not later than `{text.iloc[row - 1]}` before it"
        )
        where = f'"{path.name}", line {int(frame.index[row])}, column `{name}`'
        help = None if unread.any() else "a series goes from the oldest row to the newest; sort the file"
        raise error("A1057", f"{where}: `{str(text.iloc[row])[:40]}` {said}", span, help=help)


def _filled(
    table: Table, names: list[str], how: str, ends: tuple[int, int, int], span: Span | None
) -> dict[str, np.ndarray]:
    """Columns without gaps. What fills one in a part is never taken from a later part."""
    sink = Sink()
    found = {}
    for name in names:
        values = table.values[name]
        gaps = np.isnan(values)
        if gaps.any() and (how == "refuse" or gaps[0]):
            where = f"{table.place} {table.lines[int(np.argmax(gaps))]}, column `{name}`"
            many = f" ({int(gaps.sum())} such in all)" if gaps.sum() > 1 else ""
            why = "the value is missing" if how == "refuse" else "the value is missing, and none comes before it"
            help = 'write `missing="previous"` to fill gaps with the value before them' if how == "refuse" else None
            sink.extend(error("A1018", f"{where}: {why}{many}", span, help=help or "leave the first rows out"))
            continue
        found[name] = values if not gaps.any() else _fill(values, gaps, how, ends)
    sink.raise_if_failed()
    return found


def _fill(values: np.ndarray, gaps: np.ndarray, how: str, ends: tuple[int, int, int]) -> np.ndarray:
    places = np.arange(len(values))
    before = np.maximum.accumulate(np.where(gaps, 0, places))
    filled = values[before]
    if how == "interpolate":
        begin = 0
        for end in ends:
            part, begin = slice(begin, end), end
            known = places[:end][~gaps[:end]]  # np.interp goes on with the last one behind them
            if len(known):
                filled[part] = np.interp(places[part], known, values[known])
    return filled


def _moments(
    values: dict[str, np.ndarray], names: list[str], first: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the training part; a constant column gets deviation 1."""
    past = [values[name][:first] for name in names]
    std = [float(part.std()) for part in past]
    return tuple(float(part.mean()) for part in past), tuple(s if s > 1e-12 else 1.0 for s in std)


def _column(values: dict[str, np.ndarray], names: list[str], mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Scaled columns as float32 [N, columns]; scaled before they are rounded."""
    table = np.stack([values[name] for name in names], axis=1)
    if mean:
        table = (table - np.asarray(mean)) / np.asarray(std)
    return torch.from_numpy(table.astype(np.float32))
