"""`archc check`: is a spec right, and if not, where is it wrong?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from archlang.compiler.diagnostics import ArchError, Diagnostic, Severity
from archlang.targets import Target, find_bundled, from_file, resolve

from . import terminal
from .common import complete_target, counted, json_option, ops_option, print_json, spec_files

if TYPE_CHECKING:
    from archlang.compiler.frontend import Checked

EPILOG = """\b
Examples:
  archc check net.arch           every network, contract and train block
  archc check net.arch:Tagger    one network
  archc check specs/             every .arch file in a folder
  archc check - < net.arch       from stdin
  archc check net.arch --json    diagnostics for an editor or CI
"""


@click.command("check", epilog=EPILOG)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...", shell_complete=complete_target)
@ops_option()
@json_option
def command(targets: tuple[str, ...], as_json: bool) -> int:
    """Check specs without running them: syntax, names, shapes, contracts, train blocks.

    Every mistake is shown at its place, all of a file's at once. Exits 1 when there is an error; warnings are shown and
    do not fail the file."""
    reports = [_check(target) for target in _expanded(targets)]
    failed = any(not report["ok"] for _, report in reports)
    if as_json:
        print_json({"ok": not failed, "files": [report for _, report in reports]})
        return int(failed)
    everything: list[Diagnostic] = []
    for found, report in reports:
        everything += found
        if report["ok"]:
            print(_line(report))
    terminal.show(everything)
    return int(failed)


def _expanded(texts: Iterable[str]) -> list[Target]:
    targets = []
    for text in texts:
        if Path(text).is_dir() and find_bundled(text) is None:
            targets += [from_file(path) for path in spec_files([text])]
        else:
            targets.append(resolve(text))
    return targets


def _check(target: Target) -> tuple[list[Diagnostic], dict[str, Any]]:
    from archlang.compiler.frontend import check_source

    names = [target.name] if target.name is not None else None
    try:
        checked = check_source(target.source, base=target.base, names=names)
    except ArchError as failure:  # the text could not even be read as a file
        found, networks = list(failure.diagnostics), []
    else:
        found, networks = checked.diagnostics, _networks(checked)
    ok = not any(d.severity is Severity.ERROR for d in found)
    report = {
        "file": target.source.name,
        "ok": ok,
        "networks": networks,
        "diagnostics": [d.as_json() for d in found],
    }
    return found, report


def _networks(checked: Checked) -> list[dict[str, Any]]:
    from archlang.compiler.analysis.cost import cost

    return [
        {"name": name, "parameters": cost(program).parameters, "contracts": len(program.expects)}
        for name, program in checked.programs.items()
    ]


def _line(report: dict[str, Any]) -> str:
    warnings = len(report["diagnostics"])
    noted = f", {counted(warnings, 'warning')}" if warnings else ""
    networks = [f"{n['name']} ({counted(n['parameters'], 'parameter')})" for n in report["networks"]]
    shown = ", ".join(networks[:6]) + (f" and {len(networks) - 6} more" if len(networks) > 6 else "")
    return terminal.harmless(f"{report['file']}: ok{noted}{f': {shown}' if shown else ''}")
