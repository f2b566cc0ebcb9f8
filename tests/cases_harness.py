"""Reads and checks Markdown cases: a title, an `arch` block, and what must come of it.

    ## Title
    ```arch            the text under test; ```arch std.arch is a further file beside it
    ```shapes          one line a value: `name: type`
    ```graph           the graph's text form
    ```python          the generated source
    ```loops           the same, standing alone: scans are loops
    ```bias            one line a claim: its verdict, then a line for each caveat
    ```diagnostic      every message, as a user sees it

A further line `-p name=value` before the fences sets static parameters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from archlang.compiler.analysis.biases.findings import Finding, distinct
from archlang.compiler.diagnostics import ArchError, plain
from archlang.compiler.frontend import check_source, compile_program, parse_parameter
from archlang.compiler.source import Source

FENCE = re.compile(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)
RESULTS = ("shapes", "graph", "bias", "python", "loops", "diagnostic")


@dataclass
class Case:
    """One case of one file."""

    file: Path
    title: str
    text: str
    others: dict[str, str] = field(default_factory=dict)
    parameters: list[str] = field(default_factory=list)
    expected: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.file.stem}: {self.title}"


def read_cases(file: Path) -> list[Case]:
    """Every case of a file. Raises ValueError for a case that says nothing or says it wrongly."""
    cases = []
    for part in re.split(r"^## ", file.read_text(encoding="utf-8"), flags=re.M)[1:]:
        title, _, body = part.partition("\n")
        case = Case(file, title.strip(), "")
        case.parameters = re.findall(r"^-p (\S+)$", body, re.M)
        if len(re.findall(r"^```", body, re.M)) != 2 * len(FENCE.findall(body)):
            raise ValueError(f"{file.name}, {title}: a fence is not closed")
        for kind, name, content in FENCE.findall(body):
            if kind == "arch" and name:
                case.others[name] = content
            elif kind == "arch" and not case.text:
                case.text = content
            elif kind in RESULTS and kind not in case.expected:
                case.expected[kind] = content
            else:
                raise ValueError(f"{file.name}, {title}: unknown or doubled fence `{kind}`")
        if not case.text or not case.expected:
            raise ValueError(f"{file.name}, {title}: needs an arch block and what must come of it")
        cases.append(case)
    return cases


def run_case(case: Case, folder: Path) -> dict[str, str]:
    """What really comes of a case, for each fence that it has."""
    for name, text in case.others.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    source = Source(case.text, "case.arch")
    if "diagnostic" in case.expected:
        try:
            if case.parameters:
                compile_program(source, None, dict(map(parse_parameter, case.parameters)), base=folder)
                found = []
            else:
                found = check_source(source, base=folder).diagnostics
        except ArchError as failure:
            found = list(failure.diagnostics)
        return {"diagnostic": "\n\n".join(plain(d) for d in found) + "\n"}
    program = compile_program(source, None, dict(map(parse_parameter, case.parameters)), base=folder)
    results = {}
    for kind in case.expected:
        if kind == "shapes":
            graph = program.graph
            lines = [f"{name}: {graph.type(ref)}" for name, ref in graph.values.items()]
            lines += [f"output {graph[o].name}: {graph[o].types[0]}" for o in graph.outputs]
            results[kind] = "\n".join(lines) + "\n"
        elif kind == "graph":
            from archlang.compiler.graph_text import print_graph

            results[kind] = print_graph(program.graph).rstrip("\n") + "\n"
        elif kind == "bias":
            results[kind] = "".join(f"{line}\n" for line in claim_lines(program.findings))
        else:
            from archlang.compiler.emit.python import emit_python

            results[kind] = emit_python(program, standalone=kind == "loops").rstrip("\n") + "\n"
    return results


def claim_lines(findings: list[Finding]) -> list[str]:
    """What came of each claim, and under which conditions."""
    lines = []
    for finding in distinct(findings):
        lines.append(f"{finding}: {finding.verdict}, {finding.message}")
        lines += [f"  {caveat.name}: {caveat.text}" for caveat in finding.caveats]
    return lines


def accept(case: Case, results: dict[str, str]) -> None:
    """Rewrites a case's fences with what came."""
    text = case.file.read_text(encoding="utf-8")
    start = text.index(f"## {case.title}\n")
    end = text.find("\n## ", start)
    part = text[start : end if end != -1 else len(text)]
    for kind, content in results.items():
        part = re.sub(
            rf"^```{kind}\n.*?^```$", lambda _, k=kind, c=content: f"```{k}\n{c}```", part, count=1, flags=re.M | re.S
        )
    case.file.write_text(text[:start] + part + (text[end:] if end != -1 else ""), encoding="utf-8")
