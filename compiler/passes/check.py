"""What a rewrite owes: a graph in order, every place in the text, every key of a checkpoint, every proof."""

from __future__ import annotations

from ..analysis.biases import Verdict, prove
from ..graph import Graph, Instance, Program
from ..verify import BrokenGraph, verify


class BrokenPass(AssertionError):
    """A rewrite that broke its promise: a bug of the compiler, never of a spec. `name` is the rewrite's."""

    def __init__(self, name: str, problems: list[str]) -> None:
        self.name, self.problems = name, problems
        super().__init__(f"the rewrite `{name}` broke the program:\n" + "\n".join(f"- {p}" for p in problems))


def check(name: str, before: Program, after: Program) -> None:
    """Raises BrokenPass where the rewrite `name` lost something that `before` has."""
    problems: list[str] = []
    try:
        verify(after, spans=True)
    except BrokenGraph as failure:
        problems += failure.problems
    problems += _keys(before, after) + _proofs(before, after)
    if problems:
        raise BrokenPass(name, problems)


def _keys(before: Program, after: Program) -> list[str]:
    """An ordinary checkpoint must load: every key has a place, and every tensor a key that fills it."""
    given = {key for key, _ in before.graph.state()} | set(_folded(before.graph))
    wanted = {key for key, _ in after.graph.state()}
    folded = _folded(after.graph)
    lost = sorted(key for key in given - wanted if key not in folded)
    made = {f"{layer}.bias" for layer in folded.values()}
    return [
        *(f"the key `{key}` of a checkpoint leads nowhere" for key in lost),
        *(f"no checkpoint has the key `{key}`" for key in sorted(wanted - given - made)),
    ]


def _folded(graph: Graph, prefix: str = "") -> dict[str, str]:
    """Keys of norms that became part of a layer, with that layer's path."""
    found = {}
    for fold in graph.folds:
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            found[f"{prefix}{fold.norm}.{part}"] = prefix + fold.layer
    for path, module in graph.modules.items():
        if isinstance(module, Instance):
            found |= _folded(module.graph, f"{prefix}{path}.")
    return found


def _proofs(before: Program, after: Program) -> list[str]:
    """What was proved of the program must be proved of what became of it, but for what rests on losses that went."""
    kept = len(before.graph.losses) == len(after.graph.losses)
    held, holds = (
        {f"{f} of {f.graph}" for f in prove(p) if f.verdict is Verdict.PROVED and (kept or not f.claim.learned)}
        for p in (before, after)
    )
    return [f"{claim} was proved before, and is not after" for claim in sorted(held - holds)]
