"""Labels that look wrong: planted ones are found, and rows that are right are left in peace."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.finetuning.classify import linear
from tutelage.finetuning.classify.suspects import suspected

LABELS = ["ham", "spam"]


def unseen_probabilities(states, target, strength):
    wanted = np.eye(2, dtype=np.float32)[target]
    folds = linear.folds(states)
    scores = linear.unseen_scores(states, wanted, np.ones(len(target)), strength, folds, "softmax")
    return linear.likelihood(scores, wanted, "softmax")[1]


def test_planted_flips_are_found():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 600)
    states = (rng.normal(size=(600, 20)) + 1.2 * np.outer(2 * truth - 1, rng.normal(size=20) > 0)).astype(np.float32)
    flipped = rng.choice(600, 30, replace=False)
    given = truth.copy()
    given[flipped] = 1 - given[flipped]
    unseen = unseen_probabilities(states, given, 0.03)
    rows = [{"id": str(number), "text": f"text {number}", "label": LABELS[label]} for number, label in enumerate(given)]
    found = suspected(rows, LABELS, unseen)
    right = [int(row["id"]) in flipped for row in found[:20]]
    assert len(right) == 20 and np.mean(right) >= 0.9
    assert all(row["likelier"] != row["label"] and row["its_probability"] > row["probability"] for row in found)
    doubt = [row["its_probability"] - row["probability"] for row in found]
    assert doubt == sorted(doubt, reverse=True)


def test_rows_that_are_right_are_left_in_peace():
    rows = [{"id": "1", "text": "a", "label": "ham"}, {"id": "2", "text": "b", "label": "spam"}]
    assert suspected(rows, LABELS, np.array([[0.9, 0.1], [0.3, 0.7]])) == []
    assert suspected(rows, LABELS, np.array([[0.45, 0.55], [0.3, 0.7]])) == []  # not so unlikely


def test_a_rare_label_is_not_doubted_for_being_rare():
    """Fits give a label of few rows little everywhere, so that little is what is usual."""
    rows = [{"id": str(n), "text": str(n), "label": "spam" if n < 3 else "ham"} for n in range(50)]
    unseen = np.tile([0.93, 0.07], (50, 1))
    assert suspected(rows, LABELS, unseen) == []
    unseen[0] = [0.999, 0.001]
    assert [row["id"] for row in suspected(rows, LABELS, unseen)] == ["0"]


def test_every_row_is_judged_by_a_fit_without_it():
    """One row in another place than all others of its label: with it the fit would explain it."""
    rng = np.random.default_rng(1)
    states = rng.normal(size=(90, 90)).astype(np.float32)
    target = np.arange(90) % 2
    unseen = unseen_probabilities(states, target, 1.0)
    assert unseen.sum(axis=1) == pytest.approx(np.ones(90), abs=1e-5)
    assert (unseen.argmax(axis=1) == target).mean() < 0.7  # noise is learned by heart, and says nothing of the others
