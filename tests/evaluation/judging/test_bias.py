"""Planted biases of a judge are found, and taken out."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.evaluation.judging.bias import (
    agreement,
    corrected_rate,
    kappa,
    length_controlled,
    position_bias,
    rate_interval,
    win_rates,
)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def planted(seed: int, n: int, quality: float, length: float, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Verdicts [n, 2] of a judge with these log-odds, and the answers' lengths; the first party writes longer."""
    generator = np.random.default_rng(seed)
    a, b = generator.lognormal(5.3, 0.5, n), generator.lognormal(5.0, 0.5, n)
    reach = np.tanh((a - b) / (a - b).std())
    chance = np.column_stack([sigmoid(quality + length * reach + side), sigmoid(quality + length * reach - side)])
    return (generator.random((n, 2)) < chance) * 1.0, a, b


def test_a_liking_for_length_is_taken_out() -> None:
    outcomes, a, b = planted(0, 3000, 0.0, 1.5, 0.0)
    found = length_controlled(outcomes, a, b)
    assert found is not None
    assert found.raw > 0.55  # longer answers: an equal party seems the better one
    assert found.rate.value == pytest.approx(0.5, abs=0.02)
    assert found.rate.low < 0.5 < found.rate.high  # type: ignore[operator]
    assert found.coefficient.value == pytest.approx(1.5, abs=0.15)
    assert found.recovered == pytest.approx(found.planted, abs=0.01)


def test_the_interval_at_equal_length_covers_the_truth() -> None:
    """400 simulated judges of two equal parties and a third that is better; 93 to 97 % within simulation error."""
    for quality in (0.0, 0.6):
        hits = 0
        for seed in range(200):
            found = length_controlled(*planted(seed, 120, quality, 1.2, 0.3), judges=0)
            assert found is not None
            hits += found.rate.low <= float(sigmoid(np.array(quality))) <= found.rate.high  # type: ignore[operator]
        assert 184 <= hits <= 198


def test_without_a_bias_nothing_is_taken_out() -> None:
    outcomes, a, b = planted(1, 2000, 0.8, 0.0, 0.0)
    found = length_controlled(outcomes, a, b)
    assert found is not None
    assert found.rate.value == pytest.approx(found.raw, abs=0.02)
    assert found.coefficient.low < 0 < found.coefficient.high  # type: ignore[operator]


def test_it_is_the_logistic_regression_of_a_library() -> None:
    from sklearn.linear_model import LogisticRegression

    outcomes, a, b = planted(2, 400, 0.3, 1.0, 0.4)
    found = length_controlled(outcomes, a, b)
    reach = np.tanh((a - b) / (a - b).std())
    design = np.column_stack([np.repeat(reach, 2), np.tile([0.5, -0.5], 400), np.ones(800)])
    theirs = LogisticRegression(C=10.0, fit_intercept=False, tol=1e-10, max_iter=1000).fit(design, outcomes.reshape(-1))
    assert found is not None
    assert found.coefficient.value == pytest.approx(theirs.coef_[0, 0], abs=1e-5)
    assert found.rate.value == pytest.approx(float(sigmoid(theirs.coef_[0, 2])), abs=1e-6)


def test_what_cannot_be_told_apart_is_not_told() -> None:
    outcomes, a, b = planted(3, 19, 0.0, 1.0, 0.0)
    assert length_controlled(outcomes, a, b) is None
    outcomes, a, b = planted(3, 50, 0.0, 1.0, 0.0)
    assert length_controlled(outcomes, a, a - 10) is None
    assert length_controlled(np.ones((50, 2)), a, b) is None
    with pytest.raises(ValueError, match=r"\[items, 2\]"):
        length_controlled(np.ones(50), a, b)


def test_the_side_is_measured() -> None:
    outcomes, _, _ = planted(4, 2000, 0.0, 0.0, 0.5)
    found = position_bias(outcomes)
    assert found.first.value == pytest.approx(float(sigmoid(np.array(0.5))), abs=0.02)
    assert found.p < 0.01
    assert found.flips is not None
    # Two independent verdicts name different parties in p^2 + (1 - p)^2 of the items.
    p = float(sigmoid(np.array(0.5)))
    assert found.flips.value == pytest.approx(p**2 + (1 - p) ** 2, abs=0.03)
    assert win_rates(outcomes).mean() == pytest.approx(0.5, abs=0.02)
    always = position_bias([[1.0, 0.0]] * 60)
    assert (always.first.value, always.flips.value if always.flips else 0) == (1.0, 1.0)
    assert always.first.low == pytest.approx(60 / (60 + 3.8415), abs=1e-4)  # Wilson at n of n


def test_unreadable_verdicts_count_for_nobody() -> None:
    nan = float("nan")
    outcomes = [[1.0, 1.0], [nan, 0.0], [nan, nan], [0.5, 1.0]]
    assert win_rates(outcomes).tolist() == [1.0, 0.0, 0.75]
    found = position_bias(outcomes)
    assert found.first.value == pytest.approx(np.mean([0.5, 1.0, 0.25]))
    assert found.flips is not None
    assert found.flips.value == 0
    with pytest.raises(ValueError, match="no verdict"):
        position_bias([[nan, nan]])


def test_votes_of_people_mend_any_bias() -> None:
    """A judge who adds a fifth to the first party's rate, everywhere: 40 votes of people take it away."""
    hits, values = 0, []
    for seed in range(300):
        generator = np.random.default_rng(seed)
        people = (generator.random(400) < 0.5) * 1.0
        judge = np.where(generator.random(400) < 0.4, 1.0, people)  # raw: 0.7
        sample = generator.permutation(400)[:40]
        found = corrected_rate(judge, judge[sample], people[sample])
        values.append(found.value)
        hits += found.low <= 0.5 <= found.high  # type: ignore[operator]
    assert np.mean(values) == pytest.approx(0.5, abs=0.01)
    assert 278 <= hits <= 294
    # Narrower than the votes alone, whose deviation is 0.079.
    assert np.std(values) < 0.072


def test_a_judge_who_tells_nothing_gets_no_weight() -> None:
    people = np.array([1.0, 0.0, 1.0, 1.0] * 10)
    found = corrected_rate(np.full(500, 0.5), np.full(40, 0.5), people)
    assert found.value == 0.75
    assert corrected_rate([1.0], [1.0], [0.0]).low is None


def test_agreement_and_kappa() -> None:
    # scikit-learn: cohen_kappa_score([1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 1, 1]) = 1/3
    assert kappa([1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 1, 1]) == pytest.approx(1 / 3)
    assert kappa(["a", "a"], ["a", "a"]) == 1.0
    found = agreement([1.0, 0.0, 0.5, 1.0], [1.0, 0.0, 0.5], [1.0, 0.0, 1.0])
    assert (found.n, found.share.value, found.judge) == (3, 2 / 3, 0.5)


def test_a_rate_that_never_varies_has_an_interval() -> None:
    assert rate_interval([1.0] * 20).low == pytest.approx(20 / (20 + 3.8415), abs=1e-4)
    found = rate_interval([1.0] * 19 + [0.5])
    assert found.high == 1.0
