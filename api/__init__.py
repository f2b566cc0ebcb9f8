"""A compiler for neural-network architectures.

    import archlang

    print(archlang.check("net.arch"))            # every mistake, at its place
    model = archlang.load("lenet5", classes=26)  # an nn.Module
    program = archlang.compile("net.arch")       # shows its figure in a notebook
    print(program.python())                      # the PyTorch source
    archlang.render("net.arch", "net.svg", depth=2)

A target is a path (`"net.arch"`, `"net.arch:Tagger"`), the name of a bundled spec (`"lenet5"`, `"ResNet50"`), or
`.arch` text. Importing this imports neither torch nor anything else that is slow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archlang.compiler.diagnostics import ArchError, Diagnostic

    from .audit import probe, verify
    from .plugins import enable_ops
    from .program import Compiled, compile, load, render
    from .report import Report, check

    __version__: str

__all__ = [
    "ArchError",
    "Compiled",
    "Diagnostic",
    "Report",
    "__version__",
    "check",
    "compile",
    "enable_ops",
    "load",
    "probe",
    "render",
    "verify",
]

_HOMES = {
    "ArchError": "compiler.diagnostics",
    "Compiled": "program",
    "Diagnostic": "compiler.diagnostics",
    "Report": "report",
    "check": "report",
    "compile": "program",
    "enable_ops": "plugins",
    "load": "program",
    "probe": "audit",
    "render": "program",
    "verify": "audit",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("archlang")
    elif name in _HOMES:
        value = getattr(import_module(f"archlang.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'archlang' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
