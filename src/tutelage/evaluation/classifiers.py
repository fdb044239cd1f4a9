"""Classification without a language model: the most frequent class, and TF-IDF with logistic regression."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.lexical import LexicalClassifier, vectorizer
from tutelage.evaluation.metrics import most_common
from tutelage.model.ordinal import chosen_label
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.progress import ticker

STRENGTHS = (1.0, 6.0, 36.0)
"""Values of C that cross-validation chooses from; a larger C is less regularisation."""
_FOLDS = 3
_TUNED_ON = 1000  # texts that C is chosen on; more rarely change the choice and would take most of the time
_MAX_FEATURES = 30_000  # of words and of characters each
_CHARACTERS = 1_500_000  # limit for character n-grams, over all training texts; word n-grams read the full texts


@dataclass(frozen=True)
class Prediction:
    """The predicted label of each text and its probability. `shares`: the probabilities of all labels, where known."""

    labels: list[str]
    confidence: list[float]
    shares: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def of(cls, shares: Sequence[Mapping[str, float]], order: Sequence[str] = ()) -> Prediction:
        """The predicted label for each text's probabilities. order: the labels in order, if they are ordinal."""
        labels = [chosen_label(one, order) for one in shares]
        sure = [float(one[label]) for one, label in zip(shares, labels, strict=True)]
        return cls(labels, sure, [dict(one) for one in shares])


@dataclass(frozen=True)
class TfidfResult:
    """The result of `tfidf_baseline`.

    labels: the predicted label of each text. probabilities: [texts, classes], columns as in `classifier.classes`.
    strength: the C that was chosen.
    """

    classifier: LexicalClassifier
    labels: list[str]
    probabilities: NDArray[np.float64]
    milliseconds_per_text: float
    strength: float

    @property
    def classes(self) -> tuple[str, ...]:
        return self.classifier.classes

    @property
    def megabytes(self) -> float:
        return self.classifier.megabytes

    @property
    def prediction(self) -> Prediction:
        column = {label: at for at, label in enumerate(self.classes)}
        named = [column[label] for label in self.labels]
        return Prediction(self.labels, [float(p) for p in self.probabilities[np.arange(len(named)), named]])


def majority(train: Sequence[str] | Mapping[str, int], count: int) -> Prediction:
    """The most frequent training label for every text, with its relative frequency as the probability."""
    label = most_common(train)
    counts = Counter(train)
    return Prediction([label] * count, [counts[label] / counts.total()] * count)


def median_class(train: Mapping[str, int], order: Sequence[str], count: int) -> Prediction:
    """The median of counted labels in an `order` for every text: the label with the smallest mean distance."""
    total = sum(train.values())
    shares = {label: train.get(label, 0) / total for label in order}
    label = chosen_label(shares, order)
    return Prediction([label] * count, [shares[label]] * count)


def tfidf_baseline(
    train: Sequence[Mapping[str, Any]],
    heldout: Sequence[Mapping[str, Any]],
    log: EventLog | None = None,
    *,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
    order: Sequence[str] = (),
) -> TfidfResult:
    """TF-IDF of words (1- and 2-grams) and of characters (2- to 4-grams within words) with logistic regression.

    train: rows with "text" and "label"; heldout: rows with "text"; order: the labels in order, if they are ordinal.
    Character n-grams handle scripts without spaces, inflection and misspelling. C is chosen by stratified
    cross-validation on training rows alone. Raises InputError if the training texts yield no features.
    """
    texts, labels = [str(row["text"]) for row in train], [str(row["label"]) for row in train]
    asked = [str(row["text"]) for row in heldout]
    beginning = max(100, _CHARACTERS // len(texts))
    if len(set(labels)) < 2:
        alone, nothing = most_common(labels), np.zeros((1, 0), np.float32)
        classifier = LexicalClassifier((alone,), {}, {}, beginning, nothing, np.zeros(1, np.float32))
        return TfidfResult(classifier, [alone] * len(asked), np.ones((len(asked), 1)), 0.0, strengths[0])
    vectorizers, matrix = _features(texts, beginning)
    target = np.array(labels)
    tick = ticker(log or EventLog(), "TF-IDF + logistic regression", len(strengths) + 1, "fits")
    strength = _chosen_strength(matrix, target, strengths, seed, tick)
    model = _fitted(matrix, target, strength)
    tick(len(strengths) + 1)
    classifier = LexicalClassifier(
        tuple(str(label) for label in model.classes_),
        {kind: [str(term) for term in each.get_feature_names_out()] for kind, each in vectorizers.items()},
        {kind: each.idf_.astype(np.float32) for kind, each in vectorizers.items()},
        beginning, np.ascontiguousarray(model.coef_, np.float32), model.intercept_.astype(np.float32),
        order=tuple(order),
    )  # fmt: skip
    started = time.perf_counter()
    probabilities = classifier.probabilities(asked)
    spent = 1000 * (time.perf_counter() - started) / max(1, len(asked))
    named = [classifier.named(row) for row in probabilities]
    return TfidfResult(classifier, named, probabilities, spent, strength)


def tfidf_multilabel(
    train: Sequence[Mapping[str, Any]],
    heldout: Sequence[str],
    log: EventLog | None = None,
    *,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> TfidfResult:
    """The same features with one logistic regression per label; `labels` of the result is empty.

    train: rows with "text" and "labels". One C for all labels is chosen by cross-validated log-loss on training rows.
    """
    from sklearn.model_selection import KFold

    texts = [str(row["text"]) for row in train]
    classes = tuple(sorted({str(label) for row in train for label in row["labels"]}))
    wanted = np.array([[label in row["labels"] for label in classes] for row in train])
    beginning = max(100, _CHARACTERS // len(texts))
    vectorizers, matrix = _features(texts, beginning)
    tick = ticker(log or EventLog(), "TF-IDF + logistic regressions", len(strengths) + 1, "fits")
    sample = np.random.default_rng(seed).permutation(len(texts))[:_TUNED_ON]
    folds = [(sample[fit], sample[check]) for fit, check in KFold(min(_FOLDS, len(sample))).split(sample)]
    parts = [(fit, check, *_in_row_space(matrix[fit], matrix[check])) for fit, check in folds]
    losses = []
    for done, strength in enumerate(sorted(strengths), 1):
        loss = 0.0
        for fit, check, known, asked in parts:
            for column in range(len(classes)):
                weights, bias = _binary(known, wanted[fit, column], strength)
                signed = np.where(wanted[check, column], 1, -1) * (asked @ weights + bias)
                loss += float(np.logaddexp(0, -signed).sum())
        losses.append((loss, strength))
        tick(done)
    strength = min(losses)[1]
    fitted = [_binary(matrix, wanted[:, column], strength) for column in range(len(classes))]
    tick(len(strengths) + 1)
    classifier = LexicalClassifier(
        classes,
        {kind: [str(term) for term in each.get_feature_names_out()] for kind, each in vectorizers.items()},
        {kind: each.idf_.astype(np.float32) for kind, each in vectorizers.items()},
        beginning, np.stack([weights for weights, _ in fitted]).astype(np.float32),
        np.array([bias for _, bias in fitted], np.float32), multi_label=True,
    )  # fmt: skip
    started = time.perf_counter()
    probabilities = classifier.probabilities(list(heldout))
    spent = 1000 * (time.perf_counter() - started) / max(1, len(heldout))
    return TfidfResult(classifier, [], probabilities, spent, strength)


def _binary(matrix: Any, wanted: NDArray[np.bool_], strength: float) -> tuple[NDArray[np.float64], float]:
    """Weights and bias of one label; if all texts have it, or none, only the bias, by Laplace's rule."""
    if wanted.all() or not wanted.any():
        return np.zeros(matrix.shape[1]), float((1 if wanted.all() else -1) * np.log(len(wanted) + 1))
    model = _fitted(matrix, wanted, strength)
    return model.coef_[0], float(model.intercept_[0])


def _features(texts: Sequence[str], beginning: int) -> tuple[dict[str, Any], Any]:
    """The fitted vectorizers with a non-empty vocabulary, and their concatenated features [texts, features]."""
    # With many texts, a term that occurs in one of them teaches little; with few texts, much.
    least = 1 if len(texts) < 1000 else 2
    found, parts = {}, []
    for kind in ("words", "characters"):
        counts = vectorizer(kind, beginning, min_df=least, max_features=_MAX_FEATURES)
        try:
            parts.append(counts.fit_transform(texts))
        except ValueError:  # an empty vocabulary: no word of two letters, say
            continue
        found[kind] = counts
    if not parts:
        raise InputError("the training texts contain nothing to count", hint="TF-IDF needs labelled text with words")
    return found, _stacked(parts)


def _stacked(parts: Sequence[Any]) -> Any:
    from scipy.sparse import hstack

    return hstack(parts, format="csr")


def _chosen_strength(matrix: Any, target: NDArray[np.str_], strengths: Sequence[float], seed: int, tick: Any) -> float:
    """The C with the highest cross-validation accuracy; the smallest one in a tie."""
    from sklearn.model_selection import StratifiedKFold

    rarest = min(Counter(target.tolist()).values())
    if len(strengths) < 2 or rarest < 2:
        return strengths[0] if len(strengths) < 2 else sorted(strengths)[len(strengths) // 2]
    rows = np.random.default_rng(seed).permutation(len(target))[:_TUNED_ON]
    folds = StratifiedKFold(min(_FOLDS, rarest), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # The rows are a sample, so a rare label may have fewer of them than there are folds; that does no harm.
        warnings.simplefilter("ignore", UserWarning)
        splits = [(rows[fit], rows[check]) for fit, check in folds.split(rows, target[rows])]
    parts = [(target[fit], target[check], *_in_row_space(matrix[fit], matrix[check])) for fit, check in splits]
    right: list[tuple[int, float]] = []
    for done, strength in enumerate(sorted(strengths), 1):
        hits = 0
        for known, wanted, fit, check in parts:
            if len(set(known.tolist())) > 1:
                hits += int((_fitted(fit, known, strength).predict(check) == wanted).sum())
        right.append((hits, -strength))
        tick(done)
    return -max(right)[1]


def _in_row_space(fit: Any, check: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same rows with as many columns as `fit` has rows; dot products with rows of `fit` are unchanged.

    The weights of a penalised fit are a combination of its rows, so fitting a Cholesky factor of the Gram matrix gives
    the same model in less time. Duplicate rows make it singular, hence the ridge of 1e-6.
    """
    from scipy.linalg import cholesky, solve_triangular

    fit = fit.astype(np.float64)  # in float32 the products are off by more than the ridge
    square = (fit @ fit.T).toarray()
    np.fill_diagonal(square, square.diagonal() + max(1e-6 * square.diagonal().max(), 1e-12))
    root = cholesky(square, lower=True, overwrite_a=True)
    return root, solve_triangular(root, (fit @ check.T).toarray(), lower=True).T


def _fitted(matrix: Any, target: NDArray[Any], strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=100, tol=1e-3)
    with warnings.catch_warnings():
        # After 100 steps the accuracy no longer changes, which is close enough to the optimum for a baseline.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(matrix, target)
