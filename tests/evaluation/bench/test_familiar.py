from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tutelage.corpus.selection.area import area
from tutelage.evaluation.bench.bench import Wanted, check_familiarity, prepare_all, run_benchmarks
from tutelage.evaluation.bench.familiar import min_k, sentence, unseen_texts
from tutelage.evaluation.bench.foreign import TransformersModel
from tutelage.evaluation.bench.ours import OurModel
from tutelage.evaluation.bench.protocol import Roll
from tutelage.evaluation.bench.task import BenchTask
from tutelage.inference.language_model import LanguageModel
from tutelage.store.errors import ConfigError, InputError


def test_the_mean_of_the_least_likely_tokens():
    assert min_k([-1.0, -5.0, -2.0, -3.0, -4.0], 0.4) == -4.5
    assert min_k([-1.0, -2.0], 0.2) == -2.0  # at least one


def test_the_area_is_that_of_the_definition_and_its_interval_covers():
    assert area([1, 2, 3], [0, 2]).value == pytest.approx((1 + 0 + 1 + 0.5 + 1 + 1) / 6)
    draw, truth, covered = np.random.default_rng(0), 0.7602, 0  # of N(1, 1) against N(0, 1): Phi(1 / sqrt 2)
    for _ in range(400):
        found = area(draw.normal(1, 1, 40), draw.normal(0, 1, 60))
        assert found.low is not None and found.high is not None
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 400 <= 0.97


@pytest.mark.parity
def test_tokens_add_up_to_the_text_and_are_those_of_transformers(tmp_path: Path, lm: LanguageModel):
    pytest.importorskip("transformers")
    lm.save(tmp_path / "model")
    ours, theirs = OurModel(lm, "ours"), TransformersModel(str(tmp_path / "model"))
    texts = ["Some text that goes on. " * 20, "short", ""]
    for text, mine, other in zip(texts, ours.token_logprobs(texts), theirs.token_logprobs(texts), strict=True):
        assert sum(mine) == pytest.approx(ours.rolling([Roll(text)])[0].logprob, abs=1e-3)
        assert mine == pytest.approx(other, abs=1e-3)


class Reader:
    """Knows the texts with a "1" in them: each of their tokens is likely."""

    name = "reader"

    def token_logprobs(self, texts: list[str]) -> list[list[float]]:
        return [[-1.0 if "1" in text else -5.0 - len(text) / 1e3] * len(text.split()) for text in texts]


def test_items_that_were_read_are_more_familiar(tmp_path: Path, model: OurModel):
    rows = [
        {"q": f"a question of eight words with number {number}1", "o": ["yes", "no"], "g": 0} for number in range(30)
    ]
    task = BenchTask.parse(
        {"name": "t", "title": "t", "kind": "choice", "data": {"sources": [{"rows": rows}]}, "context": "{{q}}",
         "choices": "o", "gold": "g"}
    )  # fmt: skip
    path = tmp_path / "new.jsonl"
    path.write_text(
        "".join(json.dumps({"text": f"a new text that has eight words x{'y' * n}"}) + "\n" for n in range(25))
    )
    results = run_benchmarks(model, prepare_all([Wanted(task)]))
    texts = unseen_texts(Reader(), path)
    found = check_familiarity(results, Reader(), texts)[0].familiarity  # type: ignore[arg-type]
    assert found is not None and found["auc"] == 1 and (found["items"], found["unseen"]) == (30, 25)
    assert "more familiar than" in sentence(found) and "not a proof" in sentence(found)
    real = check_familiarity(results, model, texts)[0].familiarity
    assert real is not None and not math.isnan(real["low"])
    few = check_familiarity(results, Reader(), texts[:5])[0].familiarity  # type: ignore[arg-type]
    assert few is not None and few["auc"] is None and "too few" in sentence(few)


def test_what_cannot_be_compared_is_said_before_the_work(tmp_path: Path):
    (tmp_path / "one.txt").write_text("one text")
    with pytest.raises(InputError, match="contains 1 texts, too few"):
        unseen_texts(Reader(), tmp_path / "one.txt")
    with pytest.raises(ConfigError, match="does not return token log-probabilities"):
        unseen_texts(type("Endpoint", (), {"name": "endpoint"})(), tmp_path / "one.txt")
