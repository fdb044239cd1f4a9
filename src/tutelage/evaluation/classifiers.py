"""Classification without a language model: the majority class, and TF-IDF with logistic regression."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.metrics import most_common
from tutelage.evaluation.progress import ticker
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog

if TYPE_CHECKING:
    import torch

_TOKEN = re.compile(r"(?u)\b\w\w+\b")
Weights = tuple[NDArray[np.float64], NDArray[np.float64]]
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True)
class Prediction:
    """The label chosen for each text, and the probability given to it."""

    labels: list[str]
    confidence: list[float]


def majority(train_labels: Sequence[str], count: int) -> Prediction:
    """The most frequent training label for every text, as sure as it was frequent."""
    label = most_common(train_labels)
    share = sum(other == label for other in train_labels) / len(train_labels)
    return Prediction([label] * count, [share] * count)


@dataclass(frozen=True)
class TfIdf:
    """Word 1- and 2-grams in at least `min_df` texts, sublinear tf, smoothed idf, rows of unit length.

    The same arithmetic as scikit-learn's TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2).
    """

    vocabulary: dict[str, int]
    idf: NDArray[np.float64]

    @classmethod
    def fit(cls, texts: Sequence[str], min_df: int = 2) -> TfIdf:
        frequency: Counter[str] = Counter()
        for text in texts:
            frequency.update(set(_terms(text)))
        kept = sorted(term for term, count in frequency.items() if count >= min_df)
        if not kept:
            raise InputError("no word occurs in two training texts", hint="TF-IDF needs more labelled text")
        counts = np.array([frequency[term] for term in kept], dtype=np.float64)
        return cls({term: i for i, term in enumerate(kept)}, np.log((1 + len(texts)) / (1 + counts)) + 1)

    def rows(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Compressed sparse rows: (row starts [N+1], columns, values)."""
        starts, columns, values = [0], [], []
        for text in texts:
            counts = Counter(i for term in _terms(text) if (i := self.vocabulary.get(term)) is not None)
            column = np.array(sorted(counts), dtype=np.int64)
            value = (1 + np.log([counts[i] for i in column])) * self.idf[column] if len(column) else np.zeros(0)
            norm = np.sqrt((value**2).sum())
            columns.append(column)
            values.append(value / norm if norm > 0 else value)
            starts.append(starts[-1] + len(column))
        return np.array(starts), np.concatenate(columns), np.concatenate(values)


@dataclass(frozen=True)
class LogisticRegression:
    """Multinomial logistic regression on TF-IDF rows: weights [terms, labels], bias [labels]."""

    vectorizer: TfIdf
    labels: tuple[str, ...]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    strength: float

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """[texts, labels]"""
        matrix = _sparse(*self.vectorizer.rows(texts), len(self.vectorizer.vocabulary))
        logits = np.asarray(matrix @ _tensor(self.weight)) + self.bias
        exps = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exps / exps.sum(axis=1, keepdims=True))

    def predict(self, texts: Sequence[str]) -> Prediction:
        probabilities = self.probabilities(texts)
        best = probabilities.argmax(axis=1)
        confidence = probabilities[np.arange(len(best)), best]
        return Prediction([self.labels[i] for i in best], [float(p) for p in confidence])


def train_logistic(
    texts: Sequence[str], labels: Sequence[str], log: EventLog, strengths: Sequence[float] = STRENGTHS
) -> LogisticRegression:
    """TF-IDF + logistic regression; the strength C is the one that does best on a tenth of the texts.

    Minimises C * sum(cross-entropy) + |weights|^2 / 2, the bias free, as scikit-learn does.
    """
    names = tuple(sorted(set(labels)))
    classes = np.array([names.index(label) for label in labels], dtype=np.int64)
    vectorizer = TfIdf.fit(texts)
    starts, columns, values = vectorizer.rows(texts)
    matrix = _sparse(starts, columns, values, len(vectorizer.vocabulary))
    tick = ticker(log, "TF-IDF + logistic regression", len(strengths) + 1, "fits")
    best = strengths[0]
    weights: Weights = (np.zeros((len(vectorizer.vocabulary), len(names))), np.zeros(len(names)))
    probe = np.arange(len(texts)) % 10 == 9
    if len(strengths) > 1 and probe.any():
        fit, check = np.flatnonzero(~probe), np.flatnonzero(probe)
        part = _sparse(*_select(starts, columns, values, fit), len(vectorizer.vocabulary))
        rest = _sparse(*_select(starts, columns, values, check), len(vectorizer.vocabulary))
        tried: list[tuple[int, float, Weights]] = []
        for done, strength in enumerate(strengths, 1):
            weights = _fit(part, classes[fit], weights, strength, 40)  # each goes on from the one before
            guess = (np.asarray(rest @ _tensor(weights[0])) + weights[1]).argmax(axis=1)
            tried.append((int((guess == classes[check]).sum()), strength, weights))
            tick(done)
        _, best, weights = max(tried, key=lambda entry: entry[0])
    weight, bias = _fit(matrix, classes, weights, best, 100)
    tick(len(strengths) + 1)
    return LogisticRegression(vectorizer, names, weight, bias, best)


def _fit(matrix: torch.Tensor, classes: NDArray[np.int64], start: Weights, strength: float, iterations: int) -> Weights:
    """L-BFGS on the whole set; the gradient is written out, since a sparse product needs no autograd."""
    import torch

    transposed = _transposed(matrix)
    weight, bias = _tensor(start[0].copy()), _tensor(start[1].copy())
    target = torch.nn.functional.one_hot(torch.from_numpy(classes), len(bias)).double()
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        history_size=6,
        tolerance_grad=1e-6 * strength * len(classes),
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        logits = matrix @ weight + bias  # [rows, labels]
        logprobs = torch.log_softmax(logits, dim=1)
        error = strength * (logprobs.exp() - target)
        weight.grad, bias.grad = transposed @ error + weight, error.sum(dim=0)
        return float(-strength * (target * logprobs).sum() + 0.5 * (weight * weight).sum())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.numpy(), bias.numpy()


def _select(
    starts: NDArray[np.int64],
    columns: NDArray[np.int64],
    values: NDArray[np.float64],
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    spans = [np.arange(starts[row], starts[row + 1]) for row in rows]
    index = np.concatenate(spans)
    return np.concatenate(([0], np.cumsum([len(span) for span in spans]))), columns[index], values[index]


def _sparse(
    starts: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float64], terms: int
) -> torch.Tensor:
    import torch

    size = (len(starts) - 1, terms)
    with warnings.catch_warnings():
        # Compressed rows multiply seven times as fast as coordinates; torch calls them beta on every use.
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(_tensor(starts), _tensor(columns), _tensor(values), size, check_invariants=False)


def _transposed(matrix: torch.Tensor) -> torch.Tensor:
    """Compressed rows of the transpose."""
    starts, columns, values = (part.numpy() for part in (matrix.crow_indices(), matrix.col_indices(), matrix.values()))
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(starts))
    order = np.argsort(columns, kind="stable")
    counts = np.bincount(columns, minlength=matrix.shape[1])
    return _sparse(np.concatenate(([0], np.cumsum(counts))), rows[order], values[order], matrix.shape[0])


def _tensor(array: NDArray[np.int64] | NDArray[np.float64]) -> torch.Tensor:
    import torch

    return torch.from_numpy(array)


def _terms(text: str) -> list[str]:
    """Word 1-grams and 2-grams, lower-cased."""
    words = _TOKEN.findall(text.lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)]
