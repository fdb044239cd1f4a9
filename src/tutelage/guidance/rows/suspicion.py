"""Doubts that a row is a duplicate, off-topic or wrong: pure functions of texts, from 0 (no doubt) to 1.

Duplicates are observed, the others are estimated. Scores become probabilities by the false discovery rate: of the rows
with at least this score, the share in excess of what sound rows would give (Efron 2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.dedup import near_clusters
from tutelage.corpus.selection.features import Floats, counts, sample_places, unit_rows
from tutelage.corpus.selection.topics import inverse_frequencies
from tutelage.finetuning.data.split import normalised

ALIKE = 0.8  # minimum Jaccard similarity of near duplicates, by word pairs (in long texts by five words)
_BUCKETS = 1 << 16
_RARE = 0.5  # count of an n-gram that no other row has
_PRIOR = 8.0  # number of average n-grams added to a text, so that short texts are not extreme
_DIMENSIONS = 64
_TOPICS, _LARGEST_APART = 4, 0.2  # topics of a file; maximum share of a topic that is left out as a whole
_FOLDS = 5
_RIDGE = 1.0
_RIVALS = 400  # questions that an answer is compared with
_EQUAL = 0.02  # of the median: smaller differences count as ties, as between rows of one template
_QUARTILE = 0.6745  # of the normal distribution, in standard deviations
_BINS = 20  # of the histogram of ranks
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Doubles:
    """like: for each row the first row that it duplicates, or itself. exact: whether it is an exact duplicate."""

    like: Places
    exact: NDArray[np.bool_]

    @property
    def doubled(self) -> NDArray[np.bool_]:
        return self.like != np.arange(len(self.like))


def doubles(texts: Sequence[str]) -> Doubles:
    """Duplicates of earlier rows: equal except for case and white space, or nearly equal."""
    first: dict[str, int] = {}
    same = np.array([first.setdefault(normalised(text), at) for at, text in enumerate(texts)], np.int64)
    like = np.minimum(same, near_clusters(texts, ALIKE))
    return Doubles(like, same != np.arange(len(texts)))


def off_topic(texts: Sequence[str], seed: int = 0) -> Floats:
    """Doubt that a text fits the topics of the file: the surprise of its words, given all rows outside its own topic,
    so that off-topic rows do not support each other.

    It is the mean over words and word pairs of minus the log share of those rows that contain each, relative to its
    spread over the rows. Off-topic texts from a narrower domain than the file have no surprising words.
    """
    matrix = counts(texts, _BUCKETS)
    matrix.data = np.ones_like(matrix.data)
    held, size = np.asarray(matrix.sum(axis=0)).ravel(), np.diff(matrix.indptr)
    total = np.zeros(len(texts))
    topics = _topics(texts, seed)
    for topic in np.unique(topics):
        own = np.flatnonzero(topics == topic)
        apart = len(own) <= _LARGEST_APART * len(texts)
        others = held - np.asarray(matrix[own].sum(axis=0)).ravel() if apart else held - 1
        rows = len(texts) - len(own) if apart else len(texts)
        total[own] = matrix[own] @ -np.log(np.maximum(others, _RARE) / max(1, rows))
    usual = float(total.sum() / max(1, size.sum()))
    return excess((total + _PRIOR * usual) / (size + _PRIOR))


def _topics(texts: Sequence[str], seed: int) -> Places:
    from sklearn.cluster import KMeans

    points = _points(texts, seed)
    found = KMeans(min(_TOPICS, len(texts)), n_init=3, random_state=seed).fit(points)
    return np.asarray(found.labels_, np.int64)


def wrong_labels(given: Places, unseen: Floats) -> tuple[Floats, Places]:
    """(doubt, most likely other label): by how much its out-of-fold probability exceeds that of the given label.

    unseen: out-of-fold probabilities [rows, labels]."""
    own = unseen[np.arange(len(given)), given]
    other = unseen.copy()
    other[np.arange(len(given)), given] = -1
    likelier = other.argmax(axis=1)
    return np.clip(other.max(axis=1) - own, 0, 1), likelier


def wrong_answers(questions: Sequence[str], answers: Sequence[str], seed: int = 0) -> Floats:
    """Doubt that an answer belongs to its question: the rank of its question among others, by shared words and by a
    linear map from questions to answers learned on other rows."""
    rivals = sample_places(len(questions), _RIVALS, seed)
    own, others = np.zeros(len(answers)), np.zeros((len(answers), len(rivals)))
    for mine, theirs in (_shared_words(questions, answers, rivals), _expected(questions, answers, rivals, seed)):
        middle, spread = theirs.mean(axis=1), np.maximum(theirs.std(axis=1), 1e-9)
        own += (mine - middle) / spread
        others += (theirs - middle[:, None]) / spread[:, None]
    others[rivals, np.arange(len(rivals))] = np.nan  # no row is its own rival
    better = (others > own[:, None]).sum(axis=1) + 0.5 * (others == own[:, None]).sum(axis=1)
    return share_of_chance(better / np.maximum(1, (~np.isnan(others)).sum(axis=1)))


def excess(values: Floats) -> Floats:
    """1 minus the false discovery rate of each value as an upper outlier: the share of rows at least as high in excess
    of a normal distribution with the median and the larger of the two quartile distances."""
    from scipy.special import ndtr

    if len(values) < 2:
        return np.zeros(len(values))
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    spread = max(middle - low, high - middle, _EQUAL * abs(middle), 1e-9) / _QUARTILE
    expected = len(values) * ndtr(-(values - middle) / spread)
    above = len(values) - np.searchsorted(np.sort(values), values, side="left")
    rate = np.minimum(1, expected / np.maximum(1, above))
    order = np.argsort(values)
    rate[order] = np.minimum.accumulate(rate[order])  # the higher the value, the lower the rate
    return np.asarray(1 - rate)


def share_of_chance(places: Floats) -> Floats:
    """Probability that a rank (share of rivals at least as good, 0 to 1) is due to chance: ranks of wrong rows are
    uniform, those of right ones are near 0. The worse half is attributed to chance."""
    found = np.histogram(places, bins=_BINS, range=(0, 1))[0].astype(float)
    chance = found[_BINS // 2 :].mean()
    smooth = np.convolve(np.pad(found, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    smooth = np.maximum.accumulate(smooth[::-1])[::-1]  # right answers only add towards 0
    bins = np.minimum((places * _BINS).astype(int), _BINS - 1)
    # Within the uniform part a worse rank only breaks ties.
    return np.asarray(np.clip(chance / np.maximum(smooth[bins], 1e-9), 0, 1) * (0.9 + 0.1 * places))


def _shared_words(questions: Sequence[str], answers: Sequence[str], rivals: Places) -> tuple[Floats, Floats]:
    """TF-IDF cosine of each answer with its own question, [rows], and with those of the rivals, [rows, rivals]."""
    asked, said = counts(questions, _BUCKETS), counts(answers, _BUCKETS)
    idf = inverse_frequencies(asked + said)
    asked, said = unit_rows(asked, idf), unit_rows(said, idf)
    return np.asarray(said.multiply(asked).sum(axis=1)).ravel(), np.asarray((said @ asked[rivals].T).todense())


def _expected(
    questions: Sequence[str], answers: Sequence[str], rivals: Places, seed: int
) -> tuple[Floats, Floats]:  # fmt: skip
    """Cosine of each answer with the prediction of a ridge regression, fitted on other rows, for a question."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold

    asked, said = _points(questions, seed), _points(answers, seed)
    own, others = np.zeros(len(answers)), np.zeros((len(answers), len(rivals)))
    for fitted, left in KFold(_FOLDS, shuffle=True, random_state=seed).split(asked):
        model = Ridge(_RIDGE).fit(asked[fitted], said[fitted])
        own[left] = (said[left] * _unit(model.predict(asked[left]))).sum(axis=1)
        others[left] = said[left] @ _unit(model.predict(asked[rivals])).T
    return own, others


def _points(texts: Sequence[str], seed: int) -> Floats:
    from sklearn.decomposition import TruncatedSVD

    matrix = counts(texts, _BUCKETS)
    rows = unit_rows(matrix, inverse_frequencies(matrix))[:, np.unique(matrix.indices)]
    return _unit(TruncatedSVD(max(2, min(_DIMENSIONS, len(texts) - 1)), random_state=seed).fit_transform(rows))


def _unit(points: Floats) -> Floats:
    return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9))
