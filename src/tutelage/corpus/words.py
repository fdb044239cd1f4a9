"""Words of many texts at once, as hashes: Arrow cuts at white space, and each different chunk is looked at once.

A text has a few thousand different chunks among millions, so that what is done for a chunk in Python costs little, and
what is done for each word is done by numpy.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tutelage.corpus.sentences import begins_sentence, ends_sentence

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_MIX = np.uint64(0x9E3779B97F4A7C15)
_KEPT = 400_000  # different chunks that are remembered: about 60 MB
_WORDS_KEPT = 1 << 16  # different words whose hash is remembered
_BATCH, _BATCH_TEXTS = 1 << 22, 1 << 14  # characters of texts that are cut together, and how many texts
_LINE = "\x00"  # stands for a line break among chunks; no clean text has it


@dataclass(frozen=True, slots=True)
class Words:
    """Texts as word hashes, one behind the other: text i is `hashes[starts[i] : starts[i + 1]]`.

    `sentences`: where sentences begin (places among the words, ascending), if they were asked for. `features`: of each
    word, what the splitter's `features` says of it. `chunks`: pieces between white space of each text; `longest`:
    characters of the longest of them.
    """

    hashes: U64
    starts: I64
    chunks: I64
    longest: I64
    features: I64
    sentences: I64 | None = None

    @property
    def lengths(self) -> I64:
        return np.diff(self.starts)

    @property
    def owners(self) -> I64:
        """The text of each word."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)

    def only(self, texts: Bool) -> Words:
        """Words of some of the texts."""
        inside = np.repeat(texts, self.lengths)
        starts = np.concatenate([[0], np.cumsum(self.lengths[texts])])
        return Words(self.hashes[inside], starts, self.chunks[texts], self.longest[texts], self.features[inside])


class Splitter:
    """Cuts texts into words by `split`, a function of one chunk of text without white space, and remembers chunks.
    `features`: numbers that are wanted of words. `sentences`: also find where sentences begin."""

    def __init__(
        self,
        split: Callable[[str], Sequence[str]],
        features: Callable[[pa.Array], I64] | None = None,
        sentences: bool = False,
    ) -> None:
        self._split, self._of_words, self._sentences = split, features, sentences
        self._clear()

    def _clear(self) -> None:
        self._known: dict[str, int] = {}
        self._hashes, self._starts = array("Q"), array("q", [0])
        self._features, self._sizes = array("q"), array("q")
        self._ends, self._begins = array("b"), array("b")

    def words(self, texts: pa.Array) -> Words:
        """Words of each text."""
        if self._sentences:
            texts = pc.replace_substring(texts, "\n", f" {_LINE} ")
        cut = pc.utf8_split_whitespace(texts)
        offsets = cut.offsets.to_numpy()
        encoded = cut.values.dictionary_encode()
        if len(self._known) > _KEPT:
            self._clear()
        known, different = self._known, encoded.dictionary.to_pylist()
        if new := [chunk for chunk in different if chunk not in known]:
            self._learn(new)
        chunks = np.fromiter(map(known.__getitem__, different), np.int64, len(different))[encoded.indices.to_numpy()]
        first = np.array(self._starts, np.int64)  # a copy: an array that is looked into cannot grow
        table, features = np.array(self._hashes, np.uint64), np.array(self._features, np.int64)
        counts = np.diff(first)[chunks]
        before = np.concatenate([[0], np.cumsum(counts)])
        places = np.repeat(first[chunks] - before[:-1], counts) + np.arange(before[-1])
        sizes = np.array(self._sizes, np.int64)[chunks]
        return Words(
            table[places],
            before[offsets],
            total_of((sizes > 0).astype(np.int64), offsets),
            largest_of(sizes, offsets),
            features[places] if len(features) else features,
            self._begin(chunks, before, offsets) if self._sentences else None,
        )

    def _begin(self, chunks: I64, before: I64, offsets: I64) -> I64:
        """First words of sentences: after a line break, at a text's begin, and where one chunk ends a sentence and the
        next can begin one."""
        ends, begins = np.array(self._ends, np.int8)[chunks], np.array(self._begins, np.int8)[chunks]
        first = np.zeros(len(chunks) + 1, bool)
        first[1:-1] = (ends[:-1] & begins[1:]) != 0
        if _LINE in self._known:
            first[1:] |= chunks == self._known[_LINE]
        first[offsets] = True
        return np.unique(before[first])

    def _learn(self, chunks: list[str]) -> None:
        split, words, begin = self._split, list[str](), len(self._hashes)
        self._known.update(zip(chunks, range(len(self._known), len(self._known) + len(chunks)), strict=True))
        for chunk in chunks:
            if chunk != _LINE:
                words += split(chunk)
            self._starts.append(begin + len(words))
        self._sizes.extend(len(chunk) if chunk != _LINE else 0 for chunk in chunks)
        encoded = pa.array(words, pa.string()).dictionary_encode()
        different, places = encoded.dictionary, encoded.indices.to_numpy()
        hashes = np.fromiter(map(hash_word, different.to_pylist()), np.uint64, len(different))
        self._hashes.frombytes(hashes[places].tobytes())
        if self._of_words is not None:
            self._features.frombytes(self._of_words(different)[places].tobytes())
        if self._sentences:
            self._ends.extend(map(ends_sentence, chunks))
            self._begins.extend(map(begins_sentence, chunks))


def hash_text(text: str) -> int:
    """64 bits, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


hash_word = lru_cache(maxsize=_WORDS_KEPT)(hash_text)


def text_batches(texts: Iterable[str]) -> Iterator[pa.Array]:
    """Texts in Arrow arrays of about four million characters (a longer one stands alone), at most 16,384 texts."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH or len(batch) == _BATCH_TEXTS:
            yield pa.array(batch, pa.string())
            batch, size = [], 0
    if batch:
        yield pa.array(batch, pa.string())


def grams(words: Words, size: int) -> tuple[U64, I64]:
    """All n-grams of the texts as (gram hashes, index of the text of each). Texts shorter than `size` have none."""
    count = len(words.hashes) - size + 1
    if count <= 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    value = np.zeros(count, np.uint64)
    for offset in range(size):
        value *= _MIX
        value += words.hashes[offset : offset + count]
        value = scramble(value)
    owners = words.owners
    inside = owners[:count] == owners[size - 1 :]
    return value[inside], owners[:count][inside]


def sentence_hashes(words: Words) -> tuple[U64, I64, I64]:
    """(hash of each sentence, index of its text, number of its words); of texts that were cut with `sentences`."""
    assert words.sentences is not None
    starts = words.sentences[words.sentences < len(words.hashes)]
    if not len(starts):
        return np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    lengths = np.diff(np.append(starts, len(words.hashes)))
    places = (np.arange(len(words.hashes)) - np.repeat(starts, lengths)).astype(np.uint64)
    hashes = np.add.reduceat(scramble(words.hashes + places * _MIX), starts)  # the place of a word counts
    return hashes, np.searchsorted(words.starts, starts, side="right") - 1, lengths


def total_of(values: I64, starts: I64) -> I64:
    """Sums of the values of each text, which are those from one start to the next."""
    before = np.concatenate([[0], np.cumsum(values)])
    return before[starts[1:]] - before[starts[:-1]]


def largest_of(values: I64, starts: I64) -> I64:
    """The largest value of each text; 0 where there is none."""
    found = np.zeros(len(starts) - 1, np.int64)
    some = np.flatnonzero(starts[1:] > starts[:-1])
    if len(some):
        found[some] = np.maximum.reduceat(values, starts[some])
    return found


def scramble(value: U64) -> U64:
    """A bijective mix (murmur's finaliser), so that every bit of the result depends on all bits of the value."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(29)
    return value
