"""Did it learn anything? Real steps of a model of 30,000 parameters, with a learning rate and with 0."""

from __future__ import annotations

import json

import pytest

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.spec import Evaluation, Subject
from tutelage.evaluation.stage import evaluate
from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.stage import classify
from tutelage.finetuning.instruct.config import InstructConfig
from tutelage.finetuning.instruct.stage import instruct
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.finetuning.prefer.stage import prefer
from tutelage.model.lora_config import LoraConfig

from .conftest import job, quick
from .test_prefer import write_pairs

SUBJECTS = {
    "base": Subject(name="base", makes="language model"),
    "chat": Subject(name="chat", makes="chat model", parent="base", heldout="answers", task="docstrings"),
    "better": Subject(name="better", makes="chat model", parent="chat", heldout="pairs", task="docstrings"),
    "topics": Subject(name="topics", makes="classifier", parent="base", heldout="labels", task="labels"),
}


def measured(out, models, names):
    """evaluation.json of these models, and the line of each step."""
    config = EvaluateConfig(prompts=12, max_tokens=12, sampled=4, bootstrap=200, samples=2)
    whole = Evaluation(evaluate=config, subjects=tuple(SUBJECTS[name] for name in names), text=False)
    asked = job(whole, out, **{name: models[name] for name in names})
    asked.out.mkdir(parents=True, exist_ok=True)
    metrics = evaluate(asked)
    found = json.loads((asked.out / "evaluation.json").read_text())
    assert metrics["learned"] == {line["who"]: line["found"] for line in found["learned"]}
    return found, {line["who"]: line for line in found["learned"]}


@pytest.fixture(scope="module")
def steps(tmp_path_factory, corpus, base):
    """An instruct and a prefer step, each with a learning rate and without; held-out losses as the stages say them."""
    root = tmp_path_factory.mktemp("steps")
    pairs = write_pairs(root / "pairs")
    models, losses = {"base": base}, {}

    def make(name, run, config, **inputs):
        metrics = run(job(config, root / name, **inputs))
        losses[name], models[name] = metrics["heldout_loss"], root / name / "out"
        (models[name] / "manifest.json").write_text(json.dumps({"metrics": metrics, "files": {}}))

    chat = InstructConfig(task="docstrings", context_length=128, max_heldout=30, training=quick(70))
    make("chat", instruct, chat, corpus=corpus, model=base)
    lora = {"lora": LoraConfig(rank=4), "training": quick(3, learning_rate=0.0, optimizer="adamw")}
    make("chat zero", instruct, chat.with_(**{key: value.plain() for key, value in lora.items()}), corpus=corpus,
         model=base)  # fmt: skip
    rate = {"task": "docstrings", "context_length": 128, "drift_prompts": 0, "beta": 0.3}
    for name, training in (("better", quick(30, learning_rate=2e-3)), ("better zero", quick(2, learning_rate=0.0))):
        make(name, prefer, PreferConfig(**rate, training=training), model=models["chat"], pairs=pairs)
    return models, losses


def test_learning_is_found_on_the_very_loss_that_was_trained(steps, tmp_path):
    models, losses = steps
    found, lines = measured(tmp_path, models, ["base", "chat", "better"])
    assert lines["chat"]["found"] == "learned" and lines["chat"]["before"] == "base"
    assert lines["chat"]["now"] == pytest.approx(losses["chat"], rel=1e-4)
    assert lines["better"]["found"] == "learned" and lines["better"]["before"] == "chat" and lines["better"]["n"] == 10
    names = {(figure["measure"], row["who"]) for figure in found["figures"] for row in figure["rows"]}
    for measure in ("loops", "ends by itself", "loops, sampled", "ends by itself, sampled"):
        assert {(measure, who) for who in ("base", "chat", "better", "the true docstrings")} <= names


def test_a_learning_rate_of_zero_is_no_difference(steps, tmp_path):
    models, _ = steps
    zero = {**models, "chat": models["chat zero"]}
    found, lines = measured(tmp_path / "chat", zero, ["base", "chat"])
    assert lines["chat"]["found"] == "no difference" and lines["chat"]["difference"] == 0
    assert "shows no measurable difference: no row differs" in lines["chat"]["text"]
    outcomes = {one["outcome"] for one in found["comparisons"] if (one["a"], one["b"]) == ("chat", "base")}
    assert "not resolved" in outcomes
    zero = {**models, "better": models["better zero"]}
    _, lines = measured(tmp_path / "better", zero, ["chat", "better"])
    assert lines["better"]["found"] == "no difference" and "no row differs" in lines["better"]["text"]
    assert lines["better"]["p"] == 1 and lines["better"]["n"] == 10


def test_a_classifier_without_a_model_before_it_is_held_against_the_majority_class(corpus, base, tmp_path):
    config = ClassifyConfig(task="labels", min_per_label=10, min_heldout=2, max_tokens=32, context_length=128,
                            training=quick(1, learning_rate=0.0))  # fmt: skip
    classify(job(config, tmp_path / "topics", corpus=corpus, model=base))
    _, lines = measured(tmp_path / "seen", {"topics": tmp_path / "topics" / "out"}, ["topics"])
    assert lines["topics"]["before"] == "majority class" and lines["topics"]["found"] != "learned"
