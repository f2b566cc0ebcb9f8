"""What of a network learns, and how fast: paths into its module tree, freezing, rates of parts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from .declared import Declared, Field
from .diagnostics import did_you_mean, error
from .graph import Program
from .source import Span


class Freeze(Declared):
    """Which weights stay as they are: those of `paths` (of everything, when `all`), those of `excepted` left out."""

    paths: tuple[str, ...] = Field((), description="Modules or tensors that do not learn.")
    all: bool = Field(False, description="Whether nothing learns but what is excepted.")
    excepted: tuple[str, ...] = Field((), description="Modules or tensors that learn all the same.")

    def covers(self, key: str) -> bool:
        """Is the tensor of this key frozen?"""
        return (self.all or within(key, self.paths)) and not within(key, self.excepted)


def within(key: str, paths: Iterable[str]) -> bool:
    """Does a tensor's key lead into one of the modules, or is it one of the tensors?"""
    return any(key == path or key.startswith(path + ".") for path in paths)


def rate_of(key: str, rates: Iterable[tuple[str, float]], base: float) -> float:
    """The learning rate of a tensor: that of the most exact path that it lies in, or `base`."""
    found = [(len(path), rate) for path, rate in rates if within(key, (path,))]
    return max(found)[1] if found else base


class Tree:
    """A program's module tree, for paths that a `train` block names."""

    def __init__(self, program: Program) -> None:
        self.program = program

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Keys of what can learn."""
        return tuple(key for key, spec in self.program.graph.state() if spec.role == "param")

    @cached_property
    def paths(self) -> frozenset[str]:
        """Every path that leads to a tensor, or to a module that holds one."""
        found: set[str] = set()
        for key, _ in self.program.graph.state():
            while key and key not in found:
                found.add(key)
                key = key.rpartition(".")[0]
        return frozenset(found)

    def check(self, path: str, span: Span) -> str:
        """The path, if it leads somewhere. Raises A1008."""
        if path in self.paths:
            return path
        if self.program.graph.module_at(path) is not None:
            raise error("A1008", f"`{path}` has no weights", span, help="it computes, and there is nothing to learn")
        near = path.rpartition(".")[0]
        while near and near not in self.paths:
            near = near.rpartition(".")[0]
        start = f"{near}." if near else ""
        keys = [key.removeprefix(start) for key, _ in self.program.graph.state() if key.startswith(start)]
        parts = list(dict.fromkeys(start + key.partition(".")[0] for key in keys))
        whole = f"`{near}`" if near else f"`{self.program.name}`"
        listing = ", ".join(f"`{part}`" for part in parts[:12]) + (" …" if len(parts) > 12 else "")
        raise error(
            "A1008",
            f"`{self.program.name}` has no module `{path}`",
            span,
            help=did_you_mean(path, parts) or did_you_mean(path, self.paths) or f"{whole} has {listing}",
        )
