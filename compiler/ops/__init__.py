"""Every op of the language. Importing this imports each family, so the registry is complete."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from .base import Op, registry

for _family in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    if _family != "base":
        import_module(f"{__name__}.{_family}")


def get(name: str) -> type[Op] | None:
    """The op called `name`, or None."""
    return registry().get(name)


def require(name: str) -> type[Op]:
    """An op that the compiler itself puts in."""
    return registry()[name]


def names() -> list[str]:
    """Names of the ops that a spec may write, sorted."""
    return sorted(name for name, op in registry().items() if not op.hidden)
