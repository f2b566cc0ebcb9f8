"""Text: vocabularies, windows, parts, and the order in which they come."""

from __future__ import annotations

import re
import sysconfig
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from archlang.compiler.diagnostics import ArchError
from archlang.runtime.checkpoint import load_weights
from archlang.runtime.data import Preprocessing, load
from archlang.runtime.data.feed import Feed
from archlang.runtime.data.order import as_streams, by_length
from archlang.runtime.data.vocabulary import Vocabulary
from archlang.runtime.module import build
from archlang.runtime.train import BEST, fit
from sequence_harness import STATEFUL, batches, language, written
from training_harness import compiled

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def book() -> str:
    """The licence that comes with Python: real text."""
    folder = Path(sysconfig.get_path("stdlib"))
    for path in (folder / "LICENSE.txt", folder / "LICENSE", folder / "argparse.py"):
        if path.is_file():
            return path.read_text(encoding="utf-8")[:20_000]
    pytest.skip("no text to read")


def read(network, data, body, folder):
    program, plan = compiled(network, data, body, folder)
    return load(program, plan)


def test_characters_are_the_text(book, tmp_path):
    written(tmp_path, "book.txt", book)
    rows = len(set(book))
    data, parts, notes = read(language(rows), 'text("book.txt", length=50)', "", tmp_path)
    vocabulary = data.preprocessing.vocabularies["tokens"]
    assert notes == []
    assert vocabulary.tokens == tuple(sorted(set(book)))
    first = len(book) - round(len(book) * 0.1) - round(len(book) * 0.2)
    found = batches(data, parts, 7)
    x, y = (torch.cat(column) for column in zip(*found, strict=True))
    assert x.shape == (len(parts.train), 50)
    assert x.dtype == y.dtype == torch.int64
    whole = vocabulary.decode(x.flatten().tolist())
    assert whole == book[: len(whole)]
    assert vocabulary.decode(y.flatten().tolist()) == book[1 : len(whole) + 1]
    assert first - 50 <= len(whole) + 1 <= first + 1


def test_parts_follow_one_another_and_share_nothing(book, tmp_path):
    written(tmp_path, "book.txt", book)
    data, parts, _ = read(language(len(set(book))), 'text("book.txt", length=16)', "", tmp_path)
    n, numbers = len(book), data.preprocessing.vocabularies["tokens"].numbers
    text = np.array([numbers[c] for c in book])
    test, validation = round(n * 0.2), round(n * 0.1)
    borders = {
        "train": (0, n - test - validation),
        "validation": (n - test - validation, n - test),
        "test": (n - test, n),
    }
    for name, (begin, end) in borders.items():
        piece = text[begin:end]
        count = (len(piece) - 1) // 16
        x, y = (torch.cat(c).numpy() for c in zip(*batches(data, parts, 9, name), strict=True))
        assert np.array_equal(x.reshape(-1), piece[: count * 16])
        assert np.array_equal(y.reshape(-1), piece[1 : count * 16 + 1])


def test_words_of_the_training_part(book, tmp_path):
    written(tmp_path, "book.txt", book)
    source = 'text("book.txt", by="words", length=8, least=2, lower=true)'
    words = re.findall(r"\w+(?:['’]\w+)*|\n|[^\w\s]", book.lower())
    past = words[: len(words) - round(len(words) * 0.1) - round(len(words) * 0.2)]
    counts = Counter(past)
    known = [w for w, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= 2]
    data, parts, _ = read(language(len(known) + 1), source, "", tmp_path)
    vocabulary = data.preprocessing.vocabularies["tokens"]
    assert vocabulary.tokens == ("<unk>", *known)
    x = torch.cat([b[0] for b in batches(data, parts, 4, "test")]).flatten().tolist()
    future = words[len(words) - round(len(words) * 0.2) :]
    numbers = {w: i for i, w in enumerate(vocabulary.tokens)}
    assert x == [numbers.get(w, 0) for w in future[: len(x)]]
    assert 0 in x
    assert vocabulary.encode("Copyright nowhere-else-seen")[0] == numbers["copyright"]


def test_a_vocabulary_of_a_size(book, tmp_path):
    written(tmp_path, "book.txt", book)
    data, _, notes = read(language(20), 'text("book.txt", vocabulary=20, length=8)', "", tmp_path)
    tokens = data.preprocessing.vocabularies["tokens"].tokens
    assert (len(tokens), tokens[:2], notes) == (20, ("<unk>", " "), [])
    assert data.preprocessing.vocabularies["tokens"].encode("€") == [0]


def test_several_files_are_one_text(tmp_path):
    written(tmp_path, "a.txt", "\ufeffabc\r\nab" * 1)
    written(tmp_path, "b.txt", "cab\rc" * 8)
    data, parts, _ = read(language(5), 'text(["a.txt", "b.txt"], length=4)', "validation 0 test 0", tmp_path)
    vocabulary = data.preprocessing.vocabularies["tokens"]
    whole = "abc\nab" + "cab\rc" * 8
    x = torch.cat([b[0] for b in batches(data, parts, 4)]).flatten().tolist()
    assert vocabulary.decode(x) == whole[: len(x)]


def test_line_ends_across_pieces(tmp_path, monkeypatch):
    from archlang.runtime.data import lines

    monkeypatch.setattr(lines, "_PIECE", 3)
    path = written(tmp_path, "a.txt", "ab\r\ncdé\r\n\rf\r")
    assert "".join(lines.pieces(path, None)) == "ab\ncdé\n\rf\r"


def test_words_are_never_cut(tmp_path, monkeypatch):
    from archlang.runtime.data import lines

    text = "alpha beta\ngamma delta, epsilon's end\n" * 9
    written(tmp_path, "a.txt", text)
    found = []
    for piece in (5, 1 << 20):
        monkeypatch.setattr(lines, "_PIECE", piece)
        data, parts, _ = read(language(9), 'text("a.txt", by="words", length=4)', "test 0", tmp_path)
        found.append(torch.cat([b[0] for b in batches(data, parts, 4)]).tolist())
    assert found[0] == found[1]
    assert data.preprocessing.vocabularies["tokens"].decode([2]) in ("\n", ",", "alpha", "beta", "end", "gamma")


def test_a_saved_vocabulary(book, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)
    made.train_from_iterator(book.splitlines(keepends=True), trainer)
    made.save(str(tmp_path / "bpe.json"))
    written(tmp_path, "book.txt", book)
    data, parts, _ = read(language(made.get_vocab_size()), 'text("book.txt", by="bpe.json", length=8)', "", tmp_path)
    vocabulary = data.preprocessing.vocabularies["tokens"]
    x = torch.cat([b[0] for b in batches(data, parts, 4)]).flatten().tolist()
    assert x == made.encode(book).ids[: len(x)]
    again = Preprocessing.model_validate_json(data.preprocessing.model_dump_json()).vocabularies["tokens"]
    assert again.decode(x[:40]) == made.decode(x[:40])
    assert again.encode("The licence") == made.encode("The licence").ids
    assert len(vocabulary) == made.get_vocab_size()


def test_the_length_is_the_networks(tmp_path):
    written(tmp_path, "a.txt", "abcde" * 400)
    for length, expected in ((24, 24), ("T~40", 40), ("T", 128)):
        data, _, _ = read(language(5, length), 'text("a.txt")', "", tmp_path)
        assert data.inputs[0].shape == (expected,)


def test_vocabularies_speak_both_ways():
    words = Vocabulary(by="words", tokens=("<unk>", "a", "\n", "b"))
    assert words.encode("a\nb c") == [1, 2, 3, 0]
    assert words.decode([1, 2, 3, 0]) == "a\nb <unk>"
    letters = Vocabulary(tokens=("<pad>", "<bos>", "<eos>", "x", "y"))
    assert letters.decode([1, 3, 4, 2, 0]) == "xy"
    with pytest.raises(ArchError, match="'z' is not in the vocabulary"):
        letters.encode("xz")
    with pytest.raises(ArchError, match="no token 7"):
        letters.decode([7])


@pytest.mark.parametrize(("rows", "batch"), [(12, 4), (13, 4), (15, 4), (3, 4), (5, 5), (1, 1), (0, 3)])
def test_streams_go_on_and_leave_nothing_out(rows, batch):
    order = as_streams(torch.arange(100, 100 + rows), batch).tolist()
    assert sorted(order) == list(range(100, 100 + rows))
    width = min(batch, rows)
    cut = [order[i : i + width] for i in range(0, rows, width or 1)]
    for before, after in pairwise(cut):
        assert after == [row + 1 for row in before[: len(after)]]


def test_like_lengths_meet():
    lengths = np.random.RandomState(0).randint(1, 100, 1000)
    rows = torch.randperm(1000, generator=torch.Generator().manual_seed(3))
    one = by_length(rows, lengths, 16, torch.Generator().manual_seed(4))
    two = by_length(rows, lengths, 16, torch.Generator().manual_seed(4))
    assert torch.equal(one, two)
    assert torch.equal(one.sort().values, torch.arange(1000))
    spread = [int(np.ptp(lengths[one[i : i + 16].numpy()])) for i in range(0, 992, 16)]
    assert max(spread) < 12
    means = [lengths[one[i : i + 16].numpy()].mean() for i in range(0, 992, 16)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4  # and batches come in no order


def test_batches_of_a_carried_state_go_on(book, tmp_path):
    written(tmp_path, "book.txt", book)
    data, parts, _ = read(STATEFUL.format(rows=100), 'text("book.txt", length=10)', "batch 6 carry h", tmp_path)
    for part in ("train", "validation"):
        found = batches(data, parts, 6, part, shuffle=True, epoch=1)
        for before, after in pairwise(found):
            assert torch.equal(before[1][: len(after[0]), -1], after[0][:, 0])  # the token after one is the next first
    assert sum(len(b[0]) for b in batches(data, parts, 6)) == len(parts.train)
    whole = list(Feed(data, parts.train, 6, CPU).epoch(0))
    rest = list(Feed(data, parts.train, 6, CPU).epoch(0, start=5))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole[5:], rest, strict=True))


def test_the_vocabulary_lies_beside_the_weights(tmp_path):
    written(tmp_path, "a.txt", "hello world\n" * 60)
    program, plan = compiled(language(9), 'text("a.txt", length=12)', "epochs 1 metric perplexity", tmp_path)
    report = fit(program, lambda: build(program), plan, out=tmp_path / "run", device="cpu", progress=False)
    test = report.metrics["test"]
    assert test["perplexity"] == pytest.approx(np.exp(test["loss"]), rel=1e-5)
    stored = load_weights(build(program), tmp_path / "run" / BEST)["preprocessing"]
    vocabulary = Preprocessing.model_validate_json(stored).vocabularies["tokens"]
    assert vocabulary.decode(vocabulary.encode("hello world\n")) == "hello world\n"
