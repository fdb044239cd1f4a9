"""Mixture of experts: a router sends each token to a few of many feed-forwards, without dropping tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.model.config import ModelConfig
from tutelage.model.feedforward import FeedForward, activate, gate
from tutelage.model.step import Step


class MixtureOfExperts(nn.Module):
    """Weighted sum of the selected experts' outputs, plus the shared expert, if any.

    After a training pass `auxiliary` is the balance loss (Fedus et al. 2021, eq. 4) and `load` [num_experts] the number
    of tokens per expert since `end_of_step`.
    """

    correction: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        experts = config.experts
        assert experts is not None
        self.experts, self.activation, self.gated = experts, config.activation, config.gated
        count, hidden, size = experts.num_experts, config.hidden_size, config.expert_size
        self.router = nn.Linear(hidden, count, bias=experts.bias)
        if config.gated:
            self.gate_proj = nn.Parameter(torch.empty(count, size, hidden))
        self.up_proj = nn.Parameter(torch.empty(count, size, hidden))
        self.down_proj = nn.Parameter(torch.empty(count, hidden, size))
        if experts.bias:
            if config.gated:
                self.gate_bias = nn.Parameter(torch.zeros(count, size))
            self.up_bias = nn.Parameter(torch.zeros(count, size))
            self.down_bias = nn.Parameter(torch.zeros(count, hidden))
        if experts.shared_size:
            self.shared = FeedForward(config, experts.shared_size)
        if experts.shared_gate:
            self.shared_gate = nn.Linear(hidden, 1, bias=False)
        if experts.balance == "bias":
            self.register_buffer("correction", torch.zeros(count))
        self.load: Tensor | None = None
        self.auxiliary: Tensor | None = None

    def forward(self, x: Tensor, step: Step) -> Tensor:
        flat = x.flatten(0, 1)
        scores = self.router(flat).float()
        scores = scores.sigmoid() if self.experts.score == "sigmoid" else scores.softmax(-1)
        weights, chosen = self.choose(scores)  # [N, k]
        if self.training:
            # A token shared by branches of a document counts once.
            real = None if step.documents is None else step.documents.flatten() > 0
            self._account(scores, chosen, real)
        out = self._run(flat, weights.to(x.dtype), chosen)
        if self.experts.shared_size:
            shared = self.shared(flat)
            out = out + (shared * self.shared_gate(flat).sigmoid() if self.experts.shared_gate else shared)
        return out.view_as(x)

    def choose(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and indices [N, k] of the selected experts, from scores [N, num_experts]."""
        experts = self.experts
        ranked = scores + self.correction if experts.balance == "bias" else scores
        if experts.groups > 1:
            grouped = ranked.unflatten(-1, (experts.groups, -1))
            best = grouped.topk(2, dim=-1).values.sum(-1).topk(experts.groups_used, dim=-1).indices
            kept = torch.zeros(grouped.shape[:2], dtype=torch.bool, device=scores.device).scatter(1, best, True)
            ranked = grouped.masked_fill(~kept[..., None], float("-inf")).flatten(1)
        chosen = ranked.topk(experts.experts_per_token, dim=-1).indices
        weights = scores.gather(1, chosen)
        if experts.normalise:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return weights * experts.scaling, chosen

    def _run(self, x: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        """Sort the tokens by expert, run each expert, and restore the order."""
        slots = chosen.flatten()
        order = slots.argsort(stable=True)
        counts = torch.bincount(slots, minlength=self.experts.num_experts).tolist()
        rows = x[order // chosen.shape[1]].split(counts)
        parts = [self._expert(expert, part) for expert, part in enumerate(rows) if len(part)]
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        out = torch.cat(parts)[back].unflatten(0, chosen.shape)  # [N, k, hidden]
        return (out * weights[..., None]).sum(1)

    def _expert(self, expert: int, x: Tensor) -> Tensor:
        up = self._product("up", expert, x)
        if self.gated:
            up = gate(self.activation, self._product("gate", expert, x), up)
        else:
            up = activate(self.activation, up)
        return self._product("down", expert, up)

    def _product(self, name: str, expert: int, x: Tensor) -> Tensor:
        """x times one expert's matrix, for any storage: dense, 4-bit, with adapters."""
        stack = getattr(self, f"{name}_proj")
        bias = getattr(self, f"{name}_bias")[expert] if self.experts.bias else None
        if isinstance(stack, Tensor):
            return F.linear(x, stack[expert], bias)
        out: Tensor = stack.linear(expert, x, bias)
        return out

    def _account(self, scores: Tensor, chosen: Tensor, real: Tensor | None) -> None:
        if real is not None:
            scores, chosen = scores[real], chosen[real]
        counts = torch.bincount(chosen.flatten(), minlength=self.experts.num_experts).float()
        self.load = counts if self.load is None else self.load + counts
        if self.experts.balance == "auxiliary":
            shares = scores / scores.sum(-1, keepdim=True)
            fractions = counts / counts.sum().clamp(min=1)
            self.auxiliary = self.experts.num_experts * (fractions * shares.mean(0)).sum() * self.experts.balance_rate

    @torch.no_grad()
    def end_of_step(self, taken: bool = True) -> None:
        """Update the routing bias towards experts with little load (Wang et al. 2024, algorithm 1) and reset the
        counts."""
        if taken and self.experts.balance == "bias" and self.load is not None:
            self.correction += self.experts.balance_rate * torch.sign(self.load.mean() - self.load)
        self.load, self.auxiliary = None, None
