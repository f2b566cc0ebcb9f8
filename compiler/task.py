"""What a network is trained to do, read off its graph: which output answers which target, and how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import networkx as nx

from .graph import Graph, Kind, Program, Ref
from .ops.base import Glyph
from .ops.shape import ONLY_MOVES
from .types import TensorType

CLASSIFICATION_METRICS = ("accuracy", "top5", "f1", "precision", "recall", "auroc", "perplexity")
REGRESSION_METRICS = ("mse", "mae", "rmse", "r2", "skill", "psnr")


class TaskKind(StrEnum):
    """Kinds of prediction that have metrics of their own."""

    MULTICLASS = "multiclass"
    BINARY = "binary"
    REGRESSION = "regression"
    NONE = "none"


@dataclass(frozen=True)
class Task:
    """One output against one target.

    output, target: indices among the outputs and targets. classes: size of `class_axis` of the output, when known.
    class_axis: which axis of the output holds the scores (multiclass). ignore: a target value that does not count.
    reconstructs: the target is an input, of index `target`. shares: which is taken to lie in [0, 1]. logits: the
    output's sigmoid is what resembles it.
    """

    kind: TaskKind
    output: int = 0
    target: int = 0
    classes: int | None = None
    class_axis: int = 1
    ignore: int | None = None
    reconstructs: bool = False
    shares: bool = False
    logits: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that make sense, the default first."""
        return {
            TaskKind.MULTICLASS: CLASSIFICATION_METRICS,
            TaskKind.BINARY: tuple(m for m in CLASSIFICATION_METRICS if m not in ("top5", "perplexity")),
            TaskKind.REGRESSION: tuple(m for m in REGRESSION_METRICS if not (self.reconstructs and m == "skill")),
            TaskKind.NONE: (),
        }[self.kind]


def find_task(program: Program) -> Task:
    """The task of the first loss that compares a prediction with a target; failing that, what the types say. Without
    targets: of the first that compares with an input. Of a game, whose targets may be conditions: only where an output
    itself is compared."""
    graph = program.graph
    targets = program.target_nodes()
    answers = [graph.operands(n)[0] for n in graph.outputs if graph.operands(n)]
    types = [graph[n].types[0] for n in graph.outputs]
    if not answers:
        return Task(kind=TaskKind.NONE)
    if not targets:
        return _reconstruction(program, answers)
    elsewhere = 0 if program.game is None else None  # the output to judge; those of a game are what it makes
    for loss in graph.losses:
        for number in sorted(nx.ancestors(graph.nx, loss)):
            op = graph[number].op
            operands = [_uncast(graph, ref) for ref in graph.operands(number)]
            hit = [ref for ref in operands if ref.node in targets]
            if op is None or op.name == "cast" or not hit:
                continue
            others = [ref for ref in operands if ref.node not in targets]
            output = next((answers.index(ref) for ref in others if ref in answers), elsewhere)
            if output is None:
                continue
            target = targets.index(hit[0].node)
            ignore = getattr(op, "ignore", None)
            found = _classify(op.name, types[output], graph.type(hit[0]), output, target)
            return replace(found, ignore=ignore if isinstance(ignore, int) else None)
    return Task(kind=TaskKind.NONE) if elsewhere is None else _classify("", types[0], graph.type(Ref(targets[0])), 0, 0)


def _reconstruction(program: Program, answers: list[Ref]) -> Task:
    """An output that has the shape of an input which a loss compares with something."""
    graph, inputs = program.graph, program.input_nodes()
    for loss in graph.losses:
        for number in sorted(nx.ancestors(graph.nx, loss)):
            op = graph[number].op
            if op is None or op.glyph is not Glyph.LOSS:
                continue
            compared = [_unmoved(graph, ref) for ref in graph.operands(number)]
            for wanted in (ref for ref in compared if ref.node in inputs):
                alike = [i for i, ref in enumerate(answers) if _like(graph.type(ref), graph.type(wanted))]
                if alike:
                    found = next((i for i in alike if _unmoved(graph, answers[i]) in compared), alike[0])
                    shares = op.name in ("bce", "bce_with_logits")
                    logits = op.name == "bce_with_logits" and _unmoved(graph, answers[found]) in compared
                    place = inputs.index(wanted.node)
                    return Task(TaskKind.REGRESSION, found, place, reconstructs=True, shares=shares, logits=logits)
    return Task(kind=TaskKind.NONE)


def _like(answer: TensorType, wanted: TensorType) -> bool:
    return answer.dtype == wanted.dtype == "float" and answer.shape[1:] == wanted.shape[1:]


def _unmoved(graph: Graph, ref: Ref) -> Ref:
    """What a tensor was before it was cast or brought to another shape."""
    op = graph[ref.node].op
    moved = op is not None and op.name in ONLY_MOVES
    return _unmoved(graph, graph.operands(ref.node)[0]) if moved else ref


def _uncast(graph: Graph, ref: Ref) -> Ref:
    """What a tensor was before it was cast: a class number that a loss takes as a float is still one."""
    node = graph[ref.node]
    return _uncast(graph, graph.operands(ref.node)[0]) if node.op is not None and node.op.name == "cast" else ref


def _classify(op: str, answer: TensorType, wanted: TensorType, output: int, target: int) -> Task:
    if "bce" in op or "binary" in op or wanted.dtype == "bool":
        return Task(kind=TaskKind.BINARY, output=output, target=target)
    if wanted.dtype == "int":
        for axis in (answer.rank - 1, 1):
            if answer.rank == wanted.rank + 1 and answer.drop(axis).shape[1:] == wanted.shape[1:]:
                size = answer.shape[axis]
                known = size if isinstance(size, int) else None
                return Task(kind=TaskKind.MULTICLASS, output=output, target=target, classes=known, class_axis=axis)
        return Task(kind=TaskKind.NONE, output=output, target=target)
    if answer.rank == wanted.rank and answer.shape[1:] == wanted.shape[1:]:
        return Task(kind=TaskKind.REGRESSION, output=output, target=target)
    return Task(kind=TaskKind.NONE, output=output, target=target)


def input_type(program: Program, index: int) -> TensorType:
    """Type of an input that examples fill, the batch axis first."""
    return program.graph[program.data_nodes()[index]].types[0]


def target_type(program: Program, index: int) -> TensorType:
    """Type of a target, the batch axis first."""
    return program.graph[program.target_nodes()[index]].types[0]


def losses(program: Program) -> int:
    """How many terms the objective has."""
    return sum(program.graph[n].kind is Kind.LOSS for n in program.graph.losses)
