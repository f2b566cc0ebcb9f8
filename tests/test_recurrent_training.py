"""The recurrent specs learn what they are for, each on data that are small and real, or drawn by a rule."""

from __future__ import annotations

import calendar
import datetime
import pydoc_data.topics
import random
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import archlang
import numpy as np
import pytest
import torch
from archlang.compiler.frontend import compile_program
from archlang.compiler.graph import Program
from archlang.compiler.source import Source
from archlang.compiler.training import plan
from archlang.compiler.training_plan import TrainPlan
from archlang.runtime import train as training
from archlang.runtime.checkpoint import load_weights
from archlang.runtime.data import load
from archlang.runtime.inference import for_inference
from archlang.runtime.module import build
from archlang.runtime.recurrence import using
from archlang.runtime.report import Report
from archlang.runtime.train import BEST, LAST, RESUME, fit
from safetensors.torch import load_file
from sequence_harness import batches, written
from torch import Tensor, nn
from training_harness import interrupted_at, same_weights

pytestmark = pytest.mark.slow

SPECS = Path(str(resources.files("archlang.specs"))) / "recurrent"


class Run(NamedTuple):
    """A trained network. module: with the best weights."""

    program: Program
    plan: TrainPlan
    module: nn.Module
    report: Report

    @property
    def test(self) -> dict[str, float]:
        return self.report.metrics["test"]

    def held_out(self, batch: int = 128) -> list[tuple[Tensor, ...]]:
        data, parts, _ = load(self.program, self.plan)
        return batches(data, parts, batch, "test")

    def number(self, side: str, token: str) -> int:
        """What stands for a token."""
        data, _, _ = load(self.program, self.plan)
        return data.preprocessing.vocabularies[side].numbers[token]


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(training, "draw_curves", lambda report, path: None)


def compiled(file: str, name: str, folder: Path, block: str = "", **parameters: int) -> tuple[Program, TrainPlan]:
    """A network of a bundled spec, and how it is trained: by `block`, or as the spec says."""
    text = (SPECS / file).read_text(encoding="utf-8")
    if block:
        text += f"\ntrain {name} on {block}\n"
    path = written(folder, file, text)
    program = compile_program(Source(text, str(path)), name, parameters, base=folder)
    return program, plan(program.trains[-1], program)


def trained(folder: Path, file: str, name: str, block: str = "", out: str = "run", resume: bool = False, **parameters):
    program, how = compiled(file, name, folder, block, **parameters)
    made: list[nn.Module] = []

    def make() -> nn.Module:
        made.append(build(program))
        return made[-1]

    report = fit(program, make, how, out=folder / out, device="cpu", progress=False, resume=resume)
    return Run(program, how, made[0], report)


# ------------------------------------------------------------------ forecasts


def test_sunspots_are_forecast_better_than_by_the_last_cycle(tmp_path):
    """As the spec trains it: years that it has not seen, against the same years of the cycle before."""
    run = trained(tmp_path, "forecaster.arch", "Forecaster")
    assert run.program.parameters["horizon"] == 3
    figures = {part: values["skill"] for part, values in run.report.metrics.items()}
    assert figures["validation"] > 0.3, figures  # 0.48
    assert figures["test"] > 0.1, figures  # 0.29


# ------------------------------------------------------------------ text


def english(size: int) -> str:
    """What Python's own help says about its language."""
    topics = pydoc_data.topics.topics
    return "\n\n".join(topics[key] for key in sorted(topics))[:size]


def bigram_entropy(text: str) -> float:
    """Nats of a character, given the one before, by their counts in the text itself: no bigram model does better."""
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.int32)
    _, numbers = np.unique(points, return_inverse=True)
    joint = np.zeros((numbers.max() + 1,) * 2)
    np.add.at(joint, (numbers[:-1], numbers[1:]), 1)
    seen = joint > 0
    given = joint / joint.sum(1, keepdims=True).clip(1)
    return float(-(joint[seen] * np.log(given[seen])).sum() / joint.sum())


LANGUAGE = 'text("topics.txt") {{ optimizer adam(lr=0.01) clip 1 batch {batch} epochs {epochs} carry h, c }}'


def test_a_language_model_knows_more_than_pairs_of_characters(tmp_path):
    text = english(160_000)
    written(tmp_path, "topics.txt", text)
    block = LANGUAGE.format(batch=16, epochs=3)
    run = trained(tmp_path, "language_model.arch", "LanguageModel", block, vocabulary=len(set(text)))
    pairs = bigram_entropy(text[-round(len(text) * 0.2) :])
    assert run.test["loss"] < pairs - 0.3, f"{run.test['loss']:.3f} nats, of pairs {pairs:.3f}"


# ------------------------------------------------------------------ tags

SIDES = ("left", "right")


def tagged_sentence(draw: random.Random) -> list[tuple[str, str]]:
    """What `bank` means is decided by the last side that was named before it, and by the next one after it."""
    words = [f"w{i}" for i in range(20)]
    odds = [(0.2, lambda: draw.choice(SIDES)), (0.3, lambda: "bank"), (1.0, lambda: draw.choice(words))]
    made = [next(word() for odd, word in odds if draw.random() < odd) for _ in range(draw.randint(3, 20))]
    tags = []
    for i, word in enumerate(made):
        near = [next((w for w in side if w in SIDES), "none") for side in (made[:i][::-1], made[i + 1 :])]
        tags.append("-".join(near) if word == "bank" else "side" if word in SIDES else "word")
    return list(zip(made, tags, strict=True))


def test_a_tagger_sees_both_sides_of_a_word(tmp_path):
    draw = random.Random(0)
    sentences = [tagged_sentence(draw) for _ in range(1500)]
    written(tmp_path, "s.conll", "\n\n".join("\n".join(f"{w} {tag}" for w, tag in s) for s in sentences) + "\n")
    block = 'tagged("s.conll") { optimizer adam(lr=0.01) clip 1 batch 32 epochs 6 metric accuracy }'
    run = trained(tmp_path, "tagger.arch", "Tagger", block, vocabulary=32, tags=11, width=16, hidden=32)
    assert run.test["accuracy"] >= 0.99
    bank, right, total = run.number("tokens", "bank"), 0, 0
    for tokens, mask, tags in run.held_out():
        assert not bool(mask.all())
        with torch.no_grad():
            guess = run.module(tokens, mask).argmax(-1)
        asked = mask & (tokens == bank)
        right += int((guess == tags)[asked].sum())
        total += int(asked.sum())
    assert right / total >= 0.99, f"{right} of {total}"
    found = [tag.split("-") for s in sentences for word, tag in s if word == "bank"]
    for side in (0, 1):  # who sees one side only
        known = [[tag[1 - side] for tag in found if tag[side] == near] for near in (*SIDES, "none")]
        best = sum(max(others.count(o) for o in set(others)) for others in known) / len(found)
        assert best < 0.5


# ------------------------------------------------------------------ sequence to sequence

MONTHS = tuple(month.lower() for month in calendar.month_name if month)


def dates(count: int) -> str:
    """Different days of two hundred years: `march 3, 2021` and `2021-03-03`."""
    days = random.Random(0).sample(range(73_000), count)
    found = [datetime.date(1900, 1, 1) + datetime.timedelta(days=day) for day in days]
    return "".join(f"{MONTHS[d.month - 1]} {d.day}, {d.year}\t{d.isoformat()}\n" for d in found)


PAIRS = 'pairs("{file}") {{ optimizer adam(lr=0.01) clip 1 batch 32 epochs {epochs} }}'


def test_dates_are_translated_without_help(tmp_path):
    written(tmp_path, "dates.tsv", dates(2000))
    block = PAIRS.format(file="dates.tsv", epochs=8)
    right, total = translated(trained(tmp_path, "seq2seq.arch", "AttentiveSeq2Seq", block, hidden=64, longest=12))
    assert total == 400
    assert right / total >= 0.99, f"{right} of {total}"


def test_a_state_alone_reverses_words(tmp_path):
    """Without attention all letters pass through the encoder's last state."""
    draw = random.Random(0)
    words = sorted({"".join(draw.choices("abcdef", k=draw.randint(2, 5))) for _ in range(24_000)})
    draw.shuffle(words)
    written(tmp_path, "words.tsv", "".join(f"{word}\t{word[::-1]}\n" for word in words))
    block = 'pairs("words.tsv") { optimizer adam(lr=0.005) schedule cosine clip 1 batch 64 epochs 13 }'
    right, total = translated(trained(tmp_path, "seq2seq.arch", "Seq2Seq", block, hidden=128, longest=8))
    assert total == 1134
    assert right / total >= 0.99, f"{right} of {total}"


def translated(run: Run) -> tuple[int, int]:
    """How many held-out sources `greedy`, which reads its own choices, translates right to the last character."""
    end, right, total = run.number("target", "<eos>"), 0, 0
    for source, _, wanted in run.held_out():
        with torch.no_grad():
            made = run.module.greedy(source)
        for mine, theirs in zip(made.tolist(), wanted.tolist(), strict=True):
            right += until(mine, end) == until(theirs, end)
            total += 1
    return right, total


def until(tokens: list[int], end: int) -> list[int]:
    """Up to the end, which must come."""
    return tokens[: tokens.index(end) + 1] if end in tokens else []


# ------------------------------------------------------------------ what must be kept for long


@pytest.mark.parametrize(("name", "learns"), [("AddingGRU", True), ("AddingLSTM", True), ("AddingRNN", False)])
def test_gated_cells_add_over_two_hundred_steps(name, learns, tmp_path):
    run = trained(tmp_path, "adding.arch", name)
    mse = run.test["loss"]
    assert len(run.report.history) == 8
    if learns:
        assert mse < 0.02  # 0.0015 and 0.0009
    else:
        assert mse > 0.1  # 1/6 is always to say 1


def test_a_probe_shows_why(tmp_path):
    """How much of the gradient at the last of a hundred steps is left at the first."""
    text = (SPECS / "adding.arch").read_text(encoding="utf-8").replace("T~200", "T~100")
    left = {}
    for name in ("AddingRNN", "AddingLSTM"):
        (found,) = archlang.probe(text, name=name)
        (along,) = found.sequences
        assert (along.input, along.axis, len(along.gradients)) == ("x", "T", 100)
        left[name] = along.gradients[0] / along.gradients[-1]
        some = along.gradients[19::20]
        assert name == "AddingLSTM" or all(a < b / 100 for a, b in pairwise(some))
    assert left["AddingRNN"] < 1e-12, left  # 1e-25
    assert left["AddingLSTM"] > 1e-3, left  # 0.18


# ------------------------------------------------------------------ what is kept on disk


def test_an_interrupted_language_model_is_the_same_model(tmp_path, monkeypatch):
    written(tmp_path, "topics.txt", english(30_000))
    block = LANGUAGE.format(batch=8, epochs=2)
    sizes = {"vocabulary": 128, "width": 8, "hidden": 16}

    def run(out: str, resume: bool = False) -> Run:
        return trained(tmp_path, "language_model.arch", "LanguageModel", block, out, resume, **sizes)

    whole = run("whole")
    with interrupted_at(60, monkeypatch) as caught:
        run("parts")
    assert "epoch 2" in str(caught.value)
    kept = load_file(tmp_path / "parts" / RESUME)
    assert all(bool(kept[f"carried.{state}"].any()) for state in ("h", "c"))
    resumed = run("parts", resume=True)
    assert same_weights(whole.module, resumed.module)
    assert whole.report.history == resumed.report.history
    for name in (BEST, LAST):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize("which", ["language model", "tagger", "translator"])
def test_a_checkpoint_says_the_same_in_every_way(which, tmp_path):
    """Trained by the quickest way, read by loops of tensor operations, with and without rewrites."""
    draw = random.Random(1)
    sentences = [tagged_sentence(draw) for _ in range(100)]
    written(tmp_path, "topics.txt", english(20_000))
    written(tmp_path, "s.conll", "\n\n".join("\n".join(f"{w} {tag}" for w, tag in s) for s in sentences) + "\n")
    written(tmp_path, "dates.tsv", dates(200))
    block = LANGUAGE.format(batch=8, epochs=1)
    file, name, block, sizes = {
        "language model": ("language_model.arch", "LanguageModel", block, {"hidden": 16}),
        "tagger": ("tagger.arch", "Tagger", 'tagged("s.conll") { epochs 1 }', {"hidden": 16, "layers": 2}),
        "translator": ("seq2seq.arch", "AttentiveSeq2Seq", PAIRS.format(file="dates.tsv", epochs=1), {"hidden": 16}),
    }[which]
    run = trained(tmp_path, file, name, block, **sizes)
    fresh = build(run.program)
    load_weights(fresh, tmp_path / "run" / BEST)
    given = run.held_out(16)[0][:-1]
    inputs = [*given, *(torch.zeros(16, 16) for _ in run.plan.carry)]
    found = {}
    with torch.no_grad():
        expected = run.module.eval()(*inputs)
        for way in (None, "eager", "plain"):
            for level in (0, 1):
                with using(way):
                    found[way, level] = for_inference(run.program, fresh, level)(*inputs)
    for outputs in found.values():
        torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)
