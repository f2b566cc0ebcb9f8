"""Games, the loop that plays them, and the same loops as a person writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from archlang.compiler.frontend import compile_program
from archlang.compiler.graph import Program
from archlang.compiler.source import Source
from archlang.compiler.training import TrainPlan, plan
from archlang.runtime.devices import make_fabric
from archlang.runtime.ema import Ema
from archlang.runtime.games import GameSteps, Pools
from archlang.runtime.module import build
from archlang.runtime.phases import Phase, make_learner
from torch import Tensor, nn

GAME = """
adversarial Game {{
  input real: [B, 6]
  sample z ~ normal(0, 1): [B, 3]
  generator G = Gen
  discriminator D = {discriminator}
  fake = z -> G
  pair G vs D on (real, fake) by {objective}
}}
block Gen {{ input z: [B, L]  output z -> linear(16) -> tanh -> linear(6) }}
block Dis {{ input x: [B, L]  output x -> linear(16) -> tanh -> linear(1) }}
"""
ROWS = 8


def game(objective: str, discriminator: str = "Dis") -> str:
    """A small game over rows of six numbers."""
    return GAME.format(objective=objective, discriminator=discriminator)


def compiled(
    text: str, body: str, folder: Path, data: str = 'npz("rows.npz")', name: str = "Game"
) -> tuple[Program, TrainPlan]:
    """A program of a file, and the plan of a `train` block on some data."""
    whole = f"{text}\ntrain {name} on {data} {{ {body} }}\n"
    path = folder / "game.arch"
    path.write_text(whole, encoding="utf-8")
    program = compile_program(Source(whole, str(path)), name, base=folder)
    return program, plan(program.trains[0], program)


class Table:
    """A game in double precision, its loop, and what came of each step."""

    def __init__(self, text: str, body: str, folder: Path, name: str = "Game", seed: int = 0, **learner: Any) -> None:
        self.program, self.plan = compiled(text, body, folder, name=name)
        torch.manual_seed(seed)
        self.module = build(self.program).double()
        assert self.program.game is not None
        options = {"compile": False, "objective": None, "game": self.program.game} | learner
        fabric = make_fabric("cpu", self.plan.precision)
        self.learner = make_learner(self.module, fabric, self.plan, **options)
        self.phase = Phase(self.plan, self.learner, lambda *a, **k: SimpleNamespace(steps=10), lambda *a: None)
        self.steps = GameSteps(self.phase, self.program.game, Pools(self.program.game, self.program.graph))
        self.ema = Ema(self.module, self.plan.ema, self.program) if self.plan.ema is not None else None
        self.phase.train()

    def play(self, batches: Iterable[tuple[Tensor, ...]], each: Callable[[], None] = lambda: None) -> list[dict]:
        """What each batch gave. The run's draws begin with seed 1. each: called after each batch."""
        torch.manual_seed(1)
        found, update, group = [], 0, self.plan.accumulate
        for number, batch in enumerate(batches, 1):
            closes = number % group == 0
            row = self.steps.learn(batch, group, closes, update)
            found.append({name: float(value) for name, value in row.items()})
            update += closes
            if self.ema is not None and "loss" in row:
                self.ema.update()
            each()
        return found


def rows(count: int = 50, size: int = ROWS, features: int = 6, tensors: int = 1) -> list[tuple[Tensor, ...]]:
    """Batches of points on a bent line, in double precision."""
    draws = torch.Generator().manual_seed(7)
    found = []
    for _ in range(count):
        batch = []
        for _ in range(tensors):
            t = torch.rand((size, 1), generator=draws, dtype=torch.float64) * 3
            batch.append(torch.cat([torch.sin(t * (i + 1)) for i in range(features)], 1))
        found.append(tuple(batch))
    return found


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with tanh between them."""
    layers: list[nn.Module] = []
    for inside, outside in pairwise(sizes):
        layers += [nn.Linear(inside, outside), nn.Tanh()]
    return nn.Sequential(*layers[:-1]).double()


def copied(player: nn.Module, *sizes: int) -> nn.Sequential:
    """A player again, as plain PyTorch."""
    found = mlp(*sizes)
    with torch.no_grad():
        for theirs, ours in zip(found.parameters(), player.parameters(), strict=True):
            theirs.copy_(ours)
    return found


def same(ours: Iterable[float], theirs: Iterable[float], tolerance: float = 1e-9) -> None:
    """Equal step for step, up to rounding in double precision."""
    torch.testing.assert_close(
        torch.tensor(list(ours), dtype=torch.float64),
        torch.tensor(list(theirs), dtype=torch.float64),
        rtol=tolerance,
        atol=tolerance,
    )


def same_players(ours: nn.Module, theirs: nn.Module, tolerance: float = 1e-8) -> None:
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


__all__ = [
    "GAME",
    "ROWS",
    "Program",
    "Table",
    "TrainPlan",
    "compiled",
    "copied",
    "game",
    "mlp",
    "rows",
    "same",
    "same_players",
]
