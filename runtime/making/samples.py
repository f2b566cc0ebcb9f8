"""What a network makes while it learns: every so many updates a grid of pictures, always of the same noise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from archlang.compiler.given_noise import default_entry, pictures
from archlang.compiler.graph import Program
from torch import Tensor, nn

from ..files import write_atomically
from .entries import Maker
from .pictures import enlarged, grid, levels, pixels_of, png, scatter

if TYPE_CHECKING:
    from ..data import Preprocessing
    from ..progress import Board

_SIDE = 2048  # pixels: a grid is no wider, if it need not be
_POINTS = 1000
_SEED = 0  # of the noise: the same for every grid, so that one sees what learning changes


class Samples:
    """Writes the grids of a run. every: updates between two. board: where TensorBoard finds them.

    What it draws, it draws from a generator of its own, and makes with a module of its own that shares the weights: the
    run's random numbers, the mode of its module and its batch statistics stay as they are."""

    def __init__(self, every: int, folder: Path, averaged: Callable[[], AbstractContextManager[None]]) -> None:
        self.every, self.folder, self.averaged = every, folder, averaged
        self.board: Board | None = None
        self.updates = 0  # of the whole run
        self._written: int | None = None
        self._maker: Maker | None = None
        self._draws: dict[str, Tensor] = {}

    def follow(self, program: Program, module: nn.Module, preprocessing: Preprocessing) -> None:
        """From here on these are the network and its weights: a run's, or a phase's."""
        entry = default_entry(program)
        assert entry is not None, "the plan has been checked"
        self.program, self.preprocessing = program, preprocessing
        self._maker = Maker(program, entry, module)
        self._draws = self._maker.draws(self._count(self._maker), _SEED)

    def _count(self, made: Maker) -> int:
        if not pictures(made.type):
            return _POINTS
        return self._columns(made) ** 2

    def _columns(self, made: Maker) -> int:
        height, width = made.shape(1)[2:]
        return min(8, max(2, _SIDE // (max(height, width) * enlarged(height, width))))

    def updated(self) -> None:
        """An update is over. Raises A1104 where a grid can't be written."""
        self.updates += 1
        if self.updates % self.every == 0:
            self.write()

    def write(self) -> None:
        """A grid of what is made now, with the averages of the weights where they are kept; once an update."""
        if self._written == self.updates:
            return
        self._written = self.updates
        made = self._maker
        assert made is not None
        with self.averaged():
            x = torch.cat(list(made.run(self._draws, _SEED)))
        if pictures(made.type):
            picture = grid(levels(x, self.preprocessing), self._columns(made))
            data = png(picture)
        else:
            data = scatter(x, f"{self.program.name} after {self.updates:,} updates")
            picture = pixels_of(data)
        write_atomically(self.folder / f"{self.updates:06}.png", lambda path: path.write_bytes(data))
        if self.board is not None:
            self.board.picture("samples", picture, self.updates)

    def state(self) -> dict[str, Any]:
        """For a run that is taken up again."""
        return {"updates": self.updates, "written": self._written}

    def restore(self, state: dict[str, Any]) -> None:
        self.updates, self._written = state["updates"], state["written"]
