"""Rules of C4 (Raffel et al. 2020, section 2.2), in the form that FineWeb uses them: lines go, then pages."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.corpus.published.batch import Batch, Cutter, Lines, flags_of, sentences_of
from tutelage.corpus.published.gopher import Verdicts
from tutelage.corpus.words import I64, Bool, total_of

FEWEST_SENTENCES, FEWEST_WORDS, LONGEST_WORD = 5, 3, 1000
_ENDS = (".", "?", "!", '"', "'")
_POLICY = "terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
_CITATION = r"\[\d*\]|\[edit\]|\[citation needed\]"


def c4(batch: Batch, cutter: Cutter, terminal: bool) -> tuple[Verdicts, Lines]:
    """(pages that break a rule, the lines that stay). `terminal`: lines must end in a mark, as in the paper; FineWeb
    leaves that rule out."""
    lines, sentences, words = _without_citations(batch, cutter)
    lower = pc.utf8_lower(lines)
    stays = (batch.words.chunks >= FEWEST_WORDS) & (batch.words.longest <= LONGEST_WORD)
    if terminal:
        stays &= _ends_in_mark(lines)
    lorem = stays & _contains(lower, "lorem ipsum")
    stays &= ~_contains(lower, "javascript")
    curly = stays & _contains(lines, "{")
    stays &= ~flags_of(pc.match_substring_regex(lower, _POLICY))
    first_lorem, first_curly = _first(lorem, batch.line_starts), _first(curly, batch.line_starts)
    kept = np.flatnonzero(stays)
    starts = np.concatenate([[0], np.cumsum(stays)])[batch.line_starts]
    left = Lines(lines.take(pa.array(kept)), starts, words[kept], sentences[kept])
    return {
        "c4: lorem ipsum": (first_lorem <= first_curly) & (first_lorem < len(lines)),
        "c4: curly bracket": first_curly < len(lines),
        "c4: too few sentences": total_of(left.sentences, starts) < FEWEST_SENTENCES,
    }, left


def joined(lines: Lines) -> pa.Array:
    """The texts of lines."""
    lists = pa.ListArray.from_arrays(pa.array(lines.starts, pa.int32()), lines.text)
    return pc.utf8_trim_whitespace(pc.binary_join(lists, "\n"))


def _without_citations(batch: Batch, cutter: Cutter) -> tuple[pa.Array, I64, I64]:
    """(trimmed lines without citations, sentences and words of each)."""
    lines = pc.utf8_trim_whitespace(batch.lines)
    sentences, words = sentences_of(batch.words), batch.words.lengths.copy()
    cited = flags_of(pc.match_substring_regex(lines, _CITATION))
    if cited.any():
        places = np.flatnonzero(cited)
        changed = pc.replace_substring_regex(lines.take(pa.array(places)), _CITATION, "")
        recut = cutter.lines(changed, np.arange(len(changed) + 1))
        sentences[places], words[places] = recut.sentences, recut.words
        lines = pc.replace_with_mask(lines, pa.array(cited), changed)
    return lines, sentences, words


def _ends_in_mark(lines: pa.Array) -> Bool:
    found = np.zeros(len(lines), bool)
    for mark in _ENDS:
        found |= flags_of(pc.ends_with(lines, mark))
    return found & ~flags_of(pc.ends_with(lines, "..."))


def _contains(lines: pa.Array, what: str) -> Bool:
    return flags_of(pc.match_substring(lines, what))


def _first(flags: Bool, starts: I64) -> I64:
    """The first line with a flag of each text, or the number of all lines."""
    found = np.full(len(starts) - 1, len(flags), np.int64)
    places = np.flatnonzero(flags)
    texts = np.searchsorted(starts, places, side="right") - 1
    np.minimum.at(found, texts, places)
    return found
