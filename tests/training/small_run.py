"""A small objective and settings that several tests train with."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.model.decoder import DecoderLM
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.training.config import TrainingConfig


def objective(seed: int = 0) -> NextToken:
    generator = torch.Generator().manual_seed(seed)
    documents = [
        [(start + 3 * at) % 60 + 4 for at in range(length)]
        for start, length in zip(
            torch.randint(0, 60, (60,), generator=generator).tolist(),
            torch.randint(3, 30, (60,), generator=generator).tolist(),
            strict=True,
        )
    ]
    rows = {"train": pack_documents(documents[:50], 0, 32), "validation": pack_documents(documents[50:], 0, 32)}
    return NextToken(rows, torch.ones(64, dtype=torch.int64), 0)


def config(**changes: object) -> TrainingConfig:
    return TrainingConfig.parse(
        {"steps": 12, "batch_rows": 4, "learning_rate": 5e-3, "warmup_steps": 2, "log_every": 1,
         "checkpoint_seconds": 1000, "precision": "float32", "threads": 1, "validate_every": 4, **changes}
    )  # fmt: skip


def weights(model: DecoderLM) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
