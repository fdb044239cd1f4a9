"""Pairs whose prompt is read once cost what both conversations cost apart: each answer in a document of its own."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from tutelage.finetuning.common import with_head
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.finetuning.prefer.examples import preference_examples
from tutelage.finetuning.prefer.objective import Preference
from tutelage.finetuning.prefer.reference import add_reference
from tutelage.finetuning.prefer.scores import answer_sums, reference_sums
from tutelage.finetuning.prefer.stage import prefer
from tutelage.finetuning.reward.config import RewardConfig
from tutelage.finetuning.reward.objective import Reward, pair_scores
from tutelage.finetuning.reward.rows import reward_examples
from tutelage.finetuning.reward.stage import reward
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import save_model
from tutelage.model.lora import LoraConfig, add_lora, lora_layers
from tutelage.training.blocks import prepared
from tutelage.training.data.packing import pack

from .conftest import job, quick

TURNS = [{"role": "user", "content": "Sort."}, {"role": "assistant", "content": "Which?"},
         {"role": "user", "content": "The nodes of the first table."}]  # fmt: skip
ROWS = [
    {"id": "0", "prompt": "Sort the nodes.", "chosen": "The nodes are sorted.", "rejected": "No."},
    {"id": "1", "prompt": "Count.", "chosen": "The paths of the list", "rejected": "The paths of the store."},
    {"id": "2", "prompt": "Merge the lines of the given list.", "chosen": "Done", "rejected": "Done twice."},
    {"id": "3", "prompt": "Merge the lines of the open store.", "chosen": "Done twice.", "rejected": "Done"},
    {"id": "4", "prompt": "The nodes of the first table.", "messages": TURNS, "chosen": "Yes.", "rejected": "yes yes."},
    {"id": "5", "prompt": "Q", "chosen": "Same.", "rejected": "Same."},
]
LAYOUTS = {"branches": True, "documents": False}


def rows_of(make, tok, length):
    """The same pairs packed in both layouts, several in a row."""
    made = {name: make(tok, ROWS, 128, branches) for name, branches in LAYOUTS.items()}
    packed = {name: pack(examples, length, tok.pad_id) for name, (examples, _) in made.items()}
    once, twice = packed.values()
    assert len(once) < len(twice) < len(ROWS) and once.branches is not None and twice.branches is None
    assert once.num_tokens + made["branches"][1].shared == twice.num_tokens
    return packed


def gradient_of(model, loss):
    model.zero_grad()
    loss.sum.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "simpo"])
def test_loss_gradient_and_log_probabilities_of_pairs(kind, tok, shape, tmp_path, heard):
    model, other = DecoderLM(shape, seed=3), DecoderLM(shape, seed=9)
    found = {}
    for name, rows in rows_of(preference_examples, tok, 120).items():
        add_reference(other, "other", rows, quick(1), tmp_path, heard.log)
        objective = Preference(rows, rows, kind, 0.5, sft_weight=0.3, stop_ids=tok.stop_ids)
        loss = objective.loss(model, rows.batch(np.arange(len(rows))))
        figures = [*loss.metrics.values(), (loss.sum.detach(), loss.weight)]
        found[name] = (
            torch.tensor([[float(a), float(b)] for a, b in figures]), gradient_of(model, loss),
            torch.tensor(answer_sums(model, rows, quick(1))), torch.tensor(reference_sums(rows)),
        )  # fmt: skip
    assert len(list(tmp_path.glob("reference-*.npy"))) == 2  # one layout's numbers are not the other's
    for once, twice in zip(*found.values(), strict=True):
        torch.testing.assert_close(once, twice, rtol=1e-5, atol=1e-5)
    assert found["branches"][1].norm() > 1e-3


def test_rewards_and_their_gradient(tok, shape):
    model = with_head(DecoderLM(shape, seed=3), ["reward"], 7)
    found = {}
    for name, rows in rows_of(reward_examples, tok, 120).items():
        batch = rows.batch(np.arange(len(rows)))
        order = torch.unique(batch.extras["pair"][batch.weights > 0])
        assert order.tolist() == list(range(len(ROWS)))
        gradient = gradient_of(model, Reward(rows, rows, 0.05).loss(model, batch))
        found[name] = (*(one.detach() for one in pair_scores(model, batch)), gradient)
    for once, twice in zip(*found.values(), strict=True):
        torch.testing.assert_close(once, twice, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs a C++ compiler")
@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4)], ids=["full", "lora"])
def test_compiled_blocks_read_branches_the_same(lora, tok, shape):
    model = DecoderLM(shape.with_(family="custom", sliding_window=8, layer_types=("sliding", "full")), seed=3)
    if lora is not None:
        add_lora(model, lora, seed=1)
        for adapter in lora_layers(model).values():
            torch.nn.init.normal_(adapter.lora_B, std=0.1)
    rows = rows_of(preference_examples, tok, 120)["branches"]
    objective = Preference(rows, rows, "simpo", 0.5, sft_weight=0.3, stop_ids=tok.stop_ids)
    found = []
    for compiled in (False, True):
        torch._dynamo.reset()
        with prepared(model.train(), quick(1, compile=compiled)):
            loss = objective.loss(model, rows.batch(np.arange(len(rows))))
            found.append((loss.sum.detach(), gradient_of(model, loss)))
    for plain, fused in zip(*found, strict=True):
        torch.testing.assert_close(plain, fused, rtol=1e-5, atol=1e-5)
    assert found[0][1].norm() > 1e-3


def test_a_model_with_a_running_state_reads_each_answer_apart(tok, shape, base, tmp_path, heard):
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps(ROWS[n % 4] | {"prompt": f"Q{n}"}) + "\n" for n in range(9))
    )
    delta = {"num_key_heads": 1, "num_value_heads": 1, "key_head_dim": 8, "value_head_dim": 8}
    mixed = shape.with_(family="custom", layer_types=("delta", "full"), delta=delta)
    assert not mixed.can_branch and mixed.with_(num_layers=1, layer_types=("full", "delta")).can_branch
    save_model(DecoderLM(mixed, seed=1), tmp_path / "mixed")
    tok.save(tmp_path / "mixed")
    for config, stage in ((PreferConfig, prefer), (RewardConfig, reward)):
        settings = {"data": str(tmp_path / "pairs.jsonl"), "context_length": 128, "training": quick(1).plain()}
        settings |= {"drift_prompts": 0} if stage is prefer else {}
        for model, said in ((tmp_path / "mixed", 0), (base, 1)):
            heard.events.clear()
            place = tmp_path / f"{stage.__name__}-{said}"
            metrics = stage(job(config.parse(settings), place, heard.log, model=model))
            assert metrics["pairs"] + metrics["heldout_pairs"] == 9
            assert ("each prompt is read once for both of its answers" in heard.messages("note")) == bool(said)
