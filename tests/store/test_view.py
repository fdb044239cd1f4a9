"""Scores as the report reads them: rivals of the same items, verdicts as the evaluation gave them."""

from __future__ import annotations

from typing import Any

import pytest

from tutelage.store.view import Comparison, Figure, View, best, read_scores


def entry(who: str, ours: float, linear: float) -> dict[str, Any]:
    rows = [{"who": who, "value": ours, "kind": "model"}, {"who": "TF-IDF", "value": linear, "kind": "baseline"}]
    return {"task": "classification", "measure": "accuracy", "unit": "share right", "higher_is_better": True,
            "rows": rows}  # fmt: skip


def compared(a: str, b: str, **more: Any) -> dict[str, Any]:
    return {"a": a, "b": b, "measure": "accuracy", "difference": 1.0, "low": 0.5, "high": 1.5, "p": 0.01, **more}


def test_rivals_are_those_of_the_same_items_where_two_models_share_the_name_of_their_task() -> None:
    evaluation = {"figures": [entry("topics", 0.7, 0.6), entry("moods", 0.5, 0.9)], "comparisons": []}
    scores = read_scores(evaluation)
    for name, value in (("topics", 0.6), ("moods", 0.9)):
        view = View(name, scores=scores)
        ours = view.score("accuracy")
        assert ours is not None
        rival = view.rival(ours, ("baselines",))
        assert rival is not None and rival.value == value
        assert [one.who for one in scores.beside(ours)] == [name, "TF-IDF"]


@pytest.mark.parametrize(
    ("said", "ours", "theirs"),
    [
        ("better", "better", "worse"),
        ("worse", "worse", "better"),
        ("not resolved", "not resolved", "not resolved"),
        ("too few items", "too few items", "too few items"),
    ],
)
def test_the_outcome_is_the_evaluations_own_seen_from_either_side(said: str, ours: str, theirs: str) -> None:
    row = compared("topics", "TF-IDF", outcome=said)
    scores = read_scores({"figures": [entry("topics", 0.7, 0.6)], "comparisons": [row]})
    model, linear = scores.figures
    assert scores.outcome(model, linear) == ours and scores.outcome(linear, model) == theirs


@pytest.mark.parametrize("more", [{}, {"outcome": "ahead"}, {"outcome": None}, {"outcome": ["better"]}])
def test_a_comparison_without_an_outcome_is_none(more: dict[str, Any]) -> None:
    """An interval that lies above zero makes no verdict here: the evaluation's rules are the evaluation's."""
    row = compared("topics", "TF-IDF", **more)
    scores = read_scores({"figures": [entry("topics", 0.7, 0.6)], "comparisons": [row]})
    assert scores.outcome(*scores.figures) == "not compared"


def test_a_claim_is_about_the_first_of_the_two_and_is_given_to_nobody_else() -> None:
    row = compared("topics", "TF-IDF", outcome="worse", claim="did not suffer", margin=1.0)
    scores = read_scores({"figures": [entry("topics", 0.7, 0.6)], "comparisons": [row]})
    model, linear = scores.figures
    assert scores.compared(model, linear) == Comparison("worse", "did not suffer", 1.0)
    assert scores.compared(linear, model) == Comparison("better")
    assert scores.compared(model, Figure("classification", "accuracy", "somebody", 0.1)) == Comparison()


def test_the_best_knows_the_direction_and_nobody_is_the_best_of_none() -> None:
    def figures(higher: bool) -> list[Figure]:
        return [Figure("t", "m", str(value), value, higher_is_better=higher) for value in (1.0, 3.0, 2.0)]

    most, least = best(figures(True)), best(figures(False))
    assert most is not None and most.value == 3.0
    assert least is not None and least.value == 1.0
    assert best([]) is None


def test_damaged_rows_are_skipped() -> None:
    tree = {
        "figures": [{"task": "t", "measure": "m", "rows": [{"who": "base"}, {"who": "base", "value": "x"}, 3]}, "odd"],
        "comparisons": [3, {"a": "x"}],
    }
    assert read_scores(tree).figures == () and read_scores(tree).comparisons == ()
    assert read_scores({"figures": None}).figures == ()
