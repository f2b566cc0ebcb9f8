"""Text from a trained network: what comes next, or what a text becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from archlang.compiler.carrying import inputs_by_name, outputs_by_name, slots
from archlang.compiler.diagnostics import ArchError, error
from archlang.compiler.graph import Program
from archlang.compiler.sizes import Dim
from archlang.compiler.task import TaskKind, find_task
from torch import Tensor, nn

from .carry import zeros
from .data import Preprocessing
from .data.roles import Roles, roles
from .data.vocabulary import BOS, EOS, Vocabulary
from .decode import Reader, Sampling, Stateful, Whole, beam_search, sample
from .devices import make_fabric


@dataclass(frozen=True)
class Generated:
    """A text that a network made, its tokens, and of a beam search its score: the logarithmic probability, divided by
    the length (the end counted)."""

    text: str
    tokens: tuple[int, ...]
    score: float | None = None


@dataclass(frozen=True)
class Search:
    """How to choose: `beams` sequences at once, or tokens drawn one by one; the rest is as in `Sampling`.

    Without a temperature the likeliest token is taken in a translation, unless top_k or top_p say to draw; in a text
    that is gone on with, tokens are drawn with temperature 1."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    beams: int | None = None

    def sampling(self, usual: float) -> Sampling:
        """How to draw. usual: the temperature where neither it nor a choice to draw is given."""
        drawn = self.top_k is not None or self.top_p is not None
        given = self.temperature if self.temperature is not None else 1.0 if drawn else usual
        return Sampling(given, self.top_k, self.top_p)


def generate(
    program: Program,
    module: nn.Module,
    preprocessing: Preprocessing | None,
    prompt: str,
    *,
    length: int = 200,
    search: Search | None = None,
    count: int = 1,
    seed: int = 0,
    device: str = "auto",
) -> list[Generated]:
    """Texts of up to `length` tokens: what follows the prompt, of a network that was trained on `text`, or what becomes
    of it, of one that was trained on `pairs`. A beam search gives its `count` best ones, best first.

    Raises A1058 where the network or the prompt does not allow it, A1052 where a token of the prompt is unknown."""
    search = search or Search()
    known = preprocessing.vocabularies if preprocessing is not None else {}
    fabric = make_fabric(device)
    module = module.to(fabric.device)
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            if "source" in known:
                translating = _Translation(program, module, known, fabric.device)
                return translating.run(prompt, length, search, count, seed)
            if "tokens" in known and not (preprocessing and preprocessing.classes):
                return _Continuation(program, module, known, fabric.device).run(prompt, length, search, count, seed)
    finally:
        module.train(was_training)
    raise error(
        "A1058",
        f"`{program.name}` was not trained to make text: with these weights no vocabulary is stored",
        program.span,
        help="train it on `text(…)` or `pairs(…)`, which store theirs with the weights",
    )


class _Task:
    """A network and what it reads and writes. `stop`: the token that ends a text. `temperature`: the usual one."""

    kind = "text"
    stop: int | None = None
    temperature = 1.0

    def __init__(
        self, program: Program, module: nn.Module, vocabularies: dict[str, Vocabulary], device: torch.device
    ) -> None:
        self.program, self.module, self.device = program, module, device
        self.vocabularies = vocabularies
        self.output = self._logits()
        self.words = len(vocabularies["target" if "target" in vocabularies else "tokens"])

    def _logits(self) -> int:
        """Which output says how likely each token is."""
        task = find_task(self.program)
        rank = self.program.graph[self.program.graph.outputs[task.output]].types[0].rank
        if task.kind is not TaskKind.MULTICLASS or rank != 3 or task.class_axis != 2:
            raise self.refused("no output is compared with the next token at every position")
        return task.output

    def refused(self, why: str, node: int | None = None, help: str | None = None) -> ArchError:
        span = self.program.graph[node].span if node is not None else self.program.span
        return error("A1058", f"`{self.program.name}` can't make text: {why}", span, help=help)

    def free(self, node: int, name: str) -> None:
        """The length of an input must be open, for it grows."""
        kind = self.program.graph[node].types[0]
        if kind.rank != 2 or not isinstance(kind.shape[1], Dim):
            axis = kind.names[1] if kind.rank == 2 and kind.names[1] else "T"
            help = f"write `input {name}: int[B, {axis}~{kind.shape[1]}]`" if kind.rank == 2 else None
            raise self.refused(f"its input `{name}` is {kind}, and a text grows", node, help)

    def answer(self, inputs: dict[int, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The logits [N, T, vocabulary] and all outputs, for tensors by input node."""
        outputs = self.module(*[inputs[n] for n in self.program.input_nodes()])
        found = outputs if isinstance(outputs, tuple) else (outputs,)
        return found[self.output][..., : self.words], found  # a network may have room for more tokens than there are

    def run(self, prompt: str, length: int, search: Search, count: int, seed: int) -> list[Generated]:
        raise NotImplementedError

    def made(
        self,
        reader: Callable[[int], Reader],
        begin: Tensor,
        written: Vocabulary,
        length: int,
        search: Search,
        count: int,
        seed: int,
    ) -> list[Generated]:
        """reader: one for so many sequences side by side. begin: int [1, k], what is read before the first token."""
        if search.beams is not None:
            width = max(search.beams, count)
            found = beam_search(reader(1), begin, length, width, stop=self.stop)
            return [Generated(written.decode(f.tokens), f.tokens, f.score) for f in found[:count]]
        generator = torch.Generator(self.device).manual_seed(seed)
        rows = sample(
            reader(count),
            begin.expand(count, -1),
            length,
            search.sampling(self.temperature),
            stop=self.stop,
            generator=generator,
        )
        return [Generated(written.decode(row), tuple(row)) for row in rows]


class _Continuation(_Task):
    """A language model: it reads a text, and says what comes next. It carries those states on that enter and leave
    under one name; without any it reads all of the text again for every token."""

    def run(self, prompt: str, length: int, search: Search, count: int, seed: int) -> list[Generated]:
        vocabulary = self.vocabularies["tokens"]
        carried = tuple(name for name in inputs_by_name(self.program) if name in outputs_by_name(self.program))
        found = roles(self.program, "text", carried)
        node = found.inputs.get("tokens")
        if node is None or found.spare:
            names = ", ".join(f"`{self.program.graph[n].name}`" for n in found.spare)
            raise self.refused(f"nothing says what its inputs {names} are given" if names else "it reads no tokens")
        if carried:
            kind = self.program.graph[node].types[0]
            if kind.rank == 2 and kind.shape[1] != 1:
                self.free(node, self.program.graph[node].name)
        else:
            self.free(node, self.program.graph[node].name)
        if not prompt:
            prompt = "\n" if "\n" in vocabulary.numbers or vocabulary.tokenizer else next(iter(vocabulary.tokens))
        numbers = vocabulary.encode(prompt)
        if not numbers:
            raise self.refused("the prompt has no tokens", help="give some text that it can go on from")
        begin = torch.tensor([numbers], device=self.device)
        states = slots(self.program, carried)
        nodes = self.program.input_nodes()

        def go_on(tokens: Tensor, before: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            given = {nodes[slot.input]: state for slot, state in zip(states, before, strict=True)}
            logits, outputs = self.answer({node: tokens, **given})
            return logits, tuple(outputs[slot.output] for slot in states)

        def reader(rows: int) -> Reader:
            if not carried:
                return Whole(lambda tokens: self.answer({node: tokens})[0])
            return Stateful(go_on, tuple(zeros(slot, rows, self.device) for slot in states))

        return self.made(reader, begin, vocabulary, length, search, count, seed)


class _Translation(_Task):
    """Sequence to sequence: it reads a source, and writes token after token what becomes of it."""

    temperature = 0.0

    def run(self, prompt: str, length: int, search: Search, count: int, seed: int) -> list[Generated]:
        read, written = self.vocabularies["source"], self.vocabularies["target"]
        found = roles(self.program, "pairs", ())
        if found.spare or not {"source", "previous"} <= set(found.inputs):
            raise self.refused("it has other inputs than a source and what was written so far")
        for name in ("source", "previous"):
            self.free(found.inputs[name], self.program.graph[found.inputs[name]].name)
        numbers = read.encode(prompt)
        if not numbers:
            raise self.refused("the source has no tokens", help="give some text that it can read")
        self.stop = written.numbers[EOS]
        source = torch.tensor([numbers], device=self.device)
        begin = torch.tensor([[written.numbers[BOS]]], device=self.device)
        return self.made(
            lambda rows: Whole(lambda tokens: self._written(found, source, tokens)),
            begin,
            written,
            length,
            search,
            count,
            seed,
        )

    def _written(self, found: Roles, source: Tensor, tokens: Tensor) -> Tensor:
        rows = len(tokens)
        sides = {"source": source.expand(rows, -1), "previous": tokens}
        given: dict[int, Tensor] = {}
        for name, node in found.inputs.items():
            side = sides.get(name)
            if side is None:
                of = sides["source" if name.startswith("source") else "previous"]
                real = torch.ones_like(of, dtype=torch.bool)
                side = real if name.endswith("mask") else real.sum(1)
            given[node] = side
        return self.answer(given)[0]
