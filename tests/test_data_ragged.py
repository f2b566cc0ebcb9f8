"""Sequences of their own lengths: tagged sentences and pairs, padded, masked, and met by like ones."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from archlang.runtime.data import load
from archlang.runtime.data.feed import Feed
from archlang.runtime.module import build
from archlang.runtime.train import fit
from sequence_harness import batches, conll, dates, sentences, tagger, translator, written
from training_harness import compiled

CPU = torch.device("cpu")
TAGGED = 'tagged("t.conll")'


def read(network, data, body, folder):
    program, plan = compiled(network, data, body, folder)
    return load(program, plan)


@pytest.fixture
def tagged(tmp_path):
    written(tmp_path, "t.conll", conll())
    return tmp_path


def test_sentences_come_back(tagged):
    data, parts, _ = read(tagger(), TAGGED, "", tagged)
    assert (data.size, data.classes) == (60, ("A", "B", "C"))
    all_of_them = list(sentences())
    past = Counter(token for row in parts.train for token, _ in all_of_them[row])
    vocabulary = data.preprocessing.vocabularies["tokens"]
    assert vocabulary.tokens[:2] == ("<pad>", "<unk>")
    assert list(vocabulary.tokens[2:]) == [t for t, _ in sorted(past.items(), key=lambda item: (-item[1], item[0]))]
    for part in ("train", "validation", "test"):
        rows = iter(parts.part(part))
        for tokens, tags in batches(data, parts, 7, part):
            for x, y, row in zip(tokens.tolist(), tags.tolist(), rows, strict=False):
                sentence = all_of_them[row]
                rest = [0] * (tokens.shape[1] - len(sentence))
                assert x == [vocabulary.numbers.get(token, 1) for token, _ in sentence] + rest
                assert y == ["ABC".index(tag) for _, tag in sentence] + [-1] * len(rest)
            assert (tags == -1).sum(1).min() == 0  # no batch is wider than its longest


def test_masks_and_lengths_are_given_to_inputs_of_their_names(tagged):
    network = """network Net { input lengths: int[B]  input mask: bool[B, T]  input words: int[B, T]
      target tags: int[B, T]
      weight = mask -> cast("float") -> rearrange("b t -> b t 1")
      size = lengths -> cast("float") -> rearrange("b -> b 1 1")
      logits = ((words -> embedding(40, 8)) * weight + size) -> linear(3)
      output logits  loss fit = (logits, tags) -> cross_entropy(ignore=-1) }"""
    data, parts, _ = read(network, TAGGED, "", tagged)
    assert data.order == ("lengths", "mask", "tokens", "tags")
    for lengths, mask, words, tags in batches(data, parts, 8, shuffle=True):
        assert torch.equal(mask.sum(1), lengths)
        assert torch.equal(mask, words != 0)
        assert torch.equal(mask, tags != -1)
        assert (mask.dtype, lengths.dtype) == (torch.bool, torch.int64)


def test_columns_and_rare_tokens(tmp_path):
    text = "".join(f"{i} NN the{i % 2} O\n{i} VB {'often' if i % 3 else f'r{i}'} X\n\n" for i in range(40))
    written(tmp_path, "t.conll", text)
    data, _, _ = read(tagger(9, 2), 'tagged("t.conll", token=2, tag=1, least=3)', "", tmp_path)
    assert set(data.preprocessing.vocabularies["tokens"].tokens) == {"<pad>", "<unk>", "the0", "the1", "often"}
    assert data.classes == ("NN", "VB")


def test_a_fixed_length_is_padded_to(tagged):
    data, parts, _ = read(tagger(length=12), TAGGED, "", tagged)
    assert {tuple(t.shape[1:]) for batch in batches(data, parts, 8) for t in batch} == {(12,)}


def test_buckets_are_shuffled_and_resume(tagged):
    data, parts, _ = read(tagger(), TAGGED, "", tagged)
    feed = Feed(data, parts.train, 4, CPU, shuffle=True, seed=3, even=True)
    whole, again, rest = (list(feed.epoch(2, start)) for start in (0, 0, 5))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole, again, strict=True))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole[5:], rest, strict=True))
    assert any(a[0].shape != b[0].shape for a, b in zip(whole, feed.epoch(3), strict=True))
    assert sum(len(b[0]) for b in whole) == len(parts.train)
    plain, _, _ = read(tagger(), 'tagged("t.conll", buckets=false)', "", tagged)
    padding = [
        sum(int((tags == -1).sum()) for _, tags in Feed(d, parts.train, 4, CPU, shuffle=True).epoch(0))
        for d in (data, plain)
    ]
    assert padding[0] < 0.5 * padding[1]


def test_no_rows_make_an_empty_batch(tagged):
    data, _, _ = read(tagger(), TAGGED, "", tagged)
    found = data.sequences.batch(torch.zeros(0, dtype=torch.int64), ("tokens", "mask", "lengths", "tags"))
    assert [len(tensor) for tensor in found] == [0, 0, 0, 0]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_buckets(world, tagged):
    data, parts, _ = read(tagger(), TAGGED, "", tagged)
    feeds = [Feed(data, parts.train, 6, CPU, shuffle=True, rank=r, world=world, even=True) for r in range(world)]
    assert len({feed.steps for feed in feeds}) == 1
    for shares in zip(*(feed.epoch(1) for feed in feeds), strict=True):
        assert len({len(s[0]) for s in shares}) == 1


def test_padding_counts_in_no_figure(tagged):
    body = "epochs 2 batch 7 metric accuracy, perplexity, f1"
    program, plan = compiled(tagger(), TAGGED, body, tagged)
    made = []

    def make():
        made.append(build(program))
        return made[-1]

    report = fit(program, make, plan, out=tagged / "run", device="cpu", progress=False)
    data, parts, _ = load(program, plan)
    losses, right, total = 0.0, 0, 0
    with torch.no_grad():
        for row in parts.test:  # one sentence at a time: nothing is padded
            tokens, tags = data.sequences.batch(torch.tensor([row]), data.order)
            scores = made[0].eval()(tokens)[0]
            losses += float(torch.nn.functional.cross_entropy(scores, tags[0], reduction="sum"))
            right += int((scores.argmax(-1) == tags[0]).sum())
            total += tags.numel()
    found = report.metrics["test"]
    assert found["loss"] == pytest.approx(losses / total, rel=1e-5)
    assert found["accuracy"] == pytest.approx(right / total)
    assert found["perplexity"] == pytest.approx(np.exp(losses / total), rel=1e-5)


def test_pairs_are_shifted_and_marked(tmp_path):
    written(tmp_path, "d.tsv", dates())
    data, parts, _ = read(translator(), 'pairs("d.tsv")', "", tmp_path)
    read_, wrote = (data.preprocessing.vocabularies[name] for name in ("source", "target"))
    assert read_.tokens[:4] == wrote.tokens[:4] == ("<pad>", "<bos>", "<eos>", "<unk>")
    lines = [line.split("\t") for line in dates().splitlines()]
    rows = iter(parts.train)
    for source, previous, target in batches(data, parts, 6):
        assert (previous[:, 0] == 1).all()
        for s, p, t, row in zip(source, previous, target, rows, strict=False):
            assert read_.decode(s.tolist()) == lines[row][0]
            assert wrote.decode(t.tolist()) == wrote.decode(p.tolist()) == lines[row][1]
            end = int((t != 0).sum()) - 1
            assert t[end] == 2
            assert torch.equal(p[1 : end + 1], t[:end])
            assert not t[end + 1 :].any()
            assert not p[end + 1 :].any()


def test_pairs_of_words_with_masks(tmp_path):
    written(tmp_path, "d.tsv", dates())
    network = translator(80, "input source_mask: bool[B, S]  input target_lengths: int[B] ").replace(
        'mean(S) -> rearrange("b d -> b 1 d")',
        'mean(S) -> rearrange("b d -> b 1 d")\n  '
        'kept = (source_mask -> cast("float") -> mean(S)) + (target_lengths -> cast("float"))',
    )
    network = network.replace("+ context)", '+ context + (kept -> rearrange("b -> b 1 1")))')
    data, parts, _ = read(network, 'pairs("d.tsv", by="words", shared=true, lower=true)', "", tmp_path)
    assert data.preprocessing.vocabularies["source"] == data.preprocessing.vocabularies["target"]
    assert "may" in data.preprocessing.vocabularies["source"].tokens
    for source, mask, lengths, _, target in batches(data, parts, 5):
        assert torch.equal(mask, source != 0)
        assert torch.equal(lengths, (target != 0).sum(1))


def test_names_decide_before_the_order(tmp_path):
    written(tmp_path, "d.tsv", dates())
    network = (
        translator()
        .replace("input source: int[B, S] ", "")
        .replace("target target", "input source: int[B, S]  target target")
    )
    data, _, _ = read(network, 'pairs("d.tsv")', "", tmp_path)
    assert data.order == ("previous", "source", "target")
    assert read(translator(), 'pairs("d.tsv")', "", tmp_path)[0].order == ("source", "previous", "target")


def test_a_translator_learns_something(tmp_path):
    written(tmp_path, "d.tsv", dates(60))
    body = "epochs 15 batch 8 optimizer adam(lr=3e-2) metric accuracy"
    program, plan = compiled(translator(), 'pairs("d.tsv")', body, tmp_path)
    report = fit(program, lambda: build(program), plan, out=tmp_path / "run", device="cpu", progress=False)
    assert report.metrics["test"]["accuracy"] > 0.4
    assert report.history[-1]["loss"] < 0.7 * report.history[0]["loss"]
