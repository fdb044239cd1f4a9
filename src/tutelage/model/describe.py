"""Cost of an architecture from its config: parameters by part, FLOPs, and cache size."""

from __future__ import annotations

import math

from tutelage.model.cache import cache_shapes
from tutelage.model.config import ModelConfig
from tutelage.model.families.weights import parameter_shapes

PARTS = ("embedding", "attention", "mlp", "experts", "norms", "output_head", "classification_head")


def parameters(config: ModelConfig) -> dict[str, int]:
    """Number of parameters of each part of `PARTS`; a tied output head counts once, as the embedding.

    `attention` is all token mixing, `experts` the routed feed-forwards and their router.
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
    """Active parameters per token: without the embedding look-up and unselected experts."""
    parts = parameters(config)
    idle = 0
    if config.experts is not None:
        layers = sum(config.has_experts(layer) for layer in range(config.num_layers))
        one = (3 if config.gated else 2) * config.hidden_size * config.expert_size
        idle = layers * one * (config.experts.num_experts - config.experts.experts_per_token)
    head = config.vocab_size * config.hidden_size
    return parts["attention"] + parts["mlp"] + parts["experts"] - idle + head


def mixing_flops(config: ModelConfig, context: int) -> int:
    """Forward FLOPs per token of token mixing without projections, at a context length.

    Attention: 2 per multiply-add of scores and values, over the full context or window (not halved for causality: PaLM,
    appendix B). Gated delta rule: three products with the memory.
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
    """Forward FLOPs per token at a context length; training costs three times as much. Norms are not counted."""
    return 2 * multiplied_parameters(config) + mixing_flops(config, context)


def cache_values_per_token(config: ModelConfig) -> int:
    """Cached values per token."""
    return sum(
        heads * dim for layer in range(config.num_layers) for heads, dim in cache_shapes(config, layer)[0].values()
    )


def state_values(config: ModelConfig) -> int:
    """Cached values per text, independent of its length."""
    return sum(
        math.prod(shape) for layer in range(config.num_layers) for shape in cache_shapes(config, layer)[1].values()
    )


def features(config: ModelConfig) -> dict[str, str]:
    """A short description of each part; absent parts are left out."""
    found = {
        "embedding": _embedding(config),
        "positions": _positions(config),
        "norm": _norm(config),
        "mixing": _mixing(config),
        "attention": _attention(config),
        "feed-forward": _feed_forward(config),
        "experts": _experts(config),
        "head": _head(config),
    }
    return {name: text for name, text in found.items() if text}


def _embedding(config: ModelConfig) -> str:
    scale = "" if config.embedding_scale == 1 else f", times {config.embedding_scale:.4g}"
    return f"{config.vocab_size:,} tokens of {config.hidden_size}{scale}"


def _positions(config: ModelConfig) -> str:
    if config.positions != "rope":
        return {"learned": f"learned, up to {config.max_position_embeddings:,}", "alibi": "ALiBi", "none": "none"}[
            config.positions
        ]
    text = f"RoPE, base {config.rope_theta:,.0f}"
    if config.rope_local_theta:
        text += f" ({config.rope_local_theta:,.0f} in windows)"
    if config.rope_fraction < 1 and config.latent is None:
        text += f", on {config.rope_fraction:.0%} of a head"
    if config.rope_scaling:
        text += f", {config.rope_scaling.kind} x {config.rope_scaling.factor:g}"
    without = sum(not config.has_rope(layer) for layer in range(config.num_layers))
    return text + (f"; none in {without} of {config.num_layers} layers" if without else "")


def _norm(config: ModelConfig) -> str:
    name = {"rmsnorm": "RMSNorm", "layernorm": "LayerNorm"}[config.norm]
    place = {"pre": "before", "post": "after", "sandwich": "before and after"}[config.norm_place]
    return f"{name} {place} each part" + (", parts in parallel" if config.parallel_residual else "")


def _mixing(config: ModelConfig) -> str:
    kinds = [config.layer_type(layer) for layer in range(config.num_layers)]
    said = {
        "full": "all",
        "sliding": f"the last {config.sliding_window:,}" if config.sliding_window else "",
        "delta": "a memory of fixed size (gated delta rule)",
    }
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    if len(counts) == 1:
        return f"sees {said[kinds[0]]}"
    return "; ".join(f"{count} layers see {said[kind]}" for kind, count in counts.items())


def _attention(config: ModelConfig) -> str:
    if all(config.layer_type(layer) == "delta" for layer in range(config.num_layers)):
        return ""
    heads, groups = config.num_heads, config.num_kv_heads
    if config.latent is not None:
        parts = [f"latent (MLA), {heads} heads, {config.latent.kv_rank} remembered per token"]
    else:
        kind = "multi-head" if groups == heads else "multi-query" if groups == 1 else f"{groups} key heads (GQA)"
        parts = [f"{heads} heads of {config.dim_per_head}, {kind}"]
    parts += [
        text
        for wanted, text in (
            (config.qk_norm == "head", "QK-norm"),
            (config.qk_norm == "layer", "QK-norm over all heads"),
            (config.attention_bias, "biases"),
            (bool(config.attention_softcap), f"softcap {config.attention_softcap:g}"),
            (config.attention_sinks, "sinks"),
            (config.attention_gate, "gated output"),
        )
        if wanted
    ]
    return ", ".join(parts)


def _feed_forward(config: ModelConfig) -> str:
    dense = sum(not config.has_experts(layer) for layer in range(config.num_layers))
    if not dense:
        return ""
    where = "" if dense == config.num_layers else f" in {dense} layers"
    return f"{_gate(config)}, {config.intermediate_size:,} wide{', biases' if config.mlp_bias else ''}{where}"


def _experts(config: ModelConfig) -> str:
    experts = config.experts
    if experts is None:
        return ""
    layers = sum(config.has_experts(layer) for layer in range(config.num_layers))
    where = "" if layers == config.num_layers else f" in {layers} layers"
    shared = f", one shared of {experts.shared_size:,}" if experts.shared_size else ""
    balance = {"none": "", "auxiliary": ", balanced by a loss", "bias": ", balanced by a bias"}[experts.balance]
    chosen = f"{experts.experts_per_token} of {experts.num_experts}"
    return f"{chosen}, {_gate(config)}, {config.expert_size:,} wide{shared}{balance}{where}"


def _gate(config: ModelConfig) -> str:
    if config.gated:
        names = {"silu": "SwiGLU", "gelu": "GeGLU", "gelu_tanh": "GeGLU", "relu2": "gated ReLU²"}
        return names.get(config.activation, "clamped SwiGLU")
    return {"silu": "SiLU", "gelu": "GELU", "gelu_tanh": "GELU", "relu2": "ReLU²"}[config.activation]


def _head(config: ModelConfig) -> str:
    parts = ["the embedding (tied)" if config.tie_word_embeddings else "its own"]
    if config.logit_divisor != 1:
        parts.append(f"divided by {config.logit_divisor:g}")
    if config.logit_softcap:
        parts.append(f"softcap {config.logit_softcap:g}")
    return ", ".join(parts)
