"""Which input of a network gets which tensor: of sequences by name where names agree, and else in order."""

from __future__ import annotations

from dataclasses import dataclass

from archlang.compiler.graph import Program
from archlang.compiler.sizes import Dim

INPUTS: dict[str, tuple[str, ...]] = {"text": ("tokens",), "tagged": ("tokens",), "pairs": ("source", "previous")}
EXTRAS: dict[str, tuple[str, ...]] = {
    "tagged": ("mask", "lengths"),
    "pairs": ("source_mask", "source_lengths", "target_mask", "target_lengths"),
}


@dataclass(frozen=True)
class Roles:
    """inputs: the node of each column. spare: nodes that get none. unused: columns that no node takes, but extras."""

    inputs: dict[str, int]
    spare: tuple[int, ...]
    unused: tuple[str, ...]


def roles(program: Program, kind: str, carried: tuple[str, ...]) -> Roles:
    """What each input of the network is given by a source of a kind. States that are carried over are given nothing."""
    nodes = {program.graph[n].name or "": n for n in program.data_nodes()}
    free = {name: n for name, n in nodes.items() if name not in carried}
    columns = INPUTS.get(kind, ("values",))
    found = {name: free.pop(name) for name in (*columns, *EXTRAS.get(kind, ())) if name in free}
    rest = [name for name in columns if name not in found]
    found.update(zip(rest, free.values(), strict=False))
    return Roles(found, tuple(free.values())[len(rest) :], tuple(rest[len(free) :]))


def label_node(program: Program) -> int | None:
    """What takes the label of an example: the first target; in a network without one, a second input [B], as a
    generator has that is told the class. None where nothing does."""
    targets, inputs = program.target_nodes(), program.data_nodes()
    if targets:
        return targets[0]
    told = len(inputs) == 2 and program.graph[inputs[1]].types[0].rank == 1
    return inputs[1] if told else None


def size(program: Program, node: int | None, axis: int) -> int | Dim | None:
    """The size of an axis of an input or target; None where it has no such axis."""
    if node is None:
        return None
    shape = program.graph[node].types[0].shape
    return shape[axis] if axis < len(shape) else None


def fixed(program: Program, node: int | None, axis: int) -> int | None:
    """The size of an axis where the network fixes it."""
    found = size(program, node, axis)
    return found if isinstance(found, int) else None


def usual(program: Program, node: int | None, axis: int) -> int | None:
    """The size of an axis that the network fixes or, as in `T~128`, calls usual."""
    found = size(program, node, axis)
    found = program.graph.nominal.get(str(found), found)
    return found if isinstance(found, int) else None
