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
    grams = _Grams(batch.words.hashes, batch.owners)
    for size, most in TOP_GRAMS:
        found[f"gopher: commonest {size}-gram"] = share(_commonest(batch, grams, size, before), batch.chars) > most
    size, least = REPEATED_GRAMS[0][0], REPEATED_GRAMS[-1][1]
    hashes, places = grams.sized(size)
    again = places[repeated(hashes, grams.owners[places])]
    suspects = share(_covered(grams.owners, batch.word_chars, again, size, len(batch.texts)), batch.chars) > least
    some = suspects[grams.owners]
    few, word_chars = _Grams(batch.words.hashes[some], grams.owners[some]), batch.word_chars[some]
    for size, most in REPEATED_GRAMS:
        chars = _in_repeated_grams(few, word_chars, size, len(batch.texts))
        found[f"gopher: repeated {size}-grams"] = share(chars, batch.chars) > most
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
        self._words, self.owners = words, owners
        self._size, self._value = 0, np.zeros(len(words), np.uint64)

    def sized(self, size: int) -> tuple[U64, I64]:
        """(hash of each n-gram that lies in one text, its first word). Sizes are asked for in rising order."""
        count = max(0, len(self._words) - size + 1)
        while self._size < size:
            left = max(0, len(self._words) - self._size)
            self._value = scramble(self._value[:left] * _MIX + self._words[self._size :])
            self._size += 1
        places = np.flatnonzero(self.owners[:count] == self.owners[size - 1 :])
        return self._value[places], places


def _commonest(batch: Batch, grams: _Grams, size: int, before: I64) -> I64:
    """Characters that the commonest n-gram of each text takes up, spaces between its words counted; of several the
    first."""
    found = np.zeros(len(batch.texts), np.int64)
    hashes, places = grams.sized(size)
    if not len(hashes):
        return found
    first, counts, texts = distinct(hashes, grams.owners[places])
    begins = np.flatnonzero(np.concatenate([[True], texts[1:] != texts[:-1]]))
    score = np.maximum.reduceat((counts << 32) - first, begins)
    most = -(-score >> 32)
    place = places[(most << 32) - score]
    found[texts[begins]] = (before[place + size] - before[place] + size - 1) * most
    return found


def _covered(owners: I64, chars: I64, again: I64, size: int, texts: int) -> I64:
    """Characters of words in n-grams that occurred before in their text: at least what `_in_repeated_grams` counts, for
    this size and all larger ones. owners, chars: of each word; again: the first words of these n-grams."""
    edges = np.zeros(len(owners) + 1, np.int64)
    np.add.at(edges, again, 1)
    np.add.at(edges, again + size, -1)
    return np.bincount(owners, chars * (np.cumsum(edges)[:-1] > 0), texts).astype(np.int64)


def _in_repeated_grams(grams: _Grams, chars: I64, size: int, texts: int) -> I64:
    """Characters of each text in n-grams that it repeats, each counted once: after one the search continues behind it.
    chars: of each word."""
    hashes, places = grams.sized(size)
    first, counts, _ = distinct(hashes, grams.owners[places])
    several = np.ones(len(hashes), bool)
    several[first[counts == 1]] = False  # these decide nothing
    hashes, places = hashes[several], places[several]
    taken = _skipping(hashes.tolist(), places.tolist(), grams.owners[places].tolist(), size)
    before = np.concatenate([[0], np.cumsum(chars)])
    return np.bincount(grams.owners[taken], before[taken + size] - before[taken], texts).astype(np.int64)


def _skipping(hashes: list[int], places: list[int], owners: list[int], size: int) -> I64:
    """Places of n-grams that were met before in their text; what begins within one that is taken is skipped."""
    taken: list[int] = []
    seen: set[int] = set()
    behind, text = 0, -1
    for key, place, owner in zip(hashes, places, owners, strict=True):
        if owner != text:
            seen, text = set(), owner
        if place < behind:
            continue
        if key in seen:
            taken.append(place)
            behind = place + size
        else:
            seen.add(key)
    return np.array(taken, np.int64)
