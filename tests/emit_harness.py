"""What the tests of emission share: texts of networks, compiling them, ruff as a user would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from archlang.compiler.frontend import compile_program
from archlang.compiler.graph import Graph, Kind, Layer, Node, Program, Ref
from archlang.compiler.ops import get
from archlang.compiler.ops.base import Need
from archlang.compiler.source import Source, Span
from archlang.compiler.types import tensor

MANY = """
block Film(dim: int) {
  input x: [B, C, H, W]
  input t: [B, E]
  scale = t -> silu -> proj: linear(C) -> rearrange("b c -> b c 1 1")
  output x * (1 + scale) - scale
}
block Uses(net: module) {
  input x: [B, D]
  output (x -> net) + x
}
network Many(dim: int = 8, depth: int = 3) {
  input x: [B, 3, H~16, W~16]
  input t: [B, 6]
  target y: [B, 5]
  param gain: [] = 2.5
  param pos: [1, dim, 1, 1] = normal(0, 0.02)
  buffer table: [n=4] = n / 3
  const ramp: [n=5] = n
  module shared = linear(6)
  a = x -> conv(dim, kernel=3, pad=1)
  for i in 0..depth { a = (a, t) -> `films.{i}`: Film(dim) }
  a = a * gain + pos
  u = t -> shared -> relu -> shared
  u = u -> Uses(shared)
  side = u -> aux_head: linear(5)
  pooled = a -> global_avgpool -> flatten
  both = pooled -> head: { linear(7) -> relu -> dropout(0.1) -> out: linear(5) }
  both = both + ramp
  output both
  output pooled
  loss main = (both, y) -> mse
  loss aux weight 0.3 = (side, y) -> mse
  entry encode {
    input z: [N, 6]
    output z -> shared
  }
}
"""

HOLES = """
block Attn(heads: int, drop: float) {
  input x: [B, T, D]
  q, k, v = x -> qkv: linear(3 * D) -> rearrange("b t (n h d) -> n b h t d", n=3, h=heads)
  scores = ((q, k) -> einsum("b h q d, b h k d -> b h q k")) / sqrt(D / heads)
  mixed = (scores -> softmax(axis=-1) -> dropout(drop), v) -> einsum("b h q k, b h k d -> b h q d")
  output mixed -> rearrange("b h q d -> b q (h d)") -> proj: linear(D, layout="io")
}
block Mixed(width: int) {
  input x: [B, C, H, W]
  const ramp: [n=C] = n / C
  param scale: [C] = 1
  y = x * ((ramp * scale) -> rearrange("c -> c 1 1"))
  output y -> rearrange("b c h w -> b (h w) c") -> linear(width) -> rearrange("b (h w) c -> b c h w", h=H, w=W)
}
network Holes {
  input x: [B, T, 12]
  input image: [B, 3, H, W]
  h = x -> a: Attn(2, 0.1) -> b: Attn(3, 0.2) -> linear(16) -> c: Attn(4, 0.3)
  output h
  output image -> Mixed(5) -> Mixed(7) -> avgpool(2) -> Mixed(9)
}
"""

TIED = """
network Tied(vocab: int = 11, dim: int = 6) {
  input ids: int[B, T]
  module wte = embedding(vocab, dim)
  const at: int[t=T] = t
  h = (ids -> wte) + (at -> wpe: embedding(32, dim))
  h = h -> mix: linear(dim, layout="io")
  output h -> lm_head: linear(vocab, bias=false) with (weight=wte.weight)
}
"""


def compiled(text: str, name: str | None = None, source: str = "net.arch") -> Program:
    """The program of a text."""
    return compile_program(Source(text, source), name)


def lint(*texts: str) -> str:
    """What ruff has to say about generated code: nothing, when all is well."""
    ruff = [sys.executable, "-m", "ruff"]
    rules = ["--select", "E,F,W,I,B,UP", "--line-length", "88", "--target-version", "py311", "--no-cache"]
    check = [*ruff, "check", "--isolated", "--quiet", "--output-format", "concise", *rules, "."]
    formatted = [*ruff, "format", "--isolated", "--quiet", "--diff", "--line-length", "88", "--no-cache", "."]
    said = ""
    with TemporaryDirectory() as folder:
        for i, text in enumerate(texts):
            (Path(folder) / f"net{i}.py").write_text(text, encoding="utf-8", newline="\n")
        for command in (check, formatted):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
            said += done.stdout + done.stderr if done.returncode else ""
    return said


def saved(program: Program) -> list[str]:
    """The keys of a checkpoint."""
    return [key for key, spec in program.graph.state() if spec.role != "scratch"]


class Builder:
    """Graphs written by hand."""

    def __init__(self, name: str = "Net", kind: str = "network") -> None:
        self.graph = Graph(name, kind)

    def input(self, name: str, type_: str) -> Ref:
        return Ref(self.graph.add(Node(Kind.INPUT, (tensor(type_),), name=name)))

    def op(self, op: str, *operands: Ref, name: str = "", path: str | None = None, level: str = "", **settings) -> Ref:
        made = get(op)(**settings)
        types = tuple(self.graph.type(ref) for ref in operands)
        need = Need()
        results = made.infer(types, need)
        self.graph.checks += [(check, None) for check in need.open]
        if path is not None and path not in self.graph.modules:
            self.graph.modules[path] = Layer(made, types, made.weights(types))
        node = Node(Kind.OP, results, name=name, op=made, module=path, level=level)
        return Ref(self.graph.add(node, operands))

    def output(self, ref: Ref) -> None:
        self.graph.add(Node(Kind.OUTPUT, (self.graph.type(ref),), name="output"), [ref])

    def program(self, **more) -> Program:
        return Program(self.graph.name, self.graph, **more)


def span(text: str, source: str = "net.arch") -> Span:
    """A span that covers a text."""
    return Span(Source(text, source), 0, len(text))
