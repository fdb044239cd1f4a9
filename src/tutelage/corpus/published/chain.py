"""Published rules in the order of FineWeb, over batches: what each text breaks first, and what is left of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tutelage.corpus.published.batch import Cutter, Lines, count_lines, sentences_of
from tutelage.corpus.published.c4 import c4, joined
from tutelage.corpus.published.fineweb import fineweb
from tutelage.corpus.published.gopher import Verdicts, quality, repeated_grams, repeated_pieces
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
    """Of a batch: the rule that each text breaks first (a place in `rules`, or -1), what is left of each text that
    breaks none, and the lines that were taken out of these, with their characters."""

    rules: list[str]
    broken: NDArray[np.int64]
    texts: pa.Array
    lines: int
    characters: int


def judge(texts: pa.Array, sets: Collection[str], cutter: Cutter) -> Judged:
    """Look at texts by sets of rules: at each by one set after the other, until one takes it."""
    found = _Found([], np.full(len(texts), -1, np.int64))
    if "gopher_repetition" in sets:
        found.add(repeated_pieces(texts), np.arange(len(texts)))
    left = found.left()
    batch = cutter.batch(texts.take(pa.array(left)))
    if "gopher_repetition" in sets:
        found.add(repeated_grams(batch), left)
    if "gopher_quality" in sets:
        found.add(quality(batch), left)
    batch, left = batch.only(np.flatnonzero(found.broken[left] < 0)), found.left()
    lines = Lines(batch.lines, batch.line_starts, batch.words.lengths, sentences_of(batch.words))
    if "c4" in sets or "c4_lines" in sets:
        verdicts, lines = c4(batch, cutter, "c4_lines" in sets)
        found.add(verdicts, left)
    if "fineweb" in sets:
        found.add(fineweb(lines), left)
    if "refinedweb" in sets:
        verdicts, lines = refinedweb(lines)
        found.add(verdicts, left)
    if not {"c4", "c4_lines", "refinedweb"} & set(sets):
        return Judged(found.rules, found.broken, texts, 0, 0)
    stays = found.broken[left] < 0
    made = joined(lines).filter(pa.array(stays))
    filled = pc.not_equal(pc.utf8_trim_whitespace(lines.text), "").to_numpy(zero_copy_only=False)
    gone = (count_lines(batch.words.chunks > 0, batch.line_starts) - count_lines(filled, lines.starts))[stays]
    size = pc.utf8_length(made).to_numpy().astype(np.int64)
    return Judged(
        found.rules,
        found.broken,
        pc.replace_with_mask(texts, pa.array(found.broken < 0), made),
        int(gone.sum()),
        int((batch.chars[stays] - size).sum()),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """Rules, and the one that each text breaks first."""

    rules: list[str]
    broken: NDArray[np.int64]

    def add(self, verdicts: Verdicts, places: NDArray[np.int64]) -> None:
        """Verdicts on the texts at some places, ascending."""
        for rule, flags in verdicts.items():
            taken = places[flags]
            self.broken[taken[self.broken[taken] < 0]] = len(self.rules)
            self.rules.append(rule)

    def left(self) -> NDArray[np.int64]:
        """The texts that break none."""
        return np.flatnonzero(self.broken < 0)
