"""Statistics of an audit: pure functions of lengths, texts and labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist, median
from typing import Any

import numpy as np

from tutelage.corpus.dedup import near_clusters
from tutelage.finetuning.context import keeps
from tutelage.finetuning.data.split import normalised
from tutelage.finetuning.examples import Encoded
from tutelage.finetuning.reading import Reading

ALIKE = 0.8  # Jaccard similarity of word pairs (of five words in long texts) from which two texts are near duplicates
CONFIDENCE = 0.95
SHOWN = 3


def token_figures(readings: Iterable[Reading]) -> dict[str, Any]:
    """Tokens read and tokens with loss by role, and answers with loss on their stop token."""
    read, learned = Counter[str](), Counter[str]()
    answers = trained = stopped = double = 0
    for one in readings:
        for role, (of_role, of_these) in one.roles.items():
            read[role] += of_role
            learned[role] += of_these
        answers, trained, stopped = answers + one.answers, trained + one.learned, stopped + one.stopped
        double += one.double_start
    total = sum(read.values())
    return {
        "read": total,
        "learned": sum(learned.values()),
        "share": round(sum(learned.values()) / max(total, 1), 4),
        "roles": {role: {"read": read[role], "learned": learned[role]} for role in sorted(read, key=_role_order)},
        "answers": answers,
        "learned_answers": trained,
        "stopped_answers": stopped,
        "double_start": double,
    }


def _role_order(role: str) -> tuple[int, str]:
    order = ("system", "user", "assistant", "tool", "template")
    return (order.index(role) if role in order else len(order), role)


def length_figures(encoded: Encoded, context: int) -> dict[str, Any]:
    """Loss by a limit of `context`: dropped rows, lost target tokens; contexts that keep 95 and 99 % of the rows."""
    needs = encoded.needs
    lost = [reading.supervised for reading in encoded.readings.values() if reading.needs > context]
    every = sum(reading.supervised for reading in encoded.readings.values())
    return {
        "context": context,
        "rows": len(needs),
        "median": round(median(needs)) if needs else 0,
        "longest": max(needs, default=0),
        "keeps_95": keeps(needs, 0.95),
        "keeps_99": keeps(needs, 0.99),
        "dropped": len(lost),
        "learned_lost": sum(lost),
        "learned_lost_share": round(sum(lost) / max(every, 1), 4),
    }


def duplicate_figures(train: Sequence[str], heldout: Sequence[str]) -> dict[str, Any]:
    """Duplicates among the training texts, and held-out texts with a duplicate in training.

    `exact`: equal except for case and white space; `near`: the other near duplicates. Each text is counted once.
    """
    both = [*train, *heldout]
    first: dict[str, int] = {}
    same = np.array([first.setdefault(normalised(text), at) for at, text in enumerate(both)], dtype=np.int64)
    like = np.minimum(same, near_clusters(both, ALIKE))
    place = np.arange(len(both))
    inside = place < len(train)
    near = np.flatnonzero(inside & (like != place) & (same == place))
    # Duplicates among held-out texts do not count.
    known = np.flatnonzero(~inside & (like < len(train)))
    return {
        "exact": int((inside & (same != place)).sum()),
        "near": len(near),
        "examples": [[both[like[at]], both[at]] for at in near[:SHOWN]],
        "heldout_like_training": len(known),
        "heldout_examples": [[both[like[at]], both[at]] for at in known[:SHOWN]],
    }


def repeated_figures(asked: Sequence[str]) -> dict[str, Any]:
    """Questions that occur in several rows."""
    counts = {text: count for text, count in Counter(asked).items() if count > 1}
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    return {"questions": len(counts), "rows": sum(counts.values()), "most": [[text, count] for text, count in most]}


def length_bias(chosen: Sequence[int], rejected: Sequence[int]) -> dict[str, Any]:
    """Share of pairs whose chosen answer is longer, without ties, with its Wilson interval."""
    longer = sum(a > b for a, b in zip(chosen, rejected, strict=True))
    shorter = sum(a < b for a, b in zip(chosen, rejected, strict=True))
    share, low, high = wilson(longer, longer + shorter)
    return {
        "chosen_longer": longer,
        "rejected_longer": shorter,
        "equal": len(chosen) - longer - shorter,
        "share": round(share, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "chosen_tokens": round(sum(chosen) / max(len(chosen), 1), 1),
        "rejected_tokens": round(sum(rejected) / max(len(rejected), 1), 1),
    }


def wilson(hits: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """(share, low, high) of a binomial (Wilson 1927); (0, 0, 1) for n = 0."""
    if not n:
        return 0.0, 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, max(0.0, middle - half), min(1.0, middle + half)


def number_of(label: str) -> float | None:
    """The label as a finite number; None if it is not one."""
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def balance_figures(counts: Mapping[str, int]) -> dict[str, Any]:
    """Balance of the labels: share of the most frequent, and effective number of labels (exp of the entropy)."""
    total = sum(counts.values())
    shares = [count / total for count in counts.values() if count]
    return {
        "labels": dict(counts),
        "majority": round(max(shares, default=0.0), 4),
        "effective": round(math.exp(-sum(share * math.log(share) for share in shares)), 2) if shares else 0.0,
    }
