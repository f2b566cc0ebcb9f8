"""`archc check`: is a spec right, and if not, where is it wrong?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from archlang.compiler.diagnostics import ArchError, Diagnostic, Severity
from archlang.targets import Target, find_bundled, from_file, resolve

from . import terminal
from .common import complete_target, counted, json_option, ops_option, print_json, spec_files

if TYPE_CHECKING:
    from archlang.compiler.analysis.biases.findings import Finding
    from archlang.compiler.graph import Program

EPILOG = """\b
Examples:
  archc check net.arch           every network, contract and train block
  archc check net.arch:Tagger    one network
  archc check specs/             every .arch file in a folder
  archc check - < net.arch       from stdin
  archc check net.arch --claims  what is proved of its inductive biases, and under which conditions
  archc check net.arch --json    diagnostics for an editor or CI
"""


@click.command("check", epilog=EPILOG)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...", shell_complete=complete_target)
@click.option("--claims", "list_claims", is_flag=True, help="List every claim with its verdict and conditions.")
@ops_option()
@json_option
def command(targets: tuple[str, ...], list_claims: bool, as_json: bool) -> int:
    """Check specs without running them: syntax, names, shapes, contracts, claims, train blocks.

    Every mistake is shown at its place, all of a file's at once. Exits 1 when there is an error; warnings are shown and
    do not fail the file."""
    reports = [_check(target) for target in _expanded(targets)]
    failed = any(not report.ok for report in reports)
    if as_json:
        print_json({"ok": not failed, "files": [report.as_json() for report in reports]})
        return int(failed)
    for report in reports:
        if report.ok or (list_claims and report.findings):
            print(report.line())
        if list_claims:
            report.print_claims()
    terminal.show([diagnostic for report in reports for diagnostic in report.diagnostics])
    return int(failed)


def _expanded(texts: Iterable[str]) -> list[Target]:
    targets = []
    for text in texts:
        if Path(text).is_dir() and find_bundled(text) is None:
            targets += [from_file(path) for path in spec_files([text])]
        else:
            targets.append(resolve(text))
    return targets


@dataclass
class _Report:
    """What came of one file."""

    file: str
    diagnostics: list[Diagnostic]
    programs: dict[str, Program] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not any(d.severity is Severity.ERROR for d in self.diagnostics)

    @property
    def findings(self) -> list[Finding]:
        return [finding for program in self.programs.values() for finding in program.findings]

    @cached_property
    def networks(self) -> list[dict[str, Any]]:
        from archlang.compiler.analysis.biases.findings import distinct
        from archlang.compiler.analysis.cost import cost

        return [
            {
                "name": name,
                "parameters": cost(program).parameters,
                "contracts": len(program.expects),
                "claims": [finding.as_json() for finding in distinct(program.findings)],
            }
            for name, program in self.programs.items()
        ]

    def as_json(self) -> dict[str, Any]:
        found = [d.as_json() for d in self.diagnostics]
        return {"file": self.file, "ok": self.ok, "networks": self.networks, "diagnostics": found}

    def line(self) -> str:
        """`net.arch: ok, 2 claims proved: Net (61,706 parameters)`"""
        from archlang.claims import tally

        warnings = sum(d.severity is Severity.WARNING for d in self.diagnostics)
        verdict = "ok" if self.ok else "refused"
        notes = [verdict, tally(self.findings), counted(warnings, "warning") if warnings else ""]
        networks = [f"{n['name']} ({counted(n['parameters'], 'parameter')})" for n in self.networks]
        shown = ", ".join(networks[:6]) + (f" and {len(networks) - 6} more" if len(networks) > 6 else "")
        return terminal.harmless(f"{self.file}: {', '.join(filter(None, notes))}{f': {shown}' if shown else ''}")

    def print_claims(self) -> None:
        from archlang.claims import lines

        for line in lines(self.findings):
            print(terminal.harmless(f"  {line}"))


def _check(target: Target) -> _Report:
    from archlang.compiler.frontend import check_source

    names = [target.name] if target.name is not None else None
    try:
        checked = check_source(target.source, base=target.base, names=names)
    except ArchError as failure:  # the text could not even be read as a file
        return _Report(target.source.name, list(failure.diagnostics))
    return _Report(target.source.name, checked.diagnostics, checked.programs)
