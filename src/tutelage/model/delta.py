"""Linear attention by the gated delta rule: a fixed-size state instead of past keys and values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.config import ModelConfig
from tutelage.model.norms import RMSNorm
from tutelage.model.step import Step

CHUNK = 64


class GatedDeltaNet(nn.Module):
    """A short convolution, then S <- a S + k (b (v - a S^T k))^T for each token, read by q; normalised and gated.

    Yang et al. 2024, "Gated Delta Networks", eq. 10. Documents are isolated in both the convolution and the state.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        assert config.delta is not None
        self.delta, self.layer, delta = config.delta, layer, config.delta
        keys, values = delta.num_key_heads * delta.key_head_dim, delta.num_value_heads * delta.value_head_dim
        self.q_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, values, bias=False)
        self.z_proj = nn.Linear(config.hidden_size, values, bias=False)
        self.b_proj = nn.Linear(config.hidden_size, delta.num_value_heads, bias=False)
        self.a_proj = nn.Linear(config.hidden_size, delta.num_value_heads, bias=False)
        self.conv = nn.Parameter(torch.empty(2 * keys + values, 1, delta.conv_kernel))
        self.A_log = nn.Parameter(torch.zeros(delta.num_value_heads))
        self.dt_bias = nn.Parameter(torch.ones(delta.num_value_heads))
        self.norm = RMSNorm(delta.value_head_dim, eps=config.norm_eps)
        self.o_proj = nn.Linear(values, config.hidden_size, bias=False)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        delta, state = self.delta, None if step.cache is None else step.cache.states[self.layer]
        valid = None if state is None or step.documents is None else step.documents > 0
        documents = step.documents if state is None else None
        mixed = torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], dim=-1)
        if state is None:
            mixed = F.silu(convolve(mixed, self.conv, None, documents))
        else:
            before = state["recent"].to(mixed.dtype)
            recent = _last(torch.cat([before, mixed.mT], dim=-1), before.shape[-1], valid)
            mixed = F.silu(convolve(mixed, self.conv, before, None))
            state["recent"].copy_(recent)
        keys = delta.num_key_heads * delta.key_head_dim
        queries, keyed, values = mixed.split([keys, keys, mixed.shape[-1] - 2 * keys], dim=-1)
        rate = self.b_proj(x).float().sigmoid()  # [B, T, H]
        decay = -self.A_log.float().exp() * F.softplus(self.a_proj(x).float() + self.dt_bias.float())
        if valid is not None:  # padding neither writes to nor decays the state
            rate, decay = rate * valid[..., None], decay * valid[..., None]
        groups = delta.num_value_heads // delta.num_key_heads
        out, memory = delta_rule(
            _normed(_heads(queries, delta.key_head_dim)).repeat_interleave(groups, 1) * delta.key_head_dim**-0.5,
            _normed(_heads(keyed, delta.key_head_dim)).repeat_interleave(groups, 1),
            _heads(values, delta.value_head_dim),
            decay.mT,
            rate.mT,
            documents,
            None if state is None else state["memory"],
        )
        if state is not None:
            state["memory"].copy_(memory)
        gate = self.z_proj(x).unflatten(-1, (delta.num_value_heads, -1))
        out = self.norm(out.transpose(1, 2).to(x.dtype)) * F.silu(gate.float()).to(x.dtype)
        return self.o_proj(out.flatten(2))


def convolve(x: Tensor, weight: Tensor, before: Tensor | None, documents: Tensor | None) -> Tensor:
    """Causal depthwise convolution of x [B, T, C] by weight [C, 1, K], within each document.

    before [B, C, K - 1]: inputs preceding x; zeros if None.
    """
    length, kernel = x.shape[1], weight.shape[-1]
    past = x.new_zeros(x.shape[0], kernel - 1, x.shape[2]) if before is None else before.mT
    padded = torch.cat([past, x], dim=1)
    out = x * weight[:, 0, -1]
    for back in range(1, kernel):
        shifted = padded[:, kernel - 1 - back : kernel - 1 - back + length]
        if documents is not None:
            same = F.pad(documents[:, back:] == documents[:, :-back], (min(back, length), 0))[:, :length]
            shifted = shifted * same[..., None]
        out = out + shifted * weight[:, 0, kernel - 1 - back]
    return out


def delta_rule(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    decay: Tensor,
    rate: Tensor,
    documents: Tensor | None = None,
    memory: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Chunked gated delta rule (Yang et al. 2024, section 3.3, extended by documents).

    queries, keys [B, H, T, K], values [B, H, T, V], decay (log) and rate [B, H, T], documents [B, T] or None, memory
    [B, H, K, V] float32 before the first token. Returns outputs [B, H, T, V] and the final memory, float32.
    """
    length = queries.shape[2]
    queries, keys, values = queries.float(), keys.float(), values.float()
    if memory is None:
        memory = queries.new_zeros(*queries.shape[:2], keys.shape[-1], values.shape[-1])
    read = []
    for at in range(0, length, CHUNK):
        piece = slice(at, min(at + CHUNK, length))
        q, k, v, b = queries[:, :, piece], keys[:, :, piece], values[:, :, piece], rate[:, :, piece, None]
        total = decay[:, :, piece].cumsum(-1)  # log decay since the start of the chunk
        size = total.shape[-1]
        seen = torch.ones(size, size, dtype=torch.bool, device=q.device).tril()
        if documents is None:
            same, carried, last = seen[None, None], None, None
        else:
            here = documents[:, piece]
            before = documents[:, at - 1 : at] if at else here[:, :1]
            same = (seen & (here[:, :, None] == here[:, None, :]))[:, None]
            carried = (here == before)[:, None, :, None]
            last = (here == here[:, -1:])[:, None, :, None]
        fade = (total[..., :, None] - total[..., None, :]).masked_fill(~same, float("-inf")).exp()  # [B, H, C, C]
        # Writes depend on earlier writes in the chunk: a triangular system.
        system = (k * b) @ k.mT * fade
        since = total.exp()[..., None]
        from_memory = k * b * since
        if carried is not None:
            from_memory = from_memory * carried
        solved = torch.linalg.solve_triangular(
            system, torch.cat([v * b, from_memory], dim=-1), upper=False, unitriangular=True
        )
        written, corrected = solved.split([v.shape[-1], k.shape[-1]], dim=-1)
        written = written - corrected @ memory
        old = q * since @ memory
        if carried is not None:
            old = old * carried
        read.append(old + (q @ k.mT * fade) @ written)
        left = (total[..., -1:] - total).exp()[..., None]
        kept = total[..., -1, None, None].exp()
        if last is not None and carried is not None:
            left = left * last
            kept = kept * carried[:, :, -1:]
        memory = memory * kept + (k * left).mT @ written
    return torch.cat(read, dim=2), memory


def _heads(x: Tensor, dim: int) -> Tensor:
    return x.unflatten(-1, (-1, dim)).transpose(1, 2)


def _normed(x: Tensor) -> Tensor:
    x = x.float()
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)


def _last(x: Tensor, count: int, valid: Tensor | None) -> Tensor:
    """The last `count` inputs [B, C, count] of each row, ignoring trailing padding."""
    if valid is None:
        return x[..., x.shape[-1] - count :]
    index = valid.sum(1)[:, None] + torch.arange(count, device=x.device)  # x starts with `count` earlier inputs
    return x.gather(-1, index[:, None].expand(-1, x.shape[1], -1))
