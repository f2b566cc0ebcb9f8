"""Layers that other installed packages add through the entry point `archlang.ops`. No spec can load them itself."""

from __future__ import annotations

from importlib import metadata

from archlang.compiler.diagnostics import did_you_mean, error

GROUP = "archlang.ops"


def enable_ops(package: str) -> list[str]:
    """Imports the layers of one installed package; returns the names of those that are new.

    The package is named by its distribution or by its entry point. Raises A1214 when none is installed, A1215 when it
    cannot be imported or its layers are not complete."""
    from archlang.compiler import ops

    wanted = _normal(package)
    points = [(p, _normal(p.dist.name) if p.dist else "") for p in metadata.entry_points(group=GROUP)]
    chosen = [p for p, distribution in points if wanted in (_normal(p.name), distribution)]
    if not chosen:
        known = sorted({name for p, distribution in points for name in (p.name, distribution) if name})
        help = did_you_mean(package, known) or f"install a package that declares the entry point `{GROUP}`"
        raise error("A1214", f"no installed package called `{package}` adds layers", help=help)
    before = set(ops.names())
    for point in chosen:
        try:
            point.load()
        except Exception as failure:
            what = f"{type(failure).__name__}: {failure}"
            raise error("A1215", f"the layers of `{package}` could not be loaded: {what}") from failure
    return sorted(set(ops.names()) - before)


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
