"""A share of texts that may be answered: what is promised holds on fresh texts as often as is said."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.evaluation.abstention import Abstention, abstention


def drawn(n: int, generator: np.random.Generator, honest: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and whether each answer is right; `honest` below 1: the model is surer than it is right."""
    sure = generator.beta(6, 0.6, n)
    return sure, generator.random(n) < sure ** (1 / honest)


def test_the_golden_example() -> None:
    sure = [0.99] * 60 + [0.8] * 20 + [0.6] * 20
    hits = [True] * 60 + [True] * 18 + [False] * 2 + [True, False] * 10
    # All of the first 60 right: .95 ** 60 = .046. 78 of 80: P(at least 78 of 80 at .95) = .23, above .1.
    assert abstention(sure, hits) == Abstention(0.99, 0.6, 1.0)
    assert abstention(sure, hits, precision=0.8) == Abstention(0.6, 1.0, 0.88)


def test_too_few_texts_show_nothing() -> None:
    assert abstention([0.9] * 44, [True] * 44) is None  # .95 ** 44 = .105
    assert abstention([0.9] * 45, [True] * 45) == Abstention(0.9, 1.0, 1.0)
    assert abstention([], []) is None


def test_a_model_that_is_never_right_enough_answers_nothing() -> None:
    generator = np.random.default_rng(0)
    assert abstention(generator.random(400), generator.random(400) < 0.7) is None


@pytest.mark.parametrize("honest", [1.0, 0.7])
def test_it_is_true_of_fresh_texts_but_for_the_risk(honest: float) -> None:
    generator = np.random.default_rng(1)
    broken, shown, trials = 0, 0, 300
    for _ in range(trials):
        found = abstention(*drawn(300, generator, honest))
        if found is None:
            continue
        shown += 1
        sure, hits = drawn(4000, generator, honest)
        answered = sure >= found.at_least
        broken += hits[answered].mean() < 0.95 - 0.005  # the fresh sample's own noise
    assert shown > trials / 3
    assert broken / trials <= 0.13


def test_more_texts_let_it_answer_more() -> None:
    generator = np.random.default_rng(2)
    shares = [np.mean([found.share if (found := abstention(*drawn(n, generator))) else 0 for _ in range(60)])
              for n in (60, 300, 3000)]  # fmt: skip
    assert shares[0] < shares[1] < shares[2]
