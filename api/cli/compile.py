"""`archc compile`: from a spec to PyTorch source, to its graph, or to JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import emit, load_program, ops_option, parameter_option, target_argument

if TYPE_CHECKING:
    from archlang.compiler.graph import Program

EPILOG = """\b
Examples:
  archc compile lenet5                           the PyTorch source, on stdout
  archc compile net.arch -o net.py               … in a file
  archc compile net.arch:Tagger -p tags=5        one network, other parameters
  archc compile net.arch -O1 -o quick.py         for evaluation only: norms folded, in place
  archc compile net.arch --standalone            importing torch alone, scans as loops
  archc compile net.arch --emit graph            every node with its shapes
  archc compile net.arch --emit json             the graph, for programs
"""


@click.command("compile", epilog=EPILOG)
@target_argument
@parameter_option
@click.option("-o", "--output", metavar="FILE", help="Where to write; stdout when left out.")
@click.option(
    "--emit",
    "form",
    type=click.Choice(["python", "graph", "json"]),
    default="python",
    show_default=True,
    help="What to write: PyTorch source, the graph as text, or the graph as JSON.",
)
@click.option(
    "-O",
    "level",
    type=click.IntRange(0, 1),
    help="0: nothing rewritten, scans as loops. 1: for evaluation only, and quicker. "
    "Left out: as it trains. A checkpoint of the network loads into each.",
)
@click.option("--standalone", is_flag=True, help="Import torch and nothing else: scans become loops, which are slower.")
@click.option("--print-after", "watched", metavar="PASS", help="Print the graph after a rewrite of -O1, on stderr.")
@ops_option()
def command(
    *,
    target: str,
    parameters: tuple[str, ...],
    output: str | None,
    form: str,
    level: int | None,
    standalone: bool,
    watched: str | None,
) -> None:
    """Compile a network.

    The Python source imports torch and nothing else; where a cell is scanned that archlang runs quicker than a loop
    would, it imports that, unless --standalone is given. It holds one class a block, takes its names from the spec,
    says the shapes where they change, and names the spec's line at the end of each line. The same spec gives the same
    bytes."""
    chosen, program = load_program(target, parameters)
    if level or watched is not None:
        program = _rewritten(program, level or 0, watched)
    emit(_emitted(program, form, standalone or level == 0), output, chosen)


def _rewritten(program: Program, level: int, watched: str | None) -> Program:
    from archlang.compiler.passes import LEVELS, PASSES, Pass, optimise

    if watched is not None and watched not in {p.name for p in LEVELS[level]}:
        raise click.UsageError(f"-O{level} has no rewrite {watched!r}; -O1 has {', '.join(PASSES)}.")

    def watch(step: Pass, after: Program) -> None:
        if step.name == watched:
            click.echo(_emitted(after, "graph"), err=True)

    return optimise(program, LEVELS[level], watch)


def _emitted(program: Program, form: str, standalone: bool = False) -> str:
    if form == "python":
        from archlang.compiler.emit.python import emit_python

        return emit_python(program, standalone=standalone)
    if form == "graph":
        from archlang.compiler.graph_text import print_graph

        return "\n".join(print_graph(graph) for graph in (program.graph, *program.entries.values()))
    from archlang.compiler.emit.json import to_json

    return to_json(program, indent=2) + "\n"
