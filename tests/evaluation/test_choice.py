"""Which classifier to use: by resolved differences alone, the smallest first."""

from __future__ import annotations

from typing import Any

from tutelage.evaluation.abstention import Abstention
from tutelage.evaluation.choice import choose

SIZES = {"lora": 540.0, "head": 326.0, "TF-IDF": 1.2, "majority class": 0.0}


def compared(a: str, b: str, outcome: str, by: float = 5.0, measure: str = "accuracy") -> Any:
    sign = -1 if outcome == "worse" else 1
    bounds = {"difference": sign * by, "low": sign * by - 2, "high": sign * by + 2}
    return {"a": a, "b": b, "measure": measure, "outcome": outcome, **bounds}


def chosen(*comparisons: Any, **answers: Abstention) -> Any:
    return choose("classification", SIZES, comparisons, "accuracy", "majority class", 200, answers)


LEARNED = [compared("TF-IDF", "majority class", "better"), compared("head", "majority class", "better"),
           compared("lora", "majority class", "better")]  # fmt: skip


def test_a_larger_one_must_be_shown_to_be_better() -> None:
    alike = [compared("lora", "TF-IDF", "not resolved"), compared("head", "TF-IDF", "too few items")]
    found = chosen(*LEARNED, *alike)
    assert found["use"] == "TF-IDF"
    assert found["text"] == (
        "use TF-IDF (1.2 MB); it is better than majority class by 5.0 points [3.0, 7.0]; head (326 MB) and lora "
        "(540 MB) are not shown to be better on 200 held-out texts"
    )
    assert chosen(*LEARNED, compared("lora", "TF-IDF", "better"))["use"] == "head"  # which nothing beats


def test_the_smallest_of_those_that_beat_the_rest() -> None:
    ahead = [compared("lora", "TF-IDF", "better"), compared("TF-IDF", "head", "worse", 12.9)]
    found = chosen(*LEARNED, *ahead, compared("lora", "head", "not resolved"))
    assert found["use"] == "head"
    assert "better than majority class by 5.0 points [3.0, 7.0] and TF-IDF by 12.9 points [10.9, 14.9]" in found["text"]
    assert found["text"].endswith("lora (540 MB) is not shown to be better on 200 held-out texts")
    found = chosen(*LEARNED, *ahead, compared("lora", "head", "better"))
    assert found["use"] == "lora" and "not shown" not in found["text"]


def test_where_it_may_answer_is_said() -> None:
    ahead = [*LEARNED, compared("lora", "TF-IDF", "better"), compared("lora", "head", "better")]
    found = chosen(*ahead, lora=Abstention(0.8314, 0.712, 0.97), head=Abstention(0.9, 0.5, 0.96))
    assert found["text"].endswith(
        "where its probability is at least 0.8314 it is right in 95 % or more: 71 % of the texts"
    )
    assert found["answers"]["head"] == {"at_least": 0.9, "share": 0.5, "right": 0.96}
    assert "probability" not in chosen(*ahead, lora=Abstention(0.3, 1.0, 0.99))["text"]


def test_nothing_learned_is_said() -> None:
    found = chosen(*(compared(name, "majority class", "not resolved") for name in ("TF-IDF", "head", "lora")))
    assert found["use"] == "majority class"
    assert found["text"] == "nothing is shown to be better than the majority class on 200 held-out texts"


def test_other_measures_do_not_count() -> None:
    other = compared("lora", "TF-IDF", "better", measure="macro-F1")
    assert chosen(*LEARNED, other)["use"] == "TF-IDF"


def test_one_is_always_named() -> None:
    """Paired outcomes need not be an order."""
    beats = [compared("head", "TF-IDF", "better"), compared("TF-IDF", "lora", "better"),
             compared("lora", "head", "better")]  # fmt: skip
    assert chosen(*LEARNED, *beats)["use"] in SIZES
