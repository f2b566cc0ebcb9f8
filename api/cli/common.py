"""What the commands share: targets, static parameters, output files, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from archlang.compiler.diagnostics import ArchError, error
from archlang.compiler.files import write_atomically
from archlang.targets import Target, bundled_names, resolve

if TYPE_CHECKING:
    from archlang.compiler.graph import Program
    from rich.console import Console


def complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Bundled specs, `.arch` files and folders that start with what is typed."""
    names = [name for name in bundled_names() if name.lower().startswith(incomplete.lower())]
    return names + complete_file(ctx, param, incomplete)


def complete_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """`.arch` files and folders that start with what is typed."""
    folder, _, start = incomplete.rpartition("/")
    here = Path(folder or ("/" if incomplete.startswith("/") else "."))
    prefix = incomplete[: len(incomplete) - len(start)]
    try:
        entries = sorted(here.iterdir())
    except OSError:
        return []
    return [
        f"{prefix}{e.name}{'/' if e.is_dir() else ''}"
        for e in entries
        if e.name.startswith(start) and (e.is_dir() or e.suffix == ".arch") and not (e.name[0] == "." and not start)
    ]


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

target_argument: Decorator = click.argument("target", shell_complete=complete_target)

parameter_option: Decorator = click.option(
    "-p",
    "--parameter",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a static parameter of the network, as in `-p classes=10` or `-p layers=[2,2]`; may be repeated.",
)

weights_option: Decorator = click.option(
    "-w",
    "--weights",
    required=True,
    type=click.Path(),
    metavar="SOURCE",
    help="A checkpoint, a run's folder, a name that the spec publishes, hub:organisation/name/file, or an https link.",
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def ops_option() -> Decorator:
    """`--ops PACKAGE`: layers that another installed package adds."""

    def enable(ctx: click.Context, param: click.Parameter, packages: tuple[str, ...]) -> None:
        if packages and not ctx.resilient_parsing:
            from archlang.plugins import enable_ops

            for package in packages:
                enable_ops(package)

    return click.option(
        "--ops",
        multiple=True,
        metavar="PACKAGE",
        expose_value=False,
        callback=enable,
        help="Allow the layers that an installed package adds; may be repeated.",
    )


def parsed(parameters: Iterable[str]) -> dict[str, Any]:
    """`-p` options as a mapping. A key given twice is wrong usage."""
    from archlang.compiler.frontend import parse_parameter

    found: dict[str, Any] = {}
    for text in parameters:
        key, value = parse_parameter(text)
        if key in found:
            raise error("A1206", f"the parameter `{key}` is given twice", help="give each `-p` once")
        found[key] = value
    return found


def load_program(text: str, parameters: Iterable[str] = ()) -> tuple[Target, Program]:
    """Resolves and compiles a target. Raises ArchError."""
    from archlang.compiler.frontend import compile_program

    target = resolve(text)
    return target, compile_program(target.source, target.name, parsed(parameters), base=target.base)


def emit(content: str | bytes, output: str | None, target: Target | None = None) -> None:
    """Writes to the output file, or to stdout when there is none or it is `-`. A spec is never written over."""
    if output is None or output == "-":
        if isinstance(content, bytes):
            if sys.stdout.isatty():
                raise error("A1207", "this is binary and does not belong on a terminal", help="name a file with `-o`")
            sys.stdout.buffer.write(content)
        else:
            sys.stdout.write(content if content.endswith("\n") else content + "\n")
        return
    refuse_spec(output, target)
    write_atomically(output, content)


def refuse_spec(output: str, target: Target | None) -> None:
    """A1212 when an output would replace the spec that it comes from."""
    path = Path(output)
    if target is not None and target.path is not None and path.exists() and path.samefile(target.path):
        raise error("A1212", f"`{output}` is the spec itself", help="name another file with `-o`")


def print_json(value: Any) -> None:
    """One JSON document on stdout, keys in the order given."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def spec_files(paths: Iterable[str]) -> list[Path]:
    """The files named, and every `.arch` file below the folders named, hidden folders left out. Raises A1205."""
    found: dict[Path, None] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*.arch")) if not _hidden(p.relative_to(path))]
            if not inside:
                raise error("A1205", f"there is no `.arch` file in `{text}`")
            found.update(dict.fromkeys(inside))
        else:
            found[path] = None
    return list(found)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def failure_as_json(failure: ArchError) -> list[dict[str, Any]]:
    """Diagnostics for `--json`."""
    return [d.as_json() for d in failure.diagnostics]


def wide_console() -> Console:
    """A console for tables: as wide as the terminal, and wide enough not to wrap where there is none. A narrow
    terminal wraps lines itself: a table of fewer than 80 columns would leave some out."""
    import os

    from rich.console import Console

    plain = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, width=160 if plain else max(80, Console().width))


def counted(number: int, what: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
