"""States that one batch leaves to the next: `carry h, c` in a `train` block, checked and resolved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .data_sources import SOURCES
from .diagnostics import Diagnostic, Label, did_you_mean
from .graph import Program
from .sizes import Verdict, compare
from .source import Span
from .training_plan import TrainPlan
from .types import TensorType


@dataclass(frozen=True)
class Slot:
    """A state: which input takes it, which output gives it, and its shape without the batch."""

    name: str
    input: int
    output: int
    shape: tuple[int, ...]
    dtype: str


def slots(program: Program, names: tuple[str, ...]) -> tuple[Slot, ...]:
    """Where each state enters and leaves; the names have been checked. Those that are no such state are left out."""
    taken, given = inputs_by_name(program), outputs_by_name(program)
    found = []
    for name in names:
        if name in taken and name in given:
            (place, kind), (output, _) = taken[name], given[name]
            shape = tuple(size for size in kind.shape[1:] if isinstance(size, int))
            found.append(Slot(name, place, output, shape, kind.dtype))
    return tuple(found)


def inputs_by_name(program: Program) -> dict[str, tuple[int, TensorType]]:
    nodes = program.input_nodes()
    return {program.graph[n].name or "": (place, program.graph[n].types[0]) for place, n in enumerate(nodes)}


def outputs_by_name(program: Program) -> dict[str, tuple[int, TensorType]]:
    nodes = program.graph.outputs
    return {program.graph[n].name or "": (place, program.graph[n].types[0]) for place, n in enumerate(nodes)}


def check_carry(plan: TrainPlan, program: Program) -> Iterator[Diagnostic]:
    """What is wrong with the states that are carried over."""
    span = plan.place("carry")
    if not plan.carry:
        return
    taken, given = inputs_by_name(program), outputs_by_name(program)
    for name in plan.carry:
        place = plan.place(f"carry {name}") or span
        gone = [what for what, known in (("input", taken), ("output", given)) if name not in known]
        if gone:
            said = f"a state enters and leaves under one name: `input {name}: [B, 64]`, and `output {name} = …`"
            help = did_you_mean(name, set(taken) & set(given)) or said
            message = f"`{program.name}` has no {' and no '.join(gone)} `{name}` to carry"
            yield Diagnostic("A1046", message, place, help=help)
        else:
            yield from _same(name, program, place)
    if set(taken) <= set(plan.carry):
        yield Diagnostic("A1046", f"every input of `{program.name}` is carried: none is left for the data", span)


def _same(name: str, program: Program, span: Span | None) -> Iterator[Diagnostic]:
    """Does what leaves fit what enters?"""
    (place, entering), (output, leaving) = inputs_by_name(program)[name], outputs_by_name(program)[name]
    nodes = program.graph[program.input_nodes()[place]], program.graph[program.graph.outputs[output]]
    labels = tuple(Label(n.span, f"this is {n.types[0]}") for n in nodes if n.span is not None)
    differ = any(compare(a, b) is Verdict.REFUTED for a, b in zip(entering.shape, leaving.shape, strict=False))
    if entering.rank != leaving.rank or entering.dtype != leaving.dtype or differ:
        message = f"the state `{name}` enters as {entering} and leaves as {leaving}"
        yield Diagnostic("A1047", message, span, labels, "the next batch gets what this one leaves")
    elif entering.rank == 0 or not all(isinstance(size, int) for size in entering.shape[1:]):
        message = f"the state `{name}` is {entering}, and nothing says how many zeros it starts with"
        yield Diagnostic("A1047", message, span, labels[:1], "declare its sizes behind the batch axis as numbers")


def check_streams(plan: TrainPlan) -> Iterator[Diagnostic]:
    """Do the data of a plan that carries states go on from batch to batch?"""
    span, source = plan.place("carry"), plan.data
    if not plan.carry:
        return
    labels = tuple(Label(place, "the data") for place in [plan.place("data")] if place is not None)
    if not SOURCES[source.kind].streams:
        names = ", ".join(f"`{name}`" for name, model in SOURCES.items() if model.streams)
        message = f"`carry` needs data that go on from batch to batch, and examples of `{source.kind}` stand alone"
        yield Diagnostic("A1048", message, span, labels, f"{names} go on")
    elif plan.shuffle and plan.place("shuffle") is not None:
        message = "`shuffle true` and `carry` contradict each other: batches that go on have an order"
        yield Diagnostic("A1048", message, plan.place("shuffle"), help="leave `shuffle` out")
    elif plan.sampler == "balanced":
        message = "`sampler balanced` and `carry` contradict each other: batches that go on have an order"
        yield Diagnostic("A1048", message, plan.place("sampler") or span)
