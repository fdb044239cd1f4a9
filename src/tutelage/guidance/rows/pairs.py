"""Detect swapped pairs of answers by out-of-fold preferences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tutelage.corpus.selection.features import Floats, counts, unit_rows
from tutelage.corpus.selection.topics import inverse_frequencies

_BUCKETS = 1 << 16
_FOLDS = 5
_STRENGTH = 3.0  # C of the logistic regression


def swapped(questions: Sequence[str], chosen: Sequence[str], rejected: Sequence[str], seed: int = 0) -> Floats:
    """Doubt that the chosen answer is the better one: the out-of-fold probability that it is not.

    Logistic regression on the difference of the two answers in words and word pairs, lengths, and words shared with the
    question (Bradley & Terry 1952). It learns what is common to the file (tone, length, words of refusals), not
    whether an answer is right.
    """
    from scipy.sparse import csr_matrix, hstack, vstack
    from sklearn.linear_model import LogisticRegression

    found = np.zeros(len(chosen))
    if len(chosen) < 4 * _FOLDS:
        return found
    good, bad = counts(chosen, _BUCKETS), counts(rejected, _BUCKETS)
    idf = inverse_frequencies(good + bad)
    difference = unit_rows(good, idf) - unit_rows(bad, idf)
    asked = [set(text.lower().split()) for text in questions]
    sizes = _shape(asked, chosen) - _shape(asked, rejected)
    rows = hstack([difference, csr_matrix(sizes / np.maximum(sizes.std(axis=0), 1e-9) / 4)], format="csr")
    fold = np.random.default_rng(seed).permutation(np.arange(len(chosen)) % _FOLDS)
    for part in range(_FOLDS):
        fitted, held = rows[fold != part], rows[fold == part]
        # Each pair in both orders, so that the model is antisymmetric.
        model = LogisticRegression(C=_STRENGTH, fit_intercept=False, max_iter=300)
        model.fit(vstack([fitted, -fitted]), np.repeat([1, 0], fitted.shape[0]))
        found[fold == part] = model.predict_proba(held)[:, 0]
    return found


def _shape(asked: Sequence[set[str]], answers: Sequence[str]) -> Floats:
    """[answers, 3]: log length, log lines, and share of words that are in the question."""
    return np.array([
        [np.log1p(len(one)), np.log1p(one.count("\n")), len(words & set(one.lower().split())) / (1 + len(one.split()))]
        for words, one in zip(asked, answers, strict=True)
    ])  # fmt: skip
