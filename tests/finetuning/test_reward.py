"""Reward models: what is read, what is learned, and that transformers finds the same score."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tutelage.finetuning.common import with_head
from tutelage.finetuning.reward.config import RewardConfig
from tutelage.finetuning.reward.objective import Reward
from tutelage.finetuning.reward.rows import reward_examples
from tutelage.finetuning.reward.stage import reward
from tutelage.inference.language_model import load
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import save_model
from tutelage.recipe.config import load_recipe
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import pack
from tutelage.training.figures import evaluate_objective

from .conftest import job, loss_and_gradient, quick

ROWS = [
    {"prompt": f"What is {i}?", "chosen": "Sort the lines " * (1 + i % 3), "rejected": "No, no. " * (1 + i % 4)}
    for i in range(40)
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def config(path, **more):
    settings = {"data": path, "context_length": 128, "training": quick(20, learning_rate=5e-3).plain()}
    return RewardConfig.parse({**settings, **more})


@pytest.fixture(scope="module")
def made(tmp_path_factory, base):
    place = tmp_path_factory.mktemp("reward")
    settings = config(write(place / "pairs.jsonl", ROWS))
    return place, settings, reward(job(settings, place, model=base))


def test_it_tells_held_out_pairs_apart_and_leaves_their_rewards(made):
    place, _, metrics = made
    assert metrics["heldout_reward_accuracy"] == 1.0 and metrics["told_apart"] == "6 of 6"
    scores = [json.loads(line) for line in (place / "out" / "data" / "scores.jsonl").read_text().splitlines()]
    assert len(scores) == metrics["heldout_pairs"] == 6
    margins = [one["chosen_reward"] - one["rejected_reward"] for one in scores]
    assert np.mean(margins) == pytest.approx(metrics["heldout_margin"], rel=1e-4)
    lm = load(place / "out")
    for row, score in zip(map(json.loads, (place / "out" / "data" / "heldout.jsonl").open()), scores, strict=True):
        best, worst = lm.rank(row["prompt"], [row["rejected"], row["chosen"]])
        assert best.answer == row["chosen"]
        assert [best.reward, worst.reward] == pytest.approx(
            [score["chosen_reward"], score["rejected_reward"]], abs=1e-4
        )
    assert json.dumps(metrics, allow_nan=False)


def test_what_is_no_reward_model_and_what_a_reward_model_is_not_is_said(made, base):
    lm = load(made[0] / "out")
    for wrong in (lambda: lm.chat([{"role": "user", "content": "Q"}]), lambda: lm.classify(["text"])):
        with pytest.raises(ConfigError, match=r"reward model.*rank"):
            wrong()
    with pytest.raises(ConfigError, match="not a reward model"):
        load(base).rank("Q", ["A"])


@pytest.mark.parametrize("padding", ["another token", "the stop token"])
def test_transformers_reads_the_same_reward_alone_and_in_a_padded_batch(padding, made, tok, shape, tmp_path):
    transformers = pytest.importorskip("transformers")
    directory = made[0] / "out"
    if padding == "the stop token":
        tok = Tokenizer(tok._definition, {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}, tok.chat_template)
        model = with_head(DecoderLM(shape, seed=3), ["reward"], 1)
        model.config = model.config.with_(pad_token_id=tok.pad_id)
        directory = tmp_path / "other"
        directory.mkdir()
        save_model(model, directory)
        tok.save(directory)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()
    assert theirs.config.num_labels == 1
    their_tok = transformers.AutoTokenizer.from_pretrained(directory)
    talks = [
        [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"].strip()}]
        for row in ROWS[:5]
    ]
    ours = load(directory).rewards(talks)
    texts = [their_tok.apply_chat_template(talk, tokenize=False) for talk in talks]
    with torch.no_grad():
        alone = [theirs(**their_tok(t, return_tensors="pt", add_special_tokens=False)).logits.item() for t in texts]
        for side in ("right", "left"):
            their_tok.padding_side = side
            batch = their_tok(texts, return_tensors="pt", padding=True, add_special_tokens=False)
            assert theirs(**batch).logits[:, 0].tolist() == pytest.approx(ours, abs=1e-4)
    assert alone == pytest.approx(ours, abs=1e-4) and np.std(ours) > 1e-5


def test_a_killed_run_ends_as_an_uninterrupted_one(made, base, tmp_path):
    place, settings, _ = made

    def die(event):
        if event["event"] == "step" and event["step"] >= 7:
            raise RuntimeError("killed")

    often = settings.with_(training={"checkpoint_seconds": 0.0})
    with pytest.raises(RuntimeError, match="killed"):
        reward(job(often, tmp_path, EventLog(listeners=(die,)), model=base))
    reward(job(settings, tmp_path, model=base))
    for name in ("model.safetensors", "curve.jsonl", "data/scores.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (place / "out" / name).read_bytes(), name


def test_a_batch_in_four_parts_is_the_batch_whole(tok, shape):
    model = with_head(DecoderLM(shape, seed=3), ["reward"], 7)
    rows = [{**row, "margin": 0.1 * place} for place, row in enumerate(ROWS)]
    packed = pack(reward_examples(tok, rows, 128)[0], 150, tok.pad_id)
    objective = Reward(packed, packed, 0.05)
    (whole, gradient), (parts, summed) = (loss_and_gradient(objective, model, parts) for parts in (1, 4))
    assert parts == pytest.approx(whole, rel=1e-5) and torch.allclose(gradient, summed, atol=1e-6, rtol=1e-4)
    one = evaluate_objective(model, objective)
    easier = evaluate_objective(model, Reward(*[pack(reward_examples(tok, ROWS, 128)[0], 150, tok.pad_id)] * 2, 0.05))
    assert one["loss"] > easier["loss"] and one["margin"] == pytest.approx(easier["margin"])  # a margin is asked for


def test_margins_are_read_and_judged_answers_are_refused(base, tmp_path, heard):
    rows = [{**row, "margin": 0.5} for row in ROWS] + [{**ROWS[0], "prompt": "Other", "margin": "much"}]
    settings = config(write(tmp_path / "pairs.jsonl", rows), training=quick(1).plain())
    reward(job(settings, tmp_path, heard.log, model=base))
    kept = (tmp_path / "out" / "data" / "train.jsonl").read_text()
    assert kept.count('"margin": 0.5') == 34 and "'margin' is 'much', not a number" in heard.messages("warning")
    judged = [{"prompt": "Q", "completion": "A", "label": place % 2 == 0} for place in range(4)]
    with pytest.raises(InputError, match="judged answers are for the method 'prefer'"):
        reward(job(config(write(tmp_path / "judged.jsonl", judged)), tmp_path / "b", heard.log, model=base))


def test_settings_that_mean_nothing_are_errors(tmp_path):
    with pytest.raises(ConfigError, match="no pairs to learn from"):
        RewardConfig.parse({})
    with pytest.raises(ConfigError, match="task has no effect"):
        RewardConfig.parse({"data": "x", "task": "docstrings"})
    path = write(tmp_path / "pairs.jsonl", ROWS)
    judge = f"finetune={{judge: {{method: reward, from: base, data: {path}}}"
    steps = f"{judge}, chat: {{method: instruct, data: x, from: judge}}}}"
    with pytest.raises(ConfigError, match="'judge' is a reward model; only a reward model can start from it"):
        load_recipe(None, [steps])
