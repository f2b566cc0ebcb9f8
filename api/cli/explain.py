"""`archc explain`: the page of an error code."""

from __future__ import annotations

import click
from archlang.compiler.diagnostics import codes, did_you_mean, error, explain
from click.shell_completion import CompletionItem

from .common import json_option, print_json

EPILOG = """\b
Examples:
  archc explain              every code, with its title
  archc explain A0301        what it means, an example, how to fix it
"""


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(code, help=_title(code)) for code in codes() if code.startswith(incomplete.upper())]


def _title(code: str) -> str:
    page = explain(code) or ""
    return page.partition("\n")[0].removeprefix(f"# {code}: ")


@click.command("explain", epilog=EPILOG)
@click.argument("code", required=False, shell_complete=_complete)
@json_option
def command(code: str | None, as_json: bool) -> None:
    """Explain an error code such as A0301; without one, list them all."""
    if code is None:
        titles = {known: _title(known) for known in codes()}
        if as_json:
            print_json(titles)
        else:
            print("\n".join(f"{known}  {title}" for known, title in titles.items()))
        return
    wanted = code.strip().strip("[]").upper()
    page = explain(wanted)
    if page is None:
        help = did_you_mean(wanted, codes()) or "`archc explain` lists every code"
        raise error("A1210", f"there is no error code `{code}`", help=help)
    if as_json:
        print_json({"code": wanted, "title": _title(wanted), "page": page})
    else:
        print(page.rstrip("\n"))
