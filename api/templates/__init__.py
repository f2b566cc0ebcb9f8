"""The specs that `archc new` starts from: the `.arch` files of this folder, each with one network called `Network`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

_PLACEHOLDER = "Network"


@dataclass(frozen=True)
class Template:
    """A starter spec. summary: the first line of the string at its top."""

    name: str
    summary: str
    original: str

    def text(self, network: str) -> str:
        """The spec with its network called so."""
        return self.original.replace(_PLACEHOLDER, network)


@cache
def templates() -> tuple[Template, ...]:
    """Every template, sorted by name."""
    folder = resources.files(__name__)
    found = []
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".arch"):
            text = file.read_text(encoding="utf-8")
            summary = text.partition('"""')[2].partition('"""')[0].strip().partition("\n")[0]
            found.append(Template(file.name.removesuffix(".arch"), summary, text))
    return tuple(found)


def template_names() -> list[str]:
    return [t.name for t in templates()]
