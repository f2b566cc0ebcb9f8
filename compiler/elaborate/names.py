"""Names of a file: what it declares and what it imports."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path

from ..diagnostics import ArchError, Label, Sink, did_you_mean, error
from ..source import Source
from ..syntax import ast
from ..syntax.parser import parse
from ..syntax.reading import read_source
from .values import Global

_PROJECT_MARKS = (".git", "pyproject.toml", "setup.py")
_MOST_FILES = 500


@dataclass(eq=False)
class FileScope:
    """One file's declarations. `key` tells files apart: a resolved path, `std/…`, or `<text>`."""

    key: str
    file: ast.File
    source: Source
    folder: Path | None
    names: dict[str, Global] = field(default_factory=dict)
    trains: list[ast.Train] = field(default_factory=list)


class Loader:
    """Reads a file and everything it imports. Errors go to the sink; what could be read is there all the same."""

    def __init__(self, sink: Sink, base: Path | None, name: str = "") -> None:
        self.sink = sink
        self.base, self.beside = (
            base,
            Path(name).parent,
        )  # where the first file lies, and how the user calls that folder
        self.root = project_root(base) if base is not None else None
        self.files: dict[str, FileScope] = {}
        self._loading: list[str] = []

    def load(self, source: Source, key: str, folder: Path | None) -> FileScope:
        """Declares everything in a source; imports are followed."""
        tree = _library(source.text, source.name) if key.startswith("std/") else parse(source)
        scope = FileScope(key, tree, tree.span.source, folder)
        self.files[key] = scope
        self._loading.append(key)
        for item in tree.items:
            try:
                if isinstance(item, ast.Import):
                    self._import(item, scope)
                elif isinstance(item, ast.Train):
                    scope.trains.append(item)
                elif isinstance(item, ast.Definition | ast.Configuration | ast.Func):
                    self._declare(item, scope)
            except ArchError as failure:
                self.sink.extend(failure)
        self._loading.pop()
        return scope

    def _declare(self, item: ast.Definition | ast.Configuration | ast.Func, scope: FileScope) -> None:
        name = item.name.text
        if name in scope.names:
            raise error(
                "A0202",
                f"`{name}` is declared twice in this file",
                item.name.span,
                labels=[Label(scope.names[name].item.name.span, "first declared here")],
                help="give one of them another name",
            )
        scope.names[name] = Global(name, item, scope)

    def _import(self, item: ast.Import, scope: FileScope) -> None:
        found = self._find(item, scope)
        for ident in item.names:
            if ident.text not in found.names:
                raise error(
                    "A0203",
                    f'"{item.path.value}" declares no `{ident.text}`',
                    ident.span,
                    help=did_you_mean(ident.text, found.names) or f"it declares {_listing(found.names)}",
                )
            if ident.text in scope.names:
                raise error(
                    "A0202",
                    f"`{ident.text}` is already declared in this file",
                    ident.span,
                    labels=[Label(scope.names[ident.text].item.name.span, "declared here")],
                )
            scope.names[ident.text] = found.names[ident.text]

    def _find(self, item: ast.Import, scope: FileScope) -> FileScope:
        text = item.path.value
        if text.startswith("std/"):
            return self._standard(item, text)
        if scope.folder is None or self.root is None:
            raise error(
                "A0701",
                f'"{text}" can\'t be imported: this text has no file that the path could be relative to',
                item.path.span,
                help='only `"std/…"` can be imported here',
            )
        path = Path(text)
        if path.is_absolute() or "\0" in text:
            raise error("A0702", "an import is a path relative to this file", item.path.span)
        path = (scope.folder / path).with_suffix(".arch") if path.suffix != ".arch" else scope.folder / path
        resolved = path.resolve()
        if not resolved.is_relative_to(self.root):
            raise error(
                "A0702",
                f'"{text}" leads out of the project',
                item.path.span,
                help="a spec may import files below the project's folder, and `std/`",
            )
        if not resolved.is_file():
            near = sorted(p.stem for p in resolved.parent.glob("*.arch"))[:100] if resolved.parent.is_dir() else []
            raise error("A0701", f'there is no file "{text}"', item.path.span, help=did_you_mean(resolved.stem, near))
        return self._enter(item, str(resolved), lambda: self._read(resolved), resolved.parent)

    def _read(self, path: Path) -> Source:
        """A file under the name that fits how the user named the first one."""
        assert self.base is not None
        name = self.beside / os.path.relpath(path, self.base.resolve())
        return Source(read_source(path).text, os.path.normpath(name))

    def _standard(self, item: ast.Import, text: str) -> FileScope:
        stem = text.removeprefix("std/").removesuffix(".arch")
        folder = resources.files("archlang.specs") / "std"
        known = sorted(p.name.removesuffix(".arch") for p in folder.iterdir() if p.name.endswith(".arch"))
        if stem not in known:
            listing = _listing([f"std/{k}" for k in known])
            raise error(
                "A0701",
                f'the standard library has no "{text}"',
                item.path.span,
                help=did_you_mean(stem, known) or f"it has {listing}",
            )
        page = folder / f"{stem}.arch"
        return self._enter(item, text, lambda: Source(page.read_text(encoding="utf-8"), text + ".arch"), None)

    def _enter(self, item: ast.Import, key: str, read, folder: Path | None) -> FileScope:
        if key in self._loading:
            circle = " → ".join(Path(k).name for k in [*self._loading[self._loading.index(key) :], key])
            raise error(
                "A0703",
                f"these files import each other: {circle}",
                item.path.span,
                help="move what both need into a third file",
            )
        if key not in self.files:
            if len(self.files) >= _MOST_FILES:
                raise error("A0801", f"more than {_MOST_FILES} files are imported", item.path.span)
            self.load(read(), key, folder)
        return self.files[key]


@lru_cache(maxsize=64)
def _library(text: str, name: str) -> ast.File:
    """A file of the standard library, which many specs import."""
    return parse(Source(text, name))


def project_root(base: Path) -> Path:
    """The folder that imports can't leave: the nearest one upwards that looks like a project's, or the file's own."""
    base = base.resolve()
    for folder in (base, *base.parents):
        if any((folder / mark).exists() for mark in _PROJECT_MARKS):
            return folder
    return base


def _listing(names) -> str:
    names = sorted(names)
    shown = ", ".join(f"`{n}`" for n in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"
