"""Quality: a linear classifier on hashed n-grams tells good examples from the rest (as in DCLM, Li et al. 2024).

DCLM trains fastText on good text against text drawn from the crawl; here it is logistic regression on the same kind of
features. The rest holds good text too, so that even a perfect judge stays below an AUC
of one: where four fifths of it are good, at 0.6. Its figures come from
folds: every row is judged by a classifier that has not seen it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.corpus.selection.area import Area, area
from tutelage.corpus.selection.features import Floats, counted, counts, unit_rows
from tutelage.corpus.words import hash_text
from tutelage.store.errors import InputError

BUCKETS = 1 << 18
FEWEST, ENOUGH = 50, 200  # good examples: below the first nothing is learned, below the second a warning
REST = 5  # texts of the rest for each good one ...
LEAST_REST = 500  # ... and at least
_FOLDS = 5
_STRENGTH = 1.0  # C of the logistic regression
_ROC_AT = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)  # shares of the rest
_BINS = 10


@dataclass(frozen=True)
class QualityReport:
    """Figures on rows that the judging classifier has not seen.

    auc; auc_by_length: of a judge that knows nothing but the length of a text; roc: share of the rest that passes ->
    share of the good examples that does; calibration_error: mean distance of probability and truth in ten bins.
    """

    good: int
    rest: int
    auc: Area
    auc_by_length: Area
    roc: dict[float, float]
    calibration_error: float


@dataclass(frozen=True)
class QualityJudge:
    """weights [BUCKETS] and bias of the regression; scale and shift turn its score into a probability (Platt 1999),
    as if there were as many good texts as others."""

    weights: Floats
    bias: float
    scale: float
    shift: float

    def probabilities(self, texts: Iterable[str]) -> Floats:
        """That each text is a good one rather than one of the rest, both being as frequent."""
        found = [unit_rows(matrix) @ self.weights for matrix in counted(texts, BUCKETS)]
        score = np.concatenate([np.zeros(0), *found]) + self.bias
        return np.asarray(1 / (1 + np.exp(-(self.scale * score + self.shift))))


def train_judge(good: Iterable[str], rest: Iterable[str], seed: int) -> tuple[QualityJudge, QualityReport]:
    """A judge of quality and its figures. Texts of the rest that are among the good ones do not count.

    Raises InputError where there are too few of either.
    """
    from scipy.sparse import vstack

    seen: set[int] = set()
    (ours, long), (others, as_long) = _different(good, seen), _different(rest, seen)
    goods, rests = len(long), len(as_long)
    if goods < FEWEST:
        raise InputError(
            f"{goods} good examples are too few to learn from; {FEWEST} is the least, a few hundred are better",
            hint="give more in corpus.select.good, or leave it out and select by corpus.select.target",
        )
    if rests < FEWEST:
        raise InputError(
            f"beside the good examples the corpus has {rests} documents; {FEWEST} is the least to tell them from",
            hint="give more text, or leave out corpus.select.good",
        )
    matrix = unit_rows(vstack([ours, others], format="csr"))
    truth = np.arange(goods + rests) < goods
    unseen = _unseen_scores(matrix, truth, seed)
    scale, shift = _platt(unseen, truth)
    model = _fitted(matrix, truth)
    judge = QualityJudge(model.coef_.ravel().astype(np.float64), float(model.intercept_[0]), scale, shift)
    lengths = np.array([*long, *as_long], np.float64)
    by_length = area(lengths[truth], lengths[~truth])
    if by_length.value < 0.5:
        by_length = area(-lengths[truth], -lengths[~truth])
    probability = 1 / (1 + np.exp(-(scale * unseen + shift)))
    report = QualityReport(
        goods,
        rests,
        area(unseen[truth], unseen[~truth]),
        by_length,
        roc(unseen, truth),
        _calibration_error(probability, truth),
    )
    return judge, report


def differing(auc: Area) -> str:
    """What the area says of the corpus. The part of the rest that is like the examples is told from them in half of the
    cases, the other part in all of them at most: an area of A needs an other part of at least 2A - 1."""
    value, low, high = (max(0.0, 2 * each - 1) for each in (auc.value, auc.low, auc.high))
    return f"So at least {value:.0%} [{low:.0%}, {high:.0%}] of the corpus differs from them"


def roc(scores: Floats, truth: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[float, float]:
    """Share of the rest that passes -> share of the good examples that passes with it."""
    bounds = np.quantile(scores[~truth], [1 - share for share in _ROC_AT])
    found = zip(_ROC_AT, bounds, strict=True)
    return {share: round(float((scores[truth] >= bound).mean()), 4) for share, bound in found}


def _unseen_scores(matrix: Any, truth: Any, seed: int) -> Floats:
    from sklearn.model_selection import StratifiedKFold

    scores = np.empty(len(truth))
    for fitted, asked in StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(matrix, truth):
        scores[asked] = _fitted(matrix[fitted], truth[fitted]).decision_function(matrix[asked])
    return scores


def _fitted(matrix: Any, truth: Any) -> Any:
    """Each side weighs the same, however many texts it has. By dual coordinate descent: columns are a hundred times the
    rows, and it is a hundred times as fast as descent in the columns."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(
        C=_STRENGTH, class_weight="balanced", solver="liblinear", dual=True, tol=1e-3, random_state=0
    ).fit(matrix, truth)


def _platt(scores: Floats, truth: Any) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6, class_weight="balanced").fit(scores[:, None], truth)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _calibration_error(probability: Floats, truth: Any) -> float:
    """Mean distance between probability and truth over ten bins of equal width, both sides weighing the same."""
    weight = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    gap = np.bincount(place, weight * (probability - truth), minlength=_BINS)
    return round(float(np.abs(gap).sum()), 4)


def _different(texts: Iterable[str], seen: set[int]) -> tuple[Any, list[int]]:
    """(counts, characters of each) of the texts that are not empty, each once but for white space. `seen`: hashes of
    texts that do not count, to which these come."""
    lengths: list[int] = []

    def each() -> Iterator[str]:
        for text in texts:
            key = hash_text(" ".join(text.split()))
            if text.strip() and key not in seen:
                seen.add(key)
                lengths.append(len(text))
                yield text

    return counts(each(), BUCKETS), lengths
