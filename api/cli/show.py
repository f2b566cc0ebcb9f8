"""`archc show`: a network in a table."""

from __future__ import annotations

import click

from .common import json_option, load_program, ops_option, parameter_option, print_json, target_argument, wide_console

EPILOG = """\b
Examples:
  archc show lenet5                     every layer of the network's own body
  archc show resnet_cifar:ResNet20 --depth 1
                                        and one level into its blocks
  archc show net.arch -p width=64       with another parameter
  archc show net.arch --json            for programs
"""


@click.command("show", epilog=EPILOG)
@target_argument
@parameter_option
@click.option(
    "--depth", type=click.IntRange(0), default=0, show_default=True, help="How many levels of blocks to open."
)
@click.option("--all", "everything", is_flag=True, help="Open every block.")
@ops_option()
@json_option
def command(*, target: str, parameters: tuple[str, ...], depth: int, everything: bool, as_json: bool) -> None:
    """Show a network layer by layer: shapes, parameters, FLOPs, memory, and how much of the input a place sees.

    FLOPs count two a multiply-add, products and convolutions only. Memory is that of every result, as training keeps
    them. Both are for one example, with `H~224` counted as 224. A scan costs what its cell does, at every step; rows
    inside it have the shapes of one step and the amounts of all.

    Below stand, for each output, the bottleneck (the fewest elements that everything passes through), the shortest path
    of its gradient, and the path closest to the identity; then every claim with its verdict. --json also has the stride
    and the centre of what each layer sees."""
    from archlang import table

    _, program = load_program(target, parameters)
    levels = None if everything else depth
    if as_json:
        print_json(table.as_json(program, levels))
        return
    console = wide_console()
    if program.doc:
        console.print(program.doc, markup=False)
    console.print(table.rich_table(program, levels))
    for line in table.notes(program):
        console.print(line, markup=False, soft_wrap=True)
    for name, place in program.pretrained.items():
        console.print(f"pretrained {name}  {place}", markup=False)
