"""A classifier that reads more than the last token: the same in training, after saving, by every way."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tutelage.finetuning.classify import frozen
from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.objective import Classification
from tutelage.finetuning.classify.stage import classify
from tutelage.finetuning.common import with_head
from tutelage.finetuning.data import read_rows
from tutelage.finetuning.examples import label_examples
from tutelage.inference.familiarity import familiarity
from tutelage.inference.language_model import load
from tutelage.interchange.peft import load_adapter, with_head_of
from tutelage.interchange.proof import check_transformers
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import load_model
from tutelage.model.lora_config import LoraConfig
from tutelage.store.events import EventLog
from tutelage.training.data.packing import pack

from .conftest import corpus_rows, job, loss_and_gradient, quick

LABELS = ["files", "graphs", "text"]
MEAN, LAST_THREE = {"pooling": "mean"}, {"pooling": "last_k", "pool_tokens": 3}
CONFIG = ClassifyConfig(
    task="labels", min_per_label=10, min_heldout=2, max_tokens=32, context_length=128, training=quick(40), **MEAN
)
ADAPTERS = {"lora": LoraConfig(rank=4, alpha=8), "training": quick(40, optimizer="adamw", learning_rate=1e-2)}


def objective(tok, count):
    rows = pack(label_examples(tok, corpus_rows()[:count], LABELS, dict.fromkeys(LABELS, 1.0)), 64, tok.pad_id)
    return Classification(rows, rows)


@pytest.mark.parametrize("how", [MEAN, LAST_THREE], ids=["mean", "last_k"])
def test_packed_texts_are_scored_as_each_alone(how, tok, shape):
    model = DecoderLM(shape.with_(num_labels=3, labels=tuple(LABELS), **how), seed=3)
    one = objective(tok, 30)
    rows = one.rows["train"]
    loss = one.loss(model, rows.batch(np.arange(len(rows))))
    expected = 0.0
    for row in corpus_rows()[:30]:
        hidden = model.hidden(torch.tensor([tok.framed(tok.encode(row["text"]))]))[0]
        state = (hidden if how is MEAN else hidden[-3:]).mean(dim=0)
        expected -= model.scores(state).log_softmax(-1)[LABELS.index(row["label"])].item()
    assert loss.weight == 30 and loss.sum.item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_in_four_parts_is_the_batch_whole(tok, shape):
    model = DecoderLM(shape.with_(num_labels=3, labels=tuple(LABELS), **LAST_THREE), seed=3)
    one = objective(tok, 37)
    torch.testing.assert_close(*(loss_and_gradient(one, model, parts)[1] for parts in (1, 4)), atol=1e-6, rtol=1e-4)


def test_a_frozen_head_is_fitted_on_the_states_that_it_reads_later(base):
    model = load_model(base)
    model.config = model.config.with_(**LAST_THREE)
    ids = [[5, 6, 7, 8], [9], [10, 11]]
    found = frozen.last_states(model, ids, [2], quick(1), EventLog())[2]
    for row, text in enumerate(ids):
        with torch.no_grad():
            state = model.hidden(torch.tensor([text]))[0, -3:].mean(dim=0)  # the base's norm only normalises
        np.testing.assert_allclose(found[row], state, atol=1e-5)


@pytest.fixture(scope="module")
def made(tmp_path_factory, corpus, base):
    found = {}
    for name, more in (("head", {"frozen": True}), ("lora", ADAPTERS), ("full", LAST_THREE)):
        out = tmp_path_factory.mktemp(name)
        found[name] = out / "out", classify(job(CONFIG.model_copy(update=more), out, corpus=corpus, model=base))
    return found


@pytest.mark.parametrize("name", ["head", "lora", "full"])
def test_what_is_loaded_reads_as_what_was_trained(name, made):
    out, metrics = made[name]
    lm, heldout = load(out), read_rows(out / "data" / "heldout.jsonl")
    assert lm.config.pooling == ("last_k" if name == "full" else "mean")
    texts = [row["text"] for row in heldout]
    scores = lm.classify(texts)
    right = np.mean([max(score, key=score.get) == row["label"] for score, row in zip(scores, heldout, strict=True)])
    assert right == pytest.approx(metrics["heldout_accuracy"]) and right > metrics["heldout_majority"] + 0.2
    # Of the very texts that it is compared with, a conformal rank is spread evenly.
    assert 0.4 < np.mean(familiarity(lm, out, texts)) < 0.6
    alone = [lm.classify([text])[0] for text in texts[:3]]
    for one, together in zip(alone, scores, strict=False):
        assert list(one.values()) == pytest.approx(list(together.values()), abs=1e-5)


def test_an_adapter_brings_its_head_and_how_it_reads(made, base):
    out = made["lora"][0]
    model = with_head_of(load_model(base), out / "adapter")
    assert model.config.pooling == "mean"
    load_adapter(model, out / "adapter")
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(model.hidden(ids), load_model(out).hidden(ids), rtol=1e-4, atol=1e-4)


def test_a_step_that_begins_with_a_classifier_reads_as_it_does(made, corpus, tmp_path, heard):
    begun = made["head"][0]
    plain = CONFIG.model_copy(update={"pooling": None, "training": quick(1, learning_rate=1e-9)})
    classify(job(plain, tmp_path, heard.log, corpus=corpus, model=begun))
    lm, before = load(tmp_path / "out"), load(begun)
    assert lm.config.pooling == "mean" and "mean over all tokens" in heard.messages("note")
    assert "classifier_pooling" in json.loads((tmp_path / "out" / "config.json").read_text())
    text = "Sort the edges of the given list."
    best = [max(found, key=found.get) for found in (lm.classify([text])[0], before.classify([text])[0])]
    assert best[0] == best[1]


def test_a_head_that_read_otherwise_is_not_kept(made):
    model = load_model(made["head"][0])
    labels = list(model.config.labels)
    assert with_head(model, labels, 1, **MEAN) is model
    other = with_head(model, labels, 1)
    assert other.config.pooling == "last" and not torch.equal(other.score.weight, model.score.weight)


def test_an_export_says_that_transformers_would_read_it_otherwise(made):
    out = made["head"][0]
    lm = load(out)
    parity = check_transformers(lm.model, lm.tokenizer, out)
    assert parity.passed is None and "transformers does not support classifier_pooling" in parity.why
