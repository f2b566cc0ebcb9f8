"""`archc predict`: apply a trained network to new data."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from . import terminal
from .common import (
    emit,
    json_option,
    load_program,
    ops_option,
    parameter_option,
    print_json,
    target_argument,
    weights_option,
)

EPILOG = """\b
Examples:
  archc predict lenet5 three.png -w runs/lenet5        one image
  archc predict net.arch photos/ -w runs/net -o out.csv  a folder, as a table
  archc predict table.arch new.csv -w runs/table --json
"""


@click.command("predict", epilog=EPILOG)
@target_argument
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="INPUT...")
@parameter_option
@weights_option
@click.option("-o", "--output", metavar="FILE", help="Write all of it to a file: a .csv table, or .json.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto.")
@ops_option()
@json_option
def command(
    *,
    target: str,
    inputs: tuple[Path, ...],
    parameters: tuple[str, ...],
    weights: str,
    output: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Apply a trained network to images, folders of images, CSV files or NumPy archives.

    What training did to its inputs (resizing, scaling, taking the mean off) is stored with the weights, and done
    again."""
    if output is not None and Path(output).suffix.lower() not in (".csv", ".json"):
        raise click.UsageError("The output file ends in .csv or .json.")
    from archlang.training import restore

    chosen, program = load_program(target, parameters)
    module, preprocessing = restore(program, weights)

    from archlang.runtime.inference import for_inference
    from archlang.runtime.predict import predict

    rows = predict(program, for_inference(program, module), list(inputs), preprocessing, device=device)
    if output is not None:
        emit(_csv(rows) if output.lower().endswith(".csv") else json.dumps(rows, indent=2) + "\n", output, chosen)
        click.echo(f"wrote {output}: {len(rows):,} rows", err=True)
    elif as_json:
        print_json(rows)
    else:
        print("\n".join(_lines(rows)))


def _lines(rows: list[dict[str, Any]]) -> Iterable[str]:
    width = max((len(row["input"]) for row in rows), default=0)
    for row in rows:
        said = f"{row['input']:<{width}}  {row.get('class', row.get('value'))}"
        share = row.get("probability")
        yield terminal.harmless(said + (f"  {share:.1%}" if isinstance(share, float) else ""))


def _csv(rows: list[dict[str, Any]]) -> str:
    """One line an input, one column a class."""
    flat = []
    for row in rows:
        shares = row.get("probabilities", {})
        flat.append(
            {**{k: v for k, v in row.items() if k != "probabilities"}, **{f"p({k})": v for k, v in shares.items()}}
        )
    out = io.StringIO()
    if flat:
        writer = csv.DictWriter(out, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
    return out.getvalue()
