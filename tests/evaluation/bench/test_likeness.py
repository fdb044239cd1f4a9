"""Translations and summaries: graded by likeness to a reference, beside answers that need no model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sacrebleu.metrics.chrf import CHRF

from tutelage.evaluation.bench.bench import Wanted, prepare_all, run_benchmarks
from tutelage.evaluation.bench.grading import likeness
from tutelage.evaluation.bench.ours import OurModel
from tutelage.evaluation.bench.protocol import Ask, Written
from tutelage.evaluation.bench.result import TaskResult
from tutelage.evaluation.bench.task import BenchTask, find_task
from tutelage.inference.language_model import LanguageModel
from tutelage.store.errors import ConfigError

WORDS = ("dog", "house", "river", "winter", "garden", "bread", "stone", "letter", "friend", "window")
ROWS = [{"en": f"the {a} and the {b}", "fr": f"le {a[::-1]} et le {b[::-1]}"} for a in WORDS for b in WORDS[:6]]


class Scripted(OurModel):
    """Writes what it is told to, whatever it is asked."""

    def __init__(self, lm: LanguageModel, answers: dict[str, str]) -> None:
        super().__init__(lm, "scripted")
        self.answers = answers

    def generate(self, asked: Sequence[Ask]) -> list[Written]:
        return [Written(self.answers[one.prompt], True, 0) for one in asked]


def task(**changes: object) -> BenchTask:
    return BenchTask.parse(
        {"name": "t", "title": "t", "kind": "generate", "data": {"sources": [{"rows": ROWS}]}, "context": "{{en}}:",
         "targets": "[fr]", "rule": "likeness", "metric": "chrf", "trivial": {"copying the source": "en"}, **changes}
    )  # fmt: skip


def result(lm: LanguageModel, how: str) -> TaskResult:
    model = Scripted(lm, {f"{row['en']}:": row[how] for row in ROWS})
    return run_benchmarks(model, prepare_all([Wanted(task())]))[0]


def test_grades_are_those_of_sacrebleu_and_of_the_nearest_reference():
    text, references = " the cat sat on a mat\n", ["a dog lay there", "the cat sat on the mat"]
    found = likeness(text, references)
    assert found["chrf"] == pytest.approx(CHRF().sentence_score(text.strip(), [references[1]]).score / 100)
    assert found["rouge_l"] == pytest.approx(2 * 5 / 12)
    assert likeness("", references) == {"chrf": 0.0, "rouge_l": 0.0}
    assert likeness(references[0], references)["chrf"] == pytest.approx(1.0)


def test_a_right_translation_beats_the_copy_and_a_copy_does_not(lm: LanguageModel):
    right = result(lm, "fr")
    (copying,) = right.baselines
    assert right.figures["chrf"].value == pytest.approx(1.0) and 0 < copying.value < 0.6
    assert right.worth.outcome == "above" and "trivial answer" in right.worth.text
    copied = result(lm, "en")
    assert copied.figures["chrf"].value == pytest.approx(copying.value)
    assert copied.worth.outcome == "shortcut" and "copying the source" in copied.worth.text


@pytest.mark.parametrize("name", ["wmt14_en_fr", "wmt16_de_en", "cnn_dailymail"])
def test_shipped_ones_name_an_answer_that_needs_no_model(name: str):
    found = find_task(name)[0]
    assert found.trivial and found.cautions and found.metric in found.metrics


def test_trivial_answers_need_a_rule_that_grades_them():
    with pytest.raises(ConfigError, match="likeness"):
        task(rule="exact", metric="exact")
