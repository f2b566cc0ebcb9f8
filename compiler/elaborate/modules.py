"""What `E.path` of a module leads to."""

from __future__ import annotations

from typing import Any

from ..diagnostics import did_you_mean, error
from ..graph import Instance, Layer
from ..syntax import ast
from ..types import Axis, TensorType
from .values import Module, Weight


class Below:
    """What `E.path` leads to: a weight, or a module further down whose weight the next attribute names."""

    def __init__(self, path: str, made: Layer | Instance, module: Module) -> None:
        self.path, self.made, self.module = path, made, module

    def get(self, e: ast.Attribute) -> Any:
        if isinstance(self.made, Layer):
            weights = {w.name: (e.name, w) for w in self.made.made}
            names = set(weights)
        else:
            graph = self.made.graph
            weights = {p: (p, w) for p, w in graph.weights.items()}
            names = {p.partition(".")[0] for p in (*graph.weights, *graph.modules)}
            if e.name in graph.modules:
                return Below(f"{self.path}.{e.name}", graph.modules[e.name], self.module)
        if e.name in weights:
            _, spec = weights[e.name]
            type_ = TensorType(tuple(Axis(None, n) for n in spec.shape), spec.dtype)
            return Weight(f"{self.path}.{e.name}", spec, type_, self.module.span)
        raise error(
            "A0405",
            f"`{self.path}` has no weight or layer `{e.name}`",
            e.span,
            help=did_you_mean(e.name, names)
            or "it has " + (", ".join(f"`{n}`" for n in sorted(names)[:8]) or "no weights"),
        )
