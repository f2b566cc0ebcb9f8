"""`archc generate`: what it makes is what the network says, step by step, and what can't be made is told."""

from __future__ import annotations

import json
from pathlib import Path

import archlang
import pytest
import torch
from archlang.compiler.diagnostics import ArchError
from archlang.runtime.data import Preprocessing
from archlang.runtime.data.vocabulary import Vocabulary
from archlang.runtime.decode import Sampling
from archlang.runtime.generate import Search, generate

CARRYING = """
import "std/recurrent" use LSTM
network Next(vocabulary: int = 6) {
  input tokens: int[B, T]
  input c: [B, 8]
  input h: [B, 8]
  target next: int[B, T]
  y, last = tokens -> embedding(vocabulary, 8) -> scan LSTM(8) over T from (h=h, c=c)
  output h = last.h
  output logits = y -> linear(vocabulary)
  output c = last.c
  loss nll = (logits, next) -> cross_entropy
}
"""
WHOLE = """
import "std/recurrent" use GRU
network Next(vocabulary: int = 6) {
  input tokens: int[B, T]
  target next: int[B, T]
  output logits = tokens -> embedding(vocabulary, 8) -> scan GRU(8) over T -> linear(vocabulary)
  loss nll = (logits, next) -> cross_entropy
}
"""
WRITTEN = ("<pad>", "<bos>", "<eos>", "x", "y", "z")


def ready(text: str, seed: int = 0, **vocabularies: tuple[str, ...]):
    torch.manual_seed(seed)
    compiled = archlang.compile(text)
    module = compiled.module()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(4)  # so that answers differ
    known = {name: Vocabulary(by="characters", tokens=tokens) for name, tokens in vocabularies.items()}
    return compiled.program, module, Preprocessing(vocabularies=known)


@pytest.mark.parametrize("text", [CARRYING, WHOLE])
def test_greedy_text_is_what_the_network_says_of_each_beginning(text: str) -> None:
    program, module, prep = ready(text, tokens=tuple("abcdef"))
    (made,) = generate(program, module, prep, "ab", length=12, search=Search(temperature=0))
    tokens = [0, 1]
    for _ in range(12):
        x = torch.tensor([tokens])
        out = module(x) if text is WHOLE else module(x, torch.zeros(1, 8), torch.zeros(1, 8))[1]
        tokens.append(int(out[0, -1].argmax()))
    assert made.tokens == tuple(tokens[2:])
    assert made.text == "".join("abcdef"[t] for t in tokens[2:])


@pytest.mark.parametrize("text", [CARRYING, WHOLE])
def test_beams_score_what_they_find(text: str) -> None:
    program, module, prep = ready(text, tokens=tuple("abcdef"))
    found = generate(program, module, prep, "a", length=4, search=Search(beams=5), count=3)
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    for made in found:
        x = torch.tensor([[0, *made.tokens]])
        out = module(x) if text is WHOLE else module(x, torch.zeros(1, 8), torch.zeros(1, 8))[1]
        logs = out[0].detach().double().log_softmax(-1)
        total = sum(float(logs[i, t]) for i, t in enumerate(made.tokens))
        assert made.score == pytest.approx(total / 5, abs=1e-5)


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    program, module, prep = ready(CARRYING, tokens=tuple("abcdef"))
    texts = [[m.text for m in generate(program, module, prep, "a", length=30, count=4, seed=s)] for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0])) == 4


@pytest.mark.parametrize("network", ["Seq2Seq", "AttentiveSeq2Seq"])
def test_a_translation_is_what_the_greedy_entry_decodes(network: str) -> None:
    spec = (Path(archlang.__file__).parents[1] / "specs" / "recurrent" / "seq2seq.arch").read_text(encoding="utf-8")
    sizes = {"source_vocabulary": 6, "vocabulary": 6, "hidden": 8, "longest": 9}
    torch.manual_seed(2)
    compiled = archlang.compile(spec, network, parameters=sizes)
    module = compiled.module()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(3)
    source = ("<pad>", "<bos>", "<eos>", "a", "b", "c")
    known = {n: Vocabulary(tokens=t) for n, t in (("source", source), ("previous", WRITTEN), ("target", WRITTEN))}
    for text in ("abc", "cab", "bb"):
        found = generate(
            compiled.program, module, Preprocessing(vocabularies=known), text, length=9, search=Search(temperature=0)
        )
        expected = module.greedy(torch.tensor([[source.index(c) for c in text]]))[0].tolist()
        expected = expected[: expected.index(2)] if 2 in expected else expected
        assert list(found[0].tokens) == expected
        usual = generate(compiled.program, module, Preprocessing(vocabularies=known), text, length=9, seed=5)
        assert usual == found
        best = generate(
            compiled.program, module, Preprocessing(vocabularies=known), text, length=9, search=Search(beams=3)
        )
        assert best[0].score is not None


def test_translations_are_greedy_unless_something_says_to_draw() -> None:
    for usual in (0.0, 1.0):
        assert Search().sampling(usual) == Sampling(usual)
        assert Search(temperature=0.5).sampling(usual) == Sampling(0.5)
        assert Search(top_k=3).sampling(usual) == Sampling(1.0, top_k=3)
        assert Search(top_p=0.5).sampling(usual) == Sampling(1.0, top_p=0.5)
        assert Search(temperature=0, top_k=3).sampling(usual) == Sampling(0, top_k=3)


def refused(text: str, prompt: str = "a", **vocabularies: tuple[str, ...]) -> ArchError:
    program, module, prep = ready(text, **vocabularies)
    with pytest.raises(ArchError) as failure:
        generate(program, module, prep, prompt)
    return failure.value


def test_what_makes_no_text_is_told() -> None:
    plain = "network N { input x: [B, 4] output x -> linear(2) }"
    closed = WHOLE.replace("int[B, T]", "int[B, T=7]")
    more = WHOLE.replace("input tokens: int[B, T]", "input tokens: int[B, T]\n input other: [B, 8]")
    for text, prompt, words in (
        (plain, "a", "no vocabulary"),
        (closed, "a", "a text grows"),
        (more, "a", "`other`"),
        (plain.replace("x: [B, 4]", "x: int[B, T]").replace("linear(2)", "embedding(6, 2)"), "a", "no output"),
    ):
        known = {} if words == "no vocabulary" else {"tokens": tuple("abcdef")}
        (diagnostic,) = refused(text, prompt, **known).diagnostics
        assert (diagnostic.code, words in diagnostic.message) == ("A1058", True), diagnostic.message
    (diagnostic,) = refused(WHOLE, "aQ", tokens=tuple("abcdef")).diagnostics
    assert diagnostic.code == "A1052"


def test_the_command(tmp_path: Path, run) -> None:
    (tmp_path / "book.txt").write_text("the cat sat on the mat. " * 60, encoding="utf-8")
    train = '\ntrain Next on text("book.txt", length=16) { epochs 1  batch 4  carry h, c  optimizer adam(lr=0.01) }\n'
    text = CARRYING.replace("vocabulary: int = 6", "vocabulary: int = 16")
    (tmp_path / "net.arch").write_text(text + train, encoding="utf-8")
    assert run("train", "net.arch", "-o", "out", "--device", "cpu").code == 0
    done = run("generate", "net.arch", "the cat", "-w", "out", "-n", "20", "--device", "cpu")
    assert (done.code, done.out[:7], len(done.out)) == (0, "the cat", 28)
    done = run("generate", "net.arch", "the", "-w", "out", "-n", "5", "--beams", "3", "--count", "2", "--json")
    found = json.loads(done.out)
    assert (len(found), len(found[0]["tokens"])) == (2, 5)
    assert run("generate", "net.arch", "the", "-w", "out", "--beams", "3", "--top-k", "2").code == 2
    assert run("generate", "net.arch", "the", "-w", "out", "--top-p", "0").code == 2
    done = run("generate", "net.arch", "THE", "-w", "out")
    assert (done.code, "A1052" in done.err) == (1, True)
    made = archlang.compile(tmp_path / "net.arch").generate("the", tmp_path / "out", length=5, device="cpu")
    assert [len(t) for t in made] == [5]
