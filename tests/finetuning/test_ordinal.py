"""Labels in an order: the fit, the loss, what is named, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tutelage.evaluation.classifiers import median_class, tfidf_baseline
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.contest import Classifiers
from tutelage.evaluation.lexical import LexicalClassifier
from tutelage.evaluation.spec import Subject
from tutelage.finetuning.classify import linear
from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.objective import Classification
from tutelage.finetuning.classify.stage import classify
from tutelage.finetuning.examples import label_examples
from tutelage.inference.language_model import load
from tutelage.model.decoder import DecoderLM
from tutelage.model.ordinal import chosen_label, threshold_losses
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog
from tutelage.training.data.packing import pack

from .conftest import VERBS, corpus_rows, job, quick
from .test_stages import Killed, contents, kill_at

GRADES = ["9", "10", "11", "12", "13"]  # not in the order of the alphabet


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Texts graded by their verb and place, with one in six a grade off."""
    path = tmp_path_factory.mktemp("own") / "graded.jsonl"
    records = []
    for number, row in enumerate(corpus_rows()):
        grade = VERBS.index(row["summary"].split()[0])
        grade = min(4, max(0, grade - 1 + (number % 6 == 0)))
        records.append({"text": row["summary"], "label": GRADES[grade]})
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def configured(mine, **more):
    return ClassifyConfig.parse(
        {"data": str(mine), "ordinal": True, "max_tokens": 32, "context_length": 128,
         "training": quick(60).plain(), **more}
    )  # fmt: skip


def test_what_is_named_is_the_median():
    shares = {"c": 0.4, "a": 0.35, "b": 0.25}
    assert chosen_label(shares) == "c" and chosen_label(shares, ("a", "b", "c")) == "b"
    assert chosen_label({"b": 0.5, "a": 0.5}) == "a"
    assert median_class({"a": 4, "b": 2, "c": 4}, ("a", "b", "c"), 2).labels == ["b", "b"]


def test_the_loss_is_that_of_every_threshold():
    scores = 3 * torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 3, 4, 4, 0])
    above = scores.double().softmax(-1).flip(-1).cumsum(-1).flip(-1)[:, 1:]
    passed = (targets[:, None] > torch.arange(4)).double()
    expected = F.binary_cross_entropy(above, passed, reduction="none").sum(-1)
    torch.testing.assert_close(threshold_losses(scores, targets).double(), expected, rtol=1e-4, atol=1e-5)
    # Where there is one threshold it is cross entropy, and extreme logits stay finite.
    torch.testing.assert_close(
        threshold_losses(scores[:, :2], targets % 2), F.cross_entropy(scores[:, :2], targets % 2, reduction="none")
    )
    extreme = torch.tensor([[80.0, 0.0, -80.0]], requires_grad=True)
    threshold_losses(extreme, torch.tensor([2])).sum().backward()
    assert extreme.grad is not None and extreme.grad.isfinite().all() and extreme.grad.abs().sum() > 1


def test_packed_texts_are_each_their_own_loss(tok, shape):
    model = DecoderLM(shape.with_(num_labels=5, labels=tuple(GRADES), ordinal=True), seed=3)
    rows = [{"text": row["text"], "label": GRADES[at % 5]} for at, row in enumerate(corpus_rows()[:20])]
    packed = pack(label_examples(tok, rows, GRADES, dict.fromkeys(GRADES, 1.0)), 64, tok.pad_id)
    objective = Classification(packed, packed, ordinal=True)
    loss = objective.loss(model, packed.batch(np.arange(len(packed))))
    expected = 0.0
    for row in rows:
        hidden = model.hidden(torch.tensor([tok.framed(tok.encode(row["text"]))]))
        target = torch.tensor([GRADES.index(row["label"])])
        expected += threshold_losses(model.scores(hidden[:, -1]), target).item()
    assert loss.sum.item() == pytest.approx(expected, rel=1e-5) and loss.weight == 20


def ordered(rows: int, size: int, noise: float, seed: int = 0):
    """States along one direction by their grade, and much else."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 5, rows)
    direction = np.random.default_rng(9).normal(size=size)
    states = np.outer(target - 2, direction) * 0.3 + noise * rng.normal(size=(rows, size))
    return states.astype(np.float32), target


def test_labels_in_order_are_learned_from_fewer_rows():
    """The weights are least where the penalised likelihood is, and are nearer the truth than those of no order."""
    states, target = ordered(60, 40, 1.0)
    fresh, truth = ordered(2000, 40, 1.0, seed=1)
    wanted = np.eye(5, dtype=np.float32)[target]
    off = {}
    for link in ("softmax", "ordinal"):
        weights = linear.logistic(linear.Rotated.of(states), wanted, np.ones(60), 0.01, link)
        probabilities = linear.likelihood(fresh @ weights.T, np.eye(5, dtype=np.float32)[truth], link)[1]
        off[link] = np.abs((probabilities.cumsum(axis=1) < 0.5).sum(axis=1) - truth).mean()
    assert off["ordinal"] < off["softmax"] - 0.1


def test_the_fit_is_where_no_step_makes_it_better():
    states, target = ordered(80, 6, 1.0)
    wanted = np.eye(5, dtype=np.float32)[target]
    spread = linear._spread(states)
    weights = linear.logistic(linear.Rotated.of(states), wanted, np.ones(80), 0.1, "ordinal") * spread
    x, y = torch.from_numpy(states / spread).double(), torch.from_numpy(target)
    steps = torch.arange(5).double() - 2
    # Of weights W the cheapest shared direction u: |W - steps u|^2 + |u|^2 is least there.
    whole = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    shared = steps @ whole / (1 + steps @ steps)
    penalty = ((whole - steps[:, None] * shared) ** 2).sum() + (shared**2).sum()
    (0.5 * penalty + 0.1 * F.cross_entropy(x @ whole.T, y, reduction="sum")).backward()
    assert whole.grad is not None and whole.grad.abs().max() < 5e-3


@pytest.fixture(scope="module")
def made(tmp_path_factory, mine, base):
    found = {}
    for name, more in (("head", {"frozen": True}), ("full", {})):
        out = tmp_path_factory.mktemp(name)
        found[name] = out / "out", classify(job(configured(mine, **more), out, model=base))
    return found


@pytest.mark.parametrize("name", ["head", "full"])
def test_it_learns_the_order_and_keeps_it(name, made, base, tmp_path):
    out, metrics = made[name]
    lm = load(out)
    assert lm.config.ordinal and list(lm.config.labels) == GRADES == list(metrics["labels"])
    expected = metrics["heldout_accuracy"], metrics["heldout_mean_absolute_error"]
    assert json.loads((out / "config.json").read_text())["classifier_ordinal"] is True
    contest = Classifiers(EvaluateConfig(bootstrap=100), EventLog())
    contest.predict(Subject(name=name, makes="classifier", heldout="labels"), out, lm)
    figures, comparisons = [], []
    choices, _ = contest.measure(figures, comparisons, tmp_path, 0)
    by = {figure["measure"]: {row["who"]: row for row in figure["rows"]} for figure in figures}
    assert list(by)[:2] == ["mean absolute error", "quadratic weighted kappa"]
    off, kappa = by["mean absolute error"], by["quadratic weighted kappa"]
    assert (by["accuracy"][name]["value"], off[name]["value"]) == pytest.approx(expected, abs=1e-4)
    both = {"head + TF-IDF"} if name == "head" else set()
    assert set(off) == {name, "TF-IDF", "median label"} | both
    assert off[name]["value"] < off["median label"]["value"] - 0.5 and kappa[name]["value"] > 0.7
    assert kappa["median label"]["value"] == 0 and off[name]["low"] < off[name]["value"] < off[name]["high"]
    said = next(one for one in comparisons if one["measure"] == "mean absolute error" and one["b"] == "median label")
    assert said["outcome"] == "better" and "steps" in choices[0]["text"]
    # What is kept of TF-IDF names the median, too.
    lexical = LexicalClassifier.load(tmp_path / "tfidf")
    assert list(lexical.order) == GRADES
    shares = np.zeros(5)
    shares[[lexical.classes.index("9"), lexical.classes.index("13"), lexical.classes.index("11")]] = 0.4, 0.35, 0.25
    assert lexical.named(shares) == "11"


def test_a_killed_run_ends_as_an_uninterrupted_one(mine, base, tmp_path, heard):
    config = configured(mine, pooling="last_k", pool_tokens=2, training=quick(12).plain())
    whole = classify(job(config, tmp_path / "whole", model=base))
    often = config.model_copy(update={"training": config.training.model_copy(update={"checkpoint_seconds": 0.0})})
    with pytest.raises(Killed):
        classify(job(often, tmp_path / "killed", kill_at(7, heard.log), model=base))
    again = classify(job(config, tmp_path / "killed", heard.log, model=base))
    assert "resuming from step" in heard.messages("note")
    assert contents(tmp_path / "killed" / "out") == contents(tmp_path / "whole" / "out")
    assert again["heldout_mean_absolute_error"] == whole["heldout_mean_absolute_error"]


def test_transformers_has_the_same_probabilities(made):
    transformers = pytest.importorskip("transformers")
    out = made["head"][0]
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(out, dtype=torch.float32).eval()
    lm, text = load(out), "Count the archives of the open store."
    ids = torch.tensor([lm.tokenizer.framed(lm.tokenizer.encode(text))])
    assert list(lm.classify([text])[0].values()) == pytest.approx(theirs(ids).logits[0].softmax(-1).tolist(), abs=1e-5)


def test_an_order_that_is_not_known_is_asked_for(mine, base, tmp_path):
    words = tmp_path / "words.csv"
    words.write_text("text,label\n" + "".join(f"text {i} is so,{['low', 'mid', 'high'][i % 3]}\n" for i in range(60)))
    with pytest.raises(InputError, match="'high' is not a number") as error:
        classify(job(configured(words, frozen=True), tmp_path / "a", model=base))
    assert "labels=[high,low,mid]" in str(error.value.hint)
    with pytest.raises(InputError, match="lacks 'mid'"):
        classify(job(configured(words, frozen=True, labels=["low", "high", "top"]), tmp_path / "b", model=base))
    classify(job(configured(words, frozen=True, labels=["low", "mid", "high"]), tmp_path / "c", model=base))
    assert load(tmp_path / "c" / "out").config.labels == ("low", "mid", "high")
    two = tmp_path / "two.csv"
    two.write_text("text,label\n" + "".join(f"text {i} is so,{i % 2}\n" for i in range(40)))
    with pytest.raises(InputError, match="two labels"):
        classify(job(configured(two, frozen=True), tmp_path / "d", model=base))


def test_settings_that_do_not_fit_are_refused(mine):
    with pytest.raises(ConfigError, match="ordinal: true"):
        configured(mine, ordinal=False, labels=["a", "b"])
    with pytest.raises(ConfigError, match="focal"):
        configured(mine, focal=2.0)


def test_numbers_without_an_order_are_noticed(mine, base, tmp_path, heard):
    classify(job(configured(mine, frozen=True, ordinal=False), tmp_path, heard.log, model=base))
    assert "the labels are numbers (9, 10, 11, 12, 13)" in heard.messages("note")
    assert "ordinal=true" in heard.messages("note")


def test_nobody_is_told_of_an_order_that_is_used(made, mine):
    findings = json.loads((made["head"][0] / "data" / "audit.json").read_text())["findings"]
    assert not [one for one in findings if "numbers" in one["message"]]


def test_tfidf_of_few_classes_names_what_it_has():
    train = [
        {"text": f"{word} thing {i}", "label": label} for i in range(6) for word, label in (("bad", "1"), ("good", "3"))
    ]
    found = tfidf_baseline(train, [{"text": "a bad thing"}], order=("1", "2", "3"))
    assert found.labels == ["1"] and found.prediction.confidence[0] > 0.5
