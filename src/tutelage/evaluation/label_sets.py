"""Multi-label classification: finetuned models against TF-IDF and a constant set of the most frequent labels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.choice import Choice, choose
from tutelage.evaluation.classifiers import tfidf_multilabel
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import Comparison, Figure, figure, row
from tutelage.evaluation.labelling import TFIDF, megabytes_of
from tutelage.evaluation.lexical import FOLDER
from tutelage.evaluation.paired import Resampling, compare_shares, compare_statistic, pairs_of
from tutelage.evaluation.spec import Subject
from tutelage.evaluation.statistics import bootstrap_statistic, wilson
from tutelage.evaluation.subjects import Row, rows_of
from tutelage.evaluation.verdicts import percent
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json, sha256_text
from tutelage.store.progress import batches

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

TASK, MICRO, MACRO, EXACT = "multi-label classification", "micro-F1", "label macro-F1", "exact match"
FREQUENT = "most frequent labels"
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class _Member:
    subject: Subject
    path: Path
    chosen: Flags  # [texts, labels]


class LabelSets:
    """Predictions of all multi-label classifiers, grouped by the held-out rows that they share."""

    def __init__(self, config: EvaluateConfig, log: EventLog) -> None:
        self.config, self.log = config, log
        self.sets: dict[str, list[_Member]] = {}
        self.milliseconds: dict[str, float] = {}  # of a text, in batches

    def predict(self, subject: Subject, path: Path, lm: LanguageModel) -> None:
        rows, started = self._rows(path)[1], time.monotonic()
        labels = lm.config.labels
        by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]["text"]))
        chosen = np.zeros((len(rows), len(labels)), bool)
        for part in batches(self.log, f"{subject.name}: labels", by_length, self.config.batch, "texts"):
            for i, found in zip(part, lm.classify([str(rows[i]["text"]) for i in part]), strict=True):
                chosen[i] = [found[label] >= 0.5 for label in labels]
        self.milliseconds[subject.name] = round(1000 * (time.monotonic() - started) / len(rows), 2)
        shared = sha256_json([list(labels), [[str(item["id"]), item["labels"]] for item in rows]])
        self.sets.setdefault(shared, []).append(_Member(subject, path, chosen))

    def measure(self, figures: list[Figure], comparisons: list[Comparison], out: Path, seed: int) -> list[Choice]:
        """Add the figures of every set; the TF-IDF baseline is saved in `out`/tfidf."""
        choices = []
        for number, members in enumerate(self.sets.values()):
            first = members[0]
            train, heldout = self._rows(first.path)
            linear = tfidf_multilabel(train, [str(item["text"]) for item in heldout], self.log, seed=seed)
            alone = len(self.sets) == 1 and not (out / FOLDER).exists()
            linear.classifier.save(out / (FOLDER if alone else f"{FOLDER}-{first.subject.name}"))
            self.milliseconds[TFIDF] = round(linear.milliseconds_per_text, 2)
            made, compared, choice = label_set_figures(
                {member.subject.name: member.chosen for member in members}, linear.probabilities >= 0.5, train, heldout,
                linear.classes, self.config, seed, task=TASK if number == 0 else f"{TASK}: {first.subject.name}",
                megabytes={**{one.subject.name: megabytes_of(one.path) for one in members}, TFIDF: linear.megabytes},
            )  # fmt: skip
            figures += made
            comparisons += compared
            choices.append(choice)
        return choices

    def _rows(self, path: Path) -> tuple[list[Row], list[Row]]:
        train, heldout = rows_of(path)
        chosen = sorted(heldout, key=lambda item: sha256_text(str(item["id"])))[: self.config.classify_documents]
        if not train or not chosen:
            raise InputError(f"{path / 'data'} contains no labelled texts", hint="finetune the classifier again")
        return train, chosen


def label_set_figures(
    models: Mapping[str, Flags], linear: Flags, train: Sequence[Row], heldout: Sequence[Row], labels: Sequence[str],
    config: EvaluateConfig, seed: int, *, task: str = TASK, megabytes: Mapping[str, float],
) -> tuple[list[Figure], list[Comparison], Choice]:  # fmt: skip
    """Figures of several models' predicted labels (each [texts, labels], columns as `labels`), with baselines."""
    truth = flags(heldout, labels)
    n = len(truth)
    parties = {**models, TFIDF: linear, FREQUENT: np.tile(most_frequent(flags(train, labels)), (n, 1))}
    how = Resampling.of(config, seed)
    measured = {MICRO: micro_f1, MACRO: macro_f1}

    figures: list[Figure] = []
    comparisons: list[Comparison] = []
    pairs = [*pairs_of(list(models), [TFIDF, FREQUENT]), (TFIDF, FREQUENT)]
    for measure, statistic in measured.items():
        rows = []
        for name, chosen in parties.items():

            def value(index: NDArray[np.int64], chosen: Flags = chosen, of: Any = statistic) -> float:
                return float(of(chosen[index], truth[index]))

            kind = "model" if name in models else "baseline"
            rows.append(row(name, bootstrap_statistic(value, n, **how.options), n, kind))
        figures.append(figure(task, measure, "share", True, rows, _NOTES[measure].format(
            n=n, labels=len(labels), each=truth.sum() / n, confidence=percent(config.confidence))))  # fmt: skip
        for who, other in pairs:

            def gap(
                index: NDArray[np.int64], swapped: NDArray[np.bool_], mine: Flags = parties[who],
                theirs: Flags = parties[other], of: Any = statistic,
            ) -> float:  # fmt: skip
                ours, others, side = mine[index], theirs[index], swapped[:, None]
                return 100 * float(
                    of(np.where(side, others, ours), truth[index]) - of(np.where(side, ours, others), truth[index])
                )

            comparisons.append(compare_statistic(who, other, measure, gap, n, how, digits=1, unit="points"))
    exact = {name: (chosen == truth).all(axis=1) for name, chosen in parties.items()}
    rows = [
        row(name, wilson(int(hit.sum()), n, config.confidence), n, "model" if name in models else "baseline")
        for name, hit in exact.items()
    ]
    figures.append(figure(task, EXACT, "share right", True, rows, "Texts whose labels are exactly the right ones."))
    comparisons += [compare_shares(who, other, EXACT, exact[who], exact[other], how) for who, other in pairs]
    sizes = {**megabytes, FREQUENT: 0.0}
    return figures, comparisons, choose(task, sizes, comparisons, MICRO, FREQUENT, n, {})


_NOTES = {
    MICRO: "F1 over all (text, label) decisions, {each:.1f} labels per text and {labels} in all; predicted "
    "are labels with a probability of 0.5 or more. {n} held-out texts, {confidence} bootstrap intervals.",
    MACRO: "Mean of each label's F1, all labels counting the same.",
}


def flags(rows: Sequence[Row], labels: Sequence[str]) -> Flags:
    """Whether each row has each label [rows, labels]."""
    number = {label: index for index, label in enumerate(labels)}
    found = np.zeros((len(rows), len(labels)), bool)
    for at, item in enumerate(rows):
        found[at, [number[label] for label in item["labels"]]] = True
    return found


def most_frequent(train: Flags) -> Flags:
    """The labels [labels] that, given to every text, have the highest micro-F1 on the training texts."""
    counts = train.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    taken = np.arange(1, len(counts) + 1)
    scores = 2 * counts[order].cumsum() / (taken * len(train) + counts.sum())
    found = np.zeros(len(counts), bool)
    found[order[: int(scores.argmax()) + 1]] = True
    return found


def micro_f1(chosen: Flags, truth: Flags) -> float:
    """2 TP / (2 TP + FP + FN) over all texts and labels; 1 if there are neither true nor predicted labels."""
    both = int(chosen.sum()) + int(truth.sum())
    return 2 * int((chosen & truth).sum()) / both if both else 1.0


def macro_f1(chosen: Flags, truth: Flags) -> float:
    """Mean F1 over the labels that occur in `truth`."""
    support, both = truth.sum(axis=0), (chosen & truth).sum(axis=0)
    there = support > 0
    return float((2 * both[there] / (chosen.sum(axis=0) + support)[there]).mean()) if there.any() else 1.0
