"""A frozen head and TF-IDF together: what words say and what the model says, by a weighted sum of log-probabilities."""

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
MOST_TEXTS = 4000  # to train on: with more, three further fits of TF-IDF take long, and there is less to gain
EVEN, WIDTH = 1.0, 0.5  # of the normal prior on both weights: few texts move them little
_LEAST = 1e-9  # probability
Floats = NDArray[np.float64]


def combined_name(step: str) -> str:
    return f"{step} + TF-IDF"


def combined_folder(step: str) -> str:
    return f"{step}+{FOLDER}"


@dataclass(frozen=True)
class Combined:
    """A logarithmic opinion pool (Genest and Zidek 1986; Heskes 1998): probabilities in proportion to the product of
    both, each to the power of its weight. `step`: whose model it is."""

    step: str
    model_weight: float
    lexical_weight: float
    lexical: LexicalClassifier

    @property
    def said(self) -> str:
        return (
            f"{combined_name(self.step)}: sum of both log-probabilities with weights {self.model_weight:.2f} and "
            f"{self.lexical_weight:.2f}, fitted on what fits of the other folds say of training texts."
        )

    def probabilities(self, model: Sequence[Mapping[str, float]], lexical: Floats) -> list[dict[str, float]]:
        """Of each text by label: what the model gives each, and TF-IDF [texts, classes]."""
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
        """Raises DamagedError where the files are not whole."""
        try:
            found = json.loads((directory / SETTINGS).read_text(encoding="utf-8"))
            step, weights = str(found["step"]), found["weights"]
            one, other = float(weights["model"]), float(weights["tfidf"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{directory / SETTINGS} is not whole: {error}") from None
        return cls(step, one, other, LexicalClassifier.load(directory))


def combine(
    step: str, unseen: Unseen, labels: Sequence[str], train: Sequence[Mapping[str, Any]], linear: TfidfResult, seed: int
) -> Combined | None:
    """Both together, with weights that suit what each says of training texts that it was not fitted on.

    labels: columns of `unseen`. linear: TF-IDF fitted on all of `train`. None where no text tells anything.
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
    told = lexical[np.arange(len(train)), targets] > 0  # of a label with one text no other fit knows anything
    if not told.any():
        return None
    columns = [list(labels).index(label) for label in linear.classes]
    given = unseen.probabilities[:, columns].astype(np.float64)
    one, other = pool_weights(_log(given[told]), _log(lexical[told]), targets[told])
    return Combined(step, one * float(unseen.temperature[0]), other, linear.classifier)


def pool_weights(one: Floats, other: Floats, targets: NDArray[np.int64]) -> tuple[float, float]:
    """Weights from 0 on of two log-probabilities [texts, labels]: the most probable ones, by the likelihood of the
    targets [texts] and a prior around 1."""
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
