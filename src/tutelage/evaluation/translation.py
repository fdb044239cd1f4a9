"""Translations: corpus BLEU with an interval, and a copy of the source as a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage.evaluation.figures import Figure, figure, row
from tutelage.evaluation.metrics import bleu, bleu_counts
from tutelage.evaluation.paired import Resampling
from tutelage.evaluation.statistics import Interval

BLEU = "BLEU"
COPY = "copy of the source"


def are_translations(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every row gives the source of its translation."""
    return bool(rows) and all(isinstance(row.get("source"), str) for row in rows)


def bleu_figure(
    task: str, texts: Mapping[str, Sequence[str]], kinds: Mapping[str, str], references: Sequence[str], how: Resampling
) -> Figure:
    """Corpus BLEU of each system, with a percentile bootstrap interval over sentences (Koehn 2004); all systems share
    the resamples."""
    n = len(references)
    draws = np.random.default_rng(how.seed).integers(0, n, size=(how.draws, n))
    weights = np.stack([np.bincount(draw, minlength=n) for draw in draws])
    rows = []
    for who, answers in texts.items():
        counts = np.stack([bleu_counts(text, ref) for text, ref in zip(answers, references, strict=True)])
        spread = [bleu(summed) for summed in weights @ counts]
        low, high = np.quantile(spread, [(1 - how.confidence) / 2, (1 + how.confidence) / 2]) if n > 1 else (None, None)
        value = bleu(counts.sum(axis=0))
        interval = Interval(value, None if low is None else float(low), None if high is None else float(high))
        rows.append(row(who, interval, n, kinds[who]))
    note = f"Corpus BLEU of {n} sentences, as in sacrebleu (13a tokens, exponential smoothing)."
    return figure(task, BLEU, "0-100", True, rows, note)
