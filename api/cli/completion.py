"""`archc completion`: the script that teaches a shell to complete `archc`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

EPILOG = """\b
Examples:
  archc completion bash >> ~/.bashrc
  archc completion zsh  >> ~/.zshrc
  archc completion fish >  ~/.config/fish/completions/archc.fish
"""


@click.command("completion", epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for a shell: commands, options, layers, error codes, bundled specs and files."""
    from .main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click knows the three
    script = kind(cli, {}, "archc", "_ARCHC_COMPLETE")
    print(script.source_template % script.source_vars())
