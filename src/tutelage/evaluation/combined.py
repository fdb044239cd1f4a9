"""An ensemble of a frozen head and TF-IDF: a weighted sum of their log-probabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.classifiers import TfidfResult, tfidf_baseline
from tutelage.evaluation.lexical import FOLDER, LexicalClassifier
from tutelage.inference.unseen import Unseen
from tutelage.store.errors import DamagedError
from tutelage.store.files import write_json

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

SETTINGS = "combined.json"
MOST_TEXTS = 4000  # training texts: with more, three further TF-IDF fits are slow and the gain is smaller
EVEN, WIDTH = 1.0, 0.5  # of the normal prior on both weights: few texts move them little
_LEAST = 1e-9  # probability
Floats = NDArray[np.float64]


def combined_name(step: str) -> str:
    return f"{step} + TF-IDF"


def combined_folder(step: str) -> str:
    return f"{step}+{FOLDER}"


@dataclass(frozen=True)
class Combined:
    """A logarithmic opinion pool (Genest and Zidek 1986; Heskes 1998): probabilities proportional to the product of
    both, each raised to the power of its weight. `step`: the step whose model it is."""

    step: str
    model_weight: float
    lexical_weight: float
    lexical: LexicalClassifier

    @property
    def said(self) -> str:
        return (
            f"{combined_name(self.step)}: sum of both log-probabilities with weights {self.model_weight:.2f} and "
            f"{self.lexical_weight:.2f}, fitted on out-of-fold predictions of the training texts."
        )

    def probabilities(self, model: Sequence[Mapping[str, float]], lexical: Floats) -> list[dict[str, float]]:
        """Combined probabilities by label, from the model's (by label) and those of TF-IDF [texts, classes]."""
        classes = self.lexical.classes
        given = np.array([[one[label] for label in classes] for one in model])
        pooled = np.exp(_pool(_log(given), _log(lexical), self.model_weight, self.lexical_weight))
        return [dict(zip(classes, map(float, row), strict=True)) for row in pooled]

    def classify(self, lm: LanguageModel, texts: Sequence[str]) -> list[dict[str, float]]:
        """Probability of each label, by the model of the step and TF-IDF together."""
        return self.probabilities(lm.classify(texts), self.lexical.probabilities(texts))

    def save(self, directory: Path) -> None:
        self.lexical.save(directory)
        weights = {"model": self.model_weight, "tfidf": self.lexical_weight}
        write_json(directory / SETTINGS, {"version": 1, "step": self.step, "weights": weights})

    @classmethod
    def load(cls, directory: Path) -> Combined:
        """Raises DamagedError if the files are incomplete."""
        try:
            found = json.loads((directory / SETTINGS).read_text(encoding="utf-8"))
            step, weights = str(found["step"]), found["weights"]
            one, other = float(weights["model"]), float(weights["tfidf"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{directory / SETTINGS} is incomplete: {error}") from None
        return cls(step, one, other, LexicalClassifier.load(directory))


def combine(
    step: str, unseen: Unseen, labels: Sequence[str], train: Sequence[Mapping[str, Any]], linear: TfidfResult, seed: int
) -> Combined | None:
    """Combine both, with weights fitted on out-of-fold predictions of the training texts.

    labels: columns of `unseen`. linear: TF-IDF fitted on all of `train`. None if no text has usable predictions.
    """
    if len(train) != len(unseen.fold) or set(labels) != set(linear.classes):
        return None
    number = {label: at for at, label in enumerate(linear.classes)}
    targets = np.array([number[str(row["label"])] for row in train])
    lexical = np.zeros((len(train), len(number)))
    for part in np.unique(unseen.fold):
        there = unseen.fold == part
        known = [row for row, out in zip(train, there, strict=True) if not out]
        asked = [row for row, out in zip(train, there, strict=True) if out]
        found = tfidf_baseline(known, asked, strengths=(linear.strength,), seed=seed)
        lexical[np.ix_(there, [number[label] for label in found.classes])] = found.probabilities
    told = lexical[np.arange(len(train)), targets] > 0  # other folds do not know a label with one text
    if not told.any():
        return None
    columns = [list(labels).index(label) for label in linear.classes]
    given = unseen.probabilities[:, columns].astype(np.float64)
    one, other = pool_weights(_log(given[told]), _log(lexical[told]), targets[told])
    return Combined(step, one * float(unseen.temperature[0]), other, linear.classifier)


def pool_weights(one: Floats, other: Floats, targets: NDArray[np.int64]) -> tuple[float, float]:
    """Non-negative weights of two log-probabilities [texts, labels]: the maximum a posteriori estimate for the targets
    [texts] with a normal prior around 1."""
    from scipy.optimize import minimize

    at = np.arange(len(targets))

    def loss(weights: Floats) -> float:
        likelihood = _pool(one, other, weights[0], weights[1])[at, targets].sum()
        return -float(likelihood) + float(((weights - EVEN) ** 2).sum()) / (2 * WIDTH**2)

    found = minimize(loss, [EVEN, EVEN], method="L-BFGS-B", bounds=[(0, None), (0, None)]).x
    return float(found[0]), float(found[1])


def _pool(one: Floats, other: Floats, first: float, second: float) -> Floats:
    scores = first * one + second * other
    scores = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))


def _log(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, _LEAST))
