"""The configuration of a decoder: frozen, validated, independent of any library's config format."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tutelage.store.config import Config

LayerType = Literal["full", "sliding", "delta"]
Pooling = Literal["last", "mean", "last_k"]

CLASSES = {
    "num_labels",
    "labels",
    "multi_label",
    "ordinal",
    "pooling",
    "pool_tokens",
}  # fields that describe a classifier's head


class RopeScaling(Config):
    """RoPE scaling for contexts longer than in training.

    linear: scales all frequencies by `factor` (Chen et al. 2023). ntk: changes the base, so that the lowest frequency
    is scaled by `factor` and the highest not at all. llama3: scales low frequencies by `factor`, keeps high ones, with
    a ramp in between. yarn: similar, by the number of rotations within the original length, with an attention
    temperature (Peng et al. 2023). longrope: a factor per frequency (Ding et al. 2024); only the short factors are
    used, so the context is the original one.
    """

    kind: Literal["linear", "ntk", "llama3", "yarn", "longrope"]
    factor: float = Field(1.0, gt=0)
    original_length: int = Field(0, ge=0)
    low_frequency: float = 1.0  # llama3
    high_frequency: float = 4.0
    beta_fast: float = 32.0  # yarn
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float | None = None
    mscale: float = 0.0
    mscale_all_dim: float = 0.0
    short_factors: tuple[float, ...] = ()  # longrope
    long_factors: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind in ("llama3", "yarn", "longrope") and not self.original_length:
            raise ValueError(f"rope scaling {self.kind!r} needs original_length")
        if self.kind == "longrope" and not self.short_factors:
            raise ValueError("rope scaling 'longrope' needs short_factors")
        return self


class LatentAttention(Config):
    """Multi-head latent attention: keys and values from one small latent per token (DeepSeek-V2, section 2.1)."""

    kv_rank: int = Field(512, ge=1)
    q_rank: int = Field(0, ge=0)  # 0: queries are projected directly from the hidden state
    nope_head_dim: int = Field(128, ge=1)
    rope_head_dim: int = Field(64, ge=2)
    value_head_dim: int = Field(128, ge=1)


class DeltaNet(Config):
    """Linear attention by the gated delta rule (Yang et al. 2024, "Gated Delta Networks")."""

    num_key_heads: int = Field(16, ge=1)
    num_value_heads: int = Field(32, ge=1)
    key_head_dim: int = Field(128, ge=1)
    value_head_dim: int = Field(128, ge=1)
    conv_kernel: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.num_value_heads % self.num_key_heads:
            raise ValueError("delta.num_value_heads must be a multiple of delta.num_key_heads")
        return self


class Experts(Config):
    """Mixture of experts: each token is routed to `experts_per_token` of `num_experts` feed-forwards, without dropping.

    score: maps router logits to weights. normalise: the weights of the selected experts sum to 1, times `scaling`.
    groups: select within the best `groups_used` of this many groups (DeepSeek-V3, section 2.1.2). balance: none, an
    auxiliary loss of weight `balance_rate` (Fedus et al. 2021, eq. 4), or a routing bias updated by `balance_rate` each
    step (Wang et al. 2024). The first `first_dense` layers are dense; of the rest, every `every`-th has experts.
    `shared_size`: width of the shared expert, which processes all tokens.
    """

    num_experts: int = Field(8, ge=2)
    experts_per_token: int = Field(2, ge=1)
    intermediate_size: int = Field(0, ge=0)  # 0: the model's
    score: Literal["softmax", "sigmoid"] = "softmax"
    normalise: bool = True
    scaling: float = 1.0
    groups: int = Field(1, ge=1)
    groups_used: int = Field(1, ge=1)
    shared_size: int = Field(0, ge=0)
    shared_gate: bool = False
    bias: bool = False  # of router and experts
    first_dense: int = Field(0, ge=0)
    every: int = Field(1, ge=1)
    dense_layers: tuple[int, ...] = ()
    balance: Literal["none", "auxiliary", "bias"] = "auxiliary"
    balance_rate: float = Field(0.001, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.experts_per_token > self.num_experts:
            raise ValueError(f"experts_per_token ({self.experts_per_token}) exceeds num_experts ({self.num_experts})")
        if self.num_experts % self.groups or self.groups_used > self.groups:
            raise ValueError(f"num_experts ({self.num_experts}) must divide into groups ({self.groups})")
        if self.groups > 1 and self.num_experts // self.groups < 2:
            raise ValueError("a group requires at least two experts")
        if self.experts_per_token > self.num_experts // self.groups * self.groups_used:
            raise ValueError("experts_per_token exceeds the number of experts in the groups used")
        return self

    def in_layer(self, layer: int) -> bool:
        return layer >= self.first_dense and layer not in self.dense_layers and (layer + 1) % self.every == 0


# Fields that latent attention does not support, with their "off" values.
_NOT_LATENT: dict[str, Any] = {
    "qk_norm": "none", "attention_sinks": False, "attention_softcap": 0.0, "attention_gate": False,
    "rope_local_theta": None,
}  # fmt: skip


class ModelConfig(Config):
    """Shape and parts of a `DecoderLM`, as validated plain data. The default sizes are the quickstart's: a small modern
    decoder of 3M parameters at the default vocabulary, which two CPU cores train in minutes.

    `family` is resolved elsewhere: a `FamilyConfig` (`model/families/`) takes its parts from its family and is
    validated against it. Family `custom` may combine any parts. `vocab_size` 0: the tokenizer's. `head_dim` 0:
    hidden_size / num_heads. Patterns (`layer_types`, `rope_layers`) repeat over the layers. `num_labels` > 0 adds a
    classification head (`score`) with class names `labels`; a text has exactly one of them, or any number if
    `multi_label`. `ordinal`: the labels are ordered. `pooling`: the head's input: the state at the last token, the mean
    over all tokens, or over the last `pool_tokens`.
    """

    family: str = "custom"
    vocab_size: int = Field(0, ge=0)
    hidden_size: int = Field(128, ge=8)
    intermediate_size: int = Field(352, ge=8)
    num_layers: int = Field(5, ge=1)
    num_heads: int = Field(2, ge=1)
    num_kv_heads: int = Field(1, ge=1)
    head_dim: int = Field(0, ge=0)
    max_position_embeddings: int = Field(256, ge=8)
    initializer_range: float = Field(0.02, gt=0)

    # Embeddings and head
    tie_word_embeddings: bool = False
    embedding_multiplier: float | Literal["sqrt"] = 1.0  # "sqrt": the square root of hidden_size
    residual_multiplier: float = Field(1.0, gt=0)
    logit_divisor: float = Field(1.0, gt=0)
    logit_softcap: float = Field(0.0, ge=0)  # 0: none

    # Norms
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    norm_eps: float = Field(1e-6, gt=0)
    norm_offset: bool = False  # the stored weight is the scale minus one
    norm_place: Literal["pre", "post", "sandwich"] = "pre"
    parallel_residual: bool = False

    # Positions
    positions: Literal["rope", "learned", "alibi", "none"] = "rope"
    rope_theta: float = Field(10000.0, gt=0)
    rope_fraction: float = Field(1.0, gt=0, le=1)  # rotated share of each head
    rope_interleaved: bool = False
    rope_scaling: RopeScaling | None = None
    rope_local_theta: float | None = None  # base of sliding layers, without scaling
    rope_layers: tuple[bool, ...] = (True,)

    # Attention and other token mixing
    layer_types: tuple[LayerType, ...] = ("full",)
    sliding_window: int | None = Field(None, ge=1)
    qk_norm: Literal["none", "head", "layer"] = "none"
    attention_bias: bool = False  # of q, k, v
    attention_out_bias: bool = False
    attention_scale: float | None = Field(None, gt=0)  # None: 1 / sqrt(head_dim)
    attention_softcap: float = Field(0.0, ge=0)
    attention_sinks: bool = False
    attention_gate: bool = False
    latent: LatentAttention | None = None
    delta: DeltaNet | None = None

    # Feed-forward
    activation: Literal["silu", "gelu", "gelu_tanh", "relu2", "clamped_swish"] = "silu"
    gated: bool = True
    mlp_bias: bool = False
    experts: Experts | None = None

    num_labels: int = Field(0, ge=0)
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    ordinal: bool = False
    pooling: Pooling = "last"
    pool_tokens: int = Field(0, ge=0)
    bos_token_id: int | None = None
    eos_token_id: tuple[int, ...] = ()
    pad_token_id: int | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads ({self.num_heads}) must be a multiple of num_kv_heads ({self.num_kv_heads})")
        if not self.head_dim and self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_heads ({self.num_heads}), "
                "or head_dim be given"
            )
        if self.positions == "rope" and self.rotary_dim % 2:
            raise ValueError(f"head_dim ({self.dim_per_head}) must be even for rotary positions")
        if "sliding" in self.layer_types and not self.sliding_window:
            raise ValueError("layer_types has sliding layers: set sliding_window")
        if "delta" in self.layer_types and self.delta is None:
            raise ValueError("layer_types has delta layers: set delta")
        if not self.layer_types or not self.rope_layers:
            raise ValueError("a pattern of layers must not be empty")
        if self.parallel_residual and self.norm_place != "pre":
            raise ValueError("parallel_residual requires norm_place 'pre'")
        if self.latent is not None:
            for key, none in _NOT_LATENT.items():
                if getattr(self, key) != none:
                    raise ValueError(f"latent attention cannot have {key}={getattr(self, key)!r}")
            if self.positions == "alibi":
                raise ValueError("latent attention cannot have positions 'alibi'")
        if self.activation == "clamped_swish" and not self.gated:
            raise ValueError("activation 'clamped_swish' requires gated: true")
        if self.labels and len(self.labels) != self.num_labels:
            raise ValueError(f"{len(self.labels)} labels are named but num_labels is {self.num_labels}")
        if self.multi_label and not self.num_labels:
            raise ValueError("multi_label requires a classification head: set num_labels")
        if self.ordinal and (self.multi_label or self.num_labels < 3):
            raise ValueError("ordinal requires at least three labels and excludes multi_label")
        check_pooling(self.pooling, self.pool_tokens)
        return self

    @property
    def dim_per_head(self) -> int:
        return self.head_dim or self.hidden_size // self.num_heads

    @property
    def embedding_scale(self) -> float:
        return self.hidden_size**0.5 if self.embedding_multiplier == "sqrt" else self.embedding_multiplier

    @property
    def rotary_dim(self) -> int:
        """Number of rotated dimensions per head."""
        if self.latent is not None:
            return self.latent.rope_head_dim
        return int(self.dim_per_head * self.rope_fraction)

    @property
    def expert_size(self) -> int:
        return (self.experts and self.experts.intermediate_size) or self.intermediate_size

    @property
    def can_branch(self) -> bool:
        """Whether documents may have branches (see `AttentionMask`): true if every layer is attention.

        A recurrent state would carry one branch into the next.
        """
        return all(self.layer_type(layer) != "delta" for layer in range(self.num_layers))

    def layer_type(self, layer: int) -> LayerType:
        return self.layer_types[layer % len(self.layer_types)]

    def has_rope(self, layer: int) -> bool:
        return self.positions == "rope" and self.rope_layers[layer % len(self.rope_layers)]

    def has_experts(self, layer: int) -> bool:
        return self.experts is not None and self.experts.in_layer(layer)

    def window(self, layer: int) -> int | None:
        """Window of a layer in tokens, the current one included; None: unlimited."""
        return self.sliding_window if self.layer_type(layer) == "sliding" else None


def check_pooling(pooling: Pooling | None, pool_tokens: int) -> None:
    """Raise ValueError unless `pool_tokens` is set exactly when pooling requires it."""
    if pooling == "last_k" and not pool_tokens:
        raise ValueError("pooling 'last_k' requires pool_tokens, the number of last tokens to average")
    if pooling != "last_k" and pool_tokens:
        raise ValueError("pool_tokens requires pooling 'last_k'")
