"""Topics of a corpus, found in itself: k-means on hashed n-grams, weighted by TF-IDF and reduced by SVD."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.selection.features import Floats, counted, counts, unit_rows

BUCKETS = 1 << 15
DIMENSIONS = 64
FITTED_ON = 5000  # texts that the topics are found in
_STARTS = 3  # of k-means; the best is taken
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Topics:
    """idf: weight of each bucket [BUCKETS]. axes: [BUCKETS, dimensions]. centres: [topics, dimensions]."""

    idf: Floats
    axes: Floats
    centres: Floats

    def of(self, texts: Iterable[str]) -> Places:
        """The topic of each text, the nearest centre."""
        return np.concatenate([np.zeros(0, np.int64), *map(self._nearest, counted(texts, BUCKETS))])

    def _nearest(self, matrix: Any) -> Places:
        points = reduced(matrix, self.idf, self.axes)
        squares = (self.centres**2).sum(axis=1)
        return np.asarray((squares - 2 * points @ self.centres.T).argmin(axis=1))


def find_topics(texts: Iterable[str], clusters: int, seed: int = 0) -> Topics:
    """At most `clusters` topics in these texts (a sample of the corpus)."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD

    matrix = counts(texts, BUCKETS)
    idf = inverse_frequencies(matrix)
    used = np.unique(matrix.indices)
    dimensions = max(1, min(DIMENSIONS, matrix.shape[0] - 1, len(used)))
    with np.errstate(invalid="ignore"):  # texts that are all equal have no variance to explain
        svd = TruncatedSVD(dimensions, random_state=seed).fit(unit_rows(matrix, idf)[:, used])
    axes = np.zeros((BUCKETS, dimensions))
    axes[used] = svd.components_.T
    points = reduced(matrix, idf, axes)
    means = KMeans(min(clusters, matrix.shape[0]), n_init=_STARTS, random_state=seed).fit(points)
    return Topics(idf, axes, np.asarray(means.cluster_centers_, np.float64))


def inverse_frequencies(matrix: Any) -> Floats:
    """log((1 + texts) / (1 + texts with the bucket)) + 1 [buckets]."""
    held = np.bincount(matrix.indices, minlength=matrix.shape[1])
    return np.asarray(np.log((1 + matrix.shape[0]) / (1 + held)) + 1)


def reduced(matrix: Any, idf: Floats, axes: Floats) -> Floats:
    """Points of length one [texts, dimensions]."""
    points = np.asarray(unit_rows(matrix, idf) @ axes)
    return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12))


def effective_topics(bytes_of_topics: Floats) -> float:
    """To how many topics of equal size the text amounts: the exponential of the entropy of their shares."""
    shares = bytes_of_topics[bytes_of_topics > 0] / max(1.0, float(bytes_of_topics.sum()))
    return float(np.exp(-(shares * np.log(shares)).sum()))
