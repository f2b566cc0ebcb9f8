"""`archc encode`: the codes of new data."""

from __future__ import annotations

from pathlib import Path

import click

from .common import counted, load_program, ops_option, parameter_option, refuse_spec, target_argument, weights_option

EPILOG = """\b
Examples:
  archc encode conv_vae digits/ -w runs/vae -o codes.npz      mean and log_variance
  archc encode net.arch a.png b.png -w runs/net -o codes.csv --value features
"""


@click.command("encode", epilog=EPILOG)
@target_argument
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="INPUT...")
@parameter_option
@weights_option
@click.option("-o", "--output", required=True, metavar="FILE", help="An archive (.npz) or a table (.csv).")
@click.option("--entry", metavar="NAME", help="The entry that finds them.  [default: encode]")
@click.option("--value", metavar="NAME", help="In place of an entry: a value of the network, by its name in the spec.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto.")
@ops_option()
def command(
    *,
    target: str,
    inputs: tuple[Path, ...],
    parameters: tuple[str, ...],
    weights: str,
    output: str,
    entry: str | None,
    value: str | None,
    device: str,
) -> None:
    """Write what a network finds in images, folders of images, CSV files or NumPy archives: what its entry `encode`
    gives, or a value that has a name.

    An archive has an array for each output, and `input` with the names of the examples."""
    if entry is not None and value is not None:
        raise click.UsageError("--entry and --value exclude each other.")
    if Path(output).suffix.lower() not in (".npz", ".csv"):
        raise click.UsageError("The output file ends in .npz or .csv.")
    from archlang.training import restore

    chosen, program = load_program(target, parameters)
    refuse_spec(output, chosen)
    module, preprocessing = restore(program, weights)

    from archlang.runtime.data import Preprocessing
    from archlang.runtime.devices import make_fabric
    from archlang.runtime.making.encode import encode, write_codes

    module = module.to(make_fabric(device).device)
    names, found = encode(program, module, preprocessing or Preprocessing(), inputs, entry, value)
    write_codes(Path(output), names, found)
    click.echo(f"wrote {output}: {counted(len(names), 'row')}", err=True)
