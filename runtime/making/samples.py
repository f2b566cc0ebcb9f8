"""What a network makes while it learns: every so many updates a grid of pictures, always of the same noise, or of the
same pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from archlang.compiler.given_noise import default_entry, pictures, translations
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
    """Writes the grids of a run. every: updates between two. now: how far inputs without axes have risen. board: where
    TensorBoard finds them.

    What it draws, it draws from a generator of its own, and makes with a module of its own that shares the weights: the
    run's random numbers, the mode of its module and its batch statistics stay as they are."""

    def __init__(
        self,
        every: int,
        folder: Path,
        averaged: Callable[[], AbstractContextManager[None]],
        now: Callable[[], Mapping[str, float]],
    ) -> None:
        self.every, self.folder, self.averaged, self.now = every, folder, averaged, now
        self.board: Board | None = None
        self.updates = 0  # of the whole run
        self._written: int | None = None
        self.makers: list[Maker] = []
        self.values: list[dict[str, Tensor]] = []  # what each of them is run on
        self.columns = 0  # of a grid; points are plotted

    def follow(
        self, program: Program, module: nn.Module, prep: Preprocessing, batch: Callable[[], Sequence[Tensor]]
    ) -> None:
        """From here on these are the network and its weights: a run's, or a phase's. batch: some examples, for what
        reads pictures."""
        self.program, self.preprocessing = program, prep
        entry = default_entry(program)
        if entry is not None:
            made = Maker(program, entry, module)
            self.makers = [made]
            self.columns = _columns(made) if pictures(made.type) else 0
            self.values = [made.draws(self.columns**2 or _POINTS, _SEED)]
            return
        self.makers = [Maker(program, one, module) for one in translations(program)]
        self.columns = _columns(self.makers[0])
        names = [program.graph[n].name for n in program.input_nodes()]
        found = {name: x[: self.columns].cpu() for name, x in zip(names, batch(), strict=False) if x.ndim}
        self.columns = min(self.columns, *(len(x) for x in found.values()))
        self.values = [
            {**made.draws(self.columns, _SEED), **{name: found[name] for name in made.reads}} for made in self.makers
        ]

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
        risen = {name: torch.tensor(value) for name, value in self.now().items()}
        with self.averaged():
            found = [torch.cat(list(m.run(v | risen, _SEED))) for m, v in zip(self.makers, self.values, strict=True)]
        if self.columns:
            picture = grid(levels(torch.cat(self._shown(found)), self.preprocessing), self.columns)
            data = png(picture)
        else:
            data = scatter(found[0], f"{self.program.name} after {self.updates:,} updates")
            picture = pixels_of(data)
        write_atomically(self.folder / f"{self.updates:06}.png", lambda path: path.write_bytes(data))
        if self.board is not None:
            self.board.picture("samples", picture, self.updates)

    def _shown(self, found: list[Tensor]) -> list[Tensor]:
        """What stands in the grid: what was made, and above it what it was made of, where that is pictures."""
        shown = []
        for made, values, x in zip(self.makers, self.values, found, strict=True):
            shown += [*(values[name] for name in made.reads), x]
        return shown

    def state(self) -> dict[str, Any]:
        """For a run that is taken up again."""
        return {"updates": self.updates, "written": self._written}

    def restore(self, state: dict[str, Any]) -> None:
        self.updates, self._written = state["updates"], state["written"]


def _columns(made: Maker) -> int:
    """How many pictures stand side by side."""
    height, width = made.shape(1)[2:]
    return min(8, max(2, _SIDE // (max(height, width) * enlarged(height, width))))
