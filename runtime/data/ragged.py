"""Examples of their own lengths, one or several lines each: sentences with tags, and pairs of sequences."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from archlang.compiler.data_sources import Pairs, Tagged
from archlang.compiler.diagnostics import ArchError, Sink, error
from archlang.compiler.source import Span

from .base import Column, Data, Preprocessing, Split
from .lines import check_file, lines
from .sequences import Padded, Ragged
from .vocabulary import BOS, EOS, PAD, UNK, Vocabulary, check_stored, chosen, split

_MOST = 1 << 28  # bytes of a file
_SHOWN = 8  # complaints about one file


@dataclass(frozen=True)
class Form:
    """What the network calls for. widths: the lengths that sequences are padded to, where it fixes them, in the order
    of `Data.inputs`. ignore: the target that its loss passes over."""

    widths: tuple[int | None, ...]
    ignore: int | None


@dataclass
class Side:
    """Tokens of all examples laid end to end, each numbered by its first use."""

    seen: dict[str, int] = field(default_factory=dict)
    flat: array[int] = field(default_factory=lambda: array("i"))
    starts: array[int] = field(default_factory=lambda: array("q", [0]))

    def add(self, tokens: Sequence[str]) -> None:
        seen = self.seen
        self.flat.extend(seen.setdefault(token, len(seen)) for token in tokens)
        self.starts.append(len(self.flat))

    def counts(self, rows: np.ndarray) -> Counter[str]:
        """How often each token occurs in some examples."""
        lengths = self.lengths
        marked = np.zeros(len(lengths), dtype=bool)
        marked[rows] = True
        inside = np.repeat(marked, lengths)
        counts = np.bincount(np.asarray(self.flat)[inside], minlength=len(self.seen))
        return Counter({token: int(counts[number]) for token, number in self.seen.items() if counts[number]})

    def numbered(self, vocabulary: Vocabulary) -> np.ndarray:
        """All tokens in the vocabulary's numbers, int32."""
        table = np.asarray(vocabulary.look_up(self.seen), dtype=np.int32)
        return table[np.asarray(self.flat)]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(np.asarray(self.starts))


class _Complaints(Sink):
    """Collects what is wrong with a file, up to a limit: one mistake is often made in every line."""

    def take(self, failure: ArchError) -> None:
        self.extend(failure)
        if len(self.found) >= _SHOWN:
            self.raise_if_failed()


def load_tagged(source: Tagged, path: Path, form: Form, parts_of: Callable[[int], Split], span: Span | None) -> Data:
    """Sentences and their tags. Raises A1029, A1049, A1050, A1051, A1053."""
    tokens, tags = _read_tagged(source, path, _longest(source.longest, form), span)
    size = len(tokens.lengths)
    if size == 0:
        raise error("A1029", f'"{path.name}" has no sentences', span)
    parts = parts_of(size)
    words = chosen(tokens.counts(parts.train), source.least, source.vocabulary, (PAD, UNK))
    vocabulary = Vocabulary(by="columns", tokens=words, lower=source.lower)
    names = tuple(sorted(tags.seen))
    labels = Vocabulary(by="columns", tokens=names)
    origin = f'tagged("{path.name}")'
    for made in (vocabulary, labels):
        check_stored(made, origin, span)
    pad = _padding(form.ignore, names, "", origin, span)
    starts = torch.from_numpy(np.asarray(tokens.starts))
    width = form.widths[0]
    flat = (torch.from_numpy(tokens.numbered(vocabulary)), torch.from_numpy(tags.numbered(labels)))
    sequences = Padded(
        {
            "tokens": Ragged(flat[0], starts, 0, width, (0, len(words) - 1)),
            "tags": Ragged(flat[1], starts, pad, width, (0, len(names) - 1)),
        },
        masks={"mask": "tokens"},
        sizes={"lengths": "tokens"},
    )
    sequences.lengths = tokens.lengths if source.buckets else None
    length: int | str = "T" if width is None else width
    return Data(
        origin=origin,
        inputs=(Column("tokens", (length,), "int"),),
        targets=(Column("tags", (length,), "int"),),
        extras=(Column("mask", (length,), "bool"), Column("lengths", (), "int")),
        size=size,
        sequences=sequences,
        parts=parts,
        preprocessing=Preprocessing(classes=names, vocabularies={"tokens": vocabulary}),
    )


def load_pairs(source: Pairs, path: Path, form: Form, parts_of: Callable[[int], Split], span: Span | None) -> Data:
    """Sources and targets. Raises A1029, A1049, A1050, A1051, A1053."""
    left, right = _read_pairs(source, path, form, span)
    size = len(left.lengths)
    if size == 0:
        raise error("A1029", f'"{path.name}" has no pairs', span)
    parts = parts_of(size)
    origin = f'pairs("{path.name}")'
    read, written = _vocabularies(source, left, right, parts.train)
    for made in (read, written):
        check_stored(made, origin, span)
    pad = _padding(form.ignore, written.tokens, PAD, origin, span)
    target, starts = _ended(right.numbered(written), right.lengths, written.numbers[EOS], last=True)
    previous, _ = _ended(right.numbered(written), right.lengths, written.numbers[BOS], last=False)
    wide = (None, None) if len(form.widths) < 2 else form.widths[:2]
    bounds = [(0, len(vocabulary) - 1) for vocabulary in (read, written)]
    source_starts = torch.from_numpy(np.asarray(left.starts))
    sequences = Padded(
        {
            "source": Ragged(torch.from_numpy(left.numbered(read)), source_starts, 0, wide[0], bounds[0]),
            "previous": Ragged(torch.from_numpy(previous), starts, 0, wide[1], bounds[1]),
            "target": Ragged(torch.from_numpy(target), starts, pad, wide[1], bounds[1]),
        },
        masks={"source_mask": "source", "target_mask": "target"},
        sizes={"source_lengths": "source", "target_lengths": "target"},
    )
    sequences.lengths = left.lengths + right.lengths if source.buckets else None
    long: list[int | str] = ["S" if wide[0] is None else wide[0], "T" if wide[1] is None else wide[1]]
    extras = [Column(f"{side}_mask", (size,), "bool") for side, size in zip(("source", "target"), long, strict=True)]
    extras += [Column(f"{side}_lengths", (), "int") for side in ("source", "target")]
    return Data(
        origin=origin,
        inputs=(Column("source", (long[0],), "int"), Column("previous", (long[1],), "int")),
        targets=(Column("target", (long[1],), "int"),),
        extras=tuple(extras),
        size=size,
        sequences=sequences,
        parts=parts,
        preprocessing=Preprocessing(vocabularies={"source": read, "previous": written, "target": written}),
    )


def _longest(most: int, form: Form, place: int = 0, ends: int = 0) -> int:
    """The most tokens of a sequence: as the source says, or as fit into what the network fixes."""
    width = form.widths[place] if place < len(form.widths) else None
    return most if width is None else min(most, width - ends)


def _read_tagged(source: Tagged, path: Path, longest: int, span: Span | None) -> tuple[Side, Side]:
    tokens, tags, sink = Side(), Side(), _Complaints()
    check_file(path, span, _MOST)
    width = 0
    words: list[str] = []
    labels: list[str] = []
    begin = 1
    for number, text in _with_end(lines(path, span)):
        cells = text.split()
        if not cells:
            if len(words) > longest:
                sink.take(_too_long(path, begin, "sentence", len(words), longest, span))
            elif words:
                tokens.add(words)
                tags.add(labels)
            words, labels, begin = [], [], number + 1
            continue
        width = width or len(cells)
        try:
            _columns(cells, width, source, f'"{path.name}", line {number}', span)
        except ArchError as failure:
            sink.take(failure)
            continue
        words.append(cells[source.token].lower() if source.lower else cells[source.token])
        labels.append(cells[source.tag])
    sink.raise_if_failed()
    return tokens, tags


def _columns(cells: list[str], width: int, source: Tagged, where: str, span: Span | None) -> None:
    if len(cells) != width:
        message = f"{where}: {_count(len(cells), 'column')}, and the first line has {width}"
        raise error("A1050", message, span, help="columns are separated by white space; a blank line ends a sentence")
    places = [place for place in (source.token, source.tag) if not -width <= place < width]
    if places or source.token % width == source.tag % width:
        what = f"there is no column {places[0]}" if places else "tokens and tags can't be in the same column"
        message = f"{where}: {_count(width, 'column')}: {what}"
        raise error("A1050", message, span, help="`token` and `tag` say which columns are meant, counted from 0")


def _read_pairs(source: Pairs, path: Path, form: Form, span: Span | None) -> tuple[Side, Side]:
    check_file(path, span, _MOST)
    left, right, sink = Side(), Side(), _Complaints()
    limits = _longest(source.longest, form), _longest(source.longest, form, 1, ends=1)
    for number, text in lines(path, span):
        if not text.strip():
            continue
        try:
            sides = _sides(text, source, f'"{path.name}", line {number}', span)
            for tokens, limit, what in zip(sides, limits, ("source", "target"), strict=True):
                if len(tokens) > limit:
                    raise _too_long(path, number, what, len(tokens), limit, span)
        except ArchError as failure:
            sink.take(failure)
            continue
        left.add(sides[0])
        right.add(sides[1])
    sink.raise_if_failed()
    return left, right


def _sides(text: str, source: Pairs, where: str, span: Span | None) -> tuple[list[str], list[str]]:
    cells = text.split("\t")
    if len(cells) != 2:
        message = f"{where}: {_count(len(cells), 'column')}, and a pair has 2"
        raise error("A1050", message, span, help="a tab stands between the source and the target")
    sides = [split(cell.strip(), source.by, source.lower) for cell in cells]
    for tokens, what in zip(sides, ("source", "target"), strict=True):
        if not tokens:
            raise error("A1050", f"{where}: the {what} is empty", span, help="leave the line out")
    return sides[0], sides[1]


def _vocabularies(source: Pairs, left: Side, right: Side, train: np.ndarray) -> tuple[Vocabulary, Vocabulary]:
    counts = [left.counts(train), right.counts(train)]
    if source.shared:
        counts = [counts[0] + counts[1]] * 2
    special = (PAD, BOS, EOS, UNK)
    made = [
        Vocabulary(by=source.by, tokens=chosen(c, source.least, source.vocabulary, special), lower=source.lower)
        for c in counts
    ]
    return made[0], made[1]


def _ended(flat: np.ndarray, lengths: np.ndarray, mark: int, *, last: bool) -> tuple[np.ndarray, torch.Tensor]:
    """Sequences with a mark behind (or in front of) each of them, and where each begins then."""
    ends = np.cumsum(lengths)
    places = ends if last else ends - lengths
    starts = np.concatenate([[0], np.cumsum(lengths + 1)])
    return np.insert(flat, places, mark).astype(np.int32), torch.from_numpy(starts)


def _padding(ignore: int | None, names: Sequence[str], pad: str, origin: str, span: Span | None) -> int:
    """What targets are padded with: what the loss passes over, and no target. Raises A1053."""
    best = names.index(pad) if pad else -1
    if ignore is None:
        message = f"{origin} pads targets, and the loss counts the padding"
        raise error("A1053", message, span, help=f"write `cross_entropy(ignore={best})`")
    if 0 <= ignore < len(names) and names[ignore] != pad:
        message = f"the loss passes over the target {ignore}, which is `{names[ignore]}` in {origin}"
        raise error("A1053", message, span, help=f"write `cross_entropy(ignore={best})`")
    return ignore


def _too_long(path: Path, line: int, what: str, size: int, limit: int, span: Span | None) -> ArchError:
    message = f'"{path.name}", line {line}: a {what} of {size:,} tokens, and {limit:,} are the most'
    return error("A1051", message, span, help="raise `longest` or the length that the network fixes, or cut it")


def _with_end(found: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The lines, and an empty one behind them, so that every sentence ends."""
    number = 0
    for number, text in found:
        yield number, text
    yield number + 1, ""


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"
