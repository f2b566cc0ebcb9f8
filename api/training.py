"""What the commands and the Python functions share about training: which plan, which weights, where a run goes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archlang.compiler.diagnostics import Label, error

if TYPE_CHECKING:
    from archlang.compiler.graph import Program
    from archlang.compiler.training_plan import TrainPlan
    from archlang.runtime.data import Preprocessing
    from torch import nn

BEST = "best.safetensors"


def plan_for(program: Program, on: str | None = None) -> TrainPlan:
    """The plan of the network's `train` block; `on` names the data of the one meant, where there are several.

    Raises A1216 when there is none, A1217 when it is not clear which, and what the block itself gets wrong."""
    from archlang.compiler.training import plan

    if not program.trains:
        help = f"write `train {program.name} on digits {{ … }}` into the file; `archc new` shows a whole one"
        raise error("A1216", f"nothing says how to train `{program.name}`", program.span, help=help)
    plans = [plan(block, program) for block in program.trains]
    chosen = [p for p in plans if on in (None, p.data.kind)]
    if len(chosen) == 1:
        return chosen[0]
    listing = ", ".join(f"`{p.data.kind}`" for p in plans)
    if not chosen:
        raise error("A1217", f"no `train` block of `{program.name}` is on `{on}`", help=f"they are on {listing}")
    kinds = Counter(p.data.kind for p in plans)
    alone = next((kind for kind in kinds if kinds[kind] == 1), None) if on is None else None
    if alone is not None:
        help = f"they are on {listing}: say which, as in `--on {alone}`"
        raise error("A1217", f"there are {len(chosen)} `train` blocks for `{program.name}`", help=help)
    kind = chosen[0].data.kind
    first, second = [p.place("data") for p in plans if p.data.kind == kind][:2]
    raise error(
        "A1217",
        f"`{program.name}` has {kinds[kind]} `train` blocks on `{kind}`, which `--on {kind}` does not tell apart",
        second,
        labels=[Label(first, "so is this one")] if first is not None else (),
        help="keep one: `--data` trains it on another file or folder; other settings can stand in a copy of the file",
    )


def run_folder(name: str) -> Path:
    """Where a run goes when nobody says: `runs/NAME`, or the first of `runs/NAME-2`, `-3` … that is free."""
    first = Path("runs") / name.lower()
    number, folder = 2, first
    while folder.exists():
        folder = first.with_name(f"{first.name}-{number}")
        number += 1
    return folder


def restore(
    program: Program, weights: str | os.PathLike[str], *, weights_except: Sequence[str] = (), progress: bool = True
) -> tuple[nn.Module, Preprocessing | None]:
    """A module with published or saved weights (of a run's folder: its best ones), and what training did to its inputs.

    weights: a file, a run's folder, a name that the spec publishes, `hub:organisation/name/file` or a link.
    weights_except: modules that keep their fresh weights. Raises A1086, A1101 to A1104, A1108 and A1109."""
    from archlang.runtime.data import Preprocessing
    from archlang.runtime.module import build
    from archlang.runtime.sources import find_weights, put_weights

    found = find_weights(program, weights if isinstance(weights, str) else Path(weights), progress=progress)
    module = build(program, started=bool(weights_except))  # else all of it is overwritten
    metadata = put_weights(program, module, found, excepted=weights_except)
    text = metadata.get("preprocessing")
    try:
        return module, Preprocessing.model_validate_json(text) if text else None
    except ValueError as failure:
        raise error("A1102", f'"{found.path}" is damaged: what it says of its data makes no sense') from failure
