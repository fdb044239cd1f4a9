"""What of a conversation is learned, noise on the embeddings, and answers while a model is trained."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.finetuning.conftest import job, quick
from tests.finetuning.test_examples import learned_text
from tests.finetuning.test_objectives import conversations, split
from tests.finetuning.test_stages import Killed, contents, kill_at

from tutelage.finetuning.examples import encode_conversations, instruction_examples, supervised_row
from tutelage.finetuning.instruct.config import InstructConfig
from tutelage.finetuning.instruct.noise import noise_scale, noisy_embeddings
from tutelage.finetuning.instruct.objective import Instruction
from tutelage.finetuning.instruct.samples import Samples
from tutelage.finetuning.instruct.stage import instruct
from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import LoraConfig
from tutelage.store.errors import ConfigError
from tutelage.training.data.packing import pack

TURNS = [("user", "Q1"), ("assistant", "A1."), ("user", "Q2"), ("assistant", "A2!")]
ROW = {"id": "1", "messages": [{"role": role, "content": text} for role, text in TURNS], "response": "A2!"}


def learned(tok, learn, row=ROW):
    return learned_text(tok, encode_conversations(tok, [row], learn).segments[0][0])


def test_what_of_a_conversation_is_learned(tok):
    assert learned(tok, "answers") == "A1.<|im_end|>A2!<|im_end|>"
    assert learned(tok, "last") == "A2!<|im_end|>"
    rendered, weights = supervised_row(tok, ROW, "all")
    assert weights == [0.0, *[1.0] * (len(rendered.ids) - 1)]
    assert learned(tok, "all") == tok.decode(rendered.ids[1:], skip_special=False)
    reading = encode_conversations(tok, [ROW], "last").readings[0]
    assert (reading.answers, reading.learned, reading.stopped) == (2, 1, 1)


def test_an_answer_that_is_not_to_be_learned_is_learned_in_no_way(tok):
    turns = [dict(turn) for turn in ROW["messages"]]
    turns[1]["weight"] = 0
    row = {**ROW, "messages": turns}
    assert learned(tok, "answers", row) == "A2!<|im_end|>"
    assert "A1." not in learned(tok, "all", row) and "Q1" in learned(tok, "all", row)


def test_a_config_names_a_wrong_way():
    with pytest.raises(ConfigError, match=r"finetune\.c\.learn"):
        InstructConfig.parse({"task": "docstrings", "learn": "questions"}, "finetune.c")
    pipeline = {"task": "docstrings", "neftune_alpha": 5, "training": {"parallel": {"pipeline": 2}}}
    with pytest.raises(ConfigError, match="neftune_alpha requires embeddings"):
        InstructConfig.parse(pipeline, "finetune.c")


def test_the_noise_of_a_document_follows_its_own_length():
    documents = torch.tensor([[1, 1, 1, 1, 2, 0], [1, 2, 2, 2, 2, 2]])
    scale = noise_scale(documents, 8, 5.0)[..., 0]
    wanted = [[5 / math.sqrt(4 * 8)] * 4 + [5 / math.sqrt(8), 0.0], [5 / math.sqrt(8)] + [5 / math.sqrt(5 * 8)] * 5]
    torch.testing.assert_close(scale, torch.tensor(wanted))


def test_noise_is_uniform_within_its_bound_and_gone_afterwards(shape):
    model = DecoderLM(shape, seed=1)
    tokens = torch.randint(0, shape.vocab_size, (2, 64))
    documents = torch.ones_like(tokens)
    plain = model.embed_tokens(tokens)
    with noisy_embeddings(model, documents, 5.0):
        noise = model.embed_tokens(tokens) - plain
    bound = 5.0 / math.sqrt(64 * shape.hidden_size)
    assert 0.9 * bound < noise.abs().max() <= bound * 1.001
    assert float(noise.detach().var()) == pytest.approx(bound**2 / 3, rel=0.1)
    assert torch.equal(model.embed_tokens(tokens), plain)


def objective(tok, noise):
    rows = pack(instruction_examples(tok, conversations(24), 128)[0], 256, tok.pad_id)
    return Instruction(rows, rows, noise)


def test_only_training_is_noisy(tok, shape):
    model = DecoderLM(shape, seed=3)
    with_noise, without = objective(tok, 5.0), objective(tok, 0.0)
    batch = without.rows["train"].batch(np.arange(2))
    losses = {}
    for training in (True, False):
        model.train(training)
        losses[training] = [float(one.loss(model, batch).sum.detach()) for one in (with_noise, without)]
    assert losses[False][0] == losses[False][1] == losses[True][1] != losses[True][0]


def test_noise_adds_up_over_microbatches(tok, shape):
    made = objective(tok, 5.0)
    gradients = []
    for parts in (1, 4):
        model = DecoderLM(shape, seed=3).train()
        torch.manual_seed(7)  # as the loop does before each step
        for batch in split(made.rows["train"], parts):
            made.loss(model, batch).sum.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


def test_a_killed_run_with_noise_ends_as_an_uninterrupted_one(corpus, base, tmp_path, heard):
    training = quick(6, validate_every=2, log_every=1)
    config = InstructConfig(task="docstrings", neftune_alpha=5.0, learn="last", max_rows=60, max_heldout=8, samples=1,
                            training=training, lora=LoraConfig(rank=2, alpha=4))  # fmt: skip

    def made(name, log=heard.log, **changes):
        instruct(job(config.model_copy(update=changes), tmp_path / name, log, corpus=corpus, model=base))

    made("whole")
    whole = contents(tmp_path / "whole" / "out")
    with pytest.raises(Killed):
        made("cut", kill_at(3, heard.log), training=training.model_copy(update={"checkpoint_seconds": 0.0}))
    made("cut")
    assert "resuming from step" in heard.messages("note") and contents(tmp_path / "cut" / "out") == whole
    # Answers along the way change nothing; noise does.
    made("silent", samples=0)
    assert contents(tmp_path / "silent" / "out") == whole
    made("still", neftune_alpha=0.0)
    assert contents(tmp_path / "still" / "out")["model.safetensors"] != whole["model.safetensors"]


def test_answers_are_in_the_log_with_their_score(corpus, base, tmp_path, heard):
    training = quick(6, validate_every=2)
    config = InstructConfig(task="docstrings", samples=2, sample_every=2, training=training)
    instruct(job(config, tmp_path, heard.log, corpus=corpus, model=base))
    found = [event for event in heard.events if event["event"] == "sample"]
    validations = [event["step"] for event in heard.events if event["event"] == "validation"]
    assert validations == [2, 4, 6] and [event["step"] for event in found] == [2, 2, 6, 6]
    assert all(0 <= event["chrf"] <= 100 and event["reference"] and event["prompt"] for event in found)


def test_slow_answers_are_made_once(tok, shape, heard, monkeypatch):
    monkeypatch.setattr("tutelage.finetuning.instruct.samples.SLOW", -1.0)
    made = Samples(tok, [{**ROW, "prompt": "Q2"}], 1, heard.log)
    model = DecoderLM(shape, seed=1).train()
    for step in (1, 2):
        made(model, step)
    assert [event["step"] for event in heard.events if event["event"] == "sample"] == [1] and model.training
    assert "no more are generated" in heard.messages("note")
