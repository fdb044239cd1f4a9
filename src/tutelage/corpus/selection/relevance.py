"""Relevance to a target: importance weights on hashed n-grams (DSIR, Xie et al. 2023), for each n-gram of a text.

The published weight is the sum of the log ratios of a text's n-grams, and so grows with its length: long texts have the
extreme weights, whatever they say. Here it is the mean, and a text said twice weighs the same. The mean of a short text
varies more, so for ranking it is drawn towards the mean of the corpus, as if `PRIOR` usual n-grams stood beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tutelage.corpus.selection.features import Floats, counted

BUCKETS = 1 << 14
PRIOR = 50.0  # n-grams
_SMOOTHING = 1.0  # added to each bucket


@dataclass(frozen=True)
class Relevance:
    """Of each text: `weight`, the mean log ratio of its n-grams in nats, and `shrunk`, what it is ranked by."""

    weight: Floats
    shrunk: Floats


def log_ratios(target: Iterable[str], source: Iterable[str]) -> Floats:
    """log p(bucket) under the target less that under the source [BUCKETS], each smoothed by a count of one."""
    return _log_shares(target) - _log_shares(source)


def relevance(texts: Iterable[str], ratios: Floats) -> Relevance:
    """Weights of texts by the ratios of `log_ratios`. A text without a word has the weight of the mean."""
    found = [(matrix @ ratios, np.asarray(matrix.sum(axis=1)).ravel()) for matrix in counted(texts, BUCKETS)]
    total, size = (np.concatenate([np.zeros(0), *(pair[which] for pair in found)]) for which in (0, 1))
    usual = float(total.sum() / max(1.0, size.sum()))
    weight = np.where(size > 0, total / np.maximum(size, 1), usual)
    return Relevance(weight, usual + (weight - usual) * size / (size + PRIOR))


def _log_shares(texts: Iterable[str]) -> Floats:
    seen = np.full(BUCKETS, _SMOOTHING)
    for matrix in counted(texts, BUCKETS):
        seen += np.asarray(matrix.sum(axis=0)).ravel()
    return np.asarray(np.log(seen / seen.sum()))
