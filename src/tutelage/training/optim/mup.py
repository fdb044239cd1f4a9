"""Maximal update parametrisation (muP): transfers a learning rate from a narrow model to a wide one.

Yang et al. 2022 ("Tensor Programs V"), table 3, relative to a base width at which nothing changes. With width ratio r:
hidden matrices are initialised at 1/sqrt(r) and get 1/r of the learning rate (Adam); the output head is initialised at
1/r and gets 1/r; embeddings, norms and biases are unchanged. Wider means more heads of the same size.
"""

from __future__ import annotations

import torch

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import ConfigError


def width_ratio(config: ModelConfig, base_width: int) -> float:
    """Width ratio of the model to the base; 1 for base_width 0 (off)."""
    return config.hidden_size / base_width if base_width else 1.0


def check_mup(config: ModelConfig, base_width: int) -> None:
    """Raises ConfigError for tied embeddings: one matrix cannot have two initialisations."""
    ratio = width_ratio(config, base_width)
    if ratio != 1 and config.tie_word_embeddings and abs(config.logit_divisor - ratio) > 1e-6 * ratio:
        raise ConfigError(
            f"training.base_width ({base_width}) requires an untied output head",
            hint=f"set model.tie_word_embeddings=false (or model.logit_divisor={ratio:g})",
        )


@torch.no_grad()
def scale_initialisation(model: DecoderLM, base_width: int) -> None:
    """Rescale newly initialised weights in place."""
    check_mup(model.config, base_width)
    ratio = width_ratio(model.config, base_width)
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or name.endswith(".conv"):
            continue
        if name.startswith("layers."):
            parameter.mul_(ratio**-0.5)
        elif name.startswith(("lm_head.", "score.")):
            parameter.mul_(1 / ratio)


def rate_factors(config: ModelConfig, base_width: int, optimizer: str) -> tuple[float, float]:
    """Learning-rate factors of the hidden matrices and of the output head.

    An orthogonalised update scaled by 0.2 sqrt(width) has a spectral norm that grows with the square root of the width;
    that of a sign or Adam update grows with the width.
    """
    ratio = width_ratio(config, base_width)
    return ratio**-0.5 if optimizer == "muon" else 1 / ratio, 1 / ratio
