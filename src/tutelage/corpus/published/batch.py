"""A batch of texts as arrays: lines, words and what the rules ask of them. All counts are in characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.corpus.published.english import fineweb_words
from tutelage.corpus.words import I64, U64, Bool, Splitter, Words, scramble, total_of

_WORDS_KEPT = 1 << 16  # different words whose features are remembered
Splitting = Literal["fineweb", "paper"]
# Features of a word, in one number.
_LENGTH = (1 << 24) - 1
ALPHA, SYMBOL, SENTENCE_END, PUNCTUATION, STOP_WORDS = 1 << 24, 1 << 25, 1 << 26, 1 << 27, 28
STOPS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Rae et al. 2021, appendix A1.1
# Unicode's sentence terminals (property Sentence_Terminal), by code point.
_TERMINALS = [
    0x21, 0x2E, 0x3F, 0x589, *range(0x61D, 0x620), 0x6D4, 0x700, 0x701, 0x702, 0x7F9, 0x837, 0x839, 0x83D, 0x83E,
    0x964, 0x965, 0x104A, 0x104B, 0x1362, 0x1367, 0x1368, 0x166E, 0x1735, 0x1736, 0x17D4, 0x17D5, 0x17D6,
    0x17D9, 0x17DA, 0x1803, 0x1809, 0x1944, 0x1945, *range(0x1AA8, 0x1AAC), 0x1B5A, 0x1B5B, 0x1B5E, 0x1B5F,
    0x1B7D, 0x1B7E, 0x1C3B, 0x1C3C, 0x1C7E, 0x1C7F, 0x203C, 0x203D, 0x2047, 0x2048, 0x2049, 0x2E2E, 0x2E3C,
    0x2E53, 0x2E54, 0x3002, 0xA4FF, 0xA60E, 0xA60F, 0xA6F3, 0xA6F7, 0xA876, 0xA877, 0xA8CE, 0xA8CF, 0xA92F,
    0xA9C8, 0xA9C9, 0xAA5D, 0xAA5E, 0xAA5F, 0xAAF0, 0xAAF1, 0xABEB, 0xFE52, 0xFE56, 0xFE57, 0xFF01, 0xFF0E,
    0xFF1F, 0xFF61,
]  # fmt: skip
TERMINALS = frozenset(map(chr, _TERMINALS))
# Characters that make no word by themselves: marks of several scripts, and controls.
_SYMBOLS = frozenset("!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»")


@dataclass(frozen=True, slots=True)
class Batch:
    """`lines`: of all texts, one behind the other, text i has those from `line_starts[i]` to the next. `words`: of each
    line, with the features above. `word_starts`: of each text."""

    texts: pa.Array
    chars: I64
    lines: pa.Array
    line_starts: I64
    words: Words

    @property
    def word_starts(self) -> I64:
        return self.words.starts[self.line_starts]

    @property
    def owners(self) -> I64:
        """The text of each word."""
        starts = self.word_starts
        return np.repeat(np.arange(len(self.texts)), np.diff(starts))

    def only(self, texts: I64) -> Batch:
        """Some of the texts, ascending."""
        if len(texts) == len(self.texts):
            return self
        count = np.diff(self.line_starts)
        stays = np.zeros(len(self.texts), bool)
        stays[texts] = True
        lines = np.repeat(stays, count)
        starts = np.concatenate([[0], np.cumsum(count[texts])])
        taken = pa.array(texts)
        return Batch(
            self.texts.take(taken),
            self.chars[texts],
            self.lines.filter(pa.array(lines)),
            starts,
            self.words.only(lines),
        )

    @property
    def word_chars(self) -> I64:
        return self.words.features & _LENGTH

    def has(self, feature: int) -> Bool:
        """Whether each word has a feature."""
        return (self.words.features & feature) != 0


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of texts, with the number of words and sentences of each; text i has those from `starts[i]` to the next."""

    text: pa.Array
    starts: I64
    words: I64
    sentences: I64

    @property
    def owners(self) -> I64:
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


class Cutter:
    """Cuts batches of texts into lines and words. `splitting`: `fineweb` sets punctuation and contractions apart,
    `paper` takes what stands between white space for words."""

    def __init__(self, splitting: Splitting = "fineweb") -> None:
        self._split = Splitter(fineweb_words if splitting == "fineweb" else _chunk, features_of)

    def batch(self, texts: pa.Array) -> Batch:
        cut = pc.split_pattern(texts, "\n")
        chars = pc.utf8_length(texts).to_numpy().astype(np.int64)
        return Batch(texts, chars, cut.values, cut.offsets.to_numpy().astype(np.int64), self._split.words(cut.values))

    def lines(self, text: pa.Array, starts: I64) -> Lines:
        words = self._split.words(text)
        return Lines(text, starts, words.lengths, sentences_of(words))


def _chunk(chunk: str) -> Sequence[str]:
    return (chunk,) if chunk else ()


def features_of(words: pa.Array) -> I64:
    """Of each word its length and which of the features above it has."""
    found: I64 = np.minimum(pc.utf8_length(words).to_numpy(), _LENGTH).astype(np.int64)
    letters = flags_of(pc.match_substring_regex(words, "[A-Za-z]"))
    stops = pc.fill_null(pc.index_in(words, pa.array(STOPS)), -1).to_numpy().astype(np.int64)
    found |= np.where(stops >= 0, np.left_shift(1, STOP_WORDS + stops), 0) | np.where(letters, ALPHA, 0)
    others = np.flatnonzero(~letters)
    found[others] = list(map(_feature_of, words.take(pa.array(others)).to_pylist()))
    return found


@lru_cache(maxsize=_WORDS_KEPT)
def _feature_of(word: str) -> int:
    number = min(len(word), _LENGTH)
    if any(map(str.isalpha, word)):
        return number | ALPHA
    if all(char in _SYMBOLS or unicodedata.category(char) == "Cc" for char in word):
        number |= SYMBOL
    if len(word) == 1 and word in TERMINALS:
        number |= SENTENCE_END
    elif all(unicodedata.category(char)[0] == "P" for char in word):
        number |= PUNCTUATION
    return number


def sentences_of(words: Words) -> I64:
    """Sentences of each line: one, and one more for each word that follows the end of a sentence."""
    end, mark = (words.features & SENTENCE_END) != 0, (words.features & PUNCTUATION) != 0
    counted = np.flatnonzero(~mark)
    line = words.owners[counted]
    begins = np.zeros(len(counted), bool)
    begins[1:] = end[counted[:-1]] & ~end[counted[1:]] & (line[1:] == line[:-1])
    return (words.lengths > 0) + np.bincount(line[begins], minlength=len(words.starts) - 1)


def several(keys: U64, owners: I64) -> tuple[I64, I64]:
    """(places of the keys that occur more than once in their text, where among these each different key begins): those
    of one key stand behind each other, ordered by text. Keys are compared by 44 of their bits, within a text."""
    mixed = (owners.astype(np.uint64) << np.uint64(44)) | (keys >> np.uint64(20))
    order = np.argsort(mixed)
    ordered = mixed[order]
    same = np.zeros(len(keys) + 1, bool)  # as the one before
    same[1:-1] = ordered[1:] == ordered[:-1]
    found = np.flatnonzero(same[:-1] | same[1:])
    return order[found], np.flatnonzero(~same[found])


def repeated(keys: U64, owners: I64) -> Bool:
    """Whether each key occurred before in its text."""
    again = np.zeros(len(keys), bool)
    places, begins = several(keys, owners)
    if len(places):
        again[places] = True
        again[np.minimum.reduceat(places, begins)] = False
    return again


def string_keys(texts: pa.Array) -> U64:
    """A number for each string, the same for the same strings of the batch."""
    numbers = texts.dictionary_encode().indices.to_numpy().astype(np.uint64)
    return scramble(scramble(numbers + np.uint64(1)))


def share(part: I64, whole: I64) -> np.ndarray:
    """Quotients; 0 where there is nothing to divide by."""
    return part / np.maximum(whole, 1)


def count_lines(flags: Bool, starts: I64) -> I64:
    return total_of(flags.astype(np.int64), starts)


def flags_of(array: pa.Array) -> Bool:
    flags: Bool = array.to_numpy(zero_copy_only=False).astype(bool)
    return flags
