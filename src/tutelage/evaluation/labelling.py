"""Classification: finetuned models against the majority class and TF-IDF with logistic regression."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.abstention import abstention
from tutelage.evaluation.choice import Choice, choose
from tutelage.evaluation.classifiers import Prediction, TfidfResult, majority, median_class
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import Comparison, Figure, figure, row
from tutelage.evaluation.metrics import calibration_error, macro_f1, weighted_kappa
from tutelage.evaluation.paired import Resampling, compare_means, compare_shares, compare_statistic, pairs_of
from tutelage.evaluation.statistics import Interval, bootstrap_ratio, bootstrap_statistic, wilson
from tutelage.evaluation.verdicts import percent
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.progress import batches

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

TASK, ACCURACY, F1, ECE = "classification", "accuracy", "macro-F1", "calibration error"
TFIDF, MAJORITY, MEDIAN = "TF-IDF", "majority class", "median label"
MAE, KAPPA = "mean absolute error", "quadratic weighted kappa"  # for ordinal labels


def predict(lm: LanguageModel, who: str, texts: Sequence[str], config: EvaluateConfig, log: EventLog) -> Prediction:
    """The label that the finetuned model predicts for each text."""
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    order = lm.config.labels if lm.config.ordinal else ()
    found: list[dict[str, float]] = [{} for _ in texts]
    for part in batches(log, f"{who}: labels", by_length, config.batch, "texts"):
        for i, scores in zip(part, lm.classify([texts[i] for i in part]), strict=True):
            found[i] = scores
    return Prediction.of(found, order)


def natural_weights(truth: Sequence[str], natural: Mapping[str, int] | None) -> NDArray[np.float64] | None:
    """Weight of each held-out text that gives its label the share it has in `natural`; 1 on average.

    None if the natural distribution is unknown, or if the held-out labels do not differ significantly from it
    (chi-square test at 1 %). Raises InputError for a held-out label that `natural` lacks.
    """
    if natural is None:
        return None
    held = Counter(truth)
    unknown = sorted(label for label in held if natural.get(label, 0) <= 0)
    if unknown:
        raise InputError(
            f"the held-out label {unknown[0]!r} is not in the natural distribution",
            hint="count the labels before any are capped or dropped",
        )
    total, n = sum(natural[label] for label in held), len(truth)
    expected = {label: n * natural[label] / total for label in held}
    if len(held) < 2 or _alike([held[label] for label in held], [expected[label] for label in held]):
        return None
    return np.array([expected[label] / held[label] for label in truth])


def classification_figures(
    models: Mapping[str, Prediction],
    linear: TfidfResult,
    train: Sequence[dict[str, Any]],
    heldout: Sequence[dict[str, Any]],
    config: EvaluateConfig,
    seed: int,
    natural: Mapping[str, int] | None = None,
    *,
    task: str = TASK,
    megabytes: Mapping[str, float] | None = None,
    order: Sequence[str] = (),
    combined: Mapping[str, str] | None = None,
) -> tuple[list[Figure], list[Comparison], Choice]:
    """Predictions of several models for `heldout` beside those of the baselines on `train`, the models' rows.

    linear: TF-IDF with logistic regression on the same rows. natural: number of texts per label before any were capped
    or dropped; the majority class is taken from it, and held-out texts with other label shares are weighted to match
    it. megabytes: size of each model. order: the labels in order, if they are ordinal; the distance of a wrong label
    then counts. combined: those of `models` that are ensembles, with a description; they are mentioned only if they are
    better.
    """
    truth = [str(item["label"]) for item in heldout]
    train_labels = [str(item["label"]) for item in train]
    weights = natural_weights(truth, natural)
    n, constant = len(truth), MEDIAN if order else MAJORITY
    usual = median_class(natural or Counter(train_labels), order, n) if order else majority(natural or train_labels, n)
    parties = {**models, TFIDF: linear.prediction, constant: usual}
    seen = {*truth, *train_labels, *(label for party in parties.values() for label in party.labels)}
    names = [*order, *sorted(seen - set(order))]
    number = {name: i for i, name in enumerate(names)}
    actual = np.array([number[label] for label in truth])
    guessed = {name: np.array([number[label] for label in party.labels]) for name, party in parties.items()}
    right = {name: guess == actual for name, guess in guessed.items()}
    weight = np.ones(n) if weights is None else weights
    how = Resampling.of(config, seed)

    def f1(guess: NDArray[np.int64], index: NDArray[np.int64]) -> float:
        return macro_f1(guess, actual[index], len(names), weight[index])

    accuracy_rows, f1_rows, ece_rows = [], [], []
    for name, party in parties.items():
        kind = "model" if name in models else "baseline"
        sure, hit, guess = np.array(party.confidence), right[name], guessed[name]
        share = (
            wilson(int(hit.sum()), n, config.confidence)
            if weights is None
            else _share(bootstrap_ratio(hit * weight, weight, **how.options))
        )
        accuracy_rows.append(row(name, share, n, kind))

        def f1_of(index: NDArray[np.int64], guess: NDArray[np.int64] = guess) -> float:
            return f1(guess[index], index)

        def ece_of(index: NDArray[np.int64], sure: NDArray[np.float64] = sure, hit: NDArray[np.bool_] = hit) -> float:
            return calibration_error(sure[index], hit[index], weights=weight[index])

        f1_rows.append(row(name, bootstrap_statistic(f1_of, n, **how.options), n, kind))
        ece_rows.append(row(name, bootstrap_statistic(ece_of, n, **how.options), n, kind))

    missing = sorted(set(names) - set(truth))
    absent = f" {_counted(missing)} not in the held-out texts and so not in the mean." if missing else ""
    interval = f"{percent(config.confidence)} {'Wilson' if weights is None else 'bootstrap'} intervals."
    figures = [
        figure(task, ACCURACY, "share right", True, accuracy_rows,
               f"{n} held-out texts, {len(set(truth))} labels. {_shares_note(weights, natural, truth)}{TFIDF} with "
               f"logistic regression has the models' {len(train)} training texts, word 1- and 2-grams and character "
               f"2- to 4-grams, C = {linear.strength:g} by cross-validation on them; {linear.megabytes:.1f} MB. "
               f"{interval}{''.join(f' {how_made}' for how_made in (combined or {}).values())}"),
        figure(task, F1, "0-1", True, f1_rows,
               f"Mean F1 over the labels of the held-out texts, all labels weighted equally.{absent}"),
        figure(task, ECE, "0-1", False, ece_rows,
               "Expected calibration error: mean distance of confidence from accuracy in up to 15 bins of equal mass; "
               "chance alone keeps it above zero, so small differences mean little. Each model's one temperature was "
               f"fitted on held-out texts, which flatters it a little; {TFIDF} has none."),
    ]  # fmt: skip
    comparisons: list[Comparison] = []
    pairs = [*pairs_of(list(models), [TFIDF, constant]), (TFIDF, constant)]
    for who, other in pairs:
        comparisons.append(
            compare_shares(who, other, ACCURACY, right[who], right[other], how)
            if weights is None
            else compare_means(
                who, other, ACCURACY, right[who] * weight * 100, right[other] * weight * 100, how,
                weights=weight, unit="points", digits=1, shares=True, note=" (sign-flip test)",
            )
        )  # fmt: skip

        def gap(index: NDArray[np.int64], swapped: NDArray[np.bool_], mine: str = who, theirs: str = other) -> float:
            ours, others = guessed[mine][index], guessed[theirs][index]
            return f1(np.where(swapped, others, ours), index) - f1(np.where(swapped, ours, others), index)

        comparisons.append(compare_statistic(who, other, F1, gap, n, how))
    if order:
        made, compared = ordinal_figures(task, guessed, actual, weight, list(models), pairs, len(names), how)
        figures, comparisons = [*made, *figures], [*compared, *comparisons]
    sizes = {**(megabytes or dict.fromkeys(models, 0.0)), TFIDF: linear.megabytes, constant: 0.0}
    answers = {name: abstention(party.confidence, right[name]) for name, party in parties.items() if name != constant}
    measure, unit = (MAE, "steps") if order else (ACCURACY, "points")
    return figures, comparisons, choose(task, sizes, comparisons, measure, constant, n, answers, unit, combined or ())


def ordinal_figures(
    task: str, guessed: Mapping[str, NDArray[np.int64]], actual: NDArray[np.int64], weight: NDArray[np.float64],
    models: Sequence[str], pairs: Sequence[tuple[str, str]], classes: int, how: Resampling,
) -> tuple[list[Figure], list[Comparison]]:  # fmt: skip
    """Distance-based figures of ordinal labels: `guessed` and `actual` are label indices."""
    n, off, kappa = len(actual), [], []
    apart = {name: np.abs(guess - actual).astype(np.float64) for name, guess in guessed.items()}
    for name, guess in guessed.items():
        kind = "model" if name in models else "baseline"

        def kappa_of(index: NDArray[np.int64], guess: NDArray[np.int64] = guess) -> float:
            return weighted_kappa(guess[index], actual[index], classes, weight[index])

        off.append(row(name, bootstrap_ratio(apart[name] * weight, weight, **how.options), n, kind))
        kappa.append(row(name, bootstrap_statistic(kappa_of, n, **how.options), n, kind))
    figures = [
        figure(task, MAE, "steps", False, off,
               f"Mean absolute error in label steps; {n} held-out texts. Every system predicts the "
               f"median of its distribution, {MEDIAN} that of the training labels. {percent(how.confidence)} bootstrap "
               "intervals."),
        figure(task, KAPPA, "1 at best", True, kappa,
               "Quadratic weighted kappa: agreement beyond chance, a label two steps off counting four times as one."),
    ]  # fmt: skip
    comparisons: list[Comparison] = []
    for who, other in pairs:
        comparisons.append(
            compare_means(
                who, other, MAE, apart[who] * weight, apart[other] * weight, how,
                weights=weight, higher_is_better=False, unit="steps",
            )
        )  # fmt: skip

        def gap(index: NDArray[np.int64], swapped: NDArray[np.bool_], mine: str = who, theirs: str = other) -> float:
            ours, others, true, w = guessed[mine][index], guessed[theirs][index], actual[index], weight[index]
            return weighted_kappa(np.where(swapped, others, ours), true, classes, w) - weighted_kappa(
                np.where(swapped, ours, others), true, classes, w
            )

        comparisons.append(compare_statistic(who, other, KAPPA, gap, n, how))
    return figures, comparisons


def _alike(counts: Sequence[int], expected: Sequence[float]) -> bool:
    from scipy.stats import chisquare

    return float(chisquare(counts, expected).pvalue) >= 0.01


def _share(interval: Interval) -> Interval:
    """The bounds clipped to [0, 1]."""
    if interval.low is None or interval.high is None:
        return interval
    return Interval(interval.value, max(0.0, interval.low), min(1.0, interval.high))


def _counted(labels: Sequence[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:3]) + (", ..." if len(labels) > 3 else "")
    return f"{len(labels)} label{'s' if len(labels) > 1 else ''} ({shown}) {'are' if len(labels) > 1 else 'is'}"


def _shares_note(weights: NDArray[np.float64] | None, natural: Mapping[str, int] | None, truth: Sequence[str]) -> str:
    """A note on the label frequencies that the figures assume."""
    if natural is None:
        return "Label frequencies are those of the held-out texts. "
    lost = sorted(set(natural) - set(truth))
    share = sum(natural[label] for label in lost) / sum(natural.values())
    without = f"{_counted(lost)} not among them, {100 * share:.1f} % of all texts. " if lost and share > 0 else ""
    if weights is None:
        return f"Label frequencies are the natural ones. {without}"
    return f"Held-out texts are weighted to the natural label frequencies, from which theirs differ. {without}"


def megabytes_of(model: Path) -> float:
    return sum(file.stat().st_size for file in model.glob("*.safetensors")) / 1e6
