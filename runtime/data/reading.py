"""From a source of sequences, as a `train` block names it, to data in the form that the network calls for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from archlang.compiler.carrying import slots
from archlang.compiler.data_sources import AddingProblem, Co2, Pairs, Sequences, Series, Sunspots, Tagged, Text
from archlang.compiler.diagnostics import error
from archlang.compiler.graph import Program
from archlang.compiler.task import find_task
from archlang.compiler.training_plan import TrainPlan

from . import ragged, series
from .base import Data, Split, split
from .paths import locate
from .procedural import adding_problem
from .roles import fixed, roles, size, usual
from .texts import load_text

_LENGTH = 128  # tokens of a window where neither the source nor the network says
_WINDOW = 24


def read_sequences(program: Program, plan: TrainPlan, source: Sequences, override: Path | None) -> Data:
    """Reads a source of sequences. `override` replaces the file that it names. Raises ArchError."""
    _scaling(plan, source)
    data = _read(program, plan, source, override)
    data.carry = slots(program, plan.carry)
    return data


def _read(program: Program, plan: TrainPlan, source: Sequences, override: Path | None) -> Data:
    span, shares = plan.place("data"), (plan.validation, plan.test)
    if isinstance(source, Text):
        return _text(program, plan, source, override)
    if isinstance(source, (Tagged, Pairs)):
        path = locate(program, source.file, override, span)
        found = roles(program, source.kind, plan.carry).inputs
        names = ("tokens",) if isinstance(source, Tagged) else ("source", "previous")
        form = ragged.Form(tuple(fixed(program, found.get(n), 1) for n in names), find_task(program).ignore)
        cut = partial(_cut, plan)
        if isinstance(source, Tagged):
            return ragged.load_tagged(source, path, form, cut, span)
        return ragged.load_pairs(source, path, form, cut, span)
    if isinstance(source, Series):
        path = locate(program, source.file, override, span)
        return series.load_series(source, path, _form(program, plan, source), shares, span)
    if override is not None:
        raise error("A1010", f"`{source.kind}` is built in: there is no path to replace", span)
    if isinstance(source, AddingProblem):
        length = source.length or usual(program, roles(program, source.kind, ()).inputs.get("values"), 1) or 100
        return adding_problem(max(10, length), source.examples, plan.split_seed)
    return series.load_series(source, None, _form(program, plan, source), shares, span)


def _cut(plan: TrainPlan, count: int) -> Split:
    return split(count, None, plan.validation, plan.test, plan.split_seed)


def _text(program: Program, plan: TrainPlan, source: Text, override: Path | None) -> Data:
    span = plan.place("data")
    names = source.files if override is None else source.files[:1]
    paths = [locate(program, name, override, span) for name in names]
    saved = locate(program, source.by, None, span) if source.by.endswith(".json") else None
    node = roles(program, source.kind, plan.carry).inputs.get("tokens")
    length = source.length or usual(program, node, 1) or _LENGTH
    return load_text(source, paths, length=length, shares=(plan.validation, plan.test), saved=saved, span=span)


def _form(program: Program, plan: TrainPlan, source: Series | Sunspots | Co2) -> series.Form:
    """As the source says, or else as the network has it. An input [B, T], and targets [B, N] or [B], are of one
    column."""
    node = roles(program, source.kind, plan.carry).inputs.get("values")
    wanted = next(iter(program.target_nodes()), None)
    columns = len(source.columns) if isinstance(source, Series) else 1
    answers = len(source.targets or source.columns) if isinstance(source, Series) else 1
    window = source.window or usual(program, node, 1) or _WINDOW
    horizon = source.horizon or usual(program, wanted, 1) or 1
    target_rank = 2
    if wanted is not None and answers == 1:
        rank = program.graph[wanted].types[0].rank
        target_rank = 0 if rank == 1 and horizon == 1 else 1 if rank == 2 else 2
    return series.Form(
        window=window,
        horizon=horizon,
        stride=window if plan.carry else source.stride,
        flat_input=columns == 1 and size(program, node, 2) is None,
        target_rank=target_rank,
        scaled=plan.normalize != "none",
    )


def _scaling(plan: TrainPlan, source: Sequences) -> None:
    """Raises A1007 where `normalize` asks for what these data don't have."""
    how = plan.normalize
    numbers = isinstance(source, (Series, Sunspots, Co2))
    if how in (None, "none") or (how == "standard" and numbers):
        return
    what = "are scaled by their mean and deviation" if numbers else "are taken as they are"
    message = f"`normalize {how}` is not for `{source.kind}`, whose values {what}"
    raise error("A1007", message, plan.place("normalize"), help="leave `normalize` out")
