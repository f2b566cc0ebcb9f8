"""`archc fmt`: one way to write a spec."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click
from archlang.compiler.diagnostics import ArchError
from archlang.compiler.files import write_atomically
from archlang.compiler.source import Source
from archlang.targets import stdin_text

from . import terminal
from .common import complete_file, counted, spec_files

EPILOG = """\b
Examples:
  archc fmt net.arch               rewrite the file if it needs it
  archc fmt --check specs/         exit 1 if anything would change; for CI
  archc fmt --diff net.arch        show what would change, write nothing
  archc fmt - < net.arch           from stdin to stdout
"""


@click.command("fmt", epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", shell_complete=complete_file)
@click.option("--check", is_flag=True, help="Write nothing; name the files that would change, exit 1 if any would.")
@click.option("--diff", "show_diff", is_flag=True, help="Write nothing; show what would change, exit 1 if any would.")
def command(paths: tuple[str, ...], check: bool, show_diff: bool) -> int:
    """Format specs: files, every .arch file in folders, or stdin (-).

    Comments stay where they are, the meaning is never changed, and a file that does not parse is left as it is."""
    if "-" in paths:
        if len(paths) > 1:
            raise click.UsageError("`-` stands alone: format stdin by itself.")
        return _stdin(check, show_diff)
    changed = failed = 0
    files = spec_files(paths)
    for path in files:
        try:
            before, after = _formatted(path)
        except ArchError as failure:
            terminal.show(failure.diagnostics)
            failed += 1
            continue
        if before != after:
            changed += 1
            _settle(path, before, after, check, show_diff)
    _close(len(files), changed, failed, check or show_diff)
    return 1 if failed or (changed and (check or show_diff)) else 0


def _formatted(path: Path) -> tuple[str, str]:
    from archlang.compiler.syntax.printer import format_source
    from archlang.compiler.syntax.reading import read_source

    source = read_source(path)
    return source.text, format_source(source)


def _settle(path: Path, before: str, after: str, check: bool, show_diff: bool) -> None:
    if show_diff:
        sys.stdout.write(_diff(before, after, str(path)))
    elif check:
        print(f"would reformat {path}")
    else:
        write_atomically(path, after)
        print(f"reformatted {path}")


def _diff(before: str, after: str, name: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), name, f"{name} (formatted)"
    )
    return terminal.harmless("".join(line if line.endswith("\n") else f"{line}\n" for line in lines))


def _close(total: int, changed: int, failed: int, dry: bool) -> None:
    parts = []
    if changed:
        parts.append(f"{counted(changed, 'file')} {'would be ' if dry else ''}reformatted")
    if total - changed - failed:
        parts.append(
            f"{counted(total - changed - failed, 'file')} {'as it should be' if total == 1 else 'left unchanged'}"
        )
    if failed:
        parts.append(f"{counted(failed, 'file')} could not be read")
    print(", ".join(parts), file=sys.stderr)


def _stdin(check: bool, show_diff: bool) -> int:
    from archlang.compiler.syntax.printer import format_source

    before = stdin_text()
    after = format_source(Source(before, "<stdin>"))
    if show_diff:
        sys.stdout.write(_diff(before, after, "<stdin>"))
    elif not check:
        sys.stdout.write(after)
    return 1 if (check or show_diff) and before != after else 0
