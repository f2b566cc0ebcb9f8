"""`archlang.verify` and `archlang.probe`: networks measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .program import Compiled, Path_, compile
from .training import plan_for, restore

if TYPE_CHECKING:
    from archlang.runtime.audit import Result
    from archlang.runtime.probe import Probe


def verify(
    target: Path_ | Compiled,
    *,
    weights: Path_ | None = None,
    seeds: Sequence[int] = (0, 1),
    budget: float | None = None,
    **settings: Any,
) -> list[Result]:
    """Tests every claim of a network with numbers, in float64 and evaluation mode: a result for each, whose `outcome`
    is `agrees`, `contradicted` or `untested`.

    weights: as in `load`; random ones when left out. seeds: of random weights and inputs. budget: seconds
    after which no further test is begun; what is left is `untested`. The rest is as in `compile`. Raises ArchError."""
    from archlang.runtime.audit import audit

    program = (target if isinstance(target, Compiled) else compile(target, **settings)).program
    trained = None if weights is None else restore(program, weights)[0]
    return list(audit(program, trained, seeds, budget))


def probe(
    *targets: Path_ | Compiled,
    output: Path_ | None = None,
    weights: Path_ | None = None,
    seed: int = 0,
    batches: int = 2,
    on: str | None = None,
    data: Path_ | None = None,
    **settings: Any,
) -> list[Probe]:
    """Measures the gradient that arrives at each layer with weights and, for sequences, at each position: one probe a
    target, drawn into one plot where `output` is given.

    weights: as in `load`, of a single target; fresh ones when left out. batches: of four examples each, random numbers
    unless `on` names the data of the `train` block whose examples they are, or `data` a file or folder in place of what
    that block names. The rest is as in `compile`. Raises ArchError."""
    from archlang.runtime.probe import draw_probes
    from archlang.runtime.probe import probe as run

    programs = [(t if isinstance(t, Compiled) else compile(t, **settings)).program for t in targets]
    if weights is not None and len(programs) != 1:
        raise ValueError("weights are those of one network")
    trained = None if weights is None else restore(programs[0], weights)[0]
    plans = [plan_for(program, on) if on is not None or data is not None else None for program in programs]
    path = None if data is None else Path(data)
    found = [
        run(program, trained, seed=seed, batches=batches, plan=plan, data=path)
        for program, plan in zip(programs, plans, strict=True)
    ]
    if output is not None:
        draw_probes(found, Path(output))
    return found
