"""Surprise: bits per word of texts under a word n-gram model trained on half of the references."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from tutelage.evaluation.metrics import words
from tutelage.evaluation.ngram import NGram

_ORDER = 3
_END, _RARE = 0, 1


def surprises(
    references: Sequence[str], sets: Sequence[Sequence[str]], seed: int = 0
) -> list[tuple[list[float], list[int]]]:
    """Bits and words of each text of every set, the last being the half of the references not used for training.

    Interpolated Kneser-Ney word model of order 3; words that occur once in training, and unseen ones, share one
    rare-word token. Texts without words are left out.
    """
    order = np.random.default_rng(seed).permutation(len(references))
    half = (len(references) + 1) // 2
    known, rest = ([words(references[at]) for at in part] for part in (order[:half], order[half:]))
    counts = Counter(word for text in known for word in text)
    ids = {word: at for at, word in enumerate(sorted(word for word, count in counts.items() if count > 1), _RARE + 1)}

    def encoded(texts: Sequence[Sequence[str]]) -> list[np.ndarray]:
        return [np.array([ids.get(word, _RARE) for word in text], dtype=np.int64) for text in texts if text]

    model = NGram.train(encoded(known), len(ids) + 2, _ORDER, _END)
    found = []
    for texts in [*([words(text) for text in texts] for texts in sets), rest]:
        scored = model.logprob(encoded(texts))
        found.append(([-float(one.sum()) / math.log(2) for one in scored], [len(one) for one in scored]))
    return found
