"""Why a token has no place: what was being written, what was found, what to do.

The slips that people make are looked for first; what is left is said in general words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..diagnostics import suggest
from .machine import Machine, Token
from .scene import ARROW, DECLARATIONS, NAMED, STATEMENTS, Scene
from .slips import SLIPS

if TYPE_CHECKING:
    from .nodes import Nodes

_FORMS = {
    "input": "input x: [B, C, H, W]",
    "target": "target y: int[B]",
    "param": "param scale: [C] = 1",
    "const": "const past: bool[q=T, k=T] = k <= q",
    "buffer": "buffer index: int[n=16] = n",
    "sample": "sample z ~ normal(0, 1): [B, latent]",
    "module": "module E = Encoder(64)",
    "gate": "gate f = (h, x) -> linear(hidden) -> sigmoid",
    "state": "state h: [B, hidden]",
    "for": "for i in 0..n { … }",
    "if": "if condition { … } else { … }",
    "output": "output y",
    "loss": "loss nll = (logits, label) -> cross_entropy",
    "entry": "entry generate { … }",
    "bias": "bias locality(window=16) on features over H, W",
    "expect": "expect params == 61_706",
    "init": 'init conv.weight = kaiming_normal(mode="fan_out")',
    "pretrained": 'pretrained imagenet = url("https://…/resnet50.pth", sha256="0676ba61")',
    "names": 'names "transformers" { "theirs" = "ours" }',
    "generator": "generator G = Generator(latent)",
    "discriminator": "discriminator D = Critic()",
    "pair": "pair G vs D on (real, fake) by hinge",
    "skip": "skip { … } or skip from other by concat { … }",
    "repeat": "repeat 3 { … }",
    "scan": "scan LSTM(256) over T",
    "reverse": "reverse LSTM(256) over T",
    "bidirectional": "bidirectional LSTM(256) over T",
    "phase": "phase head { freeze all  epochs 3 }",
    "train": "train Name on data(…) { epochs 20 }",
    "func": "func f(a: float, b: int = 8) = a * b",
    "import": 'import "std/attention" use MultiHeadAttention',
    "block": "block Name(width: int) { … }",
    "cell": "cell Name(hidden: int) { … }",
    "network": "network Name(classes: int = 10) { … } or network Name = Base(setting=value)",
    "adversarial": "adversarial Name(latent: int = 100) { … }",
}


def explain(nodes: Nodes, machine: Machine, token: Token) -> None:
    """Report the error at a token that the parser cannot read."""
    scene = Scene(nodes, machine, token)
    for slip in SLIPS:
        if slip(scene):
            return
    separator = _missing_separator(scene)
    help = separator or _general_help(scene)
    message = f"expected {scene.expected()}{scene.context()}, found {scene.shown}"
    nodes.report("A0113" if separator else "A0101", message, scene.gap, help)


def _missing_separator(scene: Scene) -> str | None:
    """The help where two things stand side by side that need a comma or an arrow between them."""
    starts_value = scene.token.kind in ("NAME", "NUMBER", "STRING", "QUOTED", "PRIMED", "LSQB", "LPAR")
    opens = scene.machine.opens
    if starts_value and "COMMA" in scene.accepted and opens and opens[-1][0] != "LBRACE":
        return f"put a `,` before {scene.shown}"
    if starts_value and ARROW in scene.accepted and opens and "sequence" in scene.bracket():
        return f"stages are joined by arrows: put a `->` before {scene.shown}"
    return None


def _general_help(scene: Scene) -> str | None:
    if "_FUNC" in scene.accepted:
        close = suggest(scene.text, DECLARATIONS)
        return f"did you mean `{close}`?" if close else f"a file holds {', '.join(f'`{d}`' for d in DECLARATIONS)}"
    previous = scene.recent(1)
    if previous.isidentifier() and previous not in STATEMENTS and scene.here in NAMED:
        close = suggest(previous, STATEMENTS)
        if close:
            return f"did you mean `{close}`, not `{previous}`?"
    keyword = scene.machine.tables.keywords.get(scene.text)
    if keyword and scene.token.kind == "NAME" and keyword[0] in scene.accepted:
        return f"before `=`, `,` or `:` the word `{scene.text}` is an ordinary name"
    if scene.text == "{" and "NUMBER" in scene.accepted:
        return "braces hold stages, and stages stand behind an arrow: `y = x -> { conv(8) -> relu }`"
    if scene.text == "then":
        return "a statement is `if condition { … }`, a value `y = if condition then a else b`"
    form = _FORMS.get(scene.word)
    return f"it is written `{form}`" if form else None
