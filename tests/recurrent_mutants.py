"""Recurrent specs changed on purpose: by a change that breaks one of their claims, or by one that keeps it.

As in `mutants`, which it is follows from what the change does. A scan turned around, a start or a mask that knows what
comes later, and a mean over time break causality; a layer in place of the scan breaks `sequential`; gates that leave
[0, 1] break `gating`; weights for each position break `weight_sharing`; one direction alone breaks `global_context`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from mutants import SPECS, TOKENS, Mutant

RECURRENT = {
    "recurrent/elman": ("Elman",),
    "recurrent/adding": ("AddingRNN", "AddingLSTM", "AddingGRU"),
    "recurrent/forecaster": ("Forecaster",),
    "recurrent/language_model": ("LanguageModel",),
    "recurrent/layers": ("OneLSTM", "DeepGRU", "BiLSTM", "DeepBiGRU"),
    "recurrent/novel": ("Peephole", "Coupled", "MinimalGated", "Highway", "ResetBefore"),
    "recurrent/seq2seq": ("Seq2Seq", "AttentiveSeq2Seq"),
    "recurrent/tagger": ("Tagger",),
}
"""The specs that are changed, and the networks that are compiled of each."""

MORE = {
    "Forecaster": ("weight_sharing over T",),
    "LanguageModel": ("weight_sharing on logits over T",),
    "AddingLSTM": ("gating on states", "weight_sharing over T"),
    "AddingGRU": ("gating on states", "weight_sharing over T"),
    "OneLSTM": ("gating on y",),
    "DeepGRU": ("gating on y",),
    "BiLSTM": ("gating on y",),
    "DeepBiGRU": ("gating on y",),
    "Tagger": ("global_context on y over T",),
    "Seq2Seq": ("causality on logits over T", "gating on logits", "global_context on logits over S"),
    "AttentiveSeq2Seq": ("causality on logits over T", "global_context on logits over S"),
}
"""What else is true of a network, and is claimed of it here."""

A_CHANGE = 2
"""Networks that each change is tried on, where it fits as many."""

CAUSAL, SEQUENTIAL, GATED, SHARED, GLOBAL = "causality", "sequential", "gating", "weight_sharing", "global_context"
ALL = (CAUSAL, SEQUENTIAL, GATED, SHARED, GLOBAL)


def but(*kinds: str) -> tuple[str, ...]:
    return tuple(kind for kind in ALL if kind not in kinds)


@dataclass(frozen=True)
class Change:
    """scan: what stands in place of a scan, with its label, way, unit and tail (a start, a mask), and x, what the
    network is given; given: a further input. swaps: patterns and what stands in their place. added: definitions."""

    name: str
    breaks: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    scan: str = ""
    given: str = ""
    swaps: tuple[tuple[str, str], ...] = ()
    added: str = ""
    states: bool = False  # whether it fits a scan of which the final states are read, too
    way: str = ""  # the way of the scans that it fits; any without

    def of(self, text: str) -> str | None:
        """The changed text, or nothing where it does not fit."""
        given = _INPUT.search(text)
        if self.scan and (scan := _SCAN.search(text)) is not None:
            read = scan["states"] is not None
            if (read and not self.states) or self.way not in ("", scan["way"]):
                return None
            if given is None and ("{x}" in self.scan or self.given):
                return None
            if scan["tail"] and "{tail}" not in self.scan and "over T" in self.scan:
                return None
            said = self.scan.replace("{x}", given[1] if given else "")
            text = _SCAN.sub(lambda found: (found["states"] or "") + said.format_map(found.groupdict()), text)
        elif self.scan:
            return None
        if self.given and given is not None:
            text = text.replace(given[0], f"{given[0]}\n  input {self.given}")
        for pattern, into in self.swaps:
            text, count = re.subn(pattern, into, text, flags=re.MULTILINE)
            if not count:
                return None
        return text + self.added


_INPUT = re.compile(r"^  input (x|past): \[B, T.*\]$", re.MULTILINE)
_SCAN = re.compile(
    r"(?P<states>y, last = tokens -> words -> )?(?P<label>[\w`{}]+): (?P<way>scan|bidirectional) "
    r"(?P<unit>unit|LSTM|RNN)\(hidden\) over T(?P<tail> from \(h=h, c=c\)| with \(mask=mask\)|)"
)
_WHOLE = "{label}: {way} {unit}(hidden) over T{tail}"
_SIZED = ((r"\bT~\d+", "T=20"),)
_START = "{label}: {way} {unit}(hidden) over T from (h={x}"


def _attention(band: str) -> str:
    """Every position looks at those that the band allows."""
    return f"""const seen: [q=T, k=T] = if {band} then 1 else 0
  scores = (x, x) -> einsum("b q d, b k d -> b q k")
  weights = (seen > 0, scores, -inf) -> where -> softmax
  output x + ((weights, x) -> einsum("b q k, b k d -> b q d"))"""


# Steps: their name, their body, what they break and what they keep.
_STEPS = (
    ("another activation", "output x -> gelu", (), ALL),
    ("a layer for each position", "output x -> linear(D)", (), ALL),
    ("a norm of each position", "output x -> layernorm", (), ALL),
    ("dropout", "output x -> dropout(0.1)", (), ALL),
    ("scaled and shifted", "output 2 * x + 1", (), ALL),
    ("a factor for each feature", "param scale: [D] = ones\n  output x * scale", (), ALL),
    ("a table of positions", "const place: [t=T, d=1] = sin(t)\n  output x + place", (), ALL),
    ("a running sum", "output x -> cumsum(axis=T)", (), ALL),
    (
        "earlier neighbours mixed",
        'output x -> rearrange("b t d -> b d t") -> conv(D, kernel=3, pad="causal") -> rearrange("b d t -> b t d")',
        (),
        ALL,
    ),
    ("attention to what came before", _attention("k <= q"), (), ALL),
    ("the first position added", 'output x + (x[T=0] -> rearrange("b d -> b 1 d"))', (), ALL),
    (
        "neighbours mixed",
        'output x -> rearrange("b t d -> b d t") -> conv(D, kernel=3, pad=1) -> rearrange("b d t -> b t d")',
        (CAUSAL,),
        but(CAUSAL),
    ),
    ("attention to one ahead", _attention("k <= q + 1"), (CAUSAL,), but(CAUSAL)),
    ("attention to all", _attention("k >= 0"), (CAUSAL,), but(CAUSAL)),
    ("the last position added", 'output x + (x[T=T - 1] -> rearrange("b d -> b 1 d"))', (CAUSAL,), but(CAUSAL)),
    ("a mean over time added", "output x + (x -> mean(axis=T, keep=true))", (CAUSAL,), but(CAUSAL)),
    ("softmax over time", "output x -> softmax(axis=T)", (CAUSAL,), (GATED, SHARED, GLOBAL)),
    ("backwards", "output x -> flip(axis=T)", (CAUSAL,), (GATED, SHARED)),
    ("weights for each position", "param place: [T, D] = zeros\n  output x + place", (SHARED,), but(SHARED)),
    (
        "a layer over time",
        'output x -> rearrange("b t d -> b d t") -> linear(T) -> rearrange("b d t -> b t d")',
        (CAUSAL, SHARED),
        (GATED, GLOBAL),
    ),
)


def _step_changes() -> Iterator[Change]:
    for name, body, breaks, keeps in _STEPS:
        added, sized = TOKENS.format(body=body), _SIZED if SHARED in breaks else ()
        before, behind = f"Mutation -> {_WHOLE}", f"{_WHOLE} -> Mutation"
        yield Change(f"{name} before the scan", breaks, keeps, before, swaps=sized, added=added, states=True)
        yield Change(f"{name} behind the scan", breaks, keeps, behind, swaps=sized, added=added)


_ACROSS = """
block Across(unit: cell, hidden: int) {
  input x: [B, T, D]
  rows: [A, F, 1] = x -> rearrange("b t d -> (b t) d 1")
  joined: [B, T, H] = rows -> scan unit(hidden) over F -> mean(axis=F) -> rearrange("(b t) h -> b t h", t=T)
  output joined
}
"""
_LAYER = "{label}: linear(hidden)"
_INSTEAD = ((SEQUENTIAL, GATED, GLOBAL), (CAUSAL, SHARED))
_ONE_WAY = ((GLOBAL,), (SEQUENTIAL, GATED, SHARED))
_AHEAD = ((CAUSAL,), but(CAUSAL))
_KEPT = ((), ALL)
_RUNS = (
    Change("turned around", *_AHEAD, "{label}: reverse {unit}(hidden) over T{tail}", way="scan", states=True),
    Change("in both directions", *_AHEAD, "{label}: bidirectional {unit}(hidden) over T{tail}", way="scan"),
    Change(
        "forward, then backward",
        *_AHEAD,
        "{label}: {{ a: scan {unit}(hidden) over T{tail} -> b: reverse {unit}(hidden) over T{tail} }}",
    ),
    Change(
        "twice", *_KEPT, "{label}: {{ a: {way} {unit}(hidden) over T{tail} -> b: {way} {unit}(hidden) over T{tail} }}"
    ),
    Change("forward only", *_ONE_WAY, "{label}: scan {unit}(hidden) over T{tail}", way="bidirectional"),
    Change("backward only", *_ONE_WAY, "{label}: reverse {unit}(hidden) over T{tail}", way="bidirectional"),
    Change("a layer in place of the scan", *_INSTEAD, _LAYER),
    Change("a running sum in place of the scan", *_INSTEAD, f"{_LAYER} -> cumsum(axis=T)"),
    Change(
        "a causal convolution in place of the scan",
        *_INSTEAD,
        'rearrange("b t d -> b d t") -> {label}: conv(hidden, kernel=3, pad="causal") -> rearrange("b d t -> b t d")',
    ),
    Change(
        "attention in place of the scan",
        (SEQUENTIAL, CAUSAL),
        (SHARED, GLOBAL),
        f"{_LAYER} -> Mutation",
        added=TOKENS.format(body=_attention("k >= 0")),
    ),
    Change(
        "attention to what came before in place of the scan",
        (SEQUENTIAL, GLOBAL),
        (CAUSAL, SHARED),
        f"{_LAYER} -> Mutation",
        added=TOKENS.format(body=_attention("k <= q")),
    ),
    Change("the scan over features", (SEQUENTIAL, GLOBAL), (GATED,), "{label}: Across({unit}, hidden)", added=_ACROSS),
    Change("the scan over the batch", (SEQUENTIAL, GLOBAL), (GATED,), "{label}: {way} {unit}(hidden) over B"),
    Change(
        "a layer in place of the scan, the states handed through",
        *_INSTEAD,
        swaps=(
            (r"y, last = tokens -> words -> memory: scan .*", "y = tokens -> words -> linear(hidden)"),
            (r"last\.(\w)$", r"0.5 * \1"),
        ),
    ),
    Change("a start that knows the end", *_AHEAD, _START + " -> mean(axis=T) -> linear(hidden))", way="scan"),
    Change("a start from the last position", *_AHEAD, _START + "[T=T - 1] -> linear(hidden))", way="scan"),
    Change("a start from the first position", *_KEPT, _START + "[T=0] -> linear(hidden))", way="scan"),
    Change(
        "a start that is given",
        *_KEPT,
        "{label}: {way} {unit}(hidden) over T from (h=start)",
        given="start: [B, hidden]",
        way="scan",
    ),
    Change("a mask", *_KEPT, "{label}: {way} {unit}(hidden) over T with (mask=real)", given="real: bool[B, T]"),
    Change(
        "a mask turned around",
        (CAUSAL,),
        (GATED, SHARED),
        "{label}: {way} {unit}(hidden) over T with (mask=real -> flip(axis=T))",
        given="real: bool[B, T]",
    ),
    Change("a mask of tokens", *_KEPT, swaps=((r"from \(h=h, c=c\)", r"\g<0> with (mask=tokens != 0)"),)),
    Change("no mask", *_KEPT, swaps=((r" with \(mask=mask\)", ""),)),
    Change("a simple cell", (GATED,), but(GATED), "{label}: {way} RNN(hidden) over T{tail}"),
    Change("another cell", *_KEPT, "{label}: {way} ResetBeforeGRU(hidden) over T{tail}"),
    Change("a cell of three steps", *_KEPT, "{label}: {way} RecurrentHighway(hidden) over T{tail}"),
    Change("a cell with coupled gates", *_KEPT, "{label}: {way} CoupledLSTM(hidden) over T{tail}", states=True),
    Change("another width", *_KEPT, swaps=((r"\bhidden: int = \d+", "hidden: int = 24"),)),
    Change("more layers", *_KEPT, swaps=((r"\blayers: int = 1", "layers: int = 3"),)),
    Change("another length", *_KEPT, swaps=((r"\bT~\d+", "T~7"),)),
    Change("a fixed length", *_KEPT, swaps=((r"\bT~\d+", "T=9"),)),
    Change("another label", *_KEPT, swaps=((r"\b(?:rnn|memory|layer): (?=scan)", "first: "),)),
)

_NO_NAME = (r"^(  +)gate (\w) = ", r"\1\2 = ")
_GATE = "\nblock Gate {{\n  input x: [B, D]\n  {}\n}}\n"
_UNBOUND = ((GATED,), but(GATED))


def _gates(name: str, body: str, holds: bool) -> Change:
    """Something else where gates have their sigmoid; they aren't called gates any longer, so that claims decide."""
    swaps = (_NO_NAME, (r"-> sigmoid$", "-> Gate"))
    return Change(name, *(_KEPT if holds else _UNBOUND), swaps=swaps, added=_GATE.format(body))


_CELLS = (
    Change("gates that aren't called so", *_KEPT, swaps=(_NO_NAME,)),
    _gates("gates of tanh", "output x -> tanh", holds=False),
    _gates("gates without an activation", "output 1 * x", holds=False),
    _gates("gates of softplus", "output x -> softplus", holds=False),
    _gates("gates of relu", "output x -> relu", holds=False),
    _gates("gates of sine", "output x -> sin", holds=False),
    _gates("gates up to 2", "output 2 * (x -> sigmoid)", holds=False),
    _gates("gates from -1/2 to 1/2", "output (x -> sigmoid) - 0.5", holds=False),
    _gates("gates that let nothing in", "param g: [D] = 0\n  output g -> sigmoid", holds=False),
    _gates("gates of half a tanh", "output 0.5 * (x -> tanh) + 0.5", holds=True),
    _gates("gates of 1 less a sigmoid", "output 1 - (x -> sigmoid)", holds=True),
    _gates("gates of two sigmoids", "output (x -> sigmoid) * (2 * x -> sigmoid)", holds=True),
    _gates("clamped gates", "output x -> clamp(0, 1)", holds=True),
    _gates("hard gates", "output x -> hardsigmoid", holds=True),
    _gates("gates of softmax", "output x -> softmax", holds=True),
    _gates("gates of an exponential", "output -(x -> relu) -> exp", holds=True),
    _gates("normed gates", "output x -> layernorm -> sigmoid", holds=True),
    Change("one gate of tanh", *_KEPT, swaps=((r"^  gate ([or]) = (.*)-> sigmoid$", r"  \1 = \2-> tanh"),)),
    Change(
        "gates added",
        *_UNBOUND,
        swaps=(
            _NO_NAME,
            (r"f \* c \+ i \* g$", "f + c + i + g"),
            (r"f \* c \+ \(1 - f\) \* g$", "f + c + g"),
            (r"o \* \(c' -> tanh\)$", "o + (c' -> tanh)"),
            (r"r \* \(h -> recall: linear\(hidden\)\)", "r + (h -> recall: linear(hidden))"),
            (r"\(r \* h, x\)", "(r + h, x)"),
            (r"\(f \* h, x\)", "(f + h, x)"),
            (r"\(1 - z\) \* n \+ z \* h$", "n + z + h"),
            (r"\(1 - f\) \* h \+ f \* n$", "n + f + h"),
            (r"candidate \* t \+ s \* \(1 - t\)$", "candidate + t + s"),
            (r"peep_(\w+) \* (c'?)", r"peep_\1 + \2"),
        ),
    ),
    Change("no forget gate", *_KEPT, swaps=(_NO_NAME, (r"f \* c \+ i \* g$", "c + i * g"))),
    Change(
        "gates in another order",
        *_KEPT,
        swaps=(
            (r"(^  gate i = (?:.*\n)*?)(  gate o = \(h, x\) .*\n)", r"\2\1"),
            (r"(  gate r = .*\n)(  gate z = .*\n)", r"\2\1"),
        ),
    ),
    Change(
        "other labels", *_KEPT, swaps=((r"\bforget: linear", "keep: linear"), (r"\bupdate: linear", "renewal: linear"))
    ),
    Change(
        "the rest of a gate spelled otherwise",
        *_KEPT,
        swaps=(
            (r"\(1 - z\) \* n", "n - z * n"),
            (r"\(1 - f\) \* (\w)", r"(-f + 1) * \1"),
            (r"\(1 - t\)", "(-1 * t + 1)"),
        ),
    ),
    Change("a norm in the cell", *_KEPT, swaps=((r"(candidate.*: linear\(hidden\))\)? ", r"\g<0>-> layernorm "),)),
    Change("dropout in the cell", *_KEPT, swaps=((r"-> tanh$", "-> tanh -> dropout(0.1)"),)),
    Change("another activation in the cell", *_KEPT, swaps=((r"-> tanh$", "-> relu"),)),
    Change("the state before", *_KEPT, swaps=((r"^  output h'$", "  output h"),)),
)


def _translated(name: str, old: str, new: str, broken: tuple[str, ...] = (), kept: tuple[str, ...] = ()) -> Change:
    return Change(name, broken, kept, swaps=((old, new),))


_OF_LOGITS, _OF_SOURCE = "logits over T", "logits over S"
_DECODER = r"before -> scan decoder over T"
_TRANSLATORS = (
    _translated("the decoder turned around", _DECODER, "before -> reverse decoder over T", (CAUSAL,), but(CAUSAL)),
    _translated(
        "given what comes after", _DECODER, "before -> flip(axis=T) -> scan decoder over T", (CAUSAL,), (GATED, GLOBAL)
    ),
    _translated("the source read backwards", r"scan GRU\(hidden\) over S", "reverse GRU(hidden) over S", (), ALL),
    _translated(
        "the source read twice",
        r"memory: scan GRU\(hidden\) over S",
        "first: scan GRU(hidden) over S -> memory: scan GRU(hidden) over S",
        (),
        ALL,
    ),
    _translated("no padding", r"(?<=over S) with \(mask=tokens != 0\)", "", (), ALL),
    _translated(
        "a thought of what comes after",
        r"from \(h=thought\) with",
        "from (h=thought + (before -> later: embedding(vocabulary, hidden) -> mean(axis=T))) with",
        (CAUSAL,),
        but(CAUSAL),
    ),
    _translated(
        "the first of the source only",
        r"source -> encoder$",
        'source * (source[S=0] * 0 + 1 -> rearrange("b -> b 1")) -> encoder',
        (),
        ALL,
    ),
)

CHANGES = (*_step_changes(), *_RUNS, *_CELLS, *_TRANSLATORS)

_LIBRARY = re.compile(r'^import "std/recurrent" use .*$', re.MULTILINE)
_CLAIM = re.compile(r"^  bias (.*)$", re.MULTILINE)
_BY_WAY = re.compile(r"^  if both \{ (bias .*?) \} else \{ (bias .*?) \}$", re.MULTILINE)


def text_of(spec: str, network: str) -> str:
    """A spec with the cells of the library in it and without what trains, and with more claims."""
    text = (SPECS / f"{spec}.arch").read_text(encoding="utf-8")
    library = (SPECS / "std" / "recurrent.arch").read_text(encoding="utf-8").partition("\n")[2]
    text = re.sub(r"^train .*?^\}\n", "", text, flags=re.MULTILINE | re.DOTALL)
    text = _BY_WAY.sub(r"  \1" if "Bi" in network else r"  \2", _LIBRARY.sub(lambda _: library, text))
    last = list(_CLAIM.finditer(text))[-1].end()
    more = "".join(f"\n  bias {claim}" for claim in MORE.get(network, ()))
    return text[:last] + more + text[last:]


def claims(text: str) -> list[tuple[str, int]]:
    """The claims of a text, each with its line."""
    return [(found[1], text.count("\n", 0, found.start()) + 1) for found in _CLAIM.finditer(text)]


def mutants(spec: str) -> Iterator[Mutant]:
    """All of a spec, in a fixed order; those of one text follow one another."""
    for network in RECURRENT[spec]:
        text = text_of(spec, network)
        for change in CHANGES:
            changed = change.of(text)
            if changed is None:
                continue
            for claim, line in claims(changed):
                kind = claim.split()[0]
                if kind in change.breaks or kind in change.keeps:
                    yield Mutant(spec, network, change.name, claim, line, kind in change.keeps, changed)


@cache
def _tried() -> dict[str, list[Mutant]]:
    """Those that are judged, of each spec: of every change the few networks whose turn it is."""
    of: dict[str, dict[str, list[Mutant]]] = {change.name: {} for change in CHANGES}
    for mutant in (m for spec in RECURRENT for m in mutants(spec)):
        of[mutant.change].setdefault(mutant.network, []).append(mutant)
    found: dict[str, list[Mutant]] = {spec: [] for spec in RECURRENT}
    for turn, (change, networks) in enumerate(of.items()):
        assert networks, f"{change} fits no spec any longer"
        names = list(networks)
        for i in range(min(A_CHANGE, len(names))):
            group = networks[names[(turn * A_CHANGE + i) % len(names)]]
            found[group[0].spec] += group
    return found


def chosen(spec: str) -> list[Mutant]:
    return _tried()[spec]
