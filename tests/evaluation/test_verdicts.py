"""Verdicts: no winner from few items, no winner by chance, planted differences found, every sentence true."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import comparison
from tutelage.evaluation.paired import (
    Resampling,
    compare_all,
    compare_means,
    compare_shares,
    compare_statistic,
    compare_wins,
    compare_within,
    pairs_of,
)
from tutelage.evaluation.statistics import Difference
from tutelage.evaluation.verdicts import did_not_suffer, percent, spoken_p, verdict


def test_a_verdict_names_the_better_one_whatever_the_direction() -> None:
    lower = Difference(-0.30, -0.40, -0.20, 0.002, 50, 0.4)
    said = verdict("A", "B", lower, higher_is_better=False, unit="bits per byte")
    assert said.text == ("A is better than B by 0.30 bits per byte (95 % interval 0.20 to 0.40), p = 0.002, n = 50")
    assert said.outcome == "better"
    worse = verdict("A", "B", lower)
    assert worse.outcome == "worse"
    assert worse.text.startswith("B is better than A by 0.30")


def test_what_is_not_resolved_says_so() -> None:
    said = verdict("A", "B", Difference(0.1, -0.2, 0.4, 0.6, 50, 1.0), unit="chrF", confidence=0.9, digits=1)
    assert said.outcome == "not resolved"
    assert said.text == (
        "A and B are not distinguishable at n = 50: difference +0.1 chrF (90 % interval -0.2 to +0.4), p = 0.600"
    )


@pytest.mark.parametrize(
    "difference",
    [
        Difference(0.1, 0.01, 0.2, 0.06, 50, 1.0),  # the test says no
        Difference(0.1, -0.01, 0.2, 0.04, 50, 1.0),  # the interval says no
        Difference(0.1, 0.0, 0.2, 0.04, 50, 1.0),  # the interval touches zero
        Difference(0.1, 0.01, 0.2, 0.05, 50, 1.0),  # p has to be below
        Difference(0.1, None, None, 0.01, 50, 1.0),
    ],
)
def test_an_interval_and_a_test_that_disagree_give_no_winner(difference: Difference) -> None:
    assert verdict("A", "B", difference, confidence=0.95).outcome == "not resolved"


def test_the_percentage_is_the_one_that_was_asked_for() -> None:
    difference = Difference(0.3, 0.2, 0.4, 0.06, 60, 0.4)
    assert verdict("A", "B", difference, confidence=0.9).text.count("90 % interval") == 1
    assert verdict("A", "B", difference, confidence=0.9).outcome == "better"
    assert verdict("A", "B", difference, confidence=0.95).outcome == "not resolved"
    assert "99 % interval" in did_not_suffer("A", "B", difference, 1.0, confidence=0.99).text
    assert (percent(0.95), percent(0.999)) == ("95 %", "99.9 %")


def test_too_few_items_say_how_many_are_needed() -> None:
    one = verdict("A", "B", Difference(5.0, None, None, 1.0, 1), unit="chrF")
    assert one.outcome == "too few items"
    assert one.text == ("too few items to compare A and B: 1 item, at least 10 are needed; difference +5.00 chrF")
    # (1.96 + 0.84)^2 * (10 / 2)^2 = 196.2
    few = verdict("A", "B", Difference(2.0, -8.0, 12.0, 0.6, 5, 10.0))
    assert "5 items, about 200 are needed" in few.text
    assert "about 10 are needed" in verdict("A", "B", Difference(9.0, 8.0, 10.0, 0.06, 5, 1.0)).text
    assert "more than 100,000" in verdict("A", "B", Difference(0.0, -1.0, 1.0, 1.0, 5, 1.0)).text
    assert verdict("A", "B", Difference(9.0, 8.0, 10.0, 0.001, 9, 1.0)).outcome == "too few items"
    assert verdict("A", "B", Difference(9.0, 8.0, 10.0, 0.001, 10, 1.0)).outcome == "better"


def test_shares_of_few_items_are_too_few_unless_they_resolve() -> None:
    open_one = Difference(5.0, -4.0, 14.0, 0.3, 49, 30.0)
    said = verdict("A", "B", open_one, shares=True)
    assert said.outcome == "too few items"
    assert "49 items, about 50 to 100 are needed" in said.text
    assert verdict("A", "B", open_one).outcome == "not resolved"
    assert verdict("A", "B", Difference(5.0, -4.0, 14.0, 0.3, 50, 30.0), shares=True).outcome == "not resolved"
    assert verdict("A", "B", Difference(50.0, 20.0, 80.0, 0.01, 20, 30.0), shares=True).outcome == "better"


def test_a_p_value_at_the_floor_is_a_bound() -> None:
    assert spoken_p(Difference(1.0, 0.9, 1.1, 1 / 1001, 50, 1.0, at_floor=True)) == "p <= 0.001"
    assert spoken_p(Difference(1.0, 0.9, 1.1, 1e-5, 50, 1.0)) == "p < 0.001"
    assert spoken_p(Difference(1.0, 0.9, 1.1, 0.001, 50, 1.0)) == "p = 0.001"
    found = compare_means(
        "a", "b", "m", np.arange(40.0) + 1, np.arange(40.0) - np.arange(40) / 40, Resampling(0.95, 999)
    )
    assert "p <= 0.001" in found["verdict"]
    assert (found["p"], found["p_is_bound"]) == (0.001, True)


@pytest.mark.parametrize(
    ("low", "high", "claim", "words"),
    [
        (-0.5, 2.0, "did not suffer", "did not suffer against"),
        (-3.0, -1.5, "suffered", "prefer suffered against"),
        (-3.0, -0.2, "open", "is worse than instruct"),
        (-3.0, 1.0, "open", "is open at n = 50"),
        (-1.0, 1.0, "open", "is open at n = 50"),
    ],
)
def test_did_not_suffer(low: float, high: float, claim: str, words: str) -> None:
    difference = Difference((low + high) / 2, low, high, 0.5, 50, 1.0)
    found = did_not_suffer("prefer", "instruct", difference, 1.0, unit="chrF")
    assert found.claim == claim
    assert words in found.text
    few = did_not_suffer("prefer", "instruct", Difference(0.0, low, high, 0.5, 49, 9.0), 1.0, unit="chrF")
    assert few.claim == "too few items"
    # (1.96 + 0.84)^2 * 9^2 = 635.7
    assert "49 items, about 640 are needed" in few.text


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 50])
def test_two_equal_models_have_a_winner_in_at_most_one_of_twenty(n: int) -> None:
    generator = np.random.default_rng(n)
    trials, false = 500, {"means": 0, "shares": 0, "wins": 0, "claims": 0}
    for trial in range(trials):
        how = Resampling(draws=200, seed=trial)
        a, b = generator.normal(0, 1, (2, n))
        outcomes = {
            "means": compare_means("a", "b", "m", a, b, how)["outcome"],
            "shares": compare_shares("a", "b", "m", a > 0, b > 0, how)["outcome"],
            "wins": compare_wins("a", "b", "m", a.round(), b.round(), how)[1]["outcome"],
        }
        for kind, outcome in outcomes.items():
            false[kind] += outcome in ("better", "worse")
        # A loss of just the margin: "did not suffer" is false.
        false["claims"] += compare_within("a", "b", "m", a - 1, b, 1.0, how)["claim"] == "did not suffer"
    chance = trials * 0.05 + 2 * np.sqrt(trials * 0.05 * 0.95)
    assert all(count <= (chance if n >= 10 else 0) for count in false.values()), false


def test_planted_differences_are_found() -> None:
    generator = np.random.default_rng(1)
    found = {"means": 0, "shares": 0, "wins": 0, "claims": 0}
    for trial in range(60):
        how = Resampling(draws=200, seed=trial)
        a, b = generator.normal(0, 1, (2, 60))
        found["means"] += compare_means("a", "b", "m", a + 0.8, b, how)["outcome"] == "better"
        found["shares"] += compare_shares("a", "b", "m", a > -1.5, b > 0, how)["outcome"] == "better"
        found["wins"] += compare_wins("a", "b", "m", (a - 1).round(), b.round(), how)[1]["outcome"] == "worse"
        found["claims"] += compare_within("a", "b", "m", a, b, 1.0, how).get("claim") == "did not suffer"
    assert all(count >= 54 for count in found.values()), found


def test_a_comparison_is_plain_data() -> None:
    difference = Difference(-0.30, -0.40, -0.20, 0.002, 50, 0.4)
    said = verdict("A", "B", difference, higher_is_better=False)
    assert comparison("A", "B", "bits", difference, said, note="!") == {
        "a": "A", "b": "B", "measure": "bits", "difference": -0.3, "low": -0.4, "high": -0.2, "p": 0.002,
        "p_is_bound": False, "n": 50, "outcome": "better", "verdict": said.text + "!",
    }  # fmt: skip
    ones, how = np.zeros(50), Resampling(draws=100)
    within = compare_within("A", "B", "chrF", ones, ones, 1.5, how, "chrF")
    assert (within["claim"], within["margin"], within["outcome"]) == ("did not suffer", 1.5, "not resolved")


def test_a_tie_is_half_a_win_and_no_evidence() -> None:
    first, second = [1.0] * 9 + [0.0] + [0.5] * 90, [0.0] * 9 + [1.0] + [0.5] * 90
    contest, found = compare_wins("a", "b", "rule", first, second, Resampling(draws=100))
    assert (contest.wins, contest.ties, contest.losses) == (9, 90, 1)
    assert contest.rate.value == pytest.approx(0.54)
    assert contest.p == found["p"] == pytest.approx(0.021484375)  # 9 against 1, as if the ties were not there
    assert found["difference"] == pytest.approx(8.0)
    assert contest.note in found["verdict"]
    ties, open_one = compare_wins("a", "b", "rule", [1.0] * 60, [1.0] * 60, Resampling(draws=100))
    assert (ties.rate.value, ties.p, open_one["outcome"]) == (0.5, 1.0, "not resolved")


def test_shares_use_the_exact_mcnemar_test() -> None:
    a, b = [True] * 9 + [False] + [True] * 50, [False] * 9 + [True] + [True] * 50
    found = compare_shares("a", "b", "accuracy", a, b, Resampling(draws=100))
    assert found["p"] == pytest.approx(0.021484375)
    assert found["outcome"] == "better"
    assert found["difference"] == pytest.approx(100 * 8 / 60, abs=1e-5)
    assert found["verdict"].endswith("(exact McNemar test)")
    mixed = compare_shares("a", "b", "order", [1, 1, 0.5] * 20, [0, 0.5, 1] * 20, Resampling(draws=100))
    assert mixed["verdict"].endswith("(sign-flip test)")


def test_a_statistic_of_all_items_is_compared_by_randomisation() -> None:
    a, b = np.arange(60.0) % 7 + 3, np.arange(60.0) % 7

    def gap(index: np.ndarray, swapped: np.ndarray) -> float:
        first, second = np.where(swapped, b[index], a[index]), np.where(swapped, a[index], b[index])
        return float(np.median(first) - np.median(second))

    found = compare_statistic("a", "b", "median", gap, 60, Resampling(draws=199))
    assert (found["outcome"], found["p_is_bound"]) == ("better", True)
    assert (
        compare_statistic("a", "b", "median", gap, 60, Resampling(draws=199), higher_is_better=False)["outcome"]
        == "worse"
    )


def test_every_model_meets_every_baseline_and_each_model_before_it() -> None:
    assert pairs_of(["base", "chat"], ["n-gram", "chance"]) == [
        ("base", "n-gram"), ("base", "chance"), ("chat", "n-gram"), ("chat", "chance"), ("chat", "base"),
    ]  # fmt: skip
    values = {"base": [0.0] * 20, "chat": [1.0] * 20}
    found = compare_all("chrF", values, pairs_of(["base", "chat"], ["missing"]), Resampling(), unit="chrF")
    assert [(entry["a"], entry["b"]) for entry in found] == [("chat", "base")]
    shares = compare_all("ends", values, [("chat", "base")], Resampling(), shares=True)
    assert shares[0]["difference"] == 100.0


def test_there_are_always_enough_draws_for_a_verdict() -> None:
    config = EvaluateConfig(confidence=0.999, bootstrap=100)
    how = Resampling.of(config, 3)
    assert (how.confidence, how.seed) == (0.999, 3)
    assert 1 / (how.draws + 1) < 0.001 / 5
    assert Resampling.of(EvaluateConfig(bootstrap=500), 0).draws == 500


def _halves(n: int) -> tuple[list[float], list[float]]:
    return [1.0] * n + [0.0] * n, [0.0] * (n // 2) + [1.0] * (n // 2) + [0.0] * n


def test_every_kind_of_comparison_names_its_parties_measure_and_certainty() -> None:
    generator = np.random.default_rng(6)
    first, second = generator.normal(0.1, 1, (2, 60))
    how = Resampling(confidence=0.8, draws=300, seed=5)

    def gap(index: np.ndarray, swapped: np.ndarray) -> float:
        a, b = first[index], second[index]
        return float(np.where(swapped, b, a).mean() - np.where(swapped, a, b).mean())

    one = compare_means("new", "old", "chrF", first, second, how, unit="chrF")
    found = {
        "means": one,
        "shares": compare_shares("new", "old", "accuracy", first > 0, second > 0, how),
        "statistic": compare_statistic("new", "old", "macro-F1", gap, 60, how),
        "wins": compare_wins("new", "old", "wins", first, second, how)[1],
        "within": compare_within("new", "old", "chrF", first, second, 9.0, how, "chrF"),
    }
    assert [entry["measure"] for entry in found.values()] == ["chrF", "accuracy", "macro-F1", "wins", "chrF"]
    for entry in found.values():
        assert (entry["a"], entry["b"], entry["n"]) == ("new", "old", 60)
        assert "new" in entry["verdict"]
        assert "old" in entry["verdict"]
        assert entry["verdict"].count("80 % interval") == 1
    assert (found["statistic"]["low"], found["statistic"]["p"]) == (one["low"], one["p"])
    assert (found["within"]["low"], found["within"]["p"]) == (one["low"], one["p"])
    assert one["low"] != compare_means("new", "old", "chrF", first, second, Resampling(0.8, 300, 6))["low"]
    assert one["low"] != compare_means("new", "old", "chrF", first, second, Resampling(0.9, 300, 5))["low"]
    endings = {"shares": " (exact McNemar test)", "statistic": " (randomisation test)", "wins": "."}
    assert all(found[kind]["verdict"].endswith(ending) for kind, ending in endings.items())
    units = {"means": " chrF (", "shares": " points (", "wins": " points of wins (", "within": " chrF ("}
    assert all(unit in found[kind]["verdict"] for kind, unit in units.items())
    few = {"means": first[:9], "within": first[:9]}
    assert compare_within("new", "old", "chrF", few["within"], second[:9], 1.0, how)["outcome"] == "too few items"


def test_wins_are_judged_by_wins_and_not_by_how_large_they_are() -> None:
    first, second = [1.0] * 40 + [0.0] * 20, [0.0] * 40 + [99.0] * 20
    contest, found = compare_wins("a", "b", "wins", first, second, Resampling(draws=500))
    assert found["outcome"] == "better"
    assert found["p"] == pytest.approx(0.0134, abs=1e-4)  # scipy.stats.binomtest(40, 60).pvalue
    assert not found["p_is_bound"]
    assert contest.rate.value == pytest.approx(2 / 3)


def test_shares_and_statistics_of_few_open_items_are_too_few() -> None:
    first, second = _halves(10)
    how = Resampling(draws=200)
    assert compare_shares("a", "b", "m", first, second, how)["outcome"] == "too few items"
    assert compare_wins("a", "b", "m", first, second, how)[1]["outcome"] == "too few items"
    assert compare_statistic("a", "b", "m", lambda i, s: 0.0, 20, how)["outcome"] == "too few items"
    assert compare_means("a", "b", "m", first, second, how)["outcome"] == "not resolved"
    pairs = [("a", "b")]
    everyone = {"a": first, "b": second}
    shares = compare_all("share", everyone, pairs, how, shares=True)
    assert shares == [compare_shares("a", "b", "share", first, second, how)]
    means = compare_all("chrF", everyone, pairs, how, unit="chrF")
    assert means == [compare_means("a", "b", "chrF", first, second, how, unit="chrF")]
    assert compare_all("chrF", everyone, pairs, how) == [compare_means("a", "b", "chrF", first, second, how)]


def test_claims_are_said_with_their_numbers() -> None:
    def said(low: float, high: float, unit: str = "") -> str:
        return did_not_suffer("new", "old", Difference((low + high) / 2, low, high, 0.5, 80, 1.0), 1.0, unit=unit).text

    assert said(-0.5, 2.0, "chrF") == (
        "new did not suffer against old: +0.75 chrF (95 % interval -0.50 to +2.00), "
        "the lower bound is above the margin of -1, n = 80"
    )
    assert said(-3.0, -2.0).startswith(
        "new suffered against old: -2.50 (95 % interval -3.00 to -2.00), the whole interval is below"
    )
    assert said(-3.0, -1.0).startswith("new is worse than old")
    assert said(-3.0, 0.5).startswith("whether new suffered against old is open at n = 80")
    assert said(-3.0, 0.0).startswith("whether new suffered")
    missing = did_not_suffer("new", "old", Difference(0.0, None, 1.0, 0.5, 80), 1.0)
    assert missing.claim == "too few items"


def test_how_many_are_needed_depends_on_how_sure_one_wants_to_be() -> None:
    few = Difference(2.0, -8.0, 12.0, 0.6, 5, 10.0)
    # (2.5758 + 0.8416)^2 * 25 = 292
    assert "about 300 are needed" in verdict("A", "B", few, confidence=0.99).text
    assert "about 32 are needed" in verdict("A", "B", Difference(0.5, -2.0, 3.0, 0.6, 5, 1.0)).text


def test_weights_direction_digits_and_note_reach_the_verdict() -> None:
    bits, rival, size = np.arange(20.0) + 10, np.arange(20.0) + 12, np.arange(20.0) + 1
    found = compare_means(
        "a", "b", "bits", bits, rival, Resampling(draws=300), weights=size, higher_is_better=False, digits=3, note="!"
    )
    assert found["difference"] == pytest.approx(-40 / 210, abs=1e-6)
    assert found["outcome"] == "better"
    assert found["verdict"].startswith("a is better than b by 0.190 (95 % interval ")
    assert found["verdict"].endswith("!")
    plain = compare_means("a", "b", "m", bits, rival, Resampling(draws=300))
    assert plain["verdict"].startswith("b is better than a by 2.00 (95 %")
    assert not plain["verdict"].endswith("X")
    shares = compare_means("a", "b", "m", [1.0, 0.0] * 10, [0.0, 1.0] * 10, Resampling(draws=300), shares=True)
    assert shares["outcome"] == "too few items"


def test_many_that_disagree_are_judged_exactly() -> None:
    a, b = [1.0] * 40 + [0.0] * 20, [0.0] * 40 + [1.0] * 20
    found = compare_shares("a", "b", "accuracy", a, b, Resampling(draws=500))
    assert found["p"] == pytest.approx(0.0134892937, abs=1e-9)  # scipy.stats.binomtest(40, 60).pvalue
    assert found["p_is_bound"] is False
    assert found["verdict"].startswith("a is better than b by 33.3 points")
    all_ours = compare_shares("a", "b", "accuracy", [1.0] * 40, [0.0] * 40, Resampling(draws=500))
    assert all_ours["p_is_bound"] is False
    assert compare_wins("a", "b", "w", [1.0] * 40, [0.0] * 40, Resampling(draws=500))[1]["p_is_bound"] is False
    assert verdict("A", "B", Difference(0.1, None, 0.2, 0.01, 50, 1.0)).outcome == "not resolved"
    assert verdict("A", "B", Difference(-0.1, -0.2, 0.0, 0.01, 50, 1.0)).outcome == "not resolved"


def test_the_outcome_of_a_claim_is_that_of_the_plain_comparison() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.normal(0.25, 1, 60), generator.normal(0, 1, 60)
    outcomes = set()
    for confidence in (0.55, 0.8, 0.95, 0.999):
        how = Resampling(confidence, draws=2000)
        within = compare_within("a", "b", "m", first, second, 1.0, how)
        assert within["outcome"] == compare_means("a", "b", "m", first, second, how)["outcome"]
        outcomes.add(within["outcome"])
    assert outcomes == {"better", "not resolved"}
