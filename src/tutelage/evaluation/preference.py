"""Held-out preferences: how often a model's reward ranks the better answer higher, against trivial baselines.

Measured on the scores that the stage stored for its own held-out rows (`data/scores.jsonl`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.corpus.selection.area import share_below
from tutelage.evaluation.classifiers import tfidf_baseline
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import Comparison, Figure, comparison, figure, row
from tutelage.evaluation.paired import Resampling, compare_shares, compare_statistic
from tutelage.evaluation.spec import Subject
from tutelage.evaluation.statistics import Difference, bootstrap_statistic, sign_test, wilson
from tutelage.evaluation.subjects import rows_of
from tutelage.evaluation.verdicts import verdict
from tutelage.store.errors import InputError
from tutelage.store.format import COUPLES_UNIT, FEW_PAIRS, PAIRS_UNIT
from tutelage.store.jsonl import read_rows

REWARD = "reward accuracy"
APART = "good above bad"
LENGTH, TFIDF, CHANCE = "length alone", "TF-IDF", "chance"
Floats = NDArray[np.float64]
Row = dict[str, Any]


def pair_figures(
    subject: Subject, model: Path, config: EvaluateConfig, seed: int
) -> tuple[list[Figure], list[Comparison]]:
    """Figures of the held-out rows of a preference-trained model; none if the stage stored no scores."""
    path = model / "data" / "scores.jsonl"
    if not path.is_file():
        return [], []
    scores, (train, heldout) = read_rows(path), rows_of(model)
    how = Resampling.of(config, seed)
    if "label" in scores[0]:
        return _judged(subject, scores, train, heldout, how)
    return _rewards(subject, scores, train, heldout, how, config)


def _rewards(
    subject: Subject, scores: list[Row], train: list[Row], heldout: list[Row], how: Resampling, config: EvaluateConfig
) -> tuple[list[Figure], list[Comparison]]:
    who, n = subject.name, len(scores)
    right = _share_above(_column(scores, "chosen_reward") - _column(scores, "rejected_reward"))
    difference = np.array([len(row["chosen"].split()) - len(row["rejected"].split()) for row in heldout], float)
    rivals = {LENGTH: _share_above(_longer_is_better(train) * difference)}
    if (tfidf := _tfidf_of_pairs(train, heldout, how.seed)) is not None:
        rivals[TFIDF] = tfidf
    rows = [row(who, wilson(right.sum(), n, how.confidence), n)]
    rows += [row(name, wilson(values.sum(), n, how.confidence), n, "baseline") for name, values in rivals.items()]
    rows.append(row(CHANCE, 0.5, n, "baseline"))
    by_length = [
        f"{right[side].sum():g} of {side.sum()} pairs whose chosen answer is the {name}"
        for name, side in (("longer", difference > 0), ("shorter", difference < 0))
        if side.any()
    ]
    note = f"{n} held-out pairs{'; right in ' if by_length else ''}{' and '.join(by_length)}.{_few(n)}"
    if "chosen_logp_before" in scores[0]:
        fell = int((_column(scores, "chosen_logp") < _column(scores, "chosen_logp_before")).sum())
        note += f" The chosen answer became less likely in {fell} of them."
    comparisons = [_against_chance(who, right, config)]
    comparisons += [compare_shares(who, name, REWARD, right, values, how) for name, values in rivals.items()]
    return [figure(f"pairs of {who}", REWARD, PAIRS_UNIT, True, rows, note)], comparisons


def judged_by_words(
    train: list[Row], heldout: list[Row], sides: Sequence[Sequence[str]], seed: int
) -> tuple[list[Floats], str] | None:
    """How much each text of `sides` resembles a chosen answer, by TF-IDF of the training pairs, and a sentence on its
    accuracy on held-out pairs. None if the rows are not pairs, or have no words.

    A purely lexical judge for cases without a rule or a better judge: it shows whether a model moved in the direction
    of the pairs, not whether its answers are good.
    """
    if not all("chosen" in one and "rejected" in one for one in [*train, *heldout]):
        return None
    names = ("chosen", "rejected")
    known = [{"text": row[name], "label": name} for row in train for name in names]
    asked = [{"text": row[name]} for name in names for row in heldout] + [{"text": t} for side in sides for t in side]
    found = _tfidf(known, asked, "chosen", seed)
    if found is None:
        return None
    n = len(heldout)
    right = _share_above(found[:n] - found[n : 2 * n]).sum()
    said = f"by how much an answer's words resemble chosen answers (TF-IDF, right on {right:g} of {n} held-out pairs)"
    ends = np.cumsum([2 * n, *map(len, sides)])
    return [found[begin:end] for begin, end in pairwise(ends)], said


def _judged(
    subject: Subject, scores: list[Row], train: list[Row], heldout: list[Row], how: Resampling
) -> tuple[list[Figure], list[Comparison]]:
    """For answers judged individually: how often a good one is rewarded above a bad one (area under the ROC curve)."""
    who, n = subject.name, len(scores)
    good = np.array([bool(one["label"]) for one in scores])
    if good.all() or not good.any():
        return [], []
    words = np.array([len(row["completion"].split()) for row in heldout], float)
    known = [(len(row["completion"].split()), bool(row["label"])) for row in train]
    longer = area(np.array([length for length, _ in known], float), np.array([label for _, label in known])) >= 0.5
    parties = {who: _column(scores, "reward"), LENGTH: words if longer else -words}
    texts = [[{"text": row["completion"], "label": str(row["label"])} for row in rows] for rows in (train, heldout)]
    if (chances := _tfidf(texts[0], texts[1], "True", how.seed)) is not None:
        parties[TFIDF] = chances

    def statistic(values: Floats) -> Any:
        return lambda index: area(values[index], good[index])

    few = n < FEW_PAIRS
    items = int(good.sum() * (n - good.sum())) if few else n
    rows = [
        row(
            name,
            bootstrap_statistic(statistic(values), n, **how.options),
            items,
            "model" if name == who else "baseline",
        )
        for name, values in parties.items()
    ]
    rows.append(row(CHANCE, 0.5, items, "baseline"))
    note = f"{good.sum()} good and {n - good.sum()} bad held-out answers; how often a good one has the higher reward."
    note += _few(n)
    comparisons = []
    for name in list(parties)[1:]:
        ours, theirs = _ranks(parties[who]), _ranks(parties[name])

        def edge(index: NDArray[np.int64], swapped: NDArray[np.bool_], a: Floats = ours, b: Floats = theirs) -> float:
            first, second = np.where(swapped, b[index], a[index]), np.where(swapped, a[index], b[index])
            return area(first, good[index]) - area(second, good[index])

        comparisons.append(compare_statistic(who, name, APART, edge, n, how))
    return [figure(f"answers of {who}", APART, COUPLES_UNIT if few else "share", True, rows, note)], comparisons


def area(values: Floats, good: NDArray[np.bool_]) -> float:
    """Share of (good, bad) couples in which the good one has the higher value, ties counting half; 0.5 without any."""
    above, below = values[good], values[~good]
    return float(share_below(above, below).mean()) if len(above) and len(below) else 0.5


def _ranks(values: Floats) -> Floats:
    """Values as ranks, so that two systems can be swapped item by item."""
    return np.searchsorted(np.sort(values), values).astype(np.float64)


def _against_chance(who: str, right: Floats, config: EvaluateConfig) -> Comparison:
    n, wins = len(right), int((right > 0.5).sum())
    share = wilson(right.sum(), n, config.confidence)
    low, high = (None if bound is None else (bound - 0.5) * 100 for bound in (share.low, share.high))
    losses = int((right < 0.5).sum())
    deviation = float(np.std(100 * right))
    difference = Difference((right.mean() - 0.5) * 100, low, high, sign_test(wins, losses), n, deviation=deviation)
    said = verdict(who, CHANCE, difference, unit="points", confidence=config.confidence, digits=1, shares=True)
    return comparison(who, CHANCE, REWARD, difference, said, note=" (sign test)")


def _longer_is_better(train: Sequence[Mapping[str, Any]]) -> float:
    """1 if the longer answer is chosen more often in training, else -1."""
    edges = [np.sign(len(row["chosen"].split()) - len(row["rejected"].split())) for row in train]
    return 1.0 if np.sum(edges) >= 0 else -1.0


def _tfidf_of_pairs(train: list[Row], heldout: list[Row], seed: int) -> Floats | None:
    """Which answer resembles a chosen one more, by words and characters alone."""
    sides = ("chosen", "rejected")
    known = [{"text": row[side], "label": side} for row in train for side in sides]
    asked = [{"text": row[side]} for side in sides for row in heldout]
    found = _tfidf(known, asked, "chosen", seed)
    return None if found is None else _share_above(found[: len(heldout)] - found[len(heldout) :])


def _tfidf(known: list[Row], asked: list[Row], label: str, seed: int) -> Floats | None:
    try:
        found = tfidf_baseline(known, asked, seed=seed)
    except InputError:  # no words in the answers
        return None
    if label not in found.classifier.classes:
        return None
    return np.asarray(found.probabilities[:, found.classifier.classes.index(label)], np.float64)


def _column(scores: list[Row], name: str) -> Floats:
    return np.array([one[name] for one in scores], np.float64)


def _share_above(values: Floats) -> Floats:
    return (values > 0) + 0.5 * (values == 0)


def _few(n: int) -> str:
    return f" Fewer than {FEW_PAIRS}: shown as counts, too few for a percentage." if n < FEW_PAIRS else ""
