"""What generated code holds so that an ordinary checkpoint loads into a network whose norms were folded."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from ..graph import Fold
from .expr import call

FOLDING = '''

def folding(*pairs: tuple[str, str, float]):
    """A hook that makes each norm of a trained network part of the layer before it."""

    def fold(module: nn.Module, state: dict[str, Tensor], prefix: str, *_) -> None:
        for layer, norm, eps in pairs:
            layer, norm = f"{prefix}{layer}.", f"{prefix}{norm}."
            if f"{norm}running_var" not in state:
                continue  # done before
            state.pop(f"{norm}num_batches_tracked", None)
            mean, weight = state.pop(f"{norm}running_mean"), state[f"{layer}weight"]
            scale = (state.pop(f"{norm}running_var") + eps).rsqrt()
            scale = scale * state.pop(f"{norm}weight", torch.ones_like(scale))
            shift = state.get(f"{layer}bias", torch.zeros_like(mean)) - mean
            shift = shift * scale + state.pop(f"{norm}bias", torch.zeros_like(mean))
            state[f"{layer}weight"] = weight * scale.view(-1, *[1] * (weight.dim() - 1))
            state[f"{layer}bias"] = shift

    return fold'''


def hook(folds: Iterable[Fold]) -> ast.expr:
    """The statement that lets a module fold its norms while it loads."""
    pairs = [ast.Tuple([ast.Constant(part) for part in fold], ast.Load()) for fold in folds]
    return call("self.register_load_state_dict_pre_hook", call("folding", *pairs))
