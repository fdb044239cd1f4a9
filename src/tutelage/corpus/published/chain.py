"""Published rules in the order of FineWeb, over batches: what each text breaks first, and what is left of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.corpus.published.batch import Batch, Cutter, Lines, count_lines, sentences_of
from tutelage.corpus.published.c4 import c4, joined
from tutelage.corpus.published.fineweb import fineweb
from tutelage.corpus.published.gopher import Verdicts, quality, repetition
from tutelage.corpus.published.refinedweb import refinedweb

RuleSet = Literal["gopher_repetition", "gopher_quality", "c4", "c4_lines", "fineweb", "refinedweb"]
FINEWEB: tuple[RuleSet, ...] = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
RULE_SETS = {
    "gopher_repetition": "repeated lines, paragraphs and n-grams (Rae et al. 2021, table A1)",
    "gopher_quality": "length, symbols, bullets, letters, stop words (Rae et al. 2021, appendix A1.1)",
    "c4": "lines with scripts, cookies, fewer than 3 words; pages with few sentences (Raffel et al. 2020, as FineWeb)",
    "c4_lines": "with c4: lines must also end in a mark, as in the paper",
    "fineweb": "lines that end in no mark, short and repeated lines, lists (Penedo et al. 2024)",
    "refinedweb": "lines that are navigation, counters, capitals, numbers (Penedo et al. 2023)",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """Of a batch: the rule that each text breaks first (a place in `rules`, or -1), what is left of each text, and the
    lines that were taken out of texts that stay, with their characters."""

    rules: list[str]
    broken: NDArray[np.int64]
    texts: pa.Array
    lines: int
    characters: int


def judge(texts: pa.Array, sets: Collection[str], cutter: Cutter) -> Judged:
    """Look at texts by sets of rules."""
    batch = cutter.batch(texts)
    verdicts: Verdicts = {}
    if "gopher_repetition" in sets:
        verdicts |= repetition(batch)
    if "gopher_quality" in sets:
        verdicts |= quality(batch)
    lines = _lines_of(batch)
    if "c4" in sets or "c4_lines" in sets:
        found, lines = c4(batch, cutter, "c4_lines" in sets)
        verdicts |= found
    if "fineweb" in sets:
        verdicts |= fineweb(lines)
    if "refinedweb" in sets:
        found, lines = refinedweb(lines)
        verdicts |= found
    broken = np.full(len(texts), -1, np.int64)
    for number, flags in reversed(list(enumerate(verdicts.values()))):
        broken[flags] = number
    if not {"c4", "c4_lines", "refinedweb"} & set(sets):
        return Judged(list(verdicts), broken, texts, 0, 0)
    left = joined(lines)
    stays = broken < 0
    gone = (count_lines(batch.words.chunks > 0, batch.line_starts) - np.diff(lines.starts))[stays]
    size = np.array([len(text) for text in left.to_pylist()], np.int64)
    return Judged(list(verdicts), broken, left, int(gone.sum()), int((batch.chars - size)[stays].sum()))


def _lines_of(batch: Batch) -> Lines:
    return Lines(batch.lines, batch.line_starts, batch.words.lengths, sentences_of(batch.words))
