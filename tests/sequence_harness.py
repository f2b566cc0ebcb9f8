"""Networks for sequences, and files for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from archlang.runtime.data import Data, Split
from archlang.runtime.data.feed import Feed
from torch import Tensor

LANGUAGE = """network Net {{ input tokens: int[B, {length}]  target next: int[B, {length}]
  logits = tokens -> embedding({rows}, 8) -> linear({rows})
  output logits  loss fit = (logits, next) -> cross_entropy }}"""

STATEFUL = """network Net {{ input tokens: int[B, T]  input h: [B, 8]  target next: int[B, T]
  x = (tokens -> embedding({rows}, 8)) + (h -> rearrange("b d -> b 1 d"))
  logits = x -> linear({rows})
  output logits  output h = x -> tanh -> mean(T)
  loss fit = (logits, next) -> cross_entropy }}"""

TAGGER = """network Net {{ input tokens: int[B, {length}] {more} target tags: int[B, {length}]
  logits = tokens -> embedding({rows}, 8) -> linear({classes}) {tail}
  output logits  loss fit = (logits, tags) -> cross_entropy{loss} }}"""

TRANSLATOR = """network Net {{ input source: int[B, S] {more} input previous: int[B, T]  target target: int[B, T]
  context = source -> embedding({rows}, 8) -> mean(S) -> rearrange("b d -> b 1 d")
  logits = ((previous -> embedding({rows}, 8)) + context) -> linear({rows})
  output logits  loss fit = (logits, target) -> cross_entropy(ignore=0) }}"""

FORECASTER = """network Net {{ input values: [B, {seen}]  target future: [B, {wanted}]
  flat = values -> flatten
  out = flat -> linear({outputs}) {tail}
  output out  loss fit = (out, future) -> mse }}"""


def language(rows: int = 40, length: int | str = "T") -> str:
    return LANGUAGE.format(rows=rows, length=length)


def tagger(rows: int = 40, classes: int = 3, length: int | str = "T", loss: str = "(ignore=-1)", **rest: str) -> str:
    more, tail = rest.get("more", ""), rest.get("tail", "")
    return TAGGER.format(rows=rows, classes=classes, length=length, loss=loss, more=more, tail=tail)


def translator(rows: int = 40, more: str = "") -> str:
    return TRANSLATOR.format(rows=rows, more=more)


def forecaster(window: int, horizon: int, columns: int = 1, answers: int = 1) -> str:
    """With axes for columns, unless there is one: then [B, T] and [B, horizon]."""
    if columns == answers == 1:
        return FORECASTER.format(seen=window, wanted=horizon, outputs=horizon, tail="")
    tail = f'-> rearrange("b (h c) -> b h c", h={horizon}, c={answers})'
    seen, wanted = f"{window}, {columns}", f"{horizon}, {answers}"
    return FORECASTER.format(seen=seen, wanted=wanted, outputs=horizon * answers, tail=tail)


def batches(
    data: Data, parts: Split, batch: int, part: str = "train", epoch: int = 0, **how
) -> list[tuple[Tensor, ...]]:
    """All batches of an epoch, on the CPU."""
    return list(Feed(data, parts.part(part), batch, torch.device("cpu"), **how).epoch(epoch))


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def sentences(count: int = 60) -> Iterator[list[tuple[str, str]]]:
    """Sentences of 1 to 9 tokens with tags A, B and C."""
    for i in range(count):
        yield [(f"w{(i * 7 + j * j) % 23}", "ABC"[(i + j) % 3]) for j in range(1 + (i * 5) % 9)]


def conll(count: int = 60) -> str:
    return "\n\n".join("\n".join(f"{token} x {tag}" for token, tag in s) for s in sentences(count)) + "\n"


def dates(count: int = 40) -> str:
    """Pairs such as `3 May 1990` and `1990-05-03`."""
    months = ("January", "May", "December")
    lines = []
    for i in range(count):
        day, month, year = 1 + i % 28, i % 3, 1950 + i
        lines.append(f"{day} {months[month]} {year}\t{year}-{(1, 5, 12)[month]:02}-{day:02}")
    return "\n".join(lines) + "\n"
