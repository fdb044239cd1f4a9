"""Log-probabilities and rewards of every held-out answer, as rows for the evaluation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.finetuning.common import device_and_autocast
from tutelage.finetuning.data import Row
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.finetuning.prefer.defaults import KNOWN
from tutelage.finetuning.prefer.losses import Pairs, rewards
from tutelage.model.decoder import DecoderLM
from tutelage.training.config import TrainingConfig
from tutelage.training.data.packing import PackedRows
from tutelage.training.data.position import ordered_batches
from tutelage.training.objective import target_nll

SCORES = "scores.jsonl"
Sums = NDArray[np.float64]  # [examples, 2]: summed over the chosen and over the rejected answer


@torch.no_grad()
def answer_sums(model: DecoderLM, rows: PackedRows, config: TrainingConfig) -> Sums:
    """Log-probability of each answer under `model`, summed; 0 for a side that an example does not have."""
    device, autocast = device_and_autocast(config)
    model.to(device).eval()
    values = np.zeros(rows.weights.shape, np.float32)
    size, at = max(1, config.batch_rows // config.accumulation), 0
    for batch in ordered_batches(rows, size):
        with autocast:
            nll, wanted = target_nll(model, batch.to(device))
        values[at : at + batch.rows][wanted.cpu().numpy()] = -nll.float().cpu().numpy()
        at += batch.rows
    return _summed(rows, values)


def reference_sums(rows: PackedRows) -> Sums:
    return _summed(rows, rows.extras["reference"])


def _summed(rows: PackedRows, values: NDArray[np.float32]) -> Sums:
    learned = rows.weights > 0
    pair = rows.extras["pair"][learned].astype(np.int64)
    sums = np.zeros((int(pair.max()) + 1, 2))
    np.add.at(sums, (pair, (rows.extras["side"][learned] < 0).astype(np.int64)), values[learned].astype(np.float64))
    return sums


def score_rows(config: PreferConfig, heldout: list[Row], rows: PackedRows, before: Sums, after: Sums) -> list[Row]:
    """One row per held-out row: for a pair {"id", "chosen_reward", "chosen_logp", "chosen_logp_before",
    "chosen_tokens", ...} and the same for the rejected answer, for a judged answer {"id", "label", "reward", "logp",
    "logp_before", "tokens"}.

    Rewards are the implicit ones of the loss (`losses.rewards`); log-probabilities are summed over the answer.
    """
    known = KNOWN[config.loss]
    tokens = _summed(rows, np.ones_like(rows.weights))
    if known.judged:
        side = [0 if row["label"] else 1 for row in heldout]
        return [
            {"id": row["id"], "label": row["label"], "reward": _r(config.beta * (after[at, i] - before[at, i])),
             "logp": _r(after[at, i]), "logp_before": _r(before[at, i]), "tokens": int(tokens[at, i])}
            for at, (row, i) in enumerate(zip(heldout, side, strict=True))
        ]  # fmt: skip
    reference = before if known.reference else np.zeros_like(before)
    columns = [torch.from_numpy(one[:, side]) for one in (after, reference, tokens) for side in (0, 1)]
    chosen, rejected = rewards(config.loss, Pairs(*columns), config.beta)  # type: ignore[arg-type]
    return [
        {"id": row["id"], "chosen_reward": _r(chosen[at]), "rejected_reward": _r(rejected[at]),
         "chosen_logp": _r(after[at, 0]), "rejected_logp": _r(after[at, 1]),
         "chosen_logp_before": _r(before[at, 0]), "rejected_logp_before": _r(before[at, 1]),
         "chosen_tokens": int(tokens[at, 0]), "rejected_tokens": int(tokens[at, 1])}
        for at, row in enumerate(heldout)
    ]  # fmt: skip


def _r(value: float | torch.Tensor) -> float:
    return round(float(value), 6)
