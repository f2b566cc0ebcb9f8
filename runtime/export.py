"""Files that run without archlang: ONNX graphs and torch.export archives, rewritten for evaluation."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from archlang.compiler.analysis.cost import nominal_sizes
from archlang.compiler.analysis.scans import steps
from archlang.compiler.diagnostics import ArchError, Notice, error
from archlang.compiler.emit.scans import scanned
from archlang.compiler.graph import Graph, Kind, Program
from archlang.compiler.passes import PORTABLE
from archlang.compiler.sizes import Dim as Size
from archlang.compiler.sizes import evaluate, substitute, symbols
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from .files import write_atomically
from .inference import for_inference

OPSET = 18
_UNNAMED = 16  # what an open size without a nominal one is while torch traces
_DTYPES = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}


def save_onnx(program: Program, trained: nn.Module, path: Path) -> dict[str, int]:
    """Writes the network as an ONNX graph of opset 18; weights are those of `trained`, a module of the program.

    Inputs, outputs and symbolic sizes are called as in the spec. Returns the symbolic sizes that the file had to fix.
    Raises A1104, A1236 when the packages for it are not installed, A1237 when torch can't trace the network."""
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter imports it deep inside
    except ImportError as missing:
        help = "`pip install onnx onnxscript`, or write a torch.export archive (`.pt2`)"
        raise error("A1236", f"an ONNX file needs the package `{missing.name}`", help=help) from None
    traced, names, fixed = trace(program, trained)
    graph = program.graph
    inputs = [graph[n].name for n in program.input_nodes()]
    outputs = [graph[n].name or f"output{i}" for i, n in enumerate(graph.outputs)]
    with _refusals(program, "ONNX"):
        made = torch.onnx.export(
            traced, dynamo=True, input_names=inputs, output_names=outputs, opset_version=OPSET, verbose=False
        )
        assert made is not None
        proto = made.model_proto
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), size.dim_param)
    onnx.checker.check_model(proto)
    write_atomically(path, lambda place: place.write_bytes(proto.SerializeToString()))
    return fixed


def save_program(program: Program, trained: nn.Module, path: Path) -> dict[str, int]:
    """Writes the network as an archive that `torch.export.load(path).module()` gives back; the rest as in `save_onnx`.

    Raises A1104 and A1237."""
    traced, _, fixed = trace(program, trained)

    def save(place: Path) -> None:
        with place.open("wb") as stream:
            torch.export.save(traced, stream)

    write_atomically(path, save)
    return fixed


def trace(program: Program, trained: nn.Module) -> tuple[ExportedProgram, dict[str, str], dict[str, int]]:
    """The network as torch.export sees it, the spec's names of its symbols, and the symbols that it fixed. A scan is
    unrolled, which fixes its length: to the nominal one (`T~64`), and takes its time: a `Notice` says how many steps.

    Raises A1237."""
    unrolled = _unrolled(program)
    if held := unrolled_steps(program):
        text = f"scans are unrolled: the file holds {held:,} steps of `{program.name}`, which can take long to write"
        warnings.warn(text, Notice, stacklevel=3)
    module = for_inference(program, trained, passes=PORTABLE, standalone=True).cpu()
    types = [program.graph[n].types[0] for n in program.input_nodes()]
    nominal = nominal_sizes(program.graph)
    open_sizes = {name for t in types for size in t.shape for name in symbols(size)}
    # at least 2: torch takes a size of 1 for one that is always 1
    sizes = {name: max(nominal.get(name, _UNNAMED), 2) for name in sorted(open_sizes)}
    shapes = [[evaluate(size, sizes) for size in t.shape] for t in types]
    examples: list[Tensor] = [torch.zeros(s, dtype=_DTYPES[t.dtype]) for s, t in zip(shapes, types, strict=True)]
    free = tuple(
        tuple(Dim.STATIC if isinstance(size, int) or symbols(size) & unrolled else Dim.AUTO for size in t.shape)
        for t in types
    )
    with _refusals(program, "torch.export"), torch.inference_mode(False):
        traced = torch.export.export(module, tuple(examples), dynamic_shapes=free)
    names: dict[str, str] = {}
    fixed: dict[str, int] = {}
    kept = set(traced.graph_signature.user_inputs)
    places = [node for node in traced.graph.nodes if node.op == "placeholder" and node.name in kept]
    for place, t in zip(places, types, strict=True):
        for found, size in zip(place.meta["val"].shape, t.shape, strict=True):
            if isinstance(size, int):
                continue
            if isinstance(found, int):
                fixed[str(size)] = found
            elif str(size).isidentifier():
                names[str(found)] = str(size)
    return traced, names, fixed


def _unrolled(program: Program) -> frozenset[str]:
    """The symbols of the inputs that say how long scans are. Raises A1237 where one has no nominal size."""
    nominal = nominal_sizes(program.graph)
    found = scanned(program.graph)
    for name, span in found.items():
        if name not in nominal:
            raise error(
                "A1237",
                f"`{program.name}` scans an axis of open length `{name}`, and files of these formats hold every step",
                span,
                help=f"give it a length: `{name}=64`, or `{name}~64` to fix it in such files alone",
            )
    return frozenset(found)


def unrolled_steps(program: Program) -> int:
    """How many steps of cells run one after another, of all scans of a network together, in its nominal sizes."""
    return _steps(program.graph, nominal_sizes(program.graph), {})


def _steps(graph: Graph, sizes: Mapping[str, int | Size], known: dict[tuple, int]) -> int:
    key = (id(graph), tuple(sorted((name, str(size)) for name, size in sizes.items())))
    if key not in known:
        total = 0
        for number in graph.order():
            node = graph[number]
            if node.graph is None:
                continue
            inner = _steps(node.graph, {name: substitute(size, sizes) for name, size in node.sizes}, known)
            length = substitute(steps(graph, number), sizes) if node.kind is Kind.SCAN else None
            total += inner if length is None else max(inner, 1) * (length if isinstance(length, int) else 1)
        known[key] = total
    return known[key]


@contextmanager
def _refusals(program: Program, form: str) -> Iterator[None]:
    """Torch's chatter kept quiet, and what it refuses as a message."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ArchError:
        raise
    except Exception as failure:  # torch's exporters raise errors of many kinds
        reason = next((line for line in str(failure).splitlines() if line.strip()), type(failure).__name__)
        text = f"`{program.name}` can't be written for {form}: {reason[:200]}"
        raise error(
            "A1237", text, program.span, help="`archc compile -O1` writes the same network as Python"
        ) from failure
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
