"""The decoder-only language model: embedding, blocks of token mixing and feed-forward, norm, head."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.attention import Attention
from tutelage.model.cache import KVCache
from tutelage.model.config import ModelConfig
from tutelage.model.delta import GatedDeltaNet
from tutelage.model.experts import MixtureOfExperts
from tutelage.model.feedforward import FeedForward
from tutelage.model.latent import MultiHeadLatentAttention
from tutelage.model.mask import AttentionMask
from tutelage.model.norms import make_norm
from tutelage.model.rope import inverse_frequencies, rotary_of, widened
from tutelage.model.step import Step
from tutelage.store import device as _  # noqa: F401  (makes the first call of MKL's vector mathematics)


class Block(nn.Module):
    """A residual block: x + mix(x), then x + feed-forward(x), with norms before, after or on both sides of each."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        if config.norm_place != "post":
            self.attention_norm = make_norm(config, config.hidden_size)
            self.mlp_norm = make_norm(config, config.hidden_size)
        if config.norm_place != "pre":
            self.attention_post_norm = make_norm(config, config.hidden_size)
            self.mlp_post_norm = make_norm(config, config.hidden_size)
        self.attention: nn.Module
        if config.layer_type(layer) == "delta":
            self.attention = GatedDeltaNet(config, layer)
        elif config.latent is not None:
            self.attention = MultiHeadLatentAttention(config, layer)
        else:
            self.attention = Attention(config, layer)
        self.mlp: nn.Module
        self.mlp = (
            MixtureOfExperts(config) if config.has_experts(layer) else FeedForward(config, config.intermediate_size)
        )

    def forward(self, x: Tensor, step: Step) -> Tensor:
        if self.config.parallel_residual:  # both read the same x
            return x + self._scaled(self._mix(x, step)) + self._scaled(self._feed_forward(x, step))
        x = x + self._scaled(self._mix(x, step))
        return x + self._scaled(self._feed_forward(x, step))

    def _scaled(self, branch: Tensor) -> Tensor:
        scale = self.config.residual_multiplier
        return branch if scale == 1 else branch * scale

    def _mix(self, x: Tensor, step: Step) -> Tensor:
        place = self.config.norm_place
        out = self.attention(x if place == "post" else self.attention_norm(x), step)
        return out if place == "pre" else self.attention_post_norm(out)

    def _feed_forward(self, x: Tensor, step: Step) -> Tensor:
        place = self.config.norm_place
        x = x if place == "post" else self.mlp_norm(x)
        out = self.mlp(x, step) if isinstance(self.mlp, MixtureOfExperts) else self.mlp(x)
        return out if place == "pre" else self.mlp_post_norm(out)


class DecoderLM(nn.Module):
    """A decoder-only language model, optionally with a classification head.

    Single-device code, independent of precision, parallelism and objectives.
    """

    def __init__(self, config: ModelConfig, seed: int | None = 0) -> None:
        """Initialise randomly from `seed` (None: PyTorch's default initialisation, for loading)."""
        super().__init__()
        if not config.vocab_size:
            raise ValueError("ModelConfig.vocab_size must be set before a model is built")
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.positions == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = make_norm(config, config.hidden_size)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.num_labels:
            self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.packed_head: nn.Module | None = None  # packed head of inference-only models
        self.packed_parameters = 0  # number of parameters before packing
        if seed is not None:
            self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Normal(0, initializer_range); output projections scaled by 1/sqrt(2 num_layers) (GPT-2, section 2.3)."""
        generator = torch.Generator().manual_seed(seed)
        config, residual = self.config, 1 / math.sqrt(2 * self.config.num_layers)
        for name, parameter in self.named_parameters():
            last = name.rsplit(".", 1)[-1]
            if last == "A_log":  # decay rates between 1 and 16, as in Mamba 2
                parameter.uniform_(1, 16, generator=generator).log_()
            elif last == "conv":
                parameter.uniform_(-1, 1, generator=generator).mul_(parameter.shape[-1] ** -0.5)
            elif last == "dt_bias":
                parameter.fill_(1.0)
            elif last.endswith("bias") or last == "sinks":
                parameter.zero_()
            elif parameter.dim() < 2:
                parameter.fill_(0.0 if config.norm_offset and ".attention.norm." not in name else 1.0)
            else:
                scale = residual if "o_proj" in name or "down_proj" in name else 1.0
                parameter.normal_(0.0, config.initializer_range * scale, generator=generator)

    def hidden(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: KVCache | None = None,
        branches: Tensor | None = None,
    ) -> Tensor:
        """Hidden states after the final norm.

        tokens [B, T] int64; positions [B, T] int64 within each document (default 0..T-1); documents [B, T] int64,
        tokens attend only within their document and 0 is padding; cache: written at `positions`, which must be below
        its length (each row is then one document); branches [B, T] int64: continuations of a shared prefix within a
        document that do not see each other (see `AttentionMask`; requires `config.can_branch`). Returns [B, T,
        hidden_size].
        """
        config = self.config
        if branches is not None and not config.can_branch:
            raise ValueError("a model with delta layers does not support branches")
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        x = self.embed(tokens, positions)
        rotary = self._rotary(positions, local=False) if config.positions == "rope" else None
        local = self._rotary(positions, local=True) if rotary is not None and config.rope_local_theta else None
        wide = self.packed_head is not None
        step = Step(
            positions,
            documents,
            AttentionMask(positions, documents, None if cache is None else cache.length, branches),
            rotary,
            local,
            cache,
            widened(*rotary) if wide and rotary is not None else None,
            widened(*local) if wide and local is not None else None,
        )
        for block in self.layers:
            x = block(x, step)
        return self.norm(x)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Input of the first block [B, T, hidden_size], from tokens and positions [B, T]."""
        config = self.config
        x = self.embed_tokens(tokens)
        if self.packed_head is not None:
            x = x.float()  # products in bfloat16, everything else in float32
        if config.embedding_scale != 1:
            # In the precision of the weights, as in training.
            x = x * torch.tensor(config.embedding_scale, dtype=x.dtype, device=x.device)
        if config.positions == "learned":
            # Positions of padding may exceed the table; their values are never used.
            x = x + self.embed_positions(positions.clamp(max=config.max_position_embeddings - 1))
        return x

    def _rotary(self, positions: Tensor, local: bool) -> tuple[Tensor, Tensor]:
        frequencies, factor = inverse_frequencies(self.config, local)
        return rotary_of(positions, frequencies.to(positions.device), factor)

    @property
    def head_weight(self) -> Tensor:
        """Weight of the language-model head, [vocab_size, hidden_size]."""
        return self.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits [..., vocab_size], float32, from hidden states [..., hidden_size]."""
        head = self.packed_head
        logits = F.linear(hidden, self.head_weight).float() if head is None else head(hidden).float()
        return self.bounded(logits)

    def bounded(self, logits: Tensor) -> Tensor:
        """Raw logits after the model's divisor and softcap."""
        if self.config.logit_divisor != 1:
            logits = logits / self.config.logit_divisor
        if self.config.logit_softcap:
            logits = self.config.logit_softcap * torch.tanh(logits / self.config.logit_softcap)
        return logits

    def scores(self, hidden: Tensor) -> Tensor:
        """Class logits [..., num_labels], float32, from hidden states [..., hidden_size]."""
        return self.score(hidden).float()

    def forward(self, tokens: Tensor, positions: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """Next-token logits [B, T, vocab_size], float32."""
        return self.logits(self.hidden(tokens, positions, documents))

    def auxiliary_loss(self) -> Tensor | None:
        """Auxiliary loss of the last training pass (expert balance), to be added to the mean loss."""
        losses = [m.auxiliary for m in self.modules() if isinstance(m, MixtureOfExperts) and m.auxiliary is not None]
        return torch.stack(losses).sum() if losses else None

    def end_of_step(self, taken: bool = True) -> None:
        """Call after every step: updates the experts' routing bias, or discards the counts of a skipped step."""
        for module in self.modules():
            if isinstance(module, MixtureOfExperts):
                module.end_of_step(taken)

    @property
    def activations(self) -> torch.dtype:
        """Dtype of hidden states and of the KV cache."""
        return self.embed_tokens.weight.dtype if self.packed_head is None else torch.float32

    def num_parameters(self) -> int:
        return self.packed_parameters or sum(parameter.numel() for parameter in self.parameters())
