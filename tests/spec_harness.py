"""The bundled specs as tests go through them: each file is read when tests are collected, and checked when the first
test asks for it."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

import torch
from archlang.compiler.frontend import Checked, Frontend, check_source
from archlang.compiler.graph import Graph, Program
from archlang.compiler.source import Source
from archlang.compiler.syntax import ast
from archlang.compiler.types import TensorType

ROOT = Path(str(resources.files("archlang.specs")))
FILES = sorted(ROOT.rglob("*.arch"))


def _source(file: Path) -> Source:
    return Source(file.read_text(encoding="utf-8"), file.name)


def networks(file: Path) -> list[str]:
    """The networks that a file declares and that need no parameter, by its text alone."""
    found = Frontend(_source(file), file.parent).networks().items()
    return [
        name for name, of in found if isinstance(of.item, ast.Configuration) or all(p.default for p in of.item.params)
    ]


PROGRAMS = [(file, name) for file in FILES for name in networks(file)]
IDS = [f"{file.parent.name}/{file.stem}:{name}" for file, name in PROGRAMS]
LARGE = ("ProgressiveGAN", "StyleGAN", "CycleGAN")  # tests follow the shapes of these, and run their small ones


@cache
def checked(file: Path) -> Checked:
    """All of a file."""
    return check_source(_source(file), base=file.parent)


def program(file: Path, name: str) -> Program:
    return checked(file).programs[name]


def example(t: TensorType, graph: Graph, batch: int = 4) -> torch.Tensor:
    """A random tensor of a type; symbols have their nominal sizes."""
    nominal = {"B": batch, **graph.nominal}
    shape = [s if isinstance(s, int) else int(t.substitute(nominal).shape[i]) for i, s in enumerate(t.shape)]
    generator = torch.Generator().manual_seed(0)
    if t.dtype == "int":
        return torch.randint(0, 2, shape, generator=generator)
    return torch.randn(shape, generator=generator)
