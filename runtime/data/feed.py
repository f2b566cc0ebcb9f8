"""Batches: index slices of tensors on the device, pieces of sequences, or pictures read by other processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from archlang.compiler.source import Span
from torch import Tensor

from .base import Data
from .images import Unreadable, center, unreadable
from .order import as_streams, by_length, unpaired

_SHARE = 0.25  # of the device's free memory that a data set may take


def batch_sizes(count: int, batch: int, world: int = 0) -> list[int]:
    """How many of `count` examples each batch of an epoch has. world: so many processes get the same number of every
    batch, and a last batch of one is left out where others are larger; 0: all of them count."""
    sizes = [min(batch, count - i) for i in range(0, count, batch)]
    if not world:
        return sizes
    sizes = [s - s % world for s in sizes]
    least = world if len(sizes) == 1 or batch < 2 * world else 2 * world
    return [s for s in sizes if s >= least]


class Feed:
    """The batches of one part of a data set, for one of `world` processes.

    Every batch is a tuple of tensors on the device: inputs [b, …], then targets [b, …]. The order of an epoch follows
    from (seed, epoch) alone, so a run can be taken up anywhere. Of two domains, the larger one decides how many batches
    there are.
    """

    def __init__(
        self,
        data: Data,
        rows: np.ndarray,
        batch: int,
        device: torch.device,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        even: bool = False,
        balanced: bool = False,
        whole: bool = False,
        workers: int = 0,
        span: Span | None = None,
    ) -> None:
        """`even`: every process gets the same number of examples of every batch, and a last batch of one is left out
        where others are larger, so that gradients can be averaged and batch statistics exist. `balanced`: every class
        is drawn equally often, with repetition. `whole`: pictures come as large as they were read, for what varies them
        to cut from."""
        self.data, self.batch, self.device, self.span = data, batch, device, span
        self.shuffle, self.seed, self.rank, self.world, self.even = shuffle, seed, rank, world, even
        self.sides = [torch.from_numpy(np.asarray(side, dtype=np.int64)) for side in data.sides(rows)]
        self.whole = whole
        self.chances = _chances(data, rows) if balanced else None
        self.sizes = batch_sizes(max(map(len, self.sides)), batch, world if even else 0)
        self.loader = self._loader(workers) if data.pictures is not None else None
        self.tensors = data.tensors[: data.arity]
        if data.tensors and _room(sum(t.nbytes for t in data.tensors), device):
            data.tensors = tuple(t.to(device) for t in data.tensors)  # the other parts share them
            self.tensors = data.tensors[: data.arity]
        self.where = self.tensors[0].device if self.tensors else torch.device("cpu")
        if data.sequences is not None:
            if _room(data.sequences.bytes, device):
                data.sequences.to(device)
            self.where = data.sequences.device

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(self.sizes)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """The batches of an epoch, from batch `start` on."""
        batches = self._plan(number)[start:]
        if self.loader is not None:
            yield from self._pictures(batches)
            return
        if self.data.sequences is not None:
            yield from self._sequences(batches)
            return
        tensors, where, device = self.tensors, self.where, self.device
        apart = len(self.sides) > 1
        if batches and where.type != "cpu":  # all rows at once
            batches = list(torch.cat(batches).to(where).split([len(b) for b in batches]))
        for rows in batches:
            found = (
                [t[r] for t, r in zip(tensors, rows.unbind(1), strict=True)] if apart else [t[rows] for t in tensors]
            )
            yield tuple(found if where == device else [t.to(device, non_blocking=True) for t in found])

    def _sequences(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        source, order, device = self.data.sequences, self.data.order, self.device
        assert source is not None
        for rows in batches:
            found = source.batch(rows.to(self.where), order)
            yield found if self.where == device else tuple(t.to(device, non_blocking=True) for t in found)

    def _plan(self, number: int) -> list[Tensor]:
        rows = self._order(number)
        pieces = zip(rows.split(self.batch), self.sizes, strict=False)
        whole = [piece if len(piece) == size else piece[:size] for piece, size in pieces]
        return [b[self.rank :: self.world] for b in whole] if self.world > 1 else whole

    def _order(self, number: int) -> Tensor:
        """The rows of an epoch, [N]; of two domains [N, 2], one of each."""
        rows = self.sides[0]
        if self.data.carry:
            return as_streams(rows, self.batch)
        mixed = np.random.SeedSequence((self.seed, number)).generate_state(1)
        generator = torch.Generator().manual_seed(int(mixed[0]))
        if len(self.sides) > 1:
            return unpaired(self.sides, generator if self.shuffle else None)
        if self.chances is not None:
            return rows[torch.multinomial(self.chances, len(rows), replacement=True, generator=generator)]
        if not self.shuffle:
            return rows
        rows = rows[torch.randperm(len(rows), generator=generator)]
        if self.data.sequences is not None and self.data.sequences.lengths is not None:
            rows = by_length(rows, self.data.sequences.lengths, self.batch, generator)
        return rows

    def _loader(self, workers: int) -> torch.utils.data.DataLoader:
        self._queue: list[list[int]] = []
        return torch.utils.data.DataLoader(
            self.data.pictures,  # type: ignore[arg-type]
            batch_sampler=_Queue(self),
            collate_fn=_as_it_is,
            num_workers=workers,
            generator=torch.Generator(),  # so that reading draws nothing from the training's noise
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
            worker_init_fn=_quiet,
        )

    def _pictures(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        self._queue = [b.tolist() for b in batches]
        prep = self.data.preprocessing
        size = None if self.whole else prep.size
        assert self.loader is not None
        for item in self.loader:
            if isinstance(item, Unreadable):
                unreadable([item], self.span)
            found = [t.to(self.device, non_blocking=True) for t in item]
            for i in range(len(self.sides)):
                found[i] = prep.apply(found[i] if size is None else center(found[i], size))
            yield tuple(found[: self.data.arity])


class _Queue(torch.utils.data.Sampler):
    """Hands the DataLoader the batches that the feed has planned."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.feed._queue)

    def __len__(self) -> int:
        return len(self.feed._queue)


def _as_it_is(batch: object) -> object:  # Pictures.__getitems__ makes whole batches
    return batch


def _quiet(_: int) -> None:
    """Ctrl-C reaches every process of the terminal; only the main one answers it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _chances(data: Data, rows: np.ndarray) -> Tensor:
    """How likely each row is drawn, so that every class is as likely as any other."""
    assert data.labels is not None, "asked for when the data were matched"
    labels = torch.from_numpy(np.asarray(data.labels)[rows]).long()
    return (1.0 / torch.bincount(labels).clamp(min=1).double())[labels]


def _room(size: int, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return size < free * _SHARE
