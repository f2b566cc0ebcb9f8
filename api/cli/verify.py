"""`archc verify`: what was proved of a network, tested with numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .common import (
    counted,
    json_option,
    load_program,
    ops_option,
    parameter_option,
    print_json,
    target_argument,
    wide_console,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from archlang.compiler.graph import Program
    from archlang.runtime.audit import Result
    from torch import nn

EPILOG = """\b
Examples:
  archc verify lenet5                            random weights
  archc verify resnet:ResNet18 -w runs/resnet18  those of a run
  archc verify net.arch --seed 3 --json          for programs
"""


@click.command("verify", epilog=EPILOG)
@target_argument
@parameter_option
@click.option(
    "-w",
    "--weights",
    type=click.Path(),
    metavar="SOURCE",
    help="A checkpoint, a run's folder, a published name, hub:… or a link; random weights when left out.",
)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0, 2**31),
    multiple=True,
    help="Seeds of weights and inputs; may be repeated.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="No further test is begun after so long.",
)
@ops_option()
@json_option
def command(
    *,
    target: str,
    parameters: tuple[str, ...],
    weights: str | None,
    seeds: tuple[int, ...],
    budget: float,
    as_json: bool,
) -> None:
    """Test every claim of a network with numbers: moves, permutations, footprints, ranks.

    The compiler proved the claims from the graph; here the compiled module runs, in float64 and evaluation mode. Exits
    with 1 when the numbers contradict a proof, which is a bug in archlang, or an assumption. Each test takes the
    smallest inputs that it can; what no test within the budget could measure is called untested."""
    _, program = load_program(target, parameters)

    from archlang.runtime.audit import SEEDS, TOLERANCE
    from archlang.training import restore

    trained = None if weights is None else restore(program, weights)[0]
    results = _measured(program, trained, seeds or SEEDS, budget)
    if as_json:
        print_json({"network": program.name, "tolerance": TOLERANCE, "claims": [r.as_json() for r in results]})
    else:
        _print(program.name, results, TOLERANCE)
    _finish(results)


def _measured(program: Program, trained: nn.Module | None, seeds: Sequence[int], budget: float) -> list[Result]:
    """All results. A terminal shows meanwhile which claim is being tested."""
    from archlang.runtime.audit import audit, audited
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    results: list[Result] = []
    found, waiting = audit(program, trained, seeds, budget), audited(program)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(waiting))
        for graph, finding in waiting:
            bar.update(task, description=f"{graph.name}: {finding}")
            results.append(next(found))
            bar.advance(task)
    return results


def _print(name: str, results: list[Result], tolerance: float) -> None:
    from archlang.runtime.audit import Outcome
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not results:
        click.echo(f"{name} claims nothing")
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("claim", "proof", "numbers", "worst error", "measured"):
        table.add_column(title, overflow="fold")
    colours = {Outcome.AGREES: "green", Outcome.CONTRADICTED: "bold red", Outcome.UNTESTED: "yellow"}
    for r in results:
        claim = f"{r.finding.graph}: {r.finding}"
        table.add_row(
            Text(claim), str(r.finding.verdict), Text(str(r.outcome), colours[r.outcome]), _error(r), Text(_note(r))
        )
    wide_console().print(table)
    counts = {outcome: sum(r.outcome is outcome for r in results) for outcome in Outcome}
    parts = [counted(counts[Outcome.AGREES], "claim") + " confirmed"]
    parts += [f"{counts[o]:,} {o}" for o in (Outcome.CONTRADICTED, Outcome.UNTESTED) if counts[o]]
    seeds = ", ".join(map(str, results[0].seeds))
    click.echo(f"{', '.join(parts)}; float64, tolerance {tolerance:g}, seeds {seeds}")


def _error(result: Result) -> str:
    if result.error is None:
        return ""
    return f"{result.error:.1e} at {list(result.place or ())}" if result.error else "0"


def _note(result: Result) -> str:
    if result.tight:
        return result.note or "footprints as wide as proved"
    return result.note


def _finish(results: list[Result]) -> None:
    """Exit code 1 when the numbers contradict something."""
    from archlang.cli import terminal

    found: list[Any] = [d for r in results if (d := r.diagnostic()) is not None]
    if found:
        terminal.show(found)
        raise click.exceptions.Exit(1)
