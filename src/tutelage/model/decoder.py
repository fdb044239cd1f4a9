"""The decoder-only language model: embedding, blocks of attention and feed-forward, norm, head."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.attention import Attention, attention_mask, rotary_table
from tutelage.model.cache import KVCache
from tutelage.model.config import ModelConfig


class SwiGLU(nn.Module):
    """Gated feed-forward: down(silu(gate(x)) * up(x)). Shazeer 2020."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Pre-norm residual block: x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = SwiGLU(config)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        positions: Tensor,
        cache: KVCache | None,
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotary, mask, positions, cache, self.layer)
        return x + self.mlp(self.mlp_norm(x))


class DecoderLM(nn.Module):
    """A decoder-only language model, with a classification head beside the language-model head if asked.

    Single-device code: it knows nothing of precision, parallelism or objectives.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, config: ModelConfig, seed: int | None = 0) -> None:
        """Build with random weights from `seed` (None leaves torch's default initialisation, for loading)."""
        super().__init__()
        if not config.vocab_size:
            raise ValueError("ModelConfig.vocab_size must be set before a model is built")
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.num_labels:
            self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        cosines, sines = rotary_table(config, config.max_position_embeddings)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        if seed is not None:
            self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Normal(0, initializer_range); output projections scaled by 1/sqrt(2 num_layers) (GPT-2, section 2.3)."""
        generator = torch.Generator().manual_seed(seed)
        std, residual = self.config.initializer_range, 1 / math.sqrt(2 * self.config.num_layers)
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                parameter.fill_(1.0)
                continue
            scale = residual if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
            parameter.normal_(0.0, std * scale, generator=generator)

    def hidden(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Hidden states after the final norm.

        tokens [B, T] int64; positions [B, T] int64 within each document (default 0..T-1); documents [B, T]
        int64, tokens see only their own document; cache: keys and values are written at `positions`, which
        must lie below its length. Returns [B, T, hidden_size].
        """
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        mask = attention_mask(documents, positions, cache)
        # Padding may count on past the table; its rotation is never used.
        index = positions.clamp(max=self.cosines.shape[0] - 1)
        rotary = (self.cosines[index][:, None], self.sines[index][:, None])  # [B, 1, T, D/2]
        x = self.embed_tokens(tokens)
        for block in self.layers:
            x = block(x, rotary, mask, positions, cache)
        return self.norm(x)

    @property
    def head_weight(self) -> Tensor:
        """Weight of the language-model head, [vocab_size, hidden_size]."""
        return self.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits [..., vocab_size], float32, of hidden states [..., hidden_size]."""
        return F.linear(hidden, self.head_weight).float()

    def scores(self, hidden: Tensor) -> Tensor:
        """Class logits [..., num_labels], float32, of hidden states [..., hidden_size]."""
        return self.score(hidden).float()

    def forward(self, tokens: Tensor, positions: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """Next-token logits [B, T, vocab_size], float32."""
        return self.logits(self.hidden(tokens, positions, documents))

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
