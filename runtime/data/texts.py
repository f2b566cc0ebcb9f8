"""Text to be continued: windows of tokens, and the same windows one token later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from archlang.compiler.data_sources import Text
from archlang.compiler.diagnostics import error
from archlang.compiler.source import Span

from .base import Column, Data, Preprocessing, Split
from .lines import MOST, check_file, pieces
from .sequences import Window, Windows
from .vocabulary import UNK, Vocabulary, check_stored, chosen, split, tokenizer_class

_HELD = 1 << 22  # characters without a space that are held back, so that no word is cut in two
_DISTINCT = 10_000_000
_SAVED = 1 << 25  # bytes of a saved vocabulary
_LAST = 0x110000  # one more than the greatest code point


def load_text(
    source: Text,
    paths: list[Path],
    *,
    length: int,
    shares: tuple[float, float],
    saved: Path | None,
    span: Span | None,
) -> Data:
    """Files laid end to end, as one stream of tokens; `shares` of it, at its end, go to validation and to the test.

    saved: the file of a vocabulary, where `source.by` names one. Raises A1012, A1027, A1029, A1049, A1054, A1055."""
    for path in paths:
        check_file(path, span)
    total = sum(path.stat().st_size for path in paths)
    if total > MOST:
        message = f"the files have {total / 2**20:,.0f} MiB together, and up to {MOST / 2**20:,.0f} MiB are read"
        raise error("A1049", message, span)
    if saved is not None:
        vocabulary = load_tokenizer(saved, span)
        stream = _join([np.asarray(vocabulary.encode(b), dtype=np.int32) for b in _blocks(paths, span)])
    elif source.by == "characters":
        stream, vocabulary = _characters(source, paths, shares, span)
    else:
        stream, vocabulary = _words(source, paths, shares, span)
    name = f'text("{paths[0].name}")' if len(paths) == 1 else f'text("{paths[0].name}", …)'
    if len(stream) == 0:
        raise error("A1029", f"{name} has no text", span)
    check_stored(vocabulary, name, span)
    parts = windows_of_parts(len(stream), length, shares)
    tensor = torch.from_numpy(stream)
    bounds = (0, len(vocabulary) - 1)
    windows = {key: Window(tensor, at, length, (length,), bounds) for at, key in enumerate(("tokens", "next"))}
    return Data(
        origin=name,
        inputs=(Column("tokens", (length,), "int"),),
        targets=(Column("next", (length,), "int"),),
        size=len(parts.train) + len(parts.validation) + len(parts.test),
        sequences=Windows(windows),
        parts=parts,
        preprocessing=Preprocessing(vocabularies={"tokens": vocabulary}),
    )


def borders(size: int, shares: tuple[float, float]) -> tuple[int, int]:
    """Where the validation part of a stream begins, and where the test part does."""
    validation, test = (round(size * share) for share in shares)
    return size - test - validation, size - test


def windows_of_parts(size: int, length: int, shares: tuple[float, float]) -> Split:
    """Where the windows of each part of a stream begin: one behind the other, none across a border; what a window
    must continue with lies in the part too."""
    first, second = borders(size, shares)
    spans = ((0, first), (first, second), (second, size))
    return Split(*(np.arange(a, max(a, b - length), length, dtype=np.int64) for a, b in spans))


def load_tokenizer(path: Path, span: Span | None) -> Vocabulary:
    """A vocabulary that the package `tokenizers` saved as JSON. Raises A1054, A1055."""
    if not path.is_file() or path.stat().st_size > _SAVED:
        what = "is too large for a vocabulary" if path.is_file() else "is a folder, not a saved vocabulary"
        raise error("A1054", f'"{path.name}" {what}', span)
    kind = tokenizer_class(span)
    try:
        text = path.read_text(encoding="utf-8")
        made = kind.from_str(text)
        numbers = made.get_vocab(with_added_tokens=True)
    except Exception as failure:  # the package raises plain exceptions
        reason = (str(failure).splitlines() or [type(failure).__name__])[0][:200]
        help = "save one with `tokenizer.save(file)` of the package `tokenizers`"
        raise error("A1054", f'"{path.name}" is not a saved vocabulary: {reason}', span, help=help) from None
    if not numbers or max(numbers.values()) >= _DISTINCT:
        raise error("A1054", f'"{path.name}" numbers no tokens, or numbers them too high', span)
    tokens = [""] * (max(numbers.values()) + 1)
    for token, number in numbers.items():
        tokens[number] = token
    return Vocabulary(by="tokenizer", tokens=tuple(tokens), tokenizer=text)


def _characters(
    source: Text, paths: list[Path], shares: tuple[float, float], span: Span | None
) -> tuple[np.ndarray, Vocabulary]:
    """Code points first, which the vocabulary then numbers. Without a limit, it has every character of the text."""
    found = []
    for path in paths:
        for piece in pieces(path, span):
            text = piece.lower() if source.lower else piece
            found.append(np.frombuffer(text.encode("utf-32-le"), dtype=np.int32))
    points = _join(found)
    whole = source.least == 1 and source.vocabulary is None
    counts = _count(points if whole else points[: borders(len(points), shares)[0]], _LAST)
    there = np.flatnonzero(counts)
    if whole:
        tokens = tuple(map(chr, there))
    else:
        counted = Counter({chr(p): int(counts[p]) for p in there})
        tokens = chosen(counted, source.least, source.vocabulary, (UNK,))
    numbers = np.zeros(_LAST, dtype=np.int32)  # 0 is <unk>, where there is one
    for number, token in enumerate(tokens):
        if len(token) == 1:
            numbers[ord(token)] = number
    return numbers[points], Vocabulary(by="characters", tokens=tokens, lower=source.lower)


def _words(
    source: Text, paths: list[Path], shares: tuple[float, float], span: Span | None
) -> tuple[np.ndarray, Vocabulary]:
    """Words numbered as they come first, and then as the vocabulary has them."""
    seen: dict[str, int] = {}
    found = []
    for block in _blocks(paths, span):
        words = split(block, "words", source.lower)
        found.append(np.asarray([seen.setdefault(word, len(seen)) for word in words], dtype=np.int32))
        if len(seen) > _DISTINCT:
            raise error("A1049", f"the text has more than {_DISTINCT:,} different words", span)
    order = _join(found)
    return encode(order, list(seen), borders(len(order), shares)[0], source)


def encode(order: np.ndarray, seen: list[str], first: int, source: Text) -> tuple[np.ndarray, Vocabulary]:
    """Tokens numbered by their first use, in the numbers of the vocabulary that their first part makes."""
    counts = _count(order[:first], len(seen))
    counted = Counter({seen[i]: int(n) for i, n in enumerate(counts) if n})
    tokens = chosen(counted, source.least, source.vocabulary, (UNK,))
    vocabulary = Vocabulary(by="words", tokens=tokens, lower=source.lower)
    table = np.asarray([vocabulary.numbers.get(token, 0) for token in seen], dtype=np.int32)
    return (table[order] if len(seen) else order), vocabulary


def _blocks(paths: list[Path], span: Span | None) -> Iterator[str]:
    """The text in pieces that end where a line or at least a word ends."""
    for path in paths:
        held = ""
        for piece in pieces(path, span):
            held += piece
            cut = held.rfind("\n") + 1 or held.rfind(" ") + 1
            if cut or len(held) > _HELD:
                yield held[: cut or len(held)]
                held = held[cut or len(held) :]
        if held:
            yield held


def _count(numbers: np.ndarray, size: int) -> np.ndarray:
    """How often each number occurs; piece by piece, because NumPy widens what it counts."""
    total = np.zeros(size, dtype=np.int64)
    for start in range(0, len(numbers), _HELD):
        total += np.bincount(numbers[start : start + _HELD], minlength=size)
    return total


def _join(found: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int32)
