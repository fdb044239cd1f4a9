"""Rules of Gopher (Rae et al. 2021, arXiv:2112.11446, appendix A1.1, table A1), in the form that FineWeb uses them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.corpus.published.batch import (
    ALPHA,
    STOP_WORDS,
    SYMBOL,
    Batch,
    count_lines,
    distinct,
    flags_of,
    repeated,
    share,
    string_keys,
)
from tutelage.corpus.words import I64, U64, Bool, scramble, total_of

WORDS, WORD_LENGTH, SYMBOLS_A_WORD = (50, 100_000), (3, 10), 0.1
BULLETS, ELLIPSES, ALPHABETIC, FEWEST_STOPS = 0.9, 0.3, 0.8, 2
LINES, LINE_CHARS = 0.3, 0.2  # of lines, and of paragraphs, that are repeated
TOP_GRAMS = ((2, 0.2), (3, 0.18), (4, 0.16))
REPEATED_GRAMS = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))
_MIX = np.uint64(0x9E3779B97F4A7C15)

Verdicts = dict[str, Bool]
"""For each rule, in the order in which they are looked at, the texts that break it."""


def quality(batch: Batch) -> Verdicts:
    """Length, length of words, symbols, bullets, ellipses, letters, stop words."""
    starts = batch.word_starts
    words = np.diff(starts)
    real = ~batch.has(SYMBOL)
    count = total_of(real.astype(np.int64), starts)
    mean = share(total_of(batch.word_chars * real, starts), count)
    hashes = pc.count_substring(batch.texts, "#").to_numpy()
    ellipses = pc.count_substring(batch.texts, "...").to_numpy() + pc.count_substring(batch.texts, "…").to_numpy()
    bullets, endings, lines = _bullets_and_endings(batch)
    stops = np.zeros(len(words), np.int64)
    for bit in range(STOP_WORDS, STOP_WORDS + 8):
        stops += total_of(((batch.words.features >> bit) & 1), starts) > 0
    return {
        "gopher: too few words": count < WORDS[0],
        "gopher: too many words": count > WORDS[1],
        "gopher: short words": mean < WORD_LENGTH[0],
        "gopher: long words": mean > WORD_LENGTH[1],
        "gopher: hashes": share(hashes, words) > SYMBOLS_A_WORD,
        "gopher: ellipses": share(ellipses, words) > SYMBOLS_A_WORD,
        "gopher: bullets": share(bullets, lines) > BULLETS,
        "gopher: lines end in ellipses": share(endings, lines) > ELLIPSES,
        "gopher: few letters": share(total_of(batch.has(ALPHA).astype(np.int64), starts), words) < ALPHABETIC,
        "gopher: few stop words": stops < FEWEST_STOPS,
    }


def _bullets_and_endings(batch: Batch) -> tuple[I64, I64, I64]:
    """Lines that begin with a bullet, that end in an ellipsis, and lines (without an empty one at the end)."""
    trimmed = pc.utf8_trim_whitespace(batch.lines)
    starts = batch.line_starts
    bullet = flags_of(pc.or_(pc.starts_with(trimmed, "•"), pc.starts_with(trimmed, "-")))
    ending = flags_of(pc.or_(pc.ends_with(trimmed, "..."), pc.ends_with(trimmed, "…")))
    last_empty = (pc.utf8_length(batch.lines).to_numpy() == 0)[starts[1:] - 1]
    return count_lines(bullet, starts), count_lines(ending, starts), np.diff(starts) - last_empty


def repetition(batch: Batch) -> Verdicts:
    """Repeated paragraphs and lines, the commonest short n-gram, repeated long n-grams."""
    found: Verdicts = {}
    for name, pieces in (
        ("paragraphs", pc.split_pattern_regex(pc.utf8_trim_whitespace(batch.texts), "\n{2,}")),
        ("lines", pc.split_pattern_regex(batch.texts, "\n+")),
    ):
        again, chars, count = _repeated_pieces(pieces)
        found[f"gopher: repeated {name}"] = share(again, count) > LINES
        found[f"gopher: characters of repeated {name}"] = share(chars, batch.chars) > LINE_CHARS
    before = np.concatenate([[0], np.cumsum(batch.word_chars)])
    grams = _Grams.of(batch)
    for size, most in TOP_GRAMS:
        found[f"gopher: commonest {size}-gram"] = share(_commonest(batch, grams, size, before), batch.chars) > most
    suspects = np.flatnonzero(share(_covered(batch, grams, REPEATED_GRAMS[0][0]), batch.chars) > REPEATED_GRAMS[-1][1])
    for size, most in REPEATED_GRAMS:
        broken = np.zeros(len(batch.texts), bool)
        for text in suspects.tolist():
            broken[text] = _skipping(batch, text, size, before) / max(1, batch.chars[text]) > most
        found[f"gopher: repeated {size}-grams"] = broken
    return found


def _repeated_pieces(pieces: pa.ListArray) -> tuple[I64, I64, I64]:
    """Of each text: pieces that occurred before in it, their characters, and all pieces."""
    starts = pieces.offsets.to_numpy().astype(np.int64)
    again = repeated(string_keys(pieces.values), np.repeat(np.arange(len(pieces)), np.diff(starts)))
    chars = pc.utf8_length(pieces.values).to_numpy().astype(np.int64)
    return count_lines(again, starts), total_of(chars * again, starts), np.diff(starts)


class _Grams:
    """Hashes of the n-grams of a batch, by size; each made from the next smaller one."""

    def __init__(self, words: U64, owners: I64) -> None:
        self._words, self._owners = words, owners

    @classmethod
    def of(cls, batch: Batch) -> _Grams:
        return cls(batch.words.hashes, batch.owners)

    def sized(self, size: int) -> tuple[U64, I64]:
        """(hash of each n-gram that lies in one text, its first word)."""
        count = len(self._words) - size + 1
        if count <= 0:
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        value = np.zeros(count, np.uint64)
        for offset in range(size):
            value = scramble(value * _MIX + self._words[offset : offset + count])
        places = np.flatnonzero(self._owners[:count] == self._owners[size - 1 :])
        return value[places], places


def _commonest(batch: Batch, grams: _Grams, size: int, before: I64) -> I64:
    """Characters that the commonest n-gram of each text takes up, spaces between its words counted; of several the
    first."""
    found = np.zeros(len(batch.texts), np.int64)
    hashes, places = grams.sized(size)
    if not len(hashes):
        return found
    owners = batch.owners[places]
    first, counts, texts = distinct(hashes, owners)
    begins = np.flatnonzero(np.concatenate([[True], texts[1:] != texts[:-1]]))
    score = np.maximum.reduceat((counts << 32) - first, begins)
    most = -(-score >> 32)
    place = places[(most << 32) - score]
    found[texts[begins]] = (before[place + size] - before[place] + size - 1) * most
    return found


def _covered(batch: Batch, grams: _Grams, size: int) -> I64:
    """Characters of words in n-grams that occurred before in the text: at least what `_skipping` counts, for this size
    and all larger ones."""
    hashes, places = grams.sized(size)
    again = places[repeated(hashes, batch.owners[places])]
    edges = np.zeros(len(batch.words.hashes) + 1, np.int64)
    np.add.at(edges, again, 1)
    np.add.at(edges, again + size, -1)
    return total_of(batch.word_chars * (np.cumsum(edges)[:-1] > 0), batch.word_starts)


def _skipping(batch: Batch, text: int, size: int, before: I64) -> int:
    """Characters of the repeated n-grams of a text, each counted once: after one the search goes on behind it."""
    begin, end = batch.word_starts[text : text + 2].tolist()
    hashes = _Grams(batch.words.hashes[begin:end], np.zeros(end - begin, np.int64)).sized(size)[0].tolist()
    ends = before[begin : end + 1].tolist()
    seen: set[int] = set()
    total = place = 0
    while place < len(hashes):
        if hashes[place] in seen:
            total += ends[place + size] - ends[place]
            place += size
        else:
            seen.add(hashes[place])
            place += 1
    return total
