"""Where data lies: relative to the spec, inside its project."""

from __future__ import annotations

from pathlib import Path

from archlang.compiler.diagnostics import did_you_mean, error
from archlang.compiler.elaborate.names import project_root
from archlang.compiler.graph import Program
from archlang.compiler.source import Span


def spec_folder(program: Program) -> Path:
    """The folder of the program's file, or the current one when it was a text."""
    path = Path(program.source_name or "<text>")
    return path.resolve().parent if path.is_file() else Path.cwd()


def locate(program: Program, text: str, override: Path | None, span: Span | None) -> Path:
    """The file or folder that a data source names. `override`, given by the user and not the spec, may lie anywhere."""
    if override is not None:
        path = Path(override)
        if not path.exists():
            raise error("A1010", f'there is no "{override}"', None, help="this path was given on the command line")
        return path
    folder = spec_folder(program)
    if "\0" in text or Path(text).is_absolute():
        raise error("A1011", "a spec names data by a path relative to itself", span, help=_ELSEWHERE)
    path = (folder / text).resolve()
    if not path.is_relative_to(project_root(folder)):
        raise error("A1011", f'"{text}" leads out of the project', span, help=_ELSEWHERE)
    if not path.exists():
        near = [p.name for p in path.parent.iterdir()][:1000] if path.parent.is_dir() else []
        raise error(
            "A1010",
            f'there is no "{text}" beside the spec',
            span,
            help=did_you_mean(path.name, near) or f"looked for {path}",
        )
    return path


_ELSEWHERE = "data that lies elsewhere is named on the command line: `--data PATH`"
