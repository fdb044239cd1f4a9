"""Answers that break off, refuse or change language, swapped pairs, and what the doubts are said to be worth."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from planted_rows import answered, labelled, text_of, write

from tutelage.guidance.rows.answers import broken_off, cut, other_language, refusals
from tutelage.guidance.rows.check import lines
from tutelage.guidance.rows.doubtful import doubtful_rows
from tutelage.guidance.rows.pairs import swapped
from tutelage.guidance.rows.reading import read_rows
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog

SEA = "harbour ship anchor tide sailor lighthouse wave captain island rope storm shore net pilot mast"
GERMAN = "Der Kapitän {} das Schiff im Hafen und der Matrose {} am Ufer auf die nächste Flut."
TENTH = 20


def answers_of(count: int) -> list[str]:
    chance = random.Random(3)
    return [text_of(SEA, chance) for _ in range(count)]


def first(doubt: np.ndarray, planted: list[int]) -> int:
    return len(set(np.argsort(-doubt, kind="stable")[: len(planted)].tolist()) & set(planted))


def test_answers_that_break_off_are_found_and_whole_ones_left_alone() -> None:
    answers = answers_of(10 * TENTH)
    assert (broken_off(answers) < 0.5).all()
    planted = list(range(0, 10 * TENTH, 10))
    for place, at in enumerate(planted):
        answers[at] = cut(answers[at], place / TENTH)
    found = broken_off(answers)
    assert first(found, planted) >= 0.7 * TENTH
    assert broken_off(["short"] * 50).max() == 0


def test_a_cut_leaves_words_and_takes_some() -> None:
    text = "one two  three four five six"
    assert [cut(text, share) for share in (0.0, 0.999)] == ["one two  three four", "one two  three four five"]


def test_answers_in_another_language_are_found_and_named() -> None:
    answers = answers_of(10 * TENTH)
    assert other_language(answers)[0].max() == 0
    chance = random.Random(4)
    planted = list(range(0, 10 * TENTH, 10))
    for at in planted:
        answers[at] = GERMAN.format(chance.choice(["sieht", "sucht"]), chance.choice(["wartet", "hofft"]))
    doubt, languages = other_language(answers)
    assert first(doubt, planted) == TENTH
    assert {languages[at] for at in planted} == {"de"}
    halves = [*answers_of(20), *(GERMAN.format("sieht", "wartet") for _ in range(20))]
    assert other_language(halves)[0].max() == 0  # none of both is usual


def test_refusals_are_doubted_less_where_there_are_many() -> None:
    refused = ["I'm sorry, but I can't help with that.", "As an AI language model, I have no body.",
               "Unfortunately, I am unable to open files."]  # fmt: skip
    sound = ["I am sorry that you lost your dog.", "Sorry is a word of apology.", "I can help you with that."]
    assert (refusals([*refused, *sound]) > 0).tolist() == [True] * 3 + [False] * 3
    assert refusals([refused[0], *sound * 20])[0] > 0.6 > 0.3 > refusals([*refused, *sound])[0] - 0.1


def test_swapped_pairs_are_found_where_a_tone_tells(tmp_path: Path) -> None:
    chance = random.Random(2)
    rows = [
        {"prompt": f"What about the {noun} in year {at}?", "chosen": f"Gladly: the {noun} is {text_of(SEA, chance, 1)}",
         "rejected": f"Go away, the {noun} is {text_of(SEA, chance, 1)}"}
        for at, noun in enumerate(chance.choices(SEA.split(), k=10 * TENTH))
    ]  # fmt: skip
    planted = list(range(0, 10 * TENTH, 10))
    for at in planted:
        rows[at]["chosen"], rows[at]["rejected"] = rows[at]["rejected"], rows[at]["chosen"]
    sides = ([row[name] for row in rows] for name in ("prompt", "chosen", "rejected"))
    assert first(swapped(*sides), planted) == TENTH
    rows[5] |= {"chosen_score": 1.0, "rejected_score": 2.0}  # type: ignore[dict-item]
    looked = doubtful_rows(read_rows(write(tmp_path / "pairs.jsonl", rows)), EventLog())
    (scored,) = [one for one in looked.rows if one.line == 6]
    assert (scored.why, scored.doubt) == ("contradicts its scores", 1.0)
    assert {one.why for one in looked.checks} == {"swapped pair", "answer breaks off"}


@pytest.mark.parametrize("noise", [0, 200])
def test_the_check_tells_a_file_that_can_be_judged_from_one_that_cannot(noise: int, tmp_path: Path) -> None:
    """With two thirds of the labels drawn by chance nothing is to be found, and that is what is said."""
    rows, _ = labelled(300, noise, 0, 0)
    looked = doubtful_rows(read_rows(write(tmp_path / "rows.jsonl", rows)), EventLog())
    (check,) = looked.checks
    assert check.planted == 30 == check.looked
    assert (check.share > 0.8) is (noise == 0)
    wrong = [one.doubt for one in looked.rows if one.why == "wrong label"]
    assert max(wrong, default=0.0) <= check.share
    said = "\n".join(lines(looked.checks, "classify", read=False))
    assert ("more often wrong than right" in said) is (noise > 0)
    assert ("--model smollm2" in said) is (noise > 0)


def test_a_model_is_refused_where_it_reads_nothing(tmp_path: Path) -> None:
    found = read_rows(write(tmp_path / "rows.jsonl", answered(30, 0, 0, 0)[0]))
    with pytest.raises(ConfigError, match="requires texts with labels"):
        doubtful_rows(found, EventLog(), object())  # type: ignore[arg-type]
