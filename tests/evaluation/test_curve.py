"""Learning curves: a known power law is found again, and the interval covers what twice the rows then bring."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.evaluation.curve import doubling_gain, learning_curve

ROWS = (125, 250, 500, 1000)


def hits(error: list[float], texts: int, seed: int, luck: float = 0.0) -> list[np.ndarray]:
    """The same texts at every point: a text is right where its difficulty is above the error."""
    generator = np.random.default_rng(seed)
    difficulty = generator.random(texts)
    return [difficulty > rate * np.exp(luck * generator.standard_normal()) for rate in error]


def law(rows: int, exponent: float = 0.35) -> float:
    return 0.4 * (rows / 125) ** -exponent


def test_a_power_law_is_found_again() -> None:
    found = doubling_gain(ROWS, hits([law(n) for n in ROWS], 200_000, 0), 0.95, 200, 1)
    truth = 100 * (law(1000) - law(2000))
    assert found.value == pytest.approx(truth, abs=0.15)
    assert found.low is not None and found.high is not None and found.low < truth < found.high


@pytest.mark.parametrize("luck", [0.0, 0.05])
def test_the_interval_covers_what_twice_the_rows_bring(luck: float) -> None:
    covered = 0
    for seed in range(60):
        *seen, twice = hits([law(n) for n in (*ROWS, 2000)], 400, seed, luck)
        found = doubling_gain(ROWS, seen, 0.95, 200, seed)
        assert found.low is not None and found.high is not None
        truth = 100 * (twice.mean() - seen[-1].mean())
        covered += found.low - 1e-9 <= truth <= found.high + 1e-9
    assert 51 <= covered <= 60


def test_a_flat_curve_promises_nothing() -> None:
    found = doubling_gain(ROWS, hits([0.2] * 4, 2000, 3), 0.95, 200, 1)
    assert abs(found.value) < 0.5 and found.low is not None and found.low <= 0.1 and (found.high or 0) >= -0.1


def test_perfect_scores_and_few_texts_are_no_error() -> None:
    assert doubling_gain(ROWS, [np.ones(50, bool)] * 4, 0.95, 50, 1).value == pytest.approx(0.0)
    assert doubling_gain(ROWS, [np.ones(5, bool)] * 4, 0.95, 50, 1).low is None


def test_it_is_said_in_a_sentence() -> None:
    found = learning_curve("classification", "head", ROWS, hits([law(n) for n in ROWS], 500, 0), 0.95, 100, 1)
    assert found["rows"] == list(ROWS) and found["accuracy"] == sorted(found["accuracy"])
    assert found["text"].startswith("doubling the 1,000 rows is worth about +")
    assert found["text"].endswith("of accuracy to head") and "[" in found["text"]
