"""`archc specs`: the bundled specs."""

from __future__ import annotations

import click
from archlang.compiler.diagnostics import did_you_mean, error
from archlang.targets import bundled

from .common import json_option, print_json, wide_console

EPILOG = """\b
Examples:
  archc specs                 every bundled spec
  archc specs cnn             one family
  archc show lenet5           use one by its name, in any command
"""


@click.command("specs", epilog=EPILOG)
@click.argument("family", required=False)
@json_option
def command(family: str | None, as_json: bool) -> None:
    """List the bundled specs: by family, with the networks that each declares."""
    specs = bundled()
    families = list(dict.fromkeys(s.family for s in specs))
    if family is not None:
        if family.lower() not in families:
            help = did_you_mean(family, families) or f"the families: {', '.join(families)}"
            raise error("A1213", f"there is no family of specs called `{family}`", help=help)
        specs = tuple(s for s in specs if s.family == family.lower())
    if as_json:
        print_json(
            [
                {
                    "name": s.stem,
                    "family": s.family,
                    "networks": list(s.networks),
                    "summary": s.summary,
                    "path": str(s.path),
                }
                for s in specs
            ]
        )
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    table.add_column("family", no_wrap=True)
    table.add_column("spec", no_wrap=True)
    table.add_column("networks", ratio=2)
    table.add_column("what it is", ratio=3, no_wrap=True, overflow="ellipsis")
    previous = None
    for spec in specs:
        table.add_row(spec.family if spec.family != previous else "", spec.stem, ", ".join(spec.networks), spec.summary)
        previous = spec.family
    wide_console().print(table)
