"""`archc new`: a spec to start from."""

from __future__ import annotations

import re
from pathlib import Path

import click
from archlang.compiler.diagnostics import did_you_mean, error
from archlang.compiler.files import unwritable
from archlang.templates import Template, template_names, templates
from click.shell_completion import CompletionItem

from .common import json_option, print_json

EPILOG = """\b
Examples:
  archc new net.arch                          an image classifier, called Net
  archc new tagger.arch --template sequence   from another template
  archc new --list                            what templates there are
"""


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(t.name, help=t.summary) for t in templates() if t.name.startswith(incomplete)]


@click.command("new", epilog=EPILOG)
@click.argument("file", required=False, metavar="FILE.arch")
@click.option(
    "-t", "--template", default="image", show_default=True, shell_complete=_complete, help="What to start from."
)
@click.option("--list", "show_list", is_flag=True, help="List the templates.")
@json_option
def command(file: str | None, template: str, show_list: bool, as_json: bool) -> None:
    """Write a starter spec that checks, trains on data that comes with archlang, and is named after its file.

    A file that exists is never written over."""
    if show_list:
        _list(as_json)
        return
    if file is None:
        raise click.UsageError("Name the file to write, as in `archc new net.arch`.")
    chosen = next((t for t in templates() if t.name == template), None)
    if chosen is None:
        help = did_you_mean(template, template_names()) or f"there are {', '.join(template_names())}"
        raise error("A1211", f"there is no template called `{template}`", help=help)
    path = Path(file if file.endswith(".arch") else f"{file}.arch")
    name = network_name(path.stem)
    _create(path, chosen.text(name))
    print(f"wrote {path}: network {name}\nnext: archc check {path}, archc show {path}, archc train {path}")


def network_name(stem: str) -> str:
    """A network's name from a file's: `my-net2` → `MyNet2`."""
    words = re.findall(r"[^\W_]+", stem)
    name = "".join(word[:1].upper() + word[1:] for word in words)
    return name if name.isidentifier() else f"Net{name}"


def _create(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except FileExistsError as failure:
        raise error("A1208", f"`{path}` is there already", help="choose another name; nothing was written") from failure
    except OSError as failure:
        raise unwritable(path, failure) from failure


def _list(as_json: bool) -> None:
    found: list[Template] = list(templates())
    if as_json:
        print_json([{"name": t.name, "summary": t.summary} for t in found])
        return
    width = max(len(t.name) for t in found)
    for t in found:
        print(f"{t.name:<{width}}  {t.summary}")
