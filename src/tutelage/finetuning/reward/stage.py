"""The stage of reward modelling."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tutelage.finetuning.common import (
    account,
    adapt,
    context_of,
    device_and_autocast,
    load_base,
    run_metrics,
    with_head,
    write_model,
)
from tutelage.finetuning.data import Row, write_rows
from tutelage.finetuning.examples import row_length
from tutelage.finetuning.prefer.pairs import length_bias
from tutelage.finetuning.prefer.scores import SCORES
from tutelage.finetuning.preflight.tell import keep_and_tell
from tutelage.finetuning.reward.objective import Reward, pair_scores
from tutelage.finetuning.reward.preflight import scored_account
from tutelage.finetuning.reward.rows import encode_scored, limited, own_rows, reward_examples
from tutelage.model.decoder import DecoderLM
from tutelage.store import format as f
from tutelage.store.stage import Job
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.config import TrainingConfig
from tutelage.training.data.packing import PackedRows, pack
from tutelage.training.data.position import ordered_batches
from tutelage.training.loop import train

LABELS = ["reward"]


def reward(job: Job) -> dict[str, Any]:
    """Turn a chat model into a reward model: one score at the last token of a conversation.

    `out` becomes a model directory, loadable by transformers as AutoModelForSequenceClassification with one label, with
    both splits and the rewards of the held-out answers (`scores.jsonl`) under `data/`.
    """
    config, base, out, log = job.config, job.inputs["model"], job.out, job.log
    split, audit = own_rows(config, log, job.data_seed)
    split.tell(log)
    train_rows = limited(config, split.train, log, job.data_seed)
    tok = Tokenizer.load(base)
    model = with_head(load_base(base, config.lora), LABELS, job.seed)
    # transformers finds the last token by this padding id.
    model.config = model.config.with_(pad_token_id=tok.pad_id)
    context = context_of(config.context_length, model.config, log)
    encoded = encode_scored(tok, train_rows, model.config.can_branch)
    keep_and_tell(scored_account(tok, train_rows, split.heldout, encoded, context, audit, config.columns), out, log)
    examples, supervision = encoded.fitting(context)
    held_examples, held_supervision = reward_examples(tok, split.heldout, context, model.config.can_branch)
    supervision.tell_shared("reward training", log)
    held_supervision.tell_dropped("reward held out", context, log)
    train_rows, heldout = supervision.kept_of(train_rows), held_supervision.kept_of(split.heldout)
    write_rows(out / "data" / "train.jsonl", train_rows)
    write_rows(out / "data" / "heldout.jsonl", heldout)
    length = row_length(examples + held_examples, context)
    held = pack(held_examples, length, tok.pad_id)
    objective = Reward(pack(examples, length, tok.pad_id), held, config.centering)
    adapt(model, config.lora, job.seed, log, job.work)
    result = train(model, objective, config.training, job.work, log, job.seed, data_seed=job.data_seed)
    write_rows(out / "data" / SCORES, _scores(model, held, heldout, config.training))
    write_model(model, tok, result.curve, out, base, log)
    share = result.final["reward_accuracy"]
    return {
        "pairs": len(train_rows),
        "heldout_pairs": len(heldout),
        "told_apart": f.few_pairs(share, len(heldout), f.PAIRS_UNIT) or f.percent(share),
        **length_bias(train_rows),
        "supervision": supervision.plain(),
        **account(audit),
        **run_metrics(result),
    }


@torch.no_grad()
def _scores(model: DecoderLM, rows: PackedRows, heldout: list[Row], config: TrainingConfig) -> list[Row]:
    """{"id", "chosen_reward", "rejected_reward"} of each held-out pair."""
    device, autocast = device_and_autocast(config)
    model.to(device).eval()
    rewards = np.zeros((len(heldout), 2))
    for batch in ordered_batches(rows, max(1, config.batch_rows // config.accumulation)):
        numbers = torch.unique(batch.extras["pair"][batch.weights > 0]).long().numpy()
        with autocast:
            chosen, rejected, _ = pair_scores(model, batch.to(device))
        rewards[numbers] = torch.stack([chosen, rejected], 1).float().cpu().numpy()
    return [
        {"id": row["id"], "chosen_reward": round(float(good), 6), "rejected_reward": round(float(bad), 6)}
        for row, (good, bad) in zip(heldout, rewards, strict=True)
    ]
