"""Held-out preferences: what is counted, beside which rivals, and how few pairs are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.preference import area, judged_by_words, pair_figures
from tutelage.evaluation.spec import Subject
from tutelage.evaluation.subjects import PromptSet
from tutelage.evaluation.writing import Answers, writing_figures
from tutelage.store.format import few_pairs
from tutelage.store.view import read_scores

CONFIG = EvaluateConfig(bootstrap=100)
SUBJECT = Subject(name="mine", makes="chat model", parent="base", heldout="pairs", own_rows=True)


def _write(directory: Path, heldout: list[dict[str, Any]], scores: list[dict[str, Any]]) -> Path:
    (directory / "data").mkdir()
    for name, rows in (("train", heldout), ("heldout", heldout), ("scores", scores)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (directory / "data" / f"{name}.jsonl").write_text(text)
    return directory


def _pairs(count: int) -> list[dict[str, Any]]:
    return [
        {"id": str(i), "prompt": f"q{i}", "chosen": "a fine answer", "rejected": "bad bad bad bad"}
        for i in range(count)
    ]


def _scores(count: int, right: int) -> list[dict[str, Any]]:
    return [
        {"id": str(i), "chosen_reward": 1.0, "rejected_reward": 0.0 if i < right else 2.0} for i in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "shown", "interval"), [(12, "9 of 12", ""), (40, "75.0 %", "59.8 to 85.8 %")])
def test_few_pairs_are_counts_and_many_are_percentages(count: int, shown: str, interval: str, tmp_path: Path) -> None:
    figures, comparisons = pair_figures(
        SUBJECT, _write(tmp_path, _pairs(count), _scores(count, 3 * count // 4)), CONFIG, 0
    )
    read = read_scores({"figures": figures, "comparisons": comparisons, "confidence": 0.95})
    mine = read.find("reward accuracy", "mine")
    assert mine is not None and (mine.show(), mine.interval) == (shown, interval)
    assert ("Fewer than 30" in mine.note) == (count < 30)
    # The chosen answer is always the shorter one here, and that alone is right every time.
    alone = read.find("reward accuracy", "length alone")
    assert alone is not None and alone.value == 1.0
    assert {one["b"] for one in comparisons} == {"chance", "length alone", "TF-IDF"}


def test_ties_count_a_half_and_a_stage_without_scores_has_no_figures(tmp_path: Path) -> None:
    scores = [{"id": str(i), "chosen_reward": 0.0, "rejected_reward": 0.0} for i in range(12)]
    (figure,), _ = pair_figures(SUBJECT, _write(tmp_path, _pairs(12), scores), CONFIG, 0)
    assert figure["rows"][0]["value"] == 0.5
    (tmp_path / "data" / "scores.jsonl").unlink()
    assert pair_figures(SUBJECT, tmp_path, CONFIG, 0) == ([], [])


@pytest.mark.parametrize(("count", "shown"), [(8, "16 of 16 couples"), (40, "100.0 %")])
def test_judged_answers_are_ranked_against_each_other(count: int, shown: str, tmp_path: Path) -> None:
    rows = [
        {"id": str(i), "prompt": f"q{i}", "completion": f"word{i} " * (1 + i % 3), "label": i % 2 == 0}
        for i in range(count)
    ]
    scores = [
        {"id": row["id"], "label": row["label"], "reward": float(row["label"]), "logp": -3.0, "logp_before": -4.0,
         "tokens": 3}
        for row in rows
    ]  # fmt: skip
    figures, comparisons = pair_figures(SUBJECT, _write(tmp_path, rows, scores), CONFIG, 0)
    read = read_scores({"figures": figures, "comparisons": comparisons, "confidence": 0.95})
    mine = read.find("good above bad", "mine")
    assert mine is not None and mine.show() == shown
    assert {row["who"] for row in figures[0]["rows"]} == {"mine", "length alone", "TF-IDF", "chance"}
    assert {one["b"] for one in comparisons} == {"length alone", "TF-IDF"}


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=30))
def test_the_area_is_the_share_of_couples_in_the_right_order(drawn: list[tuple[int, bool]]) -> None:
    values, good = np.array([float(v) for v, _ in drawn]), np.array([g for _, g in drawn])
    couples = [(a > b) + 0.5 * (a == b) for a in values[good] for b in values[~good]]
    assert area(values, good) == pytest.approx(np.mean(couples) if couples else 0.5)


def test_a_half_pair_is_said() -> None:
    assert few_pairs(0.5, 5, "share of pairs") == "2.5 of 5"
    assert few_pairs(0.5, 50, "share of pairs") == "" and few_pairs(0.5, 5, "share") == ""


def test_words_judge_where_no_rule_does() -> None:
    pairs = [
        {"id": str(i), "prompt": f"q{i}", "chosen": f"kindly take number {i}", "rejected": f"just grab number {i}"}
        for i in range(60)
    ]
    found = judged_by_words(pairs[:40], pairs[40:], [["kindly take it", "grab it"], ["just grab it", "grab it"]], 0)
    assert found is not None
    (mine, theirs), said = found
    assert mine[0] > 0.5 > theirs[0] and mine[1] == theirs[1]  # the same text is a tie
    assert "right on 20 of 20 held-out pairs" in said
    assert judged_by_words([{"prompt": "q", "response": "a"}], [], [["a"], ["b"]], 0) is None


def test_a_win_rate_without_a_rule_is_one_of_words_and_says_so() -> None:
    rows = [
        {"id": str(i), "prompt": f"q{i}", "chosen": f"kindly take number {i}", "rejected": f"just grab number {i}",
         "response": f"kindly take number {i}", "asked": [{"role": "user", "content": f"q{i}"}]}
        for i in range(60)
    ]  # fmt: skip
    one = PromptSet("prefer", rows[:40], rows[40:], None, ["base", "prefer"])
    said = {
        "base": [f"just grab {i}" for i in range(20)],
        "prefer": [f"kindly take {i}" for i in range(19)] + ["just grab 19"],
    }
    answers = {who: Answers(texts, [True] * 20) for who, texts in said.items()}
    parents = {"base": None, "prefer": "base"}
    figures, comparisons, _ = writing_figures(one, rows[40:], answers, parents, {"prefer"}, set(), CONFIG, 0)
    (wins,) = [entry for entry in figures if entry["measure"] == "win rate"]
    assert [(row["who"], row["value"]) for row in wins["rows"]] == [("prefer", 19.5 / 20), ("base", 0.5)]
    assert wins["note"].startswith("By how much an answer's words resemble chosen answers (TF-IDF, right on 20 of 20")
    (won,) = [one for one in comparisons if one["measure"] == "win rate"]
    assert (won["a"], won["b"], won["outcome"]) == ("prefer", "base", "better")
    plain = [{"prompt": row["prompt"], "response": row["response"], "asked": row["asked"]} for row in rows]
    one = PromptSet("prefer", plain[:40], plain[40:], None, ["base", "prefer"])
    figures, _, _ = writing_figures(one, plain[40:], answers, parents, {"prefer"}, set(), CONFIG, 0)
    assert "win rate" not in [entry["measure"] for entry in figures]
