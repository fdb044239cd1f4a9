"""The published rules as a step of selection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.corpus.card import Step, Tally, make_step
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.published.batch import Cutter, Splitting
from tutelage.corpus.published.chain import RULE_SETS, judge
from tutelage.corpus.scripts import is_foreign
from tutelage.corpus.shelf import Shelf, documents_of
from tutelage.corpus.workshop import Workshop

_LINES = "c4 and refinedweb: lines"


def by_published_rules(documents: Shelf, config: CorpusConfig, steps: list[Step], shop: Workshop) -> Shelf:
    """Documents that keep the rules, without the lines that the rules take; those in other languages than English as
    they are, because the rules are for English."""
    kept, tally = shop.rewritten_batches(documents, "rules", _Judge(config.rules, config.rule_words))
    sets = "; ".join(f"{name}: {RULE_SETS[name]}" for name in config.rules)
    what = f"Published rules, words counted as {config.rule_words} does. {sets}."
    foreign = tally.counts["foreign documents"]
    if foreign:
        what += f" The rules are for English: {foreign:,} documents in other languages stay as they are."
        shop.log.note(
            f"{foreign:,} of {len(documents):,} documents are not in English: they stay as they are, because the rules "
            f"{', '.join(config.rules)} are for English"
        )
    step = make_step("rules", what, documents, kept, tally)
    if tally.pieces[_LINES]:
        step.pieces = tally.plain_pieces({_LINES: "lines that the rules take out of documents that stay"})
    steps.append(step)
    return kept


@dataclass(frozen=True, slots=True)
class _Judge:
    sets: tuple[str, ...]
    splitting: Splitting

    def __call__(self, batch: pa.RecordBatch, tally: Tally) -> pa.RecordBatch:
        texts = batch.column("text")
        foreign = np.array([is_foreign(text) for text in texts.to_pylist()], bool)
        tally.counts.update({"foreign documents": int(foreign.sum())})
        judged = judge(texts.filter(pa.array(~foreign)), self.sets, _cutter(self.splitting))
        broken = np.full(len(texts), -1, np.int64)
        broken[~foreign] = judged.broken
        gone = np.flatnonzero(broken >= 0)
        for place, document in zip(gone.tolist(), documents_of(batch.take(pa.array(gone))), strict=True):
            tally.remove(document, judged.rules[broken[place]])
        if judged.lines:
            tally.piece(_LINES, judged.lines, judged.characters, "", "")
        stays = np.flatnonzero(broken < 0)
        left = pc.replace_with_mask(texts, pa.array(~foreign), judged.texts).take(pa.array(stays))
        kept = batch.take(pa.array(stays))
        return kept.set_column(kept.schema.get_field_index("text"), "text", left)


@lru_cache(maxsize=2)
def _cutter(splitting: Splitting) -> Cutter:
    return Cutter(splitting)
