from __future__ import annotations

import json

import pytest

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.problems import SAMPLED, SOLVED, problem_figures


def graded(tmp_path, pairs, constant=True):
    """A model directory in which problems are solved (before, after) as `pairs` say."""
    rows = [
        {"id": str(at), "prompt": "p", "gold": "g", "constant": False,
         "before": {"answer": "x", "solved": before, "sampled": [before, False]},
         "after": {"answer": "g", "solved": after, "sampled": [after, after]}}
        for at, (before, after) in enumerate(pairs)
    ]  # fmt: skip
    for row in () if constant else rows:
        del row["constant"]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "graded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "manifest.json").write_text(json.dumps({"metrics": {"solved_by": "right"}}))
    return tmp_path


def test_before_and_after_are_paired_problem_by_problem(tmp_path):
    model = graded(tmp_path, [(True, True)] * 20 + [(False, True)] * 60 + [(False, False)] * 20)
    figures, comparisons, samples = problem_figures("solve", "form", model, EvaluateConfig(samples=2), 1)
    values = {(entry["measure"], row["who"]): row["value"] for entry in figures for row in entry["rows"]}
    assert values[SOLVED, "solve"] == pytest.approx(0.8) and values[SOLVED, "form"] == pytest.approx(0.2)
    assert values[SOLVED, "constant"] == 0 and values[SAMPLED, "form"] == pytest.approx(0.1)
    outcomes = {(one["measure"], one["b"]): one["outcome"] for one in comparisons}
    assert outcomes == {(SOLVED, "form"): "better", (SOLVED, "constant"): "better", (SAMPLED, "form"): "better"}
    assert len(samples) == 2 and samples[0]["outputs"] == {"form": "x", "solve": "g"}
    assert all(row["low"] is not None for entry in figures for row in entry["rows"])


def test_nothing_learned_is_not_called_better(tmp_path):
    model = graded(tmp_path, [(True, False), (False, True)] * 40, constant=False)
    figures, comparisons, _ = problem_figures("solve", None, model, EvaluateConfig(), 1)
    assert [row["who"] for row in figures[0]["rows"]] == ["before", "solve"]
    assert comparisons[0]["outcome"] == "not resolved"
