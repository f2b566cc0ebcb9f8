"""`archc probe`: how much of a gradient reaches each layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from archlang.compiler.diagnostics import error
from archlang.targets import Target

from .common import (
    complete_target,
    json_option,
    load_program,
    ops_option,
    parameter_option,
    print_json,
    refuse_spec,
    wide_console,
)

if TYPE_CHECKING:
    from archlang.runtime.probe import Probe

EPILOG = """\b
Examples:
  archc probe resnet_cifar:ResNet56                    at initialisation
  archc probe plain.arch residual.arch -o depths.svg   two networks in one plot
  archc probe lenet5 -w runs/lenet5 --on digits        after training, with examples
"""
_FORMS = (".png", ".svg", ".pdf")


@click.command("probe", epilog=EPILOG)
@click.argument("targets", nargs=-1, required=True, shell_complete=complete_target)
@parameter_option
@click.option(
    "-w",
    "--weights",
    type=click.Path(),
    metavar="SOURCE",
    help="A checkpoint, a run's folder, a published name, hub:… or a link; fresh weights when left out.",
)
@click.option("-o", "--output", metavar="FILE", help="Write a plot: .png, .svg or .pdf.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Of weights and inputs.")
@click.option("--batches", type=click.IntRange(1, 1000), default=2, show_default=True, help="Of four examples each.")
@click.option("--on", metavar="DATA", help="Examples of the `train` block on this data, in place of random numbers.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Examples of the `train` block, from a file or folder in place of the one named in the spec.",
)
@ops_option()
@json_option
def command(
    *,
    targets: tuple[str, ...],
    parameters: tuple[str, ...],
    weights: str | None,
    output: str | None,
    seed: int,
    batches: int,
    on: str | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Measure the gradient that arrives at each layer with weights and, for sequences, at each position.

    Where it falls with depth it vanishes, where it grows it explodes. Random batches, or examples of what a `train`
    block names (`--on`, `--data`), in training mode. Several targets share one plot."""
    loaded = [load_program(target, parameters) for target in targets]
    if output is not None:
        _check_output(output, [target for target, _ in loaded])
    if weights is not None and len(loaded) > 1:
        raise click.UsageError("`-w` gives the weights of one network: name one target.")

    from archlang.runtime.probe import draw_probes, probe
    from archlang.training import plan_for, restore

    found = []
    for _, program in loaded:
        trained = None if weights is None else restore(program, weights)[0]
        plan = plan_for(program, on) if on is not None or data is not None else None
        found.append(probe(program, trained, seed=seed, batches=batches, plan=plan, data=data))
    if output is not None:
        draw_probes(found, Path(output))
    if as_json:
        print_json({"seed": seed, "batches": batches, "networks": [p.as_json() for p in found]})
    else:
        for each in found:
            _print(each)
    if output is not None:
        click.echo(f"wrote {output}", err=True)


def _check_output(output: str, targets: list[Target]) -> None:
    if Path(output).suffix.lower() not in _FORMS:
        known = ", ".join(f"`{form}`" for form in _FORMS)
        raise error("A1231", f"`{output}` does not say which format to write", help=f"endings: {known}")
    for target in targets:
        refuse_spec(output, target)


def _print(found: Probe) -> None:
    from rich.text import Text

    console = wide_console()
    console.print(Text(found.network, "bold"))
    _bars("layer", [(path, norm) for path, norm in found.layers])
    for s in found.sequences:
        _bars(f"{s.axis} of {s.input}", [(str(at), norm) for at, norm in enumerate(s.gradients)])
    click.echo(f"first layer / last layer: {found.ratio:.2g}\n")


def _bars(title: str, rows: list[tuple[str, float]]) -> None:
    from archlang.runtime.probe import bar
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(title, overflow="fold")
    table.add_column("gradient", justify="right")
    table.add_column("on a log scale")
    norms = [norm for _, norm in rows if 0 < norm < float("inf")]
    for name, norm in rows:
        drawn = bar(norm, min(norms), max(norms)) if norms else ""
        table.add_row(Text(name), f"{norm:.3g}", Text(drawn, "blue"))
    wide_console().print(table)
