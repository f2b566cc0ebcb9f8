"""`archc render`: the figure."""

from __future__ import annotations

import click
from archlang.program import format_of

from .common import emit, load_program, ops_option, parameter_option, refuse_spec, target_argument

THEMES = ["light", "dark", "print"]

EPILOG = """\b
Examples:
  archc render lenet5                          writes lenet5.svg
  archc render resnet50 -o r.pdf --depth 2     blocks within blocks
  archc render net.arch -o net.html            open it in a browser
  archc render net.arch --format mermaid -o -  Mermaid text on stdout
  archc render tagger.arch --unroll 3          cells step by step: 1, 2, 3 … T
"""


@click.command("render", epilog=EPILOG)
@target_argument
@parameter_option
@click.option("-o", "--output", metavar="FILE", help="Where to write; the ending gives the format. Default: NAME.svg")
@click.option(
    "--format",
    "form",
    type=click.Choice(["svg", "png", "pdf", "dot", "mermaid", "html"]),
    help="The format, where the ending of the file does not say.",
)
@click.option("--depth", type=click.IntRange(0), help="How many levels of blocks to open; as many as stay readable.")
@click.option("--theme", type=click.Choice(THEMES), default="light", show_default=True, help="Colours.")
@click.option("--parameters", "counts", is_flag=True, help="Show how many parameters each layer has.")
@click.option(
    "--unroll",
    type=int,
    metavar="STEPS",
    help="Draw the first so many steps of scans side by side, and the last; without it, a cell once with its loops.",
)
@click.option("--entry", metavar="NAME", help="Draw another entry of the network, as in `--entry generate`.")
@ops_option()
def command(
    *,
    target: str,
    parameters: tuple[str, ...],
    output: str | None,
    form: str | None,
    depth: int | None,
    theme: str,
    counts: bool,
    entry: str | None,
    unroll: int | None,
) -> None:
    """Draw a network with its shapes: blocks, skips, gates, recurrences."""
    from archlang.compiler.draw import render

    chosen_format = form or ("svg" if output in (None, "-") else format_of(output))
    chosen, program = load_program(target, parameters)
    where = output or f"{program.name.lower()}.{ {'mermaid': 'mmd'}.get(chosen_format, chosen_format) }"
    if where != "-":
        refuse_spec(where, chosen)
    figure = render(program, chosen_format, depth=depth, theme=theme, parameters=counts, entry=entry, unroll=unroll)
    emit(figure, where, chosen)
    if where != "-":
        click.echo(f"wrote {where}", err=True)
