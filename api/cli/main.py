"""The command `archc`. A command's module is imported when it is called: `archc check` pays for checking only."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click
from archlang.compiler.diagnostics import ArchError, error
from archlang.compiler.source import Span

from . import terminal

USAGE, WRONG, INTERNAL, INTERRUPTED, PIPE_CLOSED = 2, 1, 70, 130, 141

# name → one line of help. The module of the same name holds the command, also called by that name.
COMMANDS = {
    "check": "Check specs: names, shapes, contracts, training.",
    "show": "Show a network block by block: shapes, parameters, FLOPs, memory.",
    "compile": "Compile a network to PyTorch source, to its graph, or to JSON.",
    "train": "Train a network as its `train` block says.",
    "eval": "Measure a trained network on held-out data.",
    "predict": "Apply a trained network to new data.",
    "generate": "Make text, pictures or points with a trained network.",
    "encode": "Find the codes of images or rows with a trained network.",
    "verify": "Test with numbers what was proved of a network.",
    "probe": "Measure how much of a gradient reaches each layer.",
    "export": "Write a network for programs without archlang: ONNX, torch.export.",
    "render": "Draw a network: SVG, PNG, PDF, DOT, Mermaid or HTML.",
    "fmt": "Format specs.",
    "ops": "List the layers of the language, or describe one.",
    "explain": "Explain an error code.",
    "specs": "List the bundled specs.",
    "new": "Write a starter spec.",
    "completion": "Print the shell completion script.",
}

EPILOG = """\b
A target is a file (net.arch), a network in a file (net.arch:Name), or the name
of a bundled spec (lenet5, ResNet50).

\b
Exit codes: 0 fine; 1 the spec, data or checkpoint is wrong; 2 wrong usage;
70 a defect in archlang; 130 interrupted.

\b
Examples:
  archc check net.arch                   is it right, and if not, where?
  archc show resnet50 --depth 2          a table, block by block
  archc compile net.arch -o net.py       PyTorch source that you may read
  archc train net.arch                   train it as the file says
"""


class ReaderGone(Exception):
    """Whoever read our output closed it. (Click would turn a BrokenPipeError into exit code 1.)"""


class Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as failure:
            raise ReaderGone from failure

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"archlang.cli.{cmd_name}")
        return getattr(module, "command")  # noqa: B009 - each module calls its command so

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0] if args else ""
        if word and word not in COMMANDS and not word.startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(word, COMMANDS, n=1, cutoff=0.6)
            hint = f" Did you mean `{close[0]}`?" if close else ""
            if not close and (word.endswith(".arch") or os.path.exists(word)):
                hint = f" Did you mean `archc check {word}`?"
            raise click.UsageError(f"There is no command `{word}`.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from archlang import __version__

        click.echo(f"archc {__version__}")
        ctx.exit()


@click.command(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def cli() -> None:
    """A compiler for neural-network architectures: check a spec, see it, keep the PyTorch, train it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `archc` and exits. Whatever goes wrong ends in a message and an exit code, never in a traceback."""
    gc.set_threshold(100_000, 20, 20)  # trees and graphs live as long as the process
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs `archc`; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows another
    try:
        with terminal.notices():
            code = cli.main(
                list(arguments) if arguments is not None else None, prog_name="archc", standalone_mode=False
            )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as failure:
        failure.show()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        _abandon_stdout()
        return PIPE_CLOSED
    except ArchError as failure:
        return _report(failure)
    except OSError as failure:
        return _report(_system(failure))
    except Exception as failure:
        return _defect(failure)


def _report(failure: ArchError) -> int:
    terminal.show(failure.diagnostics)
    return exit_code(failure)


def exit_code(failure: ArchError) -> int:
    """2 when all that is wrong is how the command was called: A12xx, or, without a place in a text, a file that cannot
    be read, a network that it does not declare, a parameter that is none; else 1."""
    usage = ("A12", "A0152", "A0153", "A0154", "A0704", "A0706")
    ended = getattr(failure, "exit_code", None)
    if isinstance(ended, int):  # training that was interrupted knows by what
        return ended
    return USAGE if all(d.span is None and d.code.startswith(usage) for d in failure.diagnostics) else WRONG


def _system(failure: OSError) -> ArchError:
    """What the system refused: without a file name it is the output that could not be written."""
    from archlang.compiler.files import unreadable, unwritable

    if failure.filename is None:
        _abandon_stdout()
        return unwritable("<output>", failure)
    return (unwritable if os.path.exists(failure.filename) else unreadable)(failure.filename, failure)


def _abandon_stdout() -> None:
    """The reader went away: nothing more can be said, not even at exit."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _defect(failure: Exception) -> int:
    if os.environ.get("ARCHLANG_DEBUG"):
        import traceback

        traceback.print_exc()
        return INTERNAL
    span = getattr(failure, "in_spec", None)  # as `archlang.runtime.module` marks what arose in a network
    if isinstance(span, Span):
        what = terminal.harmless(str(failure).split("\n")[0][:300])
        help = "torch says so of the values that reach it; `ARCHLANG_DEBUG=1` in the environment shows more"
        return _report(error("A1084", f"this can't be computed: {what}", span, help=help))
    from archlang import __version__

    what = terminal.harmless(f"{type(failure).__name__}: {failure}".split("\n")[0][:300])
    print(
        f"error[A1299]: this is a defect in archlang {__version__}, not in your file: {what}\n"
        "  = help: please report it with the command and the spec; "
        "`ARCHLANG_DEBUG=1` in the environment shows where it is",
        file=sys.stderr,
    )
    return INTERNAL
