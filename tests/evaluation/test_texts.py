"""What a model trained further gained and forgot, with models whose right answer is known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tutelage.evaluation import stage
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.spec import EVALUATE, Evaluation, Subject
from tutelage.evaluation.texts import text_sets
from tutelage.store.events import EventLog
from tutelage.store.stage import Job
from tutelage.store.view import read_scores

BITS = {"base": {"new": 2.0, "old": 1.0}, "further": {"new": 1.5, "old": 1.2}, "replayed": {"new": 1.6, "old": 1.0}}


class Constant:
    """A model that spends so many bits on each byte of a text that begins with a word, and ends every other answer."""

    def __init__(self, name: str) -> None:
        self.bits, self.ends = BITS[name], name != "further"

    def rolling(self, texts: list[str]) -> list[float]:
        return [-math.log(2) * self.bits[text.split()[0]] * len(text.encode()) for text in texts]

    def chat_batch(self, messages: list[Any], sampling: Any) -> list[Any]:
        assert sampling.max_tokens == 192 and all(turns[0].role == "user" for turns in messages)
        return [Answer(f"answer {n}", "stop" if self.ends or n % 2 else "length") for n, _ in enumerate(messages)]


class Answer:
    def __init__(self, text: str, stop_reason: str) -> None:
        self.text, self.stop_reason = text, stop_reason


def rows() -> list[dict[str, str]]:
    new = [{"set": "new text", "id": str(n), "text": "new " + "word " * (n + 1)} for n in range(12)]
    old = [{"set": "own text", "id": str(n), "text": "old wörd " * (n + 1)} for n in range(12)]
    return [*new, *old, *({"set": "asked", "id": str(n), "prompt": f"What is {n}?"} for n in range(60))]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    for name in BITS:
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "adopt.json").write_text('{"chat": true}')
        if name != "base":
            (tmp_path / name / "data" / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    monkeypatch.setattr(stage, "_load", lambda path: Constant(path.name))
    return {name: tmp_path / name for name in BITS}


SUBJECTS = (
    Subject(name="base", makes="language model"),
    *(Subject(name=name, makes="language model", parent="base", heldout="texts") for name in ("further", "replayed")),
)


def test_equal_texts_of_two_steps_are_one_set_that_the_base_reads_too(models: dict[str, Path]) -> None:
    sets = text_sets(SUBJECTS, models, ())
    assert [(one.kind, one.readers) for one in sets] == [
        (kind, ["base", "further", "replayed"]) for kind in ("new text", "own text", "asked")
    ]
    assert not text_sets(SUBJECTS[:1], models, ())


def test_gains_and_losses_are_measured_and_compared_on_the_same_texts(models: dict[str, Path], tmp_path: Path) -> None:
    whole = Evaluation(evaluate=EvaluateConfig(bootstrap=100, samples=2), subjects=SUBJECTS, text=False)
    out = tmp_path / "out"
    out.mkdir()
    metrics = EVALUATE.run(Job("evaluate", whole, models, out, tmp_path / "work", EventLog(), 1, 1))
    scores = read_scores(json.loads((out / "evaluation.json").read_text()))
    for who, bits in BITS.items():
        for kind, word in (("new text", "new"), ("own text", "old")):
            found = scores.find(f"bits per byte, {kind}", who)
            assert (
                found is not None and found.value == pytest.approx(bits[word]) and found.show() == f"{bits[word]:.3f}"
            )
    assert metrics["further_bits_per_byte_own_text"] == pytest.approx(1.2)
    (gain,) = said(scores, "further", "base", "bits per byte, new text")
    assert gain["outcome"] == "better" and gain["verdict"].endswith("(further -25.0 %)")
    (loss,) = said(scores, "further", "base", "bits per byte, own text")
    assert loss["outcome"] == "worse" and "(further +20.0 %)" in loss["verdict"]
    (kept,) = said(scores, "replayed", "further", "bits per byte, own text")
    assert kept["outcome"] == "better"
    ends = {who: scores.find("general answers end", who).value for who in BITS}
    assert ends == {"base": 1.0, "further": 0.5, "replayed": 1.0}
    (stops,) = said(scores, "further", "base", "general answers end")
    assert stops["outcome"] == "worse" and stops["difference"] == -50
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [sample["prompt"] for sample in samples] == ["What is 0?", "What is 1?"]
    assert set(samples[0]["outputs"]) == set(BITS)


def said(scores: Any, a: str, b: str, measure: str) -> list[dict[str, Any]]:
    return [one for one in scores.comparisons if (one["a"], one["b"], one["measure"]) == (a, b, measure)]
