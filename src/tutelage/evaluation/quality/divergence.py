"""Divergence between two sets of texts: clustered features and the divergence frontier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SCALE = 5.0  # c of Pillutla et al. 2021, equation 2
_AXES = 64
LEAST = 50
"""Minimum number of texts per side; below, the figure is noise."""
_PER_CLUSTER = 10  # texts (of both sets) per cluster: n / 10 clusters, at most 500


def ngram_features(sets: Sequence[Sequence[str]]) -> list[Floats]:
    """Principal axes of TF-IDF of words and of characters (1- and 2-grams, 2- to 4-grams) [texts, axes] of each set."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union
    from sklearn.preprocessing import normalize

    every = [text or " " for texts in sets for text in texts]
    made = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=50_000),
    ).fit_transform(every)
    axes = min(_AXES, made.shape[1] - 1, len(every) - 1)
    features = made.toarray() if axes < 2 else TruncatedSVD(axes, random_state=0).fit_transform(made)
    return _split(normalize(features), sets)


def clusters(first: Floats, second: Floats, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """The cluster of each row of both sets, by k-means on all rows, and the number of clusters."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    every = np.concatenate([first, second])
    count = int(np.clip(len(every) // _PER_CLUSTER, 2, 500))
    axes = min(_AXES, every.shape[1], len(every) - 1)
    along = PCA(axes, random_state=0).fit_transform(every) if axes < every.shape[1] else every
    found = KMeans(count, n_init=3, random_state=seed).fit_predict(along)
    return found[: len(first)].astype(np.int64), found[len(first) :].astype(np.int64), count


def closeness(p: Floats, q: Floats, scale: float = SCALE, points: int = 100) -> float:
    """Area under the divergence frontier of two histograms of counts, 0 to 1 (Pillutla et al. 2021, section 2).

    Counts are smoothed by one half (Krichevsky & Trofimov 1981; Pillutla et al. 2022, section 4).
    """
    first, second = ((counts + 0.5) / (counts + 0.5).sum() for counts in (p, q))
    curve = [(0.0, 1.0)]
    for share in np.linspace(0, 1, points + 2)[1:-1]:
        mixed = share * first + (1 - share) * second
        curve.append((np.exp(-scale * _kl(second, mixed)), np.exp(-scale * _kl(first, mixed))))
    curve.append((1.0, 0.0))
    x, y = np.array(sorted(curve)).T
    return float(np.trapezoid(y, x))


def closeness_of(first: Floats, second: Floats, seed: int = 0) -> float:
    """`closeness` of two feature sets with the same number of rows."""
    a, b, count = clusters(first, second, seed)
    p, q = (np.bincount(each, minlength=count).astype(np.float64) for each in (a, b))
    return closeness(p, q)


def between(features: Floats, references: Floats | None, size: int, seed: int = 0, splits: int = 5) -> float:
    """Mean of `closeness_of` over random samples of `size` rows from each set; without references, of two disjoint
    samples of `features`, which then requires 2 * `size` rows.

    The figure depends on the number of rows and clusters, so only figures with the same `size` are comparable.
    """
    generator = np.random.default_rng(seed)
    found = []
    for split in range(splits):
        order = generator.permutation(len(features))
        if references is None:
            other = features[order[size : 2 * size]]
        else:
            other = references[generator.permutation(len(references))[:size]]
        found.append(closeness_of(features[order[:size]], other, seed + split))
    return float(np.mean(found))


def _kl(p: Floats, q: Floats) -> float:
    return float((p * np.log(p / q)).sum())


def _split(features: Floats, sets: Sequence[Sequence[str]]) -> list[Floats]:
    return list(np.split(features, np.cumsum([len(texts) for texts in sets])[:-1]))
