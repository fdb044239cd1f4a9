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
    flags_of,
    repeated,
    share,
    string_keys,
)
from tutelage.corpus.published.grams import Grams, commonest, repeated_over
from tutelage.corpus.words import I64, Bool, total_of

WORDS, WORD_LENGTH, SYMBOLS_A_WORD = (50, 100_000), (3, 10), 0.1
BULLETS, ELLIPSES, ALPHABETIC, FEWEST_STOPS = 0.9, 0.3, 0.8, 2
LINES, LINE_CHARS = 0.3, 0.2  # of lines, and of paragraphs, that are repeated
TOP_GRAMS = ((2, 0.2), (3, 0.18), (4, 0.16))
REPEATED_GRAMS = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))

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


def repeated_pieces(texts: pa.Array) -> Verdicts:
    """Repeated paragraphs and lines."""
    found: Verdicts = {}
    size = pc.utf8_length(texts).to_numpy().astype(np.int64)
    for name, pieces in (
        ("paragraphs", pc.split_pattern_regex(pc.utf8_trim_whitespace(texts), "\n{2,}")),
        ("lines", pc.split_pattern_regex(texts, "\n+")),
    ):
        again, chars, count = _repeated_pieces(pieces)
        found[f"gopher: repeated {name}"] = share(again, count) > LINES
        found[f"gopher: characters of repeated {name}"] = share(chars, size) > LINE_CHARS
    return found


def _repeated_pieces(pieces: pa.ListArray) -> tuple[I64, I64, I64]:
    """Of each text: pieces that occurred before in it, their characters, and all pieces."""
    starts = pieces.offsets.to_numpy().astype(np.int64)
    again = repeated(string_keys(pieces.values), np.repeat(np.arange(len(pieces)), np.diff(starts)))
    chars = pc.utf8_length(pieces.values).to_numpy().astype(np.int64)
    return count_lines(again, starts), total_of(chars * again, starts), np.diff(starts)


def repeated_grams(batch: Batch) -> Verdicts:
    """The commonest short n-gram, repeated long n-grams; those of each size in texts that no smaller one takes."""
    found: Verdicts = {}
    grams = Grams(batch.words.hashes, batch.owners, batch.word_chars, batch.chars)
    left = np.ones(len(batch.texts), bool)
    for size, most in TOP_GRAMS:
        found[f"gopher: commonest {size}-gram"] = taken = share(commonest(grams, size), batch.chars) > most
        left &= ~taken
    for size, most in REPEATED_GRAMS:
        if not left.all():
            grams = grams.only(left)
        taken, bound = repeated_over(grams, size, most)
        found[f"gopher: repeated {size}-grams"] = taken
        left &= ~taken & (bound > REPEATED_GRAMS[-1][1])
    return found
