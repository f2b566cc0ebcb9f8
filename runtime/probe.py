"""The gradient probe: how much of a gradient is left at each depth, and at each position of a sequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from math import log10
from pathlib import Path
from typing import Any

import torch
from archlang.compiler.analysis.cost import is_weight_layer, layer_inputs, nominal_sizes
from archlang.compiler.analysis.receptive import Receptive
from archlang.compiler.diagnostics import error
from archlang.compiler.flatten import full_path
from archlang.compiler.graph import Graph, Kind, Program, Ref
from archlang.compiler.sizes import evaluate, symbols
from archlang.compiler.training_plan import TrainPlan
from torch import Tensor, nn

from .audit.bench import compiled, draw, indices_of, sliced
from .audit.results import Untestable
from .data import load
from .data.fading import FadedFeed
from .files import write_atomically
from .module import build

BATCHES, BATCH = 2, 4
_UNNAMED = 32  # the size of an axis that the spec leaves open, without a nominal one


@dataclass(frozen=True)
class Along:
    """The gradient at each position of an input's axis, of the value at the last place only."""

    input: str
    axis: str
    gradients: tuple[float, ...]


@dataclass(frozen=True)
class Probe:
    """Gradient norms of one network. layers: (its path, norm of the gradient of its weights), in the order in which
    they run. sequences: one for each input that is a sequence."""

    network: str
    layers: tuple[tuple[str, float], ...]
    sequences: tuple[Along, ...] = ()

    @property
    def ratio(self) -> float:
        """The gradient at the first layer as a part of that at the last: far below 1 it vanishes, far above it
        explodes."""
        first, last = self.layers[0][1], self.layers[-1][1]
        return first / last if last else float("nan") if not first else float("inf")

    def as_json(self) -> dict[str, Any]:
        """A plain mapping for programs."""
        finite = [(path, norm if norm < float("inf") else None) for path, norm in self.layers]
        ratio = self.ratio
        return {
            "network": self.network,
            "ratio": ratio if 0 <= ratio < float("inf") else None,
            "layers": [{"layer": path, "gradient": norm} for path, norm in finite],
            "sequences": [{"input": s.input, "axis": s.axis, "gradients": list(s.gradients)} for s in self.sequences],
        }


def probe(
    program: Program,
    weights: nn.Module | None = None,
    *,
    seed: int = 0,
    batches: int = BATCHES,
    plan: TrainPlan | None = None,
    data: Path | None = None,
) -> Probe:
    """Runs batches forwards and backwards through a network in training mode, and measures the gradient that
    arrives at each layer with weights: the root mean square over the batches of its L2 norm.

    The quantity that is differentiated is a random weighting of the outputs, the same at every depth; for sequences, of
    the last place of the outputs. weights: a module of the program, for its weights; else fresh ones, of the seed.
    plan: examples of its training part, drawn by the seed, in place of random numbers. data: a file or folder in place
    of the one that the plan names. Raises A1240 when there is nothing to measure, and what `load` does of the data."""
    graph = program.graph
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        source = weights if weights is not None else build(program)
        try:
            subject = _Subject.of(program)
        except Untestable as failure:
            raise error("A1240", f"the gradients of `{program.name}` can't be measured: {failure}") from None
        subject.load(source.state_dict())
        if not subject.layers:
            help = "a probe shows how much of the gradient reaches each convolution or linear layer"
            raise error("A1240", f"`{program.name}` has no layers with weights", graph.span, help=help)
        drawn: list[list[Tensor] | None] = [None] * batches
        if plan is not None:
            drawn = list(_examples(program, plan, data, seed, batches))
        runs = [subject.run(seed + i, inputs) for i, inputs in enumerate(drawn)]
    layers = tuple((path, _mean([norms[path] for norms, _ in runs])) for path in subject.layers)
    sequences = tuple(
        Along(name, axis, tuple(_mean(list(at)) for at in zip(*(found[i] for _, found in runs), strict=True)))
        for i, (name, axis) in enumerate(subject.named)
    )
    return Probe(program.name, layers, sequences)


def _examples(program: Program, plan: TrainPlan, data: Path | None, seed: int, batches: int) -> Iterator[list[Tensor]]:
    """The inputs of some batches of the training part, prepared as for training but not varied."""
    examples, parts, _ = load(program, plan, data)
    feed = FadedFeed(program, examples, parts.part("train"), BATCH, torch.device("cpu"), shuffle=True, seed=seed)
    every = (batch for epoch in count() for batch in feed.epoch(epoch))
    inputs = len(program.input_nodes())
    for batch in islice(every, batches):
        yield list(batch[:inputs])


def _mean(norms: Sequence[float]) -> float:
    return (sum(norm * norm for norm in norms) / len(norms)) ** 0.5


@dataclass
class _Subject:
    """A network as a module that also returns what its sequences become first: the inputs themselves, or the vectors
    that indices are turned into. sequences: (the tensor's place among the results or -1 for an input, the argument, its
    axis, the axis of each output along it)."""

    graph: Graph
    module: nn.Module
    outputs: int
    layers: tuple[str, ...]
    sequences: tuple[tuple[int, int, int, tuple[int | None, ...]], ...]
    named: tuple[tuple[str, str], ...]

    @staticmethod
    def of(program: Program) -> _Subject:
        graph = program.graph
        flat = sliced(graph, [Ref(n) for n in graph.outputs])
        outputs = len(flat.outputs)
        arguments = {number: i for i, number in enumerate(flat.inputs)}
        receptive = Receptive()
        views, places = receptive.views(flat), receptive.places(flat)
        extra: list[Ref] = []
        sequences, named = [], []
        for number, i in arguments.items():
            axes = [axis for source, axis in places if source == i]
            if len(axes) != 1:
                continue  # a picture or a row of features is no sequence
            alongs = tuple(_along(views[Ref(n)].relations, i, axes[0]) for n in flat.outputs)
            t = flat[number].types[0]
            if t.dtype == "float":
                sequences.append((-1, i, axes[0], alongs))
            else:
                tables = [u for _, u, _ in flat.users(number) if _embeds(flat, u)]
                if not tables:
                    continue
                extra.append(Ref(tables[0]))
                sequences.append((outputs + len(extra) - 1, i, axes[0], alongs))
            named.append((flat[number].name, t.names[axes[0]] or f"axis {axes[0]}"))
        if extra:
            flat = sliced(flat, [*(Ref(n) for n in flat.outputs), *extra])
        module = compiled(program, flat).float().train()
        return _Subject(flat, module, outputs, _layers(flat), tuple(sequences), tuple(named))

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.module.load_state_dict({key: state[key] for key in self.module.state_dict()})

    def run(self, seed: int, inputs: list[Tensor] | None = None) -> tuple[dict[str, float], list[list[float]]]:
        """Norms by layer, and by position of each sequence, for one batch; a random one where no inputs are given."""
        generator = torch.Generator().manual_seed(seed)
        inputs = self._inputs(generator) if inputs is None else inputs
        leaves = {i for at, i, _, _ in self.sequences if at < 0}
        inputs = [x.requires_grad_() if i in leaves else x for i, x in enumerate(inputs)]
        found = self.module(*inputs)
        results = list(found) if isinstance(found, tuple) else [found]
        weightings = [torch.randn(v.shape, generator=generator) for v in results[: self.outputs]]
        weighed = [(v, w) for v, w in zip(results, weightings, strict=False) if v.requires_grad]
        if not weighed:
            raise error("A1240", "no gradient reaches the outputs of the network")
        norms = self._by_layer(torch.stack([(v * w).sum() / v.numel() ** 0.5 for v, w in weighed]).sum())
        return norms, [self._by_position(entry, inputs, results, weightings) for entry in self.sequences]

    def _inputs(self, generator: torch.Generator) -> list[Tensor]:
        types = [self.graph[n].types[0] for n in self.graph.inputs]
        nominal = nominal_sizes(self.graph)
        sizes = {s: nominal.get(s, _UNNAMED) for t in types for size in t.shape for s in symbols(size)} | {"B": BATCH}
        most = indices_of(self.graph)
        shapes = [tuple(int(evaluate(size, sizes)) for size in t.shape) for t in types]
        drawn = [draw(t.dtype, shape, most, generator) for t, shape in zip(types, shapes, strict=True)]
        return [x.float() if x.is_floating_point() else x for x in drawn]

    def _by_layer(self, total: Tensor) -> dict[str, float]:
        named = list(self.module.named_parameters())
        found = torch.autograd.grad(total, [p for _, p in named], retain_graph=True, materialize_grads=True)
        sums = dict.fromkeys(self.layers, 0.0)
        for (key, _), gradient in zip(named, found, strict=True):
            path = key.rpartition(".")[0]
            if path in sums:
                sums[path] += float(gradient.double().square().sum())
        return {path: value**0.5 for path, value in sums.items()}

    def _by_position(
        self,
        entry: tuple[int, int, int, tuple[int | None, ...]],
        inputs: list[Tensor],
        results: list[Tensor],
        weightings: list[Tensor],
    ) -> list[float]:
        at, argument, axis, alongs = entry
        leaf = inputs[argument] if at < 0 else results[at]
        total: Tensor | None = None
        for value, weighting, along in zip(results, weightings, alongs, strict=False):
            last = (value * weighting) if along is None else (value * weighting).select(along, -1)
            total = last.sum() if total is None else total + last.sum()
        assert total is not None
        (gradient,) = torch.autograd.grad(total, [leaf], retain_graph=True, materialize_grads=True)
        return gradient.double().movedim(axis, 0).flatten(1).norm(dim=1).tolist()


def _along(relations: Mapping[Any, Any], source: int, axis: int) -> int | None:
    return next((key[0] for key in relations if key[1:] == (source, axis) and key[0] is not None), None)


def _embeds(flat: Graph, number: int) -> bool:
    op = flat[number].op
    return op is not None and op.name == "embedding"


def _layers(flat: Graph) -> tuple[str, ...]:
    """The paths of layers with weights, in the order in which they run; those of a cell as at one step."""
    found: dict[str, None] = {}
    for number in flat.order():
        node = flat[number]
        if node.kind is Kind.SCAN and node.graph is not None:
            outside = dict(node.bindings)
            prefix = f"{node.module}." if node.module else ""
            found |= dict.fromkeys(full_path(path, prefix, outside) for path in _layers(node.graph.flatten()))
        elif node.kind is Kind.OP and node.op is not None and node.module is not None:
            specs = node.op.weights(layer_inputs(flat, number))
            if is_weight_layer(node.op, tuple(specs)):
                found[node.module] = None
    return tuple(found)


_INK, _MUTED = "#1f2430", "#6b7280"
_COLOURS = ("#2563eb", "#d9480f", "#0f766e", "#9333ea", "#b45309", "#475569")


def draw_probes(probes: Sequence[Probe], path: Path) -> None:
    """Gradient norms over depth, and over positions where there are sequences, on a log scale: PNG, SVG or PDF.
    Raises A1104."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sequences = [(p, s) for p in probes for s in p.sequences]
    panels = 2 if sequences else 1
    figure = Figure(figsize=(5.2 * panels, 3.6), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for i, p in enumerate(probes):
        depths = range(1, len(p.layers) + 1)
        _line(axes[0], list(depths), [norm for _, norm in p.layers], p.network, i)
    _finish(axes[0], "gradient by depth", "layer with weights", len(probes) > 1)
    if sequences:
        for i, (p, s) in enumerate(sequences):
            _line(axes[1], list(range(len(s.gradients))), list(s.gradients), f"{p.network}: {s.input}", i)
        _finish(axes[1], "gradient by position", "position", len(sequences) > 1)
    form = path.suffix.lower().removeprefix(".")
    write_atomically(path, lambda place: figure.savefig(place, format=form, dpi=150))


def _line(axes: Any, x: list[int], y: list[float], label: str, number: int) -> None:
    shown = [value if value > 0 else float("nan") for value in y]
    colour = _COLOURS[number % len(_COLOURS)]
    axes.plot(x, shown, color=colour, linewidth=1.8, label=label, marker="o", markersize=3 if len(x) < 60 else 0)


def _finish(axes: Any, title: str, below: str, legend: bool) -> None:
    axes.set_yscale("log")
    axes.set_title(title, loc="left", fontsize=11, color=_INK, fontweight="bold")
    axes.set_xlabel(below, color=_MUTED, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_MUTED, labelsize=9)
    axes.grid(axis="y", color="#e8eaf0", linewidth=0.8)
    if legend:
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK)


def bar(norm: float, lowest: float, highest: float, width: int = 24) -> str:
    """A bar on a log scale between the lowest and highest of all norms."""
    if not 0 < norm < float("inf"):
        return ""
    span = log10(highest) - log10(lowest)
    part = 1.0 if span <= 0 else (log10(norm) - log10(lowest)) / span
    return "█" * max(1, round(part * width))
