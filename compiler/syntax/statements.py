"""The syntax tree from statements up: what stands in bodies and at the top of files."""

from __future__ import annotations

from dataclasses import field

from .terms import Argument, Call, Expr, Ident, ListExpr, Node, Param, Shape, String, Template


class Stmt(Node):
    """A line of a body."""


class Item(Node):
    """A declaration at the top of a file."""


# ---------------------------------------------------------------- statements


class InputStmt(Stmt):
    """`input x: [B, C]`; `target y: int[B]` with `role` target."""

    name: Ident
    shape: Shape
    role: str = "input"


class ParamStmt(Stmt):
    """``param `encoder.pos`: [1, 197, D] = normal(0, 0.02)``."""

    name: Template
    shape: Shape
    init: Expr | None = None


class ConstStmt(Stmt):
    """`const past: bool[q=T, k=S] = k <= q`; `buffer` when it is saved."""

    name: Ident
    shape: Shape
    value: Expr
    buffer: bool = False


class SampleStmt(Stmt):
    """`sample eps ~ normal(0, 1): [B, latent]`."""

    name: Ident
    distribution: Expr
    shape: Shape


class BindStmt(Stmt):
    """`a, b = expr`, `scores: [B, Q=T] = expr`, `h' = expr` (one primed target)."""

    targets: tuple[Ident, ...]
    value: Expr
    shape: Shape | None = None


class ModuleStmt(Stmt):
    """``module E = Encoder(64)``, ``module `nets.{i}` = MLP([256, dim])``."""

    name: Template
    value: Expr


class GateStmt(Stmt):
    """`gate f = expr`, `gate f in [-1, 1] = expr`."""

    name: Ident
    value: Expr
    bounds: ListExpr | None = None


class StateStmt(Stmt):
    """`state h: [B, hidden]`."""

    name: Ident
    shape: Shape


class ForStmt(Stmt):
    targets: tuple[Ident, ...]
    iterable: Expr
    body: tuple[Stmt, ...]


class IfStmt(Stmt):
    """`if cond { … } else { … }`; `else if` nests in `no`."""

    condition: Expr
    yes: tuple[Stmt, ...]
    no: tuple[Stmt, ...]


class OutputStmt(Stmt):
    """`output y`, `output y = expr`, `output expr`. A bare `output y` is name None and value Name('y')."""

    name: Ident | None
    value: Expr


class LossStmt(Stmt):
    """`loss kl weight 0.5 over G, D = expr`."""

    name: Ident
    value: Expr
    weight: Expr | None = None
    over: tuple[Ident, ...] = ()


class EntryStmt(Stmt):
    """`entry generate { … }`."""

    name: Ident
    body: tuple[Stmt, ...]


class BiasStmt(Stmt):
    """`bias claim(…) on value over AXES assumed`. `called` as in Apply."""

    claim: Ident
    arguments: tuple[Argument, ...] = ()
    value: Expr | None = None
    axes: tuple[Ident, ...] = ()
    assumed: bool = False
    called: bool = field(default=False, compare=False)


class ExpectStmt(Stmt):
    """`expect params == 61_706`, `expect flops ~= 4.1G within 1%`.

    `relation` is one of == != < <= > >= ~=. `tolerance` is the expression after `within`; `percent` says it had `%`."""

    left: Expr
    relation: str
    right: Expr
    tolerance: Expr | None = None
    percent: bool = False


class InitStmt(Stmt):
    """`init conv.weight = kaiming_normal(mode="fan_out")`: how a kind of layer starts a weight."""

    layer: Ident
    weight: Ident
    value: Expr


class PretrainedStmt(Stmt):
    """`pretrained imagenet = url("https://…", sha256="…")`: where weights are published."""

    name: Ident
    value: Expr


class KeyRule(Node):
    """`"h.{i}.attn.w" = "transformer.h.{i}.attn.w" transposed`: a line of a `names` table, the published key first."""

    theirs: String
    ours: String
    options: tuple[Expr, ...] = ()


class NamesStmt(Stmt):
    """`names "transformers" { … }`."""

    scheme: String
    rules: tuple[KeyRule, ...]


class PlayerStmt(Stmt):
    """`generator G = Generator(latent)`; `role` is generator or discriminator."""

    role: str
    name: Ident
    value: Expr


class PairStmt(Stmt):
    """`pair G vs D on (real, fake) with (alpha=alpha) by hinge(…)`."""

    first: Ident
    second: Ident
    on: tuple[Expr, ...]
    extra: tuple[Argument, ...]
    objective: Expr


# ---------------------------------------------------------------- training


class Setting(Stmt):
    """`key value` in a train block or a phase: `epochs 20`, `optimizer adam(lr=1e-3)`, `freeze all except fc`,
    `init "w.safetensors" except fc`, `set resolution=8, width=2`, `fade alpha=2`.

    `values` are what stands before `except`; `assignments` the `name=value` ones (values is then empty)."""

    key: Ident
    values: tuple[Expr, ...] = ()
    assignments: tuple[Argument, ...] = ()
    excepted: tuple[Expr, ...] = ()


class Phase(Stmt):
    """`phase head { … }`."""

    name: Ident
    body: tuple[Setting, ...]


# ---------------------------------------------------------------- items


class Import(Item):
    """`import "std/attention" use MultiHeadAttention, CrossAttention`."""

    path: String
    names: tuple[Ident, ...]


class Definition(Item):
    """`block`, `cell`, `network` or `adversarial` (`kind`) with parameters and a body. `doc`: the string before it."""

    kind: str
    name: Ident
    params: tuple[Param, ...]
    body: tuple[Stmt, ...]
    doc: str | None = None


class Configuration(Item):
    """`network ResNet50 = ResNet(Bottleneck, layers=[3, 4, 6, 3]) { expect … }`. `kind` is network or adversarial."""

    kind: str
    name: Ident
    value: Call
    body: tuple[Stmt, ...] = ()
    doc: str | None = None


class Func(Item):
    """`func f(a: float, b: int = 8) = expr`."""

    name: Ident
    params: tuple[Param, ...]
    value: Expr


class Train(Item):
    """`train Name on data(…) { … }`."""

    target: Expr
    data: Expr
    body: tuple[Setting | Phase, ...]


class File(Node):
    """A whole text. `doc` is the string at its top."""

    items: tuple[Item, ...]
    doc: str | None = None
    comments: tuple[Comment, ...] = field(default=(), compare=False)


class Comment(Node):
    """`# …` as written, without the line break. `own_line`: nothing stands before it on its line."""

    text: str
    own_line: bool
