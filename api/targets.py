"""What a target names: a file, a network in a file, a bundled spec, or `.arch` text. Nothing here parses a spec."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from archlang.compiler.diagnostics import did_you_mean, error
from archlang.compiler.source import Source

_DECLARED = re.compile(r"^[ \t]*(?:network|adversarial)[ \t]+([^\W\d]\w*)", re.MULTILINE)
_BARE = re.compile(r"[^\W\d][\w.\-]*\Z")


@dataclass(frozen=True)
class Target:
    """Where to read and which network is meant. `name` is None when the text decides (it declares one, or the last)."""

    source: Source
    name: str | None
    base: Path | None
    path: Path | None = None

    @property
    def stem(self) -> str:
        """What an output file may be called: the network's name in lower case, or the file's."""
        if self.name is not None:
            return self.name.lower()
        return self.path.stem if self.path is not None else "network"


@dataclass(frozen=True)
class Bundled:
    """One bundled file: its family (the folder), its stem, and the networks that it declares."""

    family: str
    stem: str
    path: Path
    networks: tuple[str, ...]
    summary: str


def specs_folder() -> Path:
    """The folder that the bundled specs are in."""
    from importlib import resources

    return Path(str(resources.files("archlang.specs")))


@cache
def bundled() -> tuple[Bundled, ...]:
    """Every bundled spec with at least one network (the library `std` declares none), sorted by family and stem."""
    root = specs_folder()
    found = []
    for path in sorted(root.rglob("*.arch")):
        text = path.read_text(encoding="utf-8")
        networks = tuple(dict.fromkeys(_DECLARED.findall(text)))
        if networks:
            family = path.parent.relative_to(root).as_posix()
            found.append(Bundled(family, path.stem, path, networks, _summary(text)))
    return tuple(sorted(found, key=lambda b: (b.family, b.stem)))


def _summary(text: str) -> str:
    """The first line of the string at the top of a file."""
    match = re.match(r"(?:\s|#[^\n]*\n)*\"\"\"\s*(.*?)(?:\n|\"\"\")", text)
    return match.group(1).strip() if match else ""


def bundled_names() -> list[str]:
    """Every name by which a bundled spec can be called: file stems, then networks, without doubles up to case."""
    names: dict[str, str] = {}
    for spec in bundled():
        names.setdefault(spec.stem.lower(), spec.stem)
    for spec in bundled():
        for network in spec.networks:
            names.setdefault(network.lower(), network)
    return list(names.values())


def find_bundled(word: str) -> tuple[Bundled, str | None] | None:
    """A bundled spec by file stem (with or without its family: `cnn/lenet5`) or by network name, whatever the case."""
    wanted = word.lower().removesuffix(".arch")
    for spec in bundled():
        if wanted in (spec.stem.lower(), f"{spec.family}/{spec.stem}".lower()):
            same = [n for n in spec.networks if n.lower() == spec.stem.lower()]
            return spec, same[0] if same else None
    for spec in bundled():
        for network in spec.networks:
            if network.lower() == wanted:
                return spec, network
    return None


def resolve(text: str) -> Target:
    """Reads what the target names; `-` is stdin. Raises ArchError: A1202 no such bundled spec, A015x for files."""
    if text == "-":
        return Target(Source(stdin_text(), "<stdin>"), None, Path.cwd())
    path, name = split(text)
    if _is(path, "is_file") or looks_like_path(str(path)):
        return from_file(path, name)
    known = find_bundled(str(path))
    if known is None and _is(path, "exists"):
        return from_file(path, name)
    if known is None:
        close = did_you_mean(str(path), bundled_names())
        raise error(
            "A1202",
            f"there is no file and no bundled spec called `{text}`",
            help=close or "`archc specs` lists the bundled specs; a file of your own ends in `.arch`",
        )
    spec, network = known
    return from_file(spec.path, name or network, f"{spec.family}/{spec.path.name}")


def from_file(path: Path, name: str | None = None, shown: str | None = None) -> Target:
    """A target that is a file; `shown` is what messages call it. Raises ArchError A015x."""
    from archlang.compiler.syntax.reading import read_source

    return Target(read_source(path, shown), name, path.parent, path)


def from_text(text: str, name: str | None = None) -> Target:
    """A target that is the text itself; imports are relative to the current folder."""
    return Target(Source(text), name, Path.cwd())


def split(text: str) -> tuple[Path, str | None]:
    """`file.arch:Name` → the path and the network. A drive letter or a file whose name holds a colon stays whole."""
    if not _is(Path(text), "exists"):
        head, colon, tail = text.rpartition(":")
        if colon and head and tail.isidentifier():
            return Path(head), tail
    return Path(text), None


def _is(path: Path, what: str) -> bool:
    """`path.exists()`, `path.is_file()` …, false for names that no file can have."""
    try:
        return bool(getattr(path, what)())
    except (OSError, ValueError):
        return False


def looks_like_path(text: str) -> bool:
    """True for what can only be meant as a file: it ends in `.arch` or has a folder that is no bundled family."""
    if text.endswith(".arch"):
        return True
    if "/" in text or "\\" in text:
        return text.replace("\\", "/").rpartition("/")[0] not in {spec.family for spec in bundled()}
    return not _BARE.match(text)


def looks_like_text(text: str) -> bool:
    """True for `.arch` text rather than a name or a path: it has a line break or a brace."""
    return "\n" in text or "{" in text


def stdin_text() -> str:
    """All of stdin as UTF-8 text. Raises A1204 when it is not."""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        raise error("A1204", f"stdin is not UTF-8 text: byte {failure.start + 1} is wrong") from failure
