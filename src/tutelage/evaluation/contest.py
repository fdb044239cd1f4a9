"""Compare classifiers on shared held-out rows: figures, a recommendation, and the expected gain of more rows."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.evaluation.choice import Choice
from tutelage.evaluation.classifiers import Prediction, TfidfResult, tfidf_baseline
from tutelage.evaluation.combined import MOST_TEXTS, Combined, combine, combined_folder, combined_name
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.curve import Curve, learning_curve
from tutelage.evaluation.figures import Comparison, Figure
from tutelage.evaluation.items import Item, label_items
from tutelage.evaluation.labelling import TASK, TFIDF, classification_figures, megabytes_of, predict
from tutelage.evaluation.lexical import FOLDER
from tutelage.evaluation.spec import Subject, way_of
from tutelage.evaluation.subjects import Row, rows_of
from tutelage.inference.unseen import Unseen
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json, sha256_text

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

ADDS = 0.02  # weights of log-probabilities below this do not change the predicted label
_FEWEST_POINTS = 3  # of a learning curve


@dataclass(frozen=True)
class _Member:
    """A classifier and its labels for the held-out rows."""

    subject: Subject
    path: Path
    labels: Prediction
    order: tuple[str, ...] = ()  # the labels in order, if they are ordinal


class Classifiers:
    """Predictions of all classifiers, grouped by the held-out rows that they share."""

    def __init__(self, config: EvaluateConfig, log: EventLog) -> None:
        self.config, self.log = config, log
        self.sets: dict[str, list[_Member]] = {}
        self.milliseconds: dict[str, float] = {}  # of a text, in batches

    def predict(self, subject: Subject, path: Path, lm: LanguageModel) -> None:
        chosen, started = self._rows(path)[1], time.monotonic()
        found = predict(lm, subject.name, [str(item["text"]) for item in chosen], self.config, self.log)
        self.milliseconds[subject.name] = round(1000 * (time.monotonic() - started) / len(chosen), 2)
        shared = sha256_json([[str(row["id"]), row["label"]] for row in chosen])
        self.sets.setdefault(shared, []).append(
            _Member(subject, path, found, lm.config.labels if lm.config.ordinal else ())
        )

    def measure(
        self, figures: list[Figure], comparisons: list[Comparison], out: Path, seed: int
    ) -> tuple[list[Choice], list[Curve]]:
        """Add the figures of every set; the TF-IDF baseline is saved in `out`/tfidf."""
        choices, curves = [], []
        for members in self.sets.values():
            whole = [member for member in members if member.subject.share == 1] or members
            first = whole[0]
            task = TASK if len(self.sets) == 1 else f"{TASK}: {first.subject.name}"
            train, chosen = self._rows(first.path)
            natural = json.loads((first.path / "data" / "labels.json").read_text(encoding="utf-8"))
            order = next((member.order for member in whole if member.order), ())
            linear = tfidf_baseline(train, chosen, self.log, seed=seed, order=order)
            linear.classifier.save(out / (FOLDER if len(self.sets) == 1 else f"{FOLDER}-{first.subject.name}"))
            self.milliseconds[TFIDF] = round(linear.milliseconds_per_text, 2)
            labels = {member.subject.name: member.labels for member in whole}
            megabytes = {member.subject.name: megabytes_of(member.path) for member in whole}
            how_made: dict[str, str] = {}
            for member in whole:
                if both := self._combined(member, train, linear, out, seed):
                    step, name = member.subject.name, combined_name(member.subject.name)
                    shares = both.probabilities(member.labels.shares, linear.probabilities)
                    labels[name] = Prediction.of(shares, order)
                    megabytes[name] = megabytes[step] + linear.megabytes
                    self.milliseconds[name] = round(self.milliseconds[step] + self.milliseconds[TFIDF], 2)
                    how_made[name] = both.said
            made, compared, choice = classification_figures(
                labels, linear, train, chosen, self.config, seed,
                natural, task=task, megabytes=megabytes, order=order, combined=how_made,
            )  # fmt: skip
            figures += made
            comparisons += compared
            choices.append(choice)
            curves += self._curves(task, members, linear, seed)
        return choices, curves

    def items(self) -> list[Item]:
        """Whether each classifier was right, for every held-out text; all texts count the same."""
        found = []
        for members in self.sets.values():
            task = TASK if len(self.sets) == 1 else f"{TASK}: {members[0].subject.name}"
            chosen = self._rows(members[0].path)[1]
            for member in members:
                found += label_items(member.subject.name, task, chosen, member.labels.labels)
        return found

    def _combined(
        self, member: _Member, train: list[Row], linear: TfidfResult, out: Path, seed: int
    ) -> Combined | None:
        """The ensemble of a frozen head and TF-IDF, saved in `out`; None for other members, or if one adds nothing."""
        unseen = Unseen.load(member.path)
        if unseen is None:
            return None
        if len(train) > MOST_TEXTS:
            self.log.note(
                f"{member.subject.name} and {TFIDF} are not combined: there are more than {MOST_TEXTS:,} training texts"
            )
            return None
        name = member.subject.name
        both = combine(name, unseen, list(member.labels.shares[0]), train, linear, seed)
        if both is None:
            return None
        if min(both.model_weight, both.lexical_weight) < ADDS:
            self.log.note(f"{combined_name(name)} is left out: one of the two does not improve the other")
            return None
        both.save(out / combined_folder(name))
        return both

    def _curves(self, task: str, members: list[_Member], linear: TfidfResult, seed: int) -> list[Curve]:
        """A learning curve for each method trained on several shares of the rows, and for TF-IDF on the same rows."""
        truth = [str(row["label"]) for row in self._rows(members[0].path)[1]]
        points: dict[str, dict[int, Any]] = {}
        for member in members:
            train, chosen = self._rows(member.path)
            right = np.array(member.labels.labels) == truth
            points.setdefault(way_of(member.subject.name), {})[len(train)] = right
            if len(train) not in points.setdefault(TFIDF, {}):
                found = linear if member.subject.share == 1 else tfidf_baseline(train, chosen, self.log, seed=seed)
                points[TFIDF][len(train)] = np.array(found.labels) == truth
        how = (self.config.confidence, self.config.bootstrap, seed)
        return [
            learning_curve(task, way, sorted(curve), [curve[rows] for rows in sorted(curve)], *how)
            for way, curve in points.items()
            if len(curve) >= _FEWEST_POINTS
        ]

    def _rows(self, path: Path) -> tuple[list[Row], list[Row]]:
        train, heldout = rows_of(path)
        chosen = sorted(heldout, key=lambda item: sha256_text(str(item["id"])))[: self.config.classify_documents]
        if not train or not chosen:
            raise InputError(f"{path / 'data'} contains no labelled texts", hint="finetune the classifier again")
        return train, chosen
