"""The identity of a run: a hash of everything that its result depends on."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import lora_layers
from tutelage.store.hashing import sha256_json
from tutelage.training.config import TrainingConfig
from tutelage.training.objective import Objective

# Monitoring and the number of processes do not change what a run computes (except for the order of sums).
NOT_COUNTED = {"checkpoint_seconds", "keep_checkpoints", "threads", "parallel", "tune", "layers_every", "stop_on"}


def fingerprint(objective: Objective, config: TrainingConfig, model: DecoderLM, seed: int, data_seed: int) -> str:
    """Hash of the run's inputs, including both seeds and the frozen weights, which checkpoints do not contain."""
    settings = {key: value for key, value in config.plain().items() if key not in NOT_COUNTED}
    adapters = {path: asdict(layer.adapter) for path, layer in lora_layers(model).items()}
    parts = [objective.name, objective.rows["train"].digest(), settings, model.config.plain(), seed, data_seed]
    return sha256_json([*parts, adapters, _frozen_digest(model)])


def _frozen_digest(model: DecoderLM) -> str:
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            digest.update(f"{name}{tuple(parameter.shape)}{parameter.dtype}".encode())
            digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
