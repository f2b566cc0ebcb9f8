"""How often the sides of a game will step in a run, told before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence

from archlang.compiler.diagnostics import Diagnostic
from archlang.compiler.game_training import check_turns
from archlang.compiler.graph import Program
from archlang.compiler.training_plan import TrainPlan

from ..data import Data, Split
from ..data.feed import batch_sizes


def turns(programs: Sequence[Program], plan: TrainPlan, data: Data, parts: Split, world: int) -> list[Diagnostic]:
    """Warnings (A1085) for phases in which the generators never step. programs: one a phase. world: processes."""
    count = max(map(len, data.sides(parts.train)))
    found: list[Diagnostic] = []
    for program, stage in zip(programs, plan.stages, strict=True):
        if program.game is not None:
            groups = math.ceil(len(batch_sizes(count, stage.batch, world)) / stage.accumulate)
            found += check_turns(program.game, stage, stage.epochs * groups)
    return found
