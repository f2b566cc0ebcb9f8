"""Every op of the language. A family is imported when one of its ops is asked for."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from .base import REGISTRY, Op

# The home of ops that most specs use. An op that is not listed is found by importing every family.
_HOMES = {
    name: family
    for family, names in {
        "activation": "gelu identity leaky_relu relu sigmoid silu softmax tanh",
        "arithmetic": "add mul scalar",
        "conv": "conv conv_transpose",
        "dropout": "dropout",
        "join": "concat split stack unstack",
        "linear": "embedding linear",
        "losses": "bce_with_logits cross_entropy mse",
        "norm": "batchnorm groupnorm layernorm rmsnorm",
        "pooling": "adaptive_avgpool avgpool global_avgpool global_maxpool maxpool",
        "reduce": "max mean sum",
        "resample": "pad upsample",
        "select": "index",
        "shape": "flatten reshape squeeze transpose unsqueeze",
    }.items()
    for name in names.split()
}


def registry() -> dict[str, type[Op]]:
    """Every op by name: ours, and those of other packages that have been imported."""
    _import_all()
    return REGISTRY


@cache
def _import_all() -> None:
    for family in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        import_module(f"{__name__}.{family}")


def get(name: str) -> type[Op] | None:
    """The op called `name`, or None."""
    if name not in REGISTRY:
        if name in _HOMES:
            import_module(f"{__name__}.{_HOMES[name]}")
        else:
            _import_all()
    return REGISTRY.get(name)


def require(name: str) -> type[Op]:
    """An op that the compiler itself puts in."""
    return get(name) or registry()[name]


def names() -> list[str]:
    """Names of the ops that a spec may write, sorted."""
    return sorted(name for name, op in registry().items() if not op.hidden)
