"""`names` tables: how the keys of a published checkpoint become those of a network.

A template is a key whose components (what stands between dots) may hold one wildcard each: `{i}` stands for one or more
characters without a dot, `denselayer{i}` for whatever begins so. A component has one wildcard at most, so whether
and how a key matches is settled by comparing beginnings and ends: the time is that of reading the key once a rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

_HOLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LONGEST = 400


class Part(NamedTuple):
    """One component: `before{hole}after`, or plain text when there is no hole."""

    before: str
    hole: str | None = None
    after: str = ""

    def match(self, text: str) -> str | None:
        """What the hole stands for ("" where there is none); None when the component does not match."""
        if self.hole is None:
            return "" if text == self.before else None
        end = len(text) - len(self.after)
        if end <= len(self.before) or not text.startswith(self.before) or not text.endswith(self.after):
            return None
        return text[len(self.before) : end]


class BadTemplate(ValueError):
    """A text that is no template."""


@dataclass(frozen=True, slots=True)
class Template:
    """A key with holes."""

    parts: tuple[Part, ...]

    @property
    def holes(self) -> tuple[str, ...]:
        return tuple(part.hole for part in self.parts if part.hole is not None)

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """What the holes stand for in a key taken apart; None when it does not match. A hole that stands twice stands
        for the same."""
        if len(parts) != len(self.parts):
            return None
        found: dict[str, str] = {}
        for part, text in zip(self.parts, parts, strict=True):
            held = part.match(text)
            if held is None or (part.hole is not None and found.setdefault(part.hole, held) != held):
                return None
        return found

    def fill(self, values: Mapping[str, str]) -> str:
        return ".".join(p.before + (values[p.hole] if p.hole is not None else "") + p.after for p in self.parts)


def read_template(text: str) -> Template:
    """A template from its text. Raises BadTemplate with what is wrong."""
    if len(text) > _LONGEST:
        raise BadTemplate(f"a key has at most {_LONGEST} characters")
    parts = []
    for component in text.split("."):
        holes = _HOLE.findall(component)
        if not component:
            raise BadTemplate("something must stand before, between and behind the dots")
        if len(holes) > 1:
            raise BadTemplate(f"`{component}` has {len(holes)} wildcards, and between two dots there may be one")
        before, _, rest = component.partition("{")
        after = rest.partition("}")[2] if holes else ""
        if set("{}") & set(before + after) or bool(holes) != ("{" in component):
            raise BadTemplate(f"`{component}` is no component: a wildcard is a name in braces, as in `layer{{i}}`")
        parts.append(Part(before, holes[0] if holes else None, after))
    return Template(tuple(parts))


@dataclass(frozen=True, slots=True)
class KeyRule:
    """One line of a table. transposed: the published matrix is stored the other way around."""

    theirs: Template
    ours: Template
    transposed: bool = False


class Renamed(NamedTuple):
    """What a key becomes."""

    key: str
    transposed: bool = False


@dataclass(frozen=True)
class KeyTable:
    """A whole table: of the rules that match a key the first decides; a key that none matches stays as it is."""

    scheme: str
    rules: tuple[KeyRule, ...]
    _by_length: dict[int, list[KeyRule]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for rule in self.rules:
            self._by_length.setdefault(len(rule.theirs.parts), []).append(rule)

    def rename(self, key: str) -> Renamed:
        """What a published key is called here."""
        parts = key.split(".")
        for rule in self._by_length.get(len(parts), ()):
            found = rule.theirs.match(parts)
            if found is not None:
                return Renamed(rule.ours.fill(found), rule.transposed)
        return Renamed(key)
