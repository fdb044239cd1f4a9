"""What an architecture costs, from its config alone: parameters by part, FLOPs, what is remembered of a text."""

from __future__ import annotations

import math

from tutelage.model.cache import cache_shapes
from tutelage.model.config import ModelConfig
from tutelage.model.families.weights import parameter_shapes

PARTS = ("embedding", "attention", "mlp", "experts", "norms", "output_head", "classification_head")


def parameters(config: ModelConfig) -> dict[str, int]:
    """Number of parameters of each part of `PARTS`; a tied output head is the embedding and counts once.

    `attention` is all that mixes along the text, `experts` the feed-forwards that are chosen among and their router.
    """
    out = dict.fromkeys(PARTS, 0)
    for name, shape in parameter_shapes(config).items():
        if not name.endswith(".correction"):  # a buffer
            out[_part(config, name)] += shape.numel()
    return out


def _part(config: ModelConfig, name: str) -> str:
    if name.startswith("embed_"):
        return "embedding"
    if name.startswith("lm_head."):
        return "output_head"
    if name.startswith("score."):
        return "classification_head"
    if "norm." in name:
        return "norms"
    if ".attention." in name:
        return "attention"
    layer = int(name.split(".")[1])
    return "experts" if config.has_experts(layer) and ".shared" not in name else "mlp"


def multiplied_parameters(config: ModelConfig) -> int:
    """Parameters that one token is multiplied with: the embedding look-up and experts not chosen do not count."""
    parts = parameters(config)
    idle = 0
    if config.experts is not None:
        layers = sum(config.has_experts(layer) for layer in range(config.num_layers))
        one = (3 if config.gated else 2) * config.hidden_size * config.expert_size
        idle = layers * one * (config.experts.num_experts - config.experts.experts_per_token)
    head = config.vocab_size * config.hidden_size
    return parts["attention"] + parts["mlp"] + parts["experts"] - idle + head


def mixing_flops(config: ModelConfig, context: int) -> int:
    """FLOPs per token, forward, of what mixes along the text beside its projections, at a context length.

    Attention: 2 for each multiply-add of scores and of values, over the whole context or window (the causal half is
    not taken off: PaLM, appendix B). Gated delta rule: three products with the memory.
    """
    total = 0
    for layer in range(config.num_layers):
        seen = min(context, config.window(layer) or context)
        if config.layer_type(layer) == "delta":
            assert config.delta is not None
            delta = config.delta
            total += 6 * delta.num_value_heads * delta.key_head_dim * delta.value_head_dim
        elif config.latent is not None:
            latent = config.latent
            sizes = latent.nope_head_dim + latent.rope_head_dim + latent.value_head_dim
            total += 2 * config.num_heads * sizes * seen
        else:
            total += 4 * config.num_heads * config.dim_per_head * seen
    return total


def forward_flops(config: ModelConfig, context: int) -> int:
    """FLOPs to read or make one token at a context length; training costs three times as much. Norms are left out."""
    return 2 * multiplied_parameters(config) + mixing_flops(config, context)


def cache_values_per_token(config: ModelConfig) -> int:
    """Numbers that are remembered of every token."""
    return sum(
        heads * dim for layer in range(config.num_layers) for heads, dim in cache_shapes(config, layer)[0].values()
    )


def state_values(config: ModelConfig) -> int:
    """Numbers that are remembered of a text whatever its length."""
    return sum(
        math.prod(shape) for layer in range(config.num_layers) for shape in cache_shapes(config, layer)[1].values()
    )
