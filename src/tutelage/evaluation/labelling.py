"""Classification: the finetuned model beside the majority class and TF-IDF with logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.classifiers import Prediction, majority, train_logistic
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import Comparison, Figure, comparison, figure, row
from tutelage.evaluation.metrics import calibration_error, macro_f1
from tutelage.evaluation.progress import batches
from tutelage.evaluation.statistics import (
    Difference,
    bootstrap_statistic,
    mcnemar,
    paired_difference,
    verdict,
    wilson,
)
from tutelage.store.events import EventLog

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

TASK, ACCURACY, F1, ECE = "classification", "accuracy", "macro-F1", "calibration error"
TFIDF = "TF-IDF + logistic regression"


def predict(lm: LanguageModel, who: str, texts: Sequence[str], config: EvaluateConfig, log: EventLog) -> Prediction:
    """The likeliest label of each text by the finetuned model."""
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    labels, confidence = [""] * len(texts), [0.0] * len(texts)
    for part in batches(log, f"{who}: labels", by_length, config.batch, "texts"):
        for i, scores in zip(part, lm.classify([texts[i] for i in part]), strict=True):
            labels[i] = max(sorted(scores), key=lambda label: scores[label])
            confidence[i] = float(scores[labels[i]])
    return Prediction(labels, confidence)


def classification_figures(
    ours: str,
    model: Prediction,
    train: Sequence[dict[str, Any]],
    heldout: Sequence[dict[str, Any]],
    config: EvaluateConfig,
    log: EventLog,
    seed: int,
) -> tuple[list[Figure], list[Comparison]]:
    """The model's predictions for `heldout` beside those of the baselines trained on `train`."""
    truth = [str(item["label"]) for item in heldout]
    train_labels = [str(item["label"]) for item in train]
    logistic = train_logistic([str(item["text"]) for item in train], train_labels, log)
    parties = {
        ours: model,
        TFIDF: logistic.predict([str(item["text"]) for item in heldout]),
        "majority class": majority(train_labels, len(truth)),
    }
    n = len(truth)
    names = sorted({*truth, *train_labels, *(label for party in parties.values() for label in party.labels)})
    number = {name: i for i, name in enumerate(names)}
    actual = np.array([number[label] for label in truth])
    guessed = {who: np.array([number[label] for label in party.labels]) for who, party in parties.items()}
    right = {who: guess == actual for who, guess in guessed.items()}
    draw: dict[str, Any] = {"confidence": config.confidence, "draws": config.bootstrap, "seed": seed}

    accuracy_rows, f1_rows, ece_rows = [], [], []
    for who, party in parties.items():
        kind = "model" if who == ours else "baseline"
        sure = np.array(party.confidence)
        accuracy_rows.append(row(who, wilson(int(right[who].sum()), n, config.confidence), n, kind))

        def f1(index: NDArray[np.int64], guess: NDArray[np.int64] = guessed[who]) -> float:
            return macro_f1(guess[index], actual[index], len(names))

        def ece(
            index: NDArray[np.int64], sure: NDArray[np.float64] = sure, hit: NDArray[np.bool_] = right[who]
        ) -> float:
            return calibration_error(sure[index], hit[index])

        f1_rows.append(row(who, bootstrap_statistic(f1, n, **draw), n, kind))
        ece_rows.append(row(who, bootstrap_statistic(ece, n, **draw), n, kind))

    figures = [
        figure(TASK, ACCURACY, "share right", True, accuracy_rows,
               f"{n} held-out texts, {len(set(truth))} labels. {TFIDF} has the same {len(train)} training "
               f"texts, word 1- and 2-grams, C = {logistic.strength:g} chosen on a tenth of them. Wilson "
               "intervals."),
        figure(TASK, F1, "0-1", True, f1_rows, "Mean over the labels that occur, each counting the same."),
        figure(TASK, ECE, "0-1", False, ece_rows,
               "Mean distance of confidence from accuracy in 15 bins of equal mass; chance alone keeps it "
               "above zero, so small differences mean little."),
    ]  # fmt: skip
    comparisons = []
    for other in (TFIDF, "majority class"):
        drawn = paired_difference(right[ours] * 100.0, right[other] * 100.0, **draw)
        p = mcnemar(right[ours], right[other])
        difference = Difference(drawn.value, drawn.low, drawn.high, p, n)
        text = verdict(ours, other, difference, unit="points", confidence=config.confidence, digits=1)
        comparisons.append(comparison(ours, other, ACCURACY, difference, f"{text} (exact McNemar test)"))
    return figures, comparisons
