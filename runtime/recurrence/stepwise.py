"""Recurrences on GPUs, step by step: products by PyTorch, kernels for the pointwise regions between them.

Starting kernels takes longer than many of them run. A walk that keeps nothing for a backward pass is therefore recorded
as a CUDA graph when its shapes come a second time, and from then on started as a whole.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from archlang.compiler.recurrent.triton import backward_regions
from torch import Tensor

from .arguments import Arguments
from .launch import Kernels, precision

ELEMENTS = 1024
"""How many elements of a vector a program of a pointwise kernel has, about."""


class Steps:
    """What walks in both directions have in common. tensors: by the names that kernels know."""

    def __init__(self, arguments: Arguments, made: Kernels, tensors: dict[str, Tensor]) -> None:
        self.arguments, self.made, self.plan, self.tensors = arguments, made, made.plan, tensors
        self.steps, self.batch = arguments.steps, arguments.batch

    def launch(self, name: str, numbers: dict[str, int], at: int) -> None:
        widest = self.made.specs[name].widest
        rows = max(1, ELEMENTS // widest)
        self.made.launch(name, self.tensors, {**numbers, "at": at * self.batch, "B": self.batch}, rows)

    def scratch(self, width: int) -> Tensor:
        return self.arguments.new(self.batch, width)


class Forward(Steps):
    """The walk of `infer` or `train`."""

    def __init__(self, arguments: Arguments, made: Kernels, kind: str, tensors: dict[str, Tensor]) -> None:
        super().__init__(arguments, made, dict(tensors))
        self.kind, plan = kind, self.plan
        regions = plan.training if kind == "train" else plan.inference
        self.levels = {region.level for region in regions}
        self.matrices = []
        for at, group in enumerate(plan.groups):
            weight = arguments.parts(group.products, plan.flat.widths[group.node])
            self.matrices.append(weight.contiguous())
            self.tensors[f"group{at}"] = self.scratch(len(weight))
        for region in regions:
            for sink in region.sinks:
                if sink.kind in ("operand", "carry"):
                    self.tensors[f"{sink.kind}{sink.at}"] = self.scratch(plan.flat.widths[sink.node])

    def walk(self) -> None:
        reverse, plan = self.arguments.reverse, self.plan
        for step in range(self.steps):
            t = self.steps - 1 - step if reverse else step
            for level in range(plan.last + 1):
                for at, group in enumerate(plan.groups):
                    if group.stage == level:
                        operand = self._operand(at, group.node, t + 1 if reverse else t)
                        torch.mm(operand, self.matrices[at].t(), out=self.tensors[f"group{at}"])
                if level in self.levels:
                    self.launch(f"{self.kind}{level}", {}, t)

    def _operand(self, at: int, node: int, before: int) -> Tensor:
        if self.plan.flat.kinds[node] != "state":
            return self.tensors[f"operand{at}"]
        state = list(self.plan.equations.states).index(self.plan.flat.names[node])
        return self.tensors[f"state{state}"][before]


class Backward(Steps):
    """The walk back. tensors: also `last·`, which it reads, and `first·`, which it fills. Sums over steps are added to
    `to_constant·` and `totals`."""

    def __init__(
        self, arguments: Arguments, made: Kernels, tensors: dict[str, Tensor], strides: dict[str, int]
    ) -> None:
        super().__init__(arguments, made, dict(tensors))
        self.strides, plan = strides, self.plan
        self.levels = {region.level for region in backward_regions(plan)}
        self.matrices = [arguments.parts(run.products, plan.flat.widths[run.node]).contiguous() for run in plan.runs]
        self.groups = {group.node: at for at, group in enumerate(plan.groups)}
        states = [plan.values[name] for name in plan.equations.states]
        self.of_state = {node: at for at, node in enumerate(states)}
        for node, at in self.groups.items():
            if node not in self.of_state:  # zero where nothing is pulled
                self.tensors[f"pull{at}"] = self.scratch(plan.flat.widths[node]).zero_()
        self.pairs = [self._pair(at) for at in range(len(states))]

    def _pair(self, at: int) -> list[tuple[Tensor, Tensor]]:
        """Where the adjoint of a state lies, before and after a step in turn: what kernels left and what products add.
        They are in single precision, as what is summed up over many steps is."""
        last = self.tensors[f"last{at}"]
        return [
            (last.float().clone(), torch.zeros_like(last)),
            (torch.empty_like(last, dtype=torch.float32), torch.zeros_like(last)),
        ]

    def walk(self) -> None:
        reverse, plan = self.arguments.reverse, self.plan
        adjoints = self.tensors["adjoints"]
        for step in range(self.steps):
            t = step if reverse else self.steps - 1 - step
            for at, pair in enumerate(self.pairs):
                self.tensors[f"later{at}"], self.tensors[f"later_pull{at}"] = pair[step & 1]
                self.tensors[f"earlier{at}"] = pair[~step & 1][0]
            pulled: set[int] = set()
            for level in range(plan.last, -1, -1):
                if level in self.levels:
                    self.launch(f"back{level}", self.strides, t)
                for at, run in enumerate(plan.runs):
                    if plan.groups[self.groups[run.node]].stage == level:
                        row = adjoints[t, :, run.column : run.column + len(self.matrices[at])]
                        self._pull(run.node, row, self.matrices[at], step, pulled)
        for at, pair in enumerate(self.pairs):
            here = pair[self.steps & 1]
            self.tensors[f"first{at}"].copy_(here[0] + here[1])

    def _pull(self, node: int, row: Tensor, matrix: Tensor, step: int, pulled: set[int]) -> None:
        if node in self.of_state:
            into = self.pairs[self.of_state[node]][~step & 1][1]
        else:
            into = self.tensors[f"pull{self.groups[node]}"]
        torch.addmm(into, row, matrix, beta=float(node in pulled), out=into)
        pulled.add(node)


# --- Graphs -------------------------------------------------------------------------------------------------------

GRAPHS = 8
"""How many graphs are kept."""

BYTES = 1 << 28
"""How much memory one may hold."""

_graphs: OrderedDict[tuple, Any] = OrderedDict()
_lock = threading.Lock()


class _Graph:
    """A walk that was recorded, with memory of its own."""

    def __init__(self, walk: Forward) -> None:
        self.tensors = {name: tensor.clone() for name, tensor in walk.tensors.items()}
        self.walk = Forward.__new__(Forward)
        self.walk.__dict__.update(walk.__dict__, tensors=self.tensors, matrices=[m.clone() for m in walk.matrices])
        self.graph = torch.cuda.CUDAGraph()
        self.walk.walk()  # compiles what may not be compiled yet, which a graph can't record
        torch.cuda.current_stream().synchronize()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.walk.walk()

    def replay(self, walk: Forward) -> None:
        for mine, given in zip(self.walk.matrices, walk.matrices, strict=True):
            mine.copy_(given)
        for name, mine in self.tensors.items():
            if not name.startswith(("group", "operand", "carry", "output")):
                mine.copy_(walk.tensors[name])
        self.graph.replay()
        for name, mine in self.tensors.items():
            if name.startswith(("output", "state")):
                walk.tensors[name].copy_(mine)


def replayed(walk: Forward, text: str, mask: bool) -> bool:
    """Walks by a graph where there is one for these shapes, or records it where they come again; False: the caller is
    to walk."""
    like = walk.arguments.like
    if not like.is_cuda or torch.cuda.is_current_stream_capturing():
        return False
    if sum(t.numel() * t.element_size() for t in walk.tensors.values()) > BYTES:
        return False
    stream = torch.cuda.current_stream(like.device).cuda_stream
    reverse, place = walk.arguments.reverse, (like.device, stream, threading.get_ident())
    key = (text, mask, reverse, like.dtype, walk.steps, walk.batch, precision(), place)
    with _lock:
        known = key in _graphs
        graph = _graphs.pop(key, None)
        _graphs[key] = graph
        while len(_graphs) > GRAPHS:
            _graphs.popitem(last=False)
    if known and graph is None:
        graph = _recorded(walk)
        with _lock:
            _graphs[key] = graph
    if not isinstance(graph, _Graph):
        return False
    graph.replay(walk)
    return True


def _recorded(walk: Forward) -> _Graph | bool:
    """A graph, or False where none can be recorded here."""
    with suppress(RuntimeError), torch.cuda.device(walk.arguments.like.device):
        return _Graph(walk)
    return False


def forward(arguments: Arguments, made: Kernels, kind: str, tensors: dict[str, Tensor], text: str) -> None:
    """Walks forward."""
    walk = Forward(arguments, made, kind, tensors)
    if kind == "train" or not replayed(walk, text, arguments.mask is not None):
        walk.walk()


def backward(arguments: Arguments, made: Kernels, tensors: dict[str, Tensor], strides: dict[str, int]) -> None:
    """Walks back."""
    Backward(arguments, made, tensors, strides).walk()


__all__: Sequence[str] = ["backward", "forward"]
