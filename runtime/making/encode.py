"""What a network finds in files: codes by its entry `encode`, or any value of it that has a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from archlang.compiler.diagnostics import did_you_mean, error
from archlang.compiler.files import write_atomically
from archlang.compiler.graph import Graph, Program, Ref
from torch import nn

from ..audit.results import Untestable
from ..data import Preprocessing
from ..data.fading import completed
from ..observing import observing
from ..predict import batches
from ..seeding import fixed_noise
from .entries import choose
from .pictures import csv, npz

ENTRY = "encode"


def encode(
    program: Program,
    module: nn.Module,
    prep: Preprocessing,
    inputs: Sequence[Path],
    entry: str | None = None,
    value: str | None = None,
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of the examples (a file's, or file:line), and for each output of the entry an array [N, …], by its
    name; with `value` the one value of the network that is called so. Noise is the same each time.

    inputs: images, folders, CSV files or npz archives, treated as in training; inputs without axes are 1. Raises A1090,
    A1097, and what `predict` does of files."""
    graph = program.graph if value is not None else _entry(program, entry)
    refs = {value: _value(program, value)} if value is not None else _outputs(graph)
    view = replace(program, graph=graph, game=None)
    read = view.data_nodes()
    if len(read) != 1:
        what = f"`{graph.name}` reads {len(read)} inputs, and a file gives one"
        raise error("A1097", what, graph.span, help="write an entry that reads one: `entry encode { input x: … }`")
    try:
        inner = observing(program, graph, list(refs.values()), module)
    except Untestable as failure:
        raise error("A1097", f"that can't be found: {failure}", graph.span) from None
    device = next((t.device for t in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    inner = inner.to(device)
    names: list[str] = []
    found: dict[str, list[np.ndarray]] = {name: [] for name in refs}
    with torch.no_grad(), fixed_noise(device):
        for some, batch in batches(view, list(inputs), prep):
            outputs = inner(*completed(view, [prep.apply(batch.to(device))]))
            names += some
            for name, x in zip(refs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True):
                found[name].append(_rows(x, len(some), name))
    return names, {name: np.concatenate(parts) for name, parts in found.items()}


def _rows(x: torch.Tensor, count: int, name: str) -> np.ndarray:
    if not x.ndim or len(x) != count:
        raise error("A1097", f"`{name}` has no value for each example: it is {tuple(x.shape)} for {count} of them")
    return x.cpu().numpy()


def _entry(program: Program, name: str | None) -> Graph:
    if name is None and ENTRY not in program.entries:
        listed = ", ".join(f"`{each}`" for each in program.graph.values)
        help = f"find a value of the network by its name with `--value`: {listed}" if listed else None
        raise error("A1097", f"`{program.name}` has no entry `{ENTRY}`", program.span, help=help)
    return choose(program, name or ENTRY)


def _outputs(graph: Graph) -> dict[str, Ref]:
    return {graph[n].name or f"output{i}": graph.operands(n)[0] for i, n in enumerate(graph.outputs)}


def _value(program: Program, name: str) -> Ref:
    known = program.graph.values
    if name not in known:
        help = did_you_mean(name, known) or f"there are {', '.join(f'`{each}`' for each in known)}"
        raise error("A1097", f"`{program.name}` has no value `{name}`", program.span, help=help)
    return known[name]


def write_codes(output: Path, names: Sequence[str], found: dict[str, np.ndarray]) -> None:
    """Codes as an archive, with an array `input` of the examples' names, or as a table: a line for each example, with
    the numbers of every output. Raises A1091 where there is more than a row of numbers for each, A1203."""
    if output.suffix.lower() == ".npz":
        inputs = {} if "input" in found else {"input": np.array(names, dtype=np.str_)}
        write_atomically(output, npz({**inputs, **found}))
        return
    for name, array in found.items():
        if array.ndim > 2:
            shape = f"[B, {', '.join(map(str, array.shape[1:]))}]"
            raise error(
                "A1091", f"`{name}` is {shape}, and a table has rows of numbers", help="write an archive: `.npz`"
            )
    parts = [array.reshape(len(names), -1).astype(np.float64) for array in found.values()]
    columns = [f"{name}{i}" for name, part in zip(found, parts, strict=True) for i in range(part.shape[1])]
    write_atomically(output, csv(columns, np.concatenate(parts, 1), names))
