"""Texts as counts of hashed n-grams of words: the one representation that all measures of selection share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.dedup import splitter
from tutelage.corpus.words import U64, grams, text_batches

Floats = NDArray[np.float64]
SIZES = (1, 2)  # words in an n-gram


def counted(texts: Iterable[str], buckets: int) -> Iterator[Any]:
    """Counts of word 1- and 2-grams in `buckets` (a power of two), a batch of texts at a time: sparse matrices
    [texts, buckets]. No more texts than those of a batch are in memory."""
    from scipy.sparse import csr_matrix

    for batch in text_batches(texts):
        words = splitter().words(batch)
        found = [grams(words, size) for size in SIZES]
        columns = np.concatenate([_bucket(values, buckets) for values, _ in found])
        rows = np.concatenate([owners for _, owners in found])
        ones = np.ones(len(rows), np.float32)
        yield csr_matrix((ones, (rows, columns)), shape=(len(batch), buckets))  # equal places are added up


def counts(texts: Iterable[str], buckets: int) -> Any:
    """Those of all texts in one matrix [texts, buckets]."""
    from scipy.sparse import csr_matrix, vstack

    return vstack([csr_matrix((0, buckets), dtype=np.float32), *counted(texts, buckets)], format="csr")


def _bucket(values: U64, buckets: int) -> NDArray[np.int64]:
    """The upper bits, which multiplication mixes best."""
    shift = np.uint64(64 - (buckets.bit_length() - 1))
    return (values >> shift).astype(np.int64)


def unit_rows(matrix: Any, weights: Floats | None = None) -> Any:
    """1 + log of the counts, times the weight of each column, each row of length one: a text's length plays no part."""
    from scipy.sparse import diags

    damped = matrix.copy()
    damped.data = 1 + np.log(damped.data)
    if weights is not None:
        damped = damped.multiply(weights).tocsr()
    lengths = np.sqrt(np.asarray(damped.multiply(damped).sum(axis=1)).ravel())
    return (diags(1 / np.maximum(lengths, 1e-12)) @ damped).tocsr()


def sample_places(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most `most` of `count` places, drawn without replacement, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def ranks(values: Floats) -> Floats:
    """The share of values below each, ties in the middle: 0 to 1, on whatever scale the values are."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(values) - 0.5) / max(1, len(values)))
