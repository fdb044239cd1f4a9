"""Log-probabilities of every answer token under the reference model: computed once, kept for resuming."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.finetuning.common import device_and_autocast
from tutelage.model.decoder import DecoderLM
from tutelage.store.device import set_threads
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic
from tutelage.store.hashing import sha256_text
from tutelage.training.config import TrainingConfig
from tutelage.training.data.packing import PackedRows
from tutelage.training.data.position import ordered_batches
from tutelage.training.objective import target_nll


def add_reference(
    model: DecoderLM,
    model_sha256: str,
    rows: PackedRows,
    config: TrainingConfig,
    work: Path,
    log: EventLog,
    what: str = "reference",
) -> None:
    """Put the log-probabilities of the target tokens under `model` into `rows.extras["reference"]`.

    Kept in `work` under the hash of model and rows, so that a resumed run has the same numbers whatever the number of
    threads; computed in the precision of training.
    """
    key = sha256_text(f"{model_sha256}:{rows.digest()}:{config.precision}:{config.device}")
    path = work / f"reference-{key[:16]}.npy"
    if path.exists():
        values: NDArray[np.float32] = np.load(path, allow_pickle=False)
    else:
        values = reference_logprobs(model, rows, config, log, what)
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        write_atomic(path, buffer.getvalue())
    rows.extras["reference"] = values


@torch.no_grad()
def reference_logprobs(
    model: DecoderLM, rows: PackedRows, config: TrainingConfig, log: EventLog, what: str = "reference"
) -> NDArray[np.float32]:
    """Log-probability of each target token under `model`, 0 elsewhere: [rows, length] float32."""
    set_threads(config.threads)
    device, autocast = device_and_autocast(config)
    model.to(device).eval()
    size = max(1, config.batch_rows // config.accumulation)
    parts = []
    for batch in ordered_batches(rows, size):
        with autocast:
            nll, wanted = target_nll(model, batch.to(device))
        values = torch.zeros(wanted.shape, device=device)
        values[wanted] = -nll.float()
        parts.append(values.cpu().numpy())
        log.progress(what, min(len(parts) * size, len(rows)), len(rows), "rows")
    return np.concatenate(parts)
