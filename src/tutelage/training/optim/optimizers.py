"""Optimizers and parameter groups."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.model.decoder import DecoderLM
from tutelage.model.lora import lora_layers
from tutelage.store.errors import ConfigError
from tutelage.training.config import TrainingConfig
from tutelage.training.optim.lion import Lion
from tutelage.training.optim.muon import Muon
from tutelage.training.optim.mup import check_mup, rate_factors
from tutelage.training.optim.schedule_free import ScheduleFreeAdamW
from tutelage.training.optim.soap import SOAP


def make_optimizers(
    model: DecoderLM, config: TrainingConfig, precision: torch.dtype = torch.float32
) -> list[torch.optim.Optimizer]:
    """Build the optimizers of all trainable parameters. No weight decay on norms and embeddings (OLMo 2, section 3).

    A group's learning rate is the step's times its `rate_factor`. `precision`: of the run; Muon orthogonalises in it.
    """
    freeze(model, config.freeze_blocks)
    if config.optimizer in ("muon", "soap") and lora_layers(model):
        raise ConfigError("adapters require optimizer 'adamw'", hint=f"{config.optimizer} is for full matrices")
    check_mup(model.config, config.base_width)
    hidden_factor, head_factor = rate_factors(model.config, config.base_width, config.optimizer)
    names = ("matrix", "lora_B", "head", "position", "bare", "embedding")
    kinds: dict[str, list[Tensor]] = {kind: [] for kind in names}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kinds[kind_of(name, parameter)].append(parameter)
    rate, decay, betas = config.learning_rate, config.weight_decay, (config.beta1, config.beta2)
    # Adapters share one b_rate; without adapters their group is empty.
    b_rate = next((layer.adapter.b_rate for layer in lora_layers(model).values()), 1.0)
    # Weight decay is divided by the rate factor, so that the relative decay is the same in every group.
    matrices = {"params": kinds["matrix"], "weight_decay": decay / hidden_factor, "rate_factor": hidden_factor}
    rest = [
        {**matrices, "params": kinds["lora_B"], "rate_factor": hidden_factor * b_rate},
        {"params": kinds["head"], "weight_decay": decay / head_factor, "rate_factor": head_factor},
        {"params": kinds["position"], "weight_decay": decay},
        {"params": kinds["bare"], "weight_decay": 0.0},
        {"params": kinds["embedding"], "weight_decay": 0.0, "rate_factor": config.embedding_rate},
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if config.optimizer in ("muon", "soap") and kinds["matrix"]:
        muon = config.optimizer == "muon"
        optimizers.append(Muon([matrices], lr=rate, precision=precision) if muon else SOAP([matrices], lr=rate))
    else:
        rest = [matrices, *rest]
    groups: list[dict[str, Any]] = [group for group in rest if group["params"]]
    if not groups:
        return optimizers
    if config.optimizer == "lion":
        return [Lion(groups, lr=rate, betas=betas)]
    if config.optimizer == "schedule_free":
        return [ScheduleFreeAdamW(groups, lr=rate, betas=betas)]
    return [*optimizers, torch.optim.AdamW(groups, lr=rate, betas=betas, eps=1e-8, fused=True)]


def kind_of(name: str, parameter: Tensor) -> str:
    """`matrix` inside a block, output `head`, token `embedding` or `position`, `bare`: norms, biases, convolutions;
    `lora_B`: of adapters."""
    if name == "embed_tokens.weight":
        return "embedding"
    if parameter.dim() < 2 or name.endswith(".conv"):
        return "bare"
    if name.endswith(".lora_B"):
        return "lora_B"
    if name.startswith("layers."):
        return "matrix"
    return "position" if name.startswith("embed_") else "head"


def freeze(model: DecoderLM, blocks: int) -> None:
    """Freeze the embeddings and the first `blocks` blocks, in addition to already frozen weights."""
    if blocks > model.config.num_layers:
        raise ConfigError(f"freeze_blocks is {blocks} but the model has {model.config.num_layers} blocks")
    for name, parameter in model.named_parameters():
        frozen = blocks > 0 and (
            name.startswith("embed_") or any(name.startswith(f"layers.{block}.") for block in range(blocks))
        )
        if frozen:
            parameter.requires_grad_(False)
