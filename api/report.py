"""`archlang.check`: what is right and wrong with a spec."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archlang.compiler.diagnostics import ArchError, Diagnostic, Severity, plain

from .targets import Target, from_file, from_text, looks_like_text, resolve

if TYPE_CHECKING:
    from archlang.compiler.analysis.biases.findings import Finding


@dataclass(frozen=True)
class Report:
    """What checking a spec found. True when there is no error; prints as the messages that `archc check` shows.

    networks: names of the networks that compile, in the order of the file. findings: what came of the inductive biases
    that they claim.
    """

    diagnostics: tuple[Diagnostic, ...]
    networks: tuple[str, ...] = ()
    name: str = "<text>"
    findings: tuple[Finding, ...] = ()

    def __bool__(self) -> bool:
        return not self.errors

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self.diagnostics)

    def __len__(self) -> int:
        return len(self.diagnostics)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity is Severity.WARNING)

    def __str__(self) -> str:
        if not self.diagnostics:
            return f"{self.name}: ok"
        return "\n\n".join(plain(d) for d in self.diagnostics)

    def raise_if_failed(self) -> None:
        """Raises the errors as one ArchError, if there are any."""
        if self.errors:
            raise ArchError(*self.diagnostics)


def check(target: str | os.PathLike[str]) -> Report:
    """Checks a spec without running it: syntax, names, shapes, contracts, claims, train blocks.

    target: a path, the name of a bundled spec, or `.arch` text. What is wrong stands in the report; nothing is raised,
    whether the spec is wrong or there is none."""
    from archlang.compiler.frontend import check_source

    try:
        found = as_target(target)
        checked = check_source(found.source, base=found.base, names=[found.name] if found.name else None)
    except ArchError as failure:
        return Report(failure.diagnostics, name=os.fspath(target) if not looks_like_text(str(target)) else "<text>")
    findings = tuple(finding for program in checked.programs.values() for finding in program.findings)
    return Report(tuple(checked.diagnostics), tuple(checked.programs), found.source.name, findings)


def as_target(target: str | os.PathLike[str], name: str | None = None) -> Target:
    """A target as the Python functions take it; `name` chooses a network. Raises ArchError."""
    if isinstance(target, os.PathLike):
        from pathlib import Path

        found = from_file(Path(target))
    elif looks_like_text(target):
        found = from_text(target)
    else:
        found = resolve(target)
    return found if name is None else Target(found.source, name, found.base, found.path)
