"""The description of a decoder: frozen, validated, independent of any library's config format."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tutelage.store.config import Config

Family = Literal["qwen3", "llama"]


class ModelConfig(Config):
    """Shape of a `DecoderLM`. The defaults are the quickstart's: a small modern decoder of 1.4M parameters,
    what two CPU cores can feed with text in minutes.

    `vocab_size` 0 means: the tokenizer's. `head_dim` 0 means: hidden_size / num_heads.
    `num_labels` > 0 adds a classification head (`score`), whose classes `labels` names.
    """

    family: Family = "qwen3"
    vocab_size: int = Field(0, ge=0)
    hidden_size: int = Field(128, ge=8)
    intermediate_size: int = Field(352, ge=8)
    num_layers: int = Field(5, ge=1)
    num_heads: int = Field(4, ge=1)
    num_kv_heads: int = Field(2, ge=1)
    head_dim: int = Field(0, ge=0)
    max_position_embeddings: int = Field(256, ge=8)
    rope_theta: float = Field(10000.0, gt=0)
    rms_norm_eps: float = Field(1e-6, gt=0)
    initializer_range: float = Field(0.02, gt=0)
    tie_word_embeddings: bool = False
    num_labels: int = Field(0, ge=0)
    labels: tuple[str, ...] = ()
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
        if self.dim_per_head % 2:
            raise ValueError(f"head_dim ({self.dim_per_head}) must be even for rotary positions")
        if self.labels and len(self.labels) != self.num_labels:
            raise ValueError(f"{len(self.labels)} labels are named but num_labels is {self.num_labels}")
        return self

    @property
    def dim_per_head(self) -> int:
        return self.head_dim or self.hidden_size // self.num_heads

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normalised per head; the family decides."""
        return self.family == "qwen3"
