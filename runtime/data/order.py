"""The order in which an epoch takes rows: as streams that go on, or with like lengths together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_POOL = 64  # batches among which rows are sorted by length: many enough for like lengths, few enough for chance


def as_streams(rows: Tensor, batch: int) -> Tensor:
    """Rows that follow one another, cut into `batch` streams that run side by side: the k-th row of a batch is followed
    by the k-th row of the next one. Streams that are one longer come first, so that no row is left out."""
    count = min(batch, len(rows))
    if count == 0:
        return rows
    steps, longer = divmod(len(rows), count)
    stream = torch.arange(count)
    begins = stream * steps + stream.clamp(max=longer)
    whole = (begins + torch.arange(steps)[:, None]).flatten()
    return rows[torch.cat([whole, begins[:longer] + steps])]


def by_length(rows: Tensor, lengths: np.ndarray, batch: int, generator: torch.Generator) -> Tensor:
    """Shuffled rows, rearranged so that batches hold like lengths and come in a random order; the last batch, if it
    falls short, stays the last one."""
    sizes = torch.from_numpy(np.asarray(lengths, dtype=np.int64))[rows]
    pool = batch * _POOL
    sorted_rows = torch.cat(
        [rows[i : i + pool][torch.argsort(sizes[i : i + pool], stable=True)] for i in range(0, len(rows), pool)]
    )
    whole = len(rows) // batch
    order = torch.randperm(whole, generator=generator)
    mixed = sorted_rows[: whole * batch].view(whole, batch)[order].flatten()
    return torch.cat([mixed, sorted_rows[whole * batch :]])


def unpaired(sides: Sequence[Tensor], generator: torch.Generator | None) -> Tensor:
    """Rows of several domains side by side, [rows of the largest, domains], each in an order of its own. A smaller one
    is gone through again, in another order, as often as it is used up. generator: None keeps rows as they are."""
    count = max(map(len, sides))
    columns = []
    for rows in sides:
        rounds = -(-count // len(rows))
        whole = [
            torch.arange(len(rows)) if generator is None else torch.randperm(len(rows), generator=generator)
            for _ in range(rounds)
        ]
        columns.append(rows[torch.cat(whole)[:count]])
    return torch.stack(columns, dim=1)
