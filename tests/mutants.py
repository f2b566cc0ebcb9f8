"""Specs changed on purpose: by a step that breaks one of their claims, or by one that keeps all of them.

Which it is follows from what the step does, not from the compiler: a table of factors that differ from place to place
breaks every claim about moves, a pooled summary breaks locality, and so on (`STEPS`, `EDITS`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import latent_edits
from archlang.compiler.analysis.biases import Finding, Verdict, prove
from archlang.compiler.frontend import Frontend
from archlang.compiler.graph import Program
from archlang.compiler.source import Source

SPECS = Path(__file__).parents[1] / "specs"

IMAGE = """
block Mutation {{
  input x: [B, C, H, W]
  {body}
}}
"""
SEQUENCE = """
block Mutation {{
  input x: [B, C, T]
  {body}
}}
"""
TOKENS = """
block Mutation {{
  input x: [B, T, D]
  {body}
}}
"""
SET = """
block Mutation {{
  input x: [B, N, D]
  {body}
}}
"""


@dataclass(frozen=True)
class Step:
    """Something put in after an input or before a claim. `breaks`: the claims that can't hold any longer."""

    name: str
    body: str
    breaks: tuple[str, ...] = ()
    only_last: bool = False  # before the claim, not at the entrance of blocks: sizes change
    keeps: tuple[str, ...] = ()  # for a step that keeps some of the claims only


SPATIAL = ("locality", "translation_equivariance", "translation_invariance", "weight_sharing", "hierarchy")
STEPS = {
    IMAGE: (
        Step(
            "a factor for each place",
            "const ramp: [h=H, w=W] = 1 + 0.1 * h + 0.2 * w\n  output x * ramp",
            ("translation_equivariance", "translation_invariance"),
        ),
        Step("a pooled summary added", "output x + (x -> global_avgpool)", ("locality",)),
        Step("a norm over all places", "output x -> groupnorm(1)", ("locality",)),
        Step("softmax along a column", "output x -> softmax(axis=H)", ("locality",)),
        Step("a running sum down the columns", "output x -> cumsum(axis=H)", ("locality",)),
        Step("upside down", "output x -> flip(axis=H)", ("translation_equivariance",)),
        Step("a wider kernel", "output x -> conv(C, kernel=[1, 301], pad=[0, 150])", ("locality(",)),
        Step("pooled once more", "output x -> maxpool(2)", ("translation_equivariance(", "locality("), only_last=True),
        Step("drawn larger", "output x -> upsample(2)", ("hierarchy",), only_last=True),
        Step("another activation", "output x -> gelu", keeps=(*SPATIAL, "residual")),
        Step("a convolution of one place", "output x -> conv(C, kernel=1)", ("residual",), keeps=SPATIAL),
        Step(
            "a way around such a convolution",
            "output x -> skip { conv(C, kernel=1) -> tanh }",
            keeps=(*SPATIAL, "residual"),
        ),
        Step("a norm of each channel", "output x -> batchnorm", keeps=SPATIAL),
        Step("dropout", "output x -> dropout(0.1)", keeps=(*SPATIAL, "residual")),
        Step("channels compared at each place", "output x -> softmax(axis=C)", keeps=SPATIAL),
        Step("scaled and shifted", "output 2 * x + 1", keeps=(*SPATIAL, "residual")),
        Step("squared and added", "output x + x * x", keeps=(*SPATIAL, "residual")),
        Step(
            "turned and turned back",
            'output x -> rearrange("b c h w -> b h w c") -> rearrange("b h w c -> b c h w")',
            keeps=(*SPATIAL, "residual"),
        ),
        Step("a factor for each channel", "param scale: [C, 1, 1] = ones\n  output x * scale", keeps=SPATIAL),
    ),
    SEQUENCE: (
        Step("one step ahead", "output x -> pad([[0, 1]]) -> conv(C, kernel=2)", ("causality", "locality(")),
        Step("padded on both sides", "output x -> conv(C, kernel=3, pad=1)", ("causality", "locality(")),
        Step("a norm over time", "output x -> groupnorm(1)", ("causality", "locality")),
        Step("backwards", "output x -> flip(axis=T)", ("causality", "translation_equivariance")),
        Step("a mean over time added", "output x + (x -> global_avgpool)", ("causality", "locality")),
        Step("softmax over time", "output x -> softmax(axis=T)", ("causality", "locality")),
        Step(
            "a factor for each step",
            "const ramp: [t=T] = 1 + 0.1 * t\n  output x * ramp",
            ("translation_equivariance",),
        ),
        Step("another activation", "output x -> gelu", keeps=("causality", "locality", "translation_equivariance")),
        Step(
            "a way around a convolution of one step",
            "output x -> skip { conv(C, kernel=1) }",
            keeps=("causality", "locality", "translation_equivariance", "residual", "weight_sharing"),
        ),
        Step("a running sum", "output x -> cumsum(axis=T)", ("locality",), keeps=("causality", "weight_sharing")),
        Step("scaled", "output 3 * x", keeps=("causality", "locality", "translation_equivariance", "residual")),
    ),
    TOKENS: (
        Step("backwards", "output x -> flip(axis=T)", ("causality",)),
        Step("a mean over time added", "output x + (x -> mean(axis=T, keep=true))", ("causality",)),
        Step("softmax over time", "output x -> softmax(axis=T)", ("causality",)),
        Step(
            "neighbours mixed",
            'output x -> rearrange("b t d -> b d t") -> conv(D, kernel=3, pad=1) -> rearrange("b d t -> b t d")',
            ("causality",),
        ),
        Step(
            "earlier neighbours mixed",
            'output x -> rearrange("b t d -> b d t") -> conv(D, kernel=3, pad="causal") -> rearrange("b d t -> b t d")',
            keeps=("causality", "weight_sharing"),
        ),
        Step("a running sum", "output x -> cumsum(axis=T)", keeps=("causality", "weight_sharing")),
        Step("a table of positions", "const place: [t=T, d=1] = sin(t)\n  output x + place", keeps=("causality",)),
        Step("a layer for each token", "output x -> linear(D)", ("residual",), keeps=("causality", "weight_sharing")),
        Step("a norm of each token", "output x -> layernorm", keeps=("causality", "weight_sharing")),
        Step("another activation", "output x -> gelu", keeps=("causality", "weight_sharing", "residual")),
    ),
    SET: (
        Step(
            "a factor for each element",
            'const ramp: [n=N] = 1 + 0.1 * n\n  output (x -> rearrange("b n d -> b d n")) * ramp'
            ' -> rearrange("b d n -> b n d")',
            ("permutation_equivariance", "permutation_invariance"),
        ),
        Step("a running sum", "output x -> cumsum(axis=N)", ("permutation_equivariance", "permutation_invariance")),
        Step(
            "neighbours mixed",
            'output x -> rearrange("b n d -> b d n") -> conv(D, kernel=3, pad=1) -> rearrange("b d n -> b n d")',
            ("permutation_equivariance", "permutation_invariance", "locality("),
        ),
        Step(
            "a table of positions",
            "const place: [n=N, d=1] = sin(n)\n  output x + place",
            ("permutation_equivariance",),
        ),
        Step("another activation", "output x -> gelu", keeps=("permutation_equivariance", "permutation_invariance")),
        Step(
            "a layer for each element",
            "output x -> linear(D)",
            keeps=("permutation_equivariance", "permutation_invariance", "weight_sharing", "locality"),
        ),
        Step(
            "a mean added",
            "output x + (x -> mean(axis=N, keep=true))",
            ("locality(",),
            keeps=("permutation_equivariance", "permutation_invariance", "weight_sharing"),
        ),
        Step(
            "compared with all others",
            "output x -> softmax(axis=N)",
            ("locality(",),
            keeps=("permutation_equivariance", "permutation_invariance", "weight_sharing"),
        ),
    ),
}


NETWORKS = {
    "cnn/lenet5": "LeNet5",
    "cnn/alexnet": "AlexNet",
    "cnn/vgg": "VGG16",
    "cnn/googlenet": "GoogLeNet",
    "cnn/inception_v3": "InceptionV3",
    "cnn/resnet": "ResNet18",
    "cnn/resnet_cifar": "ResNet20",
    "cnn/densenet": "DenseNet121",
    "cnn/squeezenet": "SqueezeNet1_1",
    "cnn/mobilenet_v1": "MobileNetV1_100",
    "cnn/mobilenet_v2": "MobileNetV2_100",
    "cnn/mobilenet_v3": "MobileNetV3Small",
    "cnn/efficientnet": "EfficientNetB0",
    "cnn/convnext": "ConvNeXtTiny",
    "autoencoders/conv_vae": "ConvVAE",
}
"""The specs that are changed, and the network that is compiled of each."""

SMALL = ("foundations/convolution", "foundations/fully_connected", "foundations/biases", "autoencoders/vae")
"""Specs of which every network is compiled."""


@dataclass(frozen=True)
class Edit:
    """A piece of a spec replaced, so that a claim can't hold any longer, or so that it `holds` all the same. spec,
    network: where; anywhere without. sized: the image's size becomes fixed, which the change needs."""

    change: str
    old: str
    new: str
    claim: str
    spec: str | None = None
    network: str | None = None
    sized: bool = False
    holds: bool = False


_HERE = "foundations/biases"
_CONV_VAE = "autoencoders/conv_vae"
_SCORES = "scores * (width // heads) ** -0.5"
EDITS = (
    Edit("no way around", "then x + y else y", "then y else y", "residual"),
    Edit("no way around", "then y + x else y", "then y else y", "residual"),
    Edit("no way around", "(y -> stochastic_depth(drop)) + x", "y", "residual"),
    Edit("no way around", "(layer_scale * y -> stochastic_depth(drop)) + x", "y", "residual"),
    Edit(
        "pooled to four places",
        "features -> global_avgpool",
        "features -> adaptive_avgpool(2)",
        "translation_invariance",
    ),
    Edit(
        "a fixed size and no pooling",
        "features -> global_avgpool -> flatten",
        "features -> flatten",
        "weight_sharing",
        sized=True,
    ),
    Edit("padded on both sides", 'pad="causal"', 'pad="same"', "causality", _HERE),
    Edit("wider steps", "dilation=2 ** i", "dilation=3 ** i", "locality", _HERE),
    Edit("no way around", "skip { relu", "{ relu", "residual", _HERE, "CausalConvolutions"),
    Edit("no mask", f"(past, {_SCORES}, -inf) -> where", _SCORES, "causality", _HERE, "CausalAttention"),
    Edit("a mask of one step ahead", "k <= q", "k <= q + 1", "causality", _HERE),
    Edit("the mask turned around", "k <= q", "k >= q", "causality", _HERE),
    Edit("a mask of what is far", "k <= q", "abs(k - q) <= 3", "causality", _HERE),
    Edit("a mask that only weakens", "-inf", "-5.0", "causality", _HERE),
    Edit("no way around", "output y = x + (", "output y = (", "residual", _HERE, "CausalAttention"),
    Edit("no way around", "y = set + (", "y = (", "residual", _HERE, "SetAttention"),
    Edit("only the first", "elements -> sum(axis=N)", "elements[N=0]", "permutation_invariance", _HERE),
    Edit("a way around the code", "-> linear(64)", "-> linear(64) -> skip from x { identity }", "bottleneck", _HERE),
    Edit("a wider code", "linear(latent)", "linear(latent + 1)", "bottleneck", _HERE),
    Edit("a gate from -1 to 1", "-> sigmoid", "-> tanh", "gating", _HERE),
    Edit("a gate without a bound", "-> sigmoid", "-> softplus", "gating", _HERE),
    *(Edit(change, old, new, "smooth_latent") for change, old, new in latent_edits.BREAK),
    *(Edit(change, old, new, "smooth_latent", holds=True) for change, old, new in latent_edits.KEEP),
    Edit("a way around the code", "logits = z -> decoder", "logits = image + (z -> decoder)", "bottleneck", _CONV_VAE),
)


@dataclass(frozen=True)
class Mutant:
    """A changed spec, and one of its claims. claim: as it is written, in which line, and whether it still holds."""

    spec: str
    network: str
    change: str
    claim: str
    line: int
    holds: bool
    text: str

    def __str__(self) -> str:
        return f"{self.spec}:{self.network}, {self.change}: {self.claim}"

    @property
    def kind(self) -> str:
        return self.claim.partition("(")[0].split()[0]

    def program(self) -> Program:
        """Compiled, whatever becomes of its claim. Raises ArchError where something else is wrong."""
        front = Frontend(Source(self.text, f"{Path(self.spec).name}.arch"), (SPECS / self.spec).parent)
        front.sink.raise_if_failed()
        program = front.program(front.choose(self.network))
        front.sink.raise_if_failed()
        return program

    def verdicts(self) -> set[Verdict]:
        """What becomes of the claim, in all uses of the block that makes it."""
        found = {f.verdict for f in findings(self) if self._own(f)}
        assert found, f"{self}: the claim is not made"
        return found

    def _own(self, finding: Finding) -> bool:
        place = finding.span
        if place is None or place.source.name.startswith("std/") or place.line != self.line:
            return False
        assert finding.claim.name == self.kind
        return True

    def accepted(self) -> bool:
        return self.verdicts() == {Verdict.PROVED}


_judged: list[tuple[tuple[str, str], list[Finding]]] = []


def findings(mutant: Mutant) -> list[Finding]:
    """What is proved of a mutant's text; of the last one it is remembered, since several claims stand in one."""
    key = (mutant.network, mutant.text)
    if not _judged or _judged[0][0] != key:
        _judged[:] = [(key, prove(mutant.program()))]
    return _judged[0][1]


@dataclass
class _Definition:
    """The lines of a network or block, as (first, past the last), its inputs' lines and its claims' lines."""

    name: str
    lines: tuple[int, int]
    inputs: list[int]
    claims: list[int]


_CLAIM = re.compile(r"^ *(?:if .*\{ )?bias ([^}]*?)(?: \})?$")
_CONTRACT = re.compile(r"^ *(?:expect|pretrained) [^(]*(?:\(\".*\"\))?$")
_INPUT = re.compile(r"^  input (\w+): \[B, (.*)\]$")


_HEAD = re.compile(r"^  (?:logits|output y) = (features|elements)\b")


def _definitions(lines: list[str]) -> Iterator[_Definition]:
    start: int | None = None
    for i, line in enumerate(lines):
        opened = re.match(r"(?:network|block) (\w+)", line)
        if opened and " = " not in line.partition("(")[0]:
            start, name = i, opened[1]
        if line.startswith("}") and start is not None:
            body = range(start, i)
            yield _Definition(
                name,
                (start, i + 1),
                [j for j in body if _INPUT.match(lines[j])],
                [j for j in body if _CLAIM.match(lines[j])],
            )
            start = None


def _form(line: str) -> str | None:
    """Which kind of step fits an input."""
    axes = [re.split("[~=]", part)[0].strip() for part in _INPUT.match(line)[2].split(",")]
    match axes:
        case [_, "H", "W"]:
            return IMAGE
        case [_, "T"]:
            return SEQUENCE
        case ["T", _]:
            return TOKENS
        case ["N", _]:
            return SET
    return None


def _claims_alone(lines: list[str]) -> list[str]:
    """Without contracts; as many lines as before."""
    return ["" if _CONTRACT.match(line) else line for line in lines]


def mutants(spec: str) -> Iterator[Mutant]:
    """All of a spec, in a fixed order."""
    known = NETWORKS.get(spec)
    yield from _steps(spec, lambda definition: known or definition.name)
    yield from _edits(spec)


def chosen(spec: str) -> list[Mutant]:
    """Those that the tests judge: all that break a claim, and of a large spec's others every eighth of a kind. Those of
    one text follow one another."""
    found, kept = [], Counter[str]()
    for mutant in mutants(spec):
        kept[mutant.kind] += mutant.holds
        if not mutant.holds or spec in SMALL or kept[mutant.kind] % 8 == 1:
            found.append(mutant)
    return sorted(found, key=lambda mutant: (mutant.network, mutant.text))


def _steps(spec: str, network: Callable[[_Definition], str]) -> Iterator[Mutant]:
    lines = (SPECS / f"{spec}.arch").read_text(encoding="utf-8").splitlines()
    definitions = list(_definitions(lines))
    for definition in definitions:
        for claim in definition.claims:
            said = _CLAIM.match(lines[claim])[1]
            for change, place, name, form in _sites(lines, definitions, definition, said, claim):
                for step in STEPS[form]:
                    broken = any(said.startswith(one) for one in step.breaks)
                    if step.only_last and not change.startswith("at the end"):
                        continue
                    if broken or any(said.startswith(one) for one in step.keeps):
                        text = _claims_alone(lines)
                        text.insert(place, f"  {name} = {name} -> Mutation")
                        whole = "\n".join(text) + form.format(body=step.body)
                        line = claim + 1 + (place <= claim)
                        yield Mutant(spec, network(definition), f"{step.name} {change}", said, line, not broken, whole)


def _sites(
    lines: list[str], definitions: list[_Definition], definition: _Definition, said: str, claim: int
) -> Iterator[tuple[str, int, str, str]]:
    """Where a step can go: what it is called, the line before which it stands, the value, the kind of step."""
    for place in definition.inputs:
        if form := _form(lines[place]):
            yield "at the entrance", place + 1, _INPUT.match(lines[place])[1], form
            value = re.search(r" on (\w+)", said)
            found = ((i, _HEAD.match(lines[i])) for i in range(*definition.lines))
            head = next(((i, match[1]) for i, match in found if match), None)
            if head is not None:
                yield "at the end", *head, form
            elif value and value[1] != "logits":
                yield "at the end", claim, value[1], form
    if not definition.name[0].islower() and lines[definition.lines[0]].startswith("network"):
        blocks = [d for d in definitions if lines[d.lines[0]].startswith("block")]
        for block in blocks:
            for place in block.inputs:
                if (form := _form(lines[place])) and not block.name.startswith("Auxiliary"):
                    yield f"in {block.name}", place + 1, _INPUT.match(lines[place])[1], form


def _edits(spec: str) -> Iterator[Mutant]:
    text = (SPECS / f"{spec}.arch").read_text(encoding="utf-8")
    lines = text.splitlines()
    for edit in EDITS:
        if edit.spec not in (spec, None) or edit.old not in text:
            continue
        for definition in _definitions(lines):
            own = definition.lines
            if edit.network is not None and definition.name != edit.network:
                continue
            here = edit.old in "\n".join(lines[slice(*own)])
            if not here and spec in SMALL:
                continue  # its networks have nothing to do with one another
            first, last = own if here else (0, len(lines))
            for line in definition.claims:
                said = _CLAIM.match(lines[line])[1]
                if said.startswith(edit.claim):
                    kept = _claims_alone(lines)
                    body = "\n".join(kept[first:last]).replace(edit.old, edit.new)
                    body = body.replace("H~", "H=").replace("W~", "W=") if edit.sized else body
                    whole = "\n".join([*kept[:first], body, *kept[last:]]) + "\n"
                    at = line + 1
                    yield Mutant(spec, NETWORKS.get(spec, definition.name), edit.change, said, at, edit.holds, whole)


def table(found: Iterable[Mutant]) -> str:
    """How many of each claim are broken and kept, as the page lists them."""
    broken, kept = Counter[str](), Counter[str]()
    for mutant in found:
        (kept if mutant.holds else broken)[mutant.kind] += 1
    lines = [f"| `{kind}` | {broken[kind]} | {kept[kind]} |\n" for kind in sorted(broken | kept)]
    return "".join([*lines, f"| all | {broken.total()} | {kept.total()} |\n"])
