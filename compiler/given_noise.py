"""Entries whose noise is handed in: the same function, with what it draws as inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .graph import Graph, Kind, Program
from .ops.noise import Noise
from .types import TensorType


@dataclass(frozen=True)
class Given:
    """An entry with its draws as inputs. graph: the variant, its inputs in the order of its nodes. draws: by the
    input's name, the distribution that the entry would have drawn it from."""

    graph: Graph
    draws: dict[str, Noise]

    @property
    def inputs(self) -> dict[str, TensorType]:
        """Every input and its type, in order."""
        return {self.graph[n].name: self.graph[n].types[0] for n in self.graph.inputs}


def noise_given(entry: Graph) -> Given:
    """The variant of an entry in which what its own `sample` statements draw comes in as inputs of the same names.
    What the blocks that it runs draw inside stays noise. Weights and everything else are shared with the entry."""
    made = replace(entry, nx=entry.nx.copy(), outputs=list(entry.outputs), losses=list(entry.losses))
    names = {ref.node: name for name, ref in entry.values.items()}
    taken = {entry[n].name for n in entry.inputs}
    draws: dict[str, Noise] = {}
    inputs = set(entry.inputs)
    for number in entry.order():
        op = entry[number].op
        if not isinstance(op, Noise):
            continue
        name = plain = entry[number].name or names.get(number) or "noise"
        count = 1
        while name in taken:
            count += 1
            name = f"{plain}{count}"
        taken.add(name)
        draws[name] = op
        inputs.add(number)
        node = replace(entry[number], kind=Kind.INPUT, name=name, op=None)
        made.nx._node[number] = {"node": node}
    made.inputs = [number for number in entry.order() if number in inputs]
    return Given(made, draws)


def draws_only(entry: Graph) -> bool:
    """Does an entry need no data: nothing but noise, and numbers without axes?"""
    return not any(entry[n].types[0].rank for n in entry.inputs)


def pictures(type_: TensorType) -> bool:
    """Grey or colour pictures, [B, 1 or 3, H, W]?"""
    return type_.rank == 4 and type_.dtype == "float" and type_.shape[1] in (1, 3)


def points(type_: TensorType) -> bool:
    """Points in the plane, [B, 2]?"""
    return type_.rank == 2 and type_.dtype == "float" and type_.shape[1] == 2


def picture_input(entry: Graph) -> int | None:
    """The input of an entry that is all the data it reads, if that is pictures, and pictures are what it makes."""
    read = [n for n in entry.inputs if entry[n].types[0].rank]
    fits = len(read) == 1 and pictures(entry[read[0]].types[0]) and pictures(entry[entry.outputs[0]].types[0])
    return read[0] if fits else None


def translations(program: Program) -> list[Graph]:
    """Entries that make pictures of one of the program's own inputs, and all pictures of one size."""
    inputs = {program.graph[n].name: program.graph[n].types[0].shape for n in program.data_nodes()}
    found = []
    for entry in program.entries.values():
        number = picture_input(entry)
        if number is not None and inputs.get(entry[number].name, ())[1:] == entry[entry.outputs[0]].types[0].shape[1:]:
            found.append(entry)
    return [entry for entry in found if _size(entry) == _size(found[0])]


def _size(entry: Graph) -> object:
    return entry[entry.outputs[0]].types[0].shape[1:]


def default_entry(program: Program) -> Graph | None:
    """The entry that makes something when none is named: `generate`, or else the only one that needs no data."""
    free = {name: entry for name, entry in program.entries.items() if draws_only(entry)}
    if "generate" in free or len(free) == 1:
        return free.get("generate") or next(iter(free.values()))
    return None
