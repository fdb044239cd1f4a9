"""What the samplers should do, in plain Python by their definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tutelage.inference.sampling import Sampling

GONE = -math.inf


def softmax(logits: Sequence[float]) -> list[float]:
    peak = max(logits)
    weights = [math.exp(x - peak) for x in logits]
    return [w / sum(weights) for w in weights]


def dry(history: Sequence[int], breakers: set[int], sampling: Sampling, size: int) -> list[float]:
    """The penalty of each token: the longest repetition that it would go on with."""
    penalties = [0.0] * size
    for at in range(len(history) - 1):
        n = 0
        while n <= at and history[at - n] == history[-1 - n] and history[at - n] not in breakers:
            n += 1
        if n >= sampling.dry_allowed_length:
            penalty = sampling.dry_multiplier * sampling.dry_base ** (n - sampling.dry_allowed_length)
            penalties[history[at + 1]] = max(penalties[history[at + 1]], penalty)
    return penalties


def processed(
    values: Sequence[float], sampling: Sampling, prompt: Sequence[int] = (), answer: Sequence[int] = (),
    breakers: frozenset[int] = frozenset(),
) -> list[float]:  # fmt: skip
    history = [*prompt, *answer]
    logits = [x + dict(sampling.biases).get(i, 0) for i, x in enumerate(values)]
    r = sampling.repetition_penalty
    logits = [(x / r if x > 0 else x * r) if i in history else x for i, x in enumerate(logits)]
    for i in range(len(logits)):
        count = list(answer).count(i)
        logits[i] -= sampling.frequency_penalty * count + sampling.presence_penalty * (count > 0)
    if sampling.dry_multiplier:
        penalties = dry(history, set(breakers), sampling, len(logits))
        logits = [x - y for x, y in zip(logits, penalties, strict=True)]
    if n := sampling.no_repeat_ngram:
        grams = {tuple(history[at : at + n]) for at in range(len(history) - n + 1)}
        last = tuple(history[len(history) - n + 1 :]) if len(history) >= n - 1 else None
        if last is not None:
            logits = [GONE if (*last, i) in grams else x for i, x in enumerate(logits)]
    return logits


def filtered(logits: Sequence[float], sampling: Sampling) -> list[float]:
    logits = list(logits)
    there = [x for x in logits if x > GONE]
    if sampling.top_n_sigma:
        mean = sum(there) / len(there)
        sigma = math.sqrt(sum((x - mean) ** 2 for x in there) / len(there))
        logits = [x if x >= max(there) - sampling.top_n_sigma * sigma else GONE for x in logits]
    logits = [(x - max(logits)) / sampling.temperature for x in logits]
    if 0 < sampling.top_k < len(logits):
        least = sorted(logits, reverse=True)[sampling.top_k - 1]
        logits = [x if x >= least else GONE for x in logits]
    if sampling.top_p < 1:
        p = softmax(logits)
        logits = _mass(logits, sorted(range(len(p)), key=lambda i: -p[i]), sampling.top_p)
    if sampling.min_p:
        p = softmax(logits)
        logits = [x if q >= sampling.min_p * max(p) else GONE for x, q in zip(logits, p, strict=True)]
    if sampling.typical_p < 1:
        p = softmax(logits)
        entropy = -sum(q * math.log(q) for q in p if q)
        away = [abs(-math.log(q) - entropy) if q else math.inf for q in p]
        logits = _mass(logits, sorted(range(len(p)), key=lambda i: away[i]), sampling.typical_p)
    return logits


def _mass(logits: list[float], order: list[int], p: float) -> list[float]:
    probabilities, kept, mass = softmax(logits), set(), 0.0
    for i in order:
        if mass >= p:
            break
        kept.add(i)
        mass += probabilities[i]
    return [x if i in kept else GONE for i, x in enumerate(logits)]


def without_top_choices(logits: Sequence[float], threshold: float) -> list[float]:
    p = softmax(logits)
    # By logits: two that differ in the last bit have the same probability when it is rounded.
    likely = [i for i in sorted(range(len(p)), key=lambda i: -logits[i]) if p[i] >= threshold]
    return [GONE if i in likely[:-1] else x for i, x in enumerate(logits)]


def probabilities(
    values: Sequence[float], sampling: Sampling, prompt: Sequence[int] = (), answer: Sequence[int] = (),
    breakers: frozenset[int] = frozenset(),
) -> list[float]:  # fmt: skip
    """The probability of each token as the next one (with mirostat: as the first one)."""
    logits = filtered(processed(values, sampling, prompt, answer, breakers), sampling)
    if sampling.mirostat_tau:
        p = softmax(logits)
        most = 2 * sampling.mirostat_tau
        logits = [x if q and (-math.log2(q) <= most or q == max(p)) else GONE for x, q in zip(logits, p, strict=True)]
    plain = softmax(logits)
    if not sampling.xtc_probability:
        return plain
    excluded = softmax(without_top_choices(logits, sampling.xtc_threshold))
    share = sampling.xtc_probability
    return [(1 - share) * a + share * b for a, b in zip(plain, excluded, strict=True)]
