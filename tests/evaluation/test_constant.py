"""The constant answer is the best there is by the measure, not the first of the alphabet."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tutelage.evaluation.constant import best_constant
from tutelage.store.errors import InputError

ANSWERS = [
    "A word.", "Return the sum of the list.", "Return the mean of the list.", "Return the length of the list.",
    "Return the end of the list.", "Zip up.",
]  # fmt: skip


def test_of_answers_that_all_occur_once_the_middle_one_is_taken() -> None:
    assert best_constant(ANSWERS) in ANSWERS[1:5]
    assert best_constant(ANSWERS) == best_constant(ANSWERS)


def test_a_frequent_answer_wins_by_exact_matches() -> None:
    assert best_constant([*ANSWERS, *["Yes."] * 20]) == "Yes."


def test_the_measure_decides() -> None:
    def longest(answers: Sequence[str], references: Sequence[str]) -> list[float]:
        return [float(len(answer)) for answer in answers]

    assert best_constant(ANSWERS, longest, candidates=10) == "Return the length of the list."


def test_of_equally_good_ones_the_more_frequent() -> None:
    assert best_constant(["b", "a", "b"], lambda answers, references: [1.0] * len(answers)) == "b"
    assert best_constant(["", "", ""]) == ""


def test_no_answers_is_an_error() -> None:
    with pytest.raises(InputError, match="no training answers"):
        best_constant([])
