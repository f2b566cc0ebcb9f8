"""Vocabularies: what stands for text inside a network, and how it becomes text again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from archlang.compiler.diagnostics import error
from archlang.compiler.source import Span
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
_STORED = 1 << 25  # characters: safetensors take headers of 100 MB
# a word may hold apostrophes; a mark is a token of its own, and so is the end of a line
_WORDS = re.compile(r"\w+(?:['’]\w+)*|\n|[^\w\s]")


class Vocabulary(BaseModel):
    """Tokens and their numbers. Stored with the weights, so that new text becomes the same numbers."""

    model_config = ConfigDict(frozen=True)

    by: str = Field("characters", description="What a token is: characters, words, columns or tokenizer.")
    tokens: tuple[str, ...] = Field((), description="The tokens; the place of each is its number.")
    lower: bool = Field(False, description="Capital letters become small ones first.")
    tokenizer: str = Field("", description="A vocabulary of the package `tokenizers`, as JSON, which does it instead.")

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    @cached_property
    def unknown(self) -> int | None:
        """What stands for tokens that are not in it; None when nothing does."""
        return self.numbers.get(UNK) if not self.tokenizer else None

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return tokenizer_class().from_str(self.tokenizer)

    def split(self, text: str) -> list[str]:
        """Text as tokens, whether it has a number for them or not."""
        return split(text, self.by, self.lower)

    def encode(self, text: str) -> list[int]:
        """Text as numbers. Raises A1052 for what has none."""
        if self.tokenizer:
            return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        return self.look_up(self.split(text))

    def look_up(self, tokens: Iterable[str], where: str = "") -> list[int]:
        """Tokens as numbers. `where` begins the message for one that has none, A1052."""
        numbers, unknown = self.numbers, self.unknown
        found = []
        for token in tokens:
            number = numbers.get(token, unknown)
            if number is None:
                raise error("A1052", f"{where}{token!r} is not in the vocabulary of {len(self):,} tokens")
            found.append(number)
        return found

    def decode(self, numbers: Sequence[int]) -> str:
        """Numbers as text; padding and the marks of begin and end say nothing. Raises A1052."""
        bad = next((n for n in numbers if not 0 <= n < len(self)), None)
        if bad is not None:
            raise error("A1052", f"there is no token {bad}: the vocabulary has {len(self):,}")
        if self.tokenizer:
            return str(self._tokenizer.decode(list(numbers)))
        tokens = [token for token in (self.tokens[n] for n in numbers) if token not in (PAD, BOS, EOS)]
        if self.by == "characters":
            return "".join(tokens)
        return " ".join(tokens).replace(" \n ", "\n").replace(" \n", "\n").replace("\n ", "\n")


def split(text: str, by: str, lower: bool = False) -> list[str]:
    """Text as characters or words; in columns every cell is a token."""
    if lower:
        text = text.lower()
    return list(text) if by == "characters" else _WORDS.findall(text) if by == "words" else text.split()


def chosen(counts: Counter[str], least: int, most: int | None, special: Sequence[str]) -> tuple[str, ...]:
    """The special tokens, then those that are frequent enough, the most frequent first, and like ones by name."""
    room = len(counts) if most is None else max(0, most - len(special))
    kept = [(token, n) for token, n in counts.items() if n >= least and token not in special]
    return (*special, *(token for token, _ in sorted(kept, key=lambda item: (-item[1], item[0]))[:room]))


def check_stored(vocabulary: Vocabulary, origin: str, span: Span | None) -> None:
    """Raises A1049 for a vocabulary too large for the header of a checkpoint, where it is stored."""
    size = sum(map(len, vocabulary.tokens)) + len(vocabulary.tokenizer)
    if size > _STORED:
        message = f"{origin} has {len(vocabulary):,} different tokens, too many to store with the weights"
        raise error("A1049", message, span, help="keep the most frequent ones: `vocabulary=50000`")


def tokenizer_class(span: Span | None = None) -> type[Tokenizer]:
    """The class of the package `tokenizers`. Raises A1055 where that is not installed."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        message = "a saved vocabulary needs the package `tokenizers`"
        raise error("A1055", message, span, help="`pip install tokenizers`") from None
    return Tokenizer
