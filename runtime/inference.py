"""Modules that are only to be evaluated, rewritten to be quick."""

from __future__ import annotations

from archlang.compiler.graph import Program
from archlang.compiler.passes import LEVELS, Pass, optimise
from torch import nn

from .module import build


def for_inference(
    program: Program,
    trained: nn.Module,
    level: int = 1,
    *,
    passes: tuple[Pass, ...] | None = None,
    standalone: bool = False,
) -> nn.Module:
    """A module in evaluation mode that computes what `trained`, a module of the program, computes in that mode.

    level: which rewrites to make, see `archlang.compiler.passes`. 0 gives `trained` itself. passes: those in place of
    a level's. standalone: as in `build`. No gradients flow into its weights."""
    chosen = LEVELS[level] if passes is None else passes
    if chosen:
        module = build(optimise(program, chosen), started=False, standalone=standalone)
        module.load_state_dict(trained.state_dict())
        device = next((t.device for t in (*trained.parameters(), *trained.buffers())), None)
        trained = module if device is None else module.to(device)
    return trained.eval().requires_grad_(False)
