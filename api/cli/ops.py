"""`archc ops`: the layers of the language."""

from __future__ import annotations

from textwrap import shorten

import click
from archlang.compiler.diagnostics import did_you_mean, error
from click.shell_completion import CompletionItem

from .common import json_option, ops_option, print_json

EPILOG = """\b
Examples:
  archc ops                   every layer, by family, one line each
  archc ops conv              its settings, weights, shapes, examples
  archc ops --json            the same for programs
"""


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from archlang.compiler import ops

    return [CompletionItem(name) for name in ops.names() if name.startswith(incomplete)]


@click.command("ops", epilog=EPILOG)
@click.argument("name", required=False, shell_complete=_complete)
@ops_option()
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the layers of the language, or describe one.

    What is shown is read from the layer's class: its settings with types, bounds and defaults, its weights, and
    examples of shapes that the tests run."""
    from archlang.compiler import ops, reference

    if name is None:
        families = reference.families()
        if as_json:
            print_json([reference.as_json(op) for members in families.values() for op in members])
            return
        width = max((len(op.name) for members in families.values() for op in members), default=0)
        for family, members in families.items():
            print(f"{family}")
            for op in members:
                print(f"  {op.name:<{width}}  {shorten(reference.summary(op), 96 - width, placeholder=' …')}")
        return
    found = ops.get(name)
    if found is None or found.hidden:
        help = did_you_mean(name, ops.names()) or "`archc ops` lists every layer; blocks of the library are in `std/`"
        raise error("A1209", f"there is no layer called `{name}`", help=help)
    if as_json:
        print_json(reference.as_json(found))
    else:
        print(reference.page(found).rstrip("\n"))
