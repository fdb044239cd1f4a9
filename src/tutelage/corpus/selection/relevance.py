"""Relevance to a target: importance weights on hashed n-grams (DSIR, Xie et al. 2023), for each n-gram of a text.

The published weight is the sum of the log ratios of a text's n-grams, and so grows with its length: long texts have the
extreme weights, whatever they say. Here it is the mean, and a text said twice weighs the same. The mean of a short text
varies more, so for ranking it is drawn towards the mean of the corpus, as if `PRIOR` usual n-grams stood beside it.

A target is small and the corpus is not: with an equal count added to every bucket, rare words would look relevant (two
short stories as a target rank stories no higher than other text). So the target is smoothed by the shares of the
corpus: an n-gram of which it says nothing weighs nothing. Whether it says enough is checked on texts of the target, and
of the corpus, that the weights were not made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.corpus.selection.area import Area, area, share_below
from tutelage.corpus.selection.features import Floats, counted, counts
from tutelage.corpus.words import hash_text
from tutelage.store.errors import InputError

BUCKETS = 1 << 14
PRIOR = 50.0  # n-grams
FEWEST = 10  # target texts that can be checked
CHECKED = 2000  # texts of the corpus that target texts are compared with
_SMOOTHING = 1.0  # counts a bucket, in the mean
_FOLDS = 5
_CONFIDENCE = 0.99  # of each text by itself; folds share texts, so that in truth it is about 95 %


@dataclass(frozen=True)
class Relevance:
    """Of each text: `weight`, the mean log ratio of its n-grams in nats, and `shrunk`, what it is ranked by."""

    weight: Floats
    shrunk: Floats


def log_ratios(target: Iterable[str], source: Iterable[str]) -> Floats:
    """log p(bucket) under the target less that under the source [BUCKETS]. The source is smoothed by a count of one in
    each bucket, the target by as many counts in all, shared out as the source is."""
    return _ratios(_totals(target), _totals(source))


def relevance(texts: Iterable[str], ratios: Floats) -> Relevance:
    """Weights of texts by the ratios of `log_ratios`. A text without a word has the weight of the mean."""
    found = [_sums(matrix, ratios) for matrix in counted(texts, BUCKETS)]
    total, size = (np.concatenate([np.zeros(0), *(pair[which] for pair in found)]) for which in (0, 1))
    return _weighed(total, size, float(total.sum() / max(1.0, size.sum())))


def told_apart(target: Sequence[str], source: Sequence[str]) -> Area:
    """How often a target text outranks one of the corpus, both unseen: the area under the curve with its interval.

    By folds: both are judged by ratios of the other four fifths. Folds of the target are runs of it, so that the pieces
    of one text stay together. Texts of the source that are among the target's do not count. Raises InputError where
    fewer than `FEWEST` are left.
    """
    known = {_key(text) for text in target}
    others = [text for text in source if _key(text) not in known]
    if len(others) < FEWEST:
        raise InputError(
            f"beside the texts of corpus.select.target the corpus has {len(others)} documents, too few to choose from",
            hint="give more text, or leave out corpus.select.target",
        )
    ours, theirs = counts(target, BUCKETS), counts(others, BUCKETS)
    fold, other = (np.arange(size) * _FOLDS // max(1, size) for size in (len(target), len(others)))
    other = np.random.default_rng(0).permutation(other)
    rank, other_rank = np.empty(len(target)), np.empty(len(others))
    for number in range(_FOLDS):
        rest = theirs[other != number]
        ratios = _ratios(_column_sums(ours[fold != number]), _column_sums(rest))
        total, size = _sums(rest, ratios)
        usual = float(total.sum() / max(1.0, size.sum()))
        beside = _weighed(*_sums(theirs[other == number], ratios), usual).shrunk
        rank[fold == number] = share_below(_weighed(*_sums(ours[fold == number], ratios), usual).shrunk, beside)
        other_rank[other == number] = share_below(beside, beside)  # weights of other ratios are on another scale
    return area(rank, other_rank, _CONFIDENCE)


def different(texts: Iterable[str]) -> list[str]:
    """Each text once, whatever its white space."""
    return list({_key(text): text for text in texts}.values())


def _ratios(target: Floats, source: Floats) -> Floats:
    source = source + _SMOOTHING
    usual = source / source.sum()
    mass = _SMOOTHING * BUCKETS
    return np.asarray(np.log((target + mass * usual) / (target.sum() + mass) / usual))


def _weighed(total: Floats, size: Floats, usual: float) -> Relevance:
    """total, size: of each text the sum of the ratios of its n-grams, and how many it has; usual: the mean of all."""
    weight = np.where(size > 0, total / np.maximum(size, 1), usual)
    return Relevance(weight, usual + (weight - usual) * size / (size + PRIOR))


def _sums(matrix: Any, ratios: Floats) -> tuple[Floats, Floats]:
    return np.asarray(matrix @ ratios), np.asarray(matrix.sum(axis=1), np.float64).ravel()


def _totals(texts: Iterable[str]) -> Floats:
    seen = np.zeros(BUCKETS)
    for matrix in counted(texts, BUCKETS):
        seen += _column_sums(matrix)
    return seen


def _column_sums(matrix: Any) -> Floats:
    return np.asarray(matrix.sum(axis=0), np.float64).ravel()


def _key(text: str) -> int:
    return hash_text(" ".join(text.split()))
