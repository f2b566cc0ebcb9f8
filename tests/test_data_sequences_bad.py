"""Sequences that are broken, or do not fit: every message names the file and the line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from archlang.runtime.data import load
from sequence_harness import STATEFUL, conll, dates, forecaster, language, tagger, translator, written
from training_harness import compiled, refused

TEXT, TAGGED, PAIRS = 'text("a.txt", length=8)', 'tagged("a.txt")', 'pairs("a.txt")'
SERIES = 'series("a.txt", ["v"], window=6, horizon=2)'
BOOK = "abcde fgh\n" * 60
ROWS = "t,v\n" + "".join(f"{i},{i / 2}\n" for i in range(80))
GOOD = {TEXT: BOOK, TAGGED: conll(), PAIRS: dates(), SERIES: ROWS}
FITTING = {TEXT: language(), TAGGED: tagger(), PAIRS: translator(), SERIES: forecaster(6, 2)}


def changed(text: str, line: int, new: str | bytes) -> bytes:
    """The text with another line, counted from 1."""
    lines = text.encode().split(b"\n")
    lines[line - 1] = new.encode() if isinstance(new, str) else new
    return b"\n".join(lines)


CASES = [
    ("not UTF-8", TEXT, changed(BOOK, 17, b"abc\xff"), "A1049", ["a.txt", "line 17", "0xff"]),
    ("cut in a letter", TEXT, BOOK.encode() + "é".encode()[:1], "A1049", ["line 61", "0xc3"]),
    ("an empty text", TEXT, "", "A1029", ["no text"]),
    ("a short text", TEXT, "abc de", "A1027", ["windows shorter"]),
    ("not UTF-8 in a sentence", TAGGED, changed(conll(), 4, b"\xe9t x A"), "A1049", ["line 4", "0xe9"]),
    ("a column too few", TAGGED, changed(conll(), 3, "w1 B"), "A1050", ["line 3", "2 columns", "has 3"]),
    ("a column too many", TAGGED, changed(conll(), 5, "w1 x B y"), "A1050", ["line 5", "4 columns"]),
    ("one column", TAGGED, "a\nb\n\nc\n", "A1050", ["line 1", "same column"]),
    ("no sentences", TAGGED, "\n\n\n", "A1029", ["no sentences"]),
    ("few sentences", TAGGED, "a x A\n\nb x B\n", "A1027", ["2 examples"]),
    ("not UTF-8 in a pair", PAIRS, changed(dates(), 9, b"\xff\t1"), "A1049", ["line 9"]),
    ("no tab", PAIRS, changed(dates(), 2, "1 May 1990"), "A1050", ["line 2", "1 column,", "tab"]),
    ("two tabs", PAIRS, changed(dates(), 2, "a\tb\tc"), "A1050", ["line 2", "3 columns"]),
    ("no source", PAIRS, changed(dates(), 7, " \tb"), "A1050", ["line 7", "source is empty"]),
    ("no target", PAIRS, changed(dates(), 7, "a\t "), "A1050", ["line 7", "target is empty"]),
    ("no pairs", PAIRS, "\n", "A1029", ["no pairs"]),
    ("a gap", SERIES, changed(ROWS, 12, "10,"), "A1018", ["line 12", "`v`", "missing", "previous"]),
    ("a word", SERIES, changed(ROWS, 12, "10,ten"), "A1019", ["line 12", "`v`", "`ten`"]),
    ("a short row", SERIES, changed(ROWS, 12, "10"), "A1016", ["line 12"]),
    ("a short series", SERIES, "t,v\n1,2\n2,3\n", "A1027", ["windows shorter"]),
    ("no rows", SERIES, "t,v\n", "A1029", ["no rows"]),
    ("an empty table", SERIES, "", "A1029", ["empty"]),
]


@pytest.mark.parametrize(("data", "content", "code", "says"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_broken_files(data, content, code, says, tmp_path):
    written(tmp_path, "a.txt", content)
    one(FITTING[data], data, "", tmp_path, code, says)


def one(network: str, data: str, body: str, folder: Path, code: str, says: list[str]) -> None:
    """The message, of one code, of a plan that must be refused when its data are read."""
    program, plan = compiled(network, data, body, folder)
    found, *others = refused(lambda: load(program, plan))
    assert {d.code for d in (found, *others)} == {code}, found.message
    told = f"{found.message} {found.help}"
    assert [s for s in says if s not in told] == []
    assert found.span is not None


MASKED = """network Net {{ input tokens: int[B, T]  input mask: {kind}  target tags: int[B, T]
  weight = mask -> rearrange("b t -> b t 1")
  logits = (tokens -> embedding(40, 8) -> linear(3)) * weight
  output logits  loss fit = (logits, tags) -> cross_entropy(ignore=-1) }}"""
OTHER = MASKED.format(kind="[B, T]").replace("mask", "z")

MISFITS = [
    ("no such file", language(), 'text("b.txt")', TEXT, "", "A1010", ["a.txt"]),
    ("out of the project", language(), 'text("../../../b.txt")', TEXT, "", "A1011", ["--data"]),
    ("a vocabulary out of the project", language(), 'text("a.txt", by="/v.json")', TEXT, "", "A1011", []),
    ("a text for a vocabulary", language(), 'text("a.txt", by="v.json")', TEXT, "", "A1054", ["v.json"]),
    ("too few rows", language(4), TEXT, TEXT, "", "A1052", ["10 tokens", "4 rows"]),
    ("another length", language(40, 9), TEXT, TEXT, "", "A1023", ["int[B, 8]"]),
    ("numbers for tokens", forecaster(8, 8), TEXT, TEXT, "", "A1024", ["int[B, 8]"]),
    ("tokens for numbers", language(), SERIES, SERIES, "", "A1024", ["[B, 6]"]),
    ("a mask that is none", MASKED.format(kind="[B, T]"), TAGGED, TAGGED, "", "A1024", ["`mask`", "bool[B, T]"]),
    ("too many inputs", OTHER, TAGGED, TAGGED, "", "A1025", ["2 inputs", "`tokens`", "`mask`"]),
    ("too few inputs", language().replace("cross_entropy", "cross_entropy(ignore=0)"), PAIRS, PAIRS, "",
     "A1025", ["1 input,", "`source` and `previous`"]),
    ("padding that counts", tagger(loss=""), TAGGED, TAGGED, "", "A1053", ["ignore=-1"]),
    ("a tag that does not count", tagger(loss="(ignore=1)"), TAGGED, TAGGED, "", "A1053", ["`B`", "ignore=-1"]),
    ("a token that does not count", translator().replace("=0", "=5"), PAIRS, PAIRS, "", "A1053", ["ignore=0"]),
    ("too few tags", tagger(classes=2), TAGGED, TAGGED, "", "A1026", ["0 to 1", "3 classes"]),
    ("a length that is too small", tagger(length=5), TAGGED, TAGGED, "", None, ["5 are the most", "line "]),
    ("one axis for two", translator().replace("[B, S]", "[B, T]").replace("mean(S)", "mean(T)"), PAIRS, PAIRS, "",
     "A1023", ["`source` and `previous`", "`S`"]),
    ("augmented text", language(), TEXT, TEXT, "augment flip", "A1031", []),
    ("classes of text", language(), TEXT, TEXT, "sampler balanced", "A1038", []),
    ("scaled text", language(), TEXT, TEXT, "normalize standard", "A1007", ["as they are"]),
    ("scaled as images", forecaster(6, 2), SERIES, SERIES, "normalize imagenet", "A1007", ["mean and deviation"]),
    ("no such column", forecaster(6, 2), 'series("a.txt", ["w"])', SERIES, "", "A1017", ["`t`, `v`"]),
    ("no such time", forecaster(6, 2), 'series("a.txt", ["v"], time="day")', SERIES, "", "A1017", ["`day`"]),
    ("a long season", forecaster(6, 2), 'series("a.txt", ["v"], season=7)', SERIES, "", "A1056", ["7", "6"]),
    ("a state that is not carried", STATEFUL.format(rows=40), TEXT, TEXT, "", "A1025", ["`carry`"]),
    ("two columns for one", forecaster(6, 2), 'series("a.txt", ["v", "t"])', SERIES, "", None, ["[B, 6, 2]"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("network", "data", "like", "body", "code", "says"), [c[1:] for c in MISFITS], ids=[c[0] for c in MISFITS]
)
def test_what_does_not_fit(network, data, like, body, code, says, tmp_path):
    (tmp_path / "pyproject.toml").write_text("")
    written(tmp_path, "a.txt", GOOD[like])
    written(tmp_path, "v.json", "[]")
    if code is not None:
        one(network, data, body, tmp_path, code, says)
        return
    program, plan = compiled(network, data, body, tmp_path)
    told = " ".join(f"{found.message} {found.help}" for found in refused(lambda: load(program, plan)))
    assert [s for s in says if s not in told] == []


def test_several_lines_at_once(tmp_path):
    text = dates(30).split("\n")
    for line in (3, 9, 20):
        text[line - 1] = "no tab"
    text[11] = "a" * 600 + "\tb"
    written(tmp_path, "a.txt", "\n".join(text))
    program, plan = compiled(translator(), PAIRS, "", tmp_path)
    found = refused(lambda: load(program, plan))
    assert sorted((d.code, d.message.split(":")[0]) for d in found) == [
        *(("A1050", f'"a.txt", line {line}') for line in (20, 3, 9)),
        ("A1051", '"a.txt", line 12'),
    ]
    written(tmp_path, "a.txt", "no tab\n" * 1000)
    assert len(refused(lambda: load(program, plan))) == 8


def test_a_sentence_that_is_too_long(tmp_path):
    written(tmp_path, "a.txt", conll(20) + "\n" + "w x A\n" * 600)
    where = f"line {conll(20).count(chr(10)) + 2}"
    one(tagger(), TAGGED, "", tmp_path, "A1051", [where, "600", "512"])
    program, plan = compiled(tagger(), 'tagged("a.txt", longest=600)', "", tmp_path)
    assert load(program, plan)[0].size == 21


def test_time_goes_forward(tmp_path):
    days = [f"2021-{1 + i // 28:02}-{1 + i % 28:02}" for i in range(80)]
    source = 'series("a.txt", ["v"], window=6, horizon=2, time="t")'
    for change, says in (({30: days[29]}, ["line 32", "not later"]), ({30: "some day"}, ["line 32", "neither"])):
        told = [change.get(i, day) for i, day in enumerate(days)]
        written(tmp_path, "a.txt", "t,v\n" + "".join(f"{day},1\n" for day in told))
        one(forecaster(6, 2), source, "", tmp_path, "A1057", says)
    written(tmp_path, "a.txt", "t,v\n" + "".join(f"{day},{i}\n" for i, day in enumerate(days)))
    assert load(*compiled(forecaster(6, 2), source, "", tmp_path))[0].size > 0


def test_all_columns_are_complained_of(tmp_path):
    written(tmp_path, "a.txt", "u,v\n" + "1,2\n" * 30 + "x,2\n1,y\n")
    program, plan = compiled(forecaster(6, 2, 2, 2), 'series("a.txt", ["u", "v"])', "", tmp_path)
    assert [d.message[:16] for d in refused(lambda: load(program, plan))] == ['"a.txt", line 32', '"a.txt", line 33']


def test_files_that_are_too_large(tmp_path, monkeypatch):
    from archlang.runtime.data import lines, ragged, texts

    written(tmp_path, "a.txt", BOOK)
    monkeypatch.setattr(texts, "MOST", 100)
    one(language(), TEXT, "", tmp_path, "A1049", ["MiB"])
    written(tmp_path, "a.txt", conll())
    monkeypatch.setattr(ragged, "_MOST", 100)
    one(tagger(), TAGGED, "", tmp_path, "A1049", ["a.txt", "MiB"])
    monkeypatch.setattr(ragged, "_MOST", 10_000)
    monkeypatch.setattr(lines, "_LINE", 10)
    written(tmp_path, "a.txt", conll(3) + "w" * 50 + " x A\n")
    one(tagger(), TAGGED, "", tmp_path, "A1049", ["characters"])


@pytest.mark.parametrize(
    ("package", "data"), [("statsmodels", "sunspots"), ("tokenizers", 'text("a.txt", by="v.json")')]
)
def test_packages_that_are_not_there(package, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    written(tmp_path, "a.txt", BOOK)
    written(tmp_path, "v.json", "{}")
    network = forecaster(6, 2) if package == "statsmodels" else language()
    one(network, data, "", tmp_path, "A1055", [package, "pip install"])


def test_vocabularies_that_are_too_large(tmp_path, monkeypatch):
    from archlang.runtime.data import vocabulary

    monkeypatch.setattr(vocabulary, "_STORED", 9)
    for data in (TEXT, TAGGED, PAIRS):
        written(tmp_path, "a.txt", GOOD[data])
        one(FITTING[data], data, "", tmp_path, "A1049", ["different tokens", "vocabulary=50000"])


SETTINGS = [
    ('text("a.txt", by="letters")', "A1005", "letters"),
    ('text("a.txt", by="v.json", least=2)', "A1005", "`least`"),
    ("text([])", "A1005", ""),
    ('text("a.txt", length=0)', "A1005", ""),
    ('series("a.txt", ["v", "v"])', "A1005", "twice"),
    ('series("a.txt", ["v"], targets=["w"], season=3)', "A1005", "`columns`"),
    ('series("a.txt", ["v"], window=5, season=6)', "A1005", "6"),
    ('series("a.txt", ["v"], missing="zero")', "A1005", "refuse"),
    ('tagged("a.txt", token=1, tag=1)', "A1005", "two columns"),
    ('pairs("a.txt", by="v.json")', "A1005", "characters"),
    ("adding_problem(length=3)", "A1005", "10"),
]


@pytest.mark.parametrize(("data", "code", "says"), SETTINGS, ids=[s[0] for s in SETTINGS])
def test_settings_that_make_no_sense(data, code, says, tmp_path):
    found = refused(lambda: compiled(language(), data, "", tmp_path))
    assert {d.code for d in found} == {code}
    assert says in " ".join(d.message for d in found)
