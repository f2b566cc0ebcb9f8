"""Rewrites of programs. A pass is a pure function from a program to a program; a level lists which run, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..graph import Program
from .fold_norms import fold_norms
from .in_place import in_place
from .layout import channels_last
from .quiet import quiet


class Pass(NamedTuple):
    """A rewrite by its name. exact: the same numbers, bit for bit; otherwise the same formula, up to rounding."""

    name: str
    run: Callable[[Program], Program]
    exact: bool


QUIET = Pass("quiet", quiet, exact=True)
FOLD_NORMS = Pass("fold-norms", fold_norms, exact=False)
IN_PLACE = Pass("in-place", in_place, exact=True)
CHANNELS_LAST = Pass("channels-last", channels_last, exact=False)

LEVELS: tuple[tuple[Pass, ...], ...] = ((), (QUIET, FOLD_NORMS, IN_PLACE, CHANNELS_LAST))
"""What each level does to a program that is only to be evaluated: `-O0` nothing, `-O1` all that pays everywhere."""

PORTABLE = (QUIET, FOLD_NORMS)
"""For formats in which the order of a tensor's elements in memory has no place."""

PASSES = {p.name: p for level in LEVELS for p in level}


def optimise(
    program: Program, passes: tuple[Pass, ...], watch: Callable[[Pass, Program], None] | None = None
) -> Program:
    """The program after passes, for evaluation only. `watch` sees each pass with what it made.

    A checkpoint of the program loads into what this makes: see `Graph.folds`."""
    for step in passes:
        program = step.run(program)
        if watch is not None:
            watch(step, program)
    return program
