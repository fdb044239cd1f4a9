"""Metrics of a task from its table of scores, without the model: normalisations, calibration, perplexity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.metrics import calibration_error
from tutelage.evaluation.statistics import Interval, bootstrap_ratio, wilson

Floats = NDArray[np.float64]
LOWER = frozenset({"brier", "ece", "perplexity", "bits_per_byte", "byte_perplexity", "word_perplexity", "gold_bpb"})
_NO_SHARES = LOWER - {"ece"}
_ECE_DRAWS = 200


@dataclass(frozen=True)
class Choices:
    """The scores of one item's choices: natural-log probability, the same without the question (if computed), text
    length in characters, bytes and tokens, and whether it is the greedy output."""

    logprobs: Floats
    unconditional: Floats | None
    chars: Floats
    bytes: Floats
    tokens: Floats
    greedy: NDArray[np.bool_]
    gold: tuple[int, ...]


@dataclass(frozen=True)
class PerItem:
    """One metric: a value per item, and a weight if the figure is a ratio of sums.

    finish: transformation of the mean (`exp`: perplexity).
    """

    values: Floats
    weights: Floats | None = None
    finish: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure with its interval; n: number of items; clusters: number of clusters, if any."""

    value: float
    low: float | None
    high: float | None
    n: int
    higher_is_better: bool
    clusters: int | None = None


@dataclass(frozen=True)
class Scored:
    """All per-item values of a task by metric, and notes (such as ties)."""

    metrics: dict[str, PerItem]
    notes: list[str] = field(default_factory=list)
    confidence: tuple[Floats, Floats] | None = None  # probability of the selected choice, and whether it was right


def choice_scores(items: Sequence[Choices]) -> Scored:
    """Metrics of multiple choice.

    acc: the likeliest choice; acc_norm, acc_bytes, acc_tokens: likeliest per character, byte, token; acc_pmi: by the
    gain in log-probability from the question (Brown et al. 2020, section 2.4). mass: probability of the right choices
    among all. brier: squared error of these probabilities. gold_bpb: bits per byte of the right choice.
    """
    values: dict[str, list[float]] = {}
    sure, hits, ties = [], [], 0
    for item in items:
        by = {
            "acc": item.logprobs,
            "acc_norm": item.logprobs / item.chars,
            "acc_bytes": item.logprobs / item.bytes,
            "acc_tokens": item.logprobs / item.tokens,
        }
        if item.unconditional is not None:
            by["acc_pmi"] = item.logprobs - item.unconditional
        for name, scores in by.items():
            values.setdefault(name, []).append(float(int(scores.argmax()) in item.gold))
        ties += int((item.logprobs == item.logprobs.max()).sum() > 1)
        chances = softmax(item.logprobs)
        right = np.zeros(len(chances))
        right[list(item.gold)] = 1
        values.setdefault("mass", []).append(float(chances[right > 0].sum()))
        values.setdefault("brier", []).append(float(((chances - right / right.sum()) ** 2).sum()))
        values.setdefault("gold_bpb", []).append(float(-item.logprobs[item.gold[0]] / math.log(2)))
        sure.append(float(chances.max()))
        hits.append(values["acc"][-1])
    n = len(items)
    made = {name: PerItem(np.array(each)) for name, each in values.items() if len(each) == n}
    made["gold_bpb"] = PerItem(made["gold_bpb"].values, np.array([float(item.bytes[item.gold[0]]) for item in items]))
    notes = [f"{ties} items have equally likely choices; the first is selected"] if ties else []
    return Scored(made, notes, (np.array(sure), np.array(hits)))


def likelihood_scores(logprobs: Floats, greedy: Floats, nbytes: Floats) -> Scored:
    """Metrics of single continuations: acc (it is the greedy output), perplexity of the continuation, bits per byte."""
    return Scored(
        {
            "acc": PerItem(greedy),
            "perplexity": PerItem(-logprobs, finish="exp"),
            "bits_per_byte": PerItem(-logprobs / math.log(2), nbytes),
        }
    )


def rolling_scores(logprobs: Floats, nbytes: Floats, words: Floats) -> Scored:
    return Scored(
        {
            "bits_per_byte": PerItem(-logprobs / math.log(2), nbytes),
            "byte_perplexity": PerItem(-logprobs, nbytes, "exp"),
            "word_perplexity": PerItem(-logprobs, words, "exp"),
        }
    )


def figure(name: str, one: PerItem, clusters: Sequence[str | None] | None = None) -> Figure:
    """A metric over all items with its 95 % interval (Wilson for shares, else bootstrap), over clusters if given."""
    known = None if clusters is None or any(cluster is None for cluster in clusters) else list(clusters)
    top = one.values
    bottom = np.ones_like(top) if one.weights is None else one.weights
    if known is not None and len(set(known)) < len(known):
        _, where = np.unique(np.array(known), return_inverse=True)
        top, bottom = np.bincount(where, weights=top).astype(float), np.bincount(where, weights=bottom).astype(float)
        interval, count = bootstrap_ratio(top, bottom), len(top)
    elif one.weights is None and is_share(name) and set(np.unique(top)) <= {0.0, 1.0}:
        interval, count = wilson(float(top.sum()), len(top)), None
    else:
        interval, count = bootstrap_ratio(top, bottom), None
    interval = _finished(interval, one.finish, is_share(name))
    return Figure(interval.value, interval.low, interval.high, len(one.values), name not in LOWER, count)


def calibration(confidence: Floats, right: Floats, seed: int = 0) -> Figure:
    """Expected calibration error of the choice probabilities, 15 bins of equal mass; percentile bootstrap interval."""
    n = len(right)
    value = calibration_error(confidence, right)
    if n < 10:
        return Figure(value, None, None, n, False)
    draw = np.random.default_rng(seed).integers(0, n, size=(_ECE_DRAWS, n))
    low, high = np.quantile([calibration_error(confidence[index], right[index]) for index in draw], [0.025, 0.975])
    return Figure(value, min(value, float(low)), max(value, float(high)), n, False)


def is_share(name: str) -> bool:
    """Whether a metric is between 0 and 1, including custom extractions of any name."""
    return name not in _NO_SHARES


def softmax(logprobs: Floats) -> Floats:
    shifted = np.exp(logprobs - logprobs.max())
    return shifted / shifted.sum()


def words_in(text: str) -> int:
    """Number of white-space-separated words, as in lm-evaluation-harness."""
    import re

    return len(re.split(r"\s+", text))


def _finished(interval: Interval, finish: str, share: bool) -> Interval:
    bounds = [interval.low, interval.high]
    if share:  # a resampled interval may exceed [0, 1]
        bounds = [None if bound is None else min(1.0, max(0.0, bound)) for bound in bounds]
    if finish != "exp":
        return Interval(interval.value, bounds[0], bounds[1])
    value, low, high = (None if one is None else math.exp(min(one, 700.0)) for one in (interval.value, *bounds))
    assert value is not None
    return Interval(value, low, high)
