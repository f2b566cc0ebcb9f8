"""Tables in CSV files. Every complaint names the line and the column."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch
from archlang.compiler.diagnostics import did_you_mean, error
from archlang.compiler.source import Span
from torch import Tensor

from .base import Column, Data, Preprocessing

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("", "na", "nan", "null", "none", "n/a", "?")  # how tables say, in small letters, that nothing is known


def load_csv(
    path: Path, target: str | None, *, features: list[str] | None, separator: str, wants: str, span: Span | None
) -> Data:
    """One example a row. `wants` is the dtype of the network's target: int makes classes of the target column, which is
    left out where there is none."""
    frame = read_table(path, separator, span)
    need(frame, [*([] if target is None else [target]), *(features or [])], path, span)
    chosen = features or [c for c in frame.columns if c != target]
    if not chosen:
        raise error("A1017", f'"{path.name}" has no column beside `{target}` to predict from', span)
    if target in chosen:
        raise error("A1017", f"`{target}` is the target and can't also be a feature", span)
    data = Data(
        origin=f'csv("{path.name}")',
        inputs=(Column("features", (len(chosen),), "float"),),
        targets=(),
        size=len(frame),
        tensors=(numbers(frame, chosen, path, span),),
        preprocessing=Preprocessing(features=tuple(chosen), separator=separator),
    )
    if target is not None:
        _add_target(data, frame, target, wants, path, span)
    return data


def _add_target(data: Data, frame: pd.DataFrame, target: str, wants: str, path: Path, span: Span | None) -> None:
    y, classes = _target(frame, target, wants, path, span)
    kind = "float" if y.is_floating_point() else wants if wants == "bool" else "int"
    data.targets = (Column(target, (), kind),)
    data.tensors = (*data.tensors, y)
    data.labels = None if y.is_floating_point() else y.numpy().astype(np.int64)
    data.preprocessing = data.preprocessing.model_copy(update={"classes": classes})


def read_table(path: Path, separator: str, span: Span | None) -> pd.DataFrame:
    """All cells as text; the index is the line in the file. Blank lines are passed over."""
    import pandas as pd

    if not path.is_file():
        raise error("A1012", f'"{path.name}" is a folder, not a CSV file', span)
    header = _header(path, separator, span)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # pandas would cut rows that are too long
            frame = pd.read_csv(
                path, sep=separator, dtype=str, keep_default_na=False, na_values=[], skip_blank_lines=False,
                names=header, header=0, index_col=False, on_bad_lines="error", encoding="utf-8-sig",
            )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError, ValueError) as failure:
        _ragged(path, separator, len(header), span)
        raise error("A1016", f'"{path.name}" can\'t be read as a table: {str(failure)[:200]}', span) from None
    frame.index = pd.RangeIndex(2, 2 + len(frame))
    frame = frame.fillna("")
    frame = frame[(frame != "").any(axis=1)]
    if frame.empty:
        raise error("A1029", f'"{path.name}" has a header and no rows', span)
    if (frame[header[-1]] == "").any():  # a row cut short, or a value left out: tell the two apart
        _ragged(path, separator, len(header), span)
    return frame


def numbers(frame: pd.DataFrame, names: list[str], path: Path, span: Span | None) -> Tensor:
    """Columns as float32 [rows, columns], every cell a finite number."""
    import pandas as pd

    parts = []
    for name in names:
        text = frame[name].str.strip()
        values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(np.argmax(bad))
            _bad_cell(path, int(frame.index[row]), name, str(text.iloc[row]), span)
        parts.append(values)
    return torch.from_numpy(np.stack(parts, axis=1).astype(np.float32))


def _header(path: Path, separator: str, span: Span | None) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = [name.strip() for name in next(csv.reader(file, delimiter=separator), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise error("A1016", f'"{path.name}" can\'t be read as a table: {failure}', span) from None
    if not any(names):
        raise error("A1029", f'"{path.name}" is empty: the first line must name the columns', span)
    doubled = sorted({n for n in names if names.count(n) > 1})
    if doubled:
        raise error("A1016", f'"{path.name}" has two columns called `{doubled[0]}`', span)
    return names


def _ragged(path: Path, separator: str, width: int, span: Span | None) -> None:
    """Complains about the first row with too few or too many cells, if there is one."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator)
        try:
            for cells in reader:
                if cells and len(cells) != width:
                    raise error(
                        "A1016",
                        f'"{path.name}", line {reader.line_num}: {len(cells)} cells, and the header has {width}',
                        span,
                        help=f"cells are separated by `{separator}`; a cell that holds one is put in quotes",
                    )
        except (csv.Error, UnicodeDecodeError) as failure:
            raise error("A1016", f'"{path.name}", line {reader.line_num}: {failure}', span) from None


def need(frame: pd.DataFrame, names: list[str], path: Path, span: Span | None) -> None:
    for name in names:
        if name not in frame.columns:
            shown = ", ".join(f"`{c}`" for c in list(frame.columns)[:20])
            help = did_you_mean(name, frame.columns) or f"it has {shown}"
            raise error("A1017", f'"{path.name}" has no column `{name}`', span, help=help)


def _target(
    frame: pd.DataFrame, name: str, wants: str, path: Path, span: Span | None
) -> tuple[Tensor, tuple[str, ...]]:
    import pandas as pd

    text = frame[name].str.strip()
    if wants == "float":
        return numbers(frame, [name], path, span)[:, 0], ()
    empty = (text == "").to_numpy()
    if empty.any():
        _bad_cell(path, int(frame.index[int(np.argmax(empty))]), name, "", span)
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
    if np.isnan(values).all() or (np.isnan(values).any() and not _mostly_numbers(values)):
        classes, codes = np.unique(text.to_numpy(dtype=str), return_inverse=True)
        labels = torch.from_numpy(codes.astype(np.int64))
        return (labels.bool() if wants == "bool" and len(classes) == 2 else labels), tuple(str(c) for c in classes)
    bad = ~np.isfinite(values) | (values != np.floor(values))
    if bad.any():
        row = int(np.argmax(bad))
        line, cell = int(frame.index[row]), str(text.iloc[row])
        raise error(
            "A1019",
            f'"{path.name}", line {line}, column `{name}`: `{cell[:40]}` is not the number of a class',
            span,
            help="classes are whole numbers from 0, or all of them names; to predict numbers declare `target y: [B]`",
        )
    labels = torch.from_numpy(values.astype(np.int64))
    return (labels.bool() if wants == "bool" and bool(((labels == 0) | (labels == 1)).all()) else labels), ()


def _mostly_numbers(values: np.ndarray) -> bool:
    """A few words among numbers are slips, not class names."""
    return bool(np.isnan(values).mean() < 0.5)


def _bad_cell(path: Path, line: int, column: str, cell: str, span: Span | None) -> NoReturn:
    where = f'"{path.name}", line {line}, column `{column}`'
    if cell.lower() in MISSING:
        raise error("A1018", f"{where}: the value is missing", span, help="fill the gap or leave the row out")
    raise error("A1019", f"{where}: `{cell[:40]}` is not a finite number", span, help="features must be numbers")
