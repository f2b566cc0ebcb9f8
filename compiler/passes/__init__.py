"""Rewrites of programs. A pass is a pure function from a program to a program; a level lists which run, in order."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from ..graph import Program
from .fold_norms import fold_norms
from .in_place import in_place
from .layout import channels_last
from .quiet import outputs_only, quiet


class Pass(NamedTuple):
    """A rewrite by its name. exact: the same numbers, bit for bit; otherwise the same formula, up to rounding."""

    name: str
    run: Callable[[Program], Program]
    exact: bool


OUTPUTS_ONLY = Pass("outputs-only", outputs_only, exact=True)
QUIET = Pass("quiet", quiet, exact=True)
FOLD_NORMS = Pass("fold-norms", fold_norms, exact=False)
IN_PLACE = Pass("in-place", in_place, exact=True)
CHANNELS_LAST = Pass("channels-last", channels_last, exact=False)

LEVELS: tuple[tuple[Pass, ...], ...] = ((), (OUTPUTS_ONLY, QUIET, FOLD_NORMS, IN_PLACE, CHANNELS_LAST))
"""What each level does to a program that is only to be evaluated: `-O0` nothing, `-O1` all that pays everywhere."""

MEASURED = (QUIET, FOLD_NORMS, IN_PLACE, CHANNELS_LAST)
"""For networks whose losses are wanted too."""

PORTABLE = (OUTPUTS_ONLY, QUIET, FOLD_NORMS)
"""For formats in which the order of a tensor's elements in memory has no place."""

PASSES = {p.name: p for level in LEVELS for p in level}


def optimise(
    program: Program,
    passes: tuple[Pass, ...],
    watch: Callable[[Pass, Program], None] | None = None,
    *,
    checked: bool = "ARCHLANG_DEBUG" in os.environ,
) -> Program:
    """The program after passes, for evaluation only. `watch` sees each pass with what it made.

    A game stays as it is: its losses take gradients, and its pairs point into its graph. A checkpoint of the program
    loads into what this makes: see `Graph.folds`. checked: raises `BrokenPass` where a pass
    loses a place in the text, a key of a checkpoint or a proof, or leaves a graph out of order; takes a while."""
    for step in passes if program.game is None else ():
        before, program = program, step.run(program)
        if checked:
            from .check import check

            check(step.name, before, program)
        if watch is not None:
            watch(step, program)
    return program
