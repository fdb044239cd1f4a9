"""Optimizers and parameter groups."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import lora_layers
from tutelage.store.errors import ConfigError
from tutelage.training.config import TrainingConfig
from tutelage.training.lion import Lion
from tutelage.training.muon import Muon


def make_optimizers(model: DecoderLM, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """Optimizers of all trainable parameters. Norms get no weight decay, nor do embeddings (OLMo 2, section 3).

    A group's learning rate is the step's times its `rate_factor`.
    """
    freeze(model, config.freeze_blocks)
    if config.optimizer == "muon" and lora_layers(model):
        raise ConfigError("adapters are trained with optimizer 'adamw'", hint="Muon is for whole weight matrices")
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    bare: list[Tensor] = []
    embeddings: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name == "embed_tokens.weight":
            embeddings.append(parameter)
        elif parameter.dim() < 2 or name.endswith(".conv"):
            bare.append(parameter)
        elif name.startswith("layers."):
            matrices.append(parameter)
        else:
            others.append(parameter)
    optimizers: list[torch.optim.Optimizer] = []
    if config.optimizer == "muon" and matrices:
        optimizers.append(Muon(matrices, lr=config.learning_rate, weight_decay=config.weight_decay))
        matrices = []
    groups: list[dict[str, Any]] = [
        {"params": matrices + others, "weight_decay": config.weight_decay},
        {"params": bare, "weight_decay": 0.0},
        {"params": embeddings, "weight_decay": 0.0, "rate_factor": config.embedding_rate},
    ]
    groups = [group for group in groups if group["params"]]
    if groups:
        betas = (config.beta1, config.beta2)
        if config.optimizer == "lion":
            return [Lion(groups, lr=config.learning_rate, betas=betas)]
        optimizers.append(torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=1e-8, fused=True))
    return optimizers


def freeze(model: DecoderLM, blocks: int) -> None:
    """Keep the embeddings and the first `blocks` blocks as they are, beside whatever is frozen already."""
    if blocks > model.config.num_layers:
        raise ConfigError(f"freeze_blocks is {blocks} but the model has {model.config.num_layers} blocks")
    for name, parameter in model.named_parameters():
        frozen = blocks > 0 and (
            name.startswith("embed_") or any(name.startswith(f"layers.{block}.") for block in range(blocks))
        )
        if frozen:
            parameter.requires_grad_(False)
