"""Figures and verdicts: nobody is called better than the numbers allow."""

from __future__ import annotations

import pytest
from fake_run import evaluation

from tutelage.report.figures import Figure, Verdict, best, compare, read_baselines, read_comparisons, read_figures


def figure(
    value: float, low: float | None = None, high: float | None = None, who: str = "base", up: bool = True
) -> Figure:
    return Figure("task", "measure", who, value, low, high, higher_is_better=up)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (figure(0.8, 0.75, 0.85), figure(0.7), "better"),
        (figure(0.8, 0.75, 0.85), figure(0.78), "not resolved"),
        (figure(0.8), figure(0.9, 0.79, 0.95), "not resolved"),
        (figure(0.6, 0.55, 0.65), figure(0.7, 0.66, 0.74), "worse"),
        (figure(1.58, up=False), figure(1.77, up=False), "better"),
        (figure(1.87, up=False), figure(1.47, up=False), "worse"),
        (figure(0.5), figure(0.5), "not resolved"),
    ],
)
def test_compare_by_intervals(ours: Figure, theirs: Figure, verdict: Verdict) -> None:
    assert compare(ours, theirs) == verdict


def test_a_paired_comparison_decides_over_intervals() -> None:
    ours, theirs = figure(0.72, 0.68, 0.76, "a"), figure(0.70, 0.66, 0.74, "b")
    row = {"a": "a", "b": "b", "measure": "measure", "difference": 2.0, "low": 0.5, "high": 3.5, "p": 0.01}
    assert compare(ours, theirs) == "not resolved"
    assert compare(ours, theirs, [row]) == "better"
    assert compare(theirs, ours, [row]) == "worse"
    assert compare(ours, theirs, [{**row, "low": -0.5}]) == "not resolved"
    assert compare(ours, theirs, [{**row, "p": 0.2}]) == "not resolved"
    lower = [figure(1.5, who="a", up=False), figure(1.7, who="b", up=False)]
    assert compare(*lower, [{**row, "difference": -0.2, "low": -0.3, "high": -0.1}]) == "better"


def test_reads_what_the_evaluation_writes() -> None:
    figures = read_figures(evaluation())
    bits = {g.who: g for g in figures if g.measure == "bits per byte"}
    assert bits["base"].value == 1.583 and not bits["base"].higher_is_better and bits["base"].n == 700
    assert bits["xz primed"].low is None and bits["xz primed"].interval == ""
    assert bits["base"].interval == "1.556 to 1.611"
    accuracy = next(g for g in figures if g.measure == "accuracy" and g.who == "classify")
    assert accuracy.show() == "76.1 %" and accuracy.interval == "73.8 to 78.2 %"
    assert len(read_comparisons(evaluation())) == 4


def test_damaged_rows_are_passed_over() -> None:
    tree = {
        "figures": [
            {"task": "t", "measure": "m", "rows": [{"who": "base"}, {"who": "base", "value": "x"}, 3]},
            "nonsense",
        ]
    }
    assert read_figures(tree) == []
    assert read_figures({"figures": None}) == []
    assert read_baselines({"bits_per_byte": {"xz": {"value": None}, "zstd": {"value": 2.5}}})[0].who == "zstd"


def test_best_knows_the_direction() -> None:
    assert best([figure(1.0), figure(3.0), figure(2.0)]) == figure(3.0)
    assert best([figure(1.0, up=False), figure(3.0, up=False)]) == figure(1.0, up=False)
    assert best([]) is None
