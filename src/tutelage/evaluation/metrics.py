"""Text and classification metrics: pure functions of plain data."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Lower-cased runs of letters, digits and underscores."""
    return _WORD.findall(text.lower())


def bits_per_byte(logprobs: Sequence[float], texts: Sequence[str]) -> float:
    """Total natural-log likelihoods -> bits per UTF-8 byte; comparable across tokenizers."""
    total = sum(len(text.encode("utf-8")) for text in texts)
    return -sum(logprobs) / math.log(2) / total


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """Sentence chrF (Popović 2015; sacrebleu chrF2, character 6-grams, no words), 0 to 100, one per pair."""
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()
    pairs = zip(hypotheses, references, strict=True)
    return [float(metric.sentence_score(text, [reference]).score) for text, reference in pairs]


def bleu_counts(hypothesis: str, reference: str) -> NDArray[np.float64]:
    """Sufficient statistics of corpus BLEU for one sentence [10]: tokens of hypothesis and reference (sacrebleu's 13a),
    matching n-grams of order 1 to 4, all n-grams of the hypothesis."""
    mine, theirs = (_tokens_13a()(text.rstrip()).split() for text in (hypothesis, reference))
    matches, totals = [], []
    for n in range(1, 5):
        counts, known = Counter(_grams(mine, n)), Counter(_grams(theirs, n))
        matches.append(sum((counts & known).values()))
        totals.append(sum(counts.values()))
    return np.array([len(mine), len(theirs), *matches, *totals], dtype=np.float64)


def bleu(counts: ArrayLike) -> float:
    """Corpus BLEU (Papineni et al. 2002) of summed `bleu_counts` [10], 0 to 100, as in sacrebleu: 13a tokens,
    exponential smoothing (each order without a match counts half as much as the one before)."""
    values = np.asarray(counts, dtype=np.float64)
    length, reference, matches, totals = values[0], values[1], values[2:6], values[6:]
    if not matches.any() or not length:
        return 0.0
    smooth, logs = 1.0, []
    for match, total in zip(matches, totals, strict=True):
        if not total:
            break
        if not match:
            smooth *= 2
        logs.append(math.log(match / total if match else 1 / (smooth * total)))
    if len(logs) < 4:
        return 0.0
    brevity = 1.0 if length >= reference else math.exp(1 - reference / length)
    return 100 * brevity * math.exp(sum(logs) / 4)


@cache
def _tokens_13a() -> Callable[[str], str]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()  # type: ignore[no-any-return,no-untyped-call]


def rouge_l(hypothesis: str, reference: str) -> float:
    """ROUGE-L F1 (Lin 2004): longest common subsequence of words; 0 to 100."""
    a, b = words(hypothesis), words(reference)
    if not a or not b:
        return 0.0
    row = [0] * (len(b) + 1)  # row[j]: longest common subsequence of a so far and b[:j]
    for word in a:
        diagonal = 0
        for j, other in enumerate(b, 1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(above, row[j - 1])
            diagonal = above
    return 200.0 * row[-1] / (len(a) + len(b))


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """Share of distinct word n-grams among all of the texts (Li et al. 2016); 0 to 1."""
    grams = [gram for text in texts for gram in _grams(words(text), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(text: str, n: int = 3) -> float:
    """Share of a text's word n-grams that occurred earlier in it; 0 to 1."""
    grams = _grams(words(text), n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def accuracy(predicted: Sequence[str], actual: Sequence[str]) -> float:
    """Share of equal labels; 0 to 1."""
    return sum(a == b for a, b in zip(predicted, actual, strict=True)) / len(actual)


def macro_f1(predicted: ArrayLike, actual: ArrayLike, classes: int, weights: ArrayLike | None = None) -> float:
    """Mean F1 over the classes that occur in `actual` (class indices below `classes`), each counting the same.

    A class that is only predicted is not a term of the mean, so that all systems are averaged over the same classes
    (scikit-learn's f1_score with `labels` = those of `actual`); each such prediction counts as a miss of the true
    class. weights: of the items, 1 each by default.
    """
    guess, truth = np.asarray(predicted, dtype=np.int64), np.asarray(actual, dtype=np.int64)
    weight = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    right = guess == truth
    hits = np.bincount(truth[right], weights=weight[right], minlength=classes)
    support = np.bincount(truth, weights=weight, minlength=classes)
    total = np.bincount(guess, weights=weight, minlength=classes) + support
    seen = support > 0
    return float(np.mean(2 * hits[seen] / total[seen]))


def weighted_kappa(predicted: ArrayLike, actual: ArrayLike, classes: int, weights: ArrayLike | None = None) -> float:
    """Quadratic weighted kappa (Cohen 1968) of ordinal classes, by their indices: 1 is perfect agreement, 0 is chance
    agreement of the two distributions. weights: of the items. 1 if all items have the same class.
    """
    guess, truth = np.asarray(predicted, dtype=np.int64), np.asarray(actual, dtype=np.int64)
    weight = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    missed = float(np.average((guess - truth) ** 2, weights=weight))
    shares = [np.bincount(each, weights=weight, minlength=classes) / weight.sum() for each in (guess, truth)]
    apart = (np.arange(classes)[:, None] - np.arange(classes)) ** 2
    by_chance = float(shares[0] @ apart @ shares[1])
    return round(1 - missed / by_chance, 12) + 0.0 if by_chance else 1.0  # rounding: 0 may be slightly negative


def calibration_error(
    confidence: ArrayLike, right: ArrayLike, bins: int | None = None, weights: ArrayLike | None = None
) -> float:
    """Expected calibration error with bins of equal mass: mean |confidence - accuracy|; 0 to 1.

    With bins of equal width most would be nearly empty for a confident model (Nixon et al. 2019). Equal confidences
    share a bin. Default: 15 bins, fewer if a bin would contain less than 20 items.
    """
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    n = len(sure)
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    count = min(n, bins or min(15, max(1, n // 20)))
    _, inverse, counts = np.unique(sure, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts  # rank of the first item with each confidence
    bin_of = first[inverse] * count // n
    gap = np.bincount(bin_of, weights=weight * (sure - hit), minlength=count)
    return float(np.abs(gap).sum() / weight.sum())


def most_common(items: Sequence[str] | Mapping[str, int]) -> str:
    """The most frequent item (of items, or of counts); ties go to the alphabetically first."""
    counts = Counter(items)
    return min(counts, key=lambda item: (-counts[item], item))


def _grams(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
