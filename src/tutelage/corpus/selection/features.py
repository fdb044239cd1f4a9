"""Texts as counts of hashed n-grams of words: the one representation that all measures of selection share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.dedup import U64, grams, hash_words

Floats = NDArray[np.float64]
BATCH = 1000  # texts whose features are in memory at once
SIZES = (1, 2)  # words in an n-gram


def counts(texts: Sequence[str], buckets: int) -> Any:
    """Counts of word 1- and 2-grams in `buckets` (a power of two) as a sparse matrix [texts, buckets]."""
    from scipy.sparse import csr_matrix

    hashed = hash_words(texts)
    found = [grams(hashed, size) for size in SIZES]
    columns = np.concatenate([_bucket(values, buckets) for values, _ in found])
    rows = np.concatenate([owners for _, owners in found])
    ones = np.ones(len(rows), np.float32)
    return csr_matrix((ones, (rows, columns)), shape=(len(texts), buckets))  # equal places are added up


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


def batches(texts: Sequence[str], size: int = BATCH) -> Iterator[tuple[int, Sequence[str]]]:
    """(place of the first, texts) of each batch."""
    for begin in range(0, len(texts), size):
        yield begin, texts[begin : begin + size]


def sample_places(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most `most` of `count` places, drawn without replacement, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def ranks(values: Floats) -> Floats:
    """The share of values below each, ties in the middle: 0 to 1, on whatever scale the values are."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(values) - 0.5) / max(1, len(values)))
