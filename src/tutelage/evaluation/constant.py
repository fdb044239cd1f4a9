"""The best constant answer: the score that a writing task gives without reading the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from tutelage.evaluation.metrics import chrf
from tutelage.store.errors import InputError

Scores = Callable[[Sequence[str], Sequence[str]], Sequence[float]]


def best_constant(
    answers: Sequence[str],
    measure: Scores = chrf,
    *,
    candidates: int = 8,
    sample: int = 200,
    seed: int = 0,
) -> str:
    """The training answer with the highest mean `measure` when given to every prompt.

    Candidates are the most frequent answers and those nearest to the mean of all (medoids by character n-grams),
    `candidates` of each, scored on a `sample` of the answers; ties go to the more frequent one. Pass training answers
    only. Raises InputError if there are none.
    """
    if not answers:
        raise InputError("there are no training answers", hint="a constant answer is chosen from them")
    counts = Counter(answers)
    different = sorted(counts, key=lambda answer: (-counts[answer], answer))
    generator = np.random.default_rng(seed)
    asked = [answers[i] for i in generator.permutation(len(answers))[:sample]]
    tried = list(dict.fromkeys([*different[:candidates], *_central(different, counts, candidates)]))
    worth = [float(np.mean(measure([answer] * len(asked), asked))) for answer in tried]
    best = max(range(len(tried)), key=lambda i: (worth[i], counts[tried[i]], -i))
    return tried[best]


def _central(different: Sequence[str], counts: Counter[str], limit: int) -> list[str]:
    """The answers nearest to the mean of all answers in character n-grams, nearest first."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), max_features=20_000, sublinear_tf=True)
    try:
        matrix = vectorizer.fit_transform(different)
    except ValueError:  # all answers are empty
        return []
    mean = np.asarray(matrix.T @ np.array([float(counts[answer]) for answer in different]))
    nearness = np.asarray(matrix @ mean)
    return [different[i] for i in np.argsort(-nearness, kind="stable")[:limit]]
